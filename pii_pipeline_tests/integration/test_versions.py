"""Two versions of a contract active side by side: each event as if its version were the only one."""

import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pii_pipeline.keys.derivation import canonical_id, subject_tags
from pii_pipeline.lake import read_parquet
from pii_pipeline.ledger import hour_start
from pii_pipeline.pipeline import workers
from pii_pipeline.pipeline.derive import derive_hour
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.query import query
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.pipeline.warehouse import load_hour
from pii_pipeline.runs import run_hour
from pii_pipeline_tests.integration.versions import (
    DATASETS,
    HOUR,
    NEW,
    NEW_CONTRACT,
    OLD,
    OLD_CONTRACT,
    install,
    interleaved,
    land,
    new_event,
    old_event,
    write_streams,
)


@pytest.fixture
def folder(tmp_path):
    write_streams(tmp_path)
    return tmp_path


@pytest.fixture
def installation(folder):
    opened = install(folder)
    yield opened
    opened.close()


def process(installation, force=False, ahead=DATASETS):
    stream = installation.streams["visits"]
    seal_hour(installation, stream, HOUR)
    validate_hour(installation, stream, HOUR, force)
    pseudonymize_hour(installation, stream, HOUR, force, ahead=ahead)
    for dataset in DATASETS:
        derive_hour(installation, stream, dataset, HOUR, force)


def table(installation, dataset):
    """The committed rows of a dataset in the order of its files, as (reference, row)."""
    zone = installation.zone_holding(dataset)
    key = None
    if zone is installation.zones.restricted:
        key = installation.keys.restricted_key("visits", hour_start(HOUR).date())
    paths = installation.ledger.files("visits", dataset, HOUR)
    batches = [batch for path in paths for batch in read_parquet(zone, path, key=key)]
    return pa.Table.from_batches(batches)


def rows(installation, dataset):
    return table(installation, dataset).to_pylist()


def bad(installation):
    return Counter((row["failure_type"], row["contract"]) for row in rows(installation, "bad_events"))


def files(folder, *zones):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for zone in zones
        for path in sorted((folder / "storage" / zone).rglob("*.parquet"))
    }


def test_validated_rows_stand_in_the_order_of_the_records_under_the_columns_of_both(installation):
    land(installation, interleaved(40))
    process(installation)
    found = rows(installation, "validated_events")
    assert [row["_contract"] for row in found] == [OLD, NEW] * 40
    assert [row["id"] for row in found] == [f"{kind}-{n}" for n in range(40) for kind in ("old", "new")]
    first, second = found[:2]
    assert first["visit"] is first["ts"] is first["customer"] is None
    assert second["session"] is second["coupon"] is None
    assert first["meta"] == {"contract": OLD, "build": None, "sdk": "js"}
    assert second["meta"] == {"contract": NEW, "build": 0, "sdk": None}
    assert first["items"] == [{"name": None, "sku": "sku 0"}, {"name": None, "sku": "other"}]
    assert second["_event_time"] == datetime(2026, 11, 22, 9, 0, tzinfo=UTC), "its own time field"
    names = table(installation, "validated_events").schema.names
    newest_first = [
        *names[:12],
        "session",
        "coupon",
        "_event_time",
        "_unlisted",
        "_contract",
        "_arrival_time",
    ]
    assert names == newest_first


def copy_of_the_keys(source: Path, target: Path) -> None:
    """The same key store, and nothing made yet."""
    target.mkdir()
    shutil.copy(source / "key", target / "key")
    with (
        closing(sqlite3.connect(source / "pii.db")) as old,
        closing(sqlite3.connect(target / "pii.db")) as new,
    ):
        old.backup(new)
        for name in ("files", "commits", "objects", "batches", "heads"):
            new.execute(f"DELETE FROM ledger_{name}")
        new.commit()


def narrowed(value, like):
    """`value` without what only the other version has in records."""
    if isinstance(like, dict):
        assert isinstance(value, dict)
        assert all(inner is None for name, inner in value.items() if name not in like)
        return {name: narrowed(value[name], inner) for name, inner in like.items()}
    if isinstance(like, list):
        return [narrowed(inner, model) for inner, model in zip(value, like, strict=True)]
    return value


@pytest.mark.parametrize(("active", "make"), [(OLD, old_event), (NEW, new_event)])
def test_each_version_is_treated_as_if_it_were_the_only_one(folder, installation, active, make):
    """The same keys, and one version alone: what is made of its events is the same, value for value."""
    land(installation, interleaved(60))
    process(installation)
    datasets = ("validated_events", "pseudonymized_events", *DATASETS)
    together = {name: rows(installation, name) for name in datasets}
    copy_of_the_keys(folder, folder / "alone")
    states = {OLD: "archived", NEW: "archived"} | {active: "active"}
    write_streams(
        folder / "alone",
        OLD_CONTRACT.replace("state: active", f"state: {states[OLD]}"),
        NEW_CONTRACT.replace("state: active", f"state: {states[NEW]}"),
    )
    single = install(folder / "alone")
    land(single, [make(number) for number in range(60)])
    process(single)
    for name, expected in together.items():
        assert {row["_contract"] for row in expected} == {OLD, NEW}
        mine = [row for row in expected if row["_contract"] == active]
        alone = rows(single, name)
        assert [narrowed(row, only) for row, only in zip(mine, alone, strict=True)] == alone
    single.close()


def test_made_ahead_made_later_and_made_again_are_the_same_bytes(folder, installation):
    land(installation, interleaved(500))
    process(installation)
    first = files(folder, "lake", "consented")
    assert len(first) == 4
    process(installation, force=True, ahead=())
    assert files(folder, "lake", "consented") == first


def test_worker_processes_make_the_same(folder, monkeypatch):
    monkeypatch.setattr(workers, "WORTH_WORKERS", 0)
    made = []
    for processes in (1, 2):
        opened = install(folder, processes, batch_bytes=1)
        for part in range(2):
            events = [old_event(2 * n + part) for n in range(50)] + [
                new_event(2 * n + part) for n in range(50)
            ]
            land(opened, events, f"{part}.jsonl")
        process(opened, force=True)
        opened.close()
        made.append(files(folder, "lake", "consented"))
    assert made[0] == made[1]


def test_what_names_no_active_version_is_judged_by_the_newest(installation):
    events = [
        old_event(1),
        new_event(1),
        old_event(2, meta={"contract": "acme/visit/1.8.0"}),
        old_event(3, meta={"contract": NEW}),  # says so, but is not
        new_event(4, meta={"contract": OLD}),
        new_event(5, meta={}),
        new_event(6, meta=None),
        new_event(7, meta={"contract": 5}),
        old_event(8, amount=-1),
        new_event(9, amount=-1),  # its version has no such rule
        new_event(10, ts="2026-11-19T00:00:00Z"),  # its version's max_age
        b'{"id": "x", "session": "y", "meta": {"contract": "' + OLD.encode() + b'"}, ',
        b'{"id": "\xff", "session": "y", "meta": {"contract": "' + OLD.encode() + b'"}}',
        json.dumps(old_event(11)).replace("/", "\\/").encode(),
        json.dumps(old_event(12)).encode().replace(b'"js"', b'"js", "sdk": "js"'),
    ]
    land(installation, events)
    process(installation)
    assert bad(installation) == {
        ("unknown_contract", NEW): 4,
        ("schema_violation", NEW): 1,
        ("schema_violation", OLD): 1,
        ("rule_violation", OLD): 1,
        ("rule_violation", NEW): 1,
        ("not_json", NEW): 1,
        ("not_json", OLD): 1,
        ("not_utf8", NEW): 1,
    }
    assert [row["id"] for row in rows(installation, "validated_events")] == [
        "old-1",
        "new-1",
        "new-9",
        "old-11",
    ]


def test_bad_events_are_about_the_same_people_in_either_version(installation):
    land(installation, [old_event(1, amount=-1, user="4003"), new_event(3, ts="then")])
    process(installation)
    first, second = rows(installation, "bad_events")
    assert first["subject_tag"] == second["subject_tag"] is not None
    (tag,) = subject_tags(installation.index_key, "customer", [canonical_id("4003")])
    assert first["subject_tag"] == tag.hex()


def test_redelivered_events_and_ids_that_come_again_in_the_other_version(installation):
    events = [old_event(1), new_event(1), old_event(1), new_event(2, id="old-1"), new_event(1), old_event(3)]
    land(installation, events)
    land(installation, [old_event(3), old_event(4, id="new-1")], "b.jsonl")
    process(installation)
    found = rows(installation, "pseudonymized_events")
    assert Counter((row["_contract"], row["amount"], row["_event_id_reused"]) for row in found) == {
        (OLD, 1, False): 1,
        (NEW, 1, False): 1,
        (NEW, 2, True): 1,
        (OLD, 3, False): 1,
        (OLD, 4, True): 1,
    }


def test_queries_see_the_columns_of_both(installation):
    land(installation, interleaved(30))
    process(installation)
    sql = """SELECT _contract, count(*) AS n, count(coupon) AS coupons, count(visit) AS visits
             FROM visits.pseudonymized_events GROUP BY _contract ORDER BY _contract DESC"""
    assert query(installation, sql).rows == [[OLD, 30, 30, 0], [NEW, 30, 0, 30]]
    sql = "SELECT email, count(*) FROM visits.report WHERE _contract = '{}' GROUP BY ALL ORDER BY ALL LIMIT 1"
    assert query(installation, sql.format(OLD)).rows == [["old0@example.com", 3]]
    assert len(query(installation, sql.format(NEW)).rows[0][0]) == 64


def test_a_table_of_the_warehouse_has_the_columns_of_both(folder, installation):
    land(installation, interleaved(30))
    process(installation)
    assert load_hour(installation, installation.streams["visits"], "all_visits", HOUR).counts["loaded"] == 60
    sql = (
        "SELECT _contract, count(coupon), count(visit), sum(amount) FROM all_visits GROUP BY ALL ORDER BY ALL"
    )
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        found = connection.execute(sql).fetchall()
    assert found == [(NEW, 0, 30, 435), (OLD, 30, 0, 435)]


def test_an_erasure_finds_the_events_of_both(installation):
    land(installation, interleaved(40))
    tags = subject_tags(installation.index_key, "customer", [canonical_id("4003"), canonical_id("4001")])
    later = hour_start(HOUR) + timedelta(days=1)
    process(installation)
    for tag in tags:
        installation.keys.forget(tag, erased_at=later, expires_at=later + timedelta(days=9))
    process(installation, force=True)
    emails = {row["email"] for row in rows(installation, "report") if row["_contract"] == OLD}
    assert emails and not emails & {"old1@example.com", "old3@example.com"}
    erased = [n for n in range(40) if n % 5 in (1, 3)]
    left = Counter(row["_contract"] for row in rows(installation, "pseudonymized_events"))
    assert left == {OLD: 40 - len([n for n in erased if n % 4]), NEW: 40 - len(erased)}


def test_through_dagster(installation):
    land(installation, [*interleaved(20), *interleaved(2)])
    run = run_hour(installation, ["visits"], HOUR)
    assert (run.success, run.failed_checks, run.failed_steps) == (True, (), ())
    assert len(rows(installation, "pseudonymized_events")) == 40


def archive_old(folder: Path):
    file = folder / "streams" / "visits" / "old.yaml"
    file.write_text(file.read_text().replace("state: active", "state: archived"))


def test_events_that_name_an_archived_version_are_refused(folder, installation):
    land(installation, interleaved(5))
    process(installation)
    archive_old(folder)
    later = install(folder)
    process(later)
    assert bad(later) == {("unknown_contract", NEW): 5}
    later.close()


def test_of_an_archived_version_what_cannot_be_made_again_stays(folder, installation):
    """Its landing objects are gone; the newest version asks for a key field that these rows do not have."""
    land(installation, interleaved(5))
    process(installation)
    before = files(folder, "lake", "consented")
    archive_old(folder)
    shutil.rmtree(folder / "storage" / "landing")
    later = install(folder)
    stream = later.streams["visits"]
    kept = [
        validate_hour(later, stream, HOUR).kept,
        pseudonymize_hour(later, stream, HOUR).kept,
        derive_hour(later, stream, "report", HOUR).kept,
    ]
    assert all(len(reasons) == 1 for reasons in kept)
    assert files(folder, "lake", "consented") == before
    later.close()


def test_rows_of_an_archived_version_are_the_newests_where_that_can_have_them(folder, installation):
    """A stricter treatment reaches what is validated already, though its landing objects are gone."""
    write_streams(
        folder, OLD_CONTRACT, OLD_CONTRACT.replace("1.9.0", "1.10.0").replace("state: active", "state: draft")
    )
    before = install(folder)
    land(before, [old_event(number) for number in range(5)])
    process(before)
    stricter = OLD_CONTRACT.replace("1.9.0", "1.10.0").replace("  page: keep\n", "")
    write_streams(folder, OLD_CONTRACT.replace("state: active", "state: archived"), stricter)
    shutil.rmtree(folder / "storage" / "landing")
    after = install(folder)
    assert pseudonymize_hour(after, after.streams["visits"], HOUR).made == 1
    found = rows(after, "pseudonymized_events")
    assert {row["_contract"] for row in found} == {NEW}
    assert all(len(row["page"]) == 64 for row in found)
    before.close()
    after.close()
