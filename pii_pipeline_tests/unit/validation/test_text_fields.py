"""Delimited records: two ways from texts to typed rows that never disagree; reasons that quote nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_pipeline.contracts.model import Contract
from pii_pipeline.validation import Validated, Validator
from pii_pipeline_tests.unit.validation.building import (
    ARRIVED,
    DRAFT4,
    DRAFT2020,
    EARLIEST,
    LATEST,
    contract,
)

DOCUMENT = {
    "type": "object",
    "required": ["schema", "data"],
    "properties": {},
    "additionalProperties": {"$ref": "#/$defs/anything"},
}
SCHEMA: dict[str, Any] = {
    "$schema": DRAFT2020,
    "type": "object",
    "required": ["when"],
    "properties": {
        "when": {"type": "string"},
        "key": {"type": "string"},
        "count": {"type": "integer", "minimum": 0},
        "price": {"type": "number", "maximum": 1000},
        "open": {"type": "boolean"},
        "kind": {"enum": ["view", "buy"]},
        "code": {"type": "string", "pattern": "^[A-Z]+$"},
        "odd": {"type": "string", "not": {"const": "no"}},
        "document": DOCUMENT,
        "levels": {"type": "array", "items": {"type": "integer"}},
    },
    "$defs": {"anything": {"not": {"const": "forbidden"}}},
}
CONTRACT = contract(SCHEMA, time_field="when", validations=[{"field": "count", "max": 99}])
GOOD = {"when": "2026-11-22T10:00:00Z", "key": "k"}


@dataclass
class Fault:
    row: int
    rule: str
    message: str


@dataclass
class Fields:
    columns: dict[str, pa.Array]
    faults: list[Fault] = field(default_factory=list)


def fields(rows: list[dict[str, str]], *names: str) -> Fields:
    known = list(dict.fromkeys([*SCHEMA["properties"], *names]))
    return Fields({name: pa.array([row.get(name) or None for row in rows], pa.string()) for name in known})


def strict_only(made: Contract) -> Validator:
    validator = Validator(made)
    vars(validator)["_text_screen"] = NoScreen()
    return validator


class NoScreen:
    def run(self, columns: Any, size: int) -> None:
        return None


def run(validator: Validator, taken: Fields, size: int) -> Validated:
    raw = pa.array([b"raw"] * size, pa.large_binary())
    arrival = pa.array([ARRIVED] * size, pa.timestamp("us", tz="UTC"))
    return validator.validate(raw, None, EARLIEST, LATEST, arrival, taken)


def screened(rows: list[dict[str, str]], *names: str) -> list[bool]:
    """Which rows the screen alone accepts."""
    validator = Validator(CONTRACT)
    found = validator._text_screen.run(fields(rows, *names).columns, len(rows))
    return [] if found is None else found.accepted.tolist()


@pytest.fixture(params=[Validator, strict_only], ids=["both paths", "strict path alone"])
def validator(request: pytest.FixtureRequest) -> Validator:
    return request.param(CONTRACT)


def test_texts_become_what_the_schema_declares(validator: Validator):
    row = {
        **GOOD, "count": "007", "price": "2.50", "open": "TRUE", "kind": "buy", "code": "ABC", "odd": "yes",
        "document": '{"schema": "s", "data": [1, {"b": 2.0, "a": "ü"}]}', "levels": "[1,2]",
    }  # fmt: skip
    result = run(validator, fields([row, GOOD]), 2)
    assert result.failures == []
    first, second = result.table.to_pylist()
    assert (first["count"], first["price"], first["open"], first["kind"]) == (7, 2.5, True, "buy")
    assert first["document"] == '{"data":[1,{"a":"ü","b":2.0}],"schema":"s"}'
    assert first["levels"] == [1, 2]
    assert {name for name, value in second.items() if value is not None} == {"when", "key", "_event_time"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"when": ""}, ("schema_violation", "when", "required")),
        ({"when": "yesterday"}, ("rule_violation", "when", "time_format")),
        ({"key": ""}, ("empty_key", "key", "key_field")),
        ({"count": "seven"}, ("schema_violation", "count", "type")),
        ({"count": "7.0"}, ("schema_violation", "count", "type")),
        ({"count": "-1"}, ("schema_violation", "count", "minimum")),
        ({"count": "100"}, ("rule_violation", "count", "max")),
        ({"count": "9" * 30}, ("unrepresentable", "count", "type")),
        ({"count": "9" * 5000}, ("schema_violation", "count", "type")),
        ({"count": "٣"}, ("schema_violation", "count", "type")),
        ({"price": "1e999"}, ("schema_violation", "price", "type")),
        ({"price": "NaN"}, ("schema_violation", "price", "type")),
        ({"price": "1,5"}, ("schema_violation", "price", "type")),
        ({"price": "1000.5"}, ("schema_violation", "price", "maximum")),
        ({"open": "yes"}, ("schema_violation", "open", "type")),
        ({"kind": "sell"}, ("schema_violation", "kind", "enum")),
        ({"code": "abc"}, ("schema_violation", "code", "pattern")),
        ({"odd": "no"}, ("schema_violation", "odd", "not")),
        ({"document": "{"}, ("not_json", "document", "syntax")),
        ({"document": '{"schema":1,"schema":1,"data":1}'}, ("not_json", "document", "duplicate_key")),
        ({"document": '{"schema":1}'}, ("schema_violation", "document/data", "required")),
        ({"document": '{"schema":"forbidden","data":1}'}, ("schema_violation", "document", "not")),
        ({"levels": "1,2"}, ("not_json", "levels", "syntax")),
        ({"levels": '["1"]'}, ("schema_violation", "levels[]", "type")),
    ],
)
def test_reasons(validator: Validator, change: dict[str, str], reason: tuple[str, str, str]):
    result = run(validator, fields([GOOD, {**GOOD, **change}, GOOD]), 3)
    assert result.rows.tolist() == [0, 2]
    (failure,) = result.failures
    assert (failure.row, failure.type, failure.path, failure.rule) == (1, *reason)
    value = next(iter(change.values()))
    assert len(value) < 4 or value not in failure.message


def test_faults_are_bad_records_and_no_others_are(validator: Validator):
    taken = fields([GOOD, {}, GOOD, {}])
    taken.faults = [Fault(1, "columns", "has 3 columns, not 2"), Fault(3, "encoding", "not UTF-8 at byte 5")]
    result = run(validator, taken, 4)
    assert result.rows.tolist() == [0, 2]
    assert [(f.row, f.type, f.rule) for f in result.failures] == [
        (1, "malformed_record", "columns"),
        (3, "not_utf8", "encoding"),
    ]


def test_undeclared_columns_are_kept_aside(validator: Validator):
    rows = [
        {**GOOD, "b": "two", "a/x": "one"},
        {**GOOD, "b": 'quote " and \\'},
        GOOD,
        {**GOOD, "a/x": "ü", "b~": "\x01"},
    ]
    result = run(validator, fields(rows, "b", "a/x", "b~"), 4)
    unlisted = [None if text is None else json.loads(text) for text in result.table["_unlisted"].to_pylist()]
    assert unlisted == [
        {"a~1x": "one", "b": "two"},
        {"b": 'quote " and \\'},
        None,
        {"a~1x": "ü", "b~0": "\x01"},
    ]


def test_a_subject_is_told_where_it_can_be_read(validator: Validator):
    made = contract(SCHEMA, time_field="when", data_subject={"field": "key", "namespace": "customer"})
    bad = [{**GOOD, "key": "ann", "count": "x"}, {**GOOD, "key": "bob", "document": "{"}]
    result = run(Validator(made), fields(bad), 2)
    assert [failure.subject for failure in result.failures] == ["ann", "bob"]


def test_the_screen_is_sure_of_plain_rows():
    rows = [
        {**GOOD, "count": "7", "price": "2.5", "open": "1", "kind": "view", "code": "A", "new": "column"},
        {**GOOD, "document": '{"schema":"s","data":{"x":[1,"a"]}}', "levels": "[]"},
        {**GOOD, "document": '{"schema": "with blanks", "data": 1e3}'},
    ]
    assert screened(rows, "new") == [True, True, True]
    assert screened([{**GOOD, "odd": "yes"}]) == [False]


@pytest.mark.parametrize(
    "change",
    [{"minProperties": 2}, {"additionalProperties": False}, {"if": {"required": ["kind"]}, "then": False}],
)
def test_what_is_said_of_whole_records_is_left_to_the_strict_path(change: dict[str, Any]):
    made = contract({**SCHEMA, **change}, time_field="when")
    assert Validator(made)._text_screen.run(fields([GOOD]).columns, 1) is None
    assert run(Validator(made), fields([GOOD]), 1).rows.tolist() == [0]


def test_draft_04_references_reach_the_root():
    schema = {
        "$schema": DRAFT4,
        "type": "object",
        "properties": {
            "key": {"type": "string"},
            "a b/c%": {"$ref": "#/definitions/document"},
        },
        "definitions": {"document": {"type": "object", "required": ["x"]}},
    }
    validator = Validator(contract(schema))
    texts = Fields({"key": pa.array(["k", "k"]), "a b/c%": pa.array(['{"x":1}', '{"y":1}'])})
    assert validator._text_screen.run(texts.columns, 2).accepted.tolist() == [True, False]  # type: ignore[union-attr]
    result = run(validator, texts, 2)
    assert [(f.row, f.path, f.rule) for f in result.failures] == [(1, "a b~1c%/x", "required")]


TEXTS = st.one_of(
    st.sampled_from(
        ["", "0", "-1", "+5", "007", "1.5", ".5", "5.", "1e3", "true", "False", "view", "A", "no", "[1]",
         "[1,]", "{}", '{"schema":1,"data":2}', '{"schema":1,"data":1e400}', "null", '"x"', "[[]]",
         '{"data":0.1,"schema":"\\u00e4"}', '{"schema":1,"data":{"a":1,"a":1}}',
         '{"schema":1,"data":"\\ud800"}', '{"schema":123456789012345678901,"data":-0.0}',
         "2026-11-22T10:00:00Z", "2026-11-22 10:00:00.123456789"]
    ),
    st.text(max_size=6).map(lambda text: text.encode("utf-8", "replace").decode()),
)  # fmt: skip


@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(st.dictionaries(st.sampled_from([*SCHEMA["properties"], "new", "n~w"]), TEXTS), max_size=5))
def test_both_paths_give_the_same(rows: list[dict[str, str]]):
    rows = [{**GOOD, **row} for row in rows]
    taken = fields(rows, "new", "n~w")
    both, strict = (run(make(CONTRACT), taken, len(rows)) for make in (Validator, strict_only))
    assert both.rows.tolist() == strict.rows.tolist()
    assert both.failures == strict.failures
    assert both.table.equals(strict.table)
    assert np.array_equal(np.union1d(both.rows, [f.row for f in both.failures]), np.arange(len(rows)))
