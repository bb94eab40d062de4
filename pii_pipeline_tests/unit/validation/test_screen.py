"""The screen accepts what it should, and nothing that it is not sure of."""

from __future__ import annotations

import itertools
import json
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from pii_pipeline.contracts.schema import compile_schema, dialect
from pii_pipeline.validation import Validator
from pii_pipeline.validation import screen as screen_module
from pii_pipeline.validation.plan import compile_plan
from pii_pipeline.validation.screen import Screen
from pii_pipeline_tests.unit.validation.building import DRAFT4, contract, run, strict_only


def accepted(properties: dict[str, Any], *records: Any, **keywords: Any) -> list[bool]:
    """Which records (values, or JSON text) the screen accepts under these properties."""
    schema = {"type": "object", "properties": properties, **keywords}
    plan = compile_plan(compile_schema(schema).record, schema, dialect(schema))
    assert plan is not None
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records]
    found = Screen(plan).run(pa.array(lines, pa.string()))
    assert found is not None
    assert len(found.values) == len(found.accepted) == len(lines)
    return found.accepted.tolist()


def test_plain_good_records_are_accepted():
    properties = {
        "s": {"type": ["string", "null"], "minLength": 1, "pattern": "^a"},
        "o": {"type": "object", "required": ["n"], "properties": {"n": {"type": "number", "minimum": 0}}},
        "l": {"type": "array", "items": {"type": "object", "properties": {"i": {"type": "integer"}}}},
        "ll": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
    }
    good = [
        {},
        {"s": "aü😀"},
        {"s": None},
        {"o": {"n": 1}},
        {"l": []},
        {"l": [{"i": -1}, {}]},
        {"ll": [[], [1, 2]]},
    ]
    assert accepted(properties, *good) == [True] * len(good)


def test_what_duckdb_reads_more_leniently_than_json_is_not_accepted():
    lenient = ['{"n":1,}', '{"n":NaN}', '{"n":Infinity}', '{"n":-inf}', '{"n":1e400}', "[]", '"x"', "null"]
    lenient += ['{"n":1}}', "", '{"n":1 }x', '{"l":[1 ,\n]}', '{"l":["1"]}', '{"n":"1"}', '{"n":true}']
    properties = {"n": {"type": "number"}, "l": {"type": "array", "items": {"type": "integer"}}}
    assert accepted(properties, *lenient) == [False] * len(lenient)


def test_malformed_lines_cost_their_neighbours_nothing_even_when_they_look_whole():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    plan = compile_plan(compile_schema(schema).record, schema, dialect(schema))
    assert plan is not None
    screen = Screen(plan)
    # Of the last, DuckDB's message breaks off in the middle of a character.
    whole = pa.array(['{"n":1}', "{'n':1}", '{"n":1}}', "{}", "{a" + "ü" * 60 + "}"], pa.string())
    assert Screen(plan).run(whole[4:]) is not None
    for lines in (whole[:1], whole, whole, pa.array(["{", "}", "", None, '{"n":2}'], pa.large_string())):
        found = screen.run(lines)
        assert found is not None
        assert found.accepted.tolist() == [text in ('{"n":1}', "{}", '{"n":2}') for text in lines.to_pylist()]


def test_undeclared_and_duplicate_keys_are_not_accepted_anywhere():
    inner = {"type": "object", "properties": {"x": {"type": "integer"}}}
    properties = {"x": {"type": "integer"}, "o": inner, "l": {"type": "array", "items": inner}}
    bad = [
        '{"x":1,"x":1}',
        '{"x":1,"y":1}',
        '{"o":{"x":1,"x":2}}',
        '{"o":{"y":1}}',
        '{"l":[{"x":1},{"y":1}]}',
    ]
    bad += ['{"l":[{"x":1,"x":1}]}', '{"o":{},"o":{}}', '{"\\u0078":1,"x":1}']
    assert accepted(properties, *bad) == [False] * len(bad)
    assert accepted(properties, '{"l":[{"x":1},{}]}', '{"o":{"x":1}}') == [True, True]


EVERYTHING: dict[str, Any] = {
    "a": {"type": "string"},
    "b": {"type": ["string", "null"]},
    "n": {"type": "number"},
    "i": {"type": "integer"},
    "t": {"type": "boolean"},
    "o": {"type": "object", "properties": {"x": {"type": ["integer", "null"]}, "y": {"type": "string"}}},
    "p": {"type": ["object", "null"], "required": ["x"], "properties": {"x": {"type": "string"}}},
    "l": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": ["string", "null"]}}}},
    "s": {"type": "array", "items": {"type": ["string", "null"]}},
    "u": {"type": "array", "items": {"type": "string"}},
    "q": {"type": ["array", "null"], "items": {"type": ["boolean", "null"]}},
}


@pytest.mark.parametrize(
    "line",
    [
        '{"b":null,"a":"\\"","n":1}',
        '{"a": "x", "b": null, "n": 1.5}',
        '{\n "a" : "x",\n "n" : 1\n}',
        '{"o":{"x":null},"p":null,"q":null}',
        '{"l":[{"x":null},{},{"x":"a"}]}',
        r'{"s":["a","\"b\"","",null,"\u00e9\n","]"],"u":[]}',
        '{"q":[true,null,false],"t":true}',
        r'{"a":"{\"x\":1, \"y\" : \"z\"}","b":"x\\"}',
        r'{"\u0061":"x"}',
        '{"a":"x!:y"}',
        '{"n":-0,"i":-0}',
        '{"n":1e-7,"i":12345678901234567}',
    ],
)
def test_odd_spellings_of_good_records_are_accepted(line: str):
    assert accepted(EVERYTHING, line) == [True]


@pytest.mark.parametrize(
    "line",
    [
        # one key too many, and one that hides or looks like one more
        '{"zz"  :1,"a":":"}',
        '{"a":"x","zz"\t :1}',
        r'{"zz\\":1}',
        r'{"zz\\":1,"a":"q\":"}',
        '{"zz":null}',
        '{"o":{"x":1,"b":null}}',
        '{"l":[{"x":"a","zz":null}]}',
        # names that are nearly declared
        '{"A":"x"}',
        r'{"a\u0000b":"x"}',
        # a key twice, which may hide in a null
        '{"b":null,"b":"x"}',
        '{"b":"x","b":null}',
        '{"b":null,"b":null}',
        '{"l":[{"x":null,"x":"a"}]}',
        '{"l":[{"x":"a","x":null}]}',
        '{"o":{"x":1},"o":null}',
        '{"p":null,"p":{"x":"y"}}',
        # one text too few, and one too many
        '{"a":1,"i":"1"}',
        '{"a":true,"t":"true"}',
        '{"a":1,"o":"s"}',
        '{"a":NaN}',
        '{"a":["x"]}',
        '{"a":{}}',
        '{"a":\n 1,"b":\n"x"}',
        # null, and values of other kinds
        '{"a":null}',
        '{"l":null}',
        '{"p":{}}',
        '{"p":5}',
        '{"o":5}',
        '{"o":[]}',
        '{"o":[{"x":1}]}',
        '{"l":[5]}',
        '{"l":{}}',
        '{"s":[1]}',
        '{"u":[null]}',
        '{"q":["true"]}',
        '{"q":[nan]}',
        '{"n":-NaN}',
        '{"i":true}',
        pytest.param('{"i":' + "1" * 5000 + "}", id="long integer"),
        # not JSON
        '{"a":"x",\n }',
        '{"a":"x"}}',
        '{"n":01}',
        '{"n":.5}',
        '{"a":"\ty"}',
        r'{"a":"\ud800"}',
        r'{"a":"\x"}',
        '{"a":"x"/**/}',
    ],
)
def test_nothing_else_is_accepted_even_if_two_faults_cancel_each_other_out(line: str):
    assert accepted(EVERYTHING, line, "{}") == [False, True]


def test_null_among_the_elements_is_only_accepted_where_it_is_written_and_allowed():
    number = {"l": {"type": "array", "items": {"type": ["number", "null"]}}}
    lines = ['{"l":[null,1]}', '{"l":[1e400]}', '{"l":[NaN]}', '{"l":[-Infinity,null]}', '{"l":["1"]}']
    assert accepted(number, *lines) == [True, False, False, False, False]
    inner = {"type": ["array", "null"], "items": {"type": "object", "properties": {"x": {"type": "integer"}}}}
    nested = {"o": {"type": "object", "properties": {"l": {"type": "array", "items": inner}}}}
    records = [
        {"o": {"l": [None, [{"x": 1}, {}], []]}},
        {"o": {"l": [[None]]}},
        {"o": {"l": None}},
        {},
    ]
    assert accepted(nested, *records) == [True, False, False, True]
    schema = {"type": "object", "properties": {"key": {"type": "string"}, **nested}}
    rows = (
        run(Validator(contract(schema)), {"key": "k"} | records[0], {"key": "k"})
        .table.column("o")
        .to_pylist()
    )
    assert rows == [{"l": [None, [{"x": 1}, {"x": None}], []]}, None]


def test_a_record_may_break_off_anywhere_also_at_the_end_of_all():
    """Within a null it looked like one whose last letter lay beyond the end, and that was written to."""
    record = b'{"key":"k","text": null,"number":null}'
    types = {"key": "string", "text": ["string", "null"], "number": ["number", "null"]}
    made = contract({"type": "object", "properties": {key: {"type": kind} for key, kind in types.items()}})
    for length in range(1, len(record)):
        result = run(Validator(made), record, record[:length])
        assert result.rows.tolist() == [0]
        assert [failure.type for failure in result.failures] == ["not_json"]


def test_a_null_is_a_null_and_what_looks_like_the_screens_mark_for_it_is_itself():
    places = {
        "text": {"type": "string"},
        "list": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
        "object": {"type": "object", "properties": {"x": {"type": ["string", "null"]}}},
        "number": {"type": "number"},
    }
    nullable = {
        f"{name} or null": {**schema, "type": [schema["type"], "null"]} for name, schema in places.items()
    }
    inner = {"type": "array", "items": {"type": "object", "properties": places | nullable}}
    properties = {"key": {"type": "string"}, **places, **nullable, "inner": inner}
    values = ["null", '"[[]]"', "[[]]", "[]", '"[]"', '["[]"]', "{}", '{"x":null}', '{"x":"[[]]"}', "1"]
    pairs = [
        f'"{one}":{this},"{other}": {that}'
        for one, other in itertools.combinations((*places, *nullable, "undeclared"), 2)
        for this, that in itertools.product(values, repeat=2)
    ]
    records = [f'{{"key":"k",{pair}}}' for pair in pairs]
    records += [f'{{"key":":null","inner":[{{{pair}}},{{}}]}}' for pair in pairs[::7]]
    records += [f'{{"key":"k","inner":[{{{pair}}},{{}}]}}' for pair in pairs[::7]]
    raw = [record.encode() for record in records]
    made = contract({"type": "object", "properties": properties})
    both, strict = run(Validator(made), *raw), run(strict_only(made), *raw)
    assert both.rows.tolist() == strict.rows.tolist()
    assert both.table.equals(strict.table)
    assert both.failures == strict.failures
    plain = ['{"text or null":null,"list or null":null,"object or null": null,"number or null":null}']
    assert accepted(properties, *plain, '{"text":"[[]]"}', '{"text or null":"[]"}') == [True, False, True]


def test_integers_must_fit_and_be_written_as_integers():
    records = ['{"i":9223372036854775807}', '{"i":-9223372036854775808}', '{"i":9223372036854775808}']
    records += ['{"i":-9223372036854775809}', '{"i":1.0}', '{"i":1e2}']
    assert accepted({"i": {"type": "integer"}}, *records) == [True, True, False, False, False, False]
    within_list = {"l": {"type": "array", "items": {"type": "integer"}}}
    assert accepted(within_list, '{"l":[1,9223372036854775808]}', '{"l":[1]}') == [False, True]


def test_numbers_that_a_double_may_have_rounded_are_not_accepted():
    records = [f'{{"n":{2**53 - 1}}}', f'{{"n":{2**53}}}', f'{{"n":{2**53 + 1}}}', '{"n":1e16}', '{"n":-0.0}']
    assert accepted({"n": {"type": "number"}}, *records) == [True, False, False, False, True]


def test_bounds_at_the_ends_of_64_bits_and_beyond():
    values = [{"v": 2**63 - 1}, {"v": 2**63 - 2}, {"v": 0}, {"v": -(2**63)}]
    whole = {"v": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}}
    assert accepted(whole, *values) == [True] * 4
    assert accepted({"v": {"type": "integer", "maximum": 2**63 - 2}}, *values) == [False, True, True, True]
    assert accepted({"v": {"type": "integer", "exclusiveMaximum": 1e300}}, *values) == [True] * 4
    assert accepted({"v": {"type": "integer", "minimum": 10**400}}, *values) == [False] * 4
    assert accepted({"v": {"type": "number", "maximum": 10**400, "minimum": -0.5}}, {"v": 1}, {"v": -1}) == [
        True,
        False,
    ]


@pytest.mark.parametrize("kind", ["integer", "number"])
def test_bounds_in_both_dialects(kind: str):
    values = [{"v": 1}, {"v": 2}, {"v": 3}]
    assert accepted({"v": {"type": kind, "minimum": 2}}, *values) == [False, True, True]
    assert accepted({"v": {"type": kind, "maximum": 2}}, *values) == [True, True, False]
    assert accepted({"v": {"type": kind, "exclusiveMinimum": 2}}, *values) == [False, False, True]
    assert accepted({"v": {"type": kind, "exclusiveMaximum": 2}}, *values) == [True, False, False]
    assert accepted({"v": {"type": kind, "exclusiveMinimum": 1.5, "maximum": 2.5}}, *values) == [
        False,
        True,
        False,
    ]
    draft4 = {"v": {"type": kind, "minimum": 2, "exclusiveMinimum": True}}
    assert accepted(draft4, *values, **{"$schema": DRAFT4}) == [False, False, True]
    draft4 = {"v": {"type": kind, "maximum": 2, "exclusiveMaximum": False}}
    assert accepted(draft4, *values, **{"$schema": DRAFT4}) == [True, True, False]


def test_enum_tells_true_from_one_and_one_from_text():
    assert accepted({"v": {"type": "integer", "enum": [1, 2.0, True]}}, {"v": 1}, {"v": 2}, {"v": 0}) == [
        True, True, False,
    ]  # fmt: skip
    assert accepted({"v": {"type": "boolean", "enum": [True, 0]}}, {"v": True}, {"v": False}) == [True, False]
    assert accepted({"v": {"type": "number", "enum": [0]}}, '{"v":-0.0}', '{"v":0}', '{"v":1}') == [
        True,
        True,
        False,
    ]
    listed = {"v": {"type": ["string", "null"], "enum": ["a", "1"]}}
    assert accepted(listed, {"v": "a"}, {"v": "1"}, {"v": None}, {"v": "b"}) == [True, True, False, False]


def test_names_that_only_differ_in_case_or_cannot_be_spelt_cost_only_their_records():
    properties = {
        name: {"type": "integer"} for name in ("a", "A", "st*r", "nu\0l", "b", 'q"t', "b\\s", "it's", "c/d")
    }
    records = [{name: 1} for name in properties]
    assert accepted(properties, *records) == [False] * 4 + [True] * 5
    schema = {"type": "object", "properties": {"key": {"type": "string"}, **properties}}
    result = run(Validator(contract(schema)), *({"key": "k"} | record for record in records))
    assert result.failures == []
    rows = result.table.to_pylist()
    assert [rows[n][name] for n, name in enumerate(properties)] == [1] * len(properties)
    assert all(sum(value == 1 for value in row.values()) == 1 for row in rows)


def test_length_counts_characters_not_bytes():
    text = {"v": {"type": "string", "minLength": 2, "maxLength": 2}}
    assert accepted(text, {"v": "😀ü"}, {"v": "😀"}, {"v": "abc"}) == [True, False, False]
    items = {"v": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1}}
    assert accepted(items, {"v": []}, {"v": ["a"]}, {"v": ["a", "b"]}) == [False, True, False]


def test_a_required_field_beyond_the_screen_leaves_no_plan():
    schema = {"type": "object", "required": ["v"], "properties": {"v": {"type": ["string", "integer"]}}}
    assert compile_plan(compile_schema(schema).record, schema, dialect(schema)) is None
    schema = {"type": "object", "minProperties": 1, "properties": {"v": {"type": "string"}}}
    assert compile_plan(compile_schema(schema).record, schema, dialect(schema)) is None


def test_a_reference_is_followed_but_not_with_siblings_that_may_tighten_it():
    definitions = {"small": {"type": "integer", "maximum": 3}}
    tight = {"v": {"$ref": "#/$defs/small", "maximum": 1}}
    assert accepted({"w": {"type": "string"}} | tight, {"v": 2}, **{"$defs": definitions}) == [False]
    plain = {"v": {"$ref": "#/$defs/small", "description": "small"}}
    assert accepted(plain, {"v": 3}, {"v": 4}, **{"$defs": definitions}) == [True, False]


def test_when_the_engine_gives_up_the_strict_path_decides_and_nothing_is_quoted(monkeypatch, caplog):
    def fail(*_: Any) -> pa.Table:
        raise duckdb.InvalidInputException("Malformed JSON: sentinel-value")

    monkeypatch.setattr(screen_module, "query", fail)
    schema = {"type": "object", "properties": {"key": {"type": "string"}}}
    result = run(Validator(contract(schema)), {"key": "k"}, {"key": 1}, {"key": "sentinel-value"})
    assert result.rows.tolist() == [0, 2]
    assert "gave up on 3 records (InvalidInputException)" in caplog.text
    assert "sentinel" not in caplog.text
