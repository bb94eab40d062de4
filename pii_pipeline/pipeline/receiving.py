"""What waits in a queue, received and deleted by several threads: a call gives or takes ten messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

from pii_pipeline.queues import AT_ONCE, Queue, QueueError, Received

CALLERS = 8
"""Threads that receive, and as many that delete."""


class Batch:
    """Gathers messages, from several threads at once.

    emptied: a call has found none
    error: what a call raised; what others gave is in `messages` all the same
    """

    def __init__(
        self, most: int, most_bytes: int, until: float, took: Callable[[Sequence[Received], int], object]
    ) -> None:
        self.messages: list[Received] = []
        self.emptied = False
        self.error: QueueError | None = None
        self._most, self._most_bytes, self._until, self._took = most, most_bytes, until, took
        self._asked = self._bytes = 0
        self._lock = threading.Lock()

    def room(self) -> int:
        """How many messages to ask for now; 0 if it has ended."""
        with self._lock:
            over = self._bytes >= self._most_bytes or time.monotonic() >= self._until
            if self.emptied or self.error or over:
                return 0
            share = min(AT_ONCE, self._most - self._asked)
            self._asked += share
            return share

    def add(self, messages: Sequence[Received], asked: int) -> None:
        """What came when `asked` were asked for."""
        size = sum(len(message.body) for message in messages)
        with self._lock:
            self.messages += messages
            self._asked -= asked - len(messages)
            self._bytes += size
            self.emptied |= not messages
            self._took(messages, size)


def gather(
    queue: Queue,
    most: int,
    most_bytes: int,
    until: float,
    wait: int,
    visibility: int,
    took: Callable[[Sequence[Received], int], object] = lambda messages, size: None,
) -> Batch:
    """The next batch: `most` messages, or somewhat over `most_bytes` of them, or those that have come when
    `time.monotonic()` is `until`, hidden from others for `visibility` seconds.

    A call waits `wait` seconds for messages. `took` is told of each call's, and their bytes, one at a time.
    """
    batch = Batch(most, most_bytes, until, took)

    def receive(wait: int, once: bool = False) -> None:
        while share := batch.room():
            try:
                batch.add(queue.receive(share, wait, visibility), share)
            except QueueError as error:
                batch.error = error
                return
            if once:
                return

    receive(wait, once=True)
    # The rest of a FIFO queue's groups stays where it is as long as these are hidden: not worth waiting for.
    then = 0 if queue.is_fifo else wait
    callers = [threading.Thread(target=receive, args=(then,), daemon=True) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return batch


def delete_all(queue: Queue, messages: Sequence[Received]) -> list[Received]:
    """Deletes them; gives those that could not be. Raises `QueueError`."""
    with ThreadPoolExecutor(CALLERS) as deleters:
        return list(chain.from_iterable(deleters.map(queue.delete, by_ten(messages))))


def by_ten(messages: Sequence[Received]) -> list[Sequence[Received]]:
    """Cut for calls."""
    return [messages[start : start + AT_ONCE] for start in range(0, len(messages), AT_ONCE)]
