"""A run that is stopped or killed where it gives its files their names, and what others commit meanwhile.

Real processes; each publishes what it makes of a batch in this order: validated events, bad events, event
digests; the lake's file; the file of the derived dataset `report`.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from pii_pipeline.database import reading
from pii_pipeline.keys.derivation import canonical_id, subject_tags
from pii_pipeline.lake import open_input
from pii_pipeline.ledger import tables
from pii_pipeline.pipeline.derive import derive_hour
from pii_pipeline.pipeline.installation import EVENT_DIGESTS, Installation
from pii_pipeline.pipeline.landing import land
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.query import query
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline_tests.aws import make_bucket
from pii_pipeline_tests.integration.small_streams import BAD, GOOD, HOUR, environment, land_events
from pii_pipeline_tests.integration.test_compaction import compact
from pii_pipeline_tests.integration.test_lost_lease import expire_leases

NEXT_HOUR = "2026-11-22T11"
EVENTS = [{**event, "id": f"id-{number}"} for number, event in enumerate(GOOD)]
DATASETS = ("validated_events", "bad_events", EVENT_DIGESTS, "pseudonymized_events", "report")

# `pii`, which sends itself a signal before (or after) it calls a function for the TURNth time.
_PII = """
import os, signal, sys
from pii_pipeline.cli import main
from pii_pipeline.ledger import Ledger
from pii_pipeline.pipeline import installation, layer, shared_files

place, turn = sys.argv.pop(1), int(sys.argv.pop(1))
number = signal.SIGSTOP if place.startswith("stopped") else signal.SIGKILL

def meeting(function):
    def call(*arguments, **more):
        global turn
        turn -= 1
        if not turn and place.endswith("before"):
            os.kill(os.getpid(), number)
        result = function(*arguments, **more)
        if not turn and place.endswith("after"):
            os.kill(os.getpid(), number)
        return result
    return call

if "publishing" in place:
    layer.publish = meeting(layer.publish)
    shared_files.publish = meeting(shared_files.publish)
else:
    installation.delete = meeting(installation.delete)
main()
"""


@pytest.fixture(params=["folder and SQLite", "S3 and PostgreSQL"])
def variables(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Of an installation whose events have ids, on one machine or in AWS."""
    found = environment(tmp_path)
    folder = tmp_path / "streams" / "alpha"
    contract, schema = folder / "contract.yaml", folder / "event.schema.json"
    contract.write_text(contract.read_text() + "event_id_field: id\n")
    described = json.loads(schema.read_text())
    described["properties"]["id"] = {"type": "string"}
    schema.write_text(json.dumps(described))
    if request.param == "S3 and PostgreSQL":
        found["PII_STORAGE_URI"] = make_bucket(request.getfixturevalue("aws"), "zones")
        found["PII_DATABASE_URL"] = request.getfixturevalue("postgres_database_url")
    return found


@pytest.fixture
def installation(variables: dict[str, str]) -> Iterator[Installation]:
    opened = Installation(read_settings(variables, project=project_root()), batch_bytes=1)
    land_events(opened, "alpha", [*EVENTS, *BAD[:2]])
    yield opened
    opened.close()


def begin(variables: dict[str, str], place: str, turn: int, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _PII, place, str(turn), *command],
        env={**os.environ, **variables, "PYTHONPATH": str(project_root())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(variables: dict[str, str], place: str = "", turn: int = 0) -> int:
    """`pii run` to its end: how it ended."""
    process = begin(variables, place, turn, "run", "alpha", "--hour", HOUR)
    output, _ = process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGKILL), output
    return process.returncode


def wait_until_stopped(process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while True:
        found, status = os.waitpid(process.pid, os.WUNTRACED | os.WNOHANG)
        if found:
            assert os.WIFSTOPPED(status), process.communicate()[0]
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def make(installation: Installation, hour: str = HOUR, force: bool = False) -> None:
    stream = installation.streams["alpha"]
    seal_hour(installation, stream, hour)
    validate_hour(installation, stream, hour, force)
    pseudonymize_hour(installation, stream, hour, force, ahead=())
    derive_hour(installation, stream, "report", hour, force)


def committed(installation: Installation) -> dict[str, bytes]:
    """What the committed files hold, by zone and path."""
    found = {}
    for dataset in DATASETS:
        zone = installation.zone_holding(dataset)
        for path in installation.ledger.files("alpha", dataset):
            with open_input(zone, path) as file:
                found[f"{zone.name}/{path}"] = file.read()
    return found


def there(installation: Installation) -> set[str]:
    """All that lies in the zones, hidden or not."""
    zones = installation.zones
    return {
        f"{zone.name}/{info.path}"
        for zone in (zones.restricted, zones.lake, zones.consented)
        for info in zone.storage.list("")
    }


def remembered(installation: Installation) -> int:
    with reading(installation.engine) as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(tables.unheld_files)) or 0


def forget(installation: Installation, user: str) -> None:
    (tag,) = subject_tags(installation.index_key, "customer", [canonical_id(user)])
    now = datetime.now(UTC)
    installation.keys.forget(tag, erased_at=now, expires_at=now + timedelta(days=365))


# ── stopped, and overtaken ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", ["stopped publishing before", "stopped publishing after"])
@pytest.mark.parametrize("turn", [1, 3, 4, 5])
def test_who_was_overtaken_changes_nothing_that_is_committed(
    variables: dict[str, str], installation: Installation, place: str, turn: int
) -> None:
    """What the other makes of the same batch, under the same fingerprints, is something else: an event that
    is a duplicate by then, a person who was forgotten."""
    slow = begin(variables, place, turn, "run", "alpha", "--hour", HOUR)
    try:
        wait_until_stopped(slow)
        expire_leases(installation)
        content = "".join(json.dumps(event) + "\n" for event in EVENTS[:3]).encode()
        land(installation.zones.landing, "alpha", NEXT_HOUR, "again.json", io.BytesIO(content))
        make(installation, NEXT_HOUR)
        forget(installation, "user-5")
        make(installation, force=True)
        before = committed(installation)
        assert len(before) == 2 * len(DATASETS)
        slow.send_signal(signal.SIGCONT)
        output, _ = slow.communicate(timeout=120)
        assert slow.returncode == 0, output
    finally:
        slow.kill()
        slow.wait()
    assert committed(installation) == before
    assert there(installation) == before.keys()
    assert remembered(installation) == 0
    for status in installation.ledger.status("alpha"):
        assert status.violations() == []
    (row,) = query(installation, "SELECT count(*), count(DISTINCT id) FROM alpha.pseudonymized_events").rows
    assert row == [9, 9], "of ten; each once, and none of who was forgotten"


def test_a_compaction_that_was_overtaken(variables: dict[str, str], installation: Installation) -> None:
    """The other one takes apart what it has put together, and makes all again."""
    land_events(installation, "alpha", [{**event, "id": f"more-{event['user']}"} for event in GOOD], "b.json")
    make(installation)
    slow = begin(variables, "stopped publishing before", 2, "compact", "alpha")
    try:
        wait_until_stopped(slow)
        expire_leases(installation)
        forget(installation, "user-5")
        compact(installation)
        make(installation, force=True)
        before = committed(installation)
        slow.send_signal(signal.SIGCONT)
        output, _ = slow.communicate(timeout=120)
        assert slow.returncode == 0, output
    finally:
        slow.kill()
        slow.wait()
    assert committed(installation) == before
    make(installation)
    assert committed(installation) == before
    assert there(installation) == before.keys()


# ── killed ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("turn", [1, 3, 4, 5])
def test_what_a_killed_run_has_published_is_not_left_behind(
    variables: dict[str, str], installation: Installation, tmp_path: Path, turn: int
) -> None:
    """Although it is made under another contract then, and has other names."""
    assert run(variables, "killed publishing after", turn) == -signal.SIGKILL
    orphans = there(installation) - committed(installation).keys()
    assert orphans
    contract = tmp_path / "streams" / "alpha" / "contract.yaml"
    contract.write_text(contract.read_text().replace("1.0.0", "1.1.0").replace("  page: keep\n", ""))
    assert run(variables) == 0
    assert there(installation) == committed(installation).keys()
    assert not orphans & there(installation)
    assert remembered(installation) == 0


def test_nor_if_nobody_runs_the_hour_again(variables: dict[str, str], installation: Installation) -> None:
    assert run(variables, "killed publishing after", 3) == -signal.SIGKILL
    compact(installation)
    assert there(installation) == committed(installation).keys() == set()


@pytest.mark.parametrize("place", ["killed deleting before", "killed deleting after"])
def test_what_was_replaced_is_deleted_though_its_deletion_was_cut_off(
    variables: dict[str, str], installation: Installation, tmp_path: Path, place: str
) -> None:
    make(installation)
    stream = tmp_path / "streams" / "alpha" / "stream.yaml"
    as_it_was = stream.read_text()
    stream.write_text(as_it_was + "max_record_bytes: 100000\n")
    assert run(variables, place, 4) == -signal.SIGKILL
    assert run(variables) == 0
    assert there(installation) == committed(installation).keys()
    # The names of before come again, but for that of which nobody knows whether somebody is deleting it.
    stream.write_text(as_it_was)
    assert run(variables) == 0
    assert there(installation) == committed(installation).keys()
    assert sum(path.endswith("-2.parquet") for path in there(installation)) == 1
    assert remembered(installation) == 1
