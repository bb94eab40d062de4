"""Real order lines and real enriched events, whole, counted against what is known of them."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest

from pii_pipeline.formats import SNOWPLOW_ENRICHED_TSV
from pii_pipeline_tests.end_to_end.deployment import HOUR, Deployment
from pii_pipeline_tests.shared_data import shared_data

COLUMNS = SNOWPLOW_ENRICHED_TSV.columns or ()


def hour(deployment: Deployment, stream: str) -> dict[str, Any]:
    (status,) = deployment.json("status", stream, "--hour", HOUR)
    return status


def lake(deployment: Deployment, stream: str) -> Iterator[dict[str, Any]]:
    for file in sorted((deployment.storage / "lake" / stream / "pseudonymized_events").rglob("*.parquet")):
        yield from pq.read_table(file).to_pylist()


def test_real_order_lines(tmp_path: Path):
    """19,998 lines, those of nobody set aside; key links are the customers' UTC days, one to one."""
    source = shared_data() / "strm" / "online_retail.csv"
    with source.open(newline="") as file:
        original = list(csv.DictReader(file))
    deployment = Deployment(tmp_path)
    deployment.land("retail", "online_retail.csv", source.read_bytes())
    deployment.pii("run", "retail")

    known = [line for line in original if line["CustomerID"]]
    status = hour(deployment, "retail")
    assert (status["records"], status["validated"], status["bad"]) == (19_998, len(known), 6_652)
    assert status["bad_by_reason"] == {"empty_key": 6_652}
    assert status["duplicates"] == 0, "two equal lines of an invoice are two lines"
    assert status["pseudonymized"] == len(known) == 13_346

    rows = list(lake(deployment, "retail"))
    london = ZoneInfo("Europe/London")
    days: dict[tuple[str, str], set[str]] = defaultdict(set)
    links: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for line, row in zip(known, rows, strict=True):
        moment = datetime.fromisoformat(line["InvoiceDate"]).replace(tzinfo=london).astimezone(UTC)
        assert row["_event_time"] == moment
        customer_day = line["CustomerID"], moment.date().isoformat()
        days[customer_day].add(row["_key_link"])
        links[row["_key_link"]].add(customer_day)
        assert row["Quantity"] == int(line["Quantity"])
        assert row["UnitPrice"] == float(line["UnitPrice"])
        assert row["Description"] == (line["Description"] or None)
    assert {len(found) for found in (*days.values(), *links.values())} == {1}
    assert len(links) == 647

    admitted = deployment.query("SELECT CustomerID, Quantity, InvoiceDate FROM retail.customer_orders")
    assert [row["CustomerID"] for row in admitted] == [line["CustomerID"] for line in known]
    assert status["derived"]["customer_orders"] == {"admitted": len(known), "withheld": 0}


@pytest.mark.parametrize(
    ("name", "good", "malformed"),
    [("enriched_contexts.tsv", 100, 0), ("enriched_unstruct.tsv", 100, 0), ("enriched_mixed.tsv", 48, 2)],
)
def test_real_enriched_events(tmp_path: Path, name: str, good: int, malformed: int):
    """All of 131 columns come through; what the contract does not keep is nowhere in the lake."""
    content = (shared_data() / "snowplow" / name).read_bytes()
    deployment = Deployment(tmp_path)
    deployment.land("snowplow", name, content)
    deployment.pii("run", "snowplow")
    status = hour(deployment, "snowplow")
    assert (status["records"], status["validated"], status["bad"]) == (good + malformed, good, malformed)
    assert status["bad_by_reason"] == ({"malformed_record": malformed} if malformed else {})
    bad = deployment.query("SELECT failure_type, rule, message FROM snowplow.bad_events ORDER BY message")
    assert [row["message"] for row in bad] == ["has 129 columns, not 131", "has 130 columns, not 131"][
        : len(bad)
    ]

    lines = content.decode().split("\n")
    events = [dict(zip(COLUMNS, line.split("\t"), strict=True)) for line in lines if line.count("\t") == 130]
    rows = list(lake(deployment, "snowplow"))
    assert len(rows) == len(events) == good
    for event, row in zip(events, rows, strict=True):
        assert row["event_id"] == event["event_id"]
        assert row["collector_tstamp"] == event["collector_tstamp"]
        kept = json.dumps(row, default=str)
        assert row["user_ipaddress"] is None or row["user_ipaddress"].endswith((".0/24", "::/48"))
        for field in ("user_id", "domain_userid", "network_userid", "domain_sessionid"):
            assert not event[field] or event[field] not in kept, field


def test_event_ids_that_come_twice_are_two_events(tmp_path: Path):
    """In the sample files 90 pairs share an id, and most of them differ: nothing may be dropped."""
    folder = shared_data() / "snowplow"
    names = ("enriched_contexts.tsv", "enriched_unstruct.tsv")
    lines = [line for name in names for line in (folder / name).read_text("utf-8").split("\n") if line]
    ids = Counter(line.split("\t")[COLUMNS.index("event_id")] for line in lines)
    assert sum(count == 2 for count in ids.values()) == 90
    deployment = Deployment(tmp_path)
    for name in names:
        deployment.land("snowplow", name, (folder / name).read_bytes())
    deployment.pii("run", "snowplow")
    status = hour(deployment, "snowplow")
    assert (status["records"], status["validated"], status["duplicates"]) == (200, 200, 0)
