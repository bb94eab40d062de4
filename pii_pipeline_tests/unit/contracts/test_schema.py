"""JSON Schema → record type."""

import json

import pytest

from pii_pipeline.contracts.record_type import ListOf, Node, Record, Scalar, walk
from pii_pipeline.contracts.schema import SchemaError, compile_schema, dialect, resolve
from pii_pipeline_tests.shared_data import shared_data

DRAFT_04 = "http://json-schema.org/draft-04/schema#"
JSON = Scalar("json")
STRING = Scalar("string")


def typed(part: object, **root: object) -> Node:
    """The type of a property with this schema."""
    record = compile_schema({"type": "object", "properties": {"a": part}, **root}).record
    ((_, node),) = record.fields
    return node


def problem_of(schema: object) -> tuple[tuple[object, ...], str, str]:
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema)
    (problem,) = caught.value.problems
    return problem.location, problem.problem, problem.mend


@pytest.mark.parametrize(
    ("part", "node"),
    [
        ({"type": "string"}, STRING),
        ({"type": ["string"]}, STRING),
        ({"type": ["string", "null"]}, STRING),
        ({"type": ["null", "integer"]}, Scalar("integer")),
        ({"type": "number"}, Scalar("number")),
        ({"type": "boolean"}, Scalar("boolean")),
        ({"type": "string", "oneOf": [{"minLength": 1}]}, STRING),
        ({"enum": ["a", "b", None]}, STRING),
        ({"enum": [1, 2]}, Scalar("integer")),
        ({"enum": [1, 2.5]}, Scalar("number")),
        ({"enum": [True, False]}, Scalar("boolean")),
        ({"const": "a"}, STRING),
        ({"enum": [1, True]}, JSON),
        ({"enum": [1, "a"]}, JSON),
        ({"enum": [None]}, JSON),
        ({"enum": [[1], [2]]}, JSON),
        ({"type": "null"}, JSON),
        ({"type": ["string", "integer"]}, JSON),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, JSON),
        ({"anyOf": [{"type": "string"}]}, JSON),
        ({"minLength": 1}, JSON),
        ({}, JSON),
        (True, JSON),
        (False, JSON),
        ({"type": "object"}, JSON),
        ({"type": "object", "properties": {}}, JSON),
        ({"type": "object", "additionalProperties": {"type": "string"}}, JSON),
        ({"type": ["object", "null"], "properties": {"b": {"type": "string"}}}, Record((("b", STRING),))),
        ({"type": "array"}, JSON),
        ({"type": "array", "items": {"type": "string"}}, ListOf(STRING)),
        ({"type": "array", "items": True}, ListOf(JSON)),
        ({"type": "array", "items": {"type": "array", "items": {}}}, ListOf(ListOf(JSON))),
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}}, JSON),
    ],
)
def test_type_of_a_property(part, node):
    assert typed(part) == node


def test_columns_keep_the_schemas_order():
    names = ["z", "a", "m"]
    record = compile_schema({"type": "object", "properties": {name: {} for name in names}}).record
    assert [name for name, _ in record.fields] == names


def test_draft_04_differs_where_the_dialects_do():
    tuples = {"type": "array", "items": [{"type": "string"}]}
    assert typed(tuples, **{"$schema": DRAFT_04}) == JSON
    # const came with draft-06, boolean exclusiveMinimum went with it
    assert typed({"const": "a"}, **{"$schema": DRAFT_04}) == JSON
    assert typed({"type": "integer", "minimum": 0, "exclusiveMinimum": True}, **{"$schema": DRAFT_04})
    with pytest.raises(SchemaError, match="properties/a/items: not valid 2020-12"):
        typed(tuples)
    # a reference's siblings are nothing there, and hold too in 2020-12
    schema = {"$ref": "#/definitions/a", "type": "string"}
    definitions = {"a": {"enum": [1, "b"]}}
    assert typed(schema, definitions=definitions, **{"$schema": DRAFT_04}) == JSON
    assert typed(schema, definitions=definitions) == STRING


@pytest.mark.parametrize(
    "uri",
    [
        "http://json-schema.org/draft-04/schema",
        DRAFT_04,
        "http://iglucentral.com/schemas/com.snowplowanalytics.self-desc/schema/jsonschema/1-0-0#",
    ],
)
def test_draft_04_and_the_way_snowplow_writes_it(uri):
    assert dialect({"$schema": uri}) == "draft-04"


def test_any_other_dialect_is_refused():
    location, problem, mend = problem_of({"$schema": "http://json-schema.org/draft-07/schema#"})
    assert location == ("$schema",)
    assert "draft-07" in problem
    assert "2020-12/schema" in mend


def test_snowplows_own_schemas_compile():
    folder = shared_data() / "snowplow" / "schemas"
    file = next(folder.glob("*pii_transformation*"))
    paths = dict(walk(compile_schema(json.loads(file.read_text())).record))
    assert paths["pii/pojo[]/fieldName"] == STRING


def test_references_are_followed():
    definitions = {
        "address": {"type": "object", "properties": {"town": {"$ref": "#/$defs/text"}}},
        "text": {"type": "string"},
        "odd/name %": {"type": "boolean"},
    }
    assert typed({"$ref": "#/$defs/address"}, **{"$defs": definitions}) == Record((("town", STRING),))
    assert typed({"$ref": "#/$defs/odd~1name%20%25"}, **{"$defs": definitions}) == Scalar("boolean")
    extended = {"$ref": "#/$defs/address", "properties": {"zip": {"type": "string"}}}
    assert typed(extended, **{"$defs": definitions}) == Record((("town", STRING), ("zip", STRING)))
    root = {"$ref": "#/$defs/address", "$defs": definitions}
    assert compile_schema(root).record == Record((("town", STRING),))


def test_recursion_ends_as_json_text():
    assert typed({"$ref": "#"}) == JSON
    tree = {"type": "object", "properties": {"v": {"type": "string"}, "below": {"$ref": "#/$defs/tree"}}}
    node = typed({"$ref": "#/$defs/tree"}, **{"$defs": {"tree": tree}})
    assert node == Record((("v", STRING), ("below", JSON)))
    assert typed({"$ref": "#/$defs/a"}, **{"$defs": {"a": {"$ref": "#/$defs/a"}}}) == JSON


def test_definitions_that_multiply_are_refused_and_do_not_hang():
    definitions = {
        f"d{n}": {"type": "object", "properties": {k: {"$ref": f"#/$defs/d{n + 1}"} for k in "abcdefgh"}}
        for n in range(8)
    }
    definitions["d8"] = {"type": "string"}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions}
    assert "more than 10,000 fields" in problem_of(schema)[1]


@pytest.mark.parametrize(
    "reference", ["http://example.com/x.json", "other.json#/a", "#anchor", "https://example.com/#/a"]
)
def test_a_reference_out_of_the_file_is_refused_wherever_it_stands(reference):
    schema = {"type": "object", "properties": {"a": {"oneOf": [{"$ref": reference}]}}}
    location, problem, mend = problem_of(schema)
    assert location == ("properties", "a", "oneOf", 0, "$ref")
    assert reference in problem
    assert "#/$defs/NAME" in mend


def test_a_reference_to_nothing_is_refused():
    location, problem, _ = problem_of({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}})
    assert location == ("properties", "a", "$ref")
    assert "'#/$defs/b' leads nowhere" in problem


def test_a_property_called_ref_and_data_that_looks_like_a_reference_are_none():
    schema = {
        "type": "object",
        "properties": {"$ref": {"type": "string"}, "b": {"enum": [{"$ref": "http://example.com"}]}},
    }
    assert compile_schema(schema).record == Record((("$ref", STRING), ("b", JSON)))


def test_a_schema_within_the_schema_is_refused():
    inner = {"$id": "https://example.com/inner", "type": "string"}
    location, _, mend = problem_of({"$id": "https://a", "type": "object", "properties": {"a": inner}})
    assert location == ("properties", "a", "$id")
    assert "remove the inner $id" in mend
    assert typed({"type": "object", "properties": {"$id": {"type": "string"}}}) == Record((("$id", STRING),))


def test_every_violation_of_the_metaschema_is_reported():
    with pytest.raises(SchemaError) as caught:
        compile_schema({"type": "object", "properties": {"a": {"type": "strin"}}, "required": "a"})
    assert {p.location for p in caught.value.problems} == {("properties", "a", "type"), ("required",)}


def test_a_pattern_that_is_no_regular_expression_is_refused():
    location, problem, _ = problem_of({"type": "object", "properties": {"a": {"pattern": "("}}})
    assert location == ("properties", "a", "pattern")
    assert "regex" in problem


@pytest.mark.parametrize(
    "root",
    [
        {},
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"type": ["object", "null"], "properties": {"a": {}}},
        {"properties": {"a": {}}},
        {"type": "array", "items": {}},
    ],
)
def test_the_root_must_be_an_object_with_properties(root):
    assert problem_of(root)[2] == 'give it "type": "object" and "properties"'


@pytest.mark.parametrize("root", [True, [], "object", None])
def test_a_root_that_is_no_object_schema(root):
    assert problem_of(root)[1] == "not a JSON Schema"


def test_names_the_pipeline_cannot_use():
    inner = {"type": "object", "properties": {"": {}, "x[]": {}, "_fine": {}}}
    with pytest.raises(SchemaError) as caught:
        compile_schema(
            {
                "type": "object",
                "properties": {"_id": {}, "a": {"$ref": "#/$defs/inner"}},
                "$defs": {"inner": inner},
            }
        )
    assert [problem.location for problem in caught.value.problems] == [
        ("properties", "_id"),
        ("$defs", "inner", "properties", ""),
        ("$defs", "inner", "properties", "x[]"),
    ]


def test_parts_lead_back_into_the_schema():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"$ref": "#/$defs/size"}}},
        "$defs": {"size": {"enum": ["S", "M"]}},
    }
    assert compile_schema(schema).parts == {
        "a": schema["properties"]["a"],
        "a[]": schema["$defs"]["size"],
    }


def test_resolve():
    root = {"$defs": {"a": {"$ref": "#/$defs/b", "title": "A"}, "b": {"type": "string", "title": "B"}}}
    assert resolve({"$ref": "#/$defs/a"}, root) == {"type": "string", "title": "A"}
    assert resolve({"$ref": "#/$defs/a"}, {**root, "$schema": DRAFT_04}) == {"type": "string", "title": "B"}
    assert resolve({"type": "number"}, root) == {"type": "number"}
    assert resolve({"$ref": "#/$defs/c"}, {"$defs": {"c": {"$ref": "#/$defs/c"}}}) == {}
    with pytest.raises(SchemaError, match="leads nowhere"):
        resolve({"$ref": "#/$defs/nope"}, root)
