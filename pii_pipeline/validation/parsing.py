"""One record's bytes to a JSON object, by the letter of RFC 8259: what Python's parser lets pass is refused.

Where an error is reported, it is by position only; the parser's own messages and exceptions can quote.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from pii_pipeline.validation.failures import Rejected

MAX_DEPTH = 200
"""Levels of nesting (the record itself is the first), well below what any of the parsers can take."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""Only text that has this can hold half of a surrogate pair."""


class _Duplicate(ValueError):
    pass


class _Constant(ValueError):
    pass


class _Infinite(Exception):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _Duplicate
    return result


def _constant(name: str) -> Any:
    raise _Constant


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise _Infinite
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)
_WIDE_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def parse_record(raw: bytes) -> dict[str, Any]:
    """The record as a dict. Raises Rejected: not_utf8, not_json, unrepresentable, schema_violation."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Rejected("not_utf8", "", "encoding", f"not UTF-8 at byte {error.start}") from None
    record = parse_text(text)
    if not isinstance(record, dict):
        raise Rejected("schema_violation", "", "type", "a record is a JSON object")
    return record


def parse_text(text: str) -> Any:
    """The value of one JSON text. Raises Rejected: not_json, unrepresentable."""
    try:
        value = _decode(text, _DECODER)
        suspect = text.count("[") + text.count("{") > MAX_DEPTH or _HALF.search(text)
    except _Infinite:  # there may be worse behind that number, or nothing but that number
        value = _decode(text, _WIDE_DECODER)
        suspect = not isinstance(value, float)
    if suspect:
        _inspect(value)
    return value


def _decode(text: str, decoder: json.JSONDecoder) -> Any:
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        rule, message = "syntax", f"not JSON at character {error.pos}"
    except _Duplicate:
        rule, message = "duplicate_key", "an object has the same key twice"
    except _Constant:
        rule, message = "constant", "NaN and Infinity are not JSON"
    except RecursionError:
        rule, message = "nesting", f"nested more than {MAX_DEPTH} levels deep"
    except ValueError:  # Python refuses to read integers of more than some 4,300 digits
        rule, message = "number_length", "a number with too many digits to be read"
    raise Rejected("not_json", "", rule, message)


def _inspect(record: Any) -> None:
    """Raises Rejected if there is half of a surrogate pair, an infinite number or too deep a nesting."""
    stack = [(record, 1)]
    infinite = False
    while stack:
        value, depth = stack.pop()
        if depth > MAX_DEPTH and isinstance(value, dict | list):
            raise Rejected("not_json", "", "nesting", f"nested more than {MAX_DEPTH} levels deep")
        if isinstance(value, dict):
            stack.extend((key, depth) for key in value)
            stack.extend((element, depth + 1) for element in value.values())
        elif isinstance(value, list):
            stack.extend((element, depth + 1) for element in value)
        elif isinstance(value, str):
            if not _is_text(value):
                raise Rejected("not_json", "", "lone_surrogate", "text with half of a surrogate pair")
        elif isinstance(value, float):
            infinite |= math.isinf(value)
    if infinite:
        raise Rejected("unrepresentable", "", "number_range", "a number beyond the range of a double")


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
