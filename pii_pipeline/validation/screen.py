"""The vectorised screen: accepts, a column at a time, the records that are certainly valid under the schema.

It never rejects. DuckDB gives the values, but its JSON parser (yyjson) is more lenient than JSON (trailing
commas, NaN), its casts are more lenient than a schema (12 becomes "12"), and it passes over what it was not
asked for. So a record is accepted only if its text shows no such comma and the numbers agree: the keys
counted in the text are as many as were found in places of the schema (so none is undeclared or there
twice), those with a text for a value are as many as have one in a place for texts, and what was found in any
other place begins like a value of its kind.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.validation.checks import as_mask
from pii_pipeline.validation.plan import Level

_log = logging.getLogger(__name__)
_threads = threading.local()

_ERRORS = (duckdb.Error, UnicodeDecodeError)
"""What DuckDB raises; its message quotes the line, and may be cut off within a character."""

_BATCH = 256
"""Lines that DuckDB gets at a time: every function parses them anew, so they should still be in the cache."""

_SURVEYED = 1024
"""Lines that are surveyed at a time: their bytes are passed over several times."""

_QUOTE, _COLON, _COMMA, _BACKSLASH, _SPACE, _MINUS = b'":,\\ -'
_CLOSING = ord("}")  # and "]" with one bit more
_BEGINS = {"object": ord("{"), "array": ord("[")}


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

    `values` are typed; `valid` (bool) are those that the schema allows, if the numbers agree: `keys` is how
    many keys were found at slots, with those of list elements, `texts` how many of them are given as text.
    """

    values: pa.Array
    valid: np.ndarray
    keys: np.ndarray
    texts: np.ndarray


class Screen:
    """The screen for one plan. Usable from several threads at once."""

    def __init__(self, plan: Level) -> None:
        self._plan = plan
        self._guarded = False

    def run(self, lines: pa.Array) -> Screened | None:
        """Screens `lines` (string, one JSON text each). None if DuckDB gave up, for whatever reason: then
        nothing is accepted, and the strict path decides everything."""
        try:
            found = self._find(_whole(lines))
            keys, texts = _survey(lines)
        except (*_ERRORS, pa.ArrowException) as error:
            _log.warning("the screen gave up on %d records (%s)", len(lines), type(error).__name__)
            return None
        return Screened(found.values, found.valid & (found.keys == keys) & (found.texts == texts))

    def _find(self, lines: pa.Array) -> _Found:
        """What is found in `lines`, none of them if it is not JSON.

        DuckDB raises on malformed JSON, and to ask it first whether it is costs another parse. So it is not
        asked before such a line has come along: most look cut off and do not come as far as here.
        """
        if not self._guarded:
            try:
                return _find(_connection(), self._plan, lines)
            except _ERRORS:
                self._guarded = True
        return _find(_connection(), self._plan, lines, "coalesce(json_valid(line), false)")


def masked(values: pa.Array, type: pa.DataType, wanted: np.ndarray) -> pa.Array:
    """Binary or text as `type` of the same layout, without a copy; null where not `wanted` (bool).

    All that is null or not UTF-8 must not be wanted.
    """
    bits = np.packbits(np.concatenate([np.ones(values.offset, bool), wanted]), bitorder="little")
    buffers = [pa.py_buffer(bits), *values.buffers()[1:]]
    return pa.Array.from_buffers(type, len(values), buffers, offset=values.offset)


def _connection() -> duckdb.DuckDBPyConnection:
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


def _query(con: duckdb.DuckDBPyConnection, sql: str, lines: pa.Array) -> pa.Table:
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
    """How many keys the objects in each line have, and how many of these have a text for a value.

    In JSON the quote that ends a key stands before a colon; any other quote there begins a text or is
    escaped. So, whoever wrote the line, no key is left out, and if none is counted too many, no text is.
    -1 keys where that is not sure (two blanks before a colon, a key that ends in a backslash), and where a
    comma is the last in its object or list. All this may also stand in a text: that record is judged
    strictly, and no harm is done.
    """
    data, bounds = _bytes(lines)
    keys = np.zeros(len(lines), np.int64)
    texts = np.zeros(len(lines), np.int64)
    blank_last = [np.zeros(0, np.int64)]
    for start in range(0, len(lines), _SURVEYED):
        ends = bounds[start : start + _SURVEYED + 1]
        block, ends = data[ends[0] : ends[-1]], ends - ends[0]
        colons = np.flatnonzero(block == _COLON)
        quotes = colons - 1
        quotes -= block[quotes] <= _SPACE
        before = block[quotes]
        unsure = [colons[before <= _SPACE]]
        keys_end = before == _QUOTE
        colons, quotes = colons[keys_end], quotes[keys_end]
        if (escaped := block[quotes - 1] == _BACKSLASH).any():
            unsure.append(colons[escaped & (block[quotes - 2] == _BACKSLASH)])
            colons = colons[~escaped]
        after = block.take(colons + 1, mode="clip")
        if (blank := after <= _SPACE).any():
            after[blank] = block.take(colons[blank] + 2, mode="clip")
        closings = np.flatnonzero(block | 0x20 == _CLOSING)
        before = block[closings - 1]
        unsure.append(closings[before == _COMMA])
        blank_last.append(start + _rows(ends, closings[before <= _SPACE]))
        rows = slice(start, start + len(ends) - 1)
        keys[rows] = np.diff(np.searchsorted(colons, ends))
        texts[rows] = np.diff(np.searchsorted(colons[after == _QUOTE], ends))
        keys[start + _rows(ends, np.concatenate(unsure))] = -1
    rows = np.unique(np.concatenate(blank_last))
    keys[rows[as_mask(pc.match_substring_regex(lines.take(pa.array(rows)), r",\s*[}\]]"), True)]] = -1
    return keys, texts


def _rows(bounds: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The rows that `positions` are in, of rows with these `bounds`."""
    return np.searchsorted(bounds, positions, side="right") - 1


def _find(con: duckdb.DuckDBPyConnection, level: Level, lines: pa.Array, sound: str = "true") -> _Found:
    """What is found of the level in `lines` (JSON texts or null) that are `sound` (an SQL condition)."""
    keys = np.zeros(len(lines), np.int64)
    texts = np.zeros(len(lines), np.int64)
    if len(lines) == 0:
        return _Found(pa.nulls(0, level.type), np.zeros(0, bool), keys, texts)
    typed, known = _slots(con, level, lines, sound)
    valid = known[0].copy()
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
        typed[slot] = _elements(con, element, typed[slot], valid, keys, texts)
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
    return _Found(typed[0], valid, keys, texts)


def _slots(
    con: duckdb.DuckDBPyConnection, level: Level, lines: pa.Array, sound: str
) -> tuple[list[pa.Array], list[np.ndarray]]:
    """For every slot: what DuckDB gives, and where (bool) there certainly is a value or an allowed null."""
    if isinstance(level.structure, str):
        return [lines], [_is_valid(lines)]
    structure = _literal(json.dumps(level.structure, ensure_ascii=False))
    # A branch not taken is not computed: the functions raise on malformed JSON.
    columns = [f"CASE WHEN {sound} THEN json_transform(line, {structure}) END AS value"]
    nullable = [slot for slot, null in enumerate(level.nullable) if slot and null]
    if nullable:
        paths = ", ".join(_path(level.names[slot]) for slot in nullable)
        types = f"json_type(line, [{paths}])"
        columns.append(f"CASE WHEN {sound} AND contains(line, 'null') THEN {types} END AS types")
    found = _query(con, f"SELECT {', '.join(columns)} FROM input", lines)
    typed = _by_slot(level, _single(found["value"]))
    known = [_is_valid(values) for values in typed]
    if nullable:
        for slot, nulls in zip(nullable, _nulls(_single(found["types"]), len(nullable)), strict=True):
            known[slot] = known[slot] | nulls
    return typed, known


def _by_slot(level: Level, value: pa.Array) -> list[pa.Array]:
    """The values at every slot; a field of a null object is null."""
    typed = {0: value}
    for slot, keys in reversed(level.objects):
        typed.update(zip(keys, typed[slot].flatten(), strict=True))
    return [typed[slot] for slot in range(len(level.names))]


def _nulls(types: pa.ListArray, slots: int) -> np.ndarray:
    """Where a null is written (bool, a row per slot), from lists of the names that `json_type` gives."""
    nulls = np.zeros((slots, len(types)), bool)
    written = pc.fill_null(pc.equal(types.flatten(), "NULL"), False).to_numpy(zero_copy_only=False)
    nulls[:, _is_valid(types)] = written.reshape(-1, slots).T
    return nulls


def _elements(
    con: duckdb.DuckDBPyConnection,
    element: Level,
    lists: pa.ListArray,
    valid: np.ndarray,
    keys: np.ndarray,
    texts: np.ndarray,
) -> pa.Array:
    """The typed lists; `lists` hold their elements' JSON, null for the element null.

    Takes the rows with an element that is not certainly valid out of `valid`; adds what was found in the
    elements to the rows' `keys` and `texts`.
    """
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    owners = np.repeat(np.arange(len(lists)), lengths)
    lines = lists.flatten()
    found = _find(con, element, lines)
    passed = found.valid | ~_is_valid(lines) if element.nullable[0] else found.valid
    valid[owners[~passed]] = False
    np.add.at(keys, owners, found.keys)
    np.add.at(texts, owners, found.texts)
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
    return values.is_valid().to_numpy(zero_copy_only=False)


def _single(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _path(names: tuple[str, ...]) -> str:
    """A DuckDB JSON path, as an SQL literal."""
    parts = (name.replace("\\", "\\\\").replace('"', '\\"') for name in names)
    return _literal("$" + "".join(f'."{part}"' for part in parts))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
