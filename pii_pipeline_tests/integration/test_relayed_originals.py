"""Events of Snowplow's PII enrichment that land as files, from landing into the vault and back."""

from __future__ import annotations

import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pii_pipeline.definitions import build
from pii_pipeline.lake import landing_path, put
from pii_pipeline.ledger import hour_start
from pii_pipeline.pipeline import relayed_originals
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import LayerResult
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.relayed_originals import relay_hour
from pii_pipeline.pipeline.retention import apply_retention
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.pipeline.vault_sample import Resolved, resolve_relayed
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline.streams.model import Stream
from pii_pipeline.vault.model import (
    PIINGUIN_FIELD,
    PIINGUIN_STREAM,
    LawfulBasis,
    NewRecord,
    Reason,
    RecordKey,
)
from pii_pipeline_tests.pii_events import (
    CANARY,
    TRANSFORMATION,
    in_json,
    line,
    mapped,
    pojo,
    self_describing,
    transformation,
)

HOUR = "2026-11-22T10"
STREAM = "snowplow_pii"
PIINGUIN = Reason(LawfulBasis.CONTRACT, "piinguin")


def event(number: int, unstruct_event: str = "") -> bytes:
    """As the enrichment writes it, without a person or a browser."""
    columns = {"c0": "shop", "c1": "srv", "c3": "2026-11-22 10:20:30.123", "c5": "pii_transformation"}
    columns |= {"c6": f"00000000-0000-0000-0000-{number:012}", "c10": "ssc-3.0.0", "c11": "common-4.0.0"}
    return line(unstruct_event, **columns)


def pii(number: int, *entries: dict[str, str]) -> bytes:
    return event(number, transformation({"pojo": list(entries)}))


CLICK = self_describing("iglu:acme/click/jsonschema/1-0-0", {"target": "a \\u0070ii_transformation"})
GOOD = [
    pii(1, pojo("a1", f"jane {CANARY}"), pojo("b2", "")),
    event(2, transformation({"json": [in_json("c3", f"Zoë {CANARY}"), mapped("d4", "y")]})),
    pii(3, pojo("a1", f"jane {CANARY}")),
    pii(4),
    event(5),
    event(6, CLICK),
    event(7, CLICK.replace("pii_transformation", "ii_transformation")),
]
BAD = [
    pii(11, pojo("a1", CANARY), {"originalValue": CANARY}),
    pii(12, pojo("", CANARY)),
    pii(13, pojo("m", CANARY * 3_000)),
    event(14, transformation({"pojo": [pojo("m", CANARY)]}, "2-0-0")),
    event(15, transformation({})),
    event(16, self_describing(f"{TRANSFORMATION}/1-0-0", {"pii": CANARY}).replace("pii_t", "\\u0070ii_t")),
]
NOT_JSON = event(17, f'{{"{CANARY}')
_POLICY = """\
principals:
  desk:
    read: [{streams: [piinguin], fields: [value], bases: [contract], purposes: [piinguin]}]
"""
SHORT = CANARY.encode()
KEPT = {"a1": f"jane {CANARY}", "b2": "", "c3": f"Zoë {CANARY}", "d4": "y"}


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """The environment of an installation with the stream that the documentation shows."""
    folder = tmp_path / "streams" / STREAM
    folder.mkdir(parents=True)
    page = (project_root() / "docs" / "relay.md").read_text()
    for name in ("stream.yaml", "contract.yaml"):
        found = re.search(rf"```yaml\n# streams/{STREAM}/{name}\n(.*?)```", page, re.S)
        assert found
        (folder / name).write_text(found[1])
    (tmp_path / "vault-policy.yaml").write_text(_POLICY)
    shutil.copy(project_root() / "streams" / "snowplow" / "atomic.schema.json", folder)
    return {
        "PII_STREAMS_DIR": str(tmp_path / "streams"),
        "PII_STORAGE_URI": str(tmp_path / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{tmp_path / 'pii.db'}",
        "PII_VAULT_URL": f"sqlite:///{tmp_path / 'vault.db'}",
        "PII_VAULT_ANCHORS": (tmp_path / "vault-anchors").as_uri(),
        "PII_VAULT_POLICY": str(tmp_path / "vault-policy.yaml"),
        "PII_KEY_ENCRYPTION_KEY": f"file:{tmp_path / 'kek'}",
        "PII_WORKERS": "1",
    }


@pytest.fixture
def opened(variables: dict[str, str]) -> Iterator[Installation]:
    installation = Installation(read_settings(variables))
    yield installation
    installation.close()


def stream_of(installation: Installation) -> Stream:
    return installation.streams[STREAM]


def land(installation: Installation, name: str, *lines: bytes) -> None:
    path = landing_path(STREAM, hour_start(HOUR), name)
    put(installation.zones.landing, path, b"\n".join(lines) + b"\n")


def load(installation: Installation, force: bool = False) -> LayerResult:
    """Makes the hour; what came of the layer."""
    stream = stream_of(installation)
    seal_hour(installation, stream, HOUR)
    validate_hour(installation, stream, HOUR, force)
    return relay_hour(installation, stream, HOUR, force)


def told(installation: Installation, *pseudonyms: str) -> list[tuple[str, ...]]:
    keys = [RecordKey(PIINGUIN_STREAM, PIINGUIN_FIELD, pseudonym) for pseudonym in pseudonyms]
    return [found.originals for found in installation.vault.read("desk", PIINGUIN, keys)]


def test_every_record_is_accounted_for_and_what_was_replaced_is_told(opened: Installation) -> None:
    land(opened, "one.tsv", *GOOD, *BAD, NOT_JSON, SHORT, GOOD[0])
    result = load(opened)
    validated = opened.ledger.status(STREAM, HOUR)[0].layers["validated_events"].counts
    assert validated == {
        "records": 16,
        "validated": 7,
        "bad": 8,
        "duplicate": 1,
        "event_id_reused": 0,
        "bad_by_reason": {"malformed_record": 1, "not_json": 1, "schema_violation": 6},
    }
    assert result.counts == {
        "validated": 7,
        "relayed": 4,
        "other": 3,
        "originals": 4,
        "new": 4,
        "known": 0,
    }
    assert told(opened, *KEPT) == [(original,) for original in KEPT.values()]
    assert told(opened, "m") == [()]
    assert opened.ledger.status(STREAM, HOUR)[0].violations() == []


def test_why_an_event_is_bad_is_said_without_what_is_in_it(opened: Installation) -> None:
    from pii_pipeline.pipeline.query import query

    land(opened, "one.tsv", *BAD)
    load(opened)
    sql = f"select field, rule, message from {STREAM}.bad_events order by record_number"
    rows = [tuple(row) for row in query(opened, sql).rows]
    assert {row[:2] for row in rows} == {("unstruct_event", "pii_transformation")}
    assert [row[2] for row in rows] == [
        "an entry has no `originalValue` or no `modifiedValue`",
        "a modified value is empty, or longer than 1024 bytes",
        "an original is longer than 65536 bytes",
        "a version of `pii_transformation` that is not known",
        "`pii` has neither `pojo` nor `json`",
        "`pii` has neither `pojo` nor `json`",
    ]


def test_nothing_is_done_twice_and_all_of_it_is_known_when_it_is(opened: Installation) -> None:
    land(opened, "one.tsv", *GOOD)
    assert load(opened).made == 1
    again = load(opened)
    assert (again.made, again.skipped) == (0, 1)
    forced = load(opened, force=True)
    assert (forced.counts["new"], forced.counts["known"]) == (0, 4)
    land(opened, "two.tsv", pii(8, pojo("a1", f"jane {CANARY}"), pojo("e5", "new")))
    more = load(opened)
    assert (more.made, more.counts["new"], more.counts["known"]) == (1, 1, 5)


def test_two_originals_of_one_hash_are_both_told(opened: Installation) -> None:
    land(opened, "one.tsv", pii(1, pojo("a1", "first")), pii(2, pojo("a1", "second")))
    load(opened)
    assert {*told(opened, "a1")[0]} == {"first", "second"}


def test_what_was_deleted_of_the_restricted_zone_is_made_again_for_it(opened: Installation) -> None:
    land(opened, "one.tsv", *GOOD)
    stream = stream_of(opened)
    seal_hour(opened, stream, HOUR)
    validate_hour(opened, stream, HOUR)
    pseudonymize_hour(opened, stream, HOUR)
    much_later = datetime.now(UTC) + timedelta(days=30)
    retained = apply_retention(opened, stream, much_later)
    assert retained.deleted.keys() == {"validated_events"}, "landing waits for what is not relayed"
    result = relay_hour(opened, stream, HOUR)
    assert (result.made, result.counts["new"]) == (1, 4)
    assert "raw_events" in apply_retention(opened, stream, much_later).deleted


_KILLED = """
import os, signal, sys
from pii_pipeline.pipeline import relayed_originals
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.settings import read_settings
from pii_pipeline.vault.stores.sql import SqlStore
from pii_pipeline_tests.integration.test_relayed_originals import load

relayed_originals.LOADED_AT_ONCE = 1
put, calls = SqlStore.put, [0]

def killing(self, records):
    done = put(self, records)
    calls[0] += 1
    if calls[0] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

SqlStore.put = killing
load(Installation(read_settings(dict(item.split("=", 1) for item in sys.argv[1:]))))
"""


def test_a_run_that_is_killed_in_the_middle_is_ended_by_the_next(
    opened: Installation, variables: dict[str, str]
) -> None:
    land(opened, "one.tsv", *GOOD)
    seal_hour(opened, stream_of(opened), HOUR)
    arguments = [f"{name}={value}" for name, value in variables.items()]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, *arguments], cwd=project_root(), capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    result = load(opened)
    assert (result.counts["originals"], result.counts["new"], result.counts["known"]) == (4, 2, 2)
    assert told(opened, *KEPT) == [(original,) for original in KEPT.values()]


def test_parts_are_put_together(opened: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relayed_originals, "LOADED_AT_ONCE", 1)
    land(opened, "one.tsv", *GOOD)
    assert load(opened).counts["new"] == 4 and told(opened, *KEPT) == [(each,) for each in KEPT.values()]


def test_dagster_makes_it_and_its_checks_pass_and_no_original_is_anywhere(
    opened: Installation, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    more = [pii(100 + number, pojo("a1", f"jane {CANARY}")) for number in range(20)]
    land(opened, "one.tsv", *GOOD, *more, *BAD[:1])
    definitions = build(opened)
    job = definitions.resolve_job_def("process_events")
    keys = [dg.AssetKey([STREAM, name]) for name in stream_of(opened).layers]
    assert keys[-1] == dg.AssetKey([STREAM, "relayed_originals"])
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        result = job.execute_in_process(
            instance=instance, partition_key="2026-11-22-10:00", asset_selection=keys, raise_on_error=False
        )
        assert result.success
        made = {event.asset_key: event for event in result.get_asset_materialization_events()}
        metadata: Any = made[keys[-1]].materialization.metadata
        texts = [str(event) for event in result.all_events]
    checks = {
        (check.asset_key, check.check_name): check.passed for check in result.get_asset_check_evaluations()
    }
    assert checks[keys[-1], "conservation"] and checks[keys[-1], "vault_resolves"]
    assert (metadata["relayed"].value, metadata["originals"].value) == (24, 4)
    assert not [text for text in texts if CANARY in text]
    opened.close()
    printed = capfd.readouterr()
    assert CANARY not in printed.out + printed.err
    landing = tmp_path / "storage" / "landing"
    for file in tmp_path.rglob("*"):
        if file.is_file() and landing not in file.parents:
            assert CANARY.encode() not in file.read_bytes(), file


def test_a_sample_of_what_the_events_name_is_read_back_on_record(opened: Installation) -> None:
    land(opened, "one.tsv", *GOOD, *BAD)
    land(opened, "two.tsv", event(20))
    assert resolve_relayed(opened, stream_of(opened), HOUR) == Resolved()
    load(opened)
    assert resolve_relayed(opened, stream_of(opened), HOUR) == Resolved(asked=4, told=4)
    last = opened.vault_store.last_entry()
    assert last is not None
    assert '"action":"read"' in last.text and '"purpose":"verification"' in last.text


@pytest.mark.parametrize(
    ("which", "problem"),
    [
        ("", "of 4 of 4 pseudonyms the vault has no original"),
        (" WHERE pseudonym = CAST('d4' AS BLOB)", "of 1 of 4 pseudonyms the vault has no original"),
    ],
)
def test_records_that_are_gone_are_missed(
    opened: Installation, tmp_path: Path, which: str, problem: str
) -> None:
    land(opened, "one.tsv", *GOOD)
    load(opened)
    with sqlite3.connect(tmp_path / "vault.db") as database:
        database.execute(f"DELETE FROM vault_records{which}")
    assert resolve_relayed(opened, stream_of(opened), HOUR).problem == problem


def test_another_original_is_not_the_right_one(opened: Installation) -> None:
    land(opened, "one.tsv", pii(1, pojo("a1", "first")))
    load(opened)
    key = RecordKey(PIINGUIN_STREAM, PIINGUIN_FIELD, "a1")
    opened.vault_store.delete([key])
    opened.vault.create("piinguin", [NewRecord(key, "second", date(2026, 11, 22))])
    found = resolve_relayed(opened, stream_of(opened), HOUR)
    assert (found.asked, found.wrong) == (1, 1)
    assert found.problem == "1 of 1 pseudonyms have only originals that are not theirs"


def test_where_the_validated_events_are_gone_nothing_is_asked(opened: Installation) -> None:
    land(opened, "one.tsv", *GOOD)
    load(opened)
    pseudonymize_hour(opened, stream_of(opened), HOUR)
    apply_retention(opened, stream_of(opened), datetime.now(UTC) + timedelta(days=30))
    assert resolve_relayed(opened, stream_of(opened), HOUR) == Resolved()


def test_the_audit_log_says_that_the_main_job_did_it(opened: Installation, tmp_path: Path) -> None:
    land(opened, "one.tsv", *GOOD)
    load(opened)
    with sqlite3.connect(tmp_path / "vault.db") as database:
        (text,) = [text for (text,) in database.execute("SELECT text FROM vault_audit") if '"load"' in text]
    assert '"principal":"pipeline"' in text and "piinguin" in text and CANARY not in text


def test_a_stream_that_is_not_relayed_has_neither_layer_nor_rule(
    opened: Installation, variables: dict[str, str]
) -> None:
    file = Path(variables["PII_STREAMS_DIR"]) / STREAM / "stream.yaml"
    file.write_text(file.read_text().replace("relay: piinguin\n", ""))
    land(opened, "one.tsv", *GOOD, *BAD)
    stream = stream_of(opened)
    seal_hour(opened, stream, HOUR)
    assert validate_hour(opened, stream, HOUR).counts["bad"] == 0
    assert "relayed_originals" not in stream.layers


Change = Callable[[str], str]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace("relay: piinguin", "relay: pingu"), "relay"),
        (
            lambda text: text.replace("snowplow_enriched_tsv", "json"),
            "`json` has no events of Snowplow's PII enrichment — set `format` to snowplow_enriched_tsv",
        ),
    ],
)
def test_what_cannot_be_relayed_is_said(variables: dict[str, str], change: Change, problem: str) -> None:
    from pii_pipeline.contracts.errors import ConfigurationError
    from pii_pipeline.streams.loader import load_stream

    folder = Path(variables["PII_STREAMS_DIR"]) / STREAM
    file = folder / "stream.yaml"
    file.write_text(change(file.read_text()))
    with pytest.raises(ConfigurationError) as raised:
        load_stream(folder)
    (found,) = raised.value.problems
    assert found.line == 4 and found.field == "relay" and problem in str(found)
