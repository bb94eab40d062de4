"""What a warehouse table is: its columns, their SQL types, and where in a dataset each comes from."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

BATCH = "_batch"
"""The column that says which batch a row came with: a batch is loaded, and replaced, as a whole."""

JSON = "json"
"""A record, or a list with records or lists in it: JSON text in Arrow, JSON of its own kind in SQL."""

Convert = Literal["version_number", "date"]

CONVERSIONS: dict[Convert, tuple[str, str]] = {
    "version_number": ("text", "integer"),
    "date": ("timestamptz", "date"),
}
"""What each conversion takes, and what it gives."""

_SCALARS = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamptz": pa.timestamp("us", "UTC"),
}
_NARROWER = {"text": "varchar(n)", "bigint": "integer"}
_VARCHAR = re.compile(r"varchar\(([1-9][0-9]{0,7})\)")
_MAX_LENGTH = 10_485_760  # of PostgreSQL's varchar


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `path`: names from a column of the dataset inwards, through records."""

    name: str
    type: str
    path: tuple[str, ...]
    convert: Convert | None = None

    @property
    def source_type(self) -> str:
        """The natural type of what it comes from."""
        if self.convert is not None:
            return CONVERSIONS[self.convert][0]
        return next((wide for wide in _NARROWER if fits(self.type, wide)), self.type)


@dataclass(frozen=True, slots=True)
class Table:
    """A table, loaded from `dataset`. Beside its columns it has `BATCH`."""

    name: str
    dataset: str
    columns: tuple[Column, ...]

    @property
    def definition(self) -> str:
        """Text that changes with everything on which the rows depend, of one and the same dataset."""
        columns = [[c.name, c.type, list(c.path), c.convert] for c in self.columns]
        return json.dumps([self.dataset, columns])


def column_types(definition: str) -> dict[str, str]:
    """The columns of `Table.definition` and their types."""
    _, columns = json.loads(definition)
    return {name: type for name, type, *_ in columns}


def natural_type(type: pa.DataType) -> str:
    """The SQL type of a dataset's column that has no other wish."""
    if pa.types.is_list(type) and not pa.types.is_nested(type.value_type):
        return f"{natural_type(type.value_type)}[]"
    return next((name for name, scalar in _SCALARS.items() if scalar == type), JSON)


def fitting_types(natural: str) -> tuple[str, ...]:
    """The types that a column of that natural type may have, as they are written."""
    return (natural, _NARROWER[natural]) if natural in _NARROWER else (natural,)


def fits(type: str, natural: str) -> bool:
    """Whether `type` is one of them."""
    length = max_length(type)
    written = "varchar(n)" if length is not None and length <= _MAX_LENGTH else type
    return written in fitting_types(natural)


def max_length(type: str) -> int | None:
    """The n of ``varchar(n)``."""
    match = _VARCHAR.fullmatch(type)
    return int(match[1]) if match else None


def arrow_type(type: str) -> pa.DataType:
    """The Arrow type in which a column's values are handed to the warehouse."""
    if type.endswith("[]"):
        return pa.list_(_SCALARS[type.removesuffix("[]")])
    return pa.string() if type == JSON or max_length(type) is not None else _SCALARS[type]
