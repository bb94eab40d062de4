"""How often a call is tried, and for how long: while the service is away, for who may ask it twice.

Not by gRPC's own means: it tries no more than five times, and nothing that is larger than 256 KiB.
"""

from __future__ import annotations

import random
import time

from pii_pipeline.vault.errors import VaultError, VaultUnavailable

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0
STRANGER_SECONDS = 3.0
"""A service that has never answered is perhaps none: who made a mistake is to be told so soon."""


class Attempts:
    """Those at one call, which has `seconds` for all of them. `again`: whether it may be done twice."""

    def __init__(self, seconds: float, again: bool, known: bool) -> None:
        now = time.monotonic()
        self._end = now + seconds
        self._patience = now + (seconds if known else min(seconds, STRANGER_SECONDS))
        self._again = again
        self._pause = _FIRST_PAUSE

    @property
    def left(self) -> float:
        """The seconds that the next attempt has."""
        return max(0.0, self._end - time.monotonic())

    def pause(self, error: VaultError) -> float | None:
        """How many seconds to wait before the next; None: there is none, `error` stays."""
        if not self._again or not isinstance(error, VaultUnavailable):
            return None
        pause = self._pause * random.uniform(0.8, 1.2)  # not all at once, who came at once
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        now = time.monotonic()
        return pause if now < self._patience and now + pause < self._end else None
