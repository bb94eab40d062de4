"""A run that is overtaken: another one takes its lease and makes the hour; the first commits no more."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from pii_pipeline.ledger import VALIDATED_EVENTS, LeaseHeld, tables
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline_tests.integration.small_streams import GOOD, HOUR, environment, land_events

OBJECTS = 3


def opened(folder: Path, url: str) -> Installation:
    variables = environment(folder) | {"PII_DATABASE_URL": url}
    return Installation(read_settings(variables, project=project_root()), batch_bytes=1)


def expire_leases(opened: Installation) -> None:
    """As if its holder had slept for longer than it lasts."""
    with opened.engine.begin() as connection:
        connection.execute(sa.update(tables.leases).values(expires_at=datetime(2026, 1, 1, tzinfo=UTC)))


def test_who_was_overtaken_commits_nothing_and_finds_the_hour_made(tmp_path: Path, database_url: str) -> None:
    slow, quick = opened(tmp_path, database_url), opened(tmp_path, database_url)
    stream = slow.streams["alpha"]
    for number in range(OBJECTS):
        land_events(slow, "alpha", GOOD, f"{number}.json")
    seal_hour(slow, stream, HOUR)
    overtaken = []

    def overtake(layer: str, records: int, bytes: int) -> None:
        if overtaken:
            return
        with pytest.raises(LeaseHeld), quick.ledger.lease("alpha", HOUR):
            pytest.fail("the slow one has it")
        expire_leases(slow)
        overtaken.append(validate_hour(quick, stream, HOUR))

    result = validate_hour(slow, stream, HOUR, progress=overtake)
    assert (overtaken[0].made, overtaken[0].skipped) == (OBJECTS, 0)
    assert (result.made, result.skipped) == (0, OBJECTS)
    assert result.counts == overtaken[0].counts
    (status,) = slow.ledger.status("alpha")
    assert (status.layers[VALIDATED_EVENTS].committed, status.violations()) == (OBJECTS, [])
    there = {
        path.name for path in (tmp_path / "storage" / "restricted").rglob("validated_events/**/*.parquet")
    }
    assert {Path(path).name for path in slow.ledger.files("alpha", VALIDATED_EVENTS)} == there
    for installation in (slow, quick):
        installation.close()


def test_who_was_overtaken_makes_what_the_other_left(tmp_path: Path, database_url: str) -> None:
    """The other one took the lease and died before its first commit."""
    slow = opened(tmp_path, database_url)
    stream = slow.streams["alpha"]
    for number in range(OBJECTS):
        land_events(slow, "alpha", GOOD, f"{number}.json")
    seal_hour(slow, stream, HOUR)
    stolen = []

    def steal(layer: str, records: int, bytes: int) -> None:
        stolen.append(layer)
        if len(stolen) == 2:
            with slow.engine.begin() as connection:
                connection.execute(sa.update(tables.leases).values(token="another", owner="another-host:1:1"))
            expire_leases(slow)

    result = validate_hour(slow, stream, HOUR, progress=steal)
    assert (result.made, result.skipped) == (2, 1), "the first was committed while it had the lease"
    assert len(stolen) == OBJECTS + 1, "what was at work then was made again"
    (status,) = slow.ledger.status("alpha")
    assert (status.layers[VALIDATED_EVENTS].committed, status.violations()) == (OBJECTS, [])
    slow.close()
