"""Datasets into warehouse tables, through the ledger, on each kind of warehouse."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from pii_pipeline.cli import cli
from pii_pipeline.lake import UnreadableFile
from pii_pipeline.ledger import Ledger, StaleUpstream
from pii_pipeline.pipeline import workers
from pii_pipeline.pipeline.derive import derive_hour
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import LayerResult
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.pipeline.warehouse import load_hour
from pii_pipeline.runs import run_hour
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline.warehouse.errors import DoesNotFit
from pii_pipeline.warehouse.table import Table
from pii_pipeline.warehouse.warehouse import OpenTable, Warehouse
from pii_pipeline_tests.integration.small_streams import (
    GOOD,
    HOUR,
    environment,
    land_events,
)
from pii_pipeline_tests.warehouses import ask, columns

LATER = "2026-11-22T11"
TABLES = """\
warehouse:
  visits:
    description: Who visited what.
    columns:
      person: {field: user, type: varchar(64)}
      page: {type: varchar(16)}
      day: {field: _event_time, convert: date}
  readers:
    description: What readers of the report agreed to.
    from: report
"""

Install = Callable[[], Installation]


@pytest.fixture
def variables(tmp_path: Path, warehouse_url: str) -> dict[str, str]:
    """The environment of an installation in which the stream `alpha` has tables."""
    found = environment(tmp_path) | {"PII_WAREHOUSE_URL": warehouse_url}
    with (tmp_path / "streams" / "alpha" / "stream.yaml").open("a") as file:
        file.write(TABLES)
    return found


@pytest.fixture
def install(variables: dict[str, str]) -> Iterator[Install]:
    """Opens the installation, as a new process would."""
    opened: list[Installation] = []

    def call() -> Installation:
        opened.append(Installation(read_settings(variables, project=project_root())))
        return opened[-1]

    yield call
    for installation in opened:
        installation.close()


def edit(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / "streams" / "alpha" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def change_contract(folder: Path, old: str, new: str) -> None:
    """As the next version: one that is active does not change."""
    edit(folder, "contract.yaml", old, new)
    edit(folder, "contract.yaml", "/1.0.0", "/1.0.1")


def make_datasets(installation: Installation, hour: str = HOUR, force: bool = False) -> None:
    """Everything above the tables."""
    stream = installation.streams["alpha"]
    seal_hour(installation, stream, hour)
    validate_hour(installation, stream, hour, force)
    pseudonymize_hour(installation, stream, hour, force)
    derive_hour(installation, stream, "report", hour, force)


def load(
    installation: Installation, hour: str = HOUR, table: str = "visits", force: bool = False
) -> tuple[LayerResult, int]:
    """What came of loading, and how many rows were loaded for it."""
    moved = 0

    def progress(layer: str, records: int, bytes: int) -> None:
        nonlocal moved
        assert layer == table
        moved += records

    result = load_hour(installation, installation.streams["alpha"], table, hour, force, progress)
    return result, moved


def rows_by_batch(url: str, table: str = "visits") -> dict[str, int]:
    return dict(ask(url, f"SELECT _batch, count(*) FROM {table} GROUP BY _batch"))


FIRST, SECOND = "alpha-20261122T10-0001", "alpha-20261122T10-0002"
NEXT = "alpha-20261122T11-0001"


def test_what_is_loaded_is_not_loaded_again(install: Install, warehouse_url: str) -> None:
    installation = install()
    land_events(installation, "alpha", GOOD)
    make_datasets(installation)
    first, moved = load(installation)
    assert (first.made, first.skipped, moved) == (1, 0, 10)
    assert first.counts == {"pseudonymized": 10, "loaded": 10}
    again, moved = load(install())
    assert (again.made, again.skipped, moved, again.counts) == (0, 1, 0, first.counts)
    forced, moved = load(install(), force=True)
    assert (forced.made, forced.skipped, moved) == (1, 0, 10)
    found = ask(warehouse_url, "SELECT person, page, day, _batch FROM visits")
    assert len({person for person, *_ in found}) == 10
    assert all(len(person) == 64 and not person.startswith("user-") for person, *_ in found)
    assert {(page, str(day), batch) for _, page, day, batch in found} == {("home", "2026-11-22", FIRST)}


def test_every_column_of_a_derived_dataset(install: Install, warehouse_url: str) -> None:
    installation = install()
    land_events(installation, "alpha", GOOD)
    make_datasets(installation)
    result, _ = load(installation, table="readers")
    assert result.counts == {"admitted": 5, "loaded": 5}
    assert list(columns(warehouse_url, "readers")) == [
        "_event_time",
        "_contract",
        "user",
        "page",
        "email",
        "consent",
        "_batch",
    ]
    found = ask(warehouse_url, "SELECT email, consent FROM readers ORDER BY email")
    assert found == [(f"user{n}@example.org", [1]) for n in range(1, 10, 2)]


def test_a_new_batch_is_loaded_beside_the_others(install: Install, warehouse_url: str) -> None:
    installation = install()
    land_events(installation, "alpha", GOOD)
    make_datasets(installation)
    load(installation)
    land_events(installation, "alpha", GOOD[:3], "b.json")
    make_datasets(installation)
    result, moved = load(installation)
    assert (result.made, result.skipped, moved) == (1, 1, 3)
    assert result.counts == {"pseudonymized": 13, "loaded": 13}
    assert rows_by_batch(warehouse_url) == {FIRST: 10, SECOND: 3}


def test_batches_are_loaded_by_this_process_one_after_the_other(
    install: Install, variables: dict[str, str], warehouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = install()
    land_events(installation, "alpha", GOOD)
    make_datasets(installation)
    land_events(installation, "alpha", GOOD[:3], "b.json")
    make_datasets(installation)
    variables["PII_WORKERS"] = "2"
    monkeypatch.setattr(workers, "WORTH_WORKERS", 0)
    installation = install()
    assert installation.worth_workers([1, 1])
    assert load(installation)[0].made == 2
    assert rows_by_batch(warehouse_url) == {FIRST: 10, SECOND: 3}
    assert "processes" not in vars(installation)


def test_what_was_made_again_above_is_replaced(install: Install, warehouse_url: str, tmp_path: Path) -> None:
    installation = install()
    land_events(installation, "alpha", GOOD)
    make_datasets(installation)
    load(installation)
    before = ask(warehouse_url, "SELECT person FROM visits ORDER BY person")
    change_contract(tmp_path, "page: keep", "page: keep\n  user: {pseudonymize: {domain: customer}}")
    installation = install()
    make_datasets(installation)
    result, moved = load(installation)
    assert (result.made, moved) == (1, 10)
    assert rows_by_batch(warehouse_url) == {FIRST: 10}
    after = ask(warehouse_url, "SELECT person FROM visits ORDER BY person")
    assert not {person for (person,) in before} & {person for (person,) in after}


def two_hours(install: Install) -> None:
    """Both hours are in the lake and in the table, with 10 and 4 rows."""
    installation = install()
    land_events(installation, "alpha", GOOD)
    landing = installation.settings.zones["landing"]
    later = Path(landing, "alpha", "2026", "11", "22", "11")
    later.mkdir(parents=True)
    (later / "c.json").write_text("".join(json.dumps(event) + "\n" for event in GOOD[:4]))
    for hour in (HOUR, LATER):
        make_datasets(installation, hour)
        load(installation, hour)


def test_a_table_declared_otherwise_is_filled_again_at_once(
    install: Install, warehouse_url: str, tmp_path: Path
) -> None:
    two_hours(install)
    edit(
        tmp_path,
        "stream.yaml",
        "  day: {field: _event_time, convert: date}",
        "  moment: {field: _event_time}",
    )
    installation = install()
    result, moved = load(installation)
    assert (result.made, moved) == (1, 14), "the other hour's, too: all of the table"
    assert rows_by_batch(warehouse_url) == {FIRST: 10, NEXT: 4}
    assert list(columns(warehouse_url, "visits")) == ["person", "page", "_batch", "moment"]
    assert ask(warehouse_url, "SELECT count(moment) FROM visits") == [(14,)]
    later, moved = load(installation, LATER)
    assert (later.made, later.counts["loaded"], moved) == (1, 4, 0)
    assert load(installation, LATER)[0].skipped == 1


def test_a_table_declared_too_narrow_stays_as_it_was(
    install: Install, warehouse_url: str, tmp_path: Path
) -> None:
    two_hours(install)
    edit(tmp_path, "stream.yaml", "varchar(16)", "varchar(3)")
    with pytest.raises(DoesNotFit, match=r"visits\.page: a text is longer than varchar\(3\)"):
        load(install())
    assert rows_by_batch(warehouse_url) == {FIRST: 10, NEXT: 4}
    assert ask(warehouse_url, "SELECT DISTINCT page FROM visits") == [("home",)]


def test_a_contract_with_other_fields_hour_by_hour(
    install: Install, warehouse_url: str, tmp_path: Path
) -> None:
    """Until an hour is made again, its file has not the new column: null, and no row is missed meanwhile."""
    two_hours(install)
    edit(
        tmp_path,
        "event.schema.json",
        '"page": {"type": "string"}',
        '"page": {"type": "string"}, "n": {"type": "integer"}',
    )
    change_contract(tmp_path, "page: keep", "page: {mask: {keep_first: 1}}\n  n: keep")
    edit(
        tmp_path,
        "stream.yaml",
        "      page: {type: varchar(16)}",
        "      page: {type: varchar(16)}\n      n: {}",
    )
    installation = install()
    make_datasets(installation)
    load(installation)
    assert rows_by_batch(warehouse_url) == {FIRST: 10, NEXT: 4}
    by_page = "SELECT page, count(*), count(n) FROM visits GROUP BY page ORDER BY page"
    assert ask(warehouse_url, by_page) == [("h***", 10, 0), ("home", 4, 0)]
    make_datasets(installation, LATER)
    _, moved = load(installation, LATER)
    assert moved == 4
    assert ask(warehouse_url, by_page) == [("h***", 14, 0)]


def test_a_table_that_is_lost_is_loaded_though_the_ledger_has_it(
    install: Install, warehouse_url: str
) -> None:
    two_hours(install)
    ask(warehouse_url, "DROP TABLE visits")
    result, moved = load(install())
    assert (result.made, moved) == (1, 10)
    assert rows_by_batch(warehouse_url) == {FIRST: 10}
    load(install(), LATER)
    assert rows_by_batch(warehouse_url) == {FIRST: 10, NEXT: 4}


def test_batches_that_the_ledger_does_not_hold_do_not_stay(
    install: Install, warehouse_url: str, tmp_path: Path
) -> None:
    two_hours(install)
    with closing(sqlite3.connect(tmp_path / "pii.db")) as database:
        for table in ("ledger_files", "ledger_commits"):
            database.execute(f"DELETE FROM {table} WHERE batch_id = '{NEXT}'")
        database.commit()
    load(install())
    assert rows_by_batch(warehouse_url) == {FIRST: 10}


def test_what_does_not_fit_fails_its_batch_and_quotes_nothing(install: Install, warehouse_url: str) -> None:
    installation = install()
    land_events(installation, "alpha", GOOD)
    make_datasets(installation)
    load(installation)
    secret = "a-very-secret-page-name"
    land_events(installation, "alpha", [{**GOOD[0], "page": secret}], "b.json")
    run = run_hour(installation, ["alpha"], HOUR)
    (failed,) = run.failed_steps
    assert failed.step == "alpha__visits"
    assert failed.reason.startswith("DoesNotFit: visits.page: a text is longer than varchar(16) — widen the")
    assert secret not in failed.reason
    assert run.not_made == ("alpha/visits",), "the other table is"
    assert rows_by_batch(warehouse_url) == {FIRST: 10}
    assert rows_by_batch(warehouse_url, "readers") == {FIRST: 5}


def test_a_committed_file_that_is_gone_is_named(install: Install) -> None:
    installation = install()
    land_events(installation, "alpha", GOOD)
    make_datasets(installation)
    (path,) = installation.ledger.files("alpha", "pseudonymized_events")
    Path(installation.zones.lake.path(path)).unlink()
    with pytest.raises(UnreadableFile, match=f"{path}: is committed, and not there"):
        load(installation)


def test_killed_between_the_two_commits(
    install: Install, variables: dict[str, str], warehouse_url: str
) -> None:
    installation = install()
    land_events(installation, "alpha", GOOD)
    make_datasets(installation)
    program = f"""
import os, signal
from pii_pipeline.ledger import Ledger
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.warehouse import load_hour
from pii_pipeline.settings import read_settings
Ledger.commit = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
installation = Installation(read_settings({variables!r}))
load_hour(installation, installation.streams["alpha"], "visits", {HOUR!r})
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    assert rows_by_batch(warehouse_url) == {FIRST: 10}
    assert installation.ledger.committed_batches("alpha", "pseudonymized_events/visits") == set()
    result, moved = load(installation)
    assert (result.made, result.counts["loaded"], moved) == (1, 10, 0)
    assert rows_by_batch(warehouse_url) == {FIRST: 10}
    assert installation.ledger.committed_batches("alpha", "pseudonymized_events/visits") == {FIRST}


@pytest.mark.parametrize("lease", [True, False], ids=["lease held", "lease lost"])
def test_two_runs_at_once_leave_one_version(
    install: Install, warehouse_url: str, monkeypatch: pytest.MonkeyPatch, lease: bool
) -> None:
    installation = install()
    land_events(installation, "alpha", GOOD)
    make_datasets(installation)
    if not lease:
        monkeypatch.setattr(Ledger, "lease", lambda *_, **__: nullcontext())
    errors: list[Exception] = []

    def work(mine: Installation) -> None:
        try:
            for _ in range(3):
                load(mine, force=True)
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(install(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert rows_by_batch(warehouse_url) == {FIRST: 10}
    assert load(install())[0].skipped == 1


def test_who_was_overtaken_does_not_load_what_was_replaced(
    install: Install, warehouse_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that lost its lease comes to load after another one has made the lake again and loaded that."""
    slow = install()
    land_events(slow, "alpha", GOOD)
    make_datasets(slow)
    real = Warehouse.open
    opened = 0

    def open_late(self: Warehouse, table: Table) -> AbstractContextManager[OpenTable]:
        nonlocal opened
        if self is slow.warehouse:
            opened += 1
            if opened == 2:  # the first time it looked what is there
                change_contract(tmp_path, "page: keep", "page: {mask: {keep_first: 1}}")
                quick = install()
                make_datasets(quick)
                load(quick)
        return real(self, table)

    held = SimpleNamespace(confirm=lambda connection: None, renew=lambda: None)
    monkeypatch.setattr(Ledger, "lease", lambda *_, **__: nullcontext(held))
    monkeypatch.setattr(Warehouse, "open", open_late)
    with pytest.raises(StaleUpstream, match="pseudonymized_events was made again meanwhile"):
        load(slow)
    assert opened == 2
    assert ask(warehouse_url, "SELECT page, count(*) FROM visits GROUP BY page") == [("h***", 10)]
    assert load(install())[0].skipped == 1


def test_through_dagster(install: Install, warehouse_url: str) -> None:
    installation = install()
    land_events(installation, "alpha", GOOD)
    run = run_hour(installation, None, HOUR)
    assert (run.success, run.failed_checks, run.failed_steps, run.not_made) == (True, (), (), ())
    assert (rows_by_batch(warehouse_url), rows_by_batch(warehouse_url, "readers")) == (
        {FIRST: 10},
        {FIRST: 5},
    )
    (status,) = installation.ledger.status("alpha", HOUR)
    assert status.violations() == []
    assert status.layers["pseudonymized_events/visits"].counts == {"pseudonymized": 10, "loaded": 10}
    assert status.layers["report/readers"].counts == {"admitted": 5, "loaded": 5}
    assert status.pending("report/readers") == 0


def test_a_server_that_is_not_there_stops_its_tables_alone(
    variables: dict[str, str], warehouse_url: str
) -> None:
    gone = "postgresql://ann:s3cret@127.0.0.1:1/shop"
    installation = Installation(
        read_settings(variables | {"PII_WAREHOUSE_URL": gone}, project=project_root())
    )
    land_events(installation, "alpha", GOOD)
    run = run_hour(installation, ["alpha"], HOUR)
    installation.close()
    assert {failed.step for failed in run.failed_steps} == {"alpha__visits", "alpha__readers"}
    for failed in run.failed_steps:
        assert (
            "WarehouseUnavailable: PII_WAREHOUSE_URL: postgresql://ann:***@127.0.0.1:1/shop" in failed.reason
        )
        assert "start the database, or mend the URL" in failed.reason
        assert "s3cret" not in failed.reason
    assert run.not_made == ("alpha/readers", "alpha/visits")


def test_a_run_is_due_again_when_the_warehouse_is_another(
    install: Install, variables: dict[str, str], warehouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def run() -> dict[str, list]:
        done = CliRunner().invoke(cli, ["run", "alpha", "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    land_events(install(), "alpha", GOOD)
    made = run()
    assert made["up_to_date"] == []
    assert made["hours"][0]["tables"] == {"visits": {"loaded": 10}, "readers": {"loaded": 5}}
    assert made["hours"][0]["problems"] == []
    assert run()["up_to_date"] == [HOUR]
    if warehouse_url.startswith("duckdb"):
        Path(warehouse_url.removeprefix("duckdb:///")).unlink()
    else:
        ask(warehouse_url, "DROP TABLE readers")
    assert run()["up_to_date"] == []
    assert (rows_by_batch(warehouse_url), rows_by_batch(warehouse_url, "readers")) == (
        {FIRST: 10},
        {FIRST: 5},
    )
    assert run()["up_to_date"] == [HOUR]
