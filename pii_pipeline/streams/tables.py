"""Warehouse tables as ``stream.yaml`` declares them: does the declaration fit the dataset?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from pii_pipeline.contracts.record_type import join, walk
from pii_pipeline.contracts.source import Location, Source, nearest
from pii_pipeline.contracts.treatments import Pseudonymize
from pii_pipeline.streams.datasets import dataset_schema
from pii_pipeline.streams.model import PSEUDONYMIZED_EVENTS, RESERVED, Stream, WarehouseColumn
from pii_pipeline.warehouse.names import LONGEST_NAME, name_problem
from pii_pipeline.warehouse.table import (
    BATCH,
    CONVERSIONS,
    Column,
    Table,
    fits,
    fitting_types,
    max_length,
    natural_type,
)

_DIGITS = {None: 64, "MD5": 32, "SHA-1": 40, "SHA-256": 64, "SHA-384": 96, "SHA-512": 128}
"""Of a pseudonym, by its hash function; None: HMAC-SHA256, as of all that is keyed again for a dataset."""


def warehouse_table(stream: Stream, name: str) -> Table:
    """The table of that name of a stream that has loaded."""
    declared = stream.warehouse[name]
    fields = _fields(dataset_schema(stream, declared.dataset))
    wanted = _wanted(declared.columns, fields)
    columns = tuple(_column(column, wish, fields) for column, wish in wanted.items())
    return Table(name, declared.dataset, columns)


def check_tables(source: Source, stream: Stream) -> None:
    """Notes in `source`, the stream's ``stream.yaml``, everything that is wrong with its tables."""
    for name, table in stream.warehouse.items():
        place = ("warehouse", name)
        if name in RESERVED or name in stream.derived:
            source.add(place, f"`{name}` is the name of a dataset", f"rename it: {stream.name}_{name}")
        elif problem := name_problem(name):
            source.add(place, problem, "rename the table")
        known = (PSEUDONYMIZED_EVENTS, *stream.derived)
        if table.dataset not in known:
            near = nearest(table.dataset, known)
            mend = f"did you mean `{near}`?" if near else f"one of {', '.join(known)}"
            problem = f"`{table.dataset}` is no dataset that can be loaded"
            source.add((*place, "from"), problem, mend)
            continue
        fields = _fields(dataset_schema(stream, table.dataset))
        digits = _pseudonym_digits(stream, table.dataset)
        for column, wanted in table.columns.items():
            _check_column(source, (*place, "columns", column), column, wanted, fields, digits)
        if not table.columns:
            _check_names(source, place, [field.path[0] for field in fields.values() if field.top])


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a dataset: names from a column of it inwards, and the type there."""

    path: tuple[str, ...]
    type: pa.DataType

    @property
    def top(self) -> bool:
        return len(self.path) == 1


def _fields(schema: pa.Schema) -> dict[str, _Field]:
    """The dataset's columns and the fields of its records, by path as it is written; none inside lists."""
    return {path: field for column in schema for path, field in _below(column, "", ())}


def _below(field: pa.Field, parent: str, names: tuple[str, ...]) -> Iterator[tuple[str, _Field]]:
    path, names = join(parent, field.name), (*names, field.name)
    yield path, _Field(names, field.type)
    if pa.types.is_struct(field.type):
        for child in field.type:
            yield from _below(child, path, names)


def _wanted(
    declared: Mapping[str, WarehouseColumn], fields: Mapping[str, _Field]
) -> Mapping[str, WarehouseColumn]:
    if declared:
        return declared
    # By name, not path: that is what the column is called.
    return {field.path[0]: WarehouseColumn(field=path) for path, field in fields.items() if field.top}


def _column(name: str, wanted: WarehouseColumn, fields: Mapping[str, _Field]) -> Column:
    field = fields[wanted.field or name]
    converted = CONVERSIONS[wanted.convert][1] if wanted.convert else None
    return Column(name, converted or wanted.type or natural_type(field.type), field.path, wanted.convert)


def _check_column(
    source: Source,
    place: Location,
    name: str,
    wanted: WarehouseColumn,
    fields: Mapping[str, _Field],
    digits: Mapping[str, int],
) -> None:
    if problem := name_problem(name):
        source.add(place, problem, "rename the column, and say which `field` it is")
    path = wanted.field or name
    field = fields.get(path)
    if field is None:
        place = (*place, "field") if wanted.field else place
        outside = path.partition("[]")[0]
        if outside != path and outside in fields:
            problem, mend = f"`{path}` is inside a list", f"name the list, `{outside}`; it comes whole"
        else:
            near = nearest(path, fields)
            problem = f"the dataset has no field `{path}`"
            mend = f"did you mean `{near}`?" if near else "name one, as `field`"
        source.add(place, problem, mend)
        return
    natural = natural_type(field.type)
    if wanted.convert is not None:
        takes, gives = CONVERSIONS[wanted.convert]
        if natural != takes:
            problem = f"`{wanted.convert}` is for {takes}, `{path}` is {natural}"
            source.add((*place, "convert"), problem, f"remove it, or name a field that is {takes}")
        elif wanted.type not in (None, gives):
            source.add((*place, "type"), f"`{wanted.convert}` gives {gives}", f"write {gives}, or no type")
    elif wanted.type is not None and not fits(wanted.type, natural):
        mend = f"write {' or '.join(fitting_types(natural))}"
        source.add((*place, "type"), f"`{wanted.type}` does not fit `{path}`, which is {natural}", mend)
    elif (length := max_length(wanted.type or "")) and length < (needed := digits.get(path, 0)):
        problem = f"`{path}` is pseudonymized, and pseudonyms have {needed} characters"
        source.add((*place, "type"), problem, f"write varchar({needed}) or more")


def _check_names(source: Source, place: Location, names: list[str]) -> None:
    """Of columns that are named as in the dataset: they are quoted, and may be called nearly anything."""
    folded = Counter(name.lower() for name in names)
    wrong = [
        name
        for name in names
        if len(name.encode()) > LONGEST_NAME or folded[name.lower()] > 1 or name.lower() == BATCH
    ]
    if wrong:
        mend = "list the table's `columns`, and give these other names"
        problem = f"columns would have names that are too long, or the same: {', '.join(wrong)}"
        source.add(place, problem, mend)


def _pseudonym_digits(stream: Stream, dataset: str) -> dict[str, int]:
    """How long the pseudonyms of a dataset are, by path; the longest where active versions differ."""
    derived = stream.derived.get(dataset)
    keyed_again = derived is not None and derived.joinable_with_lake is None
    digits: dict[str, int] = {}
    for contract in stream.active:
        for path, _ in walk(contract.record):
            treatment = contract.treatment(path)
            if isinstance(treatment, Pseudonymize):
                length = _DIGITS[None if keyed_again else treatment.hash]
                digits[path] = max(length, digits.get(path, 0))
    return digits
