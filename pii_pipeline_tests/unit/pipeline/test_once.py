"""Properties that threads make once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from pii_pipeline.pipeline.once import once

THREADS = 8


class Thing:
    def __init__(self) -> None:
        self.making = threading.RLock()
        self.began = threading.Event()
        self.made: list[str] = []

    @once
    def first(self) -> object:
        self.began.set()
        time.sleep(0.05)
        self.made.append("first")
        return object()

    @once
    def second(self) -> tuple[object, object]:
        self.made.append("second")
        return self.first, object()

    def forget(self) -> None:
        with self.making:
            self.__dict__.pop("first", None)


def test_all_threads_get_the_same() -> None:
    thing, barrier = Thing(), threading.Barrier(THREADS)

    def ask(number: int) -> object:
        barrier.wait()
        return thing.first if number % 2 else thing.second[0]

    with ThreadPoolExecutor(THREADS) as threads:
        found = set(threads.map(ask, range(THREADS)))
    assert len(found) == 1
    assert sorted(thing.made) == ["first", "second"]


def test_what_is_forgotten_while_it_is_made_does_not_come_back() -> None:
    thing = Thing()
    maker = threading.Thread(target=lambda: thing.first)
    maker.start()
    assert thing.began.wait(10)
    thing.forget()
    maker.join()
    assert "first" not in vars(thing)
