"""The key store: what decrypts, and whom to forget. Keys leave it only in memory, wrapped in its tables.

All get-or-create is safe under races: INSERT … ON CONFLICT DO NOTHING, then SELECT, so that concurrent
processes get the same keys. A key that was destroyed is never made again.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Literal

from sqlalchemy import Connection, Engine, func, insert, select, update

from pii_pipeline.database import again_if_lost, insert_new, reading, scrub
from pii_pipeline.keys.derivation import SIV_KEY_BYTES, WINDOW_KEY_BYTES, key_check_value, salt_mark
from pii_pipeline.keys.errors import KeyDestroyed, SaltMissing, SecretChanged
from pii_pipeline.keys.key_encryption import KeyEncryptionKey
from pii_pipeline.keys.stored import period_context, secret_context, singleton_context
from pii_pipeline.keys.subjects import SubjectStore
from pii_pipeline.keys.tables import loss, period_key, pseudonym_secret, singleton_key

PeriodKind = Literal["window", "quarantine", "restricted"]

_SINGLETONS = ("index", "tombstone", "vault")
_SINGLETON_BYTES = 32
_SNOWPLOW_SALT = "snowplow salt"
_SECRET_BYTES = 32
# Windows root a derivation; quarantine is sealed with AES-SIV; Parquet's master keys are AES-256 keys.
_PERIOD_BYTES: dict[PeriodKind, int] = {
    "window": WINDOW_KEY_BYTES,
    "quarantine": SIV_KEY_BYTES,
    "restricted": 32,
}


@dataclass(frozen=True)
class PseudonymSecret:
    """The secret of all pseudonyms; its `version` belongs into whatever fingerprint depends on it."""

    version: int
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class SnowplowSalt:
    """The salt of Snowplow's hashes; its `mark` belongs into the fingerprint of whatever they are in."""

    mark: str
    value: bytes = field(repr=False)


class KeyStore(SubjectStore):
    """The key hierarchy over one database that has its tables (`database.upgrade`); makes its fixed keys on
    first use. Where it is asked in a run, a server that restarts is waited for.

    Raises `UnwrapFailed` at once if the store was made under another key-encryption key.
    """

    def __init__(self, engine: Engine, kek: KeyEncryptionKey) -> None:
        super().__init__(engine, kek, lambda: self._singleton("tombstone"))
        self._wrapped = _singletons(engine, kek)
        self._opened: dict[str, bytes] = {}
        self.index_key()

    @property
    def held_seconds(self) -> float:
        """For how long an opened store may be used: it holds keys in memory."""
        return self._kek.held_seconds

    def index_key(self) -> bytes:
        """32 bytes, fixed for ever: the key of all subject tags."""
        return self._singleton("index")

    def vault_key(self) -> bytes:
        """32 bytes, fixed: the root of the vault's keys."""
        return self._singleton("vault")

    @again_if_lost
    def pseudonym_secret(self, imported: bytes | str | None = None) -> PseudonymSecret:
        """The current pseudonym secret; made on first use, from `imported` if that is given.

        Raises `SecretChanged` when `imported` is not the stored one: other pseudonyms would silently stop
        matching all earlier ones.
        """
        given = imported.encode() if isinstance(imported, str) else imported
        if given is not None and not given:
            raise SecretChanged("the imported pseudonym secret is empty; unset it or give one")
        newest = select(pseudonym_secret).order_by(pseudonym_secret.c.version.desc()).limit(1)
        with reading(self._engine) as connection:
            row = connection.execute(newest).one_or_none()
        if row is None:
            secret = given or secrets.token_bytes(_SECRET_BYTES)
            first = {
                "version": 1,
                "wrapped": self._kek.wrap(secret, secret_context(1)),
                "check_value": key_check_value(secret),
                "created_at": datetime.now(UTC),
            }
            with self._engine.begin() as connection:
                connection.execute(insert_new(self._engine, pseudonym_secret), first)
                row = connection.execute(newest).one()
        if given is not None and not hmac.compare_digest(key_check_value(given), bytes(row.check_value)):
            raise SecretChanged(
                "the imported pseudonym secret is not the one this key store began with (its key-check value "
                f"differs from version {row.version}'s): new pseudonyms would match no earlier one. Give the "
                "original as PII_PSEUDONYM_SECRET, or unset it to use the stored secret"
            )
        return PseudonymSecret(row.version, self._kek.unwrap(bytes(row.wrapped), secret_context(row.version)))

    @again_if_lost
    def snowplow_salt(self, given: str | None = None) -> SnowplowSalt:
        """The salt of Snowplow's hashes: that of the first time, which may be left out from then on.

        It is remembered wrapped, and compared by opening that: a salt is often a word, which anybody with a
        copy of the store could find by trying whether it has a certain check value. Raises `SaltMissing` if
        there is none, `SecretChanged` if there is another one than what is given.
        """
        query = select(singleton_key.c.wrapped).where(singleton_key.c.name == _SNOWPLOW_SALT)
        with reading(self._engine) as connection:
            wrapped = connection.scalar(query)
        if wrapped is None and given is not None:
            first = _singleton_row(self._kek, _SNOWPLOW_SALT, given.encode())
            with self._engine.begin() as connection:
                connection.execute(insert_new(self._engine, singleton_key), first)
                wrapped = connection.scalar(query)
        if wrapped is None:
            raise SaltMissing(
                "a contract has `hash`, and no salt is known: set PII_SNOWPLOW_SALT to the salt of your "
                "Snowplow PII enrichment (or, if there is none to match, to a long random text)"
            )
        salt = self._kek.unwrap(bytes(wrapped), singleton_context(_SNOWPLOW_SALT))
        if given is not None and not hmac.compare_digest(given.encode(), salt):
            raise SecretChanged(
                "PII_SNOWPLOW_SALT is not the salt that this key store's hashes were made with: new ones "
                "would match no earlier one. Give the original, or unset it to use the stored one"
            )
        return SnowplowSalt(salt_mark(self.index_key(), salt), salt)

    def window_keys(self, stream: str, days: Sequence[date]) -> dict[date, bytes | None]:
        """The window key (32 bytes) of each UTC day of event time; None where the window has expired."""
        return self._period_keys("window", stream, days)

    @again_if_lost
    def losses(self) -> int:
        """How often a person was forgotten or a key destroyed: while it is the same, what was read holds."""
        with reading(self._engine) as connection:
            return connection.execute(select(func.count()).select_from(loss)).scalar_one()

    def expire_window(self, stream: str, day: date) -> None:
        """Destroy a window key for good: all under it becomes noise, backups of the lake included."""
        self._destroy("window", stream, day)

    def quarantine_key(self, stream: str, day: date) -> bytes:
        """The AES-SIV key (64 bytes) of bad events that arrived on `day`. Raises `KeyDestroyed`."""
        return self._period_key("quarantine", stream, day)

    def destroy_quarantine_key(self, stream: str, day: date) -> None:
        """Destroy it for good."""
        self._destroy("quarantine", stream, day)

    def restricted_key(self, stream: str, day: date) -> bytes:
        """The Parquet master key (32 bytes) of files for what arrived on `day`. Raises `KeyDestroyed`."""
        return self._period_key("restricted", stream, day)

    def destroy_restricted_key(self, stream: str, day: date) -> None:
        """Destroy it for good."""
        self._destroy("restricted", stream, day)

    def _singleton(self, name: str) -> bytes:
        if name not in self._opened:
            self._opened[name] = self._kek.unwrap(self._wrapped[name], singleton_context(name))
        return self._opened[name]

    def _period_key(self, kind: PeriodKind, stream: str, day: date) -> bytes:
        key = self._period_keys(kind, stream, [day])[day]
        if key is None:
            raise KeyDestroyed(kind, stream, day)
        return key

    @again_if_lost
    def _period_keys(self, kind: PeriodKind, stream: str, days: Sequence[date]) -> dict[date, bytes | None]:
        wanted = sorted(set(days))
        with reading(self._engine) as connection:
            found = _select_periods(connection, kind, stream, wanted)
        missing = [day for day in wanted if day not in found]
        if missing:
            rows = [self._period_row(kind, stream, day) for day in missing]
            with self._engine.begin() as connection:
                connection.execute(insert_new(self._engine, period_key), rows)
                found |= _select_periods(connection, kind, stream, missing)
        # Opened out here: a key service may take its time, and others wait for a transaction.
        return {
            day: wrapped and self._kek.unwrap(wrapped, period_context(kind, stream, day))
            for day, wrapped in found.items()
        }

    def _period_row(self, kind: PeriodKind, stream: str, day: date) -> dict[str, object]:
        wrapped = self._kek.wrap(secrets.token_bytes(_PERIOD_BYTES[kind]), period_context(kind, stream, day))
        now = datetime.now(UTC)
        return {"kind": kind, "stream": stream, "day": day, "wrapped": wrapped, "created_at": now}

    def _destroy(self, kind: PeriodKind, stream: str, day: date) -> None:
        columns = period_key.c
        now = datetime.now(UTC)
        marker = {"kind": kind, "stream": stream, "day": day, "created_at": now, "destroyed_at": now}
        with self._engine.begin() as connection:
            connection.execute(insert_new(self._engine, period_key), marker)
            connection.execute(
                update(period_key)
                .where(columns.kind == kind, columns.stream == stream, columns.day == day)
                .where(columns.wrapped.is_not(None))
                .values(wrapped=None, destroyed_at=now)
            )
            connection.execute(insert(loss), {"at": now})
        scrub(self._engine)


def _select_periods(
    connection: Connection, kind: PeriodKind, stream: str, days: Sequence[date]
) -> dict[date, bytes | None]:
    """Wrapped, as they are stored."""
    columns = period_key.c
    query = select(columns.day, columns.wrapped).where(
        columns.kind == kind, columns.stream == stream, columns.day.in_(days)
    )
    return {day: wrapped and bytes(wrapped) for day, wrapped in connection.execute(query)}


@again_if_lost
def _singletons(engine: Engine, kek: KeyEncryptionKey) -> dict[str, bytes]:
    """The fixed keys, wrapped; made on first use."""
    columns = singleton_key.c
    query = select(columns.name, columns.wrapped).where(columns.name.in_(_SINGLETONS))
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    if len(rows) < len(_SINGLETONS):
        new = [_singleton_row(kek, name, secrets.token_bytes(_SINGLETON_BYTES)) for name in _SINGLETONS]
        with engine.begin() as connection:
            connection.execute(insert_new(engine, singleton_key), new)
            rows = connection.execute(query).all()
    return {name: bytes(wrapped) for name, wrapped in rows}


def _singleton_row(kek: KeyEncryptionKey, name: str, key: bytes) -> dict[str, object]:
    wrapped = kek.wrap(key, singleton_context(name))
    return {"name": name, "wrapped": wrapped, "created_at": datetime.now(UTC)}
