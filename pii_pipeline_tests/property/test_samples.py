"""Samples of any contract are valid in every format, as other libraries read them."""

from __future__ import annotations

import io
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pii_pipeline.contracts.model import Contract
from pii_pipeline.formats.kinds import JSON, SNOWPLOW_ENRICHED_TSV, AvroContainer, DelimitedText, Format
from pii_pipeline.samples.generic import generate_generic
from pii_pipeline.samples.planted import Planted
from pii_pipeline_tests.unit.samples.reference import Reference, csv_fields, csv_records
from pii_pipeline_tests.unit.validation.building import contract

END = datetime(2026, 7, 22, 10, 55, 30, tzinfo=UTC)
EVENTS = 25
AVRO_NAMES = ["a", "B", "c_", "string", "record", "x1", "event", "long_name_of_a_field"]
CSV_NAMES = [
    "a",
    "B",
    "c d",
    'q"t',
    "com,ma",
    "semi;colon",
    "two\nlines",
    "ü",
    "c/d",
    "til~de",
    " blank ",
    "1",
]
PATTERNS = ["^[A-Z]{2,4}$", r"^\d+(,\d{2})?$", '^"?[a-c]+"?$', "^[a-z]+[\n ][a-z]+$", "é"]
TEXT_TIMES = [None, "%Y-%m-%d %H:%M:%S", "%d/%m/%Y %H:%M", "%Y%m%dT%H%M%S.%f%z", "%Y-%m-%d"]
NUMBER_TIMES = [None, "epoch_s", "epoch_ms", "epoch_us"]
RULES: list[dict[str, Any]] = [
    {"field": "note", "not_empty": True},
    {"field": "note", "max_length": 20},
    {"field": "note", "min_length": 3},
    {"field": "note", "regex": "[a-z]"},
    {"field": "size", "min": 5},
    {"field": "size", "max": 9},
]
ZONES = ["UTC", "Europe/London", "Asia/Kolkata", "America/New_York"]


@st.composite
def schemas(draw: st.DrawFn, names: list[str], depth: int = 2) -> Any:
    kind = draw(st.sampled_from(["text", "number", "boolean", "any", "object", "array"][: 6 if depth else 4]))
    null = ["null"] if draw(st.booleans()) else []
    if kind == "text":
        texts: list[dict[str, Any]] = [
            {"minLength": 3, "maxLength": 6},
            {"pattern": draw(st.sampled_from(PATTERNS))},
            {"enum": ["", "a,b", 'c"d', "e\nf", " g ", "ü", "h"]},
            {"format": draw(st.sampled_from(["email", "date-time", "uuid", "ipv6"]))},
            {},
        ]
        return {"type": ["string", *null]} | draw(st.sampled_from(texts))
    if kind == "number":
        return {
            "type": [draw(st.sampled_from(["integer", "number"])), *null],
            "minimum": draw(st.sampled_from([-3, 0, 2.5, 1e6])),
        }
    if kind == "boolean":
        return {"type": ["boolean", *null]}
    if kind == "any":
        opaque: list[Any] = [{}, {"type": ["string", "integer"]}, {"type": "object"}, {"type": "array"}]
        opaque += [{"oneOf": [{"type": "string"}, {"type": "integer"}]}, {"enum": [1, "two", None, [3]]}]
        return draw(st.sampled_from(opaque))
    if kind == "object":
        return {"type": ["object", *null], **draw(objects(names, depth - 1))}
    return {"type": ["array", *null], "items": draw(schemas(names, depth - 1)), "maxItems": 2}


@st.composite
def objects(draw: st.DrawFn, names: list[str], depth: int) -> dict[str, Any]:
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True))
    required = draw(st.lists(st.sampled_from(chosen), unique=True))
    return {"properties": {name: draw(schemas(names, depth)) for name in chosen}, "required": required}


@st.composite
def contracts(draw: st.DrawFn, names: list[str]) -> Contract:
    fields = draw(objects(names, 2))
    text = draw(st.booleans())
    times = {"at": {"type": "string" if text else "integer"}, "who": {"type": ["string", "null"]}}
    ruled = {"note": {"type": "string"}, "size": {"type": ["integer", "null"]}}
    schema = {
        "type": "object",
        "properties": {**times, **ruled, **fields["properties"]},
        "required": ["at", *fields["required"]],
    }
    return contract(
        schema,
        time_field="at",
        key_field="who",
        validations=draw(st.lists(st.sampled_from(RULES), unique_by=str)),
        time_format=draw(st.sampled_from(TEXT_TIMES if text else NUMBER_TIMES)),
        time_zone=draw(st.sampled_from(ZONES)),
    )


def made(contract: Contract, format: Format) -> bytes:
    planted = Planted()
    content = b"".join(generate_generic(contract, EVENTS, 3, END, planted, format, bad=0))
    assert (planted.records, planted.validated) == (EVENTS, EVENTS)
    assert b"".join(generate_generic(contract, EVENTS, 3, END, Planted(), format, bad=0)) == content
    return content


def spoilt(contract: Contract, format: Format) -> tuple[bytes, Counter[str]]:
    """A sample of as many bad events as there can be, and what they are to be called."""
    planted = Planted()
    content = b"".join(generate_generic(contract, EVENTS, 3, END, planted, format, bad=1))
    assert planted.records == EVENTS
    assert planted.bad.total() == planted.failure_types.total() == EVENTS - planted.validated
    return content, planted.failure_types


def check(contract: Contract, events: list[Any]) -> None:
    """Each event is valid, and the times are those they were made for."""
    reference = Reference(contract, END)
    assert [reference.judge_event(event) for event in events] == [None] * EVENTS
    times = [reference.moment(event["at"]) for event in events]
    coarse = {"%Y-%m-%d": timedelta(days=1), "%d/%m/%Y %H:%M": timedelta(minutes=1)}
    step = coarse.get(contract.time_format or "", timedelta(seconds=1))
    for number, time in enumerate(times):
        moment = END - timedelta(hours=1) * (1 - number / EVENTS)
        assert time is not None and moment - step <= time <= moment


readily = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@readily
@given(
    contracts(CSV_NAMES),
    st.sampled_from([",", ";", "\t", "|", " "]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "windows-1252"]),
)
def test_csv_of_any_contract_is_valid(made_for: Contract, delimiter: str, encoding: str) -> None:
    content = made(made_for, DelimitedText(delimiter, quoted=True, encoding=encoding))
    header, *records = csv_records(content, delimiter, encoding)
    columns = csv_fields(header, delimiter) or []
    assert columns == [name for name, _ in made_for.record.fields]
    event_of = Reference(made_for, END).event_of
    rows = [csv_fields(record, delimiter) or [] for record in records]
    check(made_for, [event_of(dict(zip(columns, row, strict=True))) for row in rows])


@readily
@given(contracts(AVRO_NAMES))
def test_avro_of_any_contract_is_valid(made_for: Contract) -> None:
    check(made_for, list(fastavro.reader(io.BytesIO(made(made_for, AvroContainer())))))


@readily
@given(contracts(CSV_NAMES))
def test_bad_json_is_bad_for_the_reason_that_is_counted(made_for: Contract) -> None:
    content, planted = spoilt(made_for, JSON)
    judge = Reference(made_for, END).judge
    assert Counter(filter(None, map(judge, content.splitlines()))) == planted
    assert planted["not_json"] > 0


@readily
@given(
    contracts(CSV_NAMES),
    st.sampled_from([",", ";", "\t", "|", " ", "/"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "windows-1252"]),
)
def test_bad_csv_is_bad_for_the_reason_that_is_counted(
    made_for: Contract, delimiter: str, encoding: str
) -> None:
    content, planted = spoilt(made_for, DelimitedText(delimiter, quoted=True, encoding=encoding))
    header, *records = csv_records(content, delimiter, encoding)
    columns = csv_fields(header, delimiter) or []
    reference = Reference(made_for, END)
    found = [
        reference.judge_fields(record, columns, csv_fields(record, delimiter) or []) for record in records
    ]
    assert (len(found), Counter(filter(None, found))) == (EVENTS, planted)
    assert planted["malformed_record"] > 0


@readily
@given(contracts(AVRO_NAMES))
def test_bad_avro_is_bad_for_the_reason_that_is_counted(made_for: Contract) -> None:
    content, planted = spoilt(made_for, AvroContainer())
    events = list(fastavro.reader(io.BytesIO(content)))
    judge = Reference(made_for, END).judge_event
    assert (len(events), Counter(filter(None, map(judge, events)))) == (EVENTS, planted)
    assert planted["rule_violation"] > 0


@readily
@given(contracts(["event", "page_url", "contexts", "tr_total", "user_id"]))
def test_columns_without_quotes_hold_what_they_can(made_for: Contract) -> None:
    format = DelimitedText(
        "\t", quoted=False, columns=("at", "who", "note", "size", *(SNOWPLOW_ENRICHED_TSV.columns or ()))
    )
    *lines, end = made(made_for, format).decode().split("\n")
    assert end == "" and {line.count("\t") for line in lines} == {134}
    event_of = Reference(made_for, END).event_of
    rows = [dict(zip(format.columns or (), line.split("\t"), strict=True)) for line in lines]
    check(made_for, [event_of({name: text for name, text in row.items() if text}) for row in rows])
