"""Packing the records of many objects into chunks, and the problems of whole objects."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_pipeline.formats import (
    DelimitedText,
    ObjectFault,
    ObjectProblem,
    ObjectSource,
    RecordChunk,
    read_chunks,
)
from pii_pipeline_tests.unit.formats.compressions import COMPRESSIONS


def source(raw: bytes, name: str = "a.json") -> ObjectSource:
    return ObjectSource(name, lambda: io.BytesIO(raw))


def gone() -> BinaryIO:
    raise ObjectFault("object_missing", "the object is gone")


class ChangedAtItsEnd(io.BytesIO):
    """Tells, as a storage does, that its bytes are not those that were sealed."""

    def read(self, size: int | None = -1, /) -> bytes:
        if block := super().read(size):
            return block
        raise ObjectFault("object_changed", "other bytes")


Row = tuple[int, int, bytes, bool]


def rows(chunk: RecordChunk) -> list[Row]:
    return list(
        zip(
            chunk.object.tolist(),
            chunk.number.tolist(),
            chunk.records.to_pylist(),
            chunk.too_large.tolist(),
            strict=True,
        )
    )


def read(
    objects: Sequence[ObjectSource], max_records: int = 10, max_bytes: int = 1000, block_size: int = 64
) -> tuple[list[list[Row]], list[ObjectProblem]]:
    chunks, problems = [], []
    for item in read_chunks(
        objects, 100, max_chunk_records=max_records, max_chunk_bytes=max_bytes, block_size=block_size
    ):
        if isinstance(item, ObjectProblem):
            problems.append(item)
        else:
            item.records.validate(full=True)
            assert not any(row[0] in {problem.object for problem in problems} for row in rows(item))
            chunks.append(rows(item))
    return chunks, problems


@given(
    objects=st.lists(st.lists(st.integers(0, 10**12), max_size=12), max_size=8),
    names=st.data(),
    max_records=st.integers(1, 9),
    max_bytes=st.integers(1, 60),
    block_sizes=st.tuples(st.integers(1, 64), st.integers(1, 64)),
)
@settings(max_examples=200, deadline=None)
def test_every_record_comes_once_in_order_in_chunks_that_depend_on_records_alone(
    objects, names, max_records, max_bytes, block_sizes
):
    def sources(layout):
        drawn = [names.draw(st.sampled_from(sorted(COMPRESSIONS))) for _ in objects]
        return [
            source(COMPRESSIONS[name](layout(values)), name)
            for name, values in zip(drawn, objects, strict=True)
        ]

    lines = sources(lambda values: "\n".join(map(str, values)).encode())
    spaced = sources(lambda values: "".join(f"\n  {value}\t\n" for value in values).encode())
    chunks, problems = read(lines, max_records, max_bytes, block_sizes[0])
    assert [row for chunk in chunks for row in chunk] == [
        (index, number, str(value).encode(), False)
        for index, values in enumerate(objects)
        for number, value in enumerate(values)
    ]
    assert [(p.object, p.type) for p in problems] == [
        (index, "object_empty") for index, values in enumerate(objects) if not values
    ]
    sizes = [sum(len(row[2]) for row in chunk) for chunk in chunks]
    for index, chunk in enumerate(chunks):
        assert len(chunk) <= max_records
        assert sizes[index] <= max_bytes or len(chunk) == 1
        if index:  # the one before had no room for the first of this one
            before = chunks[index - 1]
            assert len(before) == max_records or sizes[index - 1] + len(chunk[0][2]) > max_bytes
    assert read(spaced, max_records, max_bytes, block_sizes[1]) == (chunks, problems)


def test_thousands_of_small_objects_share_a_chunk():
    chunks, problems = read([source(b'{"a":1}')] * 3000, max_records=65536, max_bytes=1 << 20)
    assert (len(chunks), len(chunks[0]), problems) == (1, 3000, [])


@given(
    objects=st.lists(st.tuples(st.sampled_from(["k,v", "v,k", '"k",v']), st.integers(0, 9)), max_size=8),
    max_records=st.integers(1, 9),
    block_size=st.integers(1, 64),
)
@settings(max_examples=200, deadline=None)
def test_a_chunk_holds_records_of_one_header_only(objects, max_records, block_size):
    sources = [
        source((header + "\n" + "".join(f"{n},{index}\n" for n in range(count))).encode())
        for index, (header, count) in enumerate(objects)
    ]
    expected: list[tuple[tuple[str, ...], list[Row]]] = []
    for index, (header, count) in enumerate(objects):
        names = tuple(header.replace('"', "").split(","))
        for number in range(count):
            if not expected or expected[-1][0] != names or len(expected[-1][1]) == max_records:
                expected.append((names, []))
            expected[-1][1].append((index, number, f"{number},{index}".encode(), False))
    chunks = [
        (item.names, rows(item))
        for item in read_chunks(
            sources,
            100,
            DelimitedText(",", quoted=True),
            max_chunk_records=max_records,
            block_size=block_size,
        )
        if isinstance(item, RecordChunk)
    ]
    assert chunks == expected


def test_a_chunk_has_fewer_records_where_they_have_very_many_columns():
    header = b",".join(b"%d" % n for n in range(10_000))
    format = DelimitedText(",", quoted=True)
    chunks = read_chunks([source(header + b"\n1" * 2000)], 1 << 20, format, block_size=1 << 16)
    sizes = [len(chunk) for chunk in chunks if isinstance(chunk, RecordChunk)]
    assert sizes == [838, 838, 324]  # 2**23 fields


def test_a_header_that_cannot_be_used_costs_no_other_object():
    items = list(
        read_chunks(
            [source(b"k,v\n1,2"), source(b"k,\n3,4"), source(b""), source(b"k,v\n5,6")],
            100,
            DelimitedText(",", quoted=True),
        )
    )
    assert [item.type if isinstance(item, ObjectProblem) else rows(item) for item in items] == [
        [(0, 0, b"1,2", False), (3, 0, b"5,6", False)],
        "object_malformed",
        "object_empty",
    ]


def test_a_missing_object_costs_its_neighbours_nothing():
    chunks, problems = read([source(b"1"), ObjectSource("b.json", gone), source(b"3")])
    assert chunks == [[(0, 0, b"1", False), (2, 0, b"3", False)]]
    assert [(problem.object, problem.type) for problem in problems] == [(1, "object_missing")]


@pytest.mark.parametrize("raw", [b"1\n2", b"", b"[1,", COMPRESSIONS["one.json.gz"](b"1")])
def test_an_object_that_changed_since_it_was_sealed_has_that_one_problem(raw):
    _, problems = read([ObjectSource("a.json", lambda: ChangedAtItsEnd(raw))])
    assert [(problem.object, problem.type) for problem in problems] == [(0, "object_changed")]


def test_an_object_that_a_fault_left_half_read_is_read_to_its_end():
    raw = b"not gzip " * 100_000
    assert [problem.type for problem in read([source(raw, "a.gz")])[1]] == ["object_malformed"]
    changed = ObjectSource("a.gz", lambda: ChangedAtItsEnd(raw))
    assert [problem.type for problem in read([changed])[1]] == ["object_changed"]


def test_a_problem_comes_after_the_records_of_its_object_and_before_the_end():
    items = list(
        read_chunks(
            [source(b"[1,2", "a"), source(b"3\n4\n5", "b"), source(b"", "c")], 100, max_chunk_records=2
        )
    )
    assert [item.type if isinstance(item, ObjectProblem) else item.records.to_pylist() for item in items] == [
        [b"1", b"2"],
        "object_truncated",
        [b"3", b"4"],
        [b"5"],
        "object_empty",
    ]


def test_a_chunk_pickles_to_its_own_size():
    raw = b"\n".join(b"%010d" % n for n in range(1000))
    (chunk,) = (c for c in read_chunks([source(raw)], 100, block_size=64) if isinstance(c, RecordChunk))
    pickled = pickle.dumps(chunk)
    assert len(pickled) < 60_000
    assert rows(pickle.loads(pickled)) == rows(chunk)


def test_files_are_closed():
    files: list[io.BytesIO] = []

    def opened() -> io.BytesIO:
        files.append(io.BytesIO(b"1"))
        return files[-1]

    list(read_chunks([ObjectSource("a.json", opened)] * 3, 100))
    assert [file.closed for file in files] == [True] * 3


def test_faults_travel_between_processes():
    fault = pickle.loads(pickle.dumps(ObjectFault("object_empty", "nothing")))
    assert (fault.type, fault.message) == ("object_empty", "nothing")
