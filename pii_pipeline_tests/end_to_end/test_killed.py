"""SIGKILL at twenty random instants, then finished: the same lake as without.

The undisturbed run makes its batches one after the other, the killed ones in worker processes. The first of
those go on where the one before was killed; once one has come to its end, the others make everything again.
"""

import os
import random
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from datetime import UTC, datetime

import pytest

from pii_pipeline.samples.generate import generate
from pii_pipeline.samples.planted import Planted
from pii_pipeline.settings import project_root
from pii_pipeline.streams.loader import load_streams
from pii_pipeline_tests.end_to_end.deployment import HOUR, Deployment

KILLS, CONTINUED = 20, 6
END = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


@pytest.mark.timeout(900)
def test_a_job_killed_twenty_times_leaves_the_lake_of_an_undisturbed_run(tmp_path):
    contract = load_streams((project_root() / "streams",))["webshop"].contract
    planted = Planted()
    undisturbed = Deployment(tmp_path / "undisturbed")
    for part in range(3):
        events = b"".join(generate(contract, 4_000, part, END, planted))
        undisturbed.land("webshop", f"clicks-{part}.jsonl", events)
    undisturbed.worth_workers = 1 << 40
    undisturbed.pii("run", "webshop", "--hour", HOUR)
    killed = undisturbed.copy_without_work(tmp_path / "killed")
    undisturbed.worth_workers = killed.worth_workers = 0
    before = undisturbed.files("lake")
    started = time.monotonic()
    undisturbed.pii("run", "webshop", "--hour", HOUR, "--force")
    full = time.monotonic() - started
    assert undisturbed.files("lake") == before

    instants = random.Random(20)
    interrupted = finished = 0
    while interrupted < KILLS:
        assert finished < 2 * KILLS, "the kills come too late to disturb anything"
        again = ["--force"] if finished or interrupted >= CONTINUED else []
        process = killed.start(
            "run", "webshop", "--hour", HOUR, *again, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        started = time.monotonic()
        try:
            process.communicate(timeout=instants.uniform(0.3, 1.0) * full)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            interrupted += 1
        else:  # this machine is faster now than it was a moment ago
            finished += 1
            full = min(full, time.monotonic() - started) if again else full
    killed.pii("run", "webshop", "--hour", HOUR)

    assert killed.files("lake") == undisturbed.files("lake")
    status = killed.json("status", "webshop", "--hour", HOUR)
    assert status == undisturbed_counts(undisturbed, status)
    assert in_vault(killed) == in_vault(undisturbed) != []
    counted = killed.query(
        "SELECT count(*) AS good, (SELECT count(*) FROM webshop.bad_events) AS bad"
        " FROM webshop.pseudonymized_events"
    )
    assert counted == [{"good": planted.validated, "bad": planted.bad.total()}]


def in_vault(deployment):
    """All that the vault's tables of originals and consents hold."""
    with closing(sqlite3.connect(deployment.vault)) as database:
        return [
            row
            for table in ("vault_records", "vault_consents")
            for row in sorted(database.execute(f"SELECT * FROM {table}"))
        ]


def undisturbed_counts(undisturbed, status):
    """The other's status with this one's seconds, which are the only difference there may be."""
    expected = undisturbed.json("status", "webshop", "--hour", HOUR)

    def with_times_of(theirs, mine):
        if isinstance(mine, dict):
            timed = ("second", "per_s", "uri", "path", "file")
            if {"new", "known"} <= mine.keys():  # of the vault: known is what an earlier run has loaded
                assert theirs["new"] + theirs["known"] == mine["new"] + mine["known"]
                return mine
            return {
                key: value if any(word in key for word in timed) else with_times_of(theirs.get(key), value)
                for key, value in mine.items()
            }
        if isinstance(mine, list):
            return [with_times_of(other, value) for other, value in zip(theirs, mine, strict=True)]
        return theirs

    return with_times_of(expected, status)
