"""Several processes, of several threads each, on one store of each kind."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pii_pipeline.vault.stores import Allowance, VaultStore, open_store
from pii_pipeline_tests.unit.vault.stores.examples import (
    consent,
    entry,
    key,
    record,
    seen,
    subject,
)

PROCESSES = 3
THREADS = 2
WORKERS = PROCESSES * THREADS

spawning = multiprocessing.get_context("spawn")


def race(work: Callable[[VaultStore, int], Any], url: str) -> list[Any]:
    """What `work(store, number)` returned in each thread of each process, all begun together."""
    start, results = spawning.Barrier(WORKERS), spawning.Queue()
    processes = [
        spawning.Process(target=_run, args=(work, url, number, start, results)) for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=240) for _ in range(WORKERS)]
    for process in processes:
        process.join()
    for result in found:
        if isinstance(result, str):
            pytest.fail(result)
    return found


def _run(work: Callable[[VaultStore, int], Any], url: str, number: int, start: Any, results: Any) -> None:
    store = open_store(url)

    def one(worker: int) -> Any:
        start.wait()
        try:
            return work(store, worker)
        except Exception as error:  # noqa: BLE001 (handed to the test, which fails with it)
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(THREADS) as threads:
        for result in threads.map(one, range(number, WORKERS, PROCESSES)):
            results.put(result)
    store.close()


SHARED = 60


def put_the_same(store: VaultStore, number: int) -> tuple[int, int]:
    some = [seen(record(n), -number, number) for n in range(SHARED)]
    new = known = 0
    for part in some[: SHARED // 2], some[::-1]:
        stored = store.put(part)
        new, known = new + stored.new, known + stored.known
    return new, known


def test_of_many_who_put_a_record_it_is_new_to_one(store: VaultStore, store_url: str) -> None:
    counted = race(put_the_same, store_url)
    assert sum(new for new, _ in counted) == SHARED
    assert sum(known for _, known in counted) == WORKERS * (SHARED + SHARED // 2) - SHARED
    widest = [seen(record(n), 1 - WORKERS, WORKERS - 1) for n in range(SHARED)]
    assert store.find([that.key for that in widest]) == [[that] for that in widest]


APPENDED = 12


def append_some(store: VaultStore, number: int) -> dict[int, str]:
    """As the audit log does: after the last one, again if somebody else was there first. Its own texts by
    number."""
    mine: dict[int, str] = {}
    while len(mine) < APPENDED:
        last = store.last_entry()
        first = last.sequence + 1 if last else 1
        some = [entry(first + n, f"of {number}") for n in range(1 + len(mine) % 2)]
        if store.append(some):
            mine |= {one.sequence: one.text for one in some}
    return mine


def test_every_entry_is_appended_once_and_no_number_is_missing(store: VaultStore, store_url: str) -> None:
    by_worker = race(append_some, store_url)
    written = {one.sequence: one.text for one in store.entries()}
    assert list(written) == list(range(1, sum(map(len, by_worker)) + 1))
    assert written == {number: text for mine in by_worker for number, text in mine.items()}


def append_the_same(store: VaultStore, number: int) -> list[bool]:
    return [store.append([entry(sequence)]) for sequence in range(1, 16)]


def test_of_many_who_append_the_same_entry_one_is_told_that_he_did(store: VaultStore, store_url: str) -> None:
    told = race(append_the_same, store_url)
    written = list(store.entries())
    assert sum(map(sum, told)) == len(written)
    assert [one.sequence for one in written] == list(range(1, len(written) + 1))
    assert all(sum(those) <= 1 for those in zip(*told, strict=True))


def spend_one_by_one(store: VaultStore, number: int) -> Counter[str]:
    limits = [Allowance("ann", "2026-11-26T10:31", 50), Allowance("ann", "2026-11-26", 70)]
    spent = [store.spend(limits[:: 1 if number % 2 else -1], 3) for _ in range(8)]
    return Counter(short.window if short else "granted" for short in spent)


def test_no_more_is_spent_than_there_is_and_nothing_is_lost(store: VaultStore, store_url: str) -> None:
    told = sum(race(spend_one_by_one, store_url), Counter())
    assert told == {"granted": 50 // 3, "2026-11-26T10:31": WORKERS * 8 - 50 // 3}
    day = Allowance("ann", "2026-11-26", 70)
    assert store.spend([day], 70 - 48) is None
    assert store.spend([day], 1) == day


def consent_in_turn(store: VaultStore, number: int) -> None:
    for turn in range(6):
        said = [consent(n, number, after=turn * (number - 2)) for n in range(10)]
        store.put_consents(said[:: 1 if number % 2 else -1])


def test_the_latest_of_all_consents_holds(store: VaultStore, store_url: str) -> None:
    race(consent_in_turn, store_url)
    last = WORKERS - 1
    assert store.consents("logins", [subject(n) for n in range(10)]) == {
        subject(n): consent(n, last, after=5 * (last - 2)) for n in range(10)
    }


def put_and_delete(store: VaultStore, number: int) -> int:
    """Records of one key are of several people, so that deletions meet rows in another order than puts."""
    some = [record(n, key(n % 7), about=n % 5) for n in range(70)]
    for turn in range(5):
        match number % 3:
            case 0:
                store.put(some[:: 1 if turn % 2 else -1])
            case 1:
                store.delete_subjects([subject(n) for n in range(5)][:: 1 if turn % 2 else -1])
            case _:
                store.delete([key(n) for n in range(7)][:: 1 if turn % 2 else -1])
    return number


def test_who_puts_and_who_deletes_wait_for_each_other_and_not_for_ever(
    store: VaultStore, store_url: str
) -> None:
    assert sorted(race(put_and_delete, store_url)) == list(range(WORKERS))
    some = [record(n, key(n % 7), about=n % 5) for n in range(70)]
    stored = store.put(some)
    assert stored.new + stored.known == 70
    assert store.records() == 70
    assert store.delete_subjects([subject(n) for n in range(5)]) == 70


def open_and_count(store: VaultStore, number: int) -> int:
    return store.records()


def test_many_open_a_new_store_at_once(store_url: str) -> None:
    assert race(open_and_count, store_url) == [0] * WORKERS
