"""Statements over the vault's tables, and keys and rows cut so that these have few sizes.

Python's sqlite3 keeps 128 statements of each connection with what they were given last: if they were of any
size, that would be more than 100 MiB.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, bindparam, func, select

from pii_pipeline.vault.model import RecordKey
from pii_pipeline.vault.stores import tables

AT_ONCE = 1_000
"""Keys in one query: SQLite takes 32,766 parameters."""
_INSERTED_AT_ONCE = 128
"""Records in one statement."""

ORDER = tables.records.c.pseudonym, tables.records.c.subject, tables.records.c.digest


def of_field(stream: Any, field: Any, pseudonyms: Any) -> ColumnElement[bool]:
    """Holds for the records of these pseudonyms of a field."""
    columns = tables.records.c
    return (columns.stream == stream) & (columns.field == field) & columns.pseudonym.in_(pseudonyms)


OF_FIELD = of_field(bindparam("stream"), bindparam("field"), bindparam("pseudonyms", expanding=True))
COUNTS = select(tables.records.c.pseudonym, func.count()).where(OF_FIELD).group_by(tables.records.c.pseudonym)
IS_THERE = select(tables.audit.c.sequence).where(tables.audit.c.sequence == bindparam("number"))


def by_field(keys: Iterable[RecordKey]) -> Iterator[tuple[dict[bytes, RecordKey], dict[str, Any]]]:
    """The keys of one field, some at once, by pseudonym; and what `of_field` wants to find their records."""
    fields: dict[tuple[str, str], dict[bytes, RecordKey]] = defaultdict(dict)
    for key in keys:
        fields[key.stream, key.field][key.pseudonym.encode()] = key
    for (stream, field), pseudonyms in sorted(fields.items()):
        for those in _some(sorted(pseudonyms)):
            yield pseudonyms, {"stream": stream, "field": field, "pseudonyms": those}


def chunked(column: Column[bytes], values: Sequence[bytes]) -> list[ColumnElement[bool]]:
    """Conditions that hold for these values, some at once."""
    return [column.in_(those) for those in _some(values)]


def _some(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Some at once, the last of them several times: so many that statements have few sizes."""
    for start in range(0, len(values), AT_ONCE):
        those = values[start : start + AT_ONCE]
        size = 1 << (len(those) - 1).bit_length()
        yield [*those, *[those[-1]] * (size - len(those))]


def in_few_sizes(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The rows, some at once."""
    start = 0
    while left := len(rows) - start:
        size = min(_INSERTED_AT_ONCE, 1 << (left.bit_length() - 1))
        yield rows[start : start + size]
        start += size
