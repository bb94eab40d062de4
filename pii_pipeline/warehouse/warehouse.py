"""Tables that follow datasets: a batch's rows come in one transaction, in place of those it had before.

What the warehouse holds it knows itself, in two tables of ours beside the others: how each table is defined,
and under which fingerprint each batch was loaded. They change in the transaction that changes the rows, so
that a table that was lost, restored or loaded by a run that died tells what it lacks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from pii_pipeline.warehouse.backend import Backend, Transaction
from pii_pipeline.warehouse.errors import NotOurs, RowsLost
from pii_pipeline.warehouse.names import quoted
from pii_pipeline.warehouse.rows import table_rows
from pii_pipeline.warehouse.table import BATCH, Table, column_types

_PORTION = 65_536
"""Rows handed over at once: the driver holds them a second time."""

_OURS = {
    "_pii_tables": "name text PRIMARY KEY, definition text NOT NULL, columns text NOT NULL",
    "_pii_batches": "table_name text NOT NULL, batch text NOT NULL, fingerprint text NOT NULL, "
    "PRIMARY KEY (table_name, batch)",
}

_DUCKDB = "duckdb:///"


def warehouse_at(url: str) -> Warehouse:
    """The warehouse of ``duckdb:///PATH`` or ``postgresql://…``. Nothing is opened before it is used."""
    # Either library takes time to import, and only one of them is needed.
    if url.startswith(_DUCKDB):
        from pii_pipeline.warehouse.duckdb_file import DuckDbFile

        return Warehouse(DuckDbFile(Path(url.removeprefix(_DUCKDB)).absolute()))
    from pii_pipeline.warehouse.postgresql import PostgresServer

    return Warehouse(PostgresServer(url))


class Warehouse:
    """The tables of an installation in one database."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.kind = backend.kind
        self.place = backend.place

    @contextmanager
    def open(self, table: Table) -> Iterator[OpenTable]:
        """The table in a write transaction, which is committed when the block ends."""
        with self._backend.transaction() as transaction:
            yield OpenTable(self._backend, transaction, table)

    def identity(self, tables: Sequence[str]) -> str:
        """Another text when the warehouse, or one of the tables, has been replaced or is gone."""
        return f"{self.place} {self._backend.identity(tables)}"


class OpenTable:
    """A table while nobody else writes to its warehouse."""

    def __init__(self, backend: Backend, transaction: Transaction, table: Table) -> None:
        self._backend = backend
        self._execute = transaction.execute
        self._append = transaction.append
        self._table = table
        self._name = quoted(table.name)

    def define(self) -> list[str]:
        """Makes the table what its definition says.

        Returns the batches that it held under another definition and has lost by that: they are to be loaded
        again before the transaction ends. Columns that stay as they are keep their place, and the table keeps
        what others were granted. Raises `NotOurs`.
        """
        for name, columns in _OURS.items():
            if not self._exists(name):
                self._execute(f"CREATE TABLE {name} ({columns})")
        name, wanted = self._table.name, self._table.definition
        before = self._known() if self._exists(name) else None
        if before == wanted:
            return []
        lost = self.batches() if before else {}
        self._execute("DELETE FROM _pii_batches WHERE table_name = $1", name)
        if before:
            self._change(column_types(before))
        else:
            self._create()
        self._execute("DELETE FROM _pii_tables WHERE name = $1", name)
        there = self._columns()
        ours = {column: there[column] for column in (*column_types(wanted), BATCH)}
        self._execute("INSERT INTO _pii_tables VALUES ($1, $2, $3)", name, wanted, json.dumps(ours))
        return list(lost)

    def batches(self) -> dict[str, str]:
        """The batches that the table holds, and the fingerprint of each."""
        found = self._execute(
            "SELECT batch, fingerprint FROM _pii_batches WHERE table_name = $1", self._table.name
        )
        return dict(found)

    def replace(self, batch: str, fingerprint: str, expected: int, parts: Iterable[pa.RecordBatch]) -> None:
        """Loads a batch's rows of the dataset, in place of what the table has of it.

        Raises `DoesNotFit`, and `RowsLost` if the table has not `expected` rows of it afterwards.
        """
        self.remove([batch])
        for part in parts:
            for start in range(0, part.num_rows, _PORTION):
                self._append(self._table, table_rows(part.slice(start, _PORTION), self._table, batch))
        ((rows,),) = self._execute(f"SELECT count(*) FROM {self._name} WHERE {quoted(BATCH)} = $1", batch)
        if rows != expected:
            raise RowsLost(
                f"{self._table.name}: {expected} rows of {batch} are in the lake, and {rows} came into the "
                "table — look for a trigger or rule on it"
            )
        self._execute("INSERT INTO _pii_batches VALUES ($1, $2, $3)", self._table.name, batch, fingerprint)

    def remove(self, batches: Iterable[str]) -> None:
        """Removes all rows of these batches."""
        for batch in batches:
            self._execute(f"DELETE FROM {self._name} WHERE {quoted(BATCH)} = $1", batch)
            self._execute(
                "DELETE FROM _pii_batches WHERE table_name = $1 AND batch = $2", self._table.name, batch
            )

    def _known(self) -> str:
        """The definition of the table that is there. Raises `NotOurs`, also where somebody changed columns: a
        driver that writes in binary does not notice all of that."""
        name, place = self._table.name, self._backend.place
        known = self._execute("SELECT definition, columns FROM _pii_tables WHERE name = $1", name)
        if not known:
            raise NotOurs(f"{place}: there is a table {name} that is not ours — rename one of the two")
        ((definition, columns),) = known
        there = self._columns()
        changed = [column for column, type in json.loads(columns).items() if there.get(column) != type]
        if changed:
            mend = "drop the table, and it will be loaded again"
            raise NotOurs(f"{place}: somebody changed {', '.join(changed)} of the table {name} — {mend}")
        return definition

    def _columns(self) -> dict[str, str]:
        """The columns that are there, with the database's name of their types."""
        found = self._execute(
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = current_schema() AND table_name = $1",
            self._table.name,
        )
        return dict(found)

    def _exists(self, name: str) -> bool:
        ((number,),) = self._execute(
            "SELECT count(*) FROM information_schema.tables "
            "WHERE table_schema = current_schema() AND table_name = $1",
            name,
        )
        return number > 0

    def _create(self) -> None:
        columns = [self._column(column.name, column.type) for column in self._table.columns]
        columns += [f"{quoted(BATCH)} text NOT NULL"]
        self._execute(f"CREATE TABLE {self._name} ({', '.join(columns)})")
        for statement in self._backend.indexes(self._table.name):
            self._execute(statement)

    def _change(self, before: dict[str, str]) -> None:
        after = {column.name: column.type for column in self._table.columns}
        self._execute(f"TRUNCATE {self._name}")
        for name in [name for name, type in before.items() if after.get(name) != type]:
            self._execute(f"ALTER TABLE {self._name} DROP COLUMN {quoted(name)}")
        for name in [name for name, type in after.items() if before.get(name) != type]:
            self._execute(f"ALTER TABLE {self._name} ADD COLUMN {self._column(name, after[name])}")

    def _column(self, name: str, type: str) -> str:
        return f"{quoted(name)} {self._backend.column_type(type)}"
