"""The vectorised screen: accepts, a column at a time, the records that are certainly valid under the schema.

It never rejects. DuckDB's JSON parser (yyjson) is more lenient than JSON (trailing commas, NaN) and its casts
more lenient than a schema ("12" becomes 12), so a record is accepted only if its text shows none of the
former and the JSON type found at every slot is one that the schema allows, every object has exactly as many
keys as the schema's known ones found in it (so none is undeclared or there twice), and every typed value
passes its checks.
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

from pii_pipeline.validation.plan import ABSENT, BOOLEAN, NULL, OBJECT, Level

_log = logging.getLogger(__name__)
_threads = threading.local()

# Such a comma may also stand inside a string: that record is judged strictly, and no harm is done.
_GUARD = r"coalesce(json_valid(line) AND NOT regexp_matches(line, ',\s*[}\]]'), false)"

_BATCH = 256
"""Lines that DuckDB gets at a time: every function parses them anew, so they should still be in the cache."""

_CODE_BY_FIRST_LETTER = np.zeros(256, np.int8)
for _code, _letter in enumerate("NVBUD?OA", start=NULL):
    _CODE_BY_FIRST_LETTER[ord(_letter)] = _code


class _Inconsistent(Exception):
    """Two views of the same JSON disagree about its shape."""


@dataclass(frozen=True)
class Screened:
    """What came of the lines: their typed values, and which are accepted (bool).

    Both have a row per line; the value of a line that is not accepted means nothing.
    """

    values: pa.StructArray
    accepted: np.ndarray


class Screen:
    """The screen for one plan. Usable from several threads at once."""

    def __init__(self, plan: Level) -> None:
        self._plan = plan

    def run(self, lines: pa.Array) -> Screened | None:
        """Screens `lines` (string, one JSON text each). None if DuckDB gave up, for whatever reason: then
        nothing is accepted, and the strict path decides everything."""
        con = _connection()
        try:
            # A query of its own: no optimiser can move the functions that raise on malformed JSON before it.
            sound = _single(_query(con, f"SELECT {_GUARD} AS sound FROM input", lines)["sound"])
            lines = masked(lines, lines.type, sound.to_numpy(zero_copy_only=False))
            return Screened(*_typed(con, self._plan, lines))
        except (duckdb.Error, pa.ArrowException, _Inconsistent) as error:
            _log.warning("the screen gave up on %d records (%s)", len(lines), type(error).__name__)
            return None


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


def _look(level: Level) -> str:
    """The columns that tell the types, the key counts and the values of a level."""
    paths = [_path(names) for names in level.names]
    columns = [f"json_type(line, [{', '.join(paths)}]) AS types"]
    if level.objects:
        objects = ", ".join(paths[slot] for slot, _ in level.objects)
        columns.append(f"list_transform(json_keys(line, [{objects}]), lambda keys: len(keys)) AS key_counts")
    structure = _literal(json.dumps(level.structure, ensure_ascii=False))
    columns.append(f"json_transform(line, {structure}) AS value")
    return ", ".join(columns)


def _typed(con: duckdb.DuckDBPyConnection, level: Level, lines: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The typed values of the level, one for each of `lines` (JSON texts or null), and which of them are
    certainly valid (bool; null is not); the others mean nothing."""
    if len(lines) == 0:
        return pa.nulls(0, level.type), np.zeros(0, bool)
    found = _query(con, f"SELECT {_look(level)} FROM input", lines)
    types, value = _single(found["types"]), _single(found["value"])
    there = _is_valid(types)
    codes = _codes(types, len(level.names))
    if len(value) != len(lines) or codes.shape[1] != np.count_nonzero(there):
        raise _Inconsistent
    typed = _by_slot(level, value)
    valid = np.ones(codes.shape[1], bool)
    for slot, column in enumerate(typed):
        valid &= level.allowed[slot][codes[slot]]
        # A value that the cast could not represent has become null.
        valid &= _is_valid(column)[there] == (codes[slot] > NULL)
    for holder, key in level.required:
        valid &= (codes[key] != ABSENT) | (codes[holder] != OBJECT)
    if level.objects:
        counts = _rows(pc.fill_null(_single(found["key_counts"]).flatten(), 0), len(level.objects))
        for count, (_, keys) in zip(counts, level.objects, strict=True):
            valid &= count == np.count_nonzero(codes[list(keys)] != ABSENT, axis=0)
    accepted = np.zeros(len(lines), bool)
    accepted[there] = valid
    for slot, element in level.lists:
        typed[slot] = _elements(con, element, typed[slot], accepted)
    for slot, slot_checks in level.checks:
        for check in slot_checks:
            accepted &= check(typed[slot])
    for slot, keys in level.objects:
        names = [level.names[key][-1] for key in keys]
        mask = typed[slot].is_null() if typed[slot].null_count else None
        typed[slot] = pa.StructArray.from_arrays([typed[key] for key in keys], names, mask=mask)
    return typed[0], accepted


def _by_slot(level: Level, value: pa.Array) -> list[pa.Array]:
    """The values at every slot; a field of a null object is null."""
    typed = {0: value}
    for slot, keys in reversed(level.objects):
        typed.update(zip(keys, typed[slot].flatten(), strict=True))
    return [typed[slot] for slot in range(len(level.names))]


def _elements(
    con: duckdb.DuckDBPyConnection, level: Level, texts: pa.ListArray, accepted: np.ndarray
) -> pa.Array:
    """The typed lists, of which `texts` are the lists of their elements' JSON (null for the element null).

    Takes the rows with an element that is not certainly valid out of `accepted`.
    """
    lengths = pc.fill_null(pc.list_value_length(texts), 0).to_numpy(zero_copy_only=False)
    lines = texts.flatten()
    values, valid = _typed(con, level, lines)
    if level.allowed[0, NULL]:
        valid |= ~_is_valid(lines)
    accepted[np.repeat(np.arange(len(texts)), lengths)[~valid]] = False
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, values, mask=texts.is_null())


def _is_valid(values: pa.Array) -> np.ndarray:
    """Which values are not null (bool)."""
    if values.null_count == 0:
        return np.ones(len(values), bool)
    return values.is_valid().to_numpy(zero_copy_only=False)


def _codes(types: pa.ListArray, slots: int) -> np.ndarray:
    """The codes of `plan` for lists of the names that `json_type` gives; int8, a row per slot."""
    names = types.flatten()
    if len(names) == 0:
        return np.zeros((slots, 0), np.int8)
    offsets = np.frombuffer(names.buffers()[1], np.int32, len(names) + 1, names.offset * 4)
    letters = np.frombuffer(names.buffers()[2], np.uint8)
    lengths = np.diff(offsets)
    first = letters[np.minimum(offsets[:-1], len(letters) - 1)]
    codes = _CODE_BY_FIRST_LETTER[first]
    codes[(first == ord("B")) & (lengths == len("BOOLEAN"))] = BOOLEAN
    codes[lengths == 0] = ABSENT
    return _rows(codes, slots)


def _rows(flat: pa.Array | np.ndarray, height: int) -> np.ndarray:
    """What follows each other in a list of `height` numbers, below each other."""
    numbers = flat if isinstance(flat, np.ndarray) else flat.to_numpy(zero_copy_only=False)
    if len(numbers) % height:
        raise _Inconsistent
    return np.ascontiguousarray(numbers.reshape(-1, height).T)


def _single(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _path(names: tuple[str, ...]) -> str:
    """A DuckDB JSON path, as an SQL literal."""
    parts = (name.replace("\\", "\\\\").replace('"', '\\"') for name in names)
    return _literal("$" + "".join(f'."{part}"' for part in parts))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
