"""``generalize``: an IP address to its prefix, a date to a unit, a number down to a multiple of a step."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.record_type import Node, Scalar
from pii_pipeline.contracts.treatments import Generalize
from pii_pipeline.privacy.distinct import distinct

_CUT = {"year": 4, "month": 7, "day": 10, "hour": 13}
"""Characters of ISO 8601 text up to and including the unit."""


def generalize_ip(text: str, treatment: Generalize) -> str | None:
    """``203.0.113.7`` → ``203.0.113.0/24``; an IPv4 address written as IPv6 counts as IPv4. What is no
    address, or of a version the contract gives no prefix for, becomes null: there is no safe coarser form."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    prefix = treatment.ipv4_prefix if address.version == 4 else treatment.ipv6_prefix
    if prefix is None:
        return None
    bare = type(address)(int(address))  # without the zone of fe80::1%eth0
    return str(ipaddress.ip_network(f"{bare}/{prefix}", strict=False))


def generalize_date(text: str, unit: str) -> str | None:
    """An ISO 8601 date or time, in UTC, cut to hour, day, month or year; anything else becomes null."""
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
        moments = values.cast(pa.timestamp("ms"))
        return pc.floor_temporal(moments, unit=treatment.date).cast(pa.int64())
    pairs = distinct(values)
    texts = pairs.dictionary.to_pylist()
    if treatment.date is not None:
        outputs = [generalize_date(text, treatment.date) for text in texts]
    else:
        outputs = [generalize_ip(text, treatment) for text in texts]
    return pairs.spread(pa.array(outputs, pa.string()))


def _floor_numbers(values: pa.Array, step: float) -> pa.Array:
    null = values.is_null().to_numpy(zero_copy_only=False)
    numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
    if pa.types.is_integer(values.type) and float(step).is_integer():
        floored = numbers // int(step) * int(step)
    else:
        floored = np.floor(numbers / step) * step
    return pa.array(floored, values.type, mask=null, safe=False)
