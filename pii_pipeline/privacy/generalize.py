"""``generalize``: an IP address to its prefix, a date to a unit, a number down to a multiple of a step."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.record_type import Node, Scalar
from pii_pipeline.contracts.treatments import Generalize
from pii_pipeline.privacy.distinct import distinct

_MAPPED = bytes(10) + b"\xff\xff"
"""IPv4 as IPv6 (RFC 4291, 2.5.5.2) begins so."""
_DECIMAL = 1e12
"""Numbers below have at least three decimals that a double can tell."""
_INT64 = 2.0**63
_CUT = {"year": 4, "month": 7, "day": 10, "hour": 13}
"""Characters of ISO 8601 text up to and including the unit."""
_TIME = re.compile("[0-9][Tt ][0-9]")
_DAY_OF_WEEK = re.compile("[0-9]{4}(?:-W[0-9]{2}-[1-7]|W[0-9]{2}[1-7])(?![0-9])")
"""What a week date begins with; without the last digit it is a whole week, and Python takes the Monday."""
_YEAR_OR_MONTH = re.compile(r"[0-9]{4}(?:-[0-9]{2})?")
_MILLISECONDS = pa.scalar(-62_135_596_800_000), pa.scalar(253_402_300_799_999)
"""The first and the last of the years 1 to 9999, which text can say too."""


def generalize_ip(text: str, treatment: Generalize) -> str | None:
    """``203.0.113.7`` → ``203.0.113.0/24``; an IPv4 address written as IPv6 counts as IPv4. What is no
    address, or of a version the contract gives no prefix for, becomes null: there is no safe coarser form."""
    # The resolver's own parser: ten times as fast as `ipaddress`, and addresses are often all different.
    text = text.strip().partition("%")[0]  # without the zone of fe80::1%eth0
    try:
        if ":" not in text:
            address, family, prefix = inet_pton(AF_INET, text), AF_INET, treatment.ipv4_prefix
        else:
            address, family, prefix = inet_pton(AF_INET6, text), AF_INET6, treatment.ipv6_prefix
            if address.startswith(_MAPPED):
                address, family, prefix = address[len(_MAPPED) :], AF_INET, treatment.ipv4_prefix
    except (OSError, ValueError):  # ValueError: a NUL inside
        return None
    if prefix is None:
        return None
    bits = 8 * len(address)
    coarse = int.from_bytes(address, "big") >> (bits - prefix) << (bits - prefix)
    return f"{inet_ntop(family, coarse.to_bytes(len(address), 'big'))}/{prefix}"


def generalize_date(text: str, unit: str) -> str | None:
    """An ISO 8601 date or time, in UTC, cut to hour, day, month or year; anything else becomes null, and so
    does a year, month, week or date alone that does not tell the unit."""
    if _YEAR_OR_MONTH.fullmatch(text) and len(text) >= _CUT[unit]:
        text += "-01-01"[len(text) - _CUT["year"] :]
    if (unit == "hour" and not _TIME.search(text)) or ("W" in text and not _DAY_OF_WEEK.match(text)):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        moment = moment.astimezone(UTC) if moment.tzinfo else moment
    except OverflowError:
        return None
    return moment.isoformat()[: _CUT[unit]] + ("Z" if unit == "hour" else "")


def generalize_column(values: pa.Array, node: Node, treatment: Generalize) -> pa.Array:
    """A column made coarser. Text gives text; epoch milliseconds and numbers keep their type."""
    kind = node.kind if isinstance(node, Scalar) else "json"
    if treatment.step is not None:
        return _floor_numbers(values, treatment.step)
    if treatment.date is not None and kind == "integer":
        first, last = _MILLISECONDS
        known = pc.and_(pc.greater_equal(values, first), pc.less_equal(values, last))
        moments = pc.if_else(known, values, pa.scalar(None, pa.int64())).cast(pa.timestamp("ms"))
        return pc.floor_temporal(moments, unit=treatment.date).cast(pa.int64())
    pairs = distinct(values)
    texts = pairs.dictionary.to_pylist()
    if treatment.date is not None:
        outputs = [generalize_date(text, treatment.date) for text in texts]
    else:
        outputs = [generalize_ip(text, treatment) for text in texts]
    return pairs.spread(pa.array(outputs, pa.string()))


def _floor_numbers(values: pa.Array, step: float) -> pa.Array:
    """Null too where the multiple is beyond what the type holds."""
    null = values.is_null().to_numpy(zero_copy_only=False)
    numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
    whole = pa.types.is_integer(values.type)
    if whole and float(step).is_integer() and step < _INT64:
        floored = numbers // int(step) * int(step)
        beyond = floored > numbers  # wrapped
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            floored = _floor_decimals(numbers.astype(np.float64), step)
            beyond = ~(np.abs(floored) < (_INT64 if whole else np.inf))
    null = null | beyond
    return pa.array(np.where(null, 0, floored).astype(numbers.dtype), values.type, mask=null)


def _floor_decimals(numbers: np.ndarray, step: float) -> np.ndarray:
    """The multiples as decimals are counted: 52.37 is one of 0.01, and 52.379 goes down to 52.37, though
    binary fractions make 52.36 and 52.370000000000005 of them. Infinite or NaN beyond a double's range."""
    digits = max(0, -int(Decimal(repr(step)).as_tuple().exponent))
    count = np.floor(numbers / step)
    below, at, above = (np.round((count + more) * step, digits) for more in (-1, 0, 1))
    decimal = np.where(above <= numbers, above, np.where(at <= numbers, at, below))
    return np.where(np.abs(numbers) < _DECIMAL, decimal, numbers - np.mod(numbers, step))
