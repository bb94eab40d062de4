"""Records out of blocks: the vectorised cutter against a byte-by-byte reading of the same rules."""

from __future__ import annotations

import io
import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_pipeline.formats import ObjectFault, RecordChunk, read_records
from pii_pipeline.formats.cutting import RecordCutter
from pii_pipeline_tests.unit.formats.compressions import COMPRESSIONS
from pii_pipeline_tests.unit.formats.reference import Cut, cut


def read(content: bytes, name: str = "a.json", max_record_bytes: int = 1000, block_size: int = 64):
    """All records of an object, and its fault if it has one."""
    chunks: list[RecordChunk] = []
    fault = None
    try:
        chunks.extend(read_records(io.BytesIO(content), name, max_record_bytes, block_size=block_size))
    except ObjectFault as error:
        fault = error.type
    numbers = [int(number) for chunk in chunks for number in chunk.number]
    assert numbers == list(range(len(numbers)))
    for chunk in chunks:
        assert len(chunk.records) == len(chunk.object) == len(chunk.offset) == len(chunk.too_large)
    return [
        Cut(record, int(offset), bool(too_large))
        for chunk in chunks
        for record, offset, too_large in zip(
            chunk.records.to_pylist(), chunk.offset, chunk.too_large, strict=True
        )
    ], fault


def records(content: bytes, **options: Any) -> list[bytes]:
    return [record for record, _, _ in read(content, **options)[0]]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\,[]{}\n é😀', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('k"\\]', max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
blanks = st.text(alphabet=" \t\r", max_size=20).map(str.encode)
blank_lines = st.text(alphabet=" \t\r\n", max_size=20).map(str.encode)


@given(
    values=st.lists(json_values, max_size=8),
    data=st.data(),
    as_array=st.booleans(),
    ascii=st.booleans(),
    bom=st.booleans(),
    name=st.sampled_from(sorted(COMPRESSIONS)),
    block_size=st.integers(1, 64),
)
@settings(max_examples=300, deadline=None)
def test_json_values_come_back_however_they_are_laid_out(
    values, data, as_array, ascii, bom, name, block_size
):
    if not as_array and values and isinstance(values[0], list):
        values[0] = {"wrapped": values[0]}  # lines that begin with an array may be read as one
    texts = [json.dumps(value, ensure_ascii=ascii).encode() for value in values]
    content = b"\xef\xbb\xbf" if bom else b""
    if as_array:
        content += data.draw(blank_lines) + b"["
        for index, text in enumerate(texts):
            content += (b"," if index else b"") + data.draw(blank_lines) + text + data.draw(blank_lines)
        content += b"]" + data.draw(blank_lines)
    else:
        for text in texts:
            content += data.draw(blank_lines) + data.draw(blanks) + text + data.draw(blanks) + b"\n"
        content += data.draw(blank_lines)
    cuts, fault = read(COMPRESSIONS[name](content), name, block_size=block_size)
    assert [record for record, _, _ in cuts] == texts
    assert all(content[offset : offset + len(record)] == record for record, offset, _ in cuts)
    assert not any(too_large for _, _, too_large in cuts)
    assert fault == (None if texts or as_array else "object_empty")


@given(
    content=st.text(alphabet='a" \n\\,[]{}', max_size=60).map(str.encode) | st.binary(max_size=30),
    opening=st.sampled_from([b"", b"[", b'[{"', b"\xef\xbb\xbf", b" \n["]),
    max_record_bytes=st.integers(1, 12),
    block_size=st.integers(1, 16),
)
@settings(max_examples=1500, deadline=None)
def test_any_bytes_are_cut_as_by_the_reference(content, opening, max_record_bytes, block_size):
    content = opening + content
    cutter = RecordCutter(max_record_bytes)
    chunks = []
    for at in range(0, len(content), block_size):
        chunks.extend(cutter.feed(content[at : at + block_size]))
    chunks.extend(cutter.finish())
    cuts = [
        Cut(record, int(offset), bool(large))
        for chunk in chunks
        for record, offset, large in zip(
            chunk.records.to_pylist(), chunk.offset, chunk.too_large, strict=True
        )
    ]
    expected, is_open = cut(content, max_record_bytes)
    assert cuts == expected
    assert cutter.unterminated == is_open


def test_lines_without_the_last_newline_and_with_carriage_returns():
    assert read(b'{"a":1}\r\n\r\n \t\n{"b":2}') == (
        [Cut(b'{"a":1}', 0, False), Cut(b'{"b":2}', 14, False)],
        None,
    )


def test_a_byte_order_mark_is_skipped_only_at_the_beginning():
    assert records(b"\xef\xbb\xbf1\n2") == [b"1", b"2"]
    assert records(b"\n\xef\xbb\xbf1") == [b"\xef\xbb\xbf1"]
    assert records(b"\xef\xbb", block_size=1) == [b"\xef\xbb"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[]", []),
        (b" [ \n ] \n", []),
        (b"[1,,2]", [b"1", b"", b"2"]),
        (b"[,]", [b"", b""]),
        (b"[1,]", [b"1", b""]),
        (b'[1, "a]b,c", [2,3]]', [b"1", b'"a]b,c"', b"[2,3]"]),
        (b'["\\\\", "\\"", "\\\\\\","]', [b'"\\\\"', b'"\\""', b'"\\\\\\","']),
        (b'[1]\n{"a":2}\n\n3', [b"1", b'{"a":2}', b"3"]),
        (b"[1]2", [b"1", b"2"]),
        (b'[{"a":1}}, {"b":2}]', [b'{"a":1}}', b'{"b":2}']),
    ],
)
@pytest.mark.parametrize("block_size", [1, 2, 3, 1000])
def test_arrays(content, expected, block_size):
    assert (records(content, block_size=block_size), read(content, block_size=block_size)[1]) == (
        expected,
        None,
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b'[{"a":1}, {"b', [b'{"a":1}', b'{"b']), (b"[1, ", [b"1"]), (b"[", []), (b'[1, "]', [b"1", b'"]'])],
)
def test_an_unterminated_array_gives_what_is_there(content, expected):
    assert (records(content), read(content)[1]) == (expected, "object_truncated")


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
def test_nothing_but_whitespace_is_an_empty_object(content):
    assert read(content) == ([], "object_empty")


@pytest.mark.parametrize("block_size", [1, 3, 7, 1000])
@pytest.mark.parametrize("layout", ["%s\n12345678\nx", '[%s, 12345678, "x"]'])
def test_only_content_counts_towards_the_limit(block_size, layout):
    long = "123456789"
    exact = "12345678" + " " * 50
    for record, large in ((long, True), (exact, False), (long + " " * 50, True)):
        cuts, fault = read((layout % record).encode(), max_record_bytes=8, block_size=block_size)
        assert fault is None
        assert cuts[0].record == b"12345678"
        assert [cut.too_large for cut in cuts] == [large, False, False]


class EndlessLine(io.RawIOBase):
    """`size` bytes of one record, then a small one; made as they are read."""

    def __init__(self, size: int, fill: bytes) -> None:
        self._left = size
        self._fill = fill
        self._after = b"\n7"

    def read(self, size: int = -1, /) -> bytes:
        if self._left:
            part = self._fill * min(size, self._left)
            self._left -= len(part)
            return part
        part, self._after = self._after, b""
        return part


@pytest.mark.parametrize("fill", [b"x", b" "])
def test_an_endless_line_is_never_held(fill):
    tracemalloc.start()
    try:
        chunks = list(read_records(EndlessLine(1 << 28, fill), "a.json", 1 << 16, block_size=1 << 20))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(len(chunk) for chunk in chunks) == (2 if fill == b"x" else 1)
    assert chunks[-1].records.to_pylist() == [b"7"]
    assert peak < 12 << 20


def test_long_runs_of_blanks_do_not_cost_a_round_each():
    content = b"\n".join([b" " * 200_000 + b"1" + b"\t" * 200_000] * 20)
    begin = time.process_time()
    assert records(content, block_size=1 << 20, max_record_bytes=1 << 20) == [b"1"] * 20
    assert time.process_time() - begin < 2
