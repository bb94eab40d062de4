"""From rows of a dataset to rows of a table, in Arrow. No value is quoted in an error."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.warehouse.errors import DoesNotFit
from pii_pipeline.warehouse.table import BATCH, JSON, Column, Table, arrow_type, max_length, natural_type

_NUL, _INSTEAD = "\0", "\ufffd"
_VERSION = r"\A(?P<major>[0-9]{1,4})(?:\.(?P<minor>[0-9]{1,3})(?:\.(?P<patch>[0-9]{1,3}))?)?\z"
_HIGHEST_MAJOR = 2146  # whatever minor and patch are, it is an integer of 32 bits


def table_rows(rows: pa.RecordBatch, table: Table, batch: str) -> pa.RecordBatch:
    """The rows of `batch` as `table` has them, `BATCH` first.

    A column that the rows do not have, or have of another type, because their file is of an earlier contract,
    is null. Text has U+FFFD in place of NUL, which PostgreSQL cannot hold. Raises `DoesNotFit`.
    """
    columns = {BATCH: pa.repeat(pa.scalar(batch, pa.string()), rows.num_rows)}
    for column in table.columns:
        columns[column.name] = _converted(_at(rows, column.path), column, table.name)
    return pa.record_batch(list(columns.values()), list(columns))


def version_numbers(texts: pa.Array) -> pa.Array:
    """``2.3.0`` as 2_003_000: major · 10⁶ + minor · 10³ + patch, so that numbers sort as versions do.

    Null for what is not one to three whole numbers, or has no place in such a number: a major above 2146,
    another part above 999.
    """
    distinct = texts.dictionary_encode()
    parts = pc.extract_regex(distinct.dictionary, _VERSION)
    major, minor, patch = (_whole(pc.struct_field(parts, [name])) for name in ("major", "minor", "patch"))
    number = pc.add(pc.add(pc.multiply(major, 1_000_000), pc.multiply(minor, 1_000)), patch)
    number = pc.if_else(pc.less_equal(major, _HIGHEST_MAJOR), number, None).cast(pa.int32())
    return pa.DictionaryArray.from_arrays(distinct.indices, number).dictionary_decode()


def _whole(digits: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(digits, ""), "0", digits).cast(pa.int64())


def _at(rows: pa.RecordBatch, path: tuple[str, ...]) -> pa.Array:
    first, *inner = path
    place = rows.schema.get_field_index(first)
    array = pa.nulls(rows.num_rows) if place < 0 else rows.column(place)
    for name in inner:
        there = pa.types.is_struct(array.type) and array.type.get_field_index(name) >= 0
        array = pc.struct_field(array, [name]) if there else pa.nulls(rows.num_rows)
    return array


def _converted(array: pa.Array, column: Column, table: str) -> pa.Array:
    type = arrow_type(column.type)
    if natural_type(array.type) != column.source_type:
        return pa.nulls(len(array), type)
    if column.type == JSON:
        return _json_texts(array)
    if column.convert == "version_number":
        return version_numbers(array)
    try:
        converted = array.cast(type)
    except pa.ArrowInvalid:  # its text quotes the value
        raise DoesNotFit(
            f"{table}.{column.name}: a number is beyond {column.type} — widen the column in stream.yaml"
        ) from None
    if pa.types.is_string(type) and _has_nul(converted):
        converted = pc.replace_substring(converted, _NUL, _INSTEAD)
    if pa.types.is_list(type) and pa.types.is_string(type.value_type) and _has_nul(converted.flatten()):
        converted = pa.array([_cleaned(value) for value in converted.to_pylist()], type)
    length = max_length(column.type)
    if length is not None and (pc.max(pc.utf8_length(converted)).as_py() or 0) > length:
        raise DoesNotFit(
            f"{table}.{column.name}: a text is longer than {column.type} — widen the column in stream.yaml, "
            "or bound the field in the contract (max_length)"
        )
    return converted


def _json_texts(array: pa.Array) -> pa.Array:
    """Records and lists as JSON text."""
    values = array.to_pylist()
    texts = [None if value is None else orjson.dumps(value) for value in values]
    if any(text and b"\\u0000" in text for text in texts):
        texts = [None if value is None else orjson.dumps(_cleaned(value)) for value in values]
    return pa.array(texts, pa.binary()).cast(pa.string())


def _has_nul(texts: pa.Array) -> bool:
    return bool(pc.any(pc.match_substring(texts, _NUL)).as_py())


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(_NUL, _INSTEAD)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return {name: _cleaned(item) for name, item in value.items()} if isinstance(value, dict) else value
