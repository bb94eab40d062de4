"""``pii compact``: what it did, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pii_pipeline.cli.common import installation
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline_tests.unit.cli.conftest import Pii

HOUR = "2026-01-15T09"


@pytest.fixture
def logins(pii: Pii) -> None:
    """An hour of log-ins that came in three batches."""
    for seed in range(3):
        pii("sample", "logins", "--events", 50, "--end", "2026-01-15T10:00", "--seed", seed, "--land")
        with installation() as opened:
            stream = opened.streams["logins"]
            seal_hour(opened, stream, HOUR)
            validate_hour(opened, stream, HOUR)
            pseudonymize_hour(opened, stream, HOUR)


def lake_files(pii: Pii) -> list[str]:
    return pii("files", "logins", "pseudonymized_events").stdout.splitlines()


@pytest.mark.usefixtures("logins")
def test_what_was_done_is_told_to_people(pii: Pii) -> None:
    before = pii("query", "SELECT count(*) FROM logins.pseudonymized_events", "--json").stdout
    assert len(lake_files(pii)) == 3
    done = pii("compact", "logins")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"logins {HOUR}: 6 files became 2, ")
    assert len(lake_files(pii)) == 1
    assert pii("query", "SELECT count(*) FROM logins.pseudonymized_events", "--json").stdout == before
    assert pii("compact").stdout == "no small files to put together\n"


@pytest.mark.usefixtures("logins")
def test_what_was_done_is_told_to_programs(pii: Pii) -> None:
    assert json.loads(pii("compact", "webshop", "--json").stdout) == []
    (done,) = json.loads(pii("compact", "--json").stdout)
    assert {
        name: done[name] for name in ("stream", "hour", "before", "after", "deleted", "busy", "problem")
    } == {
        "stream": "logins",
        "hour": HOUR,
        "before": 6,
        "after": 2,
        "deleted": 0,
        "busy": False,
        "problem": None,
    }
    assert done["bytes_before"] > done["bytes_after"] > 0


@pytest.mark.usefixtures("logins")
def test_an_hour_at_work_and_one_that_fails(pii: Pii) -> None:
    with installation() as opened, opened.ledger.lease("logins", HOUR, owner="a run"):
        busy = pii("compact")
    assert busy.exit_code == 0
    assert busy.stdout == f"logins {HOUR}: a run is at work there; left to the next time\n"
    (first, *_) = lake_files(pii)
    Path(first).unlink()
    failed = pii("compact")
    assert failed.exit_code == 1
    assert failed.stdout == f"logins {HOUR}: left as it is\n"
    assert failed.stderr == f"pii: logins {HOUR}: {first}: is committed, and not there\n"


def test_unknown_streams_are_refused(pii: Pii) -> None:
    assert pii("compact", "login").exit_code == 2
