"""The vault's store in SQLite or PostgreSQL."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import wraps
from itertools import chain
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    bindparam,
    case,
    delete,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

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
from pii_pipeline.vault.model import Consent, RecordKey, SealedRecord, Stored
from pii_pipeline.vault.stores import tables
from pii_pipeline.vault.stores.interface import SETTING, Allowance, Entry
from pii_pipeline.vault.stores.rows import (
    Identity,
    latest,
    levels_of,
    levels_text,
    merged,
    oldest_first,
    rank,
)
from pii_pipeline.vault.together import Together

P = ParamSpec("P")
R = TypeVar("R")

_AT_ONCE = 1_024
"""Keys in one query: SQLite takes 32,766 parameters."""
_INSERTED_AT_ONCE = 128
"""Records in one statement."""
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
        self._put_new_ones = insert_new(writer, tables.records).returning(*tables.records.primary_key.columns)
        self._take = self._taking()
        self._add_entries = insert_new(writer, tables.audit).returning(tables.audit.c.sequence)
        self._puts = Together(self._put, _PUTS_AT_ONCE)

    def put(self, records: Sequence[SealedRecord]) -> Stored:
        return self._puts.do(records) if len(records) <= _FEW else self._put([records])[0]

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
        for some in _in_few_sizes(list(rows.values())):
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
        with reading(self._reader) as connection:
            for pseudonyms, of_field in _by_field(keys):
                for row in connection.execute(_RECORDS_OF_FIELD, of_field):
                    record = _record(pseudonyms[bytes(row.pseudonym)], row)
                    found[record.key].append(record)
        return [oldest_first(found.get(key, ())) for key in keys]

    def delete(self, keys: Sequence[RecordKey]) -> int:
        return self._delete([_of_field(**of_field) for _, of_field in _by_field(keys)])

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
                    index_elements=key, set_=given, where=given["rank"] > tables.consents.c.rank
                ),
                rows,
            )

    @_answered
    def consents(self, stream: str, subjects: Sequence[bytes]) -> Mapping[bytes, Consent]:
        said: dict[bytes, Consent] = {}
        with reading(self._reader) as connection:
            for those in _chunked(tables.consents.c.subject, subjects):
                query = select(tables.consents).where(tables.consents.c.stream == stream, those)
                for row in connection.execute(query):
                    subject = bytes(row.subject)
                    levels = levels_of(row.levels)
                    said[subject] = Consent(subject, stream, levels, row.cumulative, row.at)
        return said

    @_answered
    def records(self) -> int:
        with reading(self._reader) as connection:
            return connection.execute(select(func.count()).select_from(tables.records)).scalar_one()

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
        given = {**allowance._asdict(), "spent": amount, "began_at": datetime.now(UTC)}
        return connection.scalar(self._take, given)

    def _taking(self) -> Any:
        """Adds to what was spent of an allowance, where there is so much left; the sum."""
        insert, there = self._insert(tables.spent), tables.spent.c
        total = there.spent + insert.excluded.spent
        return insert.on_conflict_do_update(
            index_elements=[there.principal, there.window],
            set_={"spent": total},
            where=total <= bindparam("most", type_=there.spent.type),
        ).returning(there.spent)

    def append(self, entries: Sequence[Entry]) -> bool:
        return not entries or self._append(entries, secrets.token_bytes(16))

    @_answered
    def _append(self, entries: Sequence[Entry], writer: bytes) -> bool:
        first = entries[0].sequence
        rows = [{**entry._asdict(), "writer": writer} for entry in entries]
        with self._writer.connect() as connection, connection.begin() as transaction:
            there = first == 1 or connection.scalar(_WRITER, {"number": first - 1}) is not None
            if there and len(connection.execute(self._add_entries, rows).all()) == len(rows):
                transaction.commit()
                return True
            transaction.rollback()
        with reading(self._reader) as connection:  # written by an earlier try, whose answer was lost?
            return connection.scalar(_WRITER, {"number": first}) == writer

    @_answered
    def last_entry(self) -> Entry | None:
        with reading(self._reader) as connection:
            row = connection.execute(_ENTRIES.order_by(tables.audit.c.sequence.desc()).limit(1)).first()
        return _entry(row) if row else None

    def entries(self, first: int = 1, last: int | None = None) -> Iterator[Entry]:
        while some := self._some_entries(first, last):
            yield from some
            first = some[-1].sequence + 1

    @_answered
    def _some_entries(self, first: int, last: int | None) -> list[Entry]:
        sequence = tables.audit.c.sequence
        query = _ENTRIES.where(sequence >= first).order_by(sequence).limit(_ENTRIES_AT_ONCE)
        if last is not None:
            query = query.where(sequence <= last)
        with reading(self._reader) as connection:
            return [_entry(row) for row in connection.execute(query)]

    @_answered
    def anchored(self) -> tuple[int, datetime] | None:
        with reading(self._reader) as connection:
            row = connection.execute(select(tables.anchor.c.sequence, tables.anchor.c.at)).first()
        return (row.sequence, row.at) if row else None

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


# Made once: to make a statement takes several times as long as to execute it.
_ENTRIES = select(tables.audit.c.sequence, tables.audit.c.text, tables.audit.c.hash, tables.audit.c.seal)
_WRITER = select(tables.audit.c.writer).where(tables.audit.c.sequence == bindparam("number"))


def _of_field(stream: Any, field: Any, pseudonyms: Any) -> ColumnElement[bool]:
    columns = tables.records.c
    return (columns.stream == stream) & (columns.field == field) & columns.pseudonym.in_(pseudonyms)


_RECORDS_OF_FIELD = select(tables.records).where(
    _of_field(bindparam("stream"), bindparam("field"), bindparam("pseudonyms", expanding=True))
)


def _entry(row: Any) -> Entry:
    return Entry(row.sequence, row.text, bytes(row.hash), bytes(row.seal))


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


def _record(key: RecordKey, row: Any) -> SealedRecord:
    return SealedRecord(
        key, bytes(row.subject), bytes(row.sealed), bytes(row.mark), row.first_seen, row.last_seen
    )


def _by_field(keys: Iterable[RecordKey]) -> Iterator[tuple[dict[bytes, RecordKey], dict[str, Any]]]:
    """The keys of one field, some at once, by pseudonym; and what `_of_field` wants to find their records."""
    fields: dict[tuple[str, str], dict[bytes, RecordKey]] = defaultdict(dict)
    for key in keys:
        fields[key.stream, key.field][key.pseudonym.encode()] = key
    for (stream, field), pseudonyms in sorted(fields.items()):
        for those in _some(sorted(pseudonyms)):
            yield pseudonyms, {"stream": stream, "field": field, "pseudonyms": those}


def _chunked(column: Column[bytes], values: Sequence[bytes]) -> list[ColumnElement[bool]]:
    """Conditions that hold for these values, some at once."""
    return [column.in_(those) for those in _some(values)]


def _some(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Some at once, the last of them several times: so many that statements have few sizes."""
    for start in range(0, len(values), _AT_ONCE):
        those = values[start : start + _AT_ONCE]
        size = 1 << (len(those) - 1).bit_length()
        yield [*those, *[those[-1]] * (size - len(those))]


def _in_few_sizes(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The rows, some at once. Python's sqlite3 keeps 128 statements of each connection with what they were
    given last: if they were of any size, that would be more than 100 MiB."""
    start = 0
    while left := len(rows) - start:
        size = min(_INSERTED_AT_ONCE, 1 << (left.bit_length() - 1))
        yield rows[start : start + size]
        start += size
