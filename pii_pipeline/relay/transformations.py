"""From an enriched event of Snowplow's to what its PII enrichment replaced, and by what.

The enrichment says so in an event of its own, whose `unstruct_event` is around

    iglu:com.snowplowanalytics.snowplow/pii_transformation/jsonschema/1-0-0

with the replaced columns in `pii/pojo` and what was replaced inside JSON in `pii/json`. Of the latter the
schema allows two shapes: with the parts in a `fieldMapping`, and, as the enrichment writes it, without.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pii_pipeline.vault.model import MAX_ORIGINAL_BYTES, MAX_PSEUDONYM_BYTES

COLUMNS = 131
UNSTRUCT_EVENT = 58
"""Which of them holds an event of one's own making, from 0."""

NAME = "pii_transformation"

Reason = Literal["bad_aggregate", "not_utf8", "not_enriched", "not_json", "schema_violation", "unfit"]

_SCHEMA = re.compile(rf"iglu:com\.snowplowanalytics\.snowplow/{NAME}/jsonschema/(.*)", re.DOTALL)
_VERSION = re.compile(r"1-[0-9]+-[0-9]+")
"""Later revisions and additions keep to what the first has."""


class Unreadable(Exception):
    """An event that cannot be read. The message says which rule it breaks, and no value."""

    def __init__(self, reason: Reason, problem: str) -> None:
        super().__init__(reason, problem)
        self.reason: Reason = reason

    def __str__(self) -> str:
        return self.args[1]


@dataclass(frozen=True, slots=True)
class Replaced:
    """A value, and what stands for it."""

    pseudonym: str = field(repr=False)
    original: str = field(repr=False)


def read_line(line: bytes) -> list[Replaced] | None:
    """What the event in a line of TSV says was replaced; None: it is another event. Raises `Unreadable`."""
    text = _text(line)
    columns = text.removesuffix("\n").removesuffix("\r").split("\t")
    if len(columns) != COLUMNS:
        raise Unreadable("not_enriched", f"not the {COLUMNS} columns of an enriched event")
    unstruct_event = columns[UNSTRUCT_EVENT]
    return read_unstruct_event(unstruct_event) if unstruct_event else None


def read_unstruct_event(text: str) -> list[Replaced] | None:
    """The same of the column `unstruct_event`."""
    try:
        outer = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable("not_json", "the column is no JSON") from None
    event = outer.get("data") if isinstance(outer, dict) else None
    schema = event.get("schema") if isinstance(event, dict) else None
    if not isinstance(event, dict) or not isinstance(schema, str):
        raise Unreadable("schema_violation", "the column is no self-describing JSON")
    found = _SCHEMA.fullmatch(schema)
    if found is None:
        return None
    if not _VERSION.fullmatch(found[1]):
        raise Unreadable("schema_violation", f"a version of `{NAME}` that is not known")
    return [_replaced(entry) for entry in _entries(event.get("data"))]


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Unreadable("not_utf8", "not UTF-8") from None


def _entries(data: Any) -> Iterator[Any]:
    pii = data.get("pii") if isinstance(data, dict) else None
    if not isinstance(pii, dict) or not pii.keys() & {"pojo", "json"}:
        raise Unreadable("schema_violation", "`pii` has neither `pojo` nor `json`")
    for kind in ("pojo", "json"):
        entries = pii.get(kind, [])
        if not isinstance(entries, list):
            raise Unreadable("schema_violation", f"`{kind}` is no list")
        for entry in entries:
            yield entry["fieldMapping"] if isinstance(entry, dict) and "fieldMapping" in entry else entry


def _replaced(entry: Any) -> Replaced:
    values = [
        entry.get(name) if isinstance(entry, dict) else None for name in ("modifiedValue", "originalValue")
    ]
    pseudonym, original = values
    if not isinstance(pseudonym, str) or not isinstance(original, str):
        raise Unreadable("schema_violation", "an entry has no `originalValue` or no `modifiedValue`")
    if not 0 < _size(pseudonym) <= MAX_PSEUDONYM_BYTES:
        raise Unreadable("unfit", f"a modified value is empty, or longer than {MAX_PSEUDONYM_BYTES} bytes")
    if _size(original) > MAX_ORIGINAL_BYTES:
        raise Unreadable("unfit", f"an original is longer than {MAX_ORIGINAL_BYTES} bytes")
    return Replaced(pseudonym, original)


def _size(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise Unreadable("unfit", "a value is no text that UTF-8 can hold") from None
