"""Bad click events: each kind takes a good event and breaks one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

Event = dict[str, Any]
Break = Callable[[bytes, datetime, int], bytes]
"""(good record, end of the sample, random number) → bad record."""

OVERSIZED = "oversized"
_PRODUCT = {"sku": "LIG-0001", "name": "Oak floor lamp", "price": 10.0, "category": "lighting"}
_NOT_OBJECTS = (b'["page_view","product_view"]', b'"page_view"', b"42", b"null", b"true")


@dataclass(frozen=True, slots=True)
class Kind:
    """`failure_type` is what the pipeline must call it."""

    name: str
    failure_type: str
    make: Break


def _edit(change: Callable[[Event, int], object]) -> Break:
    def edited(record: bytes, _: datetime, number: int) -> bytes:
        event = orjson.loads(record)
        change(event, number)
        return orjson.dumps(event)

    return edited


def _at(days: Callable[[int], int]) -> Break:
    def moved(record: bytes, end: datetime, number: int) -> bytes:
        event = orjson.loads(record)
        moment = end + timedelta(days=days(number), seconds=number % 86_400)
        event["ts"] = f"{moment:%Y-%m-%dT%H:%M:%S}.000Z"
        return orjson.dumps(event)

    return moved


def _invalid_utf8(record: bytes, _: datetime, number: int) -> bytes:
    wrong = (b"\xc3\x28", b"\xff", b"\xed\xa0\x80", b"\xf0\x9f\x98")[number % 4]
    return record.replace(b'"page_url":"', b'"page_url":"' + wrong, 1)


def _truncated(record: bytes, _: datetime, number: int) -> bytes:
    # At least the brace, at most all but the closing one.
    return record[: 1 + number % (len(record) - 1)]


def _duplicate_key(record: bytes, _: datetime, number: int) -> bytes:
    twice = (b'"user_id":"someone-else"', b'"event":"page_view"')[number % 2]
    return record[:-1] + b"," + twice + b"}"


def _nan(record: bytes, _: datetime, number: int) -> bytes:
    event = orjson.loads(record)
    event["product"] = _PRODUCT | {"price": "?"}
    return orjson.dumps(event).replace(b'"price":"?"', b'"price":' + (b"NaN", b"-Infinity")[number % 2])


def _not_an_object(_: bytes, __: datetime, number: int) -> bytes:
    return _NOT_OBJECTS[number % len(_NOT_OBJECTS)]


def _wrong_type(event: Event, number: int) -> None:
    wrong: tuple[Event, ...] = (
        {"product": _PRODUCT | {"price": "10.00"}},
        {"ts": 1790000000},
        {"items": {"sku": "LIG-0001", "price": 10.0, "quantity": 1}},
        {"consent_levels": ["1"]},
        {"ip": None},
    )
    event.update(wrong[number % len(wrong)])


def _missing(event: Event, number: int) -> None:
    del event[("event_id", "event", "ip", "page_url")[number % 4]]


def _huge_integer(record: bytes, _: datetime, number: int) -> bytes:
    # Valid by the schema, beyond 64 bits: not to be rounded in silence.
    event = orjson.loads(record)
    event["loyalty_number"] = "?"
    return orjson.dumps(event).replace(b'"loyalty_number":"?"', b'"loyalty_number":%d' % (2**70 + number))


KINDS: tuple[Kind, ...] = (
    Kind("invalid_utf8", "not_utf8", _invalid_utf8),
    Kind("truncated", "not_json", _truncated),
    Kind("duplicate_key", "not_json", _duplicate_key),
    Kind("not_a_number", "not_json", _nan),
    Kind("not_an_object", "schema_violation", _not_an_object),
    Kind("wrong_type", "schema_violation", _edit(_wrong_type)),
    Kind("missing_field", "schema_violation", _edit(_missing)),
    Kind("unknown_event", "schema_violation", _edit(lambda event, _: event.update(event="teleport"))),
    Kind("schema_pattern", "schema_violation", _edit(lambda event, _: event.update(locale="Dutch"))),
    Kind("bad_email", "rule_violation", _edit(lambda event, _: event.update(email="not an address"))),
    Kind(
        "negative_price",
        "rule_violation",
        _edit(lambda event, _: event.update(product=_PRODUCT | {"price": -1.0})),
    ),
    Kind(
        "absurd_quantity",
        "rule_violation",
        _edit(lambda event, n: event.update(items=[{"sku": "LIG-0001", "price": 1.0, "quantity": 100 + n}])),
    ),
    Kind("blank_event_id", "rule_violation", _edit(lambda event, _: event.update(event_id=""))),
    Kind("too_old", "rule_violation", _at(lambda number: -30 - number % 300)),
    Kind("in_future", "rule_violation", _at(lambda number: 30 + number % 300)),
    Kind("empty_key", "empty_key", _edit(lambda event, _: event.update(session_id=""))),
    Kind("huge_integer", "unrepresentable", _huge_integer),
)


def oversized(record: bytes, max_record_bytes: int) -> bytes:
    """The record with free text that takes it just beyond the limit; otherwise it would be good."""
    return record[:-1] + b',"padding":"' + b"x" * max_record_bytes + b'"}'
