"""Avro object container files: against fastavro's own reader and other writers, and files made to do harm."""

from __future__ import annotations

import bz2
import datetime
import decimal
import io
import itertools
import json
import lzma
import random
import time
import tracemalloc
import zlib
from typing import Any

import fastavro
import polars as pl
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_pipeline.formats import AvroContainer, read_records
from pii_pipeline_tests.shared_data import shared_data
from pii_pipeline_tests.unit.formats.avro_files import SYNC, container, long, read, record, written
from pii_pipeline_tests.unit.formats.compressions import COMPRESSIONS

CODECS = ["null", "deflate", "bzip2", "xz"]

TEXT = st.text(alphabet='ab"\\\n\0é€😀', max_size=5)
PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "bytes": st.binary(max_size=5),
    "string": TEXT,
}


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[dict[str, Any], list[Any]]:
    """A record schema, and records of it."""
    names = (f"N{number}" for number in itertools.count())

    def schema(depth: int) -> tuple[Any, st.SearchStrategy[Any]]:
        kinds = [*PRIMITIVES, "enum", "fixed", *(["array", "map", "record", "union"] if depth else [])]
        kind = draw(st.sampled_from(kinds))
        if kind == "enum":
            return {"type": "enum", "name": next(names), "symbols": ["A", "B"]}, st.sampled_from("AB")
        if kind == "fixed":
            return {"type": "fixed", "name": next(names), "size": 3}, st.binary(min_size=3, max_size=3)
        if kind == "array":
            items, values = schema(depth - 1)
            if items == "null" or (isinstance(items, dict) and items["type"] == "record"):
                items, values = "string", TEXT
            return {"type": "array", "items": items}, st.lists(values, max_size=3)
        if kind == "map":
            items, values = schema(0)
            return {"type": "map", "values": items}, st.dictionaries(TEXT, values, max_size=3)
        if kind == "record":
            return struct(depth - 1)
        if kind == "union":
            inner, values = schema(0)
            if inner == "null":
                inner, values = "string", TEXT
            return ["null", inner], st.none() | values
        return kind, PRIMITIVES[kind]

    def struct(depth: int) -> tuple[dict[str, Any], st.SearchStrategy[Any]]:
        fields = {f"f{number}": schema(depth) for number in range(draw(st.integers(1, 4)))}
        definition = {
            "type": "record",
            "name": next(names),
            "fields": [{"name": name, "type": type} for name, (type, _) in fields.items()],
        }
        return definition, st.fixed_dictionaries({name: values for name, (_, values) in fields.items()})

    event, values = struct(3)
    event["fields"].append({"name": "id", "type": "long"})  # no record is of no bytes
    ids = st.builds(lambda value: {**value, "id": 7}, values)
    return event, draw(st.lists(ids, max_size=6))


def latin_1(value: bytes) -> str:
    return value.decode("latin-1")


@given(
    typed=typed_values(),
    codec=st.sampled_from(CODECS),
    interval=st.integers(1, 60),
    name=st.sampled_from(sorted(COMPRESSIONS)),
    block_sizes=st.tuples(st.integers(1, 64), st.just(1 << 18)),
)
@settings(max_examples=400, deadline=None)
def test_records_are_those_of_fastavros_reader(typed, codec, interval, name, block_sizes):
    schema, records = typed
    raw = written(schema, records, codec, interval)
    expected = [json.loads(json.dumps(value, default=latin_1)) for value in fastavro.reader(io.BytesIO(raw))]
    offsets = [
        block.offset for block in fastavro.block_reader(io.BytesIO(raw)) for _ in range(block.num_records)
    ]
    cuts, fault = read(COMPRESSIONS[name](raw), name, block_size=block_sizes[0])
    assert fault is None
    assert [json.loads(text) for text, _, _ in cuts] == expected
    assert [offset for _, offset, _ in cuts] == offsets
    assert read(raw, block_size=block_sizes[1]) == (cuts, None)


def test_the_json_text_is_compact_utf8_in_the_order_of_the_schema():
    schema = record("string", ["null", "double"], {"type": "array", "items": "int"})
    raw = written(schema, [{"f0": "é\n", "f1": None, "f2": [1, -2]}])
    assert [cut.record for cut in read(raw)[0]] == ['{"f0":"é\\n","f1":null,"f2":[1,-2]}'.encode()]


def test_logical_types_are_left_as_they_are_stored():
    when = datetime.datetime(2026, 11, 22, 10, tzinfo=datetime.UTC)
    schema = record(
        {"type": "long", "logicalType": "timestamp-millis"},
        {"type": "int", "logicalType": "date"},
        {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
        ["null", {"type": "string", "logicalType": "uuid"}],
        {"type": "array", "items": {"type": "long", "logicalType": "timestamp-micros"}},
    )
    uuid = "12345678-1234-5678-1234-567812345678"
    value = {"f0": when, "f1": when.date(), "f2": decimal.Decimal("1.27"), "f3": uuid, "f4": [when]}
    ((text, _, _),) = read(written(schema, [value]))[0]
    millis = int(when.timestamp() * 1000)
    assert json.loads(text) == {
        "f0": millis,
        "f1": millis // 86_400_000,
        "f2": "\x7f",
        "f3": uuid,
        "f4": [millis * 1000],
    }


def test_bytes_and_fixed_are_text_by_latin_1():
    schema = record("bytes", {"type": "fixed", "name": "F", "size": 2})
    ((text, _, _),) = read(written(schema, [{"f0": b"\x00\x7f\xff", "f1": b"\xe9\x80"}]))[0]
    assert json.loads(text) == {"f0": "\x00\x7fÿ", "f1": "é\x80"}


def test_names_are_resolved_wherever_they_are_defined():
    address = {
        "type": "record",
        "name": "Address",
        "namespace": "a.b",
        "fields": [{"name": "zip", "type": "string"}],
    }
    schema = {
        "type": "record",
        "name": "Event",
        "namespace": "a.b",
        "fields": [
            {"name": "home", "type": address},
            {"name": "work", "type": ["null", "Address"]},
            {"name": "others", "type": {"type": "array", "items": "a.b.Address"}},
        ],
    }
    value = {"home": {"zip": "1"}, "work": {"zip": "2"}, "others": [{"zip": "3"}, {"zip": "4"}]}
    cuts, fault = read(written(schema, [value, value]))
    assert (fault, [json.loads(text) for text, _, _ in cuts]) == (None, [value, value])


def test_a_file_may_hold_other_things_than_records():
    assert [text for text, _, _ in read(written("string", ["a", "é"]))[0]] == [b'"a"', '"é"'.encode()]
    cuts, fault = read(written(["null", record("int")], [{"f0": 1}, None]))
    assert ([text for text, _, _ in cuts], fault) == ([b'{"f0":1}', b"null"], None)


@pytest.mark.parametrize("kind", ["float", "double"])
def test_what_is_no_number_stays_visible_and_is_no_json(kind):
    values = [float("nan"), float("inf"), float("-inf"), 1.5, None]
    raw = written(
        record(["null", kind], {"type": "array", "items": kind}), [{"f0": v, "f1": []} for v in values]
    )
    assert [text for text, _, _ in read(raw)[0]] == [
        b'{"f0":NaN,"f1":[]}',
        b'{"f0":Infinity,"f1":[]}',
        b'{"f0":-Infinity,"f1":[]}',
        b'{"f0":1.5,"f1":[]}',
        b'{"f0":null,"f1":[]}',
    ]
    ((text, _, _),) = read(
        written(
            record({"type": "map", "values": {"type": "array", "items": kind}}),
            [{"f0": {"a": [1.0, values[0]]}}],
        )
    )[0]
    assert text == b'{"f0":{"a":[1.0,NaN]}}'


def test_text_that_is_not_utf8_keeps_its_bytes():
    schema = record("string", "bytes", {"type": "map", "values": "int"})
    bad = long(3) + b"a\xffb" + long(1) + b"\xe9" + long(1) + long(1) + b"\xfe" + long(1) + long(0)
    good = long(1) + b"c" + long(0) + long(0)
    cuts, fault = read(container(schema, (3, good + bad + good)))
    assert fault is None
    assert [text for text, _, _ in cuts] == [
        b'{"f0":"c","f1":"","f2":{}}',
        b'{"f0":"a\xffb","f1":"\xc3\xa9","f2":{"\xfe":1}}',
        b'{"f0":"c","f1":"","f2":{}}',
    ]


def zstandard_codec(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def snappy_codec(data: bytes) -> bytes:
    return pa.compress(data, codec="snappy", asbytes=True) + zlib.crc32(data).to_bytes(4, "big")


def deflate_codec(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


COMPRESS = {
    b"null": bytes,
    b"deflate": deflate_codec,
    b"bzip2": bz2.compress,
    b"xz": lzma.compress,
    b"zstandard": zstandard_codec,
    b"snappy": snappy_codec,
}


@pytest.mark.parametrize("codec", sorted(COMPRESS))
def test_every_codec_of_the_specification(codec):
    texts = [random.Random(n).randbytes(40).hex() for n in range(20_000)]
    data = b"".join(long(len(text)) + text.encode() for text in texts)
    blocks = [(len(texts), COMPRESS[codec](data)), (0, COMPRESS[codec](b"")), (1, COMPRESS[codec](data[:82]))]
    cuts, fault = read(container(record("string"), *blocks, codec=codec), block_size=1 << 16)
    assert fault is None
    assert [json.loads(text)["f0"] for text, _, _ in cuts] == [*texts, texts[0]]


@pytest.mark.parametrize("compression", ["uncompressed", "snappy", "deflate"])
def test_files_of_another_writer(compression):
    frame = pl.DataFrame({"a": range(5000), "b": ["x", None, "é", "", "y"] * 1000, "c": [0.5] * 5000})
    out = io.BytesIO()
    frame.write_avro(out, compression=compression)
    cuts, fault = read(out.getvalue(), block_size=1 << 16)
    assert fault is None
    assert [json.loads(text) for text, _, _ in cuts] == frame.to_dicts()


def test_another_codec_is_said_so_without_its_name():
    assert read(container(record("int"), codec=b"secret")) == (
        [],
        (
            "object_malformed",
            "the codec of the Avro file is none of null, deflate, bzip2, snappy, xz, zstandard",
        ),
    )


@pytest.mark.parametrize("codec", sorted(COMPRESS))
def test_a_corrupt_block_gives_what_comes_before_it(codec):
    data = b"".join(map(long, range(1000)))
    bad = bytearray(COMPRESS[codec](data))
    if codec == b"null":
        bad[-1] |= 0x80
    else:
        bad[len(bad) // 2 :] = b"secret" * (len(bad) // 12)
    raw = container(record("int"), (1000, COMPRESS[codec](data)), (1000, bytes(bad)), codec=codec)
    cuts, fault = read(raw)
    assert fault is not None
    assert fault[0] == "object_malformed"
    assert [text for text, _, _ in cuts[:1000]] == [b'{"f0":%d}' % n for n in range(1000)]


def test_a_wrong_checksum_of_snappy_is_noticed():
    data = COMPRESS[b"snappy"](long(5))
    raw = container(record("int"), (1, data[:-1] + bytes([data[-1] ^ 1])), codec=b"snappy")
    assert read(raw) == ([], ("object_malformed", "the compressed data of an Avro block is corrupt"))


@pytest.mark.parametrize("name", ["a.avro", "a.avro.gz"])
def test_cut_off_anywhere_all_whole_records_come(name):
    schema = record("string", "long")
    first = [b"\x02a" + long(n) for n in (1, 200, 70_000)]
    second = [b"\x00" + long(n) for n in (-1, -(2**40))]
    raw = container(schema, (3, b"".join(first)), (2, b"".join(second)))
    whole, fault = read(raw)
    assert (len(whole), fault) == (5, None)
    body = len(container(schema))
    ends, at = [], body
    for block in (first, second):
        at += 2  # count and size
        for data in block:
            at += len(data)
            ends.append(at)
        at += len(SYNC)
    for length in range(len(raw)):
        part = raw[:length]
        if name.endswith("gz"):
            stream = zlib.compressobj(wbits=31)
            part = stream.compress(part) + stream.flush(zlib.Z_SYNC_FLUSH)  # not its end
        cuts, fault = read(part, name, block_size=1 + length % 20)
        assert cuts == whole[: sum(end <= length for end in ends)]
        if name.endswith("gz"):
            assert fault == ("object_truncated", "the compressed data ends early")
        elif length in (body, body + ends[2] - body + len(SYNC)):
            assert fault is None
        elif length == 0:
            assert fault == ("object_empty", "the object has no records")
        else:
            assert fault == ("object_truncated", "the Avro file ends early")


@pytest.mark.parametrize("codec", CODECS)
def test_any_bytes_changed_do_no_harm(codec):
    chance = random.Random(7)
    schema = record(
        "string", ["null", "double"], {"type": "array", "items": "int"}, {"type": "map", "values": "bytes"}
    )
    values = [
        {"f0": f"secret{n}", "f1": n / 3 if n % 2 else None, "f2": list(range(n % 5)), "f3": {"secret": b"x"}}
        for n in range(60)
    ]
    raw = written(schema, values, codec, interval=300)
    for _ in range(1500):
        bad = bytearray(raw)
        for _ in range(chance.choice([1, 1, 2, 8])):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        read(bytes(bad[: chance.choice([len(bad), chance.randrange(len(bad))])]), block_size=1 << 16)


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", ("object_empty", "the object has no records")),
        (b"secret", ("object_malformed", "not an Avro object container file")),
        (b"Obj\x02secret", ("object_malformed", "not an Avro object container file")),
        (b"Obj\x01\x00" + SYNC, ("object_malformed", "the schema of the Avro file is none")),
        (
            b"Obj\x01\x02\x02\xff\x02a\x00" + SYNC,
            ("object_malformed", "the header of the Avro file is corrupt"),
        ),
        (b"Obj\x01" + long(2**62) + b"secret", ("object_truncated", "the Avro file ends early")),
        (b"Obj\x01" + long(1) + long(2**62) + b"secret", ("object_truncated", "the Avro file ends early")),
        (
            b"Obj\x01" + long(1) + long(6) + b"secret" + long(2**40) + b"secret" * 1_000_000,
            ("object_malformed", "the header of the Avro file is too long"),
        ),
        (container(b'{"type": "secret"}'), ("object_malformed", "the schema of the Avro file is none")),
        (container(b"secret"), ("object_malformed", "the schema of the Avro file is none")),
        (container(b"\xff"), ("object_malformed", "the schema of the Avro file is none")),
        (container(b"17"), ("object_malformed", "the schema of the Avro file is none")),
        (
            container({"type": "record", "name": "A", "fields": [{"name": ["x"], "type": "int"}]}),
            ("object_malformed", "the schema of the Avro file is none"),
        ),
        (
            container({"type": "record", "name": "A", "fields": [{"name": 1, "type": "int"}]}),
            ("object_malformed", "the schema of the Avro file has a record with two fields of one name"),
        ),
    ],
)
def test_what_is_no_avro_file(raw, problem):
    assert read(raw, block_size=1 << 16) == ([], problem)


@pytest.mark.parametrize(
    ("count", "size", "problem"),
    [
        (-1, 1, ("object_malformed", "an Avro block has a negative length")),
        (1, -1, ("object_malformed", "an Avro block has a negative length")),
        (1, 2**62, ("object_malformed", "an Avro block is longer than its records")),
        (2**40, 2**62, ("object_truncated", "the Avro file ends early")),
        (2**62, 1, ("object_malformed", "an Avro block is shorter than its records")),
        (0, 1, ("object_malformed", "an Avro block is longer than its records")),
    ],
)
def test_a_block_with_other_numbers_than_it_should_have(count, size, problem):
    raw = container(record("int")) + long(count) + long(size) + long(5) + SYNC
    cuts, fault = read(raw)
    assert fault == problem
    assert [text for text, _, _ in cuts[:1]] == [b'{"f0":5}'] * (count > 0 and size > 0)


def test_a_number_that_does_not_end_and_a_block_that_ends_elsewhere():
    head = container(record("int"))
    assert read(head + b"\xff" * 20) == ([], ("object_malformed", "a length in the Avro file is no number"))
    cuts, fault = read(head + long(1) + long(1) + long(5) + b"x" * 16)
    assert ([text for text, _, _ in cuts], fault) == (
        [b'{"f0":5}'],
        ("object_malformed", "an Avro block does not end where it says"),
    )


def test_records_that_take_no_bytes_are_refused():
    raw = container(record(), (2**40, b""))
    assert read(raw) == ([], ("object_malformed", "the records of the Avro file take no bytes"))


@pytest.mark.parametrize(
    "data",
    [
        long(2**62) + b"secret",  # the length of a text
        long(-5) + b"secret",
        long(0) + long(2**62) + b"\0" * 50_000,  # the number of elements
        long(0) + long(-(2**62)) + long(2**62) + b"\0" * 50_000,
        long(0) + long(0) + long(99),  # the branch of a union
        b"\xff" * 50_000,
    ],
)
def test_numbers_within_a_record_that_cannot_be_right(data):
    schema = record("string", {"type": "array", "items": "long"}, ["null", "int"])
    good = long(1) + b"a" + long(0) + long(0)
    begin = time.process_time()
    tracemalloc.start()
    try:
        cuts, fault = read(container(schema, (2, good + data)), max_record_bytes=1 << 20, block_size=1 << 16)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert time.process_time() - begin < 2
    assert [text for text, _, _ in cuts] == [b'{"f0":"a","f1":[],"f2":null}']
    assert fault == ("object_malformed", "an Avro block is shorter than its records")


@pytest.mark.parametrize("kind", ["boolean", "float", "double", {"type": "fixed", "name": "F", "size": 9}])
def test_numbers_of_values_that_are_not_looked_at_cannot_be_right(kind):
    schema = record({"type": "array", "items": kind})
    data = long(0) + long(2**62) + bytes(1_000_000)
    begin = time.process_time()
    cuts, fault = read(container(schema, (2, data)), max_record_bytes=100, block_size=1 << 16)
    assert time.process_time() - begin < 5
    assert [text for text, _, _ in cuts] == [b'{"f0":[]}']
    assert fault == ("object_malformed", "the end of a record of the Avro file is not found")


@pytest.mark.parametrize("name", sorted(COMPRESSIONS))
def test_nothing_compressed_or_not_is_an_empty_object(name):
    assert read(COMPRESSIONS[name](b""), name) == ([], ("object_empty", "the object has no records"))


def test_what_is_too_large_costs_its_neighbours_nothing():
    def text(size: int) -> bytes:
        return long(size) + b"x" * size

    sizes = [3, 990, 991, 3, 70_000, 3, 300_000, 3, 500_000]
    raw = container(record("string"), (len(sizes), b"".join(map(text, sizes))))
    for block_size in (1, 1 << 18):
        cuts, fault = read(raw, max_record_bytes=1000, block_size=block_size)
        assert fault is None
        assert [too_large for _, _, too_large in cuts] == [size > 991 for size in sizes]
        for (record_, _, _), size in zip(cuts, sizes, strict=True):
            whole = b'{"f0":"' + b"x" * size + b'"}'
            # What is not decoded begins as it does in the file.
            assert record_ == (whole if size < 300_000 else text(size))[:1000]


def test_a_record_whose_end_is_too_far_is_looked_for_only_so_far():
    size = 1 << 28
    raw = container(
        record("bytes"), (2, deflate_codec(long(1) + b"a" + long(size) + bytes(size))), codec=b"deflate"
    )
    tracemalloc.start()
    try:
        cuts, fault = read(raw, max_record_bytes=1 << 20, block_size=1 << 16)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
    assert [text for text, _, _ in cuts] == [b'{"f0":"a"}']
    assert fault == ("object_malformed", "the end of a record of the Avro file is not found")


@pytest.mark.parametrize("codec", sorted(COMPRESS.keys() - {b"null", b"snappy"}))
def test_a_block_far_larger_than_memory_should_be_is_never_held(codec):
    one = long(1000) + b"a" * 1000
    data = one * 40_000
    raw = container(record("bytes"), (40_000, COMPRESS[codec](data)), codec=codec)
    del data
    tracemalloc.start()
    try:
        found = 0
        for chunk in read_records(io.BytesIO(raw), "a.avro", 1 << 20, AvroContainer()):
            found += len(chunk)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert found == 40_000


def test_a_snappy_block_that_says_it_is_huge_costs_no_memory():
    raw = container(record("int"), (1, b"\xff\xff\xff\xff\x0f" + b"secret" * 10), codec=b"snappy")
    tracemalloc.start()
    try:
        assert read(raw) == ([], ("object_malformed", "a snappy block has more than 64 MiB"))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_the_platforms_demo_schema():
    schema = json.loads((shared_data() / "strm" / "demo.avsc").read_text())
    values = [
        {
            "strmMeta": {
                "eventContractRef": "a/b/1.0.0",
                "nonce": n,
                "timestamp": None,
                "keyLink": None,
                "billingId": None,
                "consentLevels": [1, 2],
            },
            "uniqueIdentifier": None,
            "consistentValue": f"session {n}",
            "someSensitiveValue": "x",
            "notSensitiveValue": None,
        }
        for n in range(1000)
    ]
    cuts, fault = read(written(schema, values, "deflate"), block_size=1 << 16)
    assert (fault, [json.loads(text) for text, _, _ in cuts]) == (None, values)
