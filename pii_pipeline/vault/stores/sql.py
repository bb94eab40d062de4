"""The vault's store in SQLite or PostgreSQL."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import wraps
from itertools import chain
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    Select,
    Table,
    Text,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal,
    select,
    tuple_,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft
from sqlalchemy.types import NullType

from pii_pipeline.database import (
    DatabaseError,
    DatabaseUnavailable,
    again_if_lost,
    connect,
    durable_later,
    insert_new,
    reading,
    scrub,
    upgrade,
)
from pii_pipeline.vault.errors import VaultSettingError, VaultUnavailable
from pii_pipeline.vault.model import MAX_SEALED_BYTES, Consent, RecordKey, SealedRecord, Stored
from pii_pipeline.vault.stores import statements, tables
from pii_pipeline.vault.stores.interface import SETTING, Allowance, Entry
from pii_pipeline.vault.stores.rows import (
    Identity,
    Room,
    anchored_of,
    consent_of,
    entry_of,
    key_of,
    latest,
    levels_text,
    merged,
    oldest_first,
    rank,
    record_of,
)
from pii_pipeline.vault.together import Together

P = ParamSpec("P")
R = TypeVar("R")

_RECORDS_AT_ONCE = 1_024
"""Rows in one answer of PostgreSQL's, which its driver has in memory as a whole: as many as the keys of a
query, and a few more. Of the longest originals they are 64 MiB."""
_ENTRIES_AT_ONCE = 500
_FEW = 100
"""Records of a put that is done with others which wait: more of them are worth a transaction of their own."""
_PUTS_AT_ONCE = 100
_CONNECTIONS = 16
"""To PostgreSQL, which makes a process for each."""
_READERS = 4
"""Connections to SQLite that read, beside the one that writes: two of one process that want to write wait for
each other in SQLite, which sleeps up to a tenth of a second until it looks again."""
_READERS_CACHE_BYTES = 2 * 1024 * 1024
"""Of each: whatever anybody writes empties it."""
_WINDOWS_KEPT = timedelta(days=2)
_DEADLOCK = "40P01"
_TRIES = 20


def open_sql(url: str) -> SqlStore:
    """As `open_store`."""
    try:
        if url.startswith("sqlite:"):
            writer, reader = connect(url, SETTING, 1), connect(url, SETTING, _READERS, _READERS_CACHE_BYTES)
        else:
            writer = reader = connect(url, SETTING, _CONNECTIONS)
        upgrade(writer, tables.VAULT_SCHEMA)
    except DatabaseUnavailable as error:
        raise VaultUnavailable(str(error)) from None
    except DatabaseError as error:
        raise VaultSettingError(str(error)) from None
    return SqlStore(writer, reader)


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
    """A `VaultStore` over engines whose tables are there: one to write, and one to read, with."""

    def __init__(self, writer: Engine, reader: Engine) -> None:
        self._writer = writer
        self._reader = reader
        self._insert = postgresql.insert if writer.dialect.name == "postgresql" else sqlite.insert
        self._puts = Together(self._put, _PUTS_AT_ONCE)
        # Statements are made once: to make one takes several times as long as to execute it.
        self._put_new_ones = insert_new(writer, tables.records).returning(*tables.records.primary_key.columns)
        self._take = self._taking()
        self._add_entries = insert_new(writer, tables.audit).returning(tables.audit.c.sequence)
        records, said, audit = tables.records.c, tables.consents.c, tables.audit.c
        named = [*statements.ORDER, records.mark, records.first_seen, records.last_seen]
        of_a_length = case((func.length(records.sealed) <= MAX_SEALED_BYTES, self._as_it_is(records.sealed)))
        self._all_records = select(*map(self._as_it_is, named), of_a_length.label("sealed"))
        self._records = (
            self._all_records.where(statements.OF_FIELD).order_by(*statements.ORDER).limit(_RECORDS_AT_ONCE)
        )
        self._consents = select(
            *map(self._as_it_is, [said.subject, said.levels, said.cumulative, said.at, said.rank, said.seal])
        )
        self._entries = select(*map(self._as_it_is, [audit.sequence, audit.text, audit.hash, audit.seal]))
        self._writer_of = select(self._as_it_is(audit.writer)).where(audit.sequence == bindparam("number"))

    def put(self, records: Sequence[SealedRecord]) -> Stored:
        return self._puts.do(records) if len(records) <= _FEW else self._put([records])[0]

    def _as_it_is(self, column: Column[Any]) -> ColumnElement[Any]:
        """A column as bytes or text, whatever is in it: a value that the driver cannot turn into what it
        should be fails the query, and with it all other rows."""
        plain = LargeBinary if self._writer.dialect.name == "sqlite" else Text
        kind = column.type if isinstance(column.type, LargeBinary) else plain
        return cast(column, kind).label(column.name)

    @_answered
    def _put(self, puts: Sequence[Sequence[SealedRecord]]) -> list[Stored]:
        """In one transaction. A record of several of them is new to the first."""
        every = merged(chain.from_iterable(puts))
        rows = {identity: _row(identity, record) for identity, record in every.items()}
        new: set[Identity] = set()
        if rows:
            with self._writer.begin() as connection:
                new = self._put_new(connection, rows)
                known = [row for identity, row in rows.items() if identity not in new]
                if known:
                    self._widen(connection, known)
        stored = []
        for records in puts:
            own = new.intersection(merged(records) if len(puts) > 1 else every)
            stored.append(Stored(len(own), len(records) - len(own)))
            new -= own
        return stored

    def _put_new(self, connection: Connection, rows: Mapping[Identity, dict[str, Any]]) -> set[Identity]:
        new: set[Identity] = set()
        for some in statements.in_few_sizes(list(rows.values())):
            added: Any = connection.execute(self._put_new_ones, some)
            for stream, field, pseudonym, subject, digest in added:
                new.add((stream, field, bytes(pseudonym), bytes(subject), bytes(digest)))
        return new

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
        with reading(self._reader) as connection:
            for pseudonyms, of_field in statements.by_field(keys):
                for row in self._rows(connection, of_field):
                    key = pseudonyms[row.pseudonym]
                    record = record_of(key, row.subject, row.sealed, row.mark, row.first_seen, row.last_seen)
                    room.take(record.sealed)
                    found[key].append(record)
        return [oldest_first(found.get(key, ())) for key in keys]

    def _rows(self, connection: Connection, of_field: dict[str, Any]) -> Iterator[Any]:
        """The records for which `statements.OF_FIELD` holds, some at a time."""
        rows = connection.execute(self._records, of_field).all()
        yield from rows
        while len(rows) == _RECORDS_AT_ONCE:
            last = rows[-1].pseudonym, rows[-1].subject, rows[-1].digest
            rows = connection.execute(
                self._records.where(tuple_(*statements.ORDER) > tuple_(*last)), of_field
            ).all()
            yield from rows

    @_answered
    def count(self, keys: Sequence[RecordKey]) -> list[int]:
        counts: dict[RecordKey, int] = {}
        with reading(self._reader) as connection:
            for pseudonyms, of_field in statements.by_field(keys):
                for name, number in connection.execute(statements.COUNTS, of_field):
                    counts[pseudonyms[bytes(name)]] = number
        return [counts.get(key, 0) for key in keys]

    def delete(self, keys: Sequence[RecordKey]) -> int:
        return self._delete([statements.of_field(**of_field) for _, of_field in statements.by_field(keys)])

    def delete_subjects(self, subjects: Sequence[bytes]) -> int:
        named = list(filter(None, subjects))  # the others name nobody
        consents = statements.chunked(tables.consents.c.subject, named)
        return self._delete(statements.chunked(tables.records.c.subject, named), consents)

    def delete_marked(self, marks: Sequence[bytes]) -> int:
        return self._delete(statements.chunked(tables.records.c.mark, list(filter(None, marks))))

    @_answered
    def _delete(
        self, records: Sequence[ColumnElement[bool]], consents: Sequence[ColumnElement[bool]] = ()
    ) -> int:
        with self._writer.begin() as connection:
            gone = sum(connection.execute(delete(tables.records).where(which)).rowcount for which in records)
            for which in consents:
                connection.execute(delete(tables.consents).where(which))
        scrub(self._writer)
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
        with self._writer.begin() as connection:
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=key, set_=given, where=given["rank"] >= tables.consents.c.rank
                ),
                rows,
            )

    @_answered
    def consents(self, stream: str, subjects: Sequence[bytes]) -> Mapping[bytes, Consent]:
        said: dict[bytes, Consent] = {}
        with reading(self._reader) as connection:
            for those in statements.chunked(tables.consents.c.subject, subjects):
                query = self._consents.where(tables.consents.c.stream == stream, those)
                for subject, *said_so in connection.execute(query):
                    said[subject] = consent_of(subject, stream, *said_so)
        return said

    @_answered
    def records(self) -> int:
        with reading(self._reader) as connection:
            return connection.execute(select(func.count()).select_from(tables.records)).scalar_one()

    def all_records(self) -> Iterator[Sequence[SealedRecord]]:
        for rows in self._pages(tables.records, self._all_records):
            keys = [key_of(*key[:3]) for key, _ in rows]
            yield [
                record_of(key, row.subject, row.sealed, row.mark, row.first_seen, row.last_seen)
                for key, (_, row) in zip(keys, rows, strict=True)
            ]

    def all_consents(self) -> Iterator[Sequence[Consent]]:
        for rows in self._pages(tables.consents, self._consents):
            yield [
                consent_of(subject, stream, row.levels, row.cumulative, row.at, row.rank, row.seal)
                for (subject, stream), row in rows
                if isinstance(subject, bytes) and isinstance(stream, str)  # what no vault wrote is none
            ]

    def _pages(self, table: Table, query: Select[Any]) -> Iterator[list[tuple[list[Any], Any]]]:
        """All rows, by primary key, which comes with each as it is stored."""
        key = [type_coerce(column, NullType()) for column in table.primary_key.columns]
        query = query.add_columns(*key).order_by(*key).limit(statements.AT_ONCE)
        last: list[Any] = []
        while rows := self._page(query, key, last):
            keys = [[_raw(value) for value in row[-len(key) :]] for row in rows]
            yield list(zip(keys, rows, strict=True))
            last = keys[-1]

    @_answered
    def _page(
        self, query: Select[Any], key: Sequence[ColumnElement[Any]], last: Sequence[Any]
    ) -> Sequence[Any]:
        if last:
            after = [literal(value, NullType()) for value in last]
            query = query.where(tuple_(*key) > tuple_(*after))
        with reading(self._reader) as connection:
            return connection.execute(query).all()

    @_answered
    def spend(self, allowances: Sequence[Allowance], amount: int) -> Allowance | None:
        with durable_later(self._writer) as connection:
            for allowance in sorted(allowances):  # of two at once, one waits for the other
                spent = self._spend(connection, allowance, amount)
                if spent is None:
                    connection.rollback()
                    return allowance
                if spent == amount:  # a new window
                    old = tables.spent.c.began_at < datetime.now(UTC) - _WINDOWS_KEPT
                    connection.execute(delete(tables.spent).where(old))
        return None

    def _spend(self, connection: Connection, allowance: Allowance, amount: int) -> int | None:
        """What was spent of it by now; None where there is not so much left."""
        if amount > allowance.most:
            return None
        given = {
            "principal": allowance.principal,
            "window": allowance.window,
            "spent": amount,
            "began_at": datetime.now(UTC),
            "left": allowance.most - amount,
        }
        return connection.scalar(self._take, given)

    def _taking(self) -> Any:
        """Adds to what was spent of an allowance, where there is so much left; the sum."""
        insert, there = self._insert(tables.spent), tables.spent.c
        left = bindparam("left", type_=there.spent.type)  # not the sum, which the database may not hold
        return insert.on_conflict_do_update(
            index_elements=[there.principal, there.window],
            set_={"spent": there.spent + insert.excluded.spent},
            where=there.spent <= left,
        ).returning(there.spent)

    def append(self, entries: Sequence[Entry]) -> bool:
        return not entries or self._append(entries, secrets.token_bytes(16))

    @_answered
    def _append(self, entries: Sequence[Entry], writer: bytes) -> bool:
        first = entries[0].sequence
        rows = [{**entry._asdict(), "writer": writer} for entry in entries]
        with self._writer.connect() as connection, connection.begin() as transaction:
            there = first == 1 or connection.scalar(statements.IS_THERE, {"number": first - 1}) is not None
            if there and len(connection.execute(self._add_entries, rows).all()) == len(rows):
                transaction.commit()
                return True
            transaction.rollback()
        with reading(self._reader) as connection:  # written by an earlier try, whose answer was lost?
            return connection.scalar(self._writer_of, {"number": first}) == writer

    @_answered
    def last_entry(self) -> Entry | None:
        with reading(self._reader) as connection:
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
        with reading(self._reader) as connection:
            return [entry_of(*row) for row in connection.execute(query)]

    @_answered
    def anchored(self) -> tuple[int, datetime] | None:
        with reading(self._reader) as connection:
            said = map(self._as_it_is, [tables.anchor.c.sequence, tables.anchor.c.at])
            row = connection.execute(select(*said)).first()
        return anchored_of(*row) if row else None

    @_answered
    def remember_anchor(self, sequence: int, at: datetime) -> None:
        insert, there = self._insert(tables.anchor), tables.anchor.c
        later = insert.excluded.sequence >= there.sequence
        with self._writer.begin() as connection:
            connection.execute(
                insert.values(id=1, sequence=sequence, at=at).on_conflict_do_update(
                    index_elements=[there.id], set_={"sequence": sequence, "at": at}, where=later
                )
            )

    def close(self) -> None:
        self._writer.dispose()
        self._reader.dispose()


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


def _raw(value: Any) -> Any:
    """As Python has it: PostgreSQL's driver gives bytes as a view of memory."""
    return bytes(value) if isinstance(value, memoryview) else value
