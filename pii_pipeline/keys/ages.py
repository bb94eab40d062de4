"""How old the stored keys are, and under which key-encryption key they lie. Opens none of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, String, cast, func, literal, null, select

from pii_pipeline.database import reading
from pii_pipeline.keys.kms import wrapped_under
from pii_pipeline.keys.stored import stored_keys
from pii_pipeline.keys.tables import epoch_key, period_key, pseudonym_secret, singleton_key

KEY_FILE = "a key file"
_DAY_SECONDS = 86_400
_EPOCH = "epoch"

EPOCH_DAYS = 90
"""How old an epoch key should become: until the epoch is rotated, a backup of the store leads to the salts of
people who were forgotten since it was made. Of keys of a day, each day has its own."""


@dataclass(frozen=True)
class KeyAge:
    """Keys of one kind (and stream): how many there are, and how many were destroyed.

    `first`, `last`: of those there are, the day (window, quarantine, restricted), number (epoch) or version
    (pseudonym secret). `oldest`, `newest`: when they were made. All four None where none is left.
    """

    kind: str
    stream: str | None
    keys: int
    destroyed: int
    first: str | None
    last: str | None
    oldest: datetime | None
    newest: datetime | None

    def oldest_days(self, at: datetime) -> int | None:
        """The age of the oldest in whole days."""
        return _days(self.oldest, at)

    def overdue(self, at: datetime) -> bool:
        """Whether one of them should have been replaced by now."""
        days = self.oldest_days(at)
        return self.kind == _EPOCH and days is not None and days > EPOCH_DAYS

    def newest_days(self, at: datetime) -> int | None:
        """The age of the newest in whole days."""
        return _days(self.newest, at)


def key_ages(engine: Engine) -> list[KeyAge]:
    """The fixed keys and the secret, the epochs, then the keys of each stream by kind."""
    fixed, secret, epoch, period = singleton_key.c, pseudonym_secret.c, epoch_key.c, period_key.c
    queries = [
        _query(fixed, fixed.name, null(), null()).group_by(fixed.name).order_by(fixed.name),
        _query(secret, literal("pseudonym secret"), null(), secret.version),
        _query(epoch, literal(_EPOCH), null(), epoch.epoch),
        _query(period, period.kind, period.stream, period.day)
        .group_by(period.stream, period.kind)
        .order_by(period.stream, period.kind),
    ]
    with reading(engine) as connection:
        rows = [row for query in queries for row in connection.execute(query)]
    return [
        KeyAge(row[0], row[1], row[2], row[3] - row[2], _text(row[4]), _text(row[5]), row[6], row[7])
        for row in rows
        if row[3]
    ]


def key_encryption_keys(engine: Engine) -> Mapping[str, int]:
    """How many stored keys each key-encryption key has wrapped: the ARN of a KMS key, or `KEY_FILE`."""
    with reading(engine) as connection:
        return Counter(wrapped_under(key.wrapped) or KEY_FILE for key in stored_keys(connection))


def _query(
    columns: Any, kind: ColumnElement[str], stream: ColumnElement[Any], place: ColumnElement[Any]
) -> Select[*tuple[Any, ...]]:
    """A row per kind and stream: these, keys, rows, first and last place, when first and last were made."""
    there = columns.wrapped.is_not(None)
    return select(
        kind,
        cast(stream, String),
        func.count(columns.wrapped),
        func.count(),
        func.min(place).filter(there),
        func.max(place).filter(there),
        func.min(columns.created_at).filter(there),
        func.max(columns.created_at).filter(there),
    )


def _text(place: object) -> str | None:
    return None if place is None else str(place)


def _days(made: datetime | None, at: datetime) -> int | None:
    return None if made is None else int((at - made).total_seconds() // _DAY_SECONDS)
