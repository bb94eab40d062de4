"""What `Warehouse` needs of a database: the narrow interface behind which DuckDB and PostgreSQL are one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import pyarrow as pa

from pii_pipeline.warehouse.table import Table

PATIENCE = 60
"""Seconds to wait for whoever else writes to the warehouse, or has it open."""


class Transaction(Protocol):
    """A write transaction. Raises `WarehouseError` where the database refuses."""

    def execute(self, sql: str, *values: str | int) -> list[tuple[Any, ...]]:
        """The rows that one statement gives; `values` stand for ``$1``, ``$2`` … in it."""
        ...

    def append(self, table: Table, rows: pa.RecordBatch) -> None:
        """Appends rows as `table_rows` made them, in bulk, straight from Arrow."""
        ...


class Backend(Protocol):
    """A database that holds tables. Nothing is opened, or made, before it is used."""

    @property
    def kind(self) -> Literal["duckdb", "postgres"]:
        """As Dagster calls it."""
        ...

    @property
    def place(self) -> str:
        """Where it is, for people: no password in it."""
        ...

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Committed when the block ends, undone if it raises. Only one at a time: others wait, at most
        `PATIENCE` (`WarehouseUnavailable`)."""
        ...

    def identity(self, tables: Sequence[str]) -> str:
        """Another text when the warehouse, or one of the tables, has been replaced or is gone."""
        ...

    def column_type(self, type: str) -> str:
        """The database's own name of a column's type."""
        ...

    def indexes(self, table: str) -> list[str]:
        """Statements that make what finds the rows of a batch."""
        ...
