"""SQL over the committed files of the lake and the consented zone, for analysts.

DuckDB in memory, shut off from files and network: it sees the datasets through Arrow, and those only as far
as the ledger has committed them. Nothing is spilled to disk. Not to be seen here: raw_events are the
landing objects themselves, and validated_events is in clear and encrypted for the pipeline alone.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from pii_pipeline.lake import UnreadableFile, dataset_of, list_objects
from pii_pipeline.ledger import PSEUDONYMIZED_EVENTS, RELAYED_ORIGINALS, VALIDATED_EVENTS, VAULT_RECORDS
from pii_pipeline.pipeline import bad_events
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.streams.datasets import dataset_schema
from pii_pipeline.streams.model import Stream

HOUR = "_hour"
"""The column with the hour of arrival, which no file holds but every path does."""

_HOUR_IN_PATH = re.compile(r"(?<=/hour=)\d{4}-\d{2}-\d{2}T\d{2}(?=/)")
_HIDDEN = {
    "raw_events": "raw_events are the landing objects, in clear; nobody queries them",
    VALIDATED_EVENTS: "validated_events is in clear, encrypted for the pipeline alone; nobody queries it",
    RELAYED_ORIGINALS: "relayed_originals are the vault's, sealed; it tells them for a lawful basis",
    VAULT_RECORDS: "vault_records are the vault's, sealed; it tells them for a lawful basis",
}
# These speak of the statement and of names; the texts of all others may quote values.
_ABOUT_THE_SQL = (
    duckdb.ParserException,
    duckdb.CatalogException,
    duckdb.BinderException,
    duckdb.SyntaxException,
)


class QueryError(Exception):
    """The statement cannot be answered; the text quotes the statement at most."""


@dataclass(frozen=True)
class QueryResult:
    """`rows` hold what JSON can say: None, booleans, numbers, texts (times in ISO 8601, binary in base64),
    lists and mappings. `more`: there were more rows than the limit."""

    names: list[str]
    rows: list[list[Any]]
    more: bool


def datasets(stream: Stream) -> dict[str, pa.Schema]:
    """The datasets of a stream that may be queried, with the columns their files have."""
    return {
        "bad_events": bad_events.SCHEMA,
        **{name: dataset_schema(stream, name) for name in (PSEUDONYMIZED_EVENTS, *stream.derived)},
    }


def query(installation: Installation, sql: str, limit: int | None = None) -> QueryResult:
    """The answer to one SQL statement, at most `limit` rows of it.

    Raises `QueryError`, and `UnreadableFile` if a committed file is gone.
    """
    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "temp_directory": "",
        }
    )
    try:
        _expose(connection, installation)
        return _answer(connection, sql, limit)
    except duckdb.Error as error:
        if not isinstance(error, _ABOUT_THE_SQL):
            _refuse_missing(installation)
        raise QueryError(_explain(error)) from None
    finally:
        connection.close()


def _expose(connection: duckdb.DuckDBPyConnection, installation: Installation) -> None:
    for stream in installation.streams.values():
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{stream.name}"')
        for name, schema in datasets(stream).items():
            handle = f"{stream.name}/{name}"
            connection.register(handle, _dataset(installation, stream.name, name, schema))
            connection.execute(f'CREATE VIEW "{stream.name}"."{name}" AS FROM temp."{handle}"')
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _dataset(installation: Installation, stream: str, name: str, schema: pa.Schema) -> ds.Dataset:
    """The committed files of a dataset, or as many rows as none has."""
    schema = pa.schema([pa.field(HOUR, pa.string()), *schema])
    paths = installation.ledger.files(stream, name)
    if not paths:
        return ds.dataset(schema.empty_table())
    hours = {path: ds.field(HOUR) == hour_of_path(path) for path in paths}
    return dataset_of(installation.zone_holding(name), hours, schema)


def _refuse_missing(installation: Installation) -> None:
    """Raises `UnreadableFile` if a committed file is not there, which DuckDB says less tellingly."""
    for stream in installation.streams.values():
        for name in datasets(stream):
            zone = installation.zone_holding(name)
            there = {info.path for info in list_objects(zone, f"{stream.name}/{name}")}
            for path in installation.ledger.files(stream.name, name):
                if path not in there:
                    raise UnreadableFile(f"{zone.path(path)}: is committed, and not there") from None


def hour_of_path(path: str) -> str:
    """The hour of arrival of a committed file."""
    found = _HOUR_IN_PATH.search(path)
    assert found is not None, "every committed file lies below its hour"
    return found[0]


def _answer(connection: duckdb.DuckDBPyConnection, sql: str, limit: int | None) -> QueryResult:
    if len(connection.extract_statements(sql)) != 1:
        raise QueryError("not exactly one SQL statement")
    relation = connection.sql(sql)
    if relation is None:
        return QueryResult([], [], False)
    names = _distinct(relation.columns)
    rows: list[list[Any]] = []
    for batch in relation.to_arrow_reader(10_000):
        columns = [_plain_column(column) for column in batch.columns]
        rows += map(list, zip(*columns, strict=True))
        if limit is not None and len(rows) > limit:
            return QueryResult(names, rows[:limit], True)
    return QueryResult(names, rows, False)


def _distinct(names: list[str]) -> list[str]:
    """The names of columns, those that come again numbered: n, n_1."""
    seen: dict[str, int] = {}
    numbered = []
    for name in names:
        number = seen[name] = seen.get(name, -1) + 1
        numbered.append(f"{name}_{number}" if number else name)
    return numbered


def _plain_column(column: pa.Array) -> list[Any]:
    return [_plain(value) for value in column.to_pylist(maps_as_pydicts="lossy")]


def _plain(value: Any) -> Any:
    """`value` as JSON can say it."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case _:
            return str(value)


def _explain(error: duckdb.Error) -> str:
    """One line about `error` that quotes no value from the data."""
    if isinstance(error, _ABOUT_THE_SQL):
        message = " ".join(_before_the_picture(str(error)))
        hidden = next((why for name, why in _HIDDEN.items() if name in message), None)
        return hidden if hidden and isinstance(error, duckdb.CatalogException) else message
    kind = type(error).__name__.removesuffix("Exception").removesuffix("Error") or "Database"
    hints = {
        "Conversion": "a value does not convert to the type asked for; use TRY_CAST",
        "OutOfRange": "a number is too large for its type; cast to a wider one",
        "OutOfMemory": "the answer does not fit into memory; aggregate or filter more",
        "Permission": "only the datasets can be read here, no files and no network",
    }
    hint = hints.get(kind, "its text may quote data and is not shown")
    return f"{kind} error: {hint}"


def _before_the_picture(message: str) -> Iterator[str]:
    """The lines of DuckDB's message before it draws the statement with a mark below."""
    for line in message.splitlines():
        if line.startswith("LINE "):
            return
        if line.strip():
            yield line.strip()
