"""All that is wrapped in the key store, and what each is for: the context in which it opens again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, and_, select, update

from pii_pipeline.keys.tables import epoch_key, period_key, pseudonym_secret, singleton_key

Context = dict[str, str]


def singleton_context(name: str) -> Context:
    """Of one of the fixed keys, or of Snowplow's salt."""
    return {"purpose": name}


def secret_context(version: int) -> Context:
    """Of a version of the pseudonym secret."""
    return {"purpose": "pseudonym secret", "version": str(version)}


def period_context(kind: str, stream: str, day: date) -> Context:
    """Of a window, quarantine or restricted key."""
    return {"purpose": kind, "stream": stream, "day": day.isoformat()}


def epoch_context(epoch: int) -> Context:
    """Of an epoch key."""
    return {"purpose": "salts", "epoch": str(epoch)}


class StoredKey(NamedTuple):
    """One wrapped key: the row it is in (its primary key), and what it is for."""

    table: Table
    row: tuple[object, ...]
    context: Context
    wrapped: bytes

    def __repr__(self) -> str:
        return f"StoredKey({self.table.name}, {self.row})"


def stored_keys(connection: Connection) -> list[StoredKey]:
    """Every key that the key-encryption key has wrapped; people's salts are under the epoch keys."""
    tables = {
        singleton_key: singleton_context,
        pseudonym_secret: secret_context,
        period_key: period_context,
        epoch_key: epoch_context,
    }
    found: list[StoredKey] = []
    for table, context_of in tables.items():
        query = select(*table.primary_key, table.c.wrapped).where(table.c.wrapped.is_not(None))
        for *row, wrapped in connection.execute(query):
            found.append(StoredKey(table, tuple(row), context_of(*row), bytes(wrapped)))
    return found


def replace_key(connection: Connection, key: StoredKey, wrapped: bytes) -> None:
    """Writes `wrapped` where `key` was read, if that is still there: what was destroyed stays so."""
    columns: Mapping[object, ColumnElement[bool]] = {
        column.name: column == value for column, value in zip(key.table.primary_key, key.row, strict=True)
    }
    same = and_(*columns.values(), key.table.c.wrapped == key.wrapped)
    connection.execute(update(key.table).where(same).values(wrapped=wrapped))
