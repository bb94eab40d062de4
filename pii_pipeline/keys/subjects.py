"""Data subjects in the key store: one row per person, and what remains of those who were forgotten.

Salts are wrapped under an *epoch key*, which is itself wrapped by the key-encryption key. A rotation wraps
the salts of all who are still there under a new epoch key and destroys the old one: from then on no backup
of the store from before leads to a salt that has been destroyed since.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from sqlalchemy import Column, Connection, Engine, and_, bindparam, delete, exists, insert, select, update

from pii_pipeline.database import again_if_lost, insert_new, reading, scrub
from pii_pipeline.keys import siv
from pii_pipeline.keys.bulk_sql import CHUNK, chunks, insert_new_rows, select_in
from pii_pipeline.keys.derivation import REF_BYTES, SALT_BYTES, SIV_KEY_BYTES, hmac_sha256_many
from pii_pipeline.keys.errors import CannotOpen, UnwrapFailed
from pii_pipeline.keys.key_encryption import KeyEncryptionKey
from pii_pipeline.keys.stored import epoch_context
from pii_pipeline.keys.tables import epoch_key, loss, subject, tombstone

_ALTERED = "a data subject's salt does not open: its row was altered"


class Subject(NamedTuple):
    """What a batch needs of a person: `ref` (16 bytes, random) and `salt` (32 bytes, secret)."""

    ref: bytes
    salt: bytes

    def __repr__(self) -> str:
        return "Subject(…)"


class SubjectStore:
    """The subject, epoch_key and tombstone tables. Part of `KeyStore`."""

    def __init__(self, engine: Engine, kek: KeyEncryptionKey, tombstone_key: Callable[[], bytes]) -> None:
        self._engine = engine
        self._kek = kek
        self._tombstone_key = tombstone_key
        self._epochs: dict[int, AESSIV] = {}

    @again_if_lost
    def subjects(self, tags: Sequence[bytes]) -> list[Subject]:
        """Ref and salt of each tag (32 bytes), in order; who is not known yet is entered.

        Safe under races: of two processes that enter the same tag, both get the row of the first.
        """
        found: dict[bytes, Subject] = {}
        for chunk in chunks(dict.fromkeys(tags)):
            with reading(self._engine) as connection:
                found.update(self._select(connection, chunk))
            missing = sorted(tag for tag in chunk if tag not in found)  # one order for all: no deadlocks
            if missing:
                with self._engine.begin() as connection:
                    found.update(self._insert(connection, missing))
        return [found[tag] for tag in tags]

    @again_if_lost
    def known(self, tags: Sequence[bytes]) -> dict[bytes, Subject]:
        """Ref and salt of each tag that has a row; nobody is entered."""
        found: dict[bytes, Subject] = {}
        for chunk in chunks(dict.fromkeys(tags)):
            with reading(self._engine) as connection:
                found.update(self._select(connection, chunk))
        return found

    @again_if_lost
    def salts_of(self, refs: Sequence[bytes]) -> dict[bytes, bytes]:
        """The salt of each ref (16 bytes) that is still there; whoever is missing was forgotten."""
        salts: dict[bytes, bytes] = {}
        for chunk in chunks(dict.fromkeys(refs)):
            with reading(self._engine) as connection:
                salts.update(self._open_rows(connection, subject.c.ref, chunk).values())
        return salts

    def forget(self, tag: bytes, *, erased_at: datetime, expires_at: datetime) -> bool:
        """Destroy the person's salt and leave a tombstone, in one transaction; whether there was a row.

        Records with event or arrival time ≤ `erased_at` are to be dropped while the tombstone stands (until
        `expires_at`). Forgetting somebody again moves both forward, never back.
        """
        mark = self._marks([tag])[0]
        times = {"erased_at": erased_at, "expires_at": expires_at}
        with self._engine.begin() as connection:
            known = connection.execute(delete(subject).where(subject.c.tag == tag)).rowcount > 0
            connection.execute(insert_new(self._engine, tombstone), {"mark": mark, **times})
            for name, moment in times.items():
                column = tombstone.c[name]
                connection.execute(
                    update(tombstone).where(tombstone.c.mark == mark, column < moment).values({name: moment})
                )
            connection.execute(insert(loss), {"at": datetime.now(UTC)})
        scrub(self._engine)
        return known

    @again_if_lost
    def erased_at(self, tags: Sequence[bytes]) -> dict[bytes, datetime]:
        """When each of these was forgotten; whoever never was is missing."""
        erased: dict[bytes, datetime] = {}
        with reading(self._engine) as connection:
            if connection.scalar(select(tombstone.c.mark).limit(1)) is None:
                return erased  # nobody was: as often as not
        for chunk in chunks(dict.fromkeys(tags)):
            tag_of = dict(zip(self._marks(chunk), chunk, strict=True))
            with reading(self._engine) as connection:
                marks = [
                    row[0]
                    for row in select_in(connection, [tombstone.c.mark], tombstone.c.mark, list(tag_of))
                ]
                # Few were ever forgotten: the typed statement is for them alone.
                query = select(tombstone.c.mark, tombstone.c.erased_at).where(tombstone.c.mark.in_(marks))
                for mark, moment in connection.execute(query):
                    erased[tag_of[bytes(mark)]] = moment
        return erased

    def drop_expired_tombstones(self, at: datetime) -> int:
        """Delete the tombstones that expired at or before `at`; how many."""
        with self._engine.begin() as connection:
            return connection.execute(delete(tombstone).where(tombstone.c.expires_at <= at)).rowcount

    def rotate_epoch(self) -> int:
        """Wrap all salts under a new epoch key and destroy the older ones; the new epoch's number.

        May be killed at any instant: the next call finishes what was begun, and then returns that epoch
        instead of beginning another. Batches may run beside it.
        """
        with self._engine.begin() as connection:
            live = self._live_epochs(connection)
            target = max(live, default=0)
            if len(live) < 2:
                target += 1
                self._insert_epoch(connection, target)
        while not self._destroy_epochs_before(target):
            self._rewrap(target)
        scrub(self._engine)
        return target

    def _select(self, connection: Connection, tags: list[bytes]) -> dict[bytes, Subject]:
        return self._open_rows(connection, subject.c.tag, tags)

    def _insert(self, connection: Connection, tags: list[bytes]) -> dict[bytes, Subject]:
        epoch = self._current_epoch(connection)
        wrap = self._epochs[epoch].encrypt
        hour = int(time.time()) // 3600
        new: dict[bytes, Subject] = {}
        rows: list[tuple[Any, ...]] = []
        size = REF_BYTES + SALT_BYTES
        fresh = secrets.token_bytes(size * len(tags))  # all at once: each asks the system
        for tag, at in zip(tags, range(0, len(fresh), size), strict=True):
            ref, salt = fresh[at : at + REF_BYTES], fresh[at + REF_BYTES : at + size]
            new[tag] = Subject(ref, salt)
            rows.append((tag, ref, wrap(salt, [tag, ref]), epoch, hour))
        if insert_new_rows(connection, subject, rows):
            return new
        return self._select(connection, tags)  # somebody else was first for some: theirs count

    def _open_rows(
        self, connection: Connection, key: Column[Any], values: list[bytes]
    ) -> dict[bytes, Subject]:
        """Tag → ref and salt of the rows. The epoch keys are read first: an epoch that a rotation destroys
        between two statements is then known already, and one it begins is still there to be read."""
        self._live_epochs(connection)
        columns = [subject.c.tag, subject.c.ref, subject.c.salt, subject.c.salt_key_id]
        rows = select_in(connection, columns, key, values)
        if any(row[3] not in self._epochs for row in rows):
            self._live_epochs(connection)
        ciphers = self._epochs
        try:  # `_open_salt` written out: called 100,000 times its frames cost a fifth of all this
            return {
                tag: Subject(ref, ciphers[epoch].decrypt(salt, [tag, ref])) for tag, ref, salt, epoch in rows
            }
        except (InvalidTag, ValueError, KeyError):
            raise UnwrapFailed(_ALTERED) from None

    def _open_salt(self, tag: bytes, ref: bytes, wrapped: bytes, epoch: int) -> bytes:
        try:
            return siv.open_raw(self._epochs[epoch], wrapped, [tag, ref])
        except (CannotOpen, KeyError):
            raise UnwrapFailed(_ALTERED) from None

    def _live_epochs(self, connection: Connection) -> list[int]:
        """The epochs whose keys exist, newest last; their ciphers are in `_epochs` afterwards."""
        query = select(epoch_key.c.epoch, epoch_key.c.wrapped).where(epoch_key.c.wrapped.is_not(None))
        live: list[int] = []
        for epoch, wrapped in connection.execute(query.order_by(epoch_key.c.epoch)):
            live.append(epoch)
            if epoch not in self._epochs:
                self._epochs[epoch] = AESSIV(self._kek.unwrap(bytes(wrapped), epoch_context(epoch)))
        return live

    def _current_epoch(self, connection: Connection) -> int:
        """The newest epoch, locked against its destruction until this transaction ends."""
        newest = select(epoch_key.c.epoch).where(epoch_key.c.wrapped.is_not(None))
        newest = newest.order_by(epoch_key.c.epoch.desc()).limit(1).with_for_update(read=True)
        epoch = connection.scalar(newest)
        if epoch is None:  # the first of all, or PostgreSQL waited here for the end of a rotation
            self._insert_epoch(connection, 1)
            epoch = connection.execute(newest).scalar_one()
        self._live_epochs(connection)
        return epoch

    def _insert_epoch(self, connection: Connection, epoch: int) -> None:
        wrapped = self._kek.wrap(secrets.token_bytes(SIV_KEY_BYTES), epoch_context(epoch))
        row = {"epoch": epoch, "wrapped": wrapped, "created_at": datetime.now(UTC)}
        connection.execute(insert_new(self._engine, epoch_key), row)

    def _rewrap(self, target: int) -> None:
        """Wrap every salt that is under another epoch than `target` under that one, chunk by chunk."""
        columns = subject.c.tag, subject.c.ref, subject.c.salt, subject.c.salt_key_id
        stale = and_(
            subject.c.tag == bindparam("stale_tag"), subject.c.salt_key_id == bindparam("stale_epoch")
        )
        after = b""
        while True:
            query = select(*columns).where(subject.c.tag > after).order_by(subject.c.tag).limit(CHUNK)
            with self._engine.begin() as connection:
                self._live_epochs(connection)
                rows = connection.execute(query).all()
                changes: list[Mapping[str, Any]] = []
                for row in rows:
                    tag, ref, wrapped, epoch = bytes(row[0]), bytes(row[1]), bytes(row[2]), row[3]
                    if epoch < target:
                        salt = self._open_salt(tag, ref, wrapped, epoch)
                        renewed = self._epochs[target].encrypt(salt, [tag, ref])
                        changes.append({"stale_tag": tag, "stale_epoch": epoch, "renewed": renewed})
                if changes:
                    values = {"salt": bindparam("renewed"), "salt_key_id": target}
                    connection.execute(update(subject).where(stale).values(values), changes)
            if len(rows) < CHUNK:
                return
            after = bytes(rows[-1][0])

    def _destroy_epochs_before(self, target: int) -> bool:
        """Destroy the older epoch keys, unless a salt still needs one of them."""
        old = and_(epoch_key.c.epoch < target, epoch_key.c.wrapped.is_not(None))
        with self._engine.begin() as connection:
            connection.execute(select(epoch_key.c.epoch).where(old).with_for_update())
            if connection.scalar(select(exists().where(subject.c.salt_key_id < target))):
                return False
            gone = {"wrapped": None, "destroyed_at": datetime.now(UTC)}
            connection.execute(update(epoch_key).where(old).values(gone))
        for epoch in [epoch for epoch in self._epochs if epoch < target]:
            del self._epochs[epoch]
        return True

    def _marks(self, tags: Iterable[bytes]) -> list[bytes]:
        return hmac_sha256_many(self._tombstone_key(), tags)
