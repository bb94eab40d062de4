"""The vault's store in SQLite or PostgreSQL."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    Text,
    case,
    cast,
    delete,
    func,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from pii_pipeline.database import (
    DatabaseError,
    DatabaseUnavailable,
    again_if_lost,
    connect,
    insert_new,
    reading,
    scrub,
    upgrade,
)
from pii_pipeline.vault.errors import VaultSettingError, VaultUnavailable
from pii_pipeline.vault.model import MAX_SEALED_BYTES, Consent, RecordKey, SealedRecord, Stored
from pii_pipeline.vault.stores import tables
from pii_pipeline.vault.stores.interface import SETTING, Allowance, Entry
from pii_pipeline.vault.stores.rows import (
    Identity,
    Room,
    anchored_of,
    consent_of,
    entry_of,
    latest,
    levels_text,
    merged,
    oldest_first,
    rank,
    record_of,
)

P = ParamSpec("P")
R = TypeVar("R")

_AT_ONCE = 1_000
"""Keys in one query: SQLite takes 32,766 parameters."""
_RECORDS_AT_ONCE = 1_024
"""Rows in one answer of PostgreSQL's, which its driver has in memory as a whole: as many as the keys of a
query, and a few more. Of the longest originals they are 64 MiB."""
_ENTRIES_AT_ONCE = 500
_WINDOWS_KEPT = timedelta(days=2)
_DEADLOCK = "40P01"
_TRIES = 20


def open_sql(url: str) -> SqlStore:
    """As `open_store`."""
    try:
        engine = connect(url, SETTING)
        upgrade(engine, tables.VAULT_SCHEMA)
    except DatabaseUnavailable as error:
        raise VaultUnavailable(str(error)) from None
    except DatabaseError as error:
        raise VaultSettingError(str(error)) from None
    return SqlStore(engine)


def _answered(method: Callable[P, R]) -> Callable[P, R]:
    """Waits for a server that restarts, as `again_if_lost` does, so that what is done may be done twice; and
    begins again where PostgreSQL ended the transaction because two waited for each other."""
    patiently = again_if_lost(method)

    @wraps(method)
    def answered(*args: P.args, **kwargs: P.kwargs) -> R:
        for tried in range(_TRIES):
            try:
                return patiently(*args, **kwargs)
            except OperationalError as error:
                if getattr(error.orig, "pgcode", None) != _DEADLOCK:
                    raise
            except DatabaseError as error:
                raise VaultUnavailable(str(error)) from None
            except NoConnectionLeft:
                raise VaultUnavailable(
                    f"{SETTING}: all connections are busy — ask for less at once"
                ) from None
            time.sleep(secrets.randbelow(100) / 1000 * (tried + 1))
        raise VaultUnavailable(f"{SETTING}: others change the same records all the time — try again later")

    return answered


class SqlStore:
    """A `VaultStore` over an engine whose tables are there."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        records, said, audit = tables.records.c, tables.consents.c, tables.audit.c
        named = [*_ORDER, records.mark, records.first_seen, records.last_seen]
        of_a_length = case((func.length(records.sealed) <= MAX_SEALED_BYTES, self._as_it_is(records.sealed)))
        self._records = select(*map(self._as_it_is, named), of_a_length.label("sealed"))
        self._consents = select(
            *map(self._as_it_is, [said.subject, said.levels, said.cumulative, said.at, said.rank, said.seal])
        )
        self._entries = select(*map(self._as_it_is, [audit.sequence, audit.text, audit.hash, audit.seal]))

    def _as_it_is(self, column: Column[Any]) -> ColumnElement[Any]:
        """A column as bytes or text, whatever is in it: a value that the driver cannot turn into what it
        should be fails the query, and with it all other rows."""
        plain = LargeBinary if self._engine.dialect.name == "sqlite" else Text
        kind = column.type if isinstance(column.type, LargeBinary) else plain
        return cast(column, kind).label(column.name)

    @_answered
    def put(self, records: Sequence[SealedRecord]) -> Stored:
        rows = {identity: _row(identity, record) for identity, record in merged(records).items()}
        if not rows:
            return Stored(0, 0)
        with self._engine.begin() as connection:
            new = self._put_new(connection, rows)
            known = [row for identity, row in rows.items() if identity not in new]
            if known:
                self._widen(connection, known)
        return Stored(len(new), len(records) - len(new))

    def _put_new(self, connection: Connection, rows: Mapping[Identity, dict[str, Any]]) -> set[Identity]:
        columns = tables.records.primary_key.columns
        insert = insert_new(self._engine, tables.records).returning(*columns)
        added: Any = connection.execute(insert, list(rows.values()))
        return {
            (stream, field, bytes(pseudonym), bytes(subject), bytes(digest))
            for stream, field, pseudonym, subject, digest in added
        }

    def _widen(self, connection: Connection, rows: list[dict[str, Any]]) -> None:
        insert, there = self._insert(tables.records), tables.records.c
        given = insert.excluded
        earlier, later = given.first_seen < there.first_seen, given.last_seen > there.last_seen
        days = {
            "first_seen": case((earlier, given.first_seen), else_=there.first_seen),
            "last_seen": case((later, given.last_seen), else_=there.last_seen),
        }
        widen = insert.on_conflict_do_update(
            index_elements=tables.records.primary_key.columns, set_=days, where=earlier | later
        )
        connection.execute(widen, rows)

    @_answered
    def find(self, keys: Sequence[RecordKey]) -> list[list[SealedRecord]]:
        found: dict[RecordKey, list[SealedRecord]] = defaultdict(list)
        room = Room()
        with reading(self._engine) as connection:
            for pseudonyms, condition in _by_field(keys):
                for row in self._rows(connection, condition):
                    key = pseudonyms[row.pseudonym]
                    record = record_of(key, row.subject, row.sealed, row.mark, row.first_seen, row.last_seen)
                    room.take(record.sealed)
                    found[key].append(record)
        return [oldest_first(found.get(key, ())) for key in keys]

    def _rows(self, connection: Connection, condition: ColumnElement[bool]) -> Iterator[Any]:
        """The records for which it holds, some at a time."""
        query = self._records.where(condition).order_by(*_ORDER).limit(_RECORDS_AT_ONCE)
        rows = connection.execute(query).all()
        yield from rows
        while len(rows) == _RECORDS_AT_ONCE:
            last = rows[-1].pseudonym, rows[-1].subject, rows[-1].digest
            rows = connection.execute(query.where(tuple_(*_ORDER) > tuple_(*last))).all()
            yield from rows

    @_answered
    def count(self, keys: Sequence[RecordKey]) -> list[int]:
        counts: dict[RecordKey, int] = {}
        pseudonym = tables.records.c.pseudonym
        with reading(self._engine) as connection:
            for pseudonyms, condition in _by_field(keys):
                query = select(pseudonym, func.count()).where(condition).group_by(pseudonym)
                for name, number in connection.execute(query):
                    counts[pseudonyms[bytes(name)]] = number
        return [counts.get(key, 0) for key in keys]

    def delete(self, keys: Sequence[RecordKey]) -> int:
        return self._delete([condition for _, condition in _by_field(keys)])

    def delete_subjects(self, subjects: Sequence[bytes]) -> int:
        named = list(filter(None, subjects))  # the others name nobody
        consents = _chunked(tables.consents.c.subject, named)
        return self._delete(_chunked(tables.records.c.subject, named), consents)

    def delete_marked(self, marks: Sequence[bytes]) -> int:
        return self._delete(_chunked(tables.records.c.mark, list(filter(None, marks))))

    @_answered
    def _delete(
        self, records: Sequence[ColumnElement[bool]], consents: Sequence[ColumnElement[bool]] = ()
    ) -> int:
        with self._engine.begin() as connection:
            gone = sum(connection.execute(delete(tables.records).where(which)).rowcount for which in records)
            for which in consents:
                connection.execute(delete(tables.consents).where(which))
        scrub(self._engine)
        return gone

    @_answered
    def put_consents(self, consents: Sequence[Consent]) -> None:
        rows = [
            {
                "subject": consent.subject,
                "stream": consent.stream,
                "levels": levels_text(consent.levels),
                "cumulative": consent.cumulative,
                "at": consent.at,
                "rank": rank(consent),
                "seal": consent.seal,
            }
            for consent in latest(consents)
        ]
        if not rows:
            return
        insert, key = self._insert(tables.consents), tables.consents.primary_key.columns
        given = {column.name: column for column in insert.excluded if column.name not in key}
        with self._engine.begin() as connection:
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=key, set_=given, where=given["rank"] >= tables.consents.c.rank
                ),
                rows,
            )

    @_answered
    def consents(self, stream: str, subjects: Sequence[bytes]) -> Mapping[bytes, Consent]:
        said: dict[bytes, Consent] = {}
        with reading(self._engine) as connection:
            for those in _chunked(tables.consents.c.subject, subjects):
                query = self._consents.where(tables.consents.c.stream == stream, those)
                for subject, *said_so in connection.execute(query):
                    said[subject] = consent_of(subject, stream, *said_so)
        return said

    @_answered
    def records(self) -> int:
        with reading(self._engine) as connection:
            return connection.execute(select(func.count()).select_from(tables.records)).scalar_one()

    @_answered
    def spend(self, allowances: Sequence[Allowance], amount: int) -> Allowance | None:
        with self._engine.connect() as connection, connection.begin() as transaction:
            for allowance in sorted(allowances):  # of two at once, one waits for the other
                spent = self._spend(connection, allowance, amount)
                if spent is None:
                    transaction.rollback()
                    return allowance
                if spent == amount:  # a new window
                    old = tables.spent.c.began_at < datetime.now(UTC) - _WINDOWS_KEPT
                    connection.execute(delete(tables.spent).where(old))
        return None

    def _spend(self, connection: Connection, allowance: Allowance, amount: int) -> int | None:
        """What was spent of it by now; None where there is not so much left."""
        if amount > allowance.most:
            return None
        insert, there = self._insert(tables.spent), tables.spent.c
        left = there.spent <= allowance.most - amount  # not of the sum, which the database may not hold
        return connection.scalar(
            insert.values(
                principal=allowance.principal,
                window=allowance.window,
                spent=amount,
                began_at=datetime.now(UTC),
            )
            .on_conflict_do_update(
                index_elements=[there.principal, there.window],
                set_={"spent": there.spent + amount},
                where=left,
            )
            .returning(there.spent)
        )

    def append(self, entries: Sequence[Entry]) -> bool:
        return not entries or self._append(entries, secrets.token_bytes(16))

    @_answered
    def _append(self, entries: Sequence[Entry], writer: bytes) -> bool:
        first, columns = entries[0].sequence, tables.audit.c
        rows = [{**entry._asdict(), "writer": writer} for entry in entries]
        with self._engine.connect() as connection, connection.begin() as transaction:
            before = select(columns.sequence).where(columns.sequence == first - 1)
            if first == 1 or connection.scalar(before) is not None:
                added = insert_new(self._engine, tables.audit).returning(columns.sequence)
                if len(connection.execute(added, rows).all()) == len(rows):
                    transaction.commit()
                    return True
            transaction.rollback()
        with reading(self._engine) as connection:  # written by an earlier try, whose answer was lost?
            writers = select(self._as_it_is(columns.writer)).where(columns.sequence == first)
            return connection.scalar(writers) == writer

    @_answered
    def last_entry(self) -> Entry | None:
        with reading(self._engine) as connection:
            row = connection.execute(self._entries.order_by(tables.audit.c.sequence.desc()).limit(1)).first()
        return entry_of(*row) if row else None

    def entries(self, first: int = 1, last: int | None = None) -> Iterator[Entry]:
        while some := self._some_entries(first, last):
            yield from some
            if some[-1].sequence < first:
                return  # no numbers: they come after all that are
            first = some[-1].sequence + 1

    @_answered
    def _some_entries(self, first: int, last: int | None) -> list[Entry]:
        sequence = tables.audit.c.sequence
        query = self._entries.where(sequence >= first).order_by(sequence).limit(_ENTRIES_AT_ONCE)
        if last is not None:
            query = query.where(sequence <= last)
        with reading(self._engine) as connection:
            return [entry_of(*row) for row in connection.execute(query)]

    @_answered
    def anchored(self) -> tuple[int, datetime] | None:
        with reading(self._engine) as connection:
            said = map(self._as_it_is, [tables.anchor.c.sequence, tables.anchor.c.at])
            row = connection.execute(select(*said)).first()
        return anchored_of(*row) if row else None

    @_answered
    def remember_anchor(self, sequence: int, at: datetime) -> None:
        insert, there = self._insert(tables.anchor), tables.anchor.c
        later = insert.excluded.sequence >= there.sequence
        with self._engine.begin() as connection:
            connection.execute(
                insert.values(id=1, sequence=sequence, at=at).on_conflict_do_update(
                    index_elements=[there.id], set_={"sequence": sequence, "at": at}, where=later
                )
            )

    def close(self) -> None:
        self._engine.dispose()


_ORDER = tables.records.c.pseudonym, tables.records.c.subject, tables.records.c.digest


def _row(identity: Identity, record: SealedRecord) -> dict[str, Any]:
    stream, field, pseudonym, subject, digest = identity
    return {
        "stream": stream,
        "field": field,
        "pseudonym": pseudonym,
        "subject": subject,
        "digest": digest,
        "sealed": record.sealed,
        "mark": record.mark,
        "first_seen": record.first_seen,
        "last_seen": record.last_seen,
    }


def _by_field(keys: Iterable[RecordKey]) -> Iterator[tuple[dict[bytes, RecordKey], ColumnElement[bool]]]:
    """The keys of one field, some at once, by pseudonym; and the condition that finds their records."""
    fields: dict[tuple[str, str], dict[bytes, RecordKey]] = defaultdict(dict)
    for key in keys:
        fields[key.stream, key.field][key.pseudonym.encode()] = key
    columns = tables.records.c
    for (stream, field), pseudonyms in sorted(fields.items()):
        of_field = (columns.stream == stream) & (columns.field == field)
        for those in _chunked(columns.pseudonym, sorted(pseudonyms)):
            yield pseudonyms, of_field & those


def _chunked(column: Column[bytes], values: Sequence[bytes]) -> list[ColumnElement[bool]]:
    """Conditions that hold for these values, some at once."""
    return [column.in_(values[start : start + _AT_ONCE]) for start in range(0, len(values), _AT_ONCE)]
