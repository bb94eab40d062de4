"""Raw records in, typed rows and failures out.

Two paths to one verdict. The vectorised screen accepts whatever is certainly valid, a column at a time; all
other records are judged one by one on the strict path, which alone rejects and gives reasons. So the
verdicts are the strict path's, and the speed, as long as most records are plain and good, is the screen's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.model import ARRIVAL, Contract
from pii_pipeline.contracts.record_type import arrow_type
from pii_pipeline.contracts.schema import dialect
from pii_pipeline.validation import checks, times
from pii_pipeline.validation.columns import column, steps_by_path
from pii_pipeline.validation.failures import Failure, FailureType, Rejected
from pii_pipeline.validation.plan import compile_plan
from pii_pipeline.validation.rules import compile_rules
from pii_pipeline.validation.screen import Screen, masked
from pii_pipeline.validation.strict import Judged, StrictPath
from pii_pipeline.validation.text_fields import Fault, TextFields, TextScreen
from pii_pipeline.validation.times import Times

EVENT_TIME = "_event_time"
UNLISTED = "_unlisted"

_UTF8_BLOCK = 256


@dataclass(frozen=True, repr=False)
class Validated:
    """What came of a chunk of records.

    `rows` (int64, ascending) are the positions of the valid ones. `table` has a row for each: a column per
    top-level field of the contract's record, then `_event_time` (timestamp[us, UTC]) and `_unlisted` (string:
    canonical JSON object of what the schema does not declare, by place; or null). `failures`, ascending by
    row, has exactly one for each of the others.
    """

    rows: np.ndarray
    table: pa.Table
    failures: list[Failure]


@dataclass(frozen=True, repr=False)
class _Screened:
    """Typed rows, as many as records or none, their event times (µs, int64) and what is undeclared in them;
    those not in `rows` (int64, ascending) mean nothing."""

    rows: np.ndarray
    values: pa.StructArray
    times: np.ndarray
    unlisted: pa.Array


class Validator:
    """Validates records under one contract. Picklable, and safe to use from several threads at once.

    `contract_field` is the path of a field that names the record's contract (``handle/name/version``), where
    the producer sends one: a record that names another, or none, is `unknown_contract`.
    """

    def __init__(self, contract: Contract, contract_field: str | None = None) -> None:
        self._contract = contract
        self._contract_field = contract_field

    def __getstate__(self) -> dict[str, Any]:
        return {"_contract": self._contract, "_contract_field": self._contract_field}

    def validate(
        self,
        records: pa.Array,
        too_large: np.ndarray | None,
        earliest: datetime,
        latest: datetime,
        arrival: pa.Array,
        fields: TextFields | None = None,
    ) -> Validated:
        """Validates `records` (binary or large_binary, one raw record each).

        `fields`: delimited records taken apart; without them each record is a JSON text.

        `too_large`: which of them (bool) were cut off and are bad for that. `earliest` and `latest`:
        inclusive bounds of the event time; a `time_field` of $arrival takes the time from `arrival`
        (timestamp[us, UTC], one per record), which is not held against them. Raises nothing because of what
        a record says.
        """
        size = len(records)
        cut = np.zeros(size, bool) if too_large is None else np.asarray(too_large, bool)
        arrivals = arrival.cast(times.TIMESTAMP).cast(pa.int64()).to_numpy(zero_copy_only=False)
        bounds = times.microseconds(earliest), times.microseconds(latest)
        faults = [] if fields is None else fields.faults
        wanted = ~cut
        wanted[[fault.row for fault in faults]] = False
        fast = self._screened(records, wanted, arrivals, bounds, fields)
        undecided = wanted.copy()
        undecided[fast.rows] = False
        raw = _RawRecords(records, fields)
        slow_rows, judged, failures = self._judged(raw, np.flatnonzero(undecided), arrivals, bounds)
        name = self._contract.contract
        failures += [_failure(fault, name) for fault in faults]
        failures += [
            Failure(int(row), name, "too_large", "", "max_record_bytes", "longer than a record may be")
            for row in np.flatnonzero(cut)
        ]
        failures.sort(key=lambda failure: failure.row)
        return self._merged(fast, slow_rows, judged, failures)

    @cached_property
    def _fields(self) -> dict[str, Any]:
        return steps_by_path(self._contract.record)

    @cached_property
    def _rules(self) -> list[Any]:
        return compile_rules(self._contract.validations, self._fields)

    @cached_property
    def _strict(self) -> StrictPath:
        return StrictPath(self._contract, self._contract_field, self._fields, self._rules)

    @cached_property
    def _screen(self) -> Screen | None:
        """None where the screen could accept no record, whatever it says."""
        if self._contract_field is not None and self._contract_field not in self._fields:
            return None
        schema = self._contract.json_schema
        plan = compile_plan(self._contract.record, schema, dialect(schema))
        return None if plan is None else Screen(plan)

    @cached_property
    def _type(self) -> pa.StructType:
        return arrow_type(self._contract.record)

    @cached_property
    def _text_screen(self) -> TextScreen:
        return TextScreen(self._contract)

    @cached_property
    def _times(self) -> Times:
        return Times(self._contract.time_format, self._contract.time_zone)

    def _screened(
        self,
        records: pa.Array,
        wanted: np.ndarray,
        arrivals: np.ndarray,
        bounds: tuple[int, int],
        fields: TextFields | None,
    ) -> _Screened:
        unlisted = pa.nulls(len(records), pa.string())
        if fields is not None:
            found = self._text_screen.run(fields.columns, len(records))
            unlisted = unlisted if found is None else found.unlisted
        elif self._screen is not None:
            text = pa.large_string() if pa.types.is_large_binary(records.type) else pa.string()
            found = self._screen.run(masked(records, text, wanted & ~not_utf8(records)))
        else:
            found = None
        if found is None:
            none = np.zeros(0, np.int64)
            return _Screened(none, pa.array([], self._type), none, unlisted.slice(0, 0))
        values = found.values.cast(self._type)
        accepted, event_times = self._keeps_rules(values, arrivals, bounds)
        return _Screened(np.flatnonzero(accepted & found.accepted & wanted), values, event_times, unlisted)

    def _keeps_rules(
        self, values: pa.StructArray, arrivals: np.ndarray, bounds: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which typed rows certainly keep everything the contract asks beyond the schema, and their times."""
        key = column(values, self._fields[self._contract.key_field][0])[0]
        accepted = checks.not_empty(key)
        if self._contract_field is not None:
            name = column(values, self._fields[self._contract_field][0])[0]
            accepted &= checks.as_mask(pc.equal(name, self._contract.contract), False)
        for rule in self._rules:
            accepted &= rule.accepts(values)
        if self._contract.time_field == ARRIVAL:
            return accepted, arrivals
        written = column(values, self._fields[self._contract.time_field][0])[0]
        event_times, sure = self._times.screen(written)
        accepted &= sure & (event_times >= bounds[0]) & (event_times <= bounds[1])
        return accepted, event_times

    def _judged(
        self, records: _RawRecords, rows: np.ndarray, arrivals: np.ndarray, bounds: tuple[int, int]
    ) -> tuple[list[int], list[Judged], list[Failure]]:
        accepted: list[int] = []
        judged: list[Judged] = []
        failures: list[Failure] = []
        for row, judge, arrived in zip(
            rows.tolist(), records.judges(self._strict, rows), arrivals[rows].tolist(), strict=True
        ):
            try:
                judged.append(judge(arrived, *bounds))
                accepted.append(row)
            except Rejected as rejected:
                failures.append(rejected.at(row, self._contract.contract))
        return accepted, judged, failures

    def _merged(
        self, fast: _Screened, slow_rows: list[int], judged: list[Judged], failures: list[Failure]
    ) -> Validated:
        """Both paths' rows, in the order of the records."""
        rows = np.concatenate([fast.rows, np.array(slow_rows, np.int64)])
        order = np.argsort(rows)
        # Where they lie in what the screen made, with what was judged behind it: rows are copied once.
        places = np.concatenate([fast.rows, len(fast.values) + np.arange(len(judged))])[order]
        values, unlisted = fast.values, fast.unlisted
        if judged:
            values = pa.concat_arrays([values, pa.array([j.row for j in judged], self._type)])
            unlisted = pa.concat_arrays([unlisted, pa.array([j.unlisted for j in judged], pa.string())])
        if len(places) < len(values) or judged:
            values, unlisted = values.take(pa.array(places)), unlisted.take(pa.array(places))
        columns = dict(zip(self._type.names, values.flatten(), strict=True))
        event_times = np.concatenate([fast.times, np.array([j.time for j in judged], np.int64)])[places]
        columns[EVENT_TIME] = pa.array(event_times, times.TIMESTAMP)
        columns[UNLISTED] = unlisted
        return Validated(rows[order], pa.table(columns), failures)


@dataclass(frozen=True, repr=False)
class _RawRecords:
    """Records as they came: JSON texts, or the texts of their fields."""

    records: pa.Array
    fields: TextFields | None

    def judges(self, strict: StrictPath, rows: np.ndarray) -> Iterator[Callable[[int, int, int], Judged]]:
        """For each of `rows`: what gives the verdict on it, told arrival, earliest and latest time (µs)."""
        chosen = pa.array(rows)
        if self.fields is None:
            for raw in self.records.take(chosen).to_pylist():
                yield partial(strict.judge, raw)
            return
        sizes = pc.binary_length(self.records).take(chosen).to_pylist()
        columns = {name: texts.take(chosen).to_pylist() for name, texts in self.fields.columns.items()}
        for number, size in enumerate(sizes):
            texts = {name: column[number] for name, column in columns.items()}
            yield partial(strict.judge_texts, texts, size)


def _failure(fault: Fault, contract: str) -> Failure:
    """A record that could not be taken apart."""
    type: FailureType = "not_utf8" if fault.rule == "encoding" else "malformed_record"
    return Failure(fault.row, contract, type, "", fault.rule, fault.message)


def not_utf8(records: pa.Array) -> np.ndarray:
    """Which records are not UTF-8 (bool). Arrow looks at blocks, Python at those it refuses."""
    bad = np.zeros(len(records), bool)
    text = pa.large_string() if pa.types.is_large_binary(records.type) else pa.string()
    for start in range(0, len(records), _UTF8_BLOCK):
        block = records.slice(start, _UTF8_BLOCK)
        try:
            block.cast(text)
        except pa.ArrowInvalid:
            bad[start : start + len(block)] = [not _decodes(record) for record in block.to_pylist()]
    return bad


def _decodes(record: bytes) -> bool:
    try:
        record.decode()
    except UnicodeDecodeError:
        return False
    return True
