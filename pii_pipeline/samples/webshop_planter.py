"""Puts bad events, redeliveries and reused ids among the good events of the web shop, and counts them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow as pa

from pii_pipeline.samples.planted import Planted
from pii_pipeline.samples.vectors import Bytes, Index, spliced
from pii_pipeline.samples.webshop_bad import KINDS, OVERSIZED, oversized

BAD = 0.01
DUPLICATE = 0.003
REUSED_ID = 0.0005
OVERSIZED_EVERY = 50_000
_FIRST_OVERSIZED = 777
_FAR = 0.4  # share of repetitions that repeat something of earlier slices
_REMEMBERED = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of a slice's records, by row. `duplicates` says which row each repeats; -1 - n stands for
    the n-th record remembered from earlier slices. `remember` are good rows for later slices to repeat."""

    bad: list[int]
    oversized: list[int]
    duplicates: dict[int, int]
    remember: Index
    remember_ids: Bytes


@dataclass(slots=True)
class Planter:
    """Use `plan` before a slice's records are made and `plant` after it, for each slice in turn.

    `small` samples get no oversized record.
    """

    rng: np.random.Generator
    end: datetime
    planted: Planted
    max_record_bytes: int
    small: bool
    _kind: int = 0
    _records: list[bytes] = field(default_factory=list)
    _ids: Bytes = field(default_factory=lambda: np.zeros((0, 16), np.uint8))

    def plan(self, ids: Bytes) -> Plan:
        """Decide. Records that reuse the id of an earlier one are given it in `ids`, of shape (n, 16)."""
        draw = self.rng.random(len(ids))
        number = np.arange(len(ids)) + self.planted.records
        too_large = (number % OVERSIZED_EVERY == _FIRST_OVERSIZED) & (not self.small)
        bad = (draw < BAD) & ~too_large
        good = (draw >= BAD + DUPLICATE + REUSED_ID) & ~too_large
        good_rows = np.flatnonzero(good)
        duplicates: dict[int, int] = {}
        for row in np.flatnonzero(~(bad | good | too_large)).tolist():
            source = self._earlier(int(np.searchsorted(good_rows, row)))
            if source is None:
                continue  # nothing to repeat yet: stays as it is
            if draw[row] < BAD + DUPLICATE:
                duplicates[row] = int(good_rows[source]) if source >= 0 else source
            else:
                ids[row] = ids[good_rows[source]] if source >= 0 else self._ids[~source]
                self.planted.reused_ids += 1
        remember = self.rng.choice(good_rows, min(_REMEMBERED, len(good_rows)), replace=False)
        return Plan(
            bad=np.flatnonzero(bad).tolist(),
            oversized=np.flatnonzero(too_large).tolist(),
            duplicates=duplicates,
            remember=remember,
            remember_ids=ids[remember],
        )

    def _earlier(self, before: int) -> int | None:
        """What to repeat: one of the slice's first `before` good records, or -1 - n for a remembered one."""
        if self._records and (not before or self.rng.random() < _FAR):
            return ~int(self.rng.integers(len(self._records)))
        return int(self.rng.integers(before)) if before else None

    def plant(self, lines: pa.StringArray, plan: Plan) -> bytes:
        """The slice's bytes: its `lines`, each with its line feed, but for those that the plan changes."""

        def record(row: int) -> bytes:
            return lines[row].as_py().encode()[:-1]

        changed: dict[int, bytes] = {}
        for row in plan.bad:
            kind = KINDS[self._kind % len(KINDS)]  # in turn, so that small samples have many kinds
            self._kind += 1
            changed[row] = kind.make(record(row), self.end, int(self.rng.integers(1 << 31)))
            self.planted.add_bad(kind.name, kind.failure_type)
        for row in plan.oversized:
            changed[row] = oversized(record(row), self.max_record_bytes)
            self.planted.add_bad(OVERSIZED, "too_large")
        for row, source in plan.duplicates.items():
            changed[row] = record(source) if source >= 0 else self._records[~source]
        self.planted.duplicates += len(plan.duplicates)
        self.planted.records += len(lines)
        self._records = [record(row) for row in plan.remember.tolist()]
        self._ids = plan.remember_ids
        return spliced(lines, changed)
