"""Several processes on one database."""

import multiprocessing
from collections.abc import Callable
from typing import Any

import pytest

from pii_pipeline.database import connect
from pii_pipeline.ledger import VALIDATED_EVENTS, Ledger, StaleHead
from pii_pipeline_tests.unit.ledger.examples import HOUR, landed, sealed, validate

spawning = multiprocessing.get_context("spawn")


def race(work: Callable[[Ledger, int], Any], url: str, processes: int = 2) -> list[Any]:
    """What `work(ledger, number)` returned in each of the processes, all started together."""
    start, results = spawning.Barrier(processes), spawning.Queue()
    running = [
        spawning.Process(target=_run, args=(work, url, number, start, results)) for number in range(processes)
    ]
    for process in running:
        process.start()
    found = [results.get(timeout=120) for _ in running]
    for process in running:
        process.join()
    for result in found:
        if isinstance(result, str):
            pytest.fail(result)
    return found


def _run(work: Callable[[Ledger, int], Any], url: str, number: int, start: Any, results: Any) -> None:
    ledger = Ledger(connect(url))
    start.wait()
    try:
        results.put(work(ledger, number))
    except Exception as error:  # noqa: BLE001 (handed to the test, which fails with it)
        results.put(f"{type(error).__name__}: {error}")


ROUNDS = 15


def enter_and_seal(ledger: Ledger, number: int) -> dict[str, list[str]]:
    """Half of the objects are the other's too. Uri → the ids of the batches that this process put it in."""
    mine: dict[str, list[str]] = {}
    for turn in range(ROUNDS):
        objects = [landed(f"{turn} shared {n}") for n in range(5)]
        objects += [landed(f"{turn} of {number} {n}") for n in range(5)]
        ledger.enter("logins", HOUR, objects[:: 1 if number else -1])
        for batch in ledger.seal("logins", HOUR, max_batch_bytes=30):
            for item in batch.objects:
                mine.setdefault(item.uri, []).append(batch.id)
    return mine


def test_two_who_seal_one_hour_put_every_object_in_one_batch(ledger: Ledger, database_url: str) -> None:
    one, two = race(enter_and_seal, database_url)
    assert not one.keys() & two.keys(), "sealed by both"
    there = [(o.uri, b.id) for b in ledger.batches("logins", HOUR) for o in b.objects]
    assert len(there) == len(dict(there)) == ROUNDS * 15
    assert {uri: [batch] for uri, batch in there} == one | two
    assert one and two, "no race: one came after the other"


def deduplicate(ledger: Ledger, number: int) -> dict[str, list[str]]:
    """Every batch of its own half → the batches it was compared with before its commit."""
    compared: dict[str, list[str]] = {}
    for batch in ledger.batches("logins", HOUR)[number::2]:
        while batch.id not in compared:
            earlier = ledger.earlier_commits("logins", VALIDATED_EVENTS, batch, HOUR)
            try:
                validate(ledger, batch, expected_head=earlier.head)
            except StaleHead:
                continue
            compared[batch.id] = [commit.batch_id for commit in earlier.commits]
    return compared


def test_two_who_look_for_duplicates_compare_each_pair_of_batches_once(
    ledger: Ledger, database_url: str
) -> None:
    sealed(ledger, *(f"object {n:02}" for n in range(40)))
    one, two = race(deduplicate, database_url)
    compared = one | two
    in_order = sorted(compared, key=lambda batch: len(compared[batch]))
    for position, batch in enumerate(in_order):
        assert compared[batch] == in_order[:position]
        commit = ledger.commit_of(batch, VALIDATED_EVENTS)
        assert commit is not None and commit.sequence == position + 1


def remember(ledger: Ledger, number: int) -> list[str]:
    """Another digest of the same contract in each process; returns which ones it was told."""
    told = []
    for turn in range(ROUNDS):
        known = ledger.remember_contracts(
            {f"acme/shop/{turn}.0.0": f"of {number}", "acme/shop/0.1.0": "same"}
        )
        told.append(known[f"acme/shop/{turn}.0.0"].digest)
        assert known["acme/shop/0.1.0"].digest == "same"
    return told


def test_two_who_remember_one_contract_are_told_the_same(ledger: Ledger, database_url: str) -> None:
    one, two = race(remember, database_url)
    assert one == two
    assert set(one) <= {"of 0", "of 1"}


def replace(ledger: Ledger, number: int) -> int:
    """Process 0 replaces a commit again and again, process 1 reads it; returns how many versions it saw."""
    [batch] = ledger.batches("logins", HOUR)
    seen = set()
    for turn in range(100):
        if number == 0:
            validate(ledger, batch, f"v{turn}")
            continue
        commit = ledger.commit_of(batch.id, VALIDATED_EVENTS)
        assert commit is not None
        seen.add(commit.fingerprint)
        assert all(f"-{commit.fingerprint}." in file.path for file in commit.files), "another version's file"
        assert len(commit.files) == 2
    return len(seen)


def test_a_reader_sees_a_commit_with_its_own_files(ledger: Ledger, database_url: str) -> None:
    [batch] = sealed(ledger, "a")
    validate(ledger, batch, "v0")
    race(replace, database_url)  # the assertions are in the reader
