"""Messages of a queue in a landing object: what was sent comes out, byte for byte, with its message's id."""

import gzip
import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pii_pipeline.formats import (
    SNOWPLOW_ENRICHED_TSV,
    AvroContainer,
    DelimitedText,
    Format,
    JsonText,
    Message,
    ObjectSource,
    RecordChunk,
    fits_a_message,
    message_line,
    read_chunks,
    split_fields,
)

SENT = datetime(2026, 11, 22, 10, 15, 30, 123000, UTC)


def line(body: str, message_id: str = "m") -> bytes:
    return message_line(Message(message_id, SENT, {}, {}, body))


def read(raw: bytes, name: str = "q.sqs.jsonl", form: Format = JsonText(), most: int = 1000):  # noqa: B008
    """Records, message ids, numbers, offsets and which were too large."""
    source = ObjectSource(name, lambda: io.BytesIO(raw))
    found = []
    for chunk in read_chunks([source], most, form, block_size=64):
        assert isinstance(chunk, RecordChunk)
        ids = [None] * len(chunk) if chunk.message_ids is None else chunk.message_ids.to_pylist()
        columns = (chunk.records.to_pylist(), ids, chunk.number, chunk.offset, chunk.too_large)
        found += list(zip(*columns, strict=True))
    return found


def test_an_envelope_is_a_line_of_json_with_the_body_as_text():
    attributes = {"SentTimestamp": "1795651530123"}
    theirs = {"trace": {"DataType": "String", "StringValue": "a"}}
    raw = message_line(Message("id-1", SENT, attributes, theirs, '{"a":\n1}'))
    assert raw.endswith(b"}\n") and raw.count(b"\n") == 1
    assert json.loads(raw) == {
        "message_id": "id-1",
        "sent_at": "2026-11-22T10:15:30.123Z",
        "attributes": attributes,
        "message_attributes": theirs,
        "body": '{"a":\n1}',
    }


@given(st.lists(st.text(st.characters(), min_size=1)))  # halves of surrogate pairs among them
def test_every_body_is_a_record_whatever_is_in_it(bodies: list[str]):
    lines = [line(body, f"id-{number}") for number, body in enumerate(bodies)]
    if not lines:
        return
    found = read(gzip.compress(b"".join(lines)), "q.sqs.jsonl.gz", most=1 << 20)
    assert [record for record, *_ in found] == [body.encode("utf-8", "surrogatepass") for body in bodies]
    assert [item[1] for item in found] == [f"id-{number}" for number in range(len(bodies))]
    assert [item[2] for item in found] == list(range(len(bodies)))
    starts = [sum(map(len, lines[:number])) for number in range(len(lines))]
    assert [item[3] for item in found] == starts


def test_a_body_that_is_too_long_is_cut_and_said_to_be():
    found = read(line("x" * 50) + line("y" * 51), most=50)
    assert [(record, bool(cut)) for record, _, _, _, cut in found] == [(b"x" * 50, False), (b"y" * 50, True)]


@pytest.mark.parametrize(
    "other",
    [
        b'{"user":"a"}',
        b"no json",
        b'["message_id","body"]',
        b'{"message_id":"m","body":{"a":1}}',
        b"[" * 5000,
    ],
)
def test_a_line_that_is_no_envelope_is_a_record_without_a_message(other: bytes):
    found = read(line("1") + other + b"\n" + line("2"), most=1 << 20)
    assert [item[:2] for item in found] == [(b"1", "m"), (other, None), (b"2", "m")]


def test_in_an_object_of_another_name_an_envelope_is_an_event_like_any():
    raw = line("1")
    assert [item[:2] for item in read(raw, "q.jsonl")] == [(raw.rstrip(), None)]


def test_of_delimited_text_a_message_is_one_line_without_its_end():
    fields = "\t".join(str(number) for number in range(131))
    bodies = [fields, fields + "\n", fields + "\r\n"]
    raw = b"".join(map(line, bodies))
    source = ObjectSource("q.sqs.jsonl", lambda: io.BytesIO(raw))
    (chunk,) = read_chunks([source], 10_000, SNOWPLOW_ENRICHED_TSV)
    assert isinstance(chunk, RecordChunk)
    split = split_fields(chunk, SNOWPLOW_ENRICHED_TSV)
    assert not split.faults
    assert split.columns["true_tstamp"].to_pylist() == ["130"] * 3


def test_objects_with_and_without_messages_share_a_chunk():
    raw, plain = line("1", "a") + line("2", "b"), b"3\n4\n"
    sources = [
        ObjectSource(name, lambda data=data: io.BytesIO(data))
        for name, data in (("x.jsonl", plain), ("q.sqs.jsonl", raw), ("y.jsonl", plain))
    ]
    (chunk,) = read_chunks(sources, 1000)
    assert isinstance(chunk, RecordChunk) and chunk.message_ids is not None
    assert chunk.message_ids.to_pylist() == [None, None, "a", "b", None, None]
    assert chunk.slice(2, 4).message_ids.to_pylist() == ["a", "b"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("form", "fits"),
    [
        (JsonText(), True),
        (SNOWPLOW_ENRICHED_TSV, True),
        (DelimitedText(",", quoted=True), False),
        (AvroContainer(), False),
    ],
)
def test_what_has_a_header_does_not_fit_a_message(form: Format, fits: bool):
    assert fits_a_message(form) is fits
