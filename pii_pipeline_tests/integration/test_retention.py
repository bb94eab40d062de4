"""What is old goes once it is made. What was made of it stays, and can be made again for a while."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import update

from pii_pipeline.definitions import build
from pii_pipeline.hours import hour_of, hour_start
from pii_pipeline.keys.tables import epoch_key
from pii_pipeline.lake import Zone, list_objects, put, read_parquet
from pii_pipeline.ledger import VALIDATED_EVENTS, LeaseHeld
from pii_pipeline.maintenance import APPLY_RETENTION, REPORT_KEY_AGES
from pii_pipeline.pipeline import pseudonymize, retention
from pii_pipeline.pipeline.derive import derive_hour
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.landing import land
from pii_pipeline.pipeline.layer import InputsGone, LayerResult
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.retention import Amount, Retained, apply_retention
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline_tests.aws import make_bucket
from pii_pipeline_tests.integration.small_streams import GOOD, environment

HOUR, NEXT_HOUR = (hour_of(datetime.now(UTC) - timedelta(hours=hours)) for hours in (3, 2))
"""Objects are as old as they are: what is tested is what happens days from now."""
IDENTIFIED = [{**event, "id": f"id-{number}"} for number, event in enumerate(GOOD)]
OLD = (datetime.now(UTC) - timedelta(days=8)).timestamp()


def identified(folder: Path) -> dict[str, str]:
    """The environment of the small streams, whose events have an id."""
    variables = environment(folder)
    for stream in (folder / "streams").iterdir():
        contract, schema = stream / "contract.yaml", stream / "event.schema.json"
        contract.write_text(contract.read_text() + "event_id_field: id\n")
        described = json.loads(schema.read_text())
        described["properties"]["id"] = {"type": "string"}
        schema.write_text(json.dumps(described))
    return variables


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Installation]:
    opened = Installation(read_settings(identified(tmp_path), project=project_root()), batch_bytes=1)
    yield opened
    opened.close()


@pytest.fixture(params=["local", "s3"])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    """One landing object is one batch."""
    if request.param == "local":
        yield request.getfixturevalue("local")
        return
    bucket = make_bucket(request.getfixturevalue("aws"), "events")
    variables = {**identified(tmp_path), "PII_STORAGE_URI": f"{bucket}/storage"}
    opened = Installation(read_settings(variables, project=project_root()), batch_bytes=1)
    yield opened
    opened.close()


def land_events(
    installation: Installation, events: Sequence[object], name: str = "a.json", hour: str = HOUR
) -> None:
    data = "".join(json.dumps(event) + "\n" for event in events).encode()
    land(installation.zones.landing, "alpha", hour, name, io.BytesIO(data))


def make(installation: Installation, hour: str = HOUR) -> list[LayerResult]:
    """All layers of the hour."""
    stream = installation.streams["alpha"]
    seal_hour(installation, stream, hour)
    return [
        validate_hour(installation, stream, hour),
        pseudonymize_hour(installation, stream, hour),
        derive_hour(installation, stream, "report", hour),
    ]


def retain(
    installation: Installation, at: datetime | None = None, dry_run: bool = False, **settings: timedelta
) -> Retained:
    stream = installation.streams["alpha"]
    kept = stream.retention.model_copy(update=settings)
    return apply_retention(
        installation, stream.model_copy(update={"retention": kept}), at or in_days(8), dry_run
    )


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def paths(zone: Zone) -> list[str]:
    return [info.path for info in list_objects(zone)]


def contents(zone: Zone) -> dict[str, bytes]:
    found = {}
    for path in paths(zone):
        with zone.storage.open_input(path) as file:
            found[path] = file.read()
    return found


def everything(installation: Installation) -> dict[str, Any]:
    zones = installation.zones
    return {
        zone.name: contents(zone) for zone in (zones.landing, zones.restricted, zones.lake, zones.consented)
    }


def numbers(done: Retained) -> dict[str, int]:
    return {dataset: amount.number for dataset, amount in done.deleted.items()}


def test_what_is_old_and_made_goes_and_what_was_made_of_it_stays(installation: Installation) -> None:
    land_events(installation, IDENTIFIED)
    land_events(installation, IDENTIFIED[:3], "b.json")
    make(installation)
    before, status = everything(installation), installation.ledger.status()
    told = retain(installation, dry_run=True)
    assert everything(installation) == before
    assert installation.ledger.deletions("alpha") == []
    done = retain(installation)
    assert (
        done
        == told
        == Retained(
            "alpha",
            {
                "raw_events": Amount(2, sum(map(len, before["landing"].values()))),
                "validated_events": Amount(
                    2,
                    sum(len(data) for path, data in before["restricted"].items() if VALIDATED_EVENTS in path),
                ),
            },
        )
    )
    after = everything(installation)
    assert after["landing"] == {}
    assert {path.split("/")[1] for path in after["restricted"]} == {"event_digests"}
    assert (after["lake"], after["consented"]) == (before["lake"], before["consented"])
    (hour,) = installation.ledger.status()
    assert hour.violations() == []
    assert [layer.counts for layer in hour.layers.values()] == [
        layer.counts for layer in status[0].layers.values()
    ]
    assert [(item.dataset, item.number) for item in installation.ledger.deletions("alpha")] == [
        ("raw_events", 2),
        ("validated_events", 2),
    ]
    assert [(result.made, result.skipped, result.kept) for result in make(installation)] == [(0, 2, [])] * 3
    assert numbers(retain(installation)) == {}


def test_what_is_not_made_to_its_end_stays_and_is_told(installation: Installation) -> None:
    stream = installation.streams["alpha"]
    land_events(installation, IDENTIFIED)
    make(installation)
    land_events(installation, GOOD[:1], "not-sealed.json")
    land_events(installation, GOOD[:2], hour=NEXT_HOUR)
    seal_hour(installation, stream, NEXT_HOUR)
    validate_hour(installation, stream, NEXT_HOUR)
    done = retain(installation)
    assert numbers(done) == {"raw_events": 1, "validated_events": 1}
    assert {place: amount.number for place, amount in done.kept.items()} == {
        (HOUR, "raw_events"): 1,
        (NEXT_HOUR, "raw_events"): 1,
        (NEXT_HOUR, "validated_events"): 1,
    }
    assert len(paths(installation.zones.landing)) == 2
    for hour in (HOUR, NEXT_HOUR):
        assert sum(result.made for result in make(installation, hour)) == (3 if hour == HOUR else 2)
    assert numbers(retain(installation)) == {"raw_events": 2, "validated_events": 2}
    assert paths(installation.zones.landing) == []


def test_how_long_things_stay_the_stream_says(local: Installation) -> None:
    land_events(local, IDENTIFIED)
    make(local)
    week = timedelta(days=7)
    assert numbers(retain(local, in_days(6.9), restricted=week)) == {}
    assert numbers(retain(local, in_days(6.9), restricted=timedelta(days=6))) == {"validated_events": 1}
    assert numbers(retain(local, in_days(6.9), landing=timedelta(days=30))) == {}
    assert numbers(retain(local, in_days(7.1), landing=timedelta(days=30))) == {}
    assert numbers(retain(local, in_days(7.1))) == {"raw_events": 1}


def test_an_object_that_was_overwritten_since_stays(installation: Installation) -> None:
    land_events(installation, IDENTIFIED)
    make(installation)
    (path,) = paths(installation.zones.landing)
    put(installation.zones.landing, path, json.dumps(GOOD[0]).encode())
    done = retain(installation)
    assert numbers(done) == {"validated_events": 1}
    assert {place: amount.number for place, amount in done.kept.items()} == {(HOUR, "raw_events"): 1}
    assert contents(installation.zones.landing) == {path: json.dumps(GOOD[0]).encode()}
    make(installation)
    assert numbers(retain(installation)) == {"raw_events": 1, "validated_events": 1}
    assert paths(installation.zones.landing) == []


def test_an_object_that_is_overwritten_at_the_last_moment_stays_and_is_not_counted(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    land_events(installation, IDENTIFIED)
    make(installation)
    (path,) = paths(installation.zones.landing)
    real = retention.delete_versions

    def overwritten(zone: Zone, wanted: list[Any]) -> list[Any]:
        put(zone, path, b"new")
        return real(zone, wanted)

    monkeypatch.setattr(retention, "delete_versions", overwritten)
    assert numbers(retain(installation)) == {"validated_events": 1}
    assert contents(installation.zones.landing) == {path: b"new"}
    assert installation.ledger.expiring_hours("alpha") == []
    assert [item.dataset for item in installation.ledger.deletions("alpha")] == ["validated_events"]


def test_an_object_that_comes_again_is_not_made_again_and_goes_again(installation: Installation) -> None:
    land_events(installation, IDENTIFIED)
    make(installation)
    retain(installation)
    land_events(installation, IDENTIFIED)
    assert [result.made for result in make(installation)] == [0, 0, 0]
    assert numbers(retain(installation)) == {"raw_events": 1}


def rows(installation: Installation) -> list[dict[str, Any]]:
    lake = installation.zones.lake
    found = installation.ledger.files("alpha", "pseudonymized_events")
    return [row for path in found for part in read_parquet(lake, path) for row in part.to_pylist()]


def test_what_is_made_again_is_validated_again_first_with_the_same_result(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    land_events(installation, IDENTIFIED)
    make(installation)
    land_events(installation, [*IDENTIFIED[5:], {**IDENTIFIED[0], "page": "shop"}], hour=NEXT_HOUR)
    first = make(installation, NEXT_HOUR)
    assert (first[0].counts["duplicate"], first[0].counts["event_id_reused"]) == (5, 1)
    lake = rows(installation)
    assert numbers(retain(installation, in_days(6))) == {"validated_events": 2}
    monkeypatch.setattr(pseudonymize, "CODE_VERSION", "another")
    again = make(installation, NEXT_HOUR)
    assert [(result.made, result.skipped, result.kept) for result in again] == [
        (0, 1, []),
        (1, 0, []),
        (1, 0, []),
    ]
    assert [result.counts for result in again] == [result.counts for result in first]
    assert rows(installation) == lake
    assert len(installation.ledger.files("alpha", VALIDATED_EVENTS, NEXT_HOUR)) == 1
    assert numbers(retain(installation, in_days(6))) == {"validated_events": 1}


def test_what_cannot_be_made_again_stays_as_it_is(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    land_events(installation, IDENTIFIED)
    make(installation)
    retain(installation)
    before = everything(installation)
    monkeypatch.setattr(pseudonymize, "CODE_VERSION", "another")
    stream = installation.streams["alpha"]
    kept = pseudonymize_hour(installation, stream, HOUR)
    assert (kept.made, len(kept.kept)) == (0, 1)
    assert kept.counts["pseudonymized"] == len(IDENTIFIED)
    for layer in (validate_hour, pseudonymize_hour):
        with pytest.raises(InputsGone, match="not there as it was sealed"):
            layer(installation, stream, HOUR, force=True)
    assert everything(installation) == before
    (hour,) = installation.ledger.status()
    assert (hour.violations(), hour.pending("pseudonymized_events"), hour.pending("report")) == ([], 0, 0)


def test_an_hour_that_somebody_works_on_is_left_for_the_next_time(local: Installation) -> None:
    land_events(local, IDENTIFIED)
    make(local)
    before = everything(local)
    with local.ledger.lease("alpha", HOUR):
        done = retain(local)
    assert (done.busy, done.deleted, everything(local)) == ({HOUR}, {}, before)
    assert numbers(retain(local)) == {"raw_events": 1, "validated_events": 1}


def test_no_run_begins_an_hour_that_is_being_cleared(
    local: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    land_events(local, IDENTIFIED)
    make(local)
    refused = []
    real = retention.delete_versions

    def meanwhile(zone: Zone, wanted: list[Any]) -> list[Any]:
        with pytest.raises(LeaseHeld), local.ledger.lease("alpha", HOUR, "a run"):
            pass
        refused.append(wanted)
        return real(zone, wanted)

    monkeypatch.setattr(retention, "delete_versions", meanwhile)
    retain(local)
    assert refused


def test_digests_stay_while_something_may_be_compared_with_them(local: Installation) -> None:
    land_events(local, IDENTIFIED)
    make(local)
    begun = hour_start(HOUR)
    land_events(local, GOOD[:1], "not-made.json", hour=NEXT_HOUR)
    at = begun + timedelta(days=30)
    assert numbers(retain(local, at)) == {"raw_events": 1, "validated_events": 1}
    make(local, NEXT_HOUR)
    assert numbers(retain(local, begun + timedelta(days=14))) == {"raw_events": 1, "validated_events": 1}
    assert numbers(retain(local, begun + timedelta(days=14, hours=1))) == {"event_digests": 1}
    assert numbers(retain(local, begun + timedelta(days=14, hours=2))) == {"event_digests": 1}
    assert paths(local.zones.restricted) == []


def test_digests_stay_beside_validated_events(local: Installation) -> None:
    land_events(local, IDENTIFIED)
    make(local)
    at = in_days(30)
    assert numbers(retain(local, at, restricted=timedelta(days=60))) == {"raw_events": 1}
    assert numbers(retain(local, at)) == {"validated_events": 1, "event_digests": 1}


KILLED = """
import os, signal, sys
from pii_pipeline.cli import main
from pii_pipeline.ledger import Ledger
from pii_pipeline.pipeline import retention

place, name = sys.argv.pop(1).split(".")
owner = {"Ledger": Ledger, "retention": retention}[place]
real = getattr(owner, name)

def then_killed(*args):
    real(*args)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, then_killed)
main()
"""


def pii(folder: Path, *arguments: str, killed: str | None = None) -> Any:
    """``pii … --json``; `killed`: after it has called this once."""
    start = ["-m", "pii_pipeline.cli"] if killed is None else ["-c", KILLED, killed]
    done = subprocess.run(
        [sys.executable, *start, *arguments, "--json"],
        env={**os.environ, **environment(folder), "PYTHONPATH": str(project_root())},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (0 if killed is None else -signal.SIGKILL), done.stderr
    return None if killed else json.loads(done.stdout)


@pytest.mark.parametrize(
    "moment", ["Ledger.expire", "retention.delete_versions", "retention.delete", "Ledger.expired"]
)
def test_killed_at_any_moment_the_next_one_ends_it_and_all_is_counted_once(
    local: Installation, tmp_path: Path, moment: str
) -> None:
    land_events(local, IDENTIFIED)
    land_events(local, IDENTIFIED[:3], "b.json")
    make(local)
    for path in paths(local.zones.landing):
        os.utime(local.zones.landing.path(path), (OLD, OLD))
    before = everything(local)
    pii(tmp_path, "retain", "alpha", killed=moment)
    pii(tmp_path, "retain", "alpha")
    after = everything(local)
    assert after["landing"] == {}
    assert {path.split("/")[1] for path in after["restricted"]} == {"event_digests"}
    assert (after["lake"], after["consented"]) == (before["lake"], before["consented"])
    assert local.ledger.expiring_hours("alpha") == []
    counted: dict[str, int] = {}
    for item in pii(tmp_path, "retain", "--history"):
        counted[item["dataset"]] = counted.get(item["dataset"], 0) + item["number"]
    assert counted == {"raw_events": 2, "validated_events": 2}
    assert [(result.made, result.skipped) for result in make(local)] == [(0, 2)] * 3


def output_of(local: Installation, job: str) -> tuple[dict[str, Any], list[str]]:
    """What the job's step shows, tables as rows; and what it warns of."""
    definitions = build(local)
    with dg.DagsterInstance.ephemeral() as instance:
        done = definitions.resolve_job_def(job).execute_in_process(instance=instance)
        (event,) = [event for event in done.all_events if event.is_successful_output]
        said = instance.all_logs(done.run_id)
    shown = event.event_specific_data.metadata  # type: ignore[union-attr]
    return {
        name: [dict(record.data) for record in value.records]
        if isinstance(value, dg.TableMetadataValue)
        else value.value
        for name, value in shown.items()
    }, [entry.user_message for entry in said if entry.level == logging.WARNING]


def metadata_of(local: Installation, job: str) -> dict[str, Any]:
    """The first of it."""
    return output_of(local, job)[0]


def test_the_job_deletes_in_every_stream_and_shows_numbers(local: Installation) -> None:
    land_events(local, IDENTIFIED)
    make(local)
    land_events(local, GOOD[:1], "not-made.json")
    for path in paths(local.zones.landing):
        os.utime(local.zones.landing.path(path), (OLD, OLD))
    shown = metadata_of(local, APPLY_RETENTION)
    assert [(row["stream"], row["dataset"], row["number"]) for row in shown["deleted"]] == [
        ("alpha", "raw_events", 1),
        ("alpha", "validated_events", 1),
    ]
    assert [(row["hour"], row["dataset"], row["number"]) for row in shown["kept"]] == [
        (HOUR, "raw_events", 1)
    ]
    assert [path.rpartition("/")[2] for path in paths(local.zones.landing)] == ["not-made.json"]


def test_the_report_of_key_ages_names_kinds_and_days_and_no_key(local: Installation) -> None:
    land_events(local, IDENTIFIED)
    make(local)
    shown = metadata_of(local, REPORT_KEY_AGES)["key_ages"]
    assert {row["kind"] for row in shown} >= {"index", "pseudonym secret", "epoch", "window", "restricted"}
    assert {row["stream"] for row in shown} == {"", "alpha"}
    assert {(row["keys"], row["oldest_days"]) for row in shown} == {(1, 0)}


def test_the_report_of_key_ages_warns_of_a_key_that_is_too_old(local: Installation) -> None:
    land_events(local, IDENTIFIED)
    make(local)
    shown, warned = output_of(local, REPORT_KEY_AGES)
    assert (shown["overdue"], warned) == (0, [])
    with local.engine.begin() as connection:
        connection.execute(update(epoch_key).values(created_at=datetime.now(UTC) - timedelta(days=91)))
    shown, warned = output_of(local, REPORT_KEY_AGES)
    assert (shown["overdue"], warned) == (1, ["the epoch key is 91 days old, of 90 at most"])


@pytest.mark.parametrize(
    ("name", "job", "cron"),
    [
        ("daily_retention", APPLY_RETENTION, "30 3 * * *"),
        ("weekly_key_ages", REPORT_KEY_AGES, "0 6 * * 1"),
    ],
)
def test_schedules_are_in_utc_and_run(local: Installation, name: str, job: str, cron: str) -> None:
    schedule = build(local).resolve_schedule_def(name)
    assert (schedule.job_name, schedule.cron_schedule, schedule.execution_timezone) == (job, cron, "UTC")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
