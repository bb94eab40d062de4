"""The one text form of a value: what is pseudonymized, encrypted, and read back from a ciphertext."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.record_type import Node, Scalar, arrow_type

MAX_DEPTH = 200
"""Levels of nesting, as in validation; a text with more is not read."""

LONG_NUMBER = 10**12
"""From here on a whole number can be that of a card."""

TELLING_NUMBER = 10**5
"""From here on, 6 digits, a whole number can tell whose it is."""

_BEYOND_64_BITS = r"(^|[\[:,\s-])[0-9]{19}"
"""Only a text that has this can have a whole number beyond 64 bits."""


def number_text(value: float | int) -> str:
    """A number as JSON would write it; whole floats without a fraction (42.0 → ``42``)."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return str(value) if isinstance(value, int) else repr(value)


def whole_text(value: float | int, least: int = 0) -> str | None:
    """The text of a whole number whose size is at least `least`; None of any other, and of doubles beyond 64
    bits."""
    size = abs(value)
    if size < least or (type(value) is float and not (size < 2**63 and value.is_integer())):
        return None
    return str(int(value))


def whole_texts(values: pa.Array, least: int = 0) -> pa.Array:
    """A column of whole numbers or doubles, as `whole_text` tells each; null stays null."""
    if pa.types.is_integer(values.type):
        if least:
            long = pc.or_(pc.greater_equal(values, least), pc.less_equal(values, -least))
            values = pc.if_else(long, values, pa.scalar(None, values.type))
        return values.cast(pa.string())
    numbers = values.to_numpy(zero_copy_only=False)  # null is NaN, of which nothing below is true
    size = np.abs(numbers)
    whole = (size >= least) & (size < 2**63) & (np.floor(size) == size)
    return pa.array(np.where(whole, numbers, 0).astype(np.int64), mask=~whole).cast(pa.string())


def scalar_text(value: Any) -> str:
    """Text of a parsed JSON scalar: strings as they are, numbers by `number_text`, true/false."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value)


def distinct_texts(dictionary: pa.Array) -> list[bytes]:
    """UTF-8 canonical texts of the distinct scalars of a column (no nulls among them)."""
    if pa.types.is_string(dictionary.type):
        return dictionary.cast(pa.binary()).to_pylist()
    return [scalar_text(value).encode() for value in dictionary.to_pylist()]


def json_bytes(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a whole number beyond 64 bits
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse_json(texts: pa.Array) -> list[Any]:
    """JSON texts (a string column) as values, whole numbers exact. What cannot be read, or is nested too
    deeply, stays the text it is."""
    exact = pc.match_substring_regex(texts, _BEYOND_64_BITS).to_pylist()
    return [
        None if text is None else _parse(text, long)
        for text, long in zip(texts.to_pylist(), exact, strict=True)
    ]


def _parse(text: str, long: bool) -> Any:
    try:
        value = orjson.loads(text)
        if long:
            value = json.loads(text)
    except (ValueError, RecursionError):  # ValueError: no JSON, or more digits than Python reads
        return text
    deep = text.count("[") + text.count("{") > MAX_DEPTH
    return text if deep and _depth(value) > MAX_DEPTH else value


def _depth(value: Any) -> int:
    deepest, stack = 0, [(value, 1)]
    while stack:
        value, depth = stack.pop()
        if isinstance(value, dict | list):
            deepest = max(deepest, depth)
            inside = value.values() if isinstance(value, dict) else value
            stack.extend((inner, depth + 1) for inner in inside)
    return deepest


def json_texts(values: pa.Array) -> pa.Array:
    """A column of records or lists as a column of canonical JSON text; null stays null."""
    texts = [None if value is None else json_bytes(value) for value in values.to_pylist()]
    return pa.array(texts, pa.binary()).cast(pa.string())


def from_texts(texts: pa.Array, node: Node) -> pa.Array:
    """The reverse: canonical texts (a string column) back to values of type `node`."""
    if not isinstance(node, Scalar):
        values = [None if text is None else orjson.loads(text) for text in texts.to_pylist()]
        return pa.array(values, arrow_type(node))
    if node.kind == "boolean":
        return pc.equal(texts, "true")
    return texts.cast(arrow_type(node))
