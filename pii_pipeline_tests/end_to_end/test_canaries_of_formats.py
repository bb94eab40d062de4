"""Planted originals in enriched events, order lines and Avro files, and a search for them in all else."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import fastavro

from pii_pipeline.settings import project_root
from pii_pipeline.streams.loader import load_streams
from pii_pipeline.streams.scaffold import new_stream
from pii_pipeline_tests.end_to_end.deployment import Deployment
from pii_pipeline_tests.end_to_end.test_canaries import MARK, Cage, searched

CONTEXTS = "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-1"
UNSTRUCT = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"


def document(canary: Cage) -> dict:
    """An entity of a schema that the contract lists, and one of another; canaries wherever they may be."""
    page = {"schema": "iglu:com.snowplowanalytics.snowplow/web_page/jsonschema/1-0-0"}
    other = {"schema": "iglu:com.acme/customer/jsonschema/1-0-0"}
    deep = [canary(), {canary(): [canary(), [canary()], None, True, 12]}]
    return {
        "schema": CONTEXTS,
        "data": [
            {**page, "data": {"id": "5f5f5f5f-0000-4000-8000-000000000001", canary(): canary()}},
            {**other, "data": {"email": f"{canary()}@example.com", "more": deep, canary(): {"x": canary()}}},
            {"schema": canary(), "data": canary()},
        ],
    }


CONTRACT = load_streams((project_root() / "streams",))["snowplow"].contract


def enriched(canary: Cage, number: int, **changes: str) -> str:
    """An enriched event in which all that the contract does not keep is a canary."""
    kept = {
        "app_id": "shop", "platform": "web", "v_collector": "ssc-3", "v_etl": "enrich-4",
        "event": "unstruct", "event_id": f"e-{number}",
        "collector_tstamp": "2026-11-22 10:05:00.000", "contexts": json.dumps(document(canary)),
        "derived_contexts": json.dumps(document(canary)),
        "unstruct_event": json.dumps({"schema": UNSTRUCT, "data": document(canary)["data"][1]}),
        "page_url": f"https://shop.example.com/p/1?q={canary()}#{canary()}", "user_ipaddress": "203.0.113.9",
        "geo_latitude": "52.1", "page_urlpath": f"/p/{canary()}@example.com",
    }  # fmt: skip
    fields = []
    for name, part in CONTRACT.json_schema["properties"].items():
        room = part.get("maxLength", 128) if "string" in part.get("type", ()) else 0
        treated = CONTRACT.treatment(name).name not in ("keep", "generalize", "url", "self_describing")
        text = canary()[:room] if treated and room >= len(MARK) else ""
        fields.append(changes.get(name, kept.get(name, text)))
    return "\t".join(fields)


def test_no_canary_of_any_format_outside_the_zones_that_may_hold_it(tmp_path: Path):
    canary = Cage()
    streams = tmp_path / "streams"
    for name in ("retail", "snowplow"):
        source = project_root() / "streams" / name
        (streams / name).mkdir(parents=True)
        for file in source.iterdir():
            (streams / name / file.name).write_bytes(file.read_bytes())
        settings = streams / name / "stream.yaml"
        lines = [line for line in settings.read_text().splitlines() if "bad_event_threshold" not in line]
        settings.write_text("\n".join([*lines, "bad_event_threshold: 0.9", ""]))
    new_stream(streams, "signups", "avro")
    settings = streams / "signups" / "stream.yaml"
    settings.write_text(settings.read_text().replace("bad_event_threshold: 0.05", "bad_event_threshold: 0.9"))
    deployment = Deployment(tmp_path / "deployment", streams)

    events = [enriched(canary, number) for number in range(30)]
    events += [
        enriched(canary, 100) + "\t" + canary(),
        canary(),
        enriched(canary, 101, contexts=f'{{"schema": "{canary()}"'),
        enriched(canary, 102, txn_id=canary()),
        enriched(canary, 103, collector_tstamp=canary()),
        enriched(canary, 104, network_userid=""),
        enriched(canary, 105, unstruct_event=f'{{"{canary()}": 1}}'),
    ]
    deployment.land(
        "snowplow", "enriched.tsv", "\n".join(events).encode() + b"\n\xff\xfe" + canary().encode()
    )

    out = io.StringIO(newline="")
    names = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"]
    writer = csv.writer(out)
    writer.writerow([*names, "Country", f"new {canary()}"])
    good = ["A536365", "85123A", 'a "T-light", white', "6", "2026-11-22 10:26:00", "2.55"]
    for _ in range(30):
        writer.writerow([*good, canary(), "France", canary()])
    for bad in (
        [canary(), *good[1:], canary(), "France", ""],
        [*good[:3], canary(), *good[4:], canary(), "France", ""],
        [*good[:4], canary(), good[5], canary(), "France", ""],
        [canary(), canary()],
        [*good, "", "France", canary()],
    ):
        writer.writerow(bad)
    lines = out.getvalue() + f'A536365,1,a "{canary()}" stray,1,2026-11-22 10:26:00,1,{canary()},France,\r\n'
    deployment.land("retail", "lines.csv", lines.encode())
    deployment.land("retail", "header.csv", f"{canary()},{canary()},,\n{canary()}\n".encode())

    schema = {
        "type": "record",
        "name": "Event",
        "fields": [
            {"name": name, "type": ["null", "string"]}
            for name in ("event_id", "ts", "session_id", "user_id", "email", "secret")
        ],
    }
    records = [
        {
            "event_id": f"00000000-0000-4000-8000-{number:012x}", "ts": "2026-11-22T10:05:00Z",
            "session_id": canary(), "user_id": canary(), "email": f"{canary()}@example.com",
            "secret": canary(),
        }
        for number in range(20)
    ]  # fmt: skip
    records += [{**records[0], "event_id": None, "email": canary()}]
    avro = io.BytesIO()
    fastavro.writer(avro, fastavro.parse_schema(schema), records)
    deployment.land("signups", "signups.avro", avro.getvalue())
    deployment.land("signups", "broken.avro", avro.getvalue()[:200] + canary().encode())

    process = deployment.start("run")
    assert process.wait(300) in (0, 1)
    counts = {}
    for stream in ("snowplow", "retail", "signups"):
        (row,) = deployment.query(f"SELECT count(*) AS n FROM {stream}.pseudonymized_events")
        counts[stream] = row["n"]
    assert counts == {"snowplow": 30, "retail": 30, "signups": 20}
    (bad,) = deployment.query("SELECT count(*) AS n FROM snowplow.bad_events")
    assert bad["n"] == 8
    (bad,) = deployment.query("SELECT count(*) AS n FROM retail.bad_events")
    assert bad["n"] == 7

    found = searched(deployment)
    assert [name for name, hit in found.items() if hit] == []
    assert any(name.endswith(".parquet") for name in found)
    assert any(MARK.encode() in content for content in deployment.files("landing").values())
