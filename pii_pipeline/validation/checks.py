"""Checks of whole columns: each takes a typed Arrow array and says which values certainly pass.

False means "not certain": the record is then judged on the strict path. Null passes; whether a null is
allowed at all is the business of the type codes (schema) or of `not_empty` (contract).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Check = Callable[[pa.Array], np.ndarray]

EXACT = 2**53
"""Below this, every whole number is a double of its own, so that comparing doubles compares numbers. This
one is not certain any more: 2**53 + 1 is rounded to it."""

_INT64 = (-(2**63), 2**63 - 1)


class NotVectorisable(Exception):
    """No sound check of a column can stand for this keyword or rule."""


def as_mask(values: pa.Array, null: bool) -> np.ndarray:
    """A boolean Arrow array as numpy, with `null` for nulls."""
    filled = pc.fill_null(values, null)
    return bits(filled.buffers()[1], filled.offset, len(filled))


def bits(buffer: Any, offset: int, size: int) -> np.ndarray:
    """`size` bits of an Arrow buffer from `offset` on, as bool; several times as fast as Arrow's own way."""
    unpacked = np.unpackbits(np.frombuffer(buffer, np.uint8), count=offset + size, bitorder="little")
    return unpacked[offset:].view(bool)


def matches(re2: str) -> Check:
    """Text in which the RE2 pattern is found."""
    return lambda values: as_mask(pc.match_substring_regex(values, re2), True)


def finite(values: pa.Array) -> np.ndarray:
    """Doubles small enough to be compared; no infinity, no NaN."""
    return np.abs(pc.fill_null(values, 0.0).to_numpy(zero_copy_only=False)) < EXACT


def between(kind: str, least: Any = None, most: Any = None, *, open: bool = False) -> Check:
    """Numbers from `least` to `most`, without these themselves if `open`; None is no bound.

    Doubles must have passed `finite`, so that bounds beyond EXACT need no care.
    """
    low = -math.inf if least is None else least
    high = math.inf if most is None else most
    if kind == "number":
        low, high = _double(low), _double(high)

        def check(values: pa.Array) -> np.ndarray:
            numbers = values.to_numpy(zero_copy_only=False)
            inside = (numbers > low) & (numbers < high) if open else (numbers >= low) & (numbers <= high)
            return inside | np.isnan(numbers)  # null; that a NaN is none is `finite`'s to find

        return check
    if low != -math.inf:
        low = math.floor(low) + 1 if open else math.ceil(low)
    if high != math.inf:
        high = math.ceil(high) - 1 if open else math.floor(high)
    low, high = max(low, _INT64[0]), min(high, _INT64[1])
    if low > high:
        return lambda values: as_mask(pc.is_null(values), True)

    def check_integers(values: pa.Array) -> np.ndarray:
        return as_mask(pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high)), True)

    return check_integers


def _double(bound: Any) -> float:
    try:
        return float(bound)
    except OverflowError:
        return math.inf if bound > 0 else -math.inf


def length(kind: str, least: int = 0, most: int | None = None) -> Check:
    """Text by its code points, lists by their elements."""
    measure = pc.list_value_length if kind == "list" else pc.utf8_length

    def check(values: pa.Array) -> np.ndarray:
        lengths = measure(values)
        passed = pc.greater_equal(lengths, least)
        if most is not None:
            passed = pc.and_(passed, pc.less_equal(lengths, most))
        return as_mask(passed, True)

    return check


def one_of(kind: str, allowed: Iterable[Any]) -> Check:
    """Values equal to one of those `allowed` that are of `kind`; numbers are equal across int and float."""
    if kind == "string":
        chosen = pa.array([v for v in allowed if isinstance(v, str)], pa.string())
    elif kind == "boolean":
        chosen = pa.array([v for v in allowed if isinstance(v, bool)], pa.bool_())
    else:
        numbers = [v for v in allowed if isinstance(v, int | float) and not isinstance(v, bool)]
        if any(not abs(v) < EXACT for v in numbers):
            raise NotVectorisable
        if kind == "integer":
            chosen = pa.array([int(v) for v in numbers if v == int(v)], pa.int64())
        else:
            # -0.0 equals 0, which a lookup by bits would miss.
            chosen = pa.array([float(v) for v in numbers] + [-0.0] * (0 in numbers), pa.float64())
    return lambda values: as_mask(pc.or_(pc.is_in(values, chosen), pc.is_null(values)), True)


def not_empty(values: pa.Array) -> np.ndarray:
    """Neither null nor "" nor []."""
    if pa.types.is_string(values.type):
        return as_mask(pc.greater(pc.binary_length(values), 0), False)
    if pa.types.is_list(values.type):
        return as_mask(pc.greater(pc.list_value_length(values), 0), False)
    return as_mask(pc.is_valid(values), False)
