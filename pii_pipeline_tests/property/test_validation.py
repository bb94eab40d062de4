"""The verdict on random records under random schemas equals the reference library's, on either path."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from pii_pipeline.validation import Validated, Validator
from pii_pipeline_tests.unit.validation.building import DRAFT4, DRAFT2020, contract, run, strict_only

NAMES = ["a", "b", "A", "a b", "c/d", 'q"t', "back\\slash", "dot.ted", "ü", "st*r", "type", "$ref", "[0]"]
# Without \w on letters beyond ASCII, and without newlines: there the reference library (Python's regular
# expressions) departs from ECMA-262, which JSON Schema asks for and which we follow.
ALPHABET = 'abcü😀@ 1-\x7f\u00a0\\",}]'
PATTERNS = ["^a", "b$", "^[a-c]+$", r"^[^@\s]+@[^@\s]+$", r"^\d{1,2}$", r"\S", "^.{1,3}$", "^(a|bc)*$", r"\D"]
PATTERNS += ["a(?=b)", r"[\s-]", "^(?:a|)$", "[^a]", r"(.)\1"]
NUMBERS = [0, 1, -1, 1.0, -0.0, 0.5, 2, 3, 1e2, 2**31, 2**53, 2**53 + 1, -(2**63), 2**63 - 1, 2**63]
NUMBERS += [2**64, -(2**64), 1e300, 0.1, 2.5, -7]

texts = st.one_of(
    st.sampled_from(["", "a", "ab", "abc", "a@b", "12", "1.0", "null", "[[]]"]), st.text(ALPHABET, max_size=5)
)
numbers = st.one_of(st.sampled_from(NUMBERS), st.integers(-5, 5), st.floats(-5, 5))
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def schemas(draw: st.DrawFn, draft4: bool, depth: int = 2) -> Any:
    kinds = ["string", "integer", "number", "boolean"] * 2 + ["object", "array"] * (3 if depth else 0)
    kinds.append("opaque")
    kind = draw(st.sampled_from(kinds))
    if kind == "opaque":
        return draw(opaque(draft4))
    schema: dict[str, Any] = {"type": kind}
    if draw(st.integers(0, 3)) == 0:
        schema["type"] = [kind, "null"]

    def maybe(keyword: str, values: st.SearchStrategy[Any]) -> None:
        if draw(st.integers(0, 3)) == 3:
            schema[keyword] = draw(values)

    if kind == "string":
        maybe("minLength", st.integers(0, 3))
        maybe("maxLength", st.integers(1, 4))
        maybe("pattern", st.sampled_from(PATTERNS))
        maybe("format", st.sampled_from(["email", "date-time"]))
    elif kind in ("integer", "number"):
        low = st.one_of(st.integers(-3, 1), st.floats(-3, 1), st.just(-(2**53) - 1))
        high = st.one_of(st.integers(1, 4), st.floats(1, 4), st.sampled_from([2**53, 2**53 + 1, 1e18]))
        maybe("minimum", low)
        maybe("maximum", high)
        for keyword, values in (("exclusiveMinimum", low), ("exclusiveMaximum", high)):
            if not draft4:
                maybe(keyword, values)
            elif keyword.replace("exclusiveM", "m") in schema:
                maybe(keyword, st.booleans())
    elif kind == "array":
        schema["items"] = draw(schemas(draft4, depth - 1))
        maybe("minItems", st.integers(0, 2))
        maybe("maxItems", st.integers(2, 3))
        if draw(st.integers(0, 5)) == 5:
            schema["uniqueItems"] = True
    elif kind == "object":
        schema.update(draw(objects(draft4, depth - 1)))
    if kind != "object" and kind != "array":
        alike = {"string": texts, "boolean": st.booleans()}.get(kind, numbers)
        values = st.lists(
            st.one_of(alike, alike, alike, scalars), min_size=1, max_size=4, unique_by=json.dumps
        )
        maybe("enum", values)
        if not draft4 and draw(st.integers(0, 7)) == 7:
            schema["const"] = draw(scalars)
    return schema


@st.composite
def objects(draw: st.DrawFn, draft4: bool, depth: int) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    schema: dict[str, Any] = {"properties": {name: draw(schemas(draft4, depth)) for name in names}}
    required = draw(st.lists(st.sampled_from([*names, *names, "undeclared"]), max_size=2, unique=True))
    if required:
        schema["required"] = required
    if draw(st.integers(0, 3)) == 0:
        schema["additionalProperties"] = draw(st.one_of(st.booleans(), st.just({"type": "string"})))
    return schema


def opaque(draft4: bool) -> st.SearchStrategy[Any]:
    common: list[Any] = [
        {},
        {"type": ["string", "integer"]},
        {"oneOf": [{"type": "string"}, {"minimum": 1}]},
        {"not": {"type": "string"}},
        {"type": "string", "not": {"enum": ["a"]}},
        {"type": "integer", "multipleOf": 2, "maximum": 2**53},
        {"$ref": "#/definitions/short"},
        {"$ref": "#/definitions/node"},
        {"$ref": "#/definitions/node", "minimum": 1, "maxLength": 1},
        {"type": "object", "patternProperties": {"^a": {"type": "string"}}},
        {"type": "object", "minProperties": 1, "properties": {"a": {"type": "string"}}},
        {"enum": ["a", None, 1]},
        {"enum": ["a", "b"]},
        {"properties": {"a": {"type": "integer"}}},
    ]
    if not draft4:
        common += [True, {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}}]
        common += [{"type": "string", "if": {"minLength": 2}, "then": {"pattern": "^a"}}, {"const": "a"}]
        common += [{"type": "object", "properties": {"a": False}}]
    else:
        common += [{"type": "array", "items": [{"type": "string"}]}, {"type": "string", "const": "b"}]
    return st.sampled_from(common)


@st.composite
def roots(draw: st.DrawFn) -> dict[str, Any]:
    draft4 = draw(st.booleans())
    root = draw(objects(draft4, 2))
    root["properties"]["key"] = {"type": ["string", "null"]}
    node = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "next": {"$ref": "#/definitions/node"}},
    }
    definitions = {"short": {"type": "string", "maxLength": 2}, "node": node}
    return {"$schema": DRAFT4 if draft4 else DRAFT2020, "type": "object", "definitions": definitions, **root}


@st.composite
def instances(draw: st.DrawFn, schema: Any, root: dict[str, Any]) -> Any:
    """A value that is often, but not always, valid under `schema`."""
    if not isinstance(schema, dict) or draw(st.integers(0, 29)) == 29:
        return draw(anything)
    if "$ref" in schema:
        schema = root["definitions"][schema["$ref"].rpartition("/")[2]]
    if "enum" in schema and draw(st.integers(0, 3)) < 3:
        return draw(st.sampled_from(schema["enum"]))
    if "const" in schema and draw(st.integers(0, 3)) < 3:
        return schema["const"]
    types = schema.get("type", "any")
    kind = types if isinstance(types, str) else draw(st.sampled_from(types))
    if kind == "object":
        value = {
            name: draw(instances(child, root))
            for name, child in schema.get("properties", {}).items()
            if name in schema.get("required", []) or draw(st.integers(0, 2)) < 2
        }
        if draw(st.integers(0, 9)) == 9:
            value[draw(st.sampled_from([*NAMES, "undeclared"]))] = draw(anything)
        if value and draw(st.integers(0, 19)) == 19:
            del value[draw(st.sampled_from(sorted(value)))]
        return value
    if kind == "array" and isinstance(schema.get("items"), dict):
        return draw(st.lists(instances(schema["items"], root), max_size=3))
    of_kind: dict[str, st.SearchStrategy[Any]] = {
        "string": texts, "boolean": st.booleans(), "null": st.none(), "number": numbers,
        "integer": st.one_of(st.integers(-4, 4), st.integers(-4, 4), st.sampled_from(NUMBERS)),
    }  # fmt: skip
    return draw(of_kind.get(kind, anything))


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], list[Any], bool]:
    schema = draw(roots())
    objects_only = instances(schema, schema).filter(lambda value: isinstance(value, dict))
    records = [draw(objects_only) | ({"key": "k"} if draw(st.integers(0, 9)) < 9 else {}) for _ in range(8)]
    records.append(draw(anything))
    return schema, records, draw(st.booleans())


def has_wide_number(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(has_wide_number, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float) and not -(2**63) <= value < 2**63


def outcome(result: Validated) -> tuple[list[int], dict[str, list[Any]], list[Any]]:
    return result.rows.tolist(), result.table.to_pydict(), result.failures


# What could make the screen miscount, or take for JSON what is none.
FRAGMENTS = [
    '"',
    ":",
    ",",
    "\\",
    "{",
    "}",
    "[",
    "]",
    " ",
    "  ",
    "\n",
    "1",
    "0",
    "-",
    ".",
    "e5",
    "null",
    "NaN",
    "x",
]
FRAGMENTS += [
    '":',
    '\\":',
    '\\\\":',
    '":"',
    '" :',
    '"  :',
    '" : "',
    ": ",
    ",}",
    ", ]",
    "{}",
    "[]",
    '""',
    "\\u0061",
]
FRAGMENTS += [
    f'"{key}"{colon}{value},'
    for key in ["a", "b", "A", "zz", "zz\\\\", "\\u0061", ":", "", "a\\u0000"]
    for colon in [":", " :", ": ", "\t:", " : "]
    for value in ["1", "null", '"[[]]"', "[[]]", '"x"', '":"', "NaN", "{}", '{"a":null}', "[1]", '["x"]']
]


@st.composite
def spellings(draw: st.DrawFn, record: Any) -> bytes:
    """The record as JSON text, in one of many ways, with a few damages or none."""
    separators = st.sampled_from(
        [(",", ":"), (",", ":"), (", ", ": "), (" , ", " : "), (",\n", ":\t"), (",", "  :")]
    )
    text = json.dumps(
        record,
        ensure_ascii=draw(st.booleans()),
        separators=draw(separators),
        indent=draw(st.sampled_from([None, None, 1])),
    )
    for _ in range(draw(st.integers(0, 3))):
        places = [at for at, letter in enumerate(text) if letter in '{}[],:"']
        at = draw(st.sampled_from(places)) if places else 0
        at += draw(st.integers(0, 1))
        text = text[:at] + draw(st.sampled_from(FRAGMENTS)) + text[at + draw(st.integers(0, 1)) :]
    return text.encode()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(st.data())
def test_the_screen_accepts_no_damaged_text_that_the_strict_path_does_not(data: st.DataObject) -> None:
    schema, records, _ = data.draw(cases())
    raw = [data.draw(spellings(record)) for record in records]
    note(f"{schema} {raw}")
    made = contract(schema)
    assert outcome(run(Validator(made), *raw)) == outcome(run(strict_only(made), *raw))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(cases())
def test_the_verdict_is_the_reference_librarys_on_both_paths(
    case: tuple[dict[str, Any], list[Any], bool],
) -> None:
    schema, records, ascii_only = case
    cls = jsonschema.Draft4Validator if schema["$schema"] == DRAFT4 else jsonschema.Draft202012Validator
    reference = cls(schema)
    raw = [json.dumps(record, ensure_ascii=ascii_only).encode() for record in records]
    note(f"{schema} {raw}")
    made = contract(schema)
    both = run(Validator(made), *raw)
    strict = run(strict_only(made), *raw)

    assert outcome(both) == outcome(strict)
    assert both.table.schema == strict.table.schema
    both.table.validate(full=True)
    failed = {failure.row: failure for failure in both.failures}
    assert sorted([*failed, *both.rows.tolist()]) == list(range(len(records)))
    for row, record in enumerate(records):
        valid = reference.is_valid(record)
        if row not in failed:
            assert valid
        elif valid and failed[row].type == "unrepresentable":
            assert has_wide_number(record)
        elif valid:
            assert failed[row].type == "empty_key" and record.get("key") in (None, "")
        else:
            assert failed[row].type == "schema_violation"
