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

from pii_pipeline.validation.plan import ABSENT, ARRAY, BOOLEAN, NULL, OBJECT, Level

_log = logging.getLogger(__name__)
_threads = threading.local()

# Such a comma may also stand inside a string: that record is judged strictly, and no harm is done.
_GUARD = r"coalesce(json_valid(line) AND NOT regexp_matches(line, ',\s*[}\]]'), false)"

_CODE_BY_FIRST_LETTER = np.zeros(256, np.int8)
for _code, _letter in enumerate("NVBUD?OA", start=NULL):
    _CODE_BY_FIRST_LETTER[ord(_letter)] = _code


class _Inconsistent(Exception):
    """Two views of the same JSON disagree about its shape."""


@dataclass(frozen=True)
class Screened:
    """What came of the lines that parse: their positions, their typed values, and which are accepted.

    All three have the same length; the value of a line that is not accepted means nothing.
    """

    rows: np.ndarray
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
        structure = _literal(json.dumps(self._plan.structure, ensure_ascii=False))
        columns = f"{_look(self._plan)}, json_transform(line, {structure}) AS value"
        try:
            # Not a WHERE clause: no optimiser can move the functions that raise on malformed JSON before it.
            sound = _single(_query(con, f"SELECT {_GUARD} AS sound FROM input", lines)["sound"])
            rows = np.flatnonzero(sound.to_numpy(zero_copy_only=False))
            if len(rows) < len(lines):
                lines = lines.filter(sound)
            found = _query(con, f"SELECT {columns} FROM input", lines)
            values = _single(found["value"])
            accepted = _accepted(con, self._plan, found, values)
        except (duckdb.Error, pa.ArrowException, _Inconsistent) as error:
            _log.warning("the screen gave up on %d records (%s)", len(lines), type(error).__name__)
            return None
        return Screened(rows, values, accepted)


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
    con.register("input", pa.table({"line": lines}))
    try:
        return con.sql(sql).to_arrow_table()
    finally:
        con.unregister("input")


def _look(level: Level) -> str:
    """The columns that tell the types, key counts and list texts of a level."""
    paths = [_path(names) for names in level.names]
    columns = [f"json_type(line, [{', '.join(paths)}]) AS types"]
    if level.objects:
        objects = ", ".join(paths[slot] for slot, _ in level.objects)
        columns.append(f"list_transform(json_keys(line, [{objects}]), lambda keys: len(keys)) AS key_counts")
    if level.lists:
        lists = ", ".join(paths[slot] for slot, _ in level.lists)
        columns.append(f"json_extract(line, [{lists}]) AS lists")
    return ", ".join(columns)


def _accepted(con: duckdb.DuckDBPyConnection, level: Level, found: pa.Table, values: pa.Array) -> np.ndarray:
    """Which values of the level, described by the columns of `_look`, are certainly valid (bool)."""
    codes = _codes(_single(found["types"]), len(level.names))
    accepted: np.ndarray = np.all(level.allowed[np.arange(len(level.names)), codes], axis=1)
    for holder, key in level.required:
        accepted &= (codes[:, key] != ABSENT) | (codes[:, holder] != OBJECT)
    if level.objects:
        counts = _matrix(pc.fill_null(_single(found["key_counts"]).flatten(), 0), len(level.objects))
        for number, (_, keys) in enumerate(level.objects):
            accepted &= counts[:, number] == (codes[:, keys] != ABSENT).sum(axis=1)
    typed = [pc.struct_field(values, list(names)) if names else values for names in level.names]
    for slot, column in enumerate(typed):
        # A value that the cast could not represent has become null.
        accepted &= column.is_valid().to_numpy(zero_copy_only=False) == (codes[:, slot] > NULL)
    for slot, slot_checks in level.checks:
        for check in slot_checks:
            accepted &= check(typed[slot])
    if level.lists:
        texts = _single(found["lists"]).flatten()
        for number, (slot, element) in enumerate(level.lists):
            rows = np.flatnonzero(codes[:, slot] == ARRAY)
            wanted = texts.take(pa.array(rows * len(level.lists) + number))
            accepted &= _elements_accepted(con, element, rows, wanted, typed[slot])
    return accepted


def _elements_accepted(
    con: duckdb.DuckDBPyConnection, level: Level, rows: np.ndarray, texts: pa.Array, lists: pa.Array
) -> np.ndarray:
    """Which of `lists` have none but certainly valid elements; `texts` are the JSON of those at `rows`."""
    accepted = np.ones(len(lists), bool)
    if len(rows) == 0:
        return accepted
    found = _query(con, "SELECT json_extract(line, '$[*]') AS elements FROM input", texts)
    elements = _single(found["elements"])
    lengths = np.zeros(len(lists), np.int64)
    lengths[rows] = pc.fill_null(pc.list_value_length(elements), 0).to_numpy(zero_copy_only=False)
    typed_lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    if not np.array_equal(lengths, typed_lengths):
        raise _Inconsistent
    lines = elements.flatten()
    if len(lines):
        found = _query(con, f"SELECT {_look(level)} FROM input", lines)
        owners = np.repeat(np.arange(len(lists)), lengths)
        accepted[owners[~_accepted(con, level, found, lists.flatten())]] = False
    return accepted


def _codes(types: pa.ListArray, slots: int) -> np.ndarray:
    """The codes of `plan` for lists of the names that `json_type` gives; int8, a row per list."""
    names = types.flatten()
    if len(names) == 0:
        return np.zeros((0, slots), np.int8)
    offsets = np.frombuffer(names.buffers()[1], np.int32, len(names) + 1, names.offset * 4)
    letters = np.frombuffer(names.buffers()[2], np.uint8)
    lengths = np.diff(offsets)
    first = letters[np.minimum(offsets[:-1], len(letters) - 1)]
    codes = _CODE_BY_FIRST_LETTER[first]
    codes[(first == ord("B")) & (lengths == len("BOOLEAN"))] = BOOLEAN
    codes[lengths == 0] = ABSENT
    return _matrix(codes, slots)


def _matrix(flat: pa.Array | np.ndarray, width: int) -> np.ndarray:
    numbers = flat if isinstance(flat, np.ndarray) else flat.to_numpy(zero_copy_only=False)
    if len(numbers) % width:
        raise _Inconsistent
    return numbers.reshape(-1, width)


def _single(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _path(names: tuple[str, ...]) -> str:
    """A DuckDB JSON path, as an SQL literal."""
    parts = (name.replace("\\", "\\\\").replace('"', '\\"') for name in names)
    return _literal("$" + "".join(f'."{part}"' for part in parts))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
