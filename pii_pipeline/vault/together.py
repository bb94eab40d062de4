"""What waits at once is done at once: many small changes of a database, which synchronises the disk for each
transaction, cost as much together as one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from pii_pipeline.vault.errors import AuditBroken, VaultUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Waiting(Generic[Item, Result]):
    """An item that a thread waits for, then what came of it: a result in a tuple, or what went wrong."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.came: tuple[Result] | BaseException | None = None


class Together(Generic[Item, Result]):
    """`work` on items of many threads, of up to `most` at once, in the order in which they came.

    `work` gives a result for each item, and does all of them or none: where it raises, each is done alone, so
    that one which cannot be done keeps no other from it. Where the database does not answer, or the audit log
    is broken, that is true of all of them, and all are told.

    No thread of its own: whoever finds nobody at work does what waits by then, for all.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]], most: int) -> None:
        self._work = work
        self._most = most
        self._changed = threading.Condition()
        self._queue: list[_Waiting[Item, Result]] = []
        self._at_work = False

    @property
    def waiting(self) -> int:
        """How many items nobody works on yet."""
        return len(self._queue)

    def do(self, item: Item) -> Result:
        """What came of it. Raises what `work` does."""
        mine = _Waiting[Item, Result](item)
        with self._changed:
            self._queue.append(mine)
        while mine.came is None:
            self._lead_or_wait(mine)
        if isinstance(mine.came, BaseException):
            raise mine.came
        return mine.came[0]

    def _lead_or_wait(self, mine: _Waiting[Item, Result]) -> None:
        with self._changed:
            while self._at_work and mine.came is None:
                self._changed.wait()
            if mine.came is not None:
                return
            self._at_work = True
            batch, self._queue = self._queue[: self._most], self._queue[self._most :]
        try:
            self._do(batch)
        finally:
            with self._changed:
                for waiting in batch:
                    if waiting.came is None:  # this thread is to end, and the others have no part in that
                        waiting.came = VaultUnavailable("what was asked for was interrupted")
                self._at_work = False
                self._changed.notify_all()

    def _do(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        try:
            results = self._work([waiting.item for waiting in batch])
        except (VaultUnavailable, AuditBroken) as error:
            for waiting in batch:
                waiting.came = error
        except Exception as error:  # noqa: BLE001 it is raised where the item came from
            if len(batch) == 1:
                batch[0].came = error
                return
            for waiting in batch:
                self._do([waiting])
        else:
            for waiting, result in zip(batch, results, strict=True):
                waiting.came = (result,)
