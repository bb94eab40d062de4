"""Each kind of bad record gets its reason, costs nobody else, and nothing it says leaks into the reason."""

from __future__ import annotations

import json
import pickle
import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_pipeline.validation import Validator
from pii_pipeline_tests.unit.validation.building import (
    ARRIVED,
    DRAFT4,
    EARLIEST,
    LATEST,
    contract,
    encoded,
    only_failure,
    run,
    strict_only,
)

ITEM = {
    "type": "object",
    "required": ["sku"],
    "properties": {"sku": {"type": "string"}, "price": {"type": "number"}},
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["ts", "key"],
    "properties": {
        "ts": {"type": "string"},
        "key": {"type": ["string", "null"]},
        "user": {"type": ["integer", "string", "null"]},
        "id": {"type": "integer"},
        "email": {"type": ["string", "null"], "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "score": {"type": "number"},
        "kind": {"enum": ["view", "buy"]},
        "product": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}},
        "items": {"type": "array", "maxItems": 3, "items": ITEM},
        "closed": {"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": False},
        "choice": {"oneOf": [{"type": "string"}, {"type": "object", "required": ["inner"]}]},
        "meta": {"type": "object", "properties": {"contract": {"type": "string"}}},
    },
}
RULES = [
    {"field": "email", "regex": r"^[^@\s]+@[^@\s]+$"},
    {"field": "items[]/price", "min": 0},
    {"field": "kind", "enum": ["view", "buy"]},
    {"field": "items[]/sku", "min_length": 2},
    {"field": "items", "max_length": 2},
]
SETTINGS: dict[str, Any] = {
    "time_field": "ts", "validations": RULES, "data_subject": {"field": "user", "namespace": "customer"},
}  # fmt: skip
CONTRACT = contract(SCHEMA, **SETTINGS)
GOOD = {"ts": "2026-11-22T10:00:00Z", "key": "k"}


@pytest.fixture(params=[Validator, strict_only], ids=["both paths", "strict path alone"])
def validator(request: pytest.FixtureRequest) -> Validator:
    return request.param(CONTRACT)


BAD: list[tuple[Any, tuple[str, str, str]]] = [
    (b'{"key":"\xff"}', ("not_utf8", "", "encoding")),
    (b"", ("not_json", "", "syntax")),
    (b'{"ts":"2026-11-22T10:00:00Z","key":"k",}', ("not_json", "", "syntax")),
    (b'{"ts":"2026-11-22T10:00:00Z","key":"k"} {}', ("not_json", "", "syntax")),
    (b'\xef\xbb\xbf{"key":"k"}', ("not_json", "", "syntax")),
    (b'{"ts":"2026-11-22T10:00:00Z","key":"k","score":NaN}', ("not_json", "", "constant")),
    (b'{"ts":"2026-11-22T10:00:00Z","key":"k","score":-Infinity}', ("not_json", "", "constant")),
    (b'{"ts":"2026-11-22T10:00:00Z","key":"k","key":"k"}', ("not_json", "", "duplicate_key")),
    (b'{"ts":"2026-11-22T10:00:00Z","key":"k","u":[{"a":1,"a":1}]}', ("not_json", "", "duplicate_key")),
    (b'{"ts":"2026-11-22T10:00:00Z","key":"\\ud83d"}', ("not_json", "", "lone_surrogate")),
    (b'{"ts":"2026-11-22T10:00:00Z","key":"k","\\udc00":1}', ("not_json", "", "lone_surrogate")),
    (b'{"u":' + b"[" * 200 + b"]" * 200 + b"}", ("not_json", "", "nesting")),
    (b'{"u":' + b"[" * 100_000 + b"]" * 100_000 + b"}", ("not_json", "", "nesting")),
    (b'{"u":' + b"1" * 5000 + b"}", ("not_json", "", "number_length")),
    ([GOOD], ("schema_violation", "", "type")),
    (None, ("schema_violation", "", "type")),
    ({"ts": GOOD["ts"]}, ("schema_violation", "key", "required")),
    (GOOD | {"age": 1.5}, ("schema_violation", "age", "type")),
    (GOOD | {"age": True}, ("schema_violation", "age", "type")),
    (GOOD | {"age": None}, ("schema_violation", "age", "type")),
    (GOOD | {"age": -1}, ("schema_violation", "age", "minimum")),
    (GOOD | {"age": 151}, ("schema_violation", "age", "maximum")),
    (GOOD | {"email": "a@" + "b" * 40}, ("schema_violation", "email", "maxLength")),
    (GOOD | {"kind": "sell"}, ("schema_violation", "kind", "enum")),
    (GOOD | {"product": {}}, ("schema_violation", "product/sku", "required")),
    (GOOD | {"items": [{"sku": "aa"}, {"price": 1}]}, ("schema_violation", "items[]/sku", "required")),
    (GOOD | {"items": [{"sku": "aa"}, {"sku": 1}]}, ("schema_violation", "items[]/sku", "type")),
    (GOOD | {"items": [{"sku": "aa"}] * 4}, ("schema_violation", "items", "maxItems")),
    (GOOD | {"closed": {"secret key": 1}}, ("schema_violation", "closed", "additionalProperties")),
    (GOOD | {"choice": {"secret key": 1}}, ("schema_violation", "choice", "oneOf")),
    (GOOD | {"id": 2**63}, ("unrepresentable", "id", "type")),
    (GOOD | {"id": -(2**63) - 1}, ("unrepresentable", "id", "type")),
    (b'{"ts":"2026-11-22T10:00:00Z","key":"k","score":1e400}', ("unrepresentable", "", "number_range")),
    (b'{"ts":"2026-11-22T10:00:00Z","key":"k","u":[-1E+0400 ]}', ("unrepresentable", "", "number_range")),
    (b'{"u":[1' + b"0" * 250 + b"e99]}", ("unrepresentable", "", "number_range")),
    (
        b'{"ts":"2026-11-22T10:00:00Z","key":"k","score":1' + b"0" * 400 + b"}",
        ("unrepresentable", "score", "type"),
    ),
    (GOOD | {"key": ""}, ("empty_key", "key", "key_field")),
    (GOOD | {"key": None}, ("empty_key", "key", "key_field")),
    (GOOD | {"email": "nobody"}, ("rule_violation", "email", "regex")),
    (
        GOOD | {"items": [{"sku": "aa", "price": 1}, {"sku": "aa", "price": -1}]},
        ("rule_violation", "items[]/price", "min"),
    ),
    (GOOD | {"items": [{"sku": "a"}]}, ("rule_violation", "items[]/sku", "min_length")),
    (GOOD | {"items": [{"sku": "aa"}] * 3}, ("rule_violation", "items", "max_length")),
    (GOOD | {"ts": "yesterday"}, ("rule_violation", "ts", "time_format")),
    (GOOD | {"ts": "2026-11-14T23:59:59Z"}, ("rule_violation", "ts", "time_bounds")),
    (GOOD | {"ts": "2026-11-22T11:00:00.000001Z"}, ("rule_violation", "ts", "time_bounds")),
]


def test_every_kind_of_bad_record_has_its_reason_and_costs_no_neighbour(validator: Validator):
    records: list[Any] = []
    for number, (bad, _) in enumerate(BAD):
        records += [GOOD | {"id": number}, bad]
    result = run(validator, *records)
    assert result.rows.tolist() == list(range(0, len(records), 2))
    assert result.table["id"].to_pylist() == list(range(len(BAD)))
    assert [failure.row for failure in result.failures] == list(range(1, len(records), 2))
    for (bad, expected), failure in zip(BAD, result.failures, strict=True):
        assert (failure.type, failure.path, failure.rule) == expected, encoded(bad)[0][:200]


def test_the_bounds_of_time_are_inclusive_and_arrival_time_is_not_held_against_them(validator: Validator):
    edges = [GOOD | {"ts": moment.isoformat()} for moment in (EARLIEST, LATEST)]
    result = run(validator, *edges)
    assert result.failures == []
    assert result.table["_event_time"].to_pylist() == [EARLIEST, LATEST]
    by_arrival = Validator(contract(SCHEMA))
    raw = pa.array(encoded(GOOD), pa.binary())
    arrival = pa.array([ARRIVED], pa.timestamp("us", tz="UTC"))
    result = by_arrival.validate(raw, None, LATEST, LATEST, arrival)
    assert result.table["_event_time"].to_pylist() == [ARRIVED]


def test_records_cut_off_are_too_large_whatever_they_say(validator: Validator):
    result = run(validator, GOOD, GOOD, b'{"key":"\xc3', too_large=[False, True, True])
    assert [(f.row, f.type, f.subject) for f in result.failures] == [
        (1, "too_large", None),
        (2, "too_large", None),
    ]
    assert result.rows.tolist() == [0]


def test_further_reasons_are_counted(validator: Validator):
    failure = only_failure(run(validator, GOOD | {"age": "x", "email": 1, "closed": {"y": 1}}))
    assert (failure.path, failure.message) == ("age", "not of type integer (and 2 more)")
    failure = only_failure(run(validator, GOOD | {"email": "x", "ts": "x"}))
    assert (failure.rule, failure.message) == ("regex", "does not match the contract's regex (and 1 more)")


def test_a_very_large_record_is_rejected_without_listing_every_reason(validator: Validator):
    failure = only_failure(run(validator, GOOD | {"items": [1] * 300_000}))
    assert failure.type == "schema_violation"
    assert "more)" not in failure.message


def test_the_subject_is_told_where_it_can_be_read_and_stays_out_of_the_repr(validator: Validator):
    users = [42, "4711-user", None, True, "", [7]]
    result = run(validator, *(GOOD | {"age": -1, "user": user} for user in users), b"{", GOOD | {"age": -1})
    assert [failure.subject for failure in result.failures] == [
        "42",
        "4711-user",
        None,
        None,
        None,
        None,
        None,
        None,
    ]
    assert "4711" not in repr(result.failures)


def test_another_contract_is_unknown_before_anything_else_is_looked_at():
    named = [GOOD | {"meta": {"contract": name}} for name in ("acme/event/1.0.0", "acme/event/2.0.0")]
    for make in (Validator, strict_only):
        result = run(make(CONTRACT, "meta/contract"), *named, GOOD, {"meta": {"contract": 1}})
        assert result.rows.tolist() == [0]
        assert [failure.type for failure in result.failures] == ["unknown_contract"] * 3
    undeclared = Validator(CONTRACT, "strmMeta/eventContractRef")
    meta = {"strmMeta": {"eventContractRef": "acme/event/1.0.0"}}
    result = run(undeclared, GOOD | meta, GOOD)
    assert result.rows.tolist() == [0]


def test_undeclared_keys_go_to_unlisted_with_their_place(validator: Validator):
    extra = {
        "z/y": {"b": 1, "a": "ü"},
        "product": {"sku": "aa", "x": None},
        "items": [{"sku": "aa"}, {"sku": "bb", "p": 1}],
    }
    result = run(validator, GOOD, GOOD | extra, GOOD)
    assert result.table["_unlisted"].to_pylist() == [
        None, '{"items[1]/p":1,"product/x":null,"z~1y":{"a":"ü","b":1}}', None,
    ]  # fmt: skip
    assert result.table["items"].to_pylist()[1] == [
        {"sku": "aa", "price": None},
        {"sku": "bb", "price": None},
    ]


def test_values_of_several_types_are_canonical_json(validator: Validator):
    values = [{"inner": 1, "a": [1.0, "ü"]}, "text"]
    result = run(validator, *(GOOD | {"choice": value} for value in values))
    assert result.table["choice"].to_pylist() == ['{"a":[1.0,"ü"],"inner":1}', '"text"']


def test_whole_doubles_are_integers_in_2020_12_and_not_in_draft_04():
    whole = {"type": "object", "properties": {"key": {"type": "string"}, "n": {"type": "integer"}}}
    record = b'{"key":"k","n":1.0}'
    assert run(Validator(contract(whole)), record).table["n"].to_pylist() == [1]
    draft4 = run(Validator(contract({"$schema": DRAFT4, **whole})), record)
    assert only_failure(draft4).rule == "type"


def test_schema_patterns_are_ecma_262_and_contract_regexes_are_pythons():
    digits = {"type": "string", "pattern": r"^\d$"}
    schema = {
        "type": "object",
        "properties": {"key": {"type": "string"}, "v": digits, "w": {"type": "string"}},
    }
    made = contract(schema, validations=[{"field": "w", "regex": r"^\d$"}])
    arabic = "\u0663"
    for make in (Validator, strict_only):
        records = [
            {"key": "k", "v": arabic},
            {"key": "k", "v": "3\n"},
            {"key": "k", "w": arabic},
            {"key": "k", "w": "3\n"},
        ]
        assert run(make(made), *records).rows.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ({"field": "s", "regex": r"\bab\b"}, ["x ab", None], ["xab", "üab"]),
        ({"field": "s", "not_empty": True}, ["a"], ["", None]),
        ({"field": "l", "not_empty": True}, [["a"]], [[], None]),
        ({"field": "n", "min": 0.5}, [0.5, 1, None], [0.4, -1]),
        ({"field": "i", "max": 2}, [2, None, -5], [3]),
        ({"field": "i", "enum": [1, 2]}, [1, 2, None], [0]),
        ({"field": "b", "enum": [True]}, [True, None], [False]),
        ({"field": "n", "enum": [1, 0.5]}, [1, 1.0, 0.5], [2]),
        ({"field": "l[]", "regex": "^a"}, [["a", "ab"], [], None], [["a", "b"]]),
        ({"field": "s", "max_length": 2}, ["üü", ""], ["abc"]),
    ],
)
def test_rules_judge_alike_on_both_paths(rule: dict[str, Any], good: list[Any], bad: list[Any]):
    types = {"s": "string", "n": "number", "i": "integer", "b": "boolean"}
    properties: dict[str, Any] = {name: {"type": [kind, "null"]} for name, kind in types.items()}
    properties |= {"key": {"type": "string"}, "l": {"type": ["array", "null"], "items": {"type": "string"}}}
    made = contract({"type": "object", "properties": properties}, validations=[rule])
    records = [{"key": "k", rule["field"].removesuffix("[]"): value} for value in (*good, *bad)]
    both, strict = run(Validator(made), *records), run(strict_only(made), *records)
    assert both.rows.tolist() == list(range(len(good)))
    assert both.failures == strict.failures
    assert both.table.equals(strict.table)


def test_an_empty_chunk_and_one_without_any_good_record_have_the_same_columns(validator: Validator):
    empty, bad, good = run(validator), run(validator, b"{"), run(validator, GOOD)
    assert empty.table.schema == bad.table.schema == good.table.schema
    assert (empty.table.num_rows, bad.table.num_rows) == (0, 0)
    assert good.table.schema.names[-2:] == ["_event_time", "_unlisted"]
    assert empty.rows.dtype == bad.rows.dtype == good.rows.dtype == np.int64


def test_slices_and_large_binary_are_read_like_any_other(validator: Validator):
    raw = pa.array([b"\xff", *encoded(GOOD, GOOD | {"age": -1}, GOOD), b"\xff"], pa.large_binary()).slice(
        1, 3
    )
    arrival = pa.array([ARRIVED] * 3, pa.timestamp("us", tz="UTC"))
    result = validator.validate(raw, None, EARLIEST, LATEST, arrival)
    assert result.rows.tolist() == [0, 2]
    assert result.failures[0].row == 1


def test_line_breaks_and_nul_inside_a_record_matter_to_nobody(validator: Validator):
    result = run(validator, b'{\r\n"ts":"2026-11-22T10:00:00Z",\n"key":"a\\u0000b"\n}', b"{\x00}", GOOD)
    assert result.rows.tolist() == [0, 2]
    assert result.table["key"].to_pylist() == ["a\0b", "k"]


def test_a_validator_travels_to_another_process_and_serves_several_threads():
    used = Validator(CONTRACT)
    run(used, GOOD)
    copy = pickle.loads(pickle.dumps(used))
    records = [bad if number % 3 == 0 else GOOD | {"id": number} for number, (bad, _) in enumerate(BAD * 5)]
    expected = run(used, *records)
    results: list[Any] = []

    def work() -> None:
        results.extend(run(copy, *records) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    assert all(r.table.equals(expected.table) and r.failures == expected.failures for r in results)


SENTINEL = "sentinel7731"
planted = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.just(7731), st.just(7731.5), st.just(SENTINEL), st.just(SENTINEL + "@x")
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.just(SENTINEL + "key"), inner, max_size=1)
    ),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None, database=None)
@given(
    st.dictionaries(st.sampled_from([*SCHEMA["properties"], SENTINEL]), planted),
    st.sampled_from(["", "}", ",", "\udcff"]),
)
def test_no_reason_holds_a_value_or_a_key_of_the_record(fields: dict[str, Any], tail: str):
    raw = json.dumps(GOOD | fields).encode() + tail.encode("utf-8", "surrogateescape")
    result = run(Validator(CONTRACT), raw)
    for failure in result.failures:
        said = f"{failure.path} {failure.rule} {failure.message} {failure!r}"
        assert "7731" not in said
