"""An hour whose run succeeded is not run again before something has changed, and always then."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from pii_pipeline.cli import cli
from pii_pipeline.runs import Runner
from pii_pipeline_tests.integration.small_streams import BAD, GOOD, HOUR, environment, install, land_events

Run = Callable[..., dict[str, object]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``pii run --json`` over two streams, of which only `alpha` has something."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    land(tmp_path, GOOD)

    def call(*arguments: str, code: int = 0) -> dict[str, object]:
        done = CliRunner().invoke(cli, ["run", "--json", *arguments])
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)

    return call


def land(folder: Path, events: list, name: str = "a.json", stream: str = "alpha") -> None:
    opened = install(folder)
    land_events(opened, stream, events, name)
    opened.close()


def runs(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "dagster" / "history" / "runs.db")) as database:
        return database.execute("SELECT count(*) FROM runs").fetchone()[0]


def test_nothing_new_starts_no_run(run: Run, tmp_path: Path) -> None:
    assert run()["up_to_date"] == []
    for _ in range(2):
        again = run()
        assert (again["up_to_date"], again["failed"]) == ([HOUR], [])
    assert runs(tmp_path) == 1
    assert run("--force")["up_to_date"] == []
    run()
    assert runs(tmp_path) == 2


def more(folder: Path) -> None:
    land(folder, GOOD[:3], "b.json")


def other_bytes(folder: Path) -> None:
    (file,) = (folder / "storage" / "landing").rglob("a.json")
    before = file.stat()
    file.write_bytes(file.read_bytes().replace(b"home", b"shop"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size


def settings(folder: Path) -> None:
    file = folder / "streams" / "alpha" / "stream.yaml"
    file.write_text(file.read_text().replace("0.25", "0.2"))


def contract(folder: Path) -> None:
    file = folder / "streams" / "alpha" / "contract.yaml"
    file.write_text(file.read_text().replace("1.0.0", "1.0.1").replace("  page: keep\n", ""))


def schema(folder: Path) -> None:
    file = folder / "streams" / "alpha" / "event.schema.json"
    file.write_text(file.read_text().replace('"minLength": 1', '"minLength": 2'))
    version = folder / "streams" / "alpha" / "contract.yaml"
    version.write_text(version.read_text().replace("1.0.0", "1.0.1"))


def instance(folder: Path) -> None:
    shutil.rmtree(folder / "dagster")


def ledger(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "pii.db")) as database:
        database.execute("DELETE FROM ledger_files WHERE layer = 'report'")
        database.execute("DELETE FROM ledger_commits WHERE layer = 'report'")
        database.commit()


@pytest.mark.parametrize(
    "change",
    [more, other_bytes, settings, contract, schema, instance, ledger],
    ids=lambda f: f.__name__,
)
def test_any_change_is_a_run_and_then_none(run: Run, tmp_path: Path, change: Callable[[Path], None]) -> None:
    run()
    change(tmp_path)
    before = 0 if change is instance else 1
    run()
    assert runs(tmp_path) == before + 1
    run()
    assert runs(tmp_path) == before + 1


def test_that_objects_and_validated_events_are_gone_is_no_change(run: Run, tmp_path: Path) -> None:
    run()
    (file,) = (tmp_path / "storage" / "landing").rglob("a.json")
    os.utime(file, (0, 0))
    assert CliRunner().invoke(cli, ["retain"]).exit_code == 0
    assert not file.exists()
    assert not list((tmp_path / "storage" / "restricted").rglob("*.parquet"))
    again = run()
    assert (again["up_to_date"], again["failed"], runs(tmp_path)) == ([HOUR], [], 1)


def test_only_the_streams_in_which_something_changed_are_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    land(tmp_path, GOOD, stream="beta")
    asked: list[object] = []
    real = Runner.run_hour

    def spy(self: Runner, streams: list[str], *rest: object) -> object:
        asked.append(streams)
        return real(self, streams, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Runner, "run_hour", spy)
    assert run()["up_to_date"] == []
    assert asked == [["beta"]]


def test_what_failed_is_run_again(run: Run, tmp_path: Path) -> None:
    land(tmp_path, BAD, "b.json")
    for number in (1, 2):
        assert run(code=1)["failed"]
        assert runs(tmp_path) == number


@pytest.mark.parametrize("cut", ["pii_pipeline.runs.Runner.run_hour", "pii_pipeline.cli.running._runner"])
def test_a_run_that_was_cut_short_is_made_up_for(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """Also one that was cut while Dagster was imported: workers are at work by then, and leave files."""
    run()
    with monkeypatch.context() as patched:
        patched.setattr(cut, lambda *_: 1 / 0)
        assert CliRunner().invoke(cli, ["run", "--force"]).exit_code == 1
    run()
    assert runs(tmp_path) == 2
