"""What is read out of enriched events, and what is said of those that cannot be read."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from pii_pipeline.relay.transformations import (
    COLUMNS,
    UNSTRUCT_EVENT,
    Replaced,
    Unreadable,
    read_line,
    read_unstruct_event,
)
from pii_pipeline_tests.pii_events import (
    CANARY,
    TRANSFORMATION,
    in_json,
    line,
    mapped,
    other_event,
    pii_event,
    pojo,
    self_describing,
    transformation,
)
from pii_pipeline_tests.shared_data import shared_data


def test_the_columns_are_those_of_snowplow():
    from pii_pipeline.formats import SNOWPLOW_ENRICHED_TSV

    names = SNOWPLOW_ENRICHED_TSV.columns
    assert names is not None and len(names) == COLUMNS and names[UNSTRUCT_EVENT] == "unstruct_event"


def test_columns_and_both_shapes_of_json_are_read_in_order():
    column = transformation(
        {"pojo": [pojo("a1", "jane"), pojo("b2", "")], "json": [in_json("c3", "x"), mapped("d4", "y")]}
    )
    expected = [Replaced("a1", "jane"), Replaced("b2", ""), Replaced("c3", "x"), Replaced("d4", "y")]
    assert read_line(line(column)) == expected
    assert read_line(line(column) + b"\r\n") == expected


@pytest.mark.parametrize("pii", [{"pojo": []}, {"json": []}, {"pojo": [], "json": []}])
def test_an_event_in_which_nothing_was_replaced_is_one_all_the_same(pii: dict[str, list[Any]]):
    assert read_line(line(transformation(pii))) == []


@pytest.mark.parametrize("text", ["Zoë Ñandú", "名前", "\U0001f600", "a\x00b", 'tab\there "quoted" \\ back'])
def test_text_of_all_kinds_comes_out_as_it_was(text: str):
    assert read_line(pii_event(("m", text))) == [Replaced("m", text)]


@pytest.mark.parametrize("version", ["1-0-0", "1-0-7", "1-2-0"])
def test_later_revisions_are_read(version: str):
    assert read_unstruct_event(transformation({"pojo": [pojo("m", "o")]}, version)) == [Replaced("m", "o")]


def test_other_events_are_passed_by():
    assert read_line(line()) is None and read_line(other_event()) is None
    almost = TRANSFORMATION.replace("pii_transformation", "pii_transformations")
    assert read_unstruct_event(self_describing(f"{almost}/1-0-0", {"pii": 1})) is None


UNREADABLE: list[tuple[str, bytes]] = [
    ("not_utf8", b"\xff" + other_event()),
    ("not_enriched", b""),
    ("not_enriched", other_event() + b"\t"),
    ("not_enriched", other_event().replace(b"\t", b"", 1)),
    ("not_enriched", CANARY.encode()),
    ("not_json", line(f"{{{CANARY}")),
    ("not_json", line("[" * 100_000)),
    ("not_json", line("1" * 10_000)),
    ("schema_violation", line(f'"{CANARY}"')),
    ("schema_violation", line(json.dumps({"schema": "x", "data": {"schema": [CANARY]}}))),
    ("schema_violation", line(json.dumps({"schema": "x", "data": CANARY}))),
    ("schema_violation", line(transformation({"pojo": [pojo("m", CANARY)]}, "2-0-0"))),
    ("schema_violation", line(transformation({"pojo": [pojo("m", CANARY)]}, "1-0-x"))),
    ("schema_violation", line(self_describing(f"{TRANSFORMATION}/1-0-0", None))),
    ("schema_violation", line(self_describing(f"{TRANSFORMATION}/1-0-0", {"pii": [CANARY]}))),
    ("schema_violation", line(transformation({}))),
    ("schema_violation", line(transformation({"pojo": {"m": CANARY}}))),  # pyright: ignore[reportArgumentType]
    ("schema_violation", line(transformation({"pojo": [CANARY]}))),
    ("schema_violation", line(transformation({"json": [{}]}))),
    ("schema_violation", line(transformation({"json": [{"fieldMapping": None}]}))),
    ("schema_violation", line(transformation({"pojo": [{"originalValue": CANARY}]}))),
    ("schema_violation", line(transformation({"pojo": [{"modifiedValue": 1, "originalValue": CANARY}]}))),
    ("unfit", pii_event(("", CANARY))),
    ("unfit", pii_event(("m" * 1_025, CANARY))),
    ("unfit", pii_event(("m", CANARY), ("n", "x" * 65_537))),
    ("unfit", pii_event(("m", "\ud800" + CANARY))),
]


@pytest.mark.parametrize(("reason", "raw"), UNREADABLE)
def test_what_cannot_be_read_says_why_and_quotes_nothing(reason: str, raw: bytes):
    with pytest.raises(Unreadable) as raised:
        read_line(raw)
    assert raised.value.reason == reason
    error = raised.value
    assert CANARY not in f"{error!r} {error}" and (error.__context__ is None or error.__suppress_context__)


def test_the_longest_that_the_vault_takes_is_read():
    longest = Replaced("m" * 1_024, "é" * 32_768)
    assert read_line(pii_event((longest.pseudonym, longest.original))) == [longest]


def test_values_are_in_no_repr():
    assert CANARY not in repr(read_line(pii_event((CANARY, CANARY))))


def test_the_examples_keep_to_snowplows_schema_and_its_sample_events_are_others():
    folder = shared_data() / "snowplow"
    file = folder / "schemas" / "com.snowplowanalytics.snowplow__pii_transformation__jsonschema__1-0-0.json"
    schema = json.loads(file.read_text())
    column = transformation({"pojo": [pojo("m", "o")], "json": [in_json("m", "o"), mapped("m", "o")]})
    jsonschema.Draft4Validator(schema).validate(json.loads(column)["data"]["data"])
    numbered = (folder / "enriched_fields_131.txt").read_text().splitlines()
    assert len(numbered) == COLUMNS and "unstruct_event" in numbered[UNSTRUCT_EVENT]
    for events in sorted(folder.glob("enriched_*.tsv")):
        whole = [each for each in events.read_bytes().splitlines() if each.count(b"\t") == COLUMNS - 1]
        assert len(whole) >= 48 and [read_line(each) for each in whole] == [None] * len(whole)
