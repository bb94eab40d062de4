"""Delimited text: vectorised cutting and splitting against Python's csv module and a byte-by-byte reading."""

from __future__ import annotations

import csv
import io
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pii_pipeline.formats import (
    SNOWPLOW_ENRICHED_TSV,
    DelimitedText,
    Fields,
    ObjectFault,
    RecordChunk,
    read_records,
    split_fields,
)
from pii_pipeline_tests.shared_data import shared_data
from pii_pipeline_tests.unit.formats.compressions import COMPRESSIONS
from pii_pipeline_tests.unit.formats.reference import Cut, cut_delimited, split

CSV = DelimitedText(",", quoted=True)
ANY = DelimitedText(",", quoted=True, columns=("a", "b"))  # no header
TSV = DelimitedText("\t", quoted=False, columns=("a", "b"))
NO_LINE = "; a carriage return in it ends no line: write lines that end in \\n or \\r\\n"


class Read(NamedTuple):
    """All of an object: its records, column names, fields by row, faults by record, and its own fault."""

    cuts: list[Cut]
    names: tuple[str, ...] | None
    rows: list[tuple[str | None, ...]]
    faults: list[tuple[int, str, str]]
    problem: tuple[str, str] | None


def chunks_of(
    content: bytes,
    format: DelimitedText,
    name: str = "a.csv",
    max_record_bytes: int = 10_000,
    block_size: int = 64,
) -> Iterator[RecordChunk]:
    return read_records(io.BytesIO(content), name, max_record_bytes, format, block_size=block_size)


def read(content: bytes, format: DelimitedText = CSV, **options: Any) -> Read:
    cuts: list[Cut] = []
    names = None
    rows: list[tuple[str | None, ...]] = []
    faults: list[tuple[int, str, str]] = []
    problem = None
    try:
        for chunk in chunks_of(content, format, **options):
            assert chunk.number.tolist() == list(range(len(cuts), len(cuts) + len(chunk)))
            assert names in (None, chunk.names)
            names = chunk.names
            fields = checked(split_fields(chunk, format), chunk)
            faults.extend((len(cuts) + fault.row, fault.rule, fault.message) for fault in fields.faults)
            rows.extend(zip(*(column.to_pylist() for column in fields.columns.values()), strict=True))
            cuts.extend(
                Cut(record, int(offset), bool(large))
                for record, offset, large in zip(
                    chunk.records.to_pylist(), chunk.offset, chunk.too_large, strict=True
                )
            )
    except ObjectFault as error:
        problem = (error.type, error.message)
    return Read(cuts, names, rows, faults, problem)


def checked(fields: Fields, chunk: RecordChunk) -> Fields:
    assert tuple(fields.columns) == chunk.names
    for column in fields.columns.values():
        column.validate(full=True)
        assert (str(column.type), len(column)) == ("string", len(chunk))
    rows = [fault.row for fault in fields.faults]
    assert rows == sorted(set(rows))
    for row in {*rows, *chunk.too_large.nonzero()[0].tolist()}:
        assert not any(column[row].is_valid for column in fields.columns.values())
    return fields


texts = st.text(alphabet='ab ,;\t"\n\ré€😀', max_size=6)


@given(
    rows=st.integers(1, 5).flatmap(
        lambda width: st.lists(st.lists(texts, min_size=width, max_size=width), max_size=8)
    ),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    newline=st.sampled_from(["\n", "\r\n"]),
    blank_lines=st.booleans(),
    ended=st.booleans(),
    bom=st.booleans(),
    name=st.sampled_from(sorted(COMPRESSIONS)),
    block_size=st.integers(1, 64),
)
@settings(max_examples=500, deadline=None)
def test_what_the_csv_module_writes_comes_back(
    rows, delimiter, quoting, newline, blank_lines, ended, bom, name, block_size
):
    width = len(rows[0]) if rows else 1
    header = [f"name {number}" for number in range(width)]
    lines = []
    for row in [header, *rows]:
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter, quoting=quoting).writerow(row)
        lines.append(out.getvalue().removesuffix("\r\n"))
    content = (newline * (1 + blank_lines)).join(lines) + newline * ended
    raw = b"\xef\xbb\xbf" * bom + content.encode()
    found = read(
        COMPRESSIONS[name](raw), DelimitedText(delimiter, quoted=True), name=name, block_size=block_size
    )
    assert found.problem is None
    assert found.names == (tuple(header) if rows else None)
    assert found.faults == []
    assert found.rows == [tuple(value or None for value in row) for row in rows]
    assert [record.decode() for record, _, _ in found.cuts] == lines[1:]
    for record, offset, _ in found.cuts:
        assert raw[offset : offset + len(record)] == record


@given(
    content=st.text(alphabet='ab,"\n', max_size=60),
    block_sizes=st.tuples(st.integers(1, 9), st.integers(9, 99)),
)
@settings(max_examples=1500, deadline=None)
def test_stray_quotes_end_no_other_records_than_in_the_csv_module(content, block_sizes):
    expected = [row for row in csv.reader(io.StringIO(content)) if row]
    for block_size in block_sizes:
        records = [cut.record.decode() for cut in read(content.encode(), ANY, block_size=block_size).cuts]
        assert [row for record in records for row in csv.reader(io.StringIO(record))] == expected


@given(
    content=st.text(alphabet='aé,\t"\n\r', max_size=60).map(str.encode) | st.binary(max_size=30),
    opening=st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb", b'"', b'a"\r\n"']),
    format=st.sampled_from([ANY, TSV]),
    max_record_bytes=st.integers(1, 12),
    block_size=st.integers(1, 16),
)
@settings(max_examples=2500, deadline=None)
def test_any_bytes_are_cut_and_split_as_by_the_reference(
    content, opening, format, max_record_bytes, block_size
):
    content = opening + content
    assume(not content.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")))  # compressed, says decompression
    delimiter = format.delimiter.encode()
    found = read(content, format, max_record_bytes=max_record_bytes, block_size=block_size)
    expected = cut_delimited(content, delimiter, format.quoted, max_record_bytes)
    assert found.cuts == expected
    assert found.problem == (None if expected else ("object_empty", "the object has no records"))
    faults, rows = [], []
    for number, (record, _, too_large) in enumerate(expected):
        fields, quoting = split(record, delimiter, format.quoted)
        fault = None
        if too_large:
            pass
        elif (at := undecodable(record)) is not None:
            fault = (number, "encoding", f"not UTF-8 at byte {at}")
        elif quoting is not None:
            fault = (number, "quoting", quoting)
        elif len(fields) != 2:
            count = f"{len(fields)} column" + "s" * (len(fields) != 1)
            lone = len(fields) > 2 and b"\r" in record.replace(b"\r\n", b"")
            fault = (number, "columns", f"has {count}, not 2{NO_LINE if lone else ''}")
        faults += [fault] if fault else []
        rows.append((None, None) if fault or too_large else tuple(f.decode() or None for f in fields))
    assert found.faults == faults
    assert found.rows == rows


def undecodable(record: bytes) -> int | None:
    try:
        record.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


@given(
    rows=st.lists(
        st.lists(st.text(alphabet='ab "\ré', max_size=4), min_size=3, max_size=3), min_size=1, max_size=20
    ),
    newline=st.sampled_from(["\n", "\r\n"]),
    block_size=st.integers(1, 64),
)
@settings(max_examples=300, deadline=None)
def test_lines_of_fields_without_quotes(rows, newline, block_size):
    rows = [row for row in rows if not (newline == "\n" and row[-1].endswith("\r"))]
    format = DelimitedText("\t", quoted=False, columns=("a", "b", "c"))
    content = "".join("\t".join(row) + newline for row in rows).encode()
    found = read(content, format, block_size=block_size)
    assert found.rows == [tuple(value or None for value in row) for row in rows]
    assert [record.decode().split("\t") for record, _, _ in found.cuts] == rows


def test_blanks_and_empty_fields_at_both_ends_are_content():
    found = read(b"\t\n \t\n\n\r\n\t \r\r\n", TSV)
    assert found.cuts == [Cut(b"\t", 0, False), Cut(b" \t", 2, False), Cut(b"\t \r", 8, False)]
    assert found.rows == [(None, None), (" ", None), (None, " \r")]


@pytest.mark.parametrize("block_size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("row", "rule", "message"),
    [
        (b"1", "columns", "has 1 column, not 2"),
        (b"1,2,3", "columns", "has 3 columns, not 2"),
        (b'"1,2"', "columns", "has 1 column, not 2"),
        (b'5" pipe,2', "quoting", "a quote inside a field without quotes"),
        (b'a"b",c', "quoting", "a quote inside a field without quotes"),
        (b' "a",c', "quoting", "a quote inside a field without quotes"),
        (b'"a"b,c', "quoting", "text behind a closing quote"),
        (b'"a" ,c', "quoting", "text behind a closing quote"),
        (b'"a"\r,c', "quoting", "text behind a closing quote"),
        (b'"a"b"c",d', "quoting", "text behind a closing quote"),
        (b"\xff,2", "encoding", "not UTF-8 at byte 0"),
        (b'1,"2\xe2\x82"x', "encoding", "not UTF-8 at byte 4"),
        (b'a"b"c"d', "quoting", "a quote inside a field without quotes"),
    ],
)
def test_a_record_with_a_fault_costs_its_neighbours_nothing(row, rule, message, block_size):
    before, after = b'a,"x\ny"\n', b'\n"",z\n"""p"", ""q""",\n'
    found = read(b"k,v\n" + before + row + after, block_size=block_size)
    assert found.faults == [(1, rule, message)]
    assert found.rows == [("a", "x\ny"), (None, None), (None, "z"), ('"p", "q"', None)]
    assert found.cuts[1].record == row


def test_an_unclosed_quote_runs_to_the_end_of_the_object():
    found = read(b'k,v\n1,2\n3,"4\n5,6\n7,8\n', block_size=3)
    assert [cut.record for cut in found.cuts] == [b"1,2", b'3,"4\n5,6\n7,8\n']
    assert found.faults == [(1, "quoting", "a quoted field is not closed")]
    # Only the first bytes are kept of one that is too long, and it has no fault beside that.
    found = read(b'k,v\n3,"4\n5,6\n7,8\n', block_size=3, max_record_bytes=5)
    assert (found.cuts, found.faults) == ([Cut(b'3,"4\n', 4, True)], [])


@pytest.mark.parametrize("block_size", [1, 3, 1000])
def test_the_end_of_a_line_does_not_count_towards_the_limit(block_size):
    for format in (ANY, TSV):
        content = b"12345678\r\n123456789\r\n12345678\n1\r2345678\r\n12345678\r"
        found = read(content, format, max_record_bytes=8, block_size=block_size)
        assert [(cut.record, cut.too_large) for cut in found.cuts] == [
            (b"12345678", False),
            (b"12345678", True),
            (b"12345678", False),
            (b"1\r234567", True),
            (b"12345678", False),
        ]


@pytest.mark.parametrize("block_size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"\n\r\n\nk,v\n1,2\n", ("k", "v")),
        (b'"k, the ""key""",v v\r\n1,2\n', ('k, the "key"', "v v")),
        (b'"k\nk", v \n1,2\n', ("k\nk", " v ")),
        ("\ufeffnøgle,v\n1,2".encode(), ("nøgle", "v")),
    ],
)
def test_the_header_names_the_columns_as_it_is_written(content, names, block_size):
    found = read(content, block_size=block_size)
    assert (found.names, found.rows, found.problem) == (names, [("1", "2")], None)
    assert found.cuts[0].offset == content.index(b"1,2")


def test_a_header_of_lines_without_quotes():
    found = read(b'"a\tb"\n1\t"2\n', DelimitedText("\t", quoted=False))
    assert (found.names, found.rows) == (('"a', 'b"'), [("1", '"2')])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", ("object_empty", "the object has no records")),
        (b"\n\r\n\n", ("object_empty", "the object has no records")),
        (b"\xef\xbb\xbf", ("object_empty", "the object has no records")),
        (b"k,v", None),
        (b"k,v\n\n", None),
        (b"secret,,v\n1,2,3\n", ("object_malformed", "column 2 of the header has no name")),
        (b'secret,""\n', ("object_malformed", "column 2 of the header has no name")),
        (
            b"secret,v,secret\n1,2,3\n",
            ("object_malformed", "column 3 of the header has the same name as column 1"),
        ),
        (b"secret\xff,v\n1,2", ("object_malformed", "the header has a fault: not UTF-8 at byte 6")),
        (b'"secret"s,v\n1,2', ("object_malformed", "the header has a fault: text behind a closing quote")),
        (b'k,"secret\n1,2\n', ("object_malformed", "the header has a fault: a quoted field is not closed")),
        (b"secret" * 3 + b",v\n1,2\n", ("object_malformed", "the header is longer than a record may be")),
        (b"\r", ("object_empty", "the object has no records")),
    ],
)
def test_a_header_that_cannot_be_used_is_the_problem_of_the_object(content, problem):
    found = read(content, max_record_bytes=15)
    assert (found.problem, found.cuts) == (problem, [])


LONE_RETURN = "the header has a carriage return that ends no line; write lines that end in \\n or \\r\\n"


@pytest.mark.parametrize(
    "content",
    [
        b"id,secret\r1,2\r",
        b"id,\r1,\r",
        b"id\rsecret\rid",
        b"id,secret\r\r\n1,2\r\r\n",
        b"id" * 9 + b"\r1" * 99,
    ],
)
@pytest.mark.parametrize("block_size", [1, 64])
def test_lines_that_end_as_no_line_does_here_are_no_header(content, block_size):
    found = read(content, max_record_bytes=30, block_size=block_size)
    assert (found.problem, found.cuts) == (("object_malformed", LONE_RETURN), [])


@pytest.mark.parametrize(
    ("content", "delimiter", "names"),
    [
        (b"id;secret;v\n1;2;3\n", ",", "a semicolon"),
        (b"id\tsecret\n1\t2\n", ",", "a tab"),
        (b"id|secret\n1|2\n", ",", "a bar"),
        (b"id,secret\n1,2\n", ";", "a comma"),
    ],
)
@pytest.mark.parametrize("quoted", [True, False])
def test_a_header_with_another_delimiter_says_so(content, delimiter, names, quoted):
    found = read(content, DelimitedText(delimiter, quoted=quoted))
    mend = "if that is the delimiter, say so in stream.yaml (format)"
    problem = f"the header is one column, with {names} in its name; {mend}"
    assert (found.problem, found.cuts) == (("object_malformed", problem), [])


@pytest.mark.parametrize(
    ("delimiter", "mark", "name"),
    [(",", ";", "a semicolon"), (",", "\t", "a tab"), (",", "|", "a bar"), (";", ",", "a comma")],
)
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("header", ['"id"{}"secret"', '"id, or ; no"{}"secret"', '"id"{}secret'])
def test_a_quoted_header_with_another_delimiter_says_so(delimiter, mark, name, before, header):
    if mark == ",":
        header = header.replace(",", "")
    found = read(
        before + f"{header}\n1{{}}2\n".format(mark, mark).encode(), DelimitedText(delimiter, quoted=True)
    )
    fault = "the header has a fault: text behind a closing quote"
    problem = f"{fault}, with {name} in it; if that is the delimiter, say so in stream.yaml (format)"
    assert (found.problem, found.cuts) == (("object_malformed", problem), [])


def test_a_fault_that_no_delimiter_mends_gets_no_such_advice():
    assert read(b'"secret"s;v\n1;2').problem == (
        "object_malformed",
        "the header has a fault: text behind a closing quote",
    )


@pytest.mark.parametrize("record", [b"1,2\r3,4", b'1,"2\r",3', b"1,2,\r3"])
@pytest.mark.parametrize("format", [DelimitedText(",", quoted=True), DelimitedText(",", quoted=False)])
def test_a_record_too_wide_with_a_carriage_return_says_that_it_ends_no_line(record, format):
    found = read(b"k,v\r\n" + record + b"\r\n", format)
    assert found.faults == [(0, "columns", f"has {record.count(b',') + 1} columns, not 2{NO_LINE}")]


def test_a_column_alone_may_be_called_anything_in_quotes():
    assert read(b'"a;b"\r\n1\r\n').names == ("a;b",)
    assert read(b'"a\r\nb",c\r\n1,2\r\n').names == ("a\r\nb", "c")
    assert read(b"a;b,c\r\n1,2\r\n").names == ("a;b", "c")


def test_a_header_of_very_many_columns_is_refused():
    found = read(b",".join(b"%d" % n for n in range(10_001)), max_record_bytes=1 << 20, block_size=1 << 16)
    assert found.problem == ("object_malformed", "the header has more than 10,000 columns")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("name", ["one.json.gz", "frames.zstd"])
def test_of_a_truncated_object_no_half_line_is_taken_for_a_whole_one(name, share):
    lines = [b"%d,%d" % (n, n * n * 10**9) for n in range(5000)]
    raw = COMPRESSIONS[name](b"k,v\n" + b"\n".join(lines))
    found = read(raw[: int(len(raw) * share)], name=name)
    assert found.problem == ("object_truncated", "the compressed data ends early")
    assert [cut.record for cut in found.cuts] == lines[: len(found.cuts)]
    if share > 0.2:
        assert len(found.cuts) > 100


def test_a_header_cut_short_is_the_fault_of_the_compression():
    raw = COMPRESSIONS["one.json.gz"](b"k" * 100_000 + b",,\n1,2,3\n")
    assert read(raw[:60], name="a.gz").problem == ("object_truncated", "the compressed data ends early")


@pytest.mark.parametrize("format", [ANY, TSV])
@pytest.mark.parametrize("fill", [b"x", b'"', b'"\n', b","])
def test_an_endless_record_is_never_held(fill, format):
    class Endless(io.RawIOBase):
        left = 1 << 26

        def read(self, size: int = -1, /) -> bytes:
            part = (fill * size)[: min(size, self.left)]
            self.left -= len(part)
            return part

    tracemalloc.start()
    try:
        for chunk in read_records(Endless(), "a.csv", 1 << 16, format, block_size=1 << 18):
            assert len(chunk.records[0].as_py()) <= 1 << 16
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20


def test_stray_quotes_in_every_record_do_not_cost_a_scan_each():
    content = b'a,5" pipe\n' * 200_000
    begin = time.process_time()
    found = sum(len(chunk) for chunk in chunks_of(content, ANY, block_size=1 << 18))
    assert found == 200_000
    assert time.process_time() - begin < 4


def test_a_long_record_in_many_blocks_is_scanned_once():
    content = b'"' + b"x\n" * 2_000_000 + b'",1\n'
    begin = time.process_time()
    (chunk,) = chunks_of(content, ANY, max_record_bytes=1 << 23, block_size=1 << 12)
    assert len(chunk.records[0].as_py()) == len(content) - 1
    assert time.process_time() - begin < 4


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "\r", "§"])
def test_a_delimiter_is_one_ascii_character(delimiter):
    with pytest.raises(ValueError, match="the delimiter is one ASCII character"):
        DelimitedText(delimiter, quoted=True)


def test_snowplow_has_131_columns_in_the_known_order():
    lines = (shared_data() / "snowplow" / "enriched_fields_131.txt").read_text().splitlines()
    assert SNOWPLOW_ENRICHED_TSV.columns == tuple(line.split("\t")[1] for line in lines)


@pytest.mark.parametrize("name", ["enriched_contexts.tsv", "enriched_unstruct.tsv"])
def test_the_snowplow_samples(name):
    content = (shared_data() / "snowplow" / name).read_bytes()
    found = read(content, SNOWPLOW_ENRICHED_TSV, block_size=1 << 12)
    lines = content.decode().splitlines()
    assert (len(found.cuts), found.faults, found.problem) == (100, [], None)
    assert found.rows == [tuple(field or None for field in line.split("\t")) for line in lines]


def test_the_mixed_snowplow_sample():
    content = (shared_data() / "snowplow" / "enriched_mixed.tsv").read_bytes()
    found = read(content, SNOWPLOW_ENRICHED_TSV, block_size=1 << 12)
    counts = [line.count("\t") + 1 for line in content.decode().splitlines()]
    assert len(found.cuts) == 50
    assert found.faults == [
        (row, "columns", f"has {count} columns, not 131") for row, count in enumerate(counts) if count != 131
    ]
    assert sorted(message for _, _, message in found.faults) == [
        "has 129 columns, not 131",
        "has 130 columns, not 131",
    ]


def test_the_retail_file():
    content = (shared_data() / "strm" / "online_retail.csv").read_bytes()
    found = read(content, block_size=1 << 14)
    header, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
    assert (len(found.cuts), found.names, found.faults) == (19_998, tuple(header), [])
    assert found.rows == [tuple(value or None for value in row) for row in rows]
