"""A DuckDB file. Only one process at a time has it open for writing, and only while none reads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from pii_pipeline.database import make_private_directories, private_files
from pii_pipeline.warehouse.backend import PATIENCE
from pii_pipeline.warehouse.errors import SETTING, WarehouseError, WarehouseUnavailable
from pii_pipeline.warehouse.names import quoted
from pii_pipeline.warehouse.table import Table

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    # It would take most of the machine's memory. What does not fit is written beside the file meanwhile.
    "memory_limit": "512MB",
}
_RETRY_SECONDS = 0.2
_ROWS = "pii_rows"

_turn = threading.Lock()
"""Of this process: to itself, DuckDB lets it have the file open twice."""


class DuckDbFile:
    """Implements `Backend`. The file is made on first use, with mode 0600."""

    kind: Literal["duckdb"] = "duckdb"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.place = str(path)

    @contextmanager
    def transaction(self) -> Iterator[DuckDbTransaction]:
        with _turn, private_files(), self._connected() as connection:
            try:
                connection.execute("BEGIN")
                yield DuckDbTransaction(connection)
                connection.execute("COMMIT")
            except duckdb.Error as error:
                problem = f"DuckDB fails with {type(error).__name__}"  # its text may quote values
                mend = "look at the disk, and whether somebody changed the table"
                raise WarehouseError(f"{SETTING}: {self.place}: {problem} — {mend}") from None

    def identity(self, tables: Sequence[str]) -> str:
        # Of the file alone: looking into it would have to wait for whoever has it open.
        return str(self._path.stat().st_ino) if self._path.exists() else "none"

    def column_type(self, type: str) -> str:
        return type

    def indexes(self, table: str) -> list[str]:
        return []  # it skips what cannot hold the batch by itself, and alters no table that has one

    @contextmanager
    def _connected(self) -> Iterator[duckdb.DuckDBPyConnection]:
        connection = self._connect()
        try:
            yield connection
        finally:
            connection.close()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                make_private_directories(self._path.parent)
                return duckdb.connect(str(self._path), config=_CONFIG)
            except OSError as error:
                problem, mend = error.strerror or "cannot be made", "name a file that can be written"
            except duckdb.Error as error:
                problem, mend = _no_connection(str(error))
            if mend != _CLOSE_IT or time.monotonic() > give_up:
                raise WarehouseUnavailable(f"{SETTING}: {self.place}: {problem} — {mend}")
            time.sleep(_RETRY_SECONDS)


class DuckDbTransaction:
    """Implements `Transaction`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def execute(self, sql: str, *values: str | int) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, list(values)).fetchall()

    def append(self, table: Table, rows: pa.RecordBatch) -> None:
        # As a reader: rows of a table that was registered stay in memory until the connection is closed.
        self._connection.register(_ROWS, pa.RecordBatchReader.from_batches(rows.schema, [rows]))
        self._connection.execute(f"INSERT INTO {quoted(table.name)} BY NAME FROM {_ROWS}")
        self._connection.unregister(_ROWS)


_CLOSE_IT = "close it there, and run again"


def _no_connection(said: str) -> tuple[str, str]:
    if "Could not set lock" in said:
        return f"another process has had the file open for {PATIENCE} s", _CLOSE_IT
    if "not a valid DuckDB database" in said:
        return "is no DuckDB database", "name another file"
    return "the file cannot be opened", "mend what it and its folder allow, or name another file"
