"""Several versions of a contract side by side: each record is judged by the one that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.columns import union, widened
from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import arrow_schema
from pii_pipeline.validation.columns import split, value_at
from pii_pipeline.validation.failures import Rejected
from pii_pipeline.validation.parsing import parse_record
from pii_pipeline.validation.screen import connection, masked, query
from pii_pipeline.validation.text_fields import TextFields
from pii_pipeline.validation.validator import EVENT_TIME, UNLISTED, Validated, Validator, not_utf8

CONTRACT = "_contract"
"""The column with the version that a row was judged by (``handle/name/version``)."""


class SideBySide:
    """The validators of one or more versions as one. Picklable, and safe to use from several threads at once.

    `contracts`: the newest first. A record that names none of them is judged by the newest, which knows why
    it is bad. `contract_field` may be None where there is only one.
    """

    def __init__(self, contracts: Sequence[Contract], contract_field: str | None) -> None:
        self._contracts = tuple(contracts)
        self._validators = [Validator(contract, contract_field) for contract in contracts]
        self._contract_field = contract_field
        self._columns = union([arrow_schema(contract.record) for contract in contracts])

    def validate(
        self,
        records: pa.Array,
        too_large: np.ndarray,
        since: datetime,
        latest: datetime,
        arrival: pa.Array,
        fields: TextFields | None = None,
    ) -> Validated:
        """As `Validator.validate`, but for the lower bound of the event time: its contract's `max_age` before
        `since`. The table has the columns of all versions (null where a version has none) and `CONTRACT`.
        """
        if self._contract_field is None or len(self._contracts) == 1:
            return self._judged(0, records, too_large, since, latest, arrival, fields)
        named = references(records, fields, self._contract_field)
        number = pc.index_in(named, pa.array([contract.contract for contract in self._contracts]))
        judge = number.fill_null(0).to_numpy()
        parts = []
        for version in range(len(self._contracts)):
            rows = np.flatnonzero(judge == version)
            mine = pa.array(rows)
            texts = None if fields is None else _TakenFields.of(fields, rows)
            share = records.take(mine), too_large[rows], since, latest, arrival.take(mine), texts
            parts.append(_placed(self._judged(version, *share), rows))
        return self._merged(parts)

    def _judged(
        self,
        version: int,
        records: pa.Array,
        too_large: np.ndarray,
        since: datetime,
        latest: datetime,
        arrival: pa.Array,
        fields: TextFields | None,
    ) -> Validated:
        """Records as one version judges them, with `CONTRACT`."""
        contract = self._contracts[version]
        earliest = since - contract.max_age
        done = self._validators[version].validate(records, too_large, earliest, latest, arrival, fields)
        names = pa.repeat(pa.scalar(contract.contract), done.table.num_rows)
        return replace(done, table=done.table.append_column(CONTRACT, names))

    def _merged(self, parts: list[Validated]) -> Validated:
        """All in the order of the records."""
        system = [field for field in parts[0].table.schema if field.name in (EVENT_TIME, UNLISTED, CONTRACT)]
        schema = pa.schema([*self._columns, *system])
        rows = np.concatenate([part.rows for part in parts])
        order = np.argsort(rows)
        table = pa.concat_tables([widened(part.table, schema) for part in parts]).take(pa.array(order))
        failures = sorted((item for part in parts for item in part.failures), key=lambda item: item.row)
        return Validated(rows[order], table.combine_chunks(), failures)


def references(records: pa.Array, fields: TextFields | None, path: str) -> pa.Array:
    """The text at `path` of each of `records` (binary or large_binary): the contract that it names.

    Null where there is none. `fields`: the records taken apart; without them each is a JSON text, and what
    DuckDB cannot read of it is read as the strict path would.
    """
    if fields is not None:
        name, _, rest = path.partition("/")
        column = fields.columns.get(str(split(name)[0]), pa.nulls(len(records), pa.string()))
        return references(column.fill_null("").cast(pa.binary()), None, rest) if rest else column
    text = pa.large_string() if pa.types.is_large_binary(records.type) else pa.string()
    lines = masked(records, text, ~not_utf8(records))
    # A path of a contract is a JSON pointer without its first stroke.
    pointer = "'/" + path.replace("'", "''") + "'"
    value = f"CASE WHEN json_valid(line) THEN json_extract_string(line, {pointer}) END"
    try:
        named = query(connection(), f"SELECT {value} AS name FROM input", lines)["name"].combine_chunks()
    except duckdb.Error:  # its message quotes the line
        named = pa.nulls(len(records), pa.string())
    missing = np.flatnonzero(named.is_null().to_numpy(zero_copy_only=False))
    if not len(missing):
        return named
    steps = split(path)
    read = [_reference(raw, steps) for raw in records.take(pa.array(missing)).to_pylist()]
    return pc.replace_with_mask(named, named.is_null(), pa.array(read, named.type))


def _reference(raw: bytes, steps: tuple[str | None, ...]) -> str | None:
    try:
        value = value_at(parse_record(raw), steps)
    except Rejected:
        return None
    return value if isinstance(value, str) else None


@dataclass(frozen=True)
class _TakenFault:
    row: int
    rule: str
    message: str


@dataclass(frozen=True)
class _TakenFields:
    """The fields of some of the records."""

    columns: Mapping[str, pa.Array]
    faults: Sequence[_TakenFault]

    @classmethod
    def of(cls, fields: TextFields, rows: np.ndarray) -> _TakenFields:
        """Those of the records at `rows` (ascending)."""
        mine = pa.array(rows)
        columns = {name: column.take(mine) for name, column in fields.columns.items()}
        places = np.searchsorted(rows, [fault.row for fault in fields.faults]).tolist()
        return cls(
            columns,
            [
                _TakenFault(place, fault.rule, fault.message)
                for place, fault in zip(places, fields.faults, strict=True)
                if place < len(rows) and rows[place] == fault.row
            ],
        )


def _placed(done: Validated, rows: np.ndarray) -> Validated:
    """What came of some of the records, those at `rows`, as of all of them."""
    failures = [replace(failure, row=int(rows[failure.row])) for failure in done.failures]
    return Validated(rows[done.rows], done.table, failures)
