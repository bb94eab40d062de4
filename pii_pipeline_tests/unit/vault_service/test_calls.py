"""What becomes of a call that waits for a thread, and nobody waits for it any more."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pii_pipeline.vault_service.calls import Calls


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
        task = asyncio.create_task(calls._asked(context, job))
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
        assert await calls._asked(context, Job()) == 4 * 1024 * 1024
        assert busy.done()

    with ThreadPoolExecutor(1) as executor:
        try:
            asyncio.run(run(executor))
        finally:
            may.set()
