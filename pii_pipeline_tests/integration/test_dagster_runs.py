"""The main job through Dagster on a real instance: what it tells, what it stops, what it keeps to itself."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from pii_pipeline.cli import cli
from pii_pipeline.ledger import tables
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.runs import CannotRun, FailedCheck, HourRun, prepare_dagster_home, run_hour
from pii_pipeline.settings import project_root
from pii_pipeline_tests.integration.small_streams import (
    BAD,
    GOOD,
    HOUR,
    LEAKING,
    PARTITION,
    assets_of,
    environment,
    install,
    land_events,
)

DOWNSTREAM = ("pseudonymized_events", "report")


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    opened = install(tmp_path)
    yield opened
    opened.close()


def committed(installation: Installation, stream: str) -> set[str]:
    """The layers of the stream of which the ledger has something."""
    return {layer for status in installation.ledger.status(stream, HOUR) for layer in status.layers}


def metadata_of(installation: Installation, run: HourRun, asset: str) -> dict[str, object]:
    with dg.DagsterInstance.from_config(str(installation.settings.dagster_home)) as instance:
        events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        event = next(
            entry.dagster_event
            for entry in events
            if entry.dagster_event and entry.dagster_event.asset_key == dg.AssetKey(asset.split("/"))
        )
        assert event.partition == PARTITION
        return {
            name: value.value
            for name, value in event.step_materialization_data.materialization.metadata.items()
        }


def test_an_hour_is_made_once_and_again_when_forced(
    installation: Installation, capfd: pytest.CaptureFixture[str]
) -> None:
    for stream in ("alpha", "beta"):
        land_events(installation, stream, GOOD)
    first = run_hour(installation, None, HOUR)
    assert (first.success, first.failed_checks, first.failed_steps, first.not_made) == (True, (), (), ())
    made = metadata_of(installation, first, "alpha/pseudonymized_events")
    assert made["pseudonymized"] == made["dagster/partition_row_count"] == 10
    assert made["batches_made"] == 1
    for name in ("seconds", "records_per_second"):
        assert isinstance(made[name], float)
    assert isinstance(made["bytes"], int)

    second = run_hour(installation, ["alpha"], HOUR)
    assert second.success
    again = metadata_of(installation, second, "alpha/pseudonymized_events")
    assert (again["batches_made"], again["batches_skipped"], again["pseudonymized"]) == (0, 1, 10)
    assert "records_per_second" not in again, "a run that made nothing has no speed"

    forced = run_hour(installation, ["alpha"], HOUR, force=True)
    assert metadata_of(installation, forced, "alpha/report")["batches_made"] == 1
    assert capfd.readouterr() == ("", ""), "the console is the CLI's"


def test_progress_is_told_of_every_layer(installation: Installation) -> None:
    land_events(installation, "alpha", GOOD)
    told: list[tuple[str, int]] = []
    run_hour(
        installation, ["alpha"], HOUR, progress=lambda layer, records, bytes: told.append((layer, records))
    )
    assert told == [("validated_events", 10), ("pseudonymized_events", 10), ("report", 10)]


def test_an_hour_in_which_nothing_landed_succeeds(installation: Installation) -> None:
    run = run_hour(installation, None, HOUR)
    assert run.success
    assert metadata_of(installation, run, "beta/raw_events")["objects"] == 0


def test_too_many_bad_events_stop_their_stream_and_no_other(installation: Installation) -> None:
    land_events(installation, "alpha", [*GOOD, *BAD])
    land_events(installation, "beta", GOOD)
    run = run_hour(installation, None, HOUR)
    assert not run.success
    assert run.failed_checks == (
        FailedCheck("alpha/validated_events", "bad_event_rate", "10 of 20 records are bad, more than 25.0%"),
    )
    assert run.failed_steps == ()
    assert set(run.not_made) == assets_of("alpha", *DOWNSTREAM)
    assert committed(installation, "alpha") == {"validated_events"}
    assert committed(installation, "beta") == {"validated_events", *DOWNSTREAM}


def test_a_leak_is_refused_before_it_is_committed_and_stops_no_other_stream(
    installation: Installation, tmp_path: Path
) -> None:
    land_events(installation, "alpha", LEAKING)
    land_events(installation, "beta", GOOD)
    run = run_hour(installation, None, HOUR)
    assert not run.success
    (failed,) = run.failed_checks
    assert (failed.asset, failed.check) == ("alpha/pseudonymized_events", "no_personal_data")
    assert "page: looks like email" in failed.reason
    assert failed.reason.endswith(
        " — in a new version of the contract, since this one is in use: pii contract new-version alpha"
    )
    assert run.failed_steps == (), "the step failed because of the check, which is told already"
    assert set(run.not_made) == assets_of("alpha", *DOWNSTREAM)
    assert committed(installation, "alpha") == {"validated_events"}
    assert committed(installation, "beta") == {"validated_events", *DOWNSTREAM}
    assert files_with(tmp_path / "dagster", b"example.org") == []


def test_lost_records_are_noticed_afterwards(installation: Installation) -> None:
    for stream in ("alpha", "beta"):
        land_events(installation, stream, GOOD)
    assert run_hour(installation, None, HOUR).success
    with installation.engine.begin() as connection:
        ours = (tables.commits.c.stream == "alpha") & (tables.commits.c.layer == "validated_events")
        counts = connection.execute(sa.select(tables.commits.c.counts).where(ours)).scalar_one()
        assert counts["validated"] == 10
        connection.execute(sa.update(tables.commits).where(ours).values(counts={**counts, "validated": 9}))
    run = run_hour(installation, None, HOUR)
    assert run.failed_checks == (
        FailedCheck(
            "alpha/validated_events",
            "conservation",
            "validated_events: 10 records ≠ 9 validated + 0 bad + 0 duplicate",
        ),
    )
    assert set(run.not_made) == assets_of("alpha", *DOWNSTREAM)


def test_checks_are_recorded_for_their_partition(installation: Installation) -> None:
    land_events(installation, "alpha", GOOD)
    run = run_hour(installation, ["alpha"], HOUR)
    with dg.DagsterInstance.from_config(str(installation.settings.dagster_home)) as instance:
        entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    events = [entry.dagster_event for entry in entries if entry.dagster_event]
    found = {
        (event.asset_check_evaluation_data.asset_key.path[-1], event.asset_check_evaluation_data.check_name)
        for event in events
    }
    assert {event.asset_check_evaluation_data.partition for event in events} == {PARTITION}
    assert found == {
        ("validated_events", "conservation"),
        ("validated_events", "bad_event_rate"),
        ("bad_events", "no_personal_data"),
        ("pseudonymized_events", "conservation"),
        ("pseudonymized_events", "no_personal_data"),
        ("report", "conservation"),
        ("report", "no_personal_data"),
    }


def files_with(folder: Path, needle: bytes) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files, "nothing was searched"
    return [path for path in files if needle in path.read_bytes()]


def test_a_value_in_an_exception_reaches_neither_event_log_nor_console(
    installation: Installation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    planted = "anna.planted"

    def fail(*_: object) -> None:
        try:
            raise KeyError(planted)
        except KeyError:
            raise pa.ArrowInvalid(f"Failed to parse string: '{planted}'")  # noqa: B904

    monkeypatch.setattr("pii_pipeline.assets.pseudonymized_events.pseudonymize_hour", fail)
    land_events(installation, "alpha", GOOD)
    run = run_hour(installation, ["alpha"], HOUR)
    assert not run.success
    (failed,) = run.failed_steps
    assert failed.step == "alpha__pseudonymized_events"
    assert "ArrowInvalid" in failed.reason
    assert files_with(tmp_path / "dagster", b"ArrowInvalid"), (
        "the event log must tell what kind of error it was"
    )
    assert files_with(tmp_path / "dagster", planted.encode()) == []
    assert planted not in failed.reason + "".join(capfd.readouterr())


def test_dagsters_own_files_are_private(installation: Installation, tmp_path: Path) -> None:
    run_hour(installation, ["alpha"], HOUR)
    for path in [tmp_path / "dagster", *(tmp_path / "dagster").rglob("*")]:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_no_run_keeps_where_the_streams_files_are(installation: Installation, tmp_path: Path) -> None:
    """The definitions link to them, for an editor; nothing that is stored does."""
    land_events(installation, "alpha", GOOD)
    run_hour(installation, ["alpha"], HOUR)
    (folder,) = installation.settings.streams
    assert files_with(tmp_path / "dagster", b"pseudonymized_events")
    assert files_with(tmp_path / "dagster", str(folder).encode()) == []


def test_summaries_and_shares_are_told(installation: Installation) -> None:
    land_events(installation, "alpha", [*GOOD, *BAD[:2]])
    run = run_hour(installation, ["alpha"], HOUR)
    validated = metadata_of(installation, run, "alpha/validated_events")
    assert validated["bad_share"] == 0.166667
    assert "| 12 | 10 (83.3%) | 2 (16.7%) | 0 |" in str(validated["summary"])
    assert "| schema_violation | 2 |" in str(validated["summary"])
    report = metadata_of(installation, run, "alpha/report")
    assert report["withheld_share"] == 0.5
    assert "| 10 | 5 (50.0%) | 5 (50.0%) |" in str(report["summary"])
    assert next(iter(report)) == "summary", "it is shown first"


@pytest.mark.parametrize("hour", ["2025-12-31T23", "2999-01-01T00", "2026-11-22"])
def test_an_hour_that_is_no_partition_is_refused(installation: Installation, hour: str) -> None:
    with pytest.raises(CannotRun, match="hour"):
        run_hour(installation, None, hour)


def test_an_unknown_stream_is_refused(installation: Installation) -> None:
    with pytest.raises(CannotRun, match="gamma"):
        run_hour(installation, ["alpha", "gamma"], HOUR)


def test_a_run_of_everything_fails_at_a_broken_stream_and_makes_the_others(
    installation: Installation, tmp_path: Path
) -> None:
    for stream in ("alpha", "beta"):
        land_events(installation, stream, GOOD)
    contract = tmp_path / "streams" / "alpha" / "contract.yaml"
    contract.write_text(contract.read_text().replace("page: keep", "page: keeep"))
    opened = install(tmp_path)
    run = run_hour(opened, None, HOUR)
    assert not run.success
    assert run.not_made == ("alpha/raw_events",)
    (failed,) = run.failed_steps
    assert failed.step == "alpha__raw_events"
    assert "alpha/contract.yaml:10: fields.page: unknown treatment `keeep`" in failed.reason
    assert run_hour(opened, ["beta"], HOUR).success
    assert str(tmp_path) not in failed.reason, "it is stored with the run"
    opened.close()


def test_pii_run_makes_the_other_streams_and_fails_at_its_end(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in ("alpha", "beta"):
        land_events(installation, stream, GOOD)
    (tmp_path / "streams" / "alpha" / "stream.yaml").write_text("description: [\n")
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(cli, ["run", "--json"])
    assert done.exit_code == 1, done.output
    said = json.loads(done.stdout)
    assert [(report["stream"], report["validated"]) for report in said["hours"]] == [("beta", len(GOOD))]
    (failed,) = said["failed"]
    assert (failed["hour"], failed["asset"]) == (None, "alpha")
    assert failed["reason"].startswith(f"{tmp_path}/streams/alpha/stream.yaml:2: ")
    assert f"pii: alpha: {failed['reason']}" in done.stderr
    assert CliRunner().invoke(cli, ["run", "beta"]).exit_code == 0


@pytest.mark.parametrize(("events", "code"), [(GOOD, 0), (BAD, 1)])
def test_exit_code_of_dagster_asset_materialize(
    installation: Installation, tmp_path: Path, events: list[object], code: int
) -> None:
    land_events(installation, "alpha", events)
    prepare_dagster_home(installation.settings)
    materialize = "-m dagster asset materialize -m pii_pipeline.definitions --select * --partition"
    done = subprocess.run(
        [sys.executable, *materialize.split(), PARTITION],
        cwd=project_root(),
        env={**os.environ, **environment(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr[-3000:]
    assert "example.org" not in done.stdout + done.stderr
    assert "user-1" not in done.stdout + done.stderr
