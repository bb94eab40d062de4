"""Small files become few: every row once at any moment, whoever reads, whatever is killed or made again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from pii_pipeline.definitions import build
from pii_pipeline.lake import UnreadableFile, ZoneName, list_objects, open_input, read_parquet
from pii_pipeline.ledger import LeaseLost, tables
from pii_pipeline.maintenance import COMPACT_FILES
from pii_pipeline.pipeline import compaction, shared_files
from pii_pipeline.pipeline.compaction import CompactedHour, compact_hours, hours_to_compact
from pii_pipeline.pipeline.derive import derive_hour
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import InputsGone, LayerResult
from pii_pipeline.pipeline.places import accept, moved_zones
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.query import query
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.shared_files import held_files, take_apart
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.pipeline.warehouse import load_hour
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline_tests.aws import make_bucket
from pii_pipeline_tests.integration.small_streams import HOUR, environment, land_events

DATASETS = ("bad_events", "pseudonymized_events", "report")
PER_BATCH = 6
"""Good events of an object; there is a bad one too."""


def opened(variables: dict[str, str]) -> Installation:
    """An installation where each landing object is a batch."""
    return Installation(read_settings(variables, project=project_root()), batch_bytes=1)


@pytest.fixture(params=["folder and SQLite", "S3 and PostgreSQL"])
def variables(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of an installation on one machine, or of one in AWS."""
    found = environment(tmp_path)
    if request.param == "S3 and PostgreSQL":
        found["PII_STORAGE_URI"] = make_bucket(request.getfixturevalue("aws"), "zones")
        found["PII_DATABASE_URL"] = request.getfixturevalue("postgres_database_url")
    return found


@pytest.fixture
def local(tmp_path: Path) -> dict[str, str]:
    return environment(tmp_path)


@pytest.fixture
def installation(variables: dict[str, str]) -> Iterator[Installation]:
    installation = opened(variables)
    yield installation
    installation.close()


def land(installation: Installation, first: int, number: int) -> None:
    """Lands `number` objects, the first of which is called by `first`."""
    for batch in range(first, first + number):
        good = [
            {
                "user": f"user-{row % 4}",
                "page": f"page-{batch}-{row}",
                "email": f"user{row}@example.org",
                "consent": [1] if row % 2 else [],
            }
            for row in range(PER_BATCH)
        ]
        land_events(installation, "alpha", [*good, {"user": "user-1", "page": batch}], f"{batch:03}.json")


def make(installation: Installation, force: bool = False) -> list[LayerResult]:
    """What `pii run` does of stream and hour, without Dagster."""
    stream = installation.streams["alpha"]
    seal_hour(installation, stream, HOUR)
    return [
        validate_hour(installation, stream, HOUR, force),
        pseudonymize_hour(installation, stream, HOUR, force, ahead=()),
        *(derive_hour(installation, stream, dataset, HOUR, force) for dataset in stream.derived),
    ]


def made(variables: dict[str, str], batches: int = 4) -> Installation:
    installation = opened(variables)
    land(installation, 0, batches)
    make(installation)
    return installation


def compact(installation: Installation) -> list[CompactedHour]:
    streams = list(installation.streams.values())
    return list(compact_hours(installation, hours_to_compact(installation, streams)))


def rows(installation: Installation, dataset: str = "pseudonymized_events") -> list[tuple[object, ...]]:
    """The rows as readers get them who read every committed file once, in order."""
    zone = installation.zone_holding(dataset)
    return [
        tuple(row.values())
        for path in installation.ledger.files("alpha", dataset, HOUR)
        for part in read_parquet(zone, path)
        for row in part.to_pylist(maps_as_pydicts="lossy")
    ]


def all_rows(installation: Installation) -> dict[str, list[tuple[object, ...]]]:
    return {dataset: rows(installation, dataset) for dataset in DATASETS}


def shown(installation: Installation, *zones: ZoneName) -> set[str]:
    """The files that who lists the zones sees."""
    return {
        info.path
        for zone in zones or ("lake", "consented")
        for info in list_objects(getattr(installation.zones, zone))
    }


def hidden(installation: Installation) -> list[str]:
    """What lies there that nobody sees."""
    zones = installation.zones.lake, installation.zones.consented
    return [info.path for zone in zones for info in zone.storage.list("") if info.name.startswith(".")]


def committed(installation: Installation) -> set[str]:
    return {path for dataset in DATASETS for path in installation.ledger.files("alpha", dataset, HOUR)}


def contents(installation: Installation) -> dict[str, bytes]:
    found = {}
    for zone in (installation.zones.lake, installation.zones.consented):
        for info in list_objects(zone):
            with open_input(zone, info.path) as file:
                found[info.path] = file.read()
    return found


# ── what it does ─────────────────────────────────────────────────────────────────────────────────────────


def test_small_files_become_one_with_the_same_rows_in_the_same_order(installation: Installation) -> None:
    land(installation, 0, 5)
    before_run = make(installation)
    before = all_rows(installation)
    old = committed(installation)
    assert len(old) == 15
    assert [len(found) for found in before.values()] == [5, 5 * PER_BATCH, 5 * PER_BATCH // 2]
    digest = installation.ledger.contents("alpha", HOUR).digest

    (done,) = compact(installation)
    assert (done.stream, done.hour, done.before, done.after, done.busy) == ("alpha", HOUR, 15, 3, False)
    assert (done.problem, done.deleted) == (None, 0)
    assert all_rows(installation) == before
    new = committed(installation)
    assert len(new) == 3
    assert not new & old
    assert shown(installation) == old | new, "who has asked for files before still finds them"
    assert hidden(installation) == []
    zones = installation.zones
    sizes = {info.path: info.size for zone in (zones.lake, zones.consented) for info in list_objects(zone)}
    assert done.bytes_before == sum(sizes[path] for path in old)
    assert done.bytes_after == sum(sizes[path] for path in new)

    assert compact(installation) == [], "nothing is left to be done"
    assert installation.ledger.contents("alpha", HOUR).digest == digest
    again = make(installation)
    assert [result.made for result in again] == [0, 0, 0]
    assert [result.counts for result in again] == [result.counts for result in before_run]
    answer = query(installation, "SELECT count(*), count(DISTINCT page) FROM alpha.pseudonymized_events")
    assert answer.rows == [[5 * PER_BATCH, 5 * PER_BATCH]]
    (status,) = installation.ledger.status("alpha")
    assert {name: layer.files for name, layer in status.layers.items()} == {
        "validated_events": 5 + 1,  # without an event id there are no digests
        "pseudonymized_events": 1,
        "report": 1,
    }
    lake = status.layers["pseudonymized_events"]
    assert lake.bytes == sum(sizes[path] for path in new if "pseudonymized_events" in path)
    assert status.violations() == []


def test_columns_and_types_stay_what_they_were(local: dict[str, str]) -> None:
    installation = made(local)

    def schemas() -> list[pq.ParquetSchema]:
        return [
            pq.ParquetFile(installation.zone_holding(dataset).path(path)).schema
            for dataset in DATASETS
            for path in installation.ledger.files("alpha", dataset, HOUR)[:1]
        ]

    before = schemas()
    compact(installation)
    assert schemas() == before
    installation.close()


def test_the_same_files_give_the_same_bytes(local: dict[str, str], tmp_path: Path) -> None:
    made(local).close()
    shutil.copytree(tmp_path / "storage", tmp_path / "copy" / "storage")
    shutil.copy(tmp_path / "pii.db", tmp_path / "copy" / "pii.db")
    elsewhere = local | {
        "PII_STORAGE_URI": str(tmp_path / "copy" / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{tmp_path / 'copy' / 'pii.db'}",
    }
    found = []
    for variables in (local, elsewhere):
        installation = opened(variables)
        for moved in moved_zones(installation):
            accept(installation, moved)
        compact(installation)
        found.append(contents(installation))
        installation.close()
    assert found[0] == found[1]
    assert len(found[0]) == 15


def test_old_files_go_after_the_grace_period_and_not_before(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(installation, 0, 3)
    make(installation)
    compact(installation)
    assert len(shown(installation)) == 12
    assert compact(installation) == []
    assert make(installation)[0].made == 0, "a run sweeps, and leaves them too"
    assert len(shown(installation)) == 12

    land(installation, 3, 2)
    make(installation)
    monkeypatch.setattr(compaction, "GRACE", timedelta(0))
    (done,) = compact(installation)
    assert (done.before, done.after, done.deleted) == (9, 3, 0)
    before = all_rows(installation)
    (done,) = compact(installation)
    assert (done.before, done.after, done.deleted) == (0, 0, 9)
    assert len(shown(installation)) == 3 + 9, "those of the first time are in their hour of grace"
    assert all_rows(installation) == before
    assert len(before["pseudonymized_events"]) == 5 * PER_BATCH


def test_an_hour_that_is_not_over_is_left_alone(local: dict[str, str]) -> None:
    installation = made(local)
    streams = list(installation.streams.values())
    for minute, due in ((0, False), (59, False), (60, True)):
        now = datetime(2026, 11, 22, 10, tzinfo=UTC) + timedelta(minutes=minute)
        assert [hour for _, hour in hours_to_compact(installation, streams, now)] == [HOUR] * due
    installation.close()


def test_large_files_stay_and_none_becomes_larger_than_it_may(
    local: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = made(local, 7)
    files = [
        file for file in held_files(installation.ledger.parts("alpha", HOUR)) if file.dataset == "report"
    ]
    most = max(file.bytes for file in files)
    monkeypatch.setattr(compaction, "_may_be_compacted", lambda dataset: dataset == "report")
    monkeypatch.setattr(compaction, "MOST_BYTES", 3 * most)
    before = rows(installation, "report")
    (done,) = compact(installation)
    assert (done.before, done.after) == (6, 2), "of the seventh there is no second one"
    assert rows(installation, "report") == before
    monkeypatch.setattr(compaction, "SMALL_BYTES", 1)
    assert compact(installation) == []
    installation.close()


def test_files_of_other_columns_stay_apart(local: dict[str, str]) -> None:
    installation = made(local, 4)
    paths = installation.ledger.files("alpha", "pseudonymized_events", HOUR)
    for path in paths[1::2]:  # as they came under a contract that is not active any more
        file = installation.zones.lake.path(path)
        table = pq.ParquetFile(file).read()
        pq.write_table(table.append_column("former", pa.nulls(len(table), pa.string())), file)
        with installation.engine.begin() as connection:
            here = tables.files.c.path == path
            connection.execute(sa.update(tables.files).where(here).values(columns="others"))
    before = rows(installation)
    (done,) = compact(installation)
    assert (done.before, done.after, done.problem) == (12, 4, None)
    assert len(installation.ledger.files("alpha", "pseudonymized_events", HOUR)) == 2
    assert Counter(map(repr, rows(installation))) == Counter(map(repr, before))
    assert compact(installation) == [], "and are not looked at again"
    installation.close()


# ── batches of a shared file ─────────────────────────────────────────────────────────────────────────────

_MORE = """\
  second:
    description: Who reads what, once more.
    consent: {purposes: [1]}
warehouse:
  pages:
    description: What is read.
    from: pseudonymized_events
    columns:
      page: {type: varchar(32)}
"""


def test_what_is_new_is_made_of_the_rows_of_each_batch_alone(local: dict[str, str], tmp_path: Path) -> None:
    installation = made(local)
    compact(installation)
    installation.close()
    settings = tmp_path / "streams" / "alpha" / "stream.yaml"
    settings.write_text(settings.read_text() + _MORE)
    installation = opened(local)
    stream = installation.streams["alpha"]
    second = derive_hour(installation, stream, "second", HOUR)
    assert (second.made, second.counts["pseudonymized"]) == (4, 4 * PER_BATCH)
    for batch in installation.ledger.batches("alpha", HOUR):
        commit = installation.ledger.commit_of(batch.id, "second")
        assert commit is not None
        assert commit.counts == {"pseudonymized": PER_BATCH, "admitted": 3, "withheld": 3}
        (file,) = commit.files
        own = [
            row for part in read_parquet(installation.zones.consented, file.path) for row in part.to_pylist()
        ]
        assert {row["page"] for row in own} == {f"page-{batch.number - 1}-{row}" for row in (1, 3, 5)}
    pages = Counter(row["page"] for row in _dicts(installation, "second"))
    assert pages == Counter(row["page"] for row in _dicts(installation, "report"))
    loaded = load_hour(installation, stream, "pages", HOUR)
    assert (loaded.made, loaded.counts["loaded"]) == (4, 4 * PER_BATCH)
    (status,) = installation.ledger.status("alpha")
    assert status.violations() == []
    installation.close()


def _dicts(installation: Installation, dataset: str) -> list[dict[str, object]]:
    zone = installation.zone_holding(dataset)
    return [
        row
        for path in installation.ledger.files("alpha", dataset, HOUR)
        for part in read_parquet(zone, path)
        for row in part.to_pylist()
    ]


def test_a_shared_file_is_taken_apart_before_a_batch_is_made_again(installation: Installation) -> None:
    land(installation, 0, 4)
    make(installation)
    before, bytes_before = all_rows(installation), contents(installation)
    compact(installation)
    again = make(installation, force=True)
    assert [result.made for result in again] == [4, 4, 4]
    assert all_rows(installation) == before
    assert shown(installation) == committed(installation), "what is made again leaves nothing of before"
    lake = {path: data for path, data in contents(installation).items() if "/pseudonymized_events/" in path}
    assert lake == {path: data for path, data in bytes_before.items() if "/pseudonymized_events/" in path}
    (done,) = compact(installation)
    assert (done.before, done.after) == (12, 3)
    assert all_rows(installation) == before


def test_one_batch_of_a_file_is_enough_and_its_inputs_are_not_needed(installation: Installation) -> None:
    land(installation, 0, 4)
    make(installation)
    before = all_rows(installation)
    fragments = committed(installation)
    compact(installation)
    (batch, *_) = installation.ledger.batches("alpha", HOUR)
    for info in list_objects(installation.zones.landing, "alpha"):
        installation.zones.landing.storage.delete(info.path)
    with installation.ledger.lease("alpha", HOUR) as lease:
        take_apart(installation, lease, "alpha", HOUR, "pseudonymized_events", [batch.id])
    assert all_rows(installation) == before
    files = installation.ledger.files("alpha", "pseudonymized_events", HOUR)
    assert len(files) == 4
    assert set(files) <= fragments
    assert len(installation.ledger.files("alpha", "report", HOUR)) == 1, "another layer's is left alone"
    with pytest.raises(InputsGone):
        make(installation, force=True)
    assert all_rows(installation) == before


def test_a_shared_file_that_was_lost_is_made_again(local: dict[str, str]) -> None:
    installation = made(local)
    before = all_rows(installation)
    compact(installation)
    (path,) = installation.ledger.files("alpha", "pseudonymized_events", HOUR)
    Path(installation.zones.lake.path(path)).unlink()
    make(installation, force=True)
    assert all_rows(installation) == before
    installation.close()


# ── trouble ──────────────────────────────────────────────────────────────────────────────────────────────


def test_an_hour_at_work_is_left_to_the_next_time(local: dict[str, str]) -> None:
    installation = made(local)
    before = shown(installation)
    with installation.ledger.lease("alpha", HOUR, owner="a run"):
        (done,) = compact(installation)
    assert done == CompactedHour("alpha", HOUR, busy=True)
    assert shown(installation) == before
    installation.close()


def test_who_lost_the_hour_changes_nothing(local: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    installation = made(local)
    before = all_rows(installation)
    exchange = installation.ledger.exchange

    def too_late(*arguments: object, **more: object) -> None:
        with installation.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE ledger_leases SET token = 'of another'")
        exchange(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(installation.ledger, "exchange", too_late)
    (done,) = compact(installation)
    assert done.busy
    monkeypatch.undo()
    assert all_rows(installation) == before
    with installation.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ledger_leases")
    (done,) = compact(installation)
    assert (done.before, done.after, done.deleted) == (12, 3, 1), "the file that came to nothing goes"
    assert all_rows(installation) == before
    installation.close()


def test_what_another_has_swept_away_is_not_committed(
    local: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = made(local)
    before = all_rows(installation)

    def gone(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(shared_files, "publish", gone)
    (done,) = compact(installation)
    assert done.busy
    (batch, *_) = installation.ledger.batches("alpha", HOUR)
    monkeypatch.undo()
    compact(installation)
    monkeypatch.setattr(shared_files, "publish", gone)
    with installation.ledger.lease("alpha", HOUR) as lease, pytest.raises(LeaseLost):
        take_apart(installation, lease, "alpha", HOUR, "report", [batch.id])
    assert all_rows(installation) == before
    installation.close()


@pytest.mark.parametrize("trouble", ["gone", "damaged", "shortened"])
def test_an_hour_with_a_file_that_cannot_be_read_is_told_and_stays(
    local: dict[str, str], trouble: str
) -> None:
    installation = made(local)
    (path, *_) = installation.ledger.files("alpha", "pseudonymized_events", HOUR)
    file = Path(installation.zones.lake.path(path))
    if trouble == "gone":
        file.unlink()
    elif trouble == "damaged":
        file.write_bytes(file.read_bytes()[:-20])
    else:
        pq.write_table(pq.ParquetFile(file).read()[1:], file, store_schema=False)
    before = installation.ledger.parts("alpha", HOUR)
    (done,) = compact(installation)
    assert done.problem is not None
    assert path in done.problem
    lake = [part for part in before if part.layer == "pseudonymized_events"]
    assert [part for part in installation.ledger.parts("alpha", HOUR) if part in lake] == lake
    installation.close()


def test_a_shared_file_with_other_rows_is_not_taken_apart(local: dict[str, str]) -> None:
    installation = made(local)
    compact(installation)
    (path,) = installation.ledger.files("alpha", "report", HOUR)
    file = Path(installation.zones.consented.path(path))
    table = pq.ParquetFile(file).read()
    (batch, *_) = installation.ledger.batches("alpha", HOUR)
    before = installation.ledger.parts("alpha", HOUR)
    for other in (table[1:], pq.ParquetFile(file).read().slice(0, 0)):
        pq.write_table(other, file, store_schema=False)
        with (
            installation.ledger.lease("alpha", HOUR) as lease,
            pytest.raises(UnreadableFile, match="has not the rows that were committed"),
        ):
            take_apart(installation, lease, "alpha", HOUR, "report", [batch.id])
    assert installation.ledger.parts("alpha", HOUR) == before
    installation.close()


# ── killed ───────────────────────────────────────────────────────────────────────────────────────────────

_KILLED = """
import os, signal, sys
from pii_pipeline.cli import main
from pii_pipeline.ledger import Ledger
from pii_pipeline.pipeline import shared_files

place, turn = sys.argv.pop(1), int(sys.argv.pop(1))

def dying(function, before):
    def call(*arguments, **more):
        global turn
        turn -= 1
        if before and not turn:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **more)
        if not turn:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

if place == "written":
    shared_files._exchange = dying(shared_files._exchange, True)
elif place == "announced":
    Ledger.announce = dying(Ledger.announce, False)
elif place == "published":
    shared_files.publish = dying(shared_files.publish, False)
elif place == "exchanged":
    Ledger.exchange = dying(Ledger.exchange, False)
elif place == "deleted":
    from pii_pipeline.pipeline import installation
    installation.delete = dying(installation.delete, False)
main()
"""


def killed(variables: dict[str, str], place: str, turn: int, *command: str) -> None:
    """`pii` with that command in a process that kills itself there."""
    process = subprocess.run(
        [sys.executable, "-c", _KILLED, place, str(turn), *command],
        env={**os.environ, **variables, "PYTHONPATH": str(project_root())},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()


@pytest.mark.parametrize("place", ["written", "announced", "published", "exchanged"])
def test_killed_anywhere_it_leaves_the_old_state_or_the_new_one(
    variables: dict[str, str], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = made(variables, 3)
    before = all_rows(installation)
    for turn in (1, 2):
        killed(variables, place, turn, "compact")
        assert all_rows(installation) == before
    # What a batch that comes then would make of another name must not be left behind for ever.
    land(installation, 3, 1)
    make(installation)
    before = all_rows(installation)
    monkeypatch.setattr(compaction, "GRACE", timedelta(0))
    for _ in range(2):
        compact(installation)
        assert all_rows(installation) == before
    with installation.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ledger_unheld_files SET delete_after = '2026-01-01 00:00:00'")
    compact(installation)
    assert all_rows(installation) == before
    assert shown(installation) == committed(installation)
    assert len(committed(installation)) == 3
    assert hidden(installation) == []
    installation.close()


@pytest.mark.parametrize("place", ["written", "announced", "published", "exchanged", "deleted"])
def test_killed_while_it_is_taken_apart(local: dict[str, str], place: str) -> None:
    installation = made(local, 3)
    before = all_rows(installation)
    compact(installation)
    killed(local, place, 1, "run", "alpha", "--force")
    for dataset in DATASETS:
        assert Counter(map(repr, rows(installation, dataset))) == Counter(map(repr, before[dataset]))
    make(installation, force=True)
    assert all_rows(installation) == before
    assert shown(installation) == committed(installation)
    assert hidden(installation) == []
    installation.close()


# ── readers ──────────────────────────────────────────────────────────────────────────────────────────────


class Reader(threading.Thread):
    """Reads in a loop, with an installation of its own: `known` rows must be there, and none twice."""

    def __init__(self, variables: dict[str, str], ways: int) -> None:
        super().__init__(daemon=True)
        self.variables, self.way = variables, ways
        self.known = 0
        self.reads = 0
        self.wrong: list[str] = []
        self.done = threading.Event()

    def run(self) -> None:
        installation = opened(self.variables)
        try:
            while not self.done.is_set():
                known = self.known
                try:
                    pages = self.pages(installation)
                except Exception as error:  # noqa: BLE001 whatever it is, the reader was disturbed
                    self.wrong.append(repr(error))
                    return
                if len(pages) != len(set(pages)) or len(pages) < known:
                    self.wrong.append(f"{len(pages)} rows, {len(set(pages))} distinct, {known} known")
                self.reads += 1
        finally:
            installation.close()

    def pages(self, installation: Installation) -> list[object]:
        if self.way == 0:
            return [row[0] for row in query(installation, "SELECT page FROM alpha.pseudonymized_events").rows]
        files = installation.ledger.files("alpha", "pseudonymized_events")
        time.sleep(0.02)  # other tools take their time between asking for names and reading
        lake = installation.zones.lake
        return [
            page
            for path in files
            for part in read_parquet(lake, path, columns=["page"])
            for page in part["page"].to_pylist()
        ]


class Compactor(threading.Thread):
    """Compacts in a loop, with an installation of its own."""

    def __init__(self, variables: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self.variables = variables
        self.compacted = 0
        self.wrong: list[str] = []
        self.done = threading.Event()

    def run(self) -> None:
        installation = opened(self.variables)
        try:
            while not self.done.wait(0.01):
                for hour in compact(installation):
                    self.compacted += hour.before
                    self.wrong += [hour.problem] if hour.problem else []
        except Exception as error:  # noqa: BLE001 whatever it is, it must not be
            self.wrong.append(repr(error))
        finally:
            installation.close()


def test_readers_meet_every_row_once_at_any_moment(variables: dict[str, str]) -> None:
    installation = made(variables, 2)
    readers = [Reader(variables, way) for way in range(2)]
    compactor = Compactor(variables)
    for reader in readers:
        reader.known = 2 * PER_BATCH
    for thread in (compactor, *readers):
        thread.start()
    try:
        for turn in range(1, 6):
            land(installation, 2 * turn, 2)
            make(installation)
            for reader in readers:
                reader.known = (2 * turn + 2) * PER_BATCH
            reads = [reader.reads for reader in readers]
            compacted, until = compactor.compacted, time.monotonic() + 20
            while time.monotonic() < until and not any(thread.wrong for thread in (compactor, *readers)):
                done = compactor.compacted > compacted or len(committed(installation)) == len(DATASETS)
                if done and all(reader.reads > seen + 1 for reader, seen in zip(readers, reads, strict=True)):
                    break
                time.sleep(0.01)
    finally:
        for thread in (compactor, *readers):
            thread.done.set()
            thread.join()
    assert [thread.wrong for thread in (compactor, *readers)] == [[], [], []]
    assert all(reader.reads >= 10 for reader in readers)
    assert compactor.compacted >= 12 * len(DATASETS), "each file at least once"
    assert len(committed(installation)) == len(DATASETS)
    installation.close()


def test_runs_that_make_everything_again_and_compaction_at_once(variables: dict[str, str]) -> None:
    installation = made(variables, 3)
    before = all_rows(installation)
    compactor = Compactor(variables)
    compactor.start()
    try:
        for _ in range(4):
            compacted, until = compactor.compacted, time.monotonic() + 20
            while compactor.compacted == compacted and time.monotonic() < until and not compactor.wrong:
                time.sleep(0.01)
            make(installation, force=True)
    finally:
        compactor.done.set()
        compactor.join()
    assert compactor.wrong == []
    assert compactor.compacted >= 4 * 2
    compact(installation)
    assert all_rows(installation) == before
    assert len(committed(installation)) == len(DATASETS)
    (status,) = installation.ledger.status("alpha")
    assert status.violations() == []
    assert hidden(installation) == []
    installation.close()


# ── Dagster ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_job_compacts_all_streams_and_says_what_it_did(local: dict[str, str]) -> None:
    installation = made(local)
    definitions = build(installation)
    job = definitions.resolve_job_def(COMPACT_FILES)
    result = job.execute_in_process(resources={"installation": installation})
    assert result.success
    (event,) = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    metadata = event.step_output_data.metadata
    told = {name: metadata[name].value for name in ("hours", "files_before", "files_after", "files_deleted")}
    assert told == {"hours": 1, "files_before": 12, "files_after": 3, "files_deleted": 0}
    (path, *_) = installation.ledger.files("alpha", "report", HOUR)
    land(installation, 4, 1)
    make(installation)
    Path(installation.zones.consented.path(path)).unlink()
    failed = job.execute_in_process(resources={"installation": installation}, raise_on_error=False)
    assert not failed.success
    (event,) = failed.all_node_events[-1:]
    assert event.event_type_value == "STEP_FAILURE"
    installation.close()


def test_the_schedule_is_daily_and_in_utc(local: dict[str, str]) -> None:
    installation = opened(local)
    schedule = build(installation).resolve_schedule_def("compact_files")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("20 3 * * *", "UTC")
    assert schedule.job_name == COMPACT_FILES
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    installation.close()
