"""Simple Schemas as JSON Schema: names that Avro allows, types, and what is refused."""

import textwrap
from functools import partial

import jsonschema
import pytest
import yaml

from pii_pipeline.contracts.loader import load_contract, read_schema
from pii_pipeline.contracts.record_type import ListOf, Record, Scalar, walk
from pii_pipeline.contracts.schema import compile_schema
from pii_pipeline.contracts.simple_schema import avro_name, json_schema
from pii_pipeline_tests.shared_data import shared_data
from pii_pipeline_tests.unit.contracts.examples import refusal, write_on


@pytest.mark.parametrize(
    ("name", "field"),
    [
        # As the platform's documentation shows them.
        ("Session Id", "SessionId"),
        ("User Name", "UserName"),
        ("url", "url"),
        ("Prijs in GB£", "PrijsInGb"),
        ("mouse positions", "MousePositions"),
        ("SessionId", "SessionId"),
        # Ours.
        ("e-mail", "EMail"),
        ("größe", "Groe"),
        ("café", "Cafe"),
        ("snake_case", "snake_case"),
    ],
)
def test_avro_name(name, field):
    assert avro_name(name) == field


def schema_of(text: str) -> dict:
    return json_schema(yaml.safe_load(textwrap.dedent(text)))


def test_types():
    schema = schema_of("""
        name: Click
        nodes:
        - {name: text, type: STRING, required: true}
        - {name: flag, type: BOOLEAN}
        - {name: price, type: FLOAT}
        - {name: exact, type: DOUBLE}
        - {name: count, type: INTEGER, doc: how many}
        - {name: big, type: LONG}
        - {name: tags, type: STRING, repeated: true}
        - {name: place, type: NODE, nodes: [{name: the city, type: STRING}]}
        - {name: lines, type: node, repeated: true, nodes: [{name: sku, type: string}]}
        """)
    assert dict(walk(compile_schema(schema).record)) == {
        "text": Scalar("string"),
        "flag": Scalar("boolean"),
        "price": Scalar("number"),
        "exact": Scalar("number"),
        "count": Scalar("integer"),
        "big": Scalar("integer"),
        "tags": ListOf(Scalar("string")),
        "tags[]": Scalar("string"),
        "place": Record((("TheCity", Scalar("string")),)),
        "place/TheCity": Scalar("string"),
        "lines": ListOf(Record((("sku", Scalar("string")),))),
        "lines[]": Record((("sku", Scalar("string")),)),
        "lines[]/sku": Scalar("string"),
    }
    assert schema["required"] == ["text"]
    assert schema["properties"]["count"]["description"] == "how many"
    assert schema["properties"]["place"]["properties"]["TheCity"]["description"] == "the city"
    valid = jsonschema.Draft202012Validator(schema).is_valid
    assert valid({"text": "x"})
    assert valid({"text": "x", "price": None, "tags": None, "lines": [{"sku": None}]})
    assert not valid({"text": None})
    assert not valid({"text": "x", "count": 2**31})
    assert not valid({"text": "x", "tags": [None]})


def test_an_avro_name_of_its_own():
    nodes = [
        {"name": "Prijs £", "avro_name": "price", "type": "FLOAT"},
        {"name": "x y", "avroName": "xy", "type": "LONG"},
    ]
    assert list(json_schema({"nodes": nodes})["properties"]) == ["price", "xy"]


# --- what is refused ----------------------------------------------------------------------------------------


write = partial(write_on, "click.yaml", key_field="SessionId")


SESSION = "name: Click\nnodes:\n- {name: Session Id, type: STRING}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            SESSION + "- {name: session-id, type: LONG}\n- {name: SESSION ID, type: LONG}\n",
            "4: nodes[1].name: `Session Id` and `session-id` both become `SessionId`",
        ),
        (
            SESSION + "- {name: yes, type: LONG}\n",
            "4: nodes[1].name: its name is not text — write `name:` and text; YAML reads y, n,",
        ),
        (SESSION + "- {type: LONG}\n", "4: nodes[1]: its name is not text"),
        (
            SESSION + "- {name: £, type: LONG}\n",
            "4: nodes[1].name: `£` makes no name for Avro — give it an `avro_name`",
        ),
        (SESSION + "- {name: 2nd, type: LONG}\n", "4: nodes[1].name: `2nd` makes no name for Avro"),
        (
            SESSION + "- {name: x,\n   avro_name: a b, type: LONG}\n",
            "5: nodes[1].avro_name: `a b` makes no name for Avro",
        ),
        (SESSION + "- {name: _x, type: LONG}\n", "4: nodes[1].name: the property '_x' starts with `_`"),
        (SESSION + "- {name: x, type: TEXT}\n", "4: nodes[1].type: unknown type 'TEXT' — one of STRING, "),
        (
            SESSION + "- {name: x, type: STRNG}\n",
            "4: nodes[1].type: unknown type 'STRNG' — did you mean `STRING`?",
        ),
        (SESSION + "- {name: x}\n", "4: nodes[1]: has no type"),
        (
            SESSION + "- {name: x, type: LONG, repeted: true}\n",
            "4: nodes[1].repeted: unknown key — did you mean `repeated`?",
        ),
        (
            SESSION + "- {name: x, type: LONG, required: 1}\n",
            "4: nodes[1].required: is neither true nor false",
        ),
        (SESSION + "- {name: x, type: NODE}\n", "4: nodes[1].nodes: is no list of nodes"),
        (SESSION + "- {name: x, type: LONG, nodes: []}\n", "4: nodes[1].nodes: a LONG has no nodes"),
        (SESSION + "- x\n", "4: nodes[1]: is no node"),
        ("name: Click\nnode: []\n", "2: node: unknown key — did you mean `nodes`?"),
        ("name: Click\nname: Clack\nnodes: []\n", "2: name: stands twice (first in line 1)"),
    ],
)
def test_refused(tmp_path, text, problem):
    assert f"click.yaml:{problem}" in str(refusal(write(tmp_path, text)))


def test_a_contract_on_a_simple_schema(tmp_path):
    loaded = load_contract(write(tmp_path, SESSION))
    assert loaded.contract.record == Record((("SessionId", Scalar("string")),))


def test_the_platform_s_example():
    schema, compiled = read_schema(shared_data() / "strm" / "simple-schema.yaml")
    names = ["SessionId", "UserName", "url", "PrijsInGb", "MousePositions"]
    assert [name for name, _ in compiled.record.fields] == names
    assert schema["properties"]["PrijsInGb"]["description"] == "Prijs in GB£: price in UK pounds"
    assert compiled.record.get("MousePositions") == ListOf(
        Record((("x", Scalar("integer")), ("y", Scalar("integer"))))
    )
