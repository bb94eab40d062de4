"""Several chunks at once, results in order, memory flat."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`function` of every item, in the order of `items`, by `workers` threads.

    No more than `workers` + 1 items are under way, so that neither items nor results pile up. Arrow and
    DuckDB let go of the interpreter lock while they work; that is what threads gain by.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="chunk") as threads:
        under_way: deque[Future[R]] = deque()
        try:
            for item in items:
                under_way.append(threads.submit(function, item))
                if len(under_way) > workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
