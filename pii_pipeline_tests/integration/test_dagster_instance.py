"""The instance that runs are written to is the one that the UI reads, and tells it while it is written."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from pii_pipeline.runs.instance import open_instance
from pii_pipeline.settings import project_root


@dg.op
def count() -> int:
    return 1


@dg.job
def counting() -> None:
    count()


def home(folder: Path, more: str = "") -> Path:
    folder.mkdir(mode=0o700, parents=True)
    (folder / "dagster.yaml").write_text((project_root() / "dagster.yaml").read_text() + more)
    return folder


def made(file: Path) -> tuple[object, ...]:
    """Tables, migrations and journal of a database."""
    with closing(sqlite3.connect(file)) as database:
        return tuple(
            sorted(database.execute(sql).fetchall())
            for sql in (
                "SELECT name, sql FROM sqlite_master",
                "SELECT * FROM alembic_version",
                "PRAGMA journal_mode",
            )
        )


def test_the_files_are_those_that_dagster_itself_makes(tmp_path: Path) -> None:
    ours, dagsters = home(tmp_path / "ours"), home(tmp_path / "dagsters")
    runs: dict[Path, str] = {}
    for folder, instance in (
        (ours, open_instance(ours)),
        (dagsters, dg.DagsterInstance.from_config(str(dagsters))),
    ):
        with instance:
            runs[folder] = counting.execute_in_process(instance=instance).run_id
    for name in ("history/runs.db", "history/runs/index.db"):
        assert made(ours / name) == made(dagsters / name), name
    run = [folder / "history" / "runs" / f"{run_id}.db" for folder, run_id in runs.items()]
    assert made(run[0]) == made(run[1])
    assert not list(ours.rglob("*-wal")), "closing leaves nothing beside the databases"


def test_what_is_written_is_read_by_dagster_and_goes_on_in_the_same_files(tmp_path: Path) -> None:
    folder = home(tmp_path / "dagster")
    ids = []
    for _ in range(2):
        with open_instance(folder) as instance:
            ids += [counting.execute_in_process(instance=instance).run_id for _ in range(2)]
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        assert {run.run_id for run in instance.get_runs()} == set(ids)
        for run_id in ids:
            kinds = [entry.dagster_event_type for entry in instance.all_logs(run_id)]
            assert kinds[0] == dg.DagsterEventType.RUN_START
            assert kinds[-1] == dg.DagsterEventType.RUN_SUCCESS


def test_whoever_watches_a_run_is_told_while_it_goes_on(tmp_path: Path) -> None:
    folder = home(tmp_path / "dagster")
    told = threading.Event()
    waited: list[bool] = []

    @dg.op
    def wait_for_the_watcher(context: dg.OpExecutionContext) -> None:
        watching.watch_event_logs(context.run_id, None, lambda *_: told.set())
        context.log.info("something to see")
        waited.append(told.wait(30))

    @dg.job
    def watched() -> None:
        wait_for_the_watcher()

    with open_instance(folder) as instance, dg.DagsterInstance.from_config(str(folder)) as watching:
        assert watched.execute_in_process(instance=instance).success
    assert waited == [True]


@pytest.mark.parametrize(
    "storage",
    [
        "storage: {sqlite: {base_dir: ELSEWHERE}}",
        "storage: {sqlite: {base_dir: {env: STORAGE_OF_THIS_TEST}}}",
        "event_log_storage:\n"
        "  module: dagster._core.storage.event_log\n"
        "  class: ConsolidatedSqliteEventLogStorage\n"
        "  config: {base_dir: ELSEWHERE}\n",
    ],
)
def test_a_storage_that_somebody_configured_is_used(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_OF_THIS_TEST", str(tmp_path / "elsewhere"))
    folder = home(tmp_path / "dagster", "\n" + storage.replace("ELSEWHERE", str(tmp_path / "elsewhere")))
    with open_instance(folder) as instance:
        run_id = counting.execute_in_process(instance=instance).run_id
    assert list((tmp_path / "elsewhere").rglob("*.db"))
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        assert instance.get_run_by_id(run_id)


@pytest.mark.parametrize("name", ["runs.db", "runs/index.db"])
def test_a_database_that_was_not_made_to_its_end_is_made(tmp_path: Path, name: str) -> None:
    folder = home(tmp_path / "dagster")
    file = folder / "history" / name
    file.parent.mkdir(parents=True)
    file.touch()
    with open_instance(folder) as instance:
        run_id = counting.execute_in_process(instance=instance).run_id
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        assert instance.get_run_by_id(run_id)
