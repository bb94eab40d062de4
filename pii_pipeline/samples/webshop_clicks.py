"""Who does what when in the web shop: sessions over an hour, as numbers.

Sessions begin all through the hour, run for minutes and overlap; clicks come in the order of their times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from pii_pipeline.samples.vectors import Index, zipf

SLICE = 20_000
"""Clicks made at a time; bounds memory (some 15 MB of JSON)."""
SPAN = timedelta(hours=1)
"""How long a sample lasts."""
GUEST = 1 << 40
"""Numbers of visitors who never log in begin here; below are those of people."""
_SPAN_MS = int(SPAN.total_seconds() * 1000)
_LAST_START_MS = _SPAN_MS * 11 // 12  # so that the hour's last sessions have time to happen
_MEAN_EVENTS = 8
_MEAN_GAP_MS = 40_000

EVENTS = ("page_view", "product_view", "search", "add_to_cart", "checkout", "purchase", "feedback", "log_in")
PAGE_VIEW, PRODUCT_VIEW, SEARCH, ADD_TO_CART, CHECKOUT, PURCHASE, FEEDBACK, LOG_IN = range(8)
_SHARES = np.cumsum((0.36, 0.34, 0.12, 0.09, 0.04, 0.03, 0.02))  # of all but log_in


@dataclass(slots=True)
class Clicks:
    """Events as numbers, one element each: milliseconds into the hour, session, visitor (person's number, or
    one beyond `GUEST`), logged in, kind of event."""

    ms: Index
    session: Index
    visitor: Index
    known: npt.NDArray[np.bool_]
    kind: Index

    def take(self, rows: Index | slice) -> Clicks:
        return Clicks(*(getattr(self, column.name)[rows] for column in fields(self)))

    def __add__(self, other: Clicks) -> Clicks:
        return Clicks(
            *(np.concatenate([getattr(self, c.name), getattr(other, c.name)]) for c in fields(self))
        )


def clicks_of_an_hour(rng: np.random.Generator, events: int, users: int) -> Iterator[Clicks]:
    """All clicks of the hour in the order of time, at most `SLICE` at once."""
    slices = -(-events // SLICE)
    waiting: Clicks | None = None
    for number in range(slices):
        begin, until = (_LAST_START_MS * at // slices for at in (number, number + 1))
        new = _sessions(rng, min(SLICE, events - number * SLICE), begin, until, users)
        waiting = new if waiting is None else waiting + new
        # Whatever the sessions still to come will do, they do it after `until`.
        ready = waiting.ms < until if number + 1 < slices else np.ones(len(waiting.ms), bool)
        now = waiting.take(np.flatnonzero(ready))
        now = now.take(np.argsort(now.ms, kind="stable"))
        waiting = waiting.take(np.flatnonzero(~ready))
        for at in range(0, len(now.ms), SLICE):
            yield now.take(slice(at, at + SLICE))


def _sessions(rng: np.random.Generator, events: int, begin: int, until: int, users: int) -> Clicks:
    """Sessions that start between `begin` and `until`, `events` clicks in all."""
    sizes = rng.geometric(1 / _MEAN_EVENTS, events)
    sizes = np.diff(np.minimum(np.cumsum(sizes), events), prepend=0)
    sizes = sizes[sizes > 0]
    count = len(sizes)
    first = np.cumsum(sizes) - sizes
    session = np.repeat(np.arange(count), sizes)
    at = np.arange(events) - first[session]

    start = rng.uniform(begin, until, count)
    elapsed = np.cumsum(np.where(at == 0, 0, rng.exponential(_MEAN_GAP_MS, events)))
    elapsed -= elapsed[first][session]
    length = np.maximum(elapsed[first + sizes - 1], 1)
    squeeze = np.minimum(1, (_SPAN_MS - 1 - start) / length)

    habit = rng.random(count)  # 30 % never log in, 40 % come logged in, the others do it on the way
    log_in = np.where(habit < 0.3, sizes, np.where(habit < 0.7, -1, rng.integers(0, sizes + 1)))
    numbers = rng.integers(0, 1 << 62, count)
    visitor = np.where(log_in < sizes, zipf(rng.random(count), users, 20, 1.05), GUEST + (numbers >> 8))
    kind = np.searchsorted(_SHARES[:-1], rng.random(events), side="right")
    return Clicks(
        ms=(start[session] + elapsed * squeeze[session]).astype(np.int64),
        session=numbers[session],
        visitor=visitor[session],
        known=at >= log_in[session],
        kind=np.where(at == log_in[session], LOG_IN, kind),
    )
