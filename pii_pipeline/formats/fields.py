"""Records of delimited text to columns of text.

Positions of delimiters and quotes are found in the buffer of a whole chunk; from them Arrow copies one column
after the other. No Python object is made for a field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.formats.kinds import DelimitedText
from pii_pipeline.formats.records import RecordChunk

FieldRule = Literal["encoding", "columns", "quoting"]

_Bytes = npt.NDArray[np.uint8]
_Mask = npt.NDArray[np.bool_]
_Positions = npt.NDArray[np.int64]
_Offsets = npt.NDArray[np.int32]

LONE_RETURN = re.compile(rb"\r(?!\n)")
_QUOTE = b'"'[0]
_UTF8_ROWS = 1024

_UNCLOSED = "a quoted field is not closed"
_STRAY = "a quote inside a field without quotes"
_BEHIND = "text behind a closing quote"


@dataclass(frozen=True, slots=True)
class RecordFault:
    """Why a record gives no fields; `row` is its index in the chunk. No value in the message."""

    row: int
    rule: FieldRule
    message: str


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a chunk of n records.

    columns: one `pa.StringArray` of length n per name of the chunk; an empty field is null, quoted or not,
        and so is every field of a record that is too large or has a fault
    faults: ascending by row, at most one of a record; none of those that are too large
    """

    columns: dict[str, pa.Array]
    faults: list[RecordFault]


class Delimiters(NamedTuple):
    """Where fields end within the records of a chunk; positions are those of the chunk's data buffer.

    positions: of the delimiters that are not in quotes
    per_row: how many of them each record has
    quoting: record → what is wrong with its quotes
    quotes: there are some
    escapes: two quotes stand for one somewhere
    """

    positions: _Positions
    per_row: npt.NDArray[np.int64]
    quoting: dict[int, str]
    quotes: bool
    escapes: bool


def split_fields(chunk: RecordChunk, format: DelimitedText) -> Fields:
    """The fields of the records of `chunk`, by column."""
    delimiters = delimiter_positions(chunk, format)
    faults = _faults(chunk, delimiters)
    good = ~chunk.too_large
    good[[fault.row for fault in faults]] = False
    starts, ends = _edges(chunk, delimiters, good)
    if delimiters.quotes:
        _strip_quotes(_data(chunk), starts, ends)
    columns = _columns(chunk, starts, ends)
    if delimiters.escapes:
        columns = [_unescaped(column) for column in columns]
    return Fields(dict(zip(chunk.names, columns, strict=True)), faults)


def delimiter_positions(chunk: RecordChunk, format: DelimitedText) -> Delimiters:
    """Finds the delimiters between the fields of `chunk`."""
    bounds = chunk.bounds()
    data = _data(chunk)[bounds[0] : bounds[-1]]
    is_mark = data == ord(format.delimiter)
    if format.quoted and (is_quote := data == _QUOTE).any():
        positions = np.flatnonzero(is_mark | is_quote)
        return _outside_quotes(data, positions, bounds)
    positions = np.flatnonzero(is_mark) + bounds[0]
    return Delimiters(positions, _per_row(positions, bounds), {}, False, False)


def _data(chunk: RecordChunk) -> _Bytes:
    return np.frombuffer(chunk.records.buffers()[2] or b"", np.uint8)


def _per_row(positions: _Positions, bounds: _Positions) -> npt.NDArray[np.int64]:
    return np.diff(np.searchsorted(positions, bounds))


def _outside_quotes(data: _Bytes, positions: _Positions, bounds: _Positions) -> Delimiters:
    """The delimiters among the delimiters and quotes at `positions` of `data`, which begins at bounds[0]."""
    starts, ends = bounds[:-1] - bounds[0], bounds[1:] - bounds[0]
    first = np.searchsorted(positions, bounds - bounds[0])  # of a row, among the positions
    is_quote = data[positions] == _QUOTE
    count = np.zeros(len(positions) + 1, np.int64)
    np.cumsum(is_quote, out=count[1:])
    unclosed = (np.diff(count[first]) & 1).astype(np.bool_)
    inside = (count[1:] & 1).astype(np.bool_)
    if unclosed.any():  # each row begins outside quotes, whatever the rows before it
        inside ^= np.repeat((count[first[:-1]] & 1).astype(np.bool_), np.diff(first))

    # Whether a delimiter or quote is next to the one before it, and so follows it in its row; the other way
    # round; or stands where the row begins or ends.
    beside = np.zeros(len(positions) + 1, np.bool_)
    beside[1:-1] = np.diff(positions) == 1
    beside[first] = False
    escapes = is_quote[1:] & is_quote[:-1] & beside[1:-1] & inside[1:]
    may_open, may_close = beside[:-1].copy(), beside[1:].copy()
    has_some = first[:-1] < first[1:]
    leftmost, rightmost = first[:-1][has_some], first[1:][has_some] - 1
    may_open[leftmost] = positions[leftmost] == starts[has_some]
    may_close[rightmost] = positions[rightmost] == ends[has_some] - 1
    wrong = np.flatnonzero(is_quote & ~np.where(inside, may_open, may_close))

    quoting = dict.fromkeys(np.flatnonzero(unclosed).tolist(), _UNCLOSED)
    rows, places = np.unique(np.searchsorted(first, wrong, side="right") - 1, return_index=True)
    for row, opens in zip(rows.tolist(), inside[wrong[places]].tolist(), strict=True):
        quoting[row] = _STRAY if opens else _BEHIND
    outside = positions[~is_quote & ~inside] + bounds[0]
    return Delimiters(outside, _per_row(outside, bounds), quoting, True, bool(escapes.any()))


def _faults(chunk: RecordChunk, delimiters: Delimiters) -> list[RecordFault]:
    width = len(chunk.names)
    faults: dict[int, RecordFault] = {}
    for row in np.flatnonzero(delimiters.per_row != width - 1).tolist():
        count = int(delimiters.per_row[row]) + 1
        columns = "column" if count == 1 else "columns"
        message = f"has {count} {columns}, not {width}"
        if count > width and LONE_RETURN.search(chunk.records[row].as_py()):
            message += "; a carriage return in it ends no line: write lines that end in \\n or \\r\\n"
        faults[row] = RecordFault(row, "columns", message)
    for row, message in delimiters.quoting.items():
        faults[row] = RecordFault(row, "quoting", message)
    for row, at in _undecodable(chunk.records):
        faults[row] = RecordFault(row, "encoding", f"not UTF-8 at byte {at}")
    return [faults[row] for row in sorted(faults) if not chunk.too_large[row]]


def _undecodable(records: pa.LargeBinaryArray) -> Iterator[tuple[int, int]]:
    """Rows that are not UTF-8, and at which byte. Arrow looks at blocks, Python at those it refuses."""
    for start in range(0, len(records), _UTF8_ROWS):
        block = records.slice(start, _UTF8_ROWS)
        try:
            block.cast(pa.large_string())
        except pa.ArrowInvalid:
            for row, record in enumerate(block.to_pylist(), start):
                try:
                    record.decode()
                except UnicodeDecodeError as error:
                    yield row, error.start


def _edges(chunk: RecordChunk, delimiters: Delimiters, good: _Mask) -> tuple[_Offsets, _Offsets]:
    """Where the fields of each column begin and end (columns × rows); those of rows not `good` are empty."""
    bounds = chunk.bounds()
    width = len(chunk.names)
    edges = np.empty((width + 1, len(chunk)), np.int32)
    edges[0] = bounds[:-1] - 1
    edges[-1] = bounds[1:]
    if good.all():
        edges[1:-1] = delimiters.positions.reshape(len(chunk), width - 1).T
        return edges[:-1] + 1, edges[1:]
    positions = delimiters.positions[np.repeat(good, delimiters.per_row)]
    edges[1:-1, good] = positions.reshape(np.count_nonzero(good), width - 1).T
    edges[:, ~good] = bounds[:-1][~good]
    starts = edges[:-1] + good
    return starts, edges[1:]


def _strip_quotes(data: _Bytes, starts: _Offsets, ends: _Offsets) -> None:
    """Moves `starts` and `ends` in place inside the quotes of quoted fields."""
    quoted = (starts < ends) & (data[np.minimum(starts, len(data) - 1)] == _QUOTE)
    starts += quoted
    ends -= quoted


def _columns(chunk: RecordChunk, starts: _Offsets, ends: _Offsets) -> list[pa.Array]:
    count = len(chunk)
    empty = pa.nulls(count, pa.string())
    every_other = pa.array(np.arange(0, 2 * count, 2, dtype=np.int32))
    columns = []
    for begin, end in zip(starts, ends, strict=True):
        full = begin < end
        nulls = count - int(np.count_nonzero(full))
        if nulls == count:
            columns.append(empty)
            continue
        # As in `gather`: slices and gaps laid over the buffer, and the gaps left out.
        bounds = np.empty((count, 2), np.int32)
        bounds[:, 0], bounds[:, 1] = begin, end
        laid = pa.StringArray.from_buffers(2 * count - 1, pa.py_buffer(bounds), chunk.records.buffers()[2])
        _, offsets, data = laid.take(every_other).buffers()
        valid = pa.py_buffer(np.packbits(full, bitorder="little")) if nulls else None
        columns.append(pa.StringArray.from_buffers(count, offsets, data, valid, nulls))
    return columns


def _unescaped(column: pa.Array) -> pa.Array:
    """Two quotes that stand for one are all that is left of quotes."""
    data = column.buffers()[2]
    if data is None or b'""' not in data.to_pybytes():
        return column
    return pc.replace_substring(column, '""', '"')
