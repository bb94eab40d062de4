"""Calls that wait for a thread: who gets one, and what becomes of those nobody waits for any more."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pii_pipeline.vault_service.calls import THREADS, THREADS_OF_ONE, Calls


class Job:
    """Of a call; holds its request."""

    def __init__(self) -> None:
        self.request = bytes(4 * 1024 * 1024)
        self.begun = False

    def __call__(self) -> int:
        self.begun = True
        return len(self.request)


class Context:
    """Of a call without a deadline."""

    def time_remaining(self) -> None:
        return None


def test_what_was_cancelled_before_its_turn_holds_no_memory_until_then() -> None:
    backend: Any = None
    context: Any = Context()
    may = threading.Event()

    async def cancelled(calls: Calls) -> weakref.ref[Job]:
        job = Job()
        task = asyncio.create_task(calls._asked(context, "somebody", job))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() and not job.begun
        return weakref.ref(job)

    async def run(executor: ThreadPoolExecutor) -> None:
        calls = Calls(backend, executor, nobody_is_piinguin=True)
        busy = executor.submit(may.wait, 30)
        left = [await cancelled(calls) for _ in range(3)]
        gc.collect()
        assert [job() for job in left] == [None] * 3, "they are still in the executor's queue"
        may.set()
        assert await calls._asked(context, "somebody", Job()) == 4 * 1024 * 1024
        assert busy.done()

    with ThreadPoolExecutor(1) as executor:
        try:
            asyncio.run(run(executor))
        finally:
            may.set()


def test_one_principal_does_not_hold_all_the_threads() -> None:
    backend: Any = None
    context: Any = Context()
    may = threading.Event()
    running = threading.Semaphore(0)

    def long() -> bool:
        running.release()
        return may.wait(30)

    async def run(executor: ThreadPoolExecutor) -> None:
        calls = Calls(backend, executor, nobody_is_piinguin=True)
        greedy = [asyncio.create_task(calls._asked(context, "greedy", long)) for _ in range(2 * THREADS)]
        await asyncio.sleep(0)
        for task in greedy[:THREADS]:  # those of calls that are gone are busy all the same
            task.cancel()
        assert await asyncio.wait_for(calls._asked(context, "other", Job()), 10) == 4 * 1024 * 1024
        at_work = 0
        while running.acquire(timeout=0.2):
            at_work += 1
        assert at_work == THREADS_OF_ONE
        may.set()
        done = await asyncio.gather(*greedy, return_exceptions=True)
        assert done.count(True) >= THREADS

    with ThreadPoolExecutor(THREADS) as executor:
        try:
            asyncio.run(run(executor))
        finally:
            may.set()
