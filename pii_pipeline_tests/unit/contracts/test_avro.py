"""Avro schemas as JSON Schema: what each type becomes, what an event may look like, and what is refused."""

import json
from functools import partial

import jsonschema
import pytest
from fastavro.utils import generate_many

from pii_pipeline.contracts.avro import json_schema
from pii_pipeline.contracts.loader import load_contract, read_schema
from pii_pipeline.contracts.record_type import ListOf, Record, Scalar, walk
from pii_pipeline.contracts.schema import SchemaError, compile_schema
from pii_pipeline_tests.shared_data import shared_data
from pii_pipeline_tests.unit.contracts.examples import refusal, write_on


def record(*fields: dict, **more) -> dict:
    return {"type": "record", "name": "Event", "fields": list(fields), **more}


def field(type, name: str = "value", **more) -> dict:
    return {"name": name, "type": type, **more}


def converted(type) -> dict:
    """What one field of the Avro type becomes."""
    return json_schema(record(field(type)))["properties"]["value"]


def nodes(schema: dict) -> dict:
    return dict(walk(compile_schema(json_schema(schema)).record))


def node(type):
    """The record type's node of one field of the Avro type."""
    return nodes(record(field(type)))["value"]


def accepts(schema: dict, event: dict) -> bool:
    return jsonschema.Draft202012Validator(json_schema(schema)).is_valid(event)


# --- types --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "kind", "good", "bad"),
    [
        ("boolean", "boolean", [True], [1, "true", None]),
        ("int", "integer", [0, -(2**31), 2**31 - 1], [2**31, 1.5, "1"]),
        ("long", "integer", [2**31, -(2**63), 2**63 - 1], [2**63, "1"]),
        ("float", "number", [1, 1.5], ["1.5"]),
        ("double", "number", [1, 1.5], ["1.5"]),
        ("bytes", "string", ["", "\u00ff"], [1]),
        ("string", "string", ["", "x"], [1, None]),
        ({"type": "string", "avro.java.string": "String"}, "string", ["x"], [1]),
        ({"type": {"type": "string"}}, "string", ["x"], [1]),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "string", ["A"], ["C"]),
        ({"type": "fixed", "name": "F", "size": 2}, "string", ["ab"], ["a", "abc"]),
        ({"type": "map", "values": "int"}, "json", [{}, {"a": 1}], [{"a": "x"}, []]),
        (["null", "string"], "string", ["x", None], [1]),
        (["string", "null"], "string", ["x", None], [1]),
        (["null", {"type": "enum", "name": "E", "symbols": ["A"]}], "string", ["A", None], ["B"]),
        (["string"], "string", ["x"], [None]),
        (["null"], "json", [None], [1]),
        (["string", "int"], "json", ["x", 1, {"a": []}, None], []),
        (["null", "string", "int"], "json", ["x", 1, None], []),
        (["null", {"type": "map", "values": "int"}], "json", [None, {"a": 1}], [{"a": "x"}]),
    ],
)
def test_type(type, kind, good, bad):
    assert node(type) == Scalar(kind)
    schema = record(field(type))
    for value in good:
        assert accepts(schema, {"value": value}), value
    for value in bad:
        assert not accepts(schema, {"value": value}), value


def test_lists_and_records():
    line = {"type": "record", "name": "Line", "fields": [field("string", "sku"), field("int", "count")]}
    assert node({"type": "array", "items": "string"}) == ListOf(Scalar("string"))
    lines = node(["null", {"type": "array", "items": ["null", line]}])
    assert lines == ListOf(Record((("sku", Scalar("string")), ("count", Scalar("integer")))))


def test_a_field_without_default_is_required():
    schema = record(
        field("string", "a"), field(["null", "string"], "b", default=None), field("int", "c", default=0)
    )
    assert json_schema(schema)["required"] == ["a"]
    assert accepts(schema, {"a": "x"})
    assert not accepts(schema, {"b": "x"})


def test_doc_and_logical_type_are_described():
    millis = {"type": "long", "logicalType": "timestamp-millis"}
    schema = record(field(millis, doc="When it happened."), doc="A click.")
    assert json_schema(schema)["description"] == "A click."
    described = json_schema(schema)["properties"]["value"]
    assert described["description"] == "When it happened. (Avro timestamp-millis, as it is stored)"
    assert described["type"] == "integer"


def test_aliases_are_ignored():
    assert converted("string") == json_schema(record(field("string", aliases=["old"])))["properties"]["value"]


EVERYTHING = record(
    *(field(kind, kind) for kind in ("null", "boolean", "int", "long", "double", "bytes", "string")),
    field({"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}, "colour"),
    field({"type": "fixed", "name": "Hash", "size": 4}, "hash"),
    field(["null", "Colour"], "maybe"),
    field({"type": "map", "values": ["null", "Hash"]}, "map"),
    field({"type": "array", "items": {"type": "array", "items": "long"}}, "lists"),
    field(["null", {"type": "record", "name": "Inner", "fields": [field("string", "text")]}], "inner"),
    field(["int", "string", "Inner"], "any"),
    namespace="a.b",
)


def test_whatever_avro_can_hold_is_valid():
    compile_schema(json_schema(EVERYTHING))
    validator = jsonschema.Draft202012Validator(json_schema(EVERYTHING))
    for event in generate_many(EVERYTHING, 50):
        text = json.dumps(event, default=lambda value: value.decode("latin-1"))
        validator.validate(json.loads(text))


# --- names --------------------------------------------------------------------------------------------------


def test_a_type_is_used_again_by_its_name():
    address = {"type": "record", "name": "Address", "namespace": "a.b", "fields": [field("string", "city")]}
    schema = record(
        field(address, "home"),
        field("a.b.Address", "work"),
        field(["null", "a.b.Address"], "other"),
        namespace="x",
    )
    city = Record((("city", Scalar("string")),))
    found = nodes(schema)
    assert (found["home"], found["work"], found["other"]) == (city, city, city)
    assert accepts(schema, {"home": {"city": "A"}, "work": {"city": "B"}, "other": None})


def test_a_name_without_dots_is_of_the_namespace_around():
    colour = {"type": "enum", "name": "Colour", "symbols": ["RED"]}
    inner = {"type": "record", "name": "deep.Inner", "fields": [field(colour, "one"), field("Colour", "two")]}
    schema = record(field(inner, "inner"), field("deep.Colour", "three"), namespace="top")
    assert nodes(schema)["three"] == Scalar("string")
    with pytest.raises(SchemaError, match=r"unknown type `Colour` — did you mean `deep\.Colour`"):
        json_schema(record(field(inner, "inner"), field("Colour", "three"), namespace="top"))


def test_a_record_inside_itself_ends_as_json_text():
    schema = record(
        field("string", "name"),
        field(["null", "Event"], "parent"),
        field({"type": "array", "items": "Event"}, "all"),
    )
    found = nodes(schema)
    assert found["parent"] == Scalar("json")
    assert found["all[]"] == Scalar("json")
    assert accepts(schema, {"name": "x", "parent": {"name": "y"}, "all": []})


def test_records_that_multiply_are_refused():
    fields = [field({"type": "record", "name": "R0", "fields": [field("int", "x")]}, "f0")]
    for level in range(1, 20):
        twice = [field(f"R{level - 1}", "a"), field(f"R{level - 1}", "b")]
        fields.append(field({"type": "record", "name": f"R{level}", "fields": twice}, f"f{level}"))
    with pytest.raises(SchemaError, match="more than 10,000 fields"):
        json_schema(record(*fields))


# --- what is refused ----------------------------------------------------------------------------------------


write = partial(write_on, "event.avsc", key_field="session")


A = '{"type": "record", "name": "E", "fields": [\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            A + ' {"name": "a", "type": "strin"}]}',
            "2: fields[0].type: unknown type `strin` — did you mean `string`?",
        ),
        (
            A + ' {"name": "a", "type": "int"},\n {"name": "_b", "type": "int"}]}',
            "3: fields[1].name: the property '_b' starts with `_`, as the pipeline's own columns",
        ),
        (
            A + ' {"name": "a", "type": "int"},\n {"name": "a", "type": "int"}]}',
            "3: fields[1].name: the field `a` stands twice — rename one of them",
        ),
        (A + ' {"name": "a b", "type": "string"}]}', "2: fields[0]: a field without a name"),
        (A + ' {"name": "a"}]}', '2: fields[0].type: is missing — add "type": and a type'),
        (A + ' {"name": "a", "type": 1}]}', "2: fields[0].type: not an Avro type"),
        (A + ' {"name": "a", "type": {"type": "array"}}]}', "2: fields[0].type.items: is missing"),
        (
            A + ' {"name": "a", "type": {"type": "enum", "name": "X"}}]}',
            "2: fields[0].type.symbols: not a list",
        ),
        (
            A + ' {"name": "a", "type": {"type": "fixed", "name": "X"}}]}',
            "2: fields[0].type.size: not a number",
        ),
        ('{"type": "record", "fields": [\n {"name": "a", "type": "int"}]}', "1: name: is no name"),
        ('{"type": "record", "name": "E", "fields": []}', "1: the root is not a record with fields"),
        ('{"type": "record", "name": "E", "fields": 1}', "1: fields: is no list of fields"),
        ('["null", "string"]', "1: the root is not a record with fields"),
        ("{", "1: not JSON: "),
    ],
)
def test_refused(tmp_path, text, problem):
    assert f"event.avsc:{problem}" in str(refusal(write(tmp_path, text)))


def test_a_type_defined_twice(tmp_path):
    a = {"type": "enum", "name": "X", "symbols": ["A"]}
    contract = write(tmp_path, record(field(a, "session"), field(a, "two")))
    assert "`X` is defined twice — rename one of them" in str(refusal(contract))


def test_a_contract_on_an_avro_schema(tmp_path):
    loaded = load_contract(write(tmp_path, record(field("string", "session"), field("int", "count"))))
    assert loaded.contract.record == Record((("session", Scalar("string")), ("count", Scalar("integer"))))
    assert loaded.contract.json_schema["properties"]["session"] == {"type": "string"}
    other = load_contract(
        write(tmp_path / "other", record(field("string", "session"), field("long", "count")))
    )
    assert other.contract.digest != loaded.contract.digest


def test_no_such_schema_names_the_nearest(tmp_path):
    contract = write(tmp_path, record(field("string", "session")))
    contract.write_text(contract.read_text().replace("event.avsc", "evnt.avsc"))
    assert "there is no file `evnt.avsc` — did you mean `event.avsc`?" in str(refusal(contract))


# --- real ones ----------------------------------------------------------------------------------------------


def test_the_platform_s_schemas():
    schema, compiled = read_schema(shared_data() / "strm" / "clickstream.avsc")
    found = dict(walk(compiled.record))
    assert found["strmMeta/timestamp"] == Scalar("integer")
    assert found["strmMeta/consentLevels"] == ListOf(Scalar("integer"))
    assert found["customer/id"] == Scalar("string")
    assert "nonce" not in schema["properties"]["strmMeta"]["required"]


@pytest.mark.parametrize(
    ("schema", "has", "valid"),
    [
        ("demo.avsc", "consistentValue", 8),
        # The other one is older, and names no contract.
        ("clickstream.avsc", "producerSessionId", 1),
        ("simple-schema.yaml", "UserName", 2),
    ],
)
def test_the_platform_s_events_are_valid_by_its_schemas(schema, has, valid):
    converted, _ = read_schema(shared_data() / "strm" / schema)
    lines = (shared_data() / "strm" / "sample_events.jsonl").read_text().splitlines()
    validator = jsonschema.Draft202012Validator(converted)
    events = [event for event in map(json.loads, lines) if has in event]
    assert sum(map(validator.is_valid, events)) == valid
