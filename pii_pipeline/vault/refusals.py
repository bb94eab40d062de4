"""Which refusals are entries of the audit log, and which are counted: they cost nothing, so that whoever can
be refused could fill it.

Who is refused is told nothing, so that a count may come later than the answer. What is told, found or not, is
never counted: each of those is an entry.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

MOST_A_MINUTE = 60
"""Of a principal, by one process, as entries of their own: one a second, which is more than people make by
mistake, and no more than 90,000 a day for who makes them on purpose."""


@dataclass(frozen=True, slots=True)
class More:
    """Refusals of a principal beyond those, within a minute (of UTC): how many, by what and why."""

    principal: str
    minute: str
    counts: Mapping[str, int]


class Refusals:
    """Those of a process; safe across threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[str, int]] = {}
        self._more: dict[tuple[str, str], Counter[str]] = {}
        self._closed = False

    def is_entry(self, principal: str, what: str, at: datetime) -> bool:
        """Whether this refusal is to be an entry; else it is counted."""
        minute = _minute(at)
        with self._lock:
            before, number = self._entries.get(principal, (minute, 0))
            number = number + 1 if before == minute else 1
            self._entries[principal] = minute, number
            if number <= MOST_A_MINUTE or self._closed:
                return True
            self._more.setdefault((principal, minute), Counter())[what] += 1
            return False

    def take(self, at: datetime | None) -> More | None:
        """The count of a minute that is over at that time, or of any; None: there is none. It is the caller's
        from now on."""
        with self._lock:
            over = (key for key in self._more if at is None or key[1] != _minute(at))
            if (key := next(over, None)) is None:
                return None
            return More(*key, self._more.pop(key))

    def put_back(self, more: More) -> None:
        """What was taken, and could not be recorded."""
        with self._lock:
            self._more.setdefault((more.principal, more.minute), Counter()).update(more.counts)

    def close(self) -> None:
        """Counts no more: nobody would take it."""
        with self._lock:
            self._closed = True


def _minute(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()[:16]
