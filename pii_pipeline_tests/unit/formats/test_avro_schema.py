"""Schemas of Avro files that are made to do harm, or only to cost much."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pii_pipeline_tests.unit.formats.avro_files import container, long, read, record

NAMED = {"type": "record", "name": "Event", "fields": [{"name": "next", "type": ["null", "Event"]}]}


def nested(levels: int) -> Any:
    schema: Any = "int"
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return record(schema)


def chain(levels: int, width: int, leaf: str) -> Any:
    """Each record has some of the one before, by its name."""
    fields: list[Any] = [{"name": "r0", "type": {**record(leaf), "name": "R0"}}]
    for level in range(1, levels):
        one = record(*[f"R{level - 1}"] * width)
        fields.append({"name": f"r{level}", "type": {**one, "name": f"R{level}"}})
    return {"type": "record", "name": "Event", "fields": fields}


EMPTY = {"type": "record", "name": "Empty", "fields": []}
WIDE = {**record("int", *["null"] * 1000), "name": "Wide"}


@pytest.mark.parametrize(
    ("schema", "data", "what"),
    [
        (NAMED, b"\x02" * 1_000_000, "refers to itself"),
        (nested(250), b"\x02" * 200, "has too many levels"),
        (b"[" * 100_000, b"", "is none"),
        (chain(1000, 1, "int"), b"\0" * 2000, "has too many levels"),
        (chain(60, 2, "null"), b"\0", "has too many values that take no bytes"),
        (record({"type": "array", "items": "null"}), long(2**62), "has lists of values that take no bytes"),
        (record({"type": "array", "items": EMPTY}), long(2**62), "has lists of values that take no bytes"),
        (record({"type": "array", "items": WIDE}), long(2**62), "has lists of values that take no bytes"),
        (record({"type": "map", "values": WIDE}), long(2**62), "has lists of values that take no bytes"),
        (
            {"type": "record", "name": "A", "fields": [{"name": "x", "type": "int"}] * 2},
            b"\0\0",
            "has a record with two fields of one name",
        ),
    ],
)
def test_schemas_that_could_do_harm_are_refused(schema, data, what):
    cuts, fault = read(container(schema, (1, data)), block_size=1 << 16)
    assert (cuts, fault) == ([], ("object_malformed", f"the schema of the Avro file {what}"))


def test_many_named_types_cost_a_record_nothing():
    # fastavro would gather the names of a schema again for every record.
    many = record(
        "int", *({"type": "enum", "name": f"E{number}", "symbols": ["A"]} for number in range(20_000))
    )
    one = {
        "name": "Event",
        "type": "record",
        "fields": [{"name": "f0", "type": ["int", {**many, "name": "Many"}]}],
    }
    begin = time.process_time()
    cuts, fault = read(container(one, (2000, bytes(4000))), block_size=1 << 18)
    assert (len(cuts), fault) == (2000, None)
    assert time.process_time() - begin < 3
