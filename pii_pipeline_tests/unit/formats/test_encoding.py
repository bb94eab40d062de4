"""Text in other encodings than UTF-8: its records, and what cannot be decoded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_pipeline.formats import DelimitedText, unknown_encoding
from pii_pipeline.formats.encoding import as_utf8
from pii_pipeline_tests.unit.formats.compressions import COMPRESSIONS
from pii_pipeline_tests.unit.formats.test_delimited import read

ENCODINGS = {
    "utf-8-sig": "a,é€😀",
    "UTF-16": "a,é€😀",
    "utf-16-be": "a,é€😀",
    "utf-32": "a,é€😀",
    "windows-1252": "a,é€",
    "iso-8859-15": "a,é€",
    "shift_jis": "a,日本",
    "gb18030": "a,é€😀日",
    "cp500": "a,é",
}


def csv(encoding: str) -> DelimitedText:
    return DelimitedText(",", quoted=True, encoding=encoding)


@given(
    encoding=st.sampled_from(sorted(ENCODINGS)),
    data=st.data(),
    name=st.sampled_from(sorted(COMPRESSIONS)),
    block_size=st.integers(1, 64),
)
@settings(max_examples=300, deadline=None)
def test_records_come_as_utf8_whatever_the_encoding(encoding, data, name, block_size):
    values = st.text(alphabet=ENCODINGS[encoding] + "\n", max_size=6)
    rows = data.draw(st.lists(st.tuples(values, values), max_size=8))
    header = ENCODINGS[encoding].replace(",", "")
    text = f"{header},b\n" + "".join(f'"{a}","{b}"\n' for a, b in rows)
    raw = COMPRESSIONS[name](text.encode(encoding))
    found = read(raw, csv(encoding), name=name, block_size=block_size)
    assert (found.problem, found.faults) == (None, [])
    assert found.rows == [(a or None, b or None) for a, b in rows]
    if rows:
        assert found.names == (header, "b")
    for (record, offset, _), (a, b) in zip(found.cuts, rows, strict=True):
        assert record.decode() == f'"{a}","{b}"'
        assert text.encode()[offset : offset + len(record)] == record


@pytest.mark.parametrize("block_size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("encoding", "bad"),
    [
        ("windows-1252", b"\x81"),
        ("ascii", "é".encode()),  # UTF-8 in truth: what is declared counts
        ("utf-16-le", b"\x00\xdc"),
        ("utf-16-le", b"\x3d\xd8"),
        ("utf-32-be", b"\xff\xff\xff\xff"),
        ("shift_jis", b"\x81\x20"),
        ("utf-8-sig", b"\xff"),
        ("utf-8", b"\xed\xa0\x80"),
    ],
)
def test_what_cannot_be_decoded_makes_its_record_bad_and_no_other(encoding, bad, block_size):
    raw = "k,v\n1,2\n3,".encode(encoding) + bad + "x\n5,6".encode(encoding)[3 * (encoding == "utf-8-sig") :]
    found = read(raw, csv(encoding), block_size=block_size)
    assert found.faults == [(1, "encoding", "not UTF-8 at byte 2")]
    assert found.rows == [("1", "2"), (None, None), ("5", "6")]


def test_half_a_character_at_the_end_is_of_the_last_record():
    found = read("k,v\n1,2".encode("utf-16-le") + b"\x00", csv("utf-16-le"))
    assert [fault[:2] for fault in found.faults] == [(0, "encoding")]


def test_a_header_in_another_encoding_is_the_problem_of_the_object():
    assert read("k,é\n1,2".encode(), csv("ascii")).problem == (
        "object_malformed",
        "the header has a fault: not UTF-8 at byte 2",
    )


@pytest.mark.parametrize("name", ["utf-8", "UTF8", "utf_8", "U8"])
def test_utf8_is_left_as_it_is(name):
    blocks = [b"\xff", b"a\xc3", b"\xa9"]
    assert list(as_utf8(iter(blocks), name)) == blocks


@pytest.mark.parametrize("name", ["utf-8", "UTF-16", "utf 32", "windows-1252", "latin1", "cp037", "big5"])
def test_known_encodings(name):
    assert not unknown_encoding(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "utf-9",
        "windows-1259",
        "é",
        "\udcff",
        "a\0",
        "rot13",
        "hex",
        "zlib",
        "base64",
        "idna",
        "undefined",
    ],
)
def test_what_is_no_encoding_of_text_is_unknown(name):
    assert unknown_encoding(name)
