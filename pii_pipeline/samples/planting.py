"""Bad records among good ones, and how many they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pii_pipeline.samples.planted import Planted
from pii_pipeline.samples.vectors import spliced

OVERSIZED = "oversized"
BAD = 0.01
"""The share of bad records."""
SMALL = 1_000
"""Samples of fewer records have no oversized one."""
_OVERSIZED_EVERY = 50_000
_FIRST_OVERSIZED = 777

Setting = TypeVar("Setting")


@dataclass(frozen=True, slots=True)
class Kind(Generic[Setting]):
    """A kind of bad record: `make` takes a good one, what the generator tells it, and a random number.

    `failure_type` is what the pipeline must call it.
    """

    name: str
    failure_type: str
    make: Callable[[bytes, Setting, int], bytes]


@dataclass(slots=True)
class Spoiler(Generic[Setting]):
    """Breaks one record in a hundred, by `kinds` in turn, and makes a few too large.

    `oversized` gives a good record more bytes than the third argument; `small` samples have none such.
    `keyless` is the kind of those that are bad from the start, since they have no key.
    """

    rng: np.random.Generator
    setting: Setting
    kinds: Sequence[Kind[Setting]]
    oversized: Callable[[bytes, Setting, int], bytes]
    keyless: str
    planted: Planted
    max_record_bytes: int
    small: bool
    _next: int = 0

    def spoil(self, lines: pa.StringArray, keyed: npt.NDArray[np.bool_]) -> bytes:
        """The bytes of the next records, `lines`, each with its line feed. `keyed`: which have a key."""
        number = np.arange(len(lines)) + self.planted.records
        large = (number % _OVERSIZED_EVERY == _FIRST_OVERSIZED) & (not self.small)
        bad = (self.rng.random(len(lines)) < BAD) & keyed & ~large
        changed: dict[int, bytes] = {}
        for row in np.flatnonzero(bad).tolist():
            kind = self.kinds[self._next % len(self.kinds)]  # in turn, so that small samples have many kinds
            self._next += 1
            changed[row] = kind.make(_record(lines, row), self.setting, int(self.rng.integers(1 << 31)))
            self.planted.add_bad(kind.name, kind.failure_type)
        for row in np.flatnonzero(large).tolist():
            changed[row] = self.oversized(_record(lines, row), self.setting, self.max_record_bytes)
            self.planted.add_bad(OVERSIZED, "too_large")
        self.planted.add_bad(self.keyless, "empty_key", int((~keyed & ~large).sum()))
        self.planted.records += len(lines)
        return spliced(lines, changed)


def _record(lines: pa.StringArray, row: int) -> bytes:
    return lines[row].as_py().encode()[:-1]
