"""The vectorised screen: accepts, a column at a time, the records that are certainly valid under the schema.

It never rejects. DuckDB gives the values, but its JSON parser (yyjson) is more lenient than JSON (trailing
commas, NaN), its casts are more lenient than a schema (12 becomes "12"), and it passes over what it was not
asked for. So a record is accepted only if its text shows no such comma and the numbers agree: the keys
counted in the text are as many as were found in places of the schema (so none is undeclared or there
twice), those with a text for a value are as many as have one in a place for texts, and what was found in any
other place begins like a value of its kind.

DuckDB does not tell a null from a missing key, unless it is asked with another parse. So it never sees the
nulls of keys: in its copy of the text, each is a *mark*, a value of the same length that it gives back as it
does any other. A record is accepted only if there are marks in places for nulls alone, and as many of them as
were made: then none of them is a value that the record had.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.validation.checks import as_mask, bits
from pii_pipeline.validation.plan import Level

_log = logging.getLogger(__name__)
_threads = threading.local()

_ERRORS = (duckdb.Error, UnicodeDecodeError)
"""What DuckDB raises; its message quotes the line, and may be cut off within a character."""

_BATCH = 256
"""Lines that DuckDB gets at a time: they and what is made of them should stay in the cache."""

_SURVEYED = 512
"""Lines that are surveyed at a time: their bytes are passed over several times."""

_QUOTE, _COLON, _COMMA, _BACKSLASH, _SPACE, _MINUS = b'":,\\ -'
_CLOSING = ord("}")  # and "]" with one bit more
_BEGINS = {"object": ord("{"), "array": ord("[")}
_NULL = np.frombuffer(b"null", np.uint8)
_MARK = np.frombuffer(b"[[]]", np.uint8)
_MARK_ELEMENT = _MARK[1:-1]
"""All that a list has which is a mark."""


@dataclass(frozen=True)
class Screened:
    """What came of the lines: their typed values, and which are accepted (bool).

    Both have a row per line; the value of a line that is not accepted means nothing.
    """

    values: pa.StructArray
    accepted: np.ndarray


@dataclass(frozen=True)
class _Found:
    """What was found in JSON texts, a row for each.

    `values` are typed; `valid` (bool) are those that the schema allows, if the numbers agree: `numbers`, as
    `_survey` counts them, of what was found at slots, with those of list elements.
    """

    values: pa.Array
    valid: np.ndarray
    numbers: np.ndarray


class Screen:
    """The screen for one plan. Usable from several threads at once."""

    def __init__(self, plan: Level) -> None:
        self._plan = plan
        self._guarded = False

    def run(self, lines: pa.Array) -> Screened | None:
        """Screens `lines` (string, one JSON text each). None if DuckDB gave up, for whatever reason: then
        nothing is accepted, and the strict path decides everything."""
        try:
            numbers, nulls = _survey(lines)
            found = self._find(_whole(_marked(lines, nulls)))
        except (*_ERRORS, pa.ArrowException) as error:
            _log.warning("the screen gave up on %d records (%s)", len(lines), type(error).__name__)
            return None
        return Screened(found.values, found.valid & (found.numbers == numbers).all(axis=0))

    def _find(self, lines: pa.Array) -> _Found:
        """What is found in `lines`, none of them if it is not JSON.

        DuckDB raises on malformed JSON, and to ask it first whether it is costs another parse. So it is not
        asked before such a line has come along: most look cut off and do not come as far as here.
        """
        if not self._guarded:
            try:
                return _find(connection(), self._plan, lines)
            except _ERRORS:
                self._guarded = True
        return _find(connection(), self._plan, lines, "coalesce(json_valid(line), false)")


def masked(values: pa.Array, type: pa.DataType, wanted: np.ndarray) -> pa.Array:
    """Binary, text or lists as `type` of the same layout, without a copy; null where not `wanted` (bool).

    All that is null or not UTF-8 must not be wanted.
    """
    valid = np.packbits(np.concatenate([np.ones(values.offset, bool), wanted]), bitorder="little")
    buffers = [pa.py_buffer(valid), *values.buffers()[1 : type.num_buffers]]
    children = [values.values] if pa.types.is_list(type) else None
    return pa.Array.from_buffers(type, len(values), buffers, offset=values.offset, children=children)


def connection() -> duckdb.DuckDBPyConnection:
    """This thread's own DuckDB, in memory. A forked process makes its own, too."""
    known: tuple[int, duckdb.DuckDBPyConnection] | None = getattr(_threads, "connection", None)
    if known is not None and known[0] == os.getpid():
        return known[1]
    config = {"threads": 1, "memory_limit": "2GB", "autoload_known_extensions": False}
    con = duckdb.connect(":memory:", config=config)
    con.execute("SET temp_directory = ''")  # never spills: what it holds is personal data
    con.execute("SET enable_external_access = false")
    con.execute("SET enable_progress_bar = false")
    _threads.connection = (os.getpid(), con)
    return con


def query(con: duckdb.DuckDBPyConnection, sql: str, lines: pa.Array) -> pa.Table:
    """The answer of `sql` over the table `input`, whose column `line` is `lines`."""
    table = pa.table({"line": lines})
    con.register("input", pa.Table.from_batches(table.to_batches(_BATCH), table.schema))
    try:
        return con.sql(sql).to_arrow_table()
    finally:
        con.unregister("input")


def _whole(lines: pa.Array) -> pa.Array:
    """`lines`, null where they do not begin and end as an object does."""
    data, bounds = _bytes(lines)
    whole = _is_valid(lines) & (np.diff(bounds) > 1)
    first, last = bounds[:-1][whole], bounds[1:][whole] - 1
    whole[whole] = (data[first] == _BEGINS["object"]) & (data[last] == _CLOSING)
    return masked(lines, lines.type, whole)


def _survey(lines: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """How many keys the objects in each line have, how many of these have a text for a value, and how many a
    null (three rows of numbers); and the positions of these nulls in the bytes of `lines`.

    In JSON the quote that ends a key stands before a colon; any other quote there begins a text or is
    escaped. So, whoever wrote the line, no key is left out, and if none is counted too many, no text is.
    -1 keys where that is not sure (two blanks before a colon, a key that ends in a backslash), and where a
    comma is the last in its object or list. All this may also stand in a text: that record is judged
    strictly, and no harm is done.
    """
    data, bounds = _bytes(lines)
    numbers = np.zeros((3, len(lines)), np.int64)
    keys, texts, _ = numbers
    nulls = [np.zeros(0, np.int64)]
    blank_last = [np.zeros(0, np.int64)]
    for start in range(0, len(lines), _SURVEYED):
        ends = bounds[start : start + _SURVEYED + 1]
        begin = ends[0]
        block, ends = data[begin : ends[-1]], ends - begin
        # Not the colons within times and addresses, which are many: those behind a quote, blank or "!".
        quotes = np.flatnonzero((block[1:] == _COLON) & (block[:-1] <= _QUOTE))
        colons = quotes + 1
        unsure = [np.zeros(0, np.int64)]
        if (block[quotes] != _QUOTE).any():
            quotes -= block[quotes] <= _SPACE
            before = block[quotes]
            unsure.append(colons[before <= _SPACE])
            keys_end = before == _QUOTE
            colons, quotes = colons[keys_end], quotes[keys_end]
        if (escaped := block[quotes - 1] == _BACKSLASH).any():
            unsure.append(colons[escaped & (block[quotes - 2] == _BACKSLASH)])
            colons = colons[~escaped]
        values = colons + 1
        after = block.take(values, mode="clip")
        if (blank := after <= _SPACE).any():
            values += blank
            after = block.take(values, mode="clip")
        nulls.append(begin + values[after == _NULL[0]])
        closings = np.flatnonzero(block | 0x20 == _CLOSING)
        before = block[closings - 1]
        unsure.append(closings[before == _COMMA])
        blank_last.append(start + _rows(ends, closings[before <= _SPACE]))
        rows = slice(start, start + len(ends) - 1)
        passed = np.searchsorted(colons, ends)
        keys[rows] = np.diff(passed)
        texts[rows] = np.diff(np.concatenate([[0], np.cumsum(after == _QUOTE)])[passed])
        keys[start + _rows(ends, np.concatenate(unsure))] = -1
    rows = np.unique(np.concatenate(blank_last))
    keys[rows[as_mask(pc.match_substring_regex(lines.take(pa.array(rows)), r",\s*[}\]]"), True)]] = -1
    found = np.concatenate(nulls)
    found = found[_reads(data, found, _NULL)]
    numbers[2] = np.diff(np.searchsorted(found, bounds))
    return numbers, found


def _marked(lines: pa.Array, nulls: np.ndarray) -> pa.Array:
    """A copy of `lines` with marks for the nulls at these positions in their bytes.

    Where such a null is none, being part of a text, or of what is no JSON, there is no harm either: the mark
    makes no difference to what is JSON, and such a line has a key too many.
    """
    if not len(nulls):
        return lines
    data = _bytes(lines)[0].copy()
    for at, letter in enumerate(_MARK):
        data[nulls + at] = letter
    buffers = [*lines.buffers()[:2], pa.py_buffer(data)]
    return pa.Array.from_buffers(lines.type, len(lines), buffers, offset=lines.offset)


def _rows(bounds: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The rows that `positions` are in, of rows with these `bounds`."""
    return np.searchsorted(bounds, positions, side="right") - 1


def _find(con: duckdb.DuckDBPyConnection, level: Level, lines: pa.Array, sound: str = "true") -> _Found:
    """What is found of the level in `lines` (JSON texts or null) that are `sound` (an SQL condition)."""
    numbers = np.zeros((3, len(lines)), np.int64)
    keys, texts, nulls = numbers
    if len(lines) == 0:
        return _Found(pa.nulls(0, level.type), np.zeros(0, bool), numbers)
    typed = _slots(con, level, lines, sound)
    known = [_is_valid(values) for values in typed]
    valid = known[0].copy()
    for slot, marks in _marks(level, typed, known):
        if level.nullable[slot]:
            typed[slot] = _without(typed[slot], marks)
            nulls += marks
        else:
            valid &= ~marks
    if level.kinds[0] in _BEGINS:
        valid &= _letters(lines, 0) == _BEGINS[level.kinds[0]]
    for slot, kind in enumerate(level.kinds):
        if slot:
            keys += known[slot]
        if slot and kind == "string":
            texts += _is_valid(typed[slot])
        elif kind in _READERS:
            typed[slot], sure = _READERS[kind](typed[slot])
            valid &= sure
    for holder, key in level.required:
        valid &= known[key] | ~_is_valid(typed[holder])
    for slot, element in level.lists:
        typed[slot] = _elements(con, element, typed[slot], valid, numbers)
    for slot, slot_checks in level.checks:
        for check in slot_checks:
            valid &= check(typed[slot])
    for slot, members in level.objects:
        if slot:
            # Of a value that is no object, DuckDB makes one without keys.
            valid &= np.logical_or.reduce([known[key] for key in members]) | ~_is_valid(typed[slot])
        names = [level.names[key][-1] for key in members]
        mask = typed[slot].is_null() if typed[slot].null_count else None
        typed[slot] = pa.StructArray.from_arrays([typed[key] for key in members], names, mask=mask)
    return _Found(typed[0], valid, numbers)


def _slots(con: duckdb.DuckDBPyConnection, level: Level, lines: pa.Array, sound: str) -> list[pa.Array]:
    """For every slot: what DuckDB gives."""
    if isinstance(level.structure, str):
        return [lines]
    structure = _literal(json.dumps(level.structure, ensure_ascii=False))
    # A branch not taken is not computed: the function raises on malformed JSON.
    sql = f"SELECT CASE WHEN {sound} THEN json_transform(line, {structure}) END AS value FROM input"
    return _by_slot(level, _single(query(con, sql, lines)["value"]))


def _by_slot(level: Level, value: pa.Array) -> list[pa.Array]:
    """The values at every slot; a field of a null object is null."""
    typed = {0: value}
    for slot, keys in reversed(level.objects):
        typed.update(zip(keys, typed[slot].flatten(), strict=True))
    return [typed[slot] for slot in range(len(level.names))]


def _marks(level: Level, typed: list[pa.Array], known: list[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """The slots at which there are marks or may be, and where (bool): all marks that came to a slot, and
    perhaps values that are like a mark."""
    members = dict(level.objects)
    for slot, kind in enumerate(level.kinds):
        if slot == 0:
            continue
        marks = known[slot].copy()
        if kind == "object":
            # Of a value that is no object, DuckDB makes one without keys.
            marks &= ~np.logical_or.reduce([known[key] for key in members[slot]])
        elif kind == "array":
            bounds = np.frombuffer(typed[slot].buffers()[1], np.int32)
            bounds = bounds[typed[slot].offset : typed[slot].offset + len(marks) + 1]
            marks &= np.diff(bounds) == 1
            marks[marks] = _is(typed[slot].values, bounds[:-1][marks], _MARK_ELEMENT)
        else:
            marks &= np.diff(_bytes(typed[slot])[1]) == len(_MARK)
            marks[marks] = _is(typed[slot], np.flatnonzero(marks), _MARK)
        if marks.any():
            yield slot, marks


def _is(texts: pa.Array, rows: np.ndarray, word: np.ndarray) -> np.ndarray:
    """Which of the texts at `rows` are `word` (bool)."""
    data, bounds = _bytes(texts)
    begins = bounds[:-1][rows]
    return (bounds[1:][rows] - begins == len(word)) & _reads(data, begins, word)


def _reads(data: np.ndarray, positions: np.ndarray, word: np.ndarray) -> np.ndarray:
    """At which `positions` in `data` there is `word` (bool), as a whole."""
    if not len(positions) or not len(data):
        return np.zeros(len(positions), bool)
    letters = [data.take(positions + at, mode="clip") == letter for at, letter in enumerate(word)]
    return np.logical_and.reduce([positions + len(word) <= len(data), *letters])


def _without(values: pa.Array, nulls: np.ndarray) -> pa.Array:
    """`values` with more nulls."""
    if pa.types.is_struct(values.type):
        return pc.if_else(pa.array(nulls), None, values)
    return masked(values, values.type, _is_valid(values) & ~nulls)


def _elements(
    con: duckdb.DuckDBPyConnection,
    element: Level,
    lists: pa.ListArray,
    valid: np.ndarray,
    numbers: np.ndarray,
) -> pa.Array:
    """The typed lists; `lists` hold their elements' JSON, null for the element null.

    Takes the rows with an element that is not certainly valid out of `valid`; adds those of the elements to
    the rows' `numbers`.
    """
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    owners = np.repeat(np.arange(len(lists)), lengths)
    lines = lists.flatten()
    found = _find(con, element, lines)
    passed = found.valid | ~_is_valid(lines) if element.nullable[0] else found.valid
    valid[owners[~passed]] = False
    for of_rows, of_elements in zip(numbers, found.numbers, strict=True):
        if of_elements.any():
            np.add.at(of_rows, owners, of_elements)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, found.values, mask=lists.is_null())


def _number(texts: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """JSON texts as doubles, and which of them are numbers or null (bool); the others become null."""
    there = _is_valid(texts)
    first = _letters(texts, 0)
    is_number = there & (_is_digit(first) | ((first == _MINUS) & _is_digit(_letters(texts, 1))))
    return masked(texts, texts.type, is_number).cast(pa.float64()), is_number | ~there


def _integer(texts: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """JSON texts as 64-bit integers, and which of them are that, written with digits alone, or null (bool);
    the others become null."""
    there = _is_valid(texts)
    data, bounds = _bytes(texts)
    others = np.flatnonzero(~_is_digit(data) & (data != _MINUS))
    fits = there & (np.diff(np.searchsorted(others, bounds)) == 0)
    long = np.flatnonzero(fits & (np.diff(bounds) > 18))
    written = texts.take(pa.array(long)).to_pylist()
    fits[long] = [len(text) <= 20 and -(2**63) <= int(text) < 2**63 for text in written]
    return masked(texts, texts.type, fits).cast(pa.int64()), fits | ~there


def _boolean(texts: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """JSON texts as booleans, and which of them are that or null (bool)."""
    values = pc.equal(texts, "true")
    return values, as_mask(pc.or_(values, pc.equal(texts, "false")), True)


def _text(texts: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """JSON texts as the strings they stand for, and which of them are that or null (bool); the others become
    null."""
    there = _is_valid(texts)
    is_text = there & (_letters(texts, 0) == _QUOTE)
    texts = masked(texts, texts.type, is_text)
    values = pc.ascii_trim(texts, characters='"')
    escaped = pc.fill_null(pc.match_substring(texts, "\\"), False)
    if pc.any(escaped).as_py():
        spelt = [json.loads(text) for text in texts.filter(escaped).to_pylist()]
        values = pc.replace_with_mask(values, escaped, pa.array(spelt, values.type))
    return values, is_text | ~there


_READERS = {"number": _number, "integer": _integer, "boolean": _boolean, "string": _text}


def _bytes(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of texts, and the n + 1 positions in them at which each begins and the last ends."""
    large = pa.types.is_large_string(values.type)
    bounds = np.frombuffer(values.buffers()[1], np.int64 if large else np.int32)
    data = np.frombuffer(values.buffers()[2] or b"", np.uint8)
    return data, bounds[values.offset : values.offset + len(values) + 1]


def _letters(texts: pa.Array, at: int) -> np.ndarray:
    """The bytes at position `at` of texts; of one that is shorter, or null, it may be any."""
    data, bounds = _bytes(texts)
    return data.take(bounds[:-1] + at, mode="clip") if len(data) else np.zeros(len(texts), np.uint8)


def _is_digit(letters: np.ndarray) -> np.ndarray:
    return letters - np.uint8(ord("0")) < 10


def _is_valid(values: pa.Array) -> np.ndarray:
    """Which values are not null (bool)."""
    if values.null_count == 0:
        return np.ones(len(values), bool)
    return bits(values.buffers()[0], values.offset, len(values))


def _single(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
