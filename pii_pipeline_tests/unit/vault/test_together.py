"""What waits at once is done at once, and what cannot be done keeps nothing else from being done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pii_pipeline.vault.errors import AuditBroken, VaultUnavailable
from pii_pipeline.vault.together import Together


class Work:
    """Doubles numbers; waits where it is told to, fails for negative ones, remembers what it was given."""

    def __init__(self, failure: BaseException | None = None, seconds: float = 0) -> None:
        self.may = threading.Event()
        self.may.set()
        self.failure = failure or ValueError("a negative number")
        self.seconds = seconds
        self.given: list[list[int]] = []
        self.at_work = 0

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.at_work += 1
        assert self.at_work == 1, "nobody else is at work meanwhile"
        self.given.append(list(numbers))
        try:
            assert self.may.wait(30)
            time.sleep(self.seconds)
            if min(numbers) < 0:
                raise self.failure
            return [2 * number for number in numbers]
        finally:
            self.at_work -= 1


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def at_once(work: Work, numbers: Sequence[int], most: int = 10) -> list[Future[int]]:
    """What came of `numbers`, each of a thread of its own; all but the first wait while that is at work."""
    together = Together(work, most)
    work.may.clear()
    with ThreadPoolExecutor(len(numbers)) as threads:
        came = []
        for position, number in enumerate(numbers):
            came.append(threads.submit(together.do, number))
            until(lambda position=position: bool(work.given) and together.waiting == position)
        work.may.set()
    return came


def test_what_waits_is_done_at_once_in_its_order_and_each_gets_its_own() -> None:
    work = Work()
    came = at_once(work, range(26))
    assert [one.result() for one in came] == list(range(0, 52, 2))
    assert work.given == [[0], list(range(1, 11)), list(range(11, 21)), list(range(21, 26))]


def test_who_is_alone_waits_for_nobody() -> None:
    work = Work()
    together = Together(work, 10)
    assert [together.do(number) for number in range(3)] == [0, 2, 4]
    assert work.given == [[0], [1], [2]]


def test_what_cannot_be_done_fails_alone() -> None:
    work = Work()
    came = at_once(work, [0, 1, -2, 3])
    assert [one.result() for one in (came[0], came[1], came[3])] == [0, 2, 6]
    with pytest.raises(ValueError, match="a negative number"):
        came[2].result()
    assert work.given == [[0], [1, -2, 3], [1], [-2], [3]]


@pytest.mark.parametrize("failure", [VaultUnavailable("no answer"), AuditBroken(7, "gone")])
def test_all_are_told_where_nothing_can_be_done(failure: Exception) -> None:
    work = Work(failure)
    came = at_once(work, [0, 1, -2, 3])
    assert came[0].result() == 0
    assert [one.exception() for one in came[1:]] == [failure] * 3
    assert work.given == [[0], [1, -2, 3]], "and nobody waits for the same once more"


class Ended(BaseException):
    """As of a process that is told to end."""


def test_a_thread_that_ends_leaves_nobody_waiting() -> None:
    work = Work(Ended())
    came = at_once(work, [0, 1, -2, 3])
    told = [one.exception() for one in came]
    assert told.pop(0) is None
    assert sorted(type(error).__name__ for error in told) == ["Ended", "VaultUnavailable", "VaultUnavailable"]


def test_many_threads_again_and_again() -> None:
    work = Work(seconds=0.001)
    together = Together(work, 7)

    def some(thread: int) -> list[int]:
        return [together.do(1000 * thread + number) for number in range(200)]

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(some, range(16)))
    assert found == [[2 * (1000 * thread + number) for number in range(200)] for thread in range(16)]
    assert sum(map(len, work.given)) == 16 * 200
    assert max(map(len, work.given)) > 1
