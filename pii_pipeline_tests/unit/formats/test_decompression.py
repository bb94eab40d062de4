"""Compressed objects: whole, cut short, corrupt, or not what their name says."""

from __future__ import annotations

import io
import random
import tracemalloc

import pytest
import zstandard

from pii_pipeline.formats import ObjectFault, read_records
from pii_pipeline_tests.shared_data import shared_data
from pii_pipeline_tests.unit.formats.compressions import COMPRESSIONS

RECORDS = [b'{"n":%d,"x":"%032x"}' % (n, random.Random(n).getrandbits(128)) for n in range(9_000)]
CONTENT = b"\n".join(RECORDS)
COMPRESSED = {name: compress(CONTENT) for name, compress in COMPRESSIONS.items() if name != "plain.json"}


def read(raw: bytes, name: str) -> tuple[list[bytes], str | None]:
    found: list[bytes] = []
    try:
        for chunk in read_records(io.BytesIO(raw), name, 1000):
            found.extend(chunk.records.to_pylist())
    except ObjectFault as error:
        return found, error.type
    return found, None


@pytest.mark.parametrize("name", sorted(COMPRESSED))
def test_whole(name):
    assert read(COMPRESSED[name], name) == (RECORDS, None)


@pytest.mark.parametrize("name", sorted(COMPRESSED))
@pytest.mark.parametrize("share", [0.0001, 0.3, 0.6, 0.999])
def test_truncated_gives_all_whole_records_before_and_what_is_left(name, share):
    raw = COMPRESSED[name]
    found, fault = read(raw[: max(1, int(len(raw) * share))], name)
    assert fault == "object_truncated"
    assert found[:-1] == RECORDS[: max(0, len(found) - 1)]
    if found:
        assert RECORDS[len(found) - 1].startswith(found[-1])
    if share > 0.5:
        assert len(found) > len(RECORDS) * share * 0.3


def test_truncated_gzip_gives_every_byte_that_can_be_decoded():
    import zlib

    raw = COMPRESSED["one.json.gz"][:50_000]
    decodable = zlib.decompressobj(wbits=31).decompress(raw)
    found, _ = read(raw, "one.json.gz")
    assert b"\n".join(found) == decodable.rstrip(b"\n")


@pytest.mark.parametrize("name", sorted(COMPRESSED))
def test_corrupt_is_malformed_and_keeps_what_came_before(name):
    raw = bytearray(COMPRESSED[name])
    for at in range(len(raw) // 2, len(raw) // 2 + 64):
        raw[at] = 0xFF
    found, fault = read(bytes(raw), name)
    assert fault == "object_malformed"
    assert found[:100] == RECORDS[:100]


@pytest.mark.parametrize("name", ["one.json.gz", "one.json.zst"])
def test_a_wrong_checksum_is_noticed_after_every_record_was_given(name):
    raw = bytearray(COMPRESSED[name])
    raw[-5 if name.endswith("gz") else -1] ^= 1
    assert read(bytes(raw), name) == (RECORDS, "object_malformed")


def test_corrupt_gzip_gives_every_byte_before_the_fault():
    raw = bytearray(COMPRESSIONS["one.json.gz"](b"1\n2\n3\n"))
    raw[-8] ^= 1  # in the checksum, all within one read
    assert read(bytes(raw), "a.gz") == ([b"1", b"2", b"3"], "object_malformed")


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (COMPRESSIONS["one.json.gz"](b"1"), "plain.json"),
        (COMPRESSIONS["one.json.gz"](b"1"), "no_suffix"),
        (COMPRESSIONS["one.json.zst"](b"1"), "plain.json"),
        (COMPRESSIONS["one.json.zst"](b"1"), "a.gz"),
        (COMPRESSIONS["one.json.gz"](b"1"), "a.zst"),
        (b'{"a":1}\n{"a":2}\n', "a.gz"),
        (b'{"a":1}\n{"a":2}\n', "a.zstd"),
        (b"P", "a.gz"),
        (b"{", "a.zst"),
    ],
)
def test_not_what_the_name_says(raw, name):
    assert read(raw, name) == ([], "object_malformed")


@pytest.mark.parametrize("name", ["a.json", "a.gz", "a.zst"])
def test_no_bytes_are_an_empty_object(name):
    assert read(b"", name) == ([], "object_empty")


@pytest.mark.parametrize("name", sorted(COMPRESSED))
def test_compressed_nothing_is_an_empty_object(name):
    assert read(COMPRESSIONS[name](b""), name) == ([], "object_empty")
    assert read(COMPRESSIONS[name](b"\n \n"), name) == ([], "object_empty")


def test_gzip_may_be_padded_with_zeros():
    raw = COMPRESSIONS["one.json.gz"](b"1\n")
    assert read(raw + bytes(100_000) + raw + bytes(3), "a.gz") == ([b"1", b"1"], None)


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
def test_something_else_behind_the_data_is_malformed(name):
    compress = COMPRESSIONS["one.json" + name[1:]]
    assert read(compress(b"1\n") + b"{more}", name) == ([b"1"], "object_malformed")


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
def test_a_compression_bomb_costs_no_memory(name):
    if name == "a.zst":
        raw = zstandard.ZstdCompressor(level=1).compress(b" " * (256 << 20))
    else:
        raw = COMPRESSIONS["one.json.gz"](b" " * (64 << 20))
    tracemalloc.start()
    try:
        assert read(raw, name) == ([], "object_empty")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_source_may_give_fewer_bytes_than_asked():
    class Dripping(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 3))

    for name, compress in COMPRESSIONS.items():
        chunks = read_records(Dripping(compress(CONTENT[:2000])), name, 1000)
        assert (
            b"\n".join(record for chunk in chunks for record in chunk.records.to_pylist()) == CONTENT[:2000]
        )


def test_the_log_in_queue_is_one_array_of_100_messages():
    with (shared_data() / "login_queue" / "messages.json.gz").open("rb") as file:
        chunks = list(read_records(file, "messages.json.gz", 1 << 20))
    assert sum(len(chunk) for chunk in chunks) == 100
