"""Self-describing documents: every treatment inside them, and what never comes out of them."""

import hashlib
import json
import re
import sys
from base64 import b64decode
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pii_pipeline.privacy import documents
from pii_pipeline.privacy.consent import ConsentRequest
from pii_pipeline.privacy.derive import DerivedPlan, derive_columns
from pii_pipeline.privacy.leak_gate import inspect
from pii_pipeline.privacy.plan import UNLISTED, compile_plan
from pii_pipeline.privacy.pseudonymize import pseudonymize_columns
from pii_pipeline.privacy.sealer import RowKeys
from pii_pipeline_tests.unit.privacy.document_reference import (
    Pseudonym,
    Reference,
    Sealed,
    comparable,
    exactly,
    opened,
)
from pii_pipeline_tests.unit.privacy.reference import PlainSealer, contract

SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "contexts": {"type": "object"},
        "payload": {"type": "object", "properties": {"event": {"type": "string"}}},
    },
}
CONTEXTS = "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-1"
UNSTRUCT = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"
USER = "iglu:com.acme/user/jsonschema/1-0-2"
ANY_USER = "iglu:com.acme/user/jsonschema/1-*-*"
ANY = "iglu:*/*/jsonschema/*-*-*"


def entity(schema, data):
    return {"schema": schema, "data": data}


def user(**data):
    """A document of one user."""
    return entity(CONTEXTS, [entity(USER, data)])


def self_describing(entities):
    return {"self_describing": entities}


def treat(texts, entities=None, subjects=None, keys=None, event=(), gate=True, **extra):
    """The plan and the treated columns of documents (texts or values) in `contexts`, one per row, and in
    `payload/event`."""
    texts = [text if text is None or isinstance(text, str) else json.dumps(text) for text in texts]
    events = [event if event is None or isinstance(event, str) else json.dumps(event) for event in event]
    inside = self_describing(entities or {})
    fields = {"contexts": inside, "payload/event": inside} | extra.pop("fields", {})
    plan = compile_plan(contract(SCHEMA, fields=fields, **extra))
    count = len(texts)
    who = np.array(subjects if subjects is not None else range(count), np.int64)
    row_keys = RowKeys(who, np.array(keys, np.int64) if keys is not None else who)
    table = pa.table(
        {
            "id": [f"i{row}" for row in range(count)],
            "contexts": pa.array(texts, pa.string()),
            "payload": pa.array(
                [{"event": text} for text in events] or [None] * count, pa.struct([("event", pa.string())])
            ),
            UNLISTED: pa.nulls(count, pa.string()),
        }
    )
    columns = pseudonymize_columns(table, plan, row_keys, PlainSealer())
    if gate:
        assert [str(leak) for leak in inspect(table, columns, plan)] == []
    return plan, columns


def treated(texts, entities=None, **settings) -> list[Any]:
    """The treated documents, parsed."""
    _, columns = treat(texts, entities, **settings)
    return [None if text is None else json.loads(text) for text in columns["contexts"].to_pylist()]


def one(data, entities, **settings):
    """The treated data of a user, whose schema has 1-0-2 as its version."""
    (document,) = treated([user(**data)], {ANY_USER: entities}, **settings)
    return document["data"][0]["data"]


def hexed(label, subject, text, domain=None):
    chosen = domain or f"acme/test\0contexts {label}"
    who = None if subject is None else np.array([subject])
    return PlainSealer().pseudonyms(chosen, [text.encode()], who)[0].hex()


def named(name, subject=0):
    return hexed("$names", subject, name)


def unlisted(text, subject=0):
    return hexed("$unlisted", subject, text)


# Each treatment.


def test_what_nobody_lists_is_pseudonymized_down_to_the_leaves():
    document = user(
        name="Ann", age=41, tall=True, height=1.75, nothing=None, tags=["x", [2, {"deep": "y"}]], whole=7.0
    )
    ((found,),) = [out["data"] for out in treated([document])]
    assert found == {
        "schema": named(USER),
        "data": {
            named("name"): unlisted("Ann"),
            named("age"): unlisted("41"),
            named("tall"): unlisted("true"),
            named("height"): unlisted("1.75"),
            named("nothing"): None,
            named("tags"): [unlisted("x"), [unlisted("2"), {named("deep"): unlisted("y")}]],
            named("whole"): unlisted("7"),
        },
    }


def test_kept_values_keep_their_types_and_listed_names_stay():
    data = {"a": {"n": 1, "f": 1.0, "t": "1", "b": False, "z": None, "l": [1, 2.5]}, "other": "x"}
    kept = one(data, {"a/n": "keep", "a/f": "keep", "a/l": "keep"})
    assert exactly({name: kept["a"][name] for name in "nfl"}) == exactly({"n": 1, "f": 1.0, "l": [1, 2.5]})
    assert set(kept["a"]) == {"n", "f", "l", *(named(name) for name in "tbz")}
    assert kept[named("other")] == unlisted("x")
    assert one(data, {"a/l[]": "keep"})["a"]["l"] == [1, 2.5]


@pytest.mark.parametrize(
    ("treatment", "scalar", "left"),
    [
        ("keep", "word", "word"),
        ({"generalize": {"step": 10}}, 47, 40),
        ({"generalize": {"date": "year"}}, "1984-05-06", "1984"),
        ({"mask": {"keep_last": 1}}, "word", "***d"),
        ("url", "https://a.example/x#top", "https://a.example/x"),
    ],
)
def test_what_leaves_something_readable_holds_for_scalars_and_lists_of_them_alone(treatment, scalar, left):
    """In an object anything may stand, and so it is as if nobody had listed it."""
    text = str(scalar)
    inner = {named("k"): unlisted(text)}
    data = {
        "a": scalar,
        "b": [scalar, None, scalar],
        "c": {"k": scalar, "none": None, "l": [scalar]},
        "d": [scalar, {"k": scalar}],
        "e": [scalar, [scalar]],
        "f": [[scalar], [{"k": scalar}]],
        "g": [],
        "h": {},
    }
    entities = dict.fromkeys([*data, "f[]"], treatment)
    hidden = {
        "c": {named("k"): unlisted(text), named("none"): None, named("l"): [unlisted(text)]},
        "d": [unlisted(text), inner],
        "e": [unlisted(text), [unlisted(text)]],
        "f": [[left], [inner]],
    }
    empty = {"g": [], "h": {}}
    assert one(data, entities) == {"a": left, "b": [left, None, left], **hidden, **empty}
    dropped = {"a": left, "b": [left, None, left], "f": [[left]], "g": []}
    assert one(data, entities, default="drop") == dropped


def test_around_an_object_where_a_scalar_is_listed_holds_what_is_listed_around_it():
    joinable = {"pseudonymize": {"domain": "user", "joinable": True}}
    entities = {"a": "drop", "a/b": "keep", "a/b/c/d": "keep", "p": joinable, "p/q": "keep"}
    data = {"a": {"b": {"x": 1, "c": {"d": 2, "e": 3}}}, "p": {"q": {"r": "s"}}}
    assert one(data, entities) == {
        "a": {"b": {"c": {"d": 2}}},
        "p": {"q": {named("r"): hexed("", None, "s", "user")}},
    }
    assert one({"a": {"b": 1}, "p": {"q": [1]}}, entities) == {"a": {"b": 1}, "p": {"q": [1]}}


def test_a_pseudonym_joins_with_the_same_value_elsewhere_under_a_named_domain():
    data = {"id": 42, "mail": "ann@example.com", "list": ["42", 42.0]}
    out = one(
        data,
        {
            "id": {"pseudonymize": {"domain": "user", "joinable": True}},
            "list[]": {"pseudonymize": {"domain": "user", "joinable": True}},
            "mail": {"pseudonymize": {"domain": "none"}},
        },
    )
    assert out["id"] == hexed("", None, "42", "user")
    assert out["list"] == [out["id"]] * 2
    assert out["mail"] == hexed("", None, "ann@example.com", "none")


def test_a_pseudonym_is_the_same_through_the_versions_that_its_criterion_stands_for():
    texts = [
        entity(CONTEXTS, [entity(f"iglu:com.acme/user/jsonschema/{v}", {"a": "x"})])
        for v in ("1-0-0", "1-3-7", "2-0-0")
    ]
    out = treated(texts, {ANY_USER: {"a": "pseudonymize"}}, subjects=[5, 5, 5])
    data = [document["data"][0]["data"] for document in out]
    assert data[0] == data[1] == {"a": hexed(f"{ANY_USER} a", 5, "x")}
    assert data[2] == {named("a", 5): unlisted("x", 5)}


@pytest.mark.parametrize("function", ["MD5", "SHA-1", "SHA-256", "SHA-384", "SHA-512"])
def test_snowplows_hashes_inside_documents(function):
    out = one(
        {"mail": "john@acme.com", "empty": "", "null": None, "list": ["john@acme.com"]},
        {name: {"pseudonymize": {"hash": function}} for name in ("mail", "empty", "null", "list[]")},
    )
    digest = hashlib.new(function.replace("-", ""), b"john@acme.compepper123").hexdigest()
    assert out["mail"] == digest
    assert out["list"] == [digest]
    assert out["empty"] == hashlib.new(function.replace("-", ""), b"pepper123").hexdigest()
    assert out["null"] is None
    if function == "SHA-256":
        assert digest == "7d8a4beae5bc9d314600667d2f410918f9af265017a6ade99f60a9c8f3aac6e9"


def test_objects_are_encrypted_as_one_value_and_scalars_with_their_type():
    data = {"address": {"city": "Łódź", "no": [1, 2.0]}, "n": 7, "t": "7", "none": None}
    entities = {name: {"encrypt": {"level": 2}} for name in data}
    out = one(data, entities)
    assert out["none"] is None
    for name in ("address", "n", "t"):
        sealed = Sealed(2, f"acme/test\0contexts {ANY_USER} {name}".encode(), data[name])
        assert exactly(opened(sealed, out[name], 0)) == exactly(sealed)
    assert out["n"] != out["t"]


def test_ip_addresses_dates_and_numbers_are_made_coarser():
    data = {
        "ip": ["203.0.113.7", "2001:db8:1:2::7", "word", 7],
        "at": ["1984-05-06", 1732271766123, "soon", 1.5],
        "age": [47, -3, 47.5, "47", True, 2**70],
    }
    out = one(
        data,
        {
            "ip[]": {"generalize": {"ipv4_prefix": 24, "ipv6_prefix": 48}},
            "at[]": {"generalize": {"date": "year"}},
            "age[]": {"generalize": {"step": 10}},
        },
    )
    assert out["ip"] == ["203.0.113.0/24", "2001:db8:1::/48", None, None]
    assert out["at"] == ["1984", 1704067200000, None, None]
    assert exactly(out["age"]) == exactly([40, -10, 40.0, None, None, None])


def test_urls_and_masks():
    out = one(
        {"page": "https://a.example/x?q=john", "card": "4111111111111111", "number": 41111111},
        {"page": {"url": {}}, "card": {"mask": {"keep_last": 4}}, "number": {"mask": {"keep_first": 2}}},
    )
    assert out["page"] == "https://a.example/x?q=" + hexed(f"{ANY_USER} page", 0, "john")
    assert out["card"] == "************1111"
    assert out["number"] == "41******"


def test_what_is_dropped_is_not_there_but_for_what_is_listed_inside():
    data = {"a": {"b": 1, "c": 2}, "gone": {"x": 1}, "none": None, "l": [1, {"k": 2, "d": 3}, [4]]}
    entities = {"a": "drop", "a/b": "keep", "gone": "drop", "none": "drop", "l": "drop", "l[]/k": "keep"}
    assert one(data, entities) == {"a": {"b": 1}, "l": [{"k": 2}, []]}


def test_a_treatment_holds_for_everything_below_that_is_not_listed_itself():
    same = {"pseudonymize": {"joinable": True, "domain": "user"}}
    out = one({"a": {"b": {"c": "v"}, "keep": "w"}}, {"a": same, "a/keep": "keep"})
    assert out == {"a": {named("b"): {named("c"): hexed("", None, "v", "user")}, "keep": "w"}}


@pytest.mark.parametrize(
    ("data", "left"),
    [
        ({"a": [{"e": "secret", "d": "secret"}]}, {"a": None}),
        ({"l": {"e": "secret", "d": "secret"}}, {"l": None}),
        ({"l": [[{"e": "secret"}], {"f": 1, "d": "secret"}]}, {"l": [None, {"f": 1}]}),
        ({"a": {"f": {"e": 1}, "d": [["secret"]]}}, {"a": {"f": {"e": 1}}}),
        ({"m": [{"d": "secret"}]}, {"m": None}),
        ({"a": "plain", "l": ["plain", 1]}, {"a": "plain", "l": ["plain", 1]}),
        ({"m": ["plain"]}, {"m": ["plain"]}),
    ],
)
def test_what_has_not_the_shape_of_the_places_below_is_not_read_where_the_rest_is_kept(data, left):
    """Or a list where an object is meant would carry past what is to be hidden in the object."""
    entities = {
        "a/e": {"encrypt": {"level": 2}}, "a/d": "drop", "a/f": "keep",
        "l[]/e": "pseudonymize", "l[]/d": "drop", "m": "keep", "m/d": "drop",
    }  # fmt: skip
    assert one(data, entities, default="keep") == left


def test_of_several_criteria_the_first_one_that_names_a_path_holds():
    entities = {ANY_USER: {"a": "keep"}, USER: {"a": "drop", "b": "keep"}}
    (out,) = treated([user(a=1, b=2)], entities)
    assert out["data"][0]["data"] == {"a": 1, "b": 2}
    (out,) = treated([user(a=1, b=2)], dict(reversed(entities.items())))
    assert out["data"][0]["data"] == {"b": 2}


def test_data_may_be_a_list_and_names_may_hold_slashes():
    entities = {ANY_USER: {"[]/x~1y": "keep", "[][]": "keep", "x~0": "keep"}}
    (out,) = treated([entity(CONTEXTS, [entity(USER, [{"x/y": 1, "x": 2}, [3, [4]]])])], entities)
    assert out["data"][0]["data"] == [{"x/y": 1, named("x"): unlisted("2")}, [3, [4]]]


# Envelopes, and what is none.


def test_an_unstructured_event_holds_one_entity_and_a_document_may_be_the_entity_itself():
    entities = {ANY_USER: {"a": "keep"}}
    event, bare = treated([entity(UNSTRUCT, entity(USER, {"a": 1})), entity(USER, {"a": 1})], entities)
    assert event == entity(UNSTRUCT, entity(USER, {"a": 1}))
    assert bare == entity(USER, {"a": 1})


def test_an_entity_that_the_contract_names_is_not_taken_for_an_envelope():
    inner = entity(USER, {"a": 1})
    (out,) = treated(
        [entity("iglu:com.acme/order/jsonschema/1-0-0", inner)],
        {"iglu:com.acme/order/jsonschema/1-*-*": {"data/a": "keep"}, ANY_USER: {"a": "keep"}},
    )
    assert out["data"] == {named("schema"): unlisted(USER), "data": {"a": 1}}


def test_what_is_beside_schema_and_data_or_beside_entities_is_not_listed():
    document = {"schema": CONTEXTS, "data": [entity(USER, {"a": 1}) | {"x": "y"}, "z", {"a": 1}], "more": [1]}
    (out,) = treated([document], {ANY_USER: {"a": "keep"}})
    assert out == {
        "schema": CONTEXTS,
        "data": [
            entity(USER, {"a": 1}) | {named("x"): unlisted("y")},
            unlisted("z"),
            {named("a"): unlisted("1")},
        ],
        named("more"): [unlisted("1")],
    }


@pytest.mark.parametrize(
    "schema", ["john@acme.com", "iglu:com.acme/user/jsonschema/1-*-*", "iglu:a/b/c/1-0", "", " " + USER]
)
def test_a_schema_that_is_no_name_of_one_is_pseudonymized(schema):
    entities = {ANY_USER: {"a": "keep"}, ANY: {}}
    (out,) = treated([entity(CONTEXTS, [entity(schema, {"a": 1})])], entities)
    assert out["data"] == [entity(named(schema), {named("a"): unlisted("1")})]


@pytest.mark.parametrize(
    ("criterion", "readable"),
    [
        ("iglu:com.acme/ann-smith/jsonschema/1-0-0", True),
        ("iglu:com.acme/ann-smith/jsonschema/*-*-*", True),
        ("iglu:com.acme/*/jsonschema/1-*-*", True),
        ("iglu:*/ann-smith/jsonschema/*-0-*", True),
        ("iglu:*/*/jsonschema/*-*-*", True),
        ("iglu:com.acme/ann-smith/jsonschema/2-*-*", False),
        ("iglu:com/*/jsonschema/*-*-*", False),
        ("iglu:*/ann/jsonschema/*-*-*", False),
        ("iglu:*/*/avro/*-*-*", False),
        (ANY_USER, False),
    ],
)
def test_a_schema_stays_readable_where_a_criterion_means_it_and_that_needs_no_path(criterion, readable):
    schema = "iglu:com.acme/ann-smith/jsonschema/1-0-0"
    texts = [entity(CONTEXTS, [entity(schema, {"a": 1})]), entity(UNSTRUCT, entity(schema, {"a": 1}))]
    plan, columns = treat(texts, {criterion: {}})
    shown = schema if readable else named(schema)
    (inside,), event = (json.loads(text)["data"] for text in columns["contexts"].to_pylist()[:2])
    assert inside == entity(shown, {named("a"): unlisted("1")})
    assert event["schema"] == (schema if readable else named(schema, 1))
    # In a dataset that is unlinked from the lake it has another pseudonym.
    (again,) = derive(plan, columns, [0, 1], ConsentRequest(level=1))[0]["data"]
    assert again["schema"] == (schema if readable else rekeyed(named(schema)))


def test_only_snowplows_envelopes_stay_readable_without_a_criterion_and_only_around_entities():
    other = "iglu:com.acme/envelope/jsonschema/1-0-0"
    long = "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/4111111-1111-1111"
    lists = [entity(schema, [entity(USER, {"a": 1})]) for schema in (CONTEXTS, other, long)]
    out = treated([*lists, user(), entity(UNSTRUCT, entity(CONTEXTS, []))], {ANY_USER: {"a": "keep"}})
    assert [document["schema"] for document in out[:3]] == [CONTEXTS, named(other, 1), named(long, 2)]
    assert all(document["data"] == [entity(USER, {"a": 1})] for document in out[:3])
    assert out[4] == entity(UNSTRUCT, entity(named(CONTEXTS, 4), []))


@pytest.mark.parametrize("inside", [{}, {"a": "keep"}])
def test_a_criterion_for_everything_leaves_envelopes_what_they_are(inside):
    (out,) = treated([user(a=1, b=2)], {ANY: inside, ANY_USER: {"b": "keep"}})
    kept = {"a": 1} if inside else {named("a"): unlisted("1")}
    assert out == entity(CONTEXTS, [entity(USER, kept | {"b": 2})])


def test_a_hidden_schema_goes_as_names_do():
    schemas = [USER, 5, None, ["x"], {"y": "z"}]
    texts = [entity(CONTEXTS, [entity(schema, []) for schema in schemas])]
    assert treated(texts, default="drop") == [entity(CONTEXTS, [entity(None, None)] * len(schemas))]
    assert treated(texts, default="keep") == texts
    (out,) = treated(texts)
    shown = [found["schema"] for found in out["data"]]
    assert shown == [named(USER), named("5"), None, [unlisted("x")], {named("y"): unlisted("z")}]
    (out,) = treated(texts, default={"encrypt": {"level": 1}})
    assert [found["schema"] for found in out["data"][:3]] == shown[:3]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("john", "john"),
        ('"john"', "john"),
        ("", ""),
        ("42", "42"),
        ('{"name": "john"}', '{"name":"john"}'),
        ('[{"schema": "x", "data": 1}]', '[{"data":1,"schema":"x"}]'),
        ('{"schema": "x", "data": 1', '{"schema": "x", "data": 1'),
        ('{"schema": "x", "data": NaN}', '{"schema": "x", "data": NaN}'),
        (r'"\ud800"', r'"\ud800"'),
    ],
)
def test_a_text_that_is_no_document_is_treated_as_a_whole(text, value):
    assert treated([text]) == [unlisted(value)]
    assert treated([text], default="drop") == [None]


def test_long_numbers_are_no_versions_of_a_schema():
    (found,) = treated([entity("iglu:com.acme/user/jsonschema/4111111111111111-0-0", {})])
    assert "4111" not in json.dumps(found)


def test_null_stays_null():
    assert treated([None, "null"]) == [None, None]
    assert treated([], {ANY_USER: {"a": {"encrypt": {"level": 1}}}}) == []


def test_a_dropped_default_leaves_what_is_listed_and_no_names():
    document = {"schema": CONTEXTS, "data": [entity(USER, {"a": 1, "b": [2]}), entity("x", 3), 4], "more": 5}
    (out,) = treated([document], {ANY_USER: {"a": "keep"}}, default="drop")
    assert out == {"schema": CONTEXTS, "data": [entity(USER, {"a": 1}), entity(None, None)]}


def test_a_kept_default_keeps_names_too():
    document = user(a="x", b={"c": [1]})
    assert treated([document], {ANY_USER: {"b/c[]": "pseudonymize"}}, default="keep") == [
        user(a="x", b={"c": [hexed(f"{ANY_USER} b/c[]", 0, "1")]})
    ]
    assert treated(["john", "[1]"], default="keep") == ["john", [1]]


def test_documents_inside_records():
    _, columns = treat([None], {ANY_USER: {"a": "keep"}}, event=[entity(UNSTRUCT, entity(USER, {"a": 1}))])
    ((text,),) = [record.values() for record in columns["payload"].to_pylist()]
    assert json.loads(text) == entity(UNSTRUCT, entity(USER, {"a": 1}))


# Numbers, depth, width, blocks.


def test_numbers_come_back_exactly():
    numbers = [2**63, -(2**70), 10**30, 0.1, 1e300, -0.0, 1.0, 12345678901234567890]
    data = {"kept": numbers, "sealed": numbers}
    out = one(data, {"kept": "keep", "sealed": {"encrypt": {"level": 1}}})
    assert exactly(out["kept"]) == exactly(numbers)
    sealed = Sealed(1, f"acme/test\0contexts {ANY_USER} sealed".encode(), numbers)
    assert exactly(opened(sealed, out["sealed"], 0)) == exactly(sealed)
    assert one({"x": 10**30}, {})[named("x")] == unlisted(str(10**30))


def test_a_number_with_too_many_digits_to_be_read_is_no_document():
    text = json.dumps(user(a=1)).replace("1}", "1" * (sys.get_int_max_str_digits() + 1) + "}")
    assert treated([text]) == [unlisted(text)]


@pytest.mark.parametrize("depth", [10, 100, 196])
def test_deep_documents_are_taken_apart(depth):
    inner = "secret"
    for level in range(depth):
        inner = [inner] if level % 2 else {"k": inner}
    (out,) = treated([user(a=inner)], {ANY_USER: {"a": "pseudonymize"}})
    assert json.dumps(out).count("[") == json.dumps(user(a=inner)).count("[")
    assert hexed(f"{ANY_USER} a", 0, "secret") in json.dumps(out)


@pytest.mark.parametrize("depth", [198, 1000, 1500, 100_000])
def test_documents_that_are_too_deep_are_treated_as_a_whole(depth):
    text = (
        f'{{"schema":"{CONTEXTS}","data":[{{"schema":"{USER}","data":{"[" * depth}"secret"{"]" * depth}}}]}}'
    )
    assert treated([text], {ANY_USER: {"[]": "keep"}}) == [unlisted(text)]


def test_a_wide_document_is_taken_apart():
    (out,) = treated(
        [user(a=list(range(50_000)), b={f"k{i}": i for i in range(20_000)})], {ANY_USER: {"a": "keep"}}
    )
    data = out["data"][0]["data"]
    assert len(data["a"]) == 50_000
    assert len(data[named("b")]) == 20_000


def test_blocks_and_equal_documents_change_nothing(monkeypatch):
    entities = {ANY_USER: {"a": "keep", "b": {"encrypt": {"level": 1}}, "c": "pseudonymize"}}
    texts = [None if i % 7 == 3 else user(a=i % 5, b=f"b{i % 4}", c=["x", i % 3], d=i % 2) for i in range(60)]
    keys = [i % 3 for i in range(60)]
    once = treated(texts, entities, subjects=keys, keys=keys)
    monkeypatch.setattr(documents, "BLOCK_BYTES", 300)
    assert treated(texts, entities, subjects=keys, keys=keys) == once
    alone = [
        treated([text], entities, subjects=[key], keys=[key])[0]
        for text, key in zip(texts, keys, strict=True)
    ]
    assert alone == once


@pytest.mark.parametrize("default", ["pseudonymize", {"encrypt": {"level": 1}}])
def test_what_is_sealed_in_several_blocks_opens_in_several_blocks(monkeypatch, default):
    monkeypatch.setattr(documents, "BLOCK_BYTES", 400)
    texts = [None if i % 5 == 2 else user(a=[i, None, {"b": i % 3}], c=f"c{i % 2}") for i in range(30)]
    keys = [i % 4 for i in range(30)]
    sealed = {ANY_USER: {"a": {"encrypt": {"level": 1}}, "c": {"encrypt": {"level": 1}}}}
    plan, columns = treat(texts, sealed, keys=keys, subjects=keys, default=default)
    assert derive(plan, columns, keys, ConsentRequest(level=1)) == texts


def test_a_document_is_worked_on_once_for_the_rows_of_one_data_key():
    _, columns = treat([user(a=1)] * 1000, subjects=[0] * 1000, keys=[0] * 500 + [1] * 500)
    assert len(columns["contexts"].dictionary) == 2
    assert len(set(columns["contexts"].to_pylist())) == 1


# Derived datasets.


def derive(plan, columns, keys, request, joinable=False, gate=True) -> list[Any]:
    """The dataset's columns of treated documents, all of whose rows are admitted."""
    count = len(columns["contexts"])
    types = plan.lake_schema()
    lake = {name: pa.array(column.to_pylist(), types.field(name).type) for name, column in columns.items()}
    lake |= {
        "_event_time": pa.array([0] * count, pa.timestamp("us", "UTC")),
        "_contract": pa.array([plan.contract.contract] * count),
        "_key_link": pa.array(["k"] * count),
        "_subject_token": pa.array(["t"] * count),
        "_consent": pa.nulls(count, pa.list_(pa.int32())),
        "_event_id_reused": pa.nulls(count, pa.bool_()),
    }
    derived = DerivedPlan(plan, request, joinable)
    assert derived.schema().field("contexts").type == pa.string()
    made, leaks = derive_columns(pa.table(lake), derived, np.array(keys, np.int64), PlainSealer())
    assert leaks == [] or not gate
    return [None if text is None else json.loads(text) for text in made["contexts"].to_pylist()]


def rekeyed(pseudonym):
    return PlainSealer().rekey([bytes.fromhex(pseudonym)])[0].hex()


def test_consented_values_are_readable_again_inside_documents_and_the_rest_is_unlinked():
    data = {"a": {"x": [1, 2.0, "3", None]}, "b": True, "c": "c", "d": "d", "e": "e", "f": {"g": "h"}, "z": 0}
    entities = {
        ANY_USER: {
            "a": {"encrypt": {"level": 1}},
            "b": {"encrypt": {"level": 1}},
            "c": {"encrypt": {"level": 2}},
            "d": "pseudonymize",
            "e": {"pseudonymize": {"hash": "MD5"}},
            "f/g": "keep",
            "z": {"generalize": {"step": 10}},
        }
    }
    plan, columns = treat([user(**data, more="m")], entities)
    lake = json.loads(columns["contexts"][0].as_py())["data"][0]["data"]
    (out,) = derive(plan, columns, [0], ConsentRequest(level=1))
    found = out["data"][0]["data"]
    assert exactly({name: found[name] for name in "abfz"}) == exactly({name: data[name] for name in "abfz"})
    assert found["d"] == rekeyed(lake["d"])
    assert found["e"] == rekeyed(lake["e"])
    assert len(lake["e"]) == 32
    assert found[rekeyed(named("more"))] == rekeyed(unlisted("m"))
    assert found["c"] != lake["c"]
    assert b64decode(found["c"])[:1] == b"\x01"
    (joined,) = derive(plan, columns, [0], ConsentRequest(purposes=frozenset({2})), joinable=True)
    assert joined["data"][0]["data"] == lake | {"c": "c"}


def test_an_encrypted_default_opens_down_to_the_leaves_and_leaves_names_closed():
    document = {
        "schema": CONTEXTS,
        "data": [entity(USER, {"a": [1, "x", None, True]}), 5],
        "more": {"k": 2.5},
    }
    plan, columns = treat([document, "john", '{"a": 1}'], default={"encrypt": {"level": 3}})
    out, text, whole = derive(plan, columns, [0, 1, 2], ConsentRequest(level=3))
    assert exactly(out) == exactly(
        {
            "schema": CONTEXTS,
            "data": [entity(rekeyed(named(USER)), {rekeyed(named("a")): [1, "x", None, True]}), 5],
            rekeyed(named("more")): {rekeyed(named("k")): 2.5},
        }
    )
    assert text == "john"
    assert whole == {"a": 1}
    closed = derive(plan, columns, [0, 1, 2], ConsentRequest(level=2))
    assert "john" not in json.dumps(closed)


# Random documents, under random contracts.

NAMES = st.sampled_from(["a", "b", "c", "d", "x/y", "schema", "data", "secret name", "é\n"])
TEXTS = st.sampled_from(
    [
        "",
        "x",
        "true",
        "42",
        "https://shop.example/u/1?q=john&page=2",
        "203.0.113.77",
        "2001:db8:1:2::7",
        "1984-05-06",
        "2026-11-22T10:31:00+02:00",
        "9" * 25,
        "ünïcode 💥",
    ]
) | st.text(max_size=6)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-100, 100)
    | st.sampled_from([1732271766123, 2**63, -(2**63) - 1, 10**30])
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
ORDER = "iglu:com.acme/order/jsonschema/2-0-0"
URIS = st.sampled_from(
    [USER, "iglu:com.acme/user/jsonschema/1-0-0", ORDER, CONTEXTS, "john", "iglu:a/b/c/1-0"]
)
ENTITIES = st.builds(
    lambda schema, data, more: entity(schema, data) | more,
    URIS | VALUES,
    VALUES,
    st.just({}) | st.dictionaries(NAMES, SCALARS, max_size=1),
)
DOCUMENTS = (
    st.builds(
        entity, st.sampled_from([CONTEXTS, UNSTRUCT]), st.lists(ENTITIES | VALUES, max_size=4) | ENTITIES
    )
    | ENTITIES
    | VALUES
)
JSON_TEXTS = DOCUMENTS.map(json.dumps) | st.none() | st.just("no JSON")

PATHS = st.sampled_from(
    ["a", "a/b", "a/b/c", "a[]", "a[]/b", "a[][]", "[]", "[]/b", "b", "x~1y", "data", "b/c/d"]
)
TREATMENTS = st.sampled_from(
    [
        "keep",
        "drop",
        "pseudonymize",
        {"pseudonymize": {"domain": "user"}},
        {"pseudonymize": {"joinable": True}},
        {"pseudonymize": {"hash": "SHA-1"}},
        {"encrypt": {"level": 1}},
        {"encrypt": {"level": 2}},
        {"generalize": {"ipv4_prefix": 24}},
        {"generalize": {"date": "month"}},
        {"generalize": {"step": 10}},
        {"generalize": {"step": 0.5}},
        {"url": {"keep_query": ["page"]}},
        {"mask": {"keep_first": 1}},
    ]
)
CRITERIA = st.sampled_from(
    [
        ANY_USER,
        USER,
        ANY,
        "iglu:com.acme/order/jsonschema/*-*-*",
        "iglu:com.acme/user/jsonschema/1-0-*",
        "iglu:com.acme/*/jsonschema/*-*-*",
    ]
)
INSIDE = st.dictionaries(CRITERIA, st.dictionaries(PATHS, TREATMENTS, max_size=4), max_size=3)
DEFAULTS = st.sampled_from(["pseudonymize", "pseudonymize", "keep", "drop", {"encrypt": {"level": 1}}])
THOROUGH = settings(max_examples=200, deadline=None)


def rows_of(texts):
    """Data keys and people of some rows: two data keys a person."""
    keys = [row % 4 for row in range(len(texts))]
    return {"keys": keys, "subjects": [key // 2 for key in keys]}


@THOROUGH
@given(st.lists(JSON_TEXTS, max_size=5), INSIDE, DEFAULTS)
@example(["[5.960464477539063e-08]"], {}, "pseudonymize")
def test_documents_are_treated_as_a_plain_walk_through_them_does(texts, inside, default):
    texts = texts + texts[:1]
    who = rows_of(texts)
    # The gate may rightly say that an original of one place is kept in another.
    plan, columns = treat(texts, inside, default=default, gate=False, **who)
    reference = Reference("contexts", plan.contract.fields["contexts"], plan.contract.default)
    found = columns["contexts"].to_pylist()
    for text, output, key, subject in zip(texts, found, who["keys"], who["subjects"], strict=True):
        expected = comparable(reference.document(text, subject)) if text is not None else None
        value = None if output is None else json.loads(output)
        assert exactly(opened(expected, value, key)) == exactly(expected)
        assert output is None or is_canonical(output)


def is_canonical(text):
    """JSON with sorted keys and no spaces."""
    between = re.sub(r'"(\\.|[^"\\])*"', "", text)
    objects = []
    json.loads(text, object_pairs_hook=lambda pairs: objects.append([name for name, _ in pairs]))
    return not re.search(r"\s", between) and all(names == sorted(names) for names in objects)


@THOROUGH
@given(st.lists(JSON_TEXTS, max_size=4), INSIDE, DEFAULTS, st.integers(0, 2))
def test_derived_documents_have_what_is_consented_as_it_was_and_nothing_else(texts, inside, default, level):
    who = rows_of(texts)
    plan, columns = treat(texts, inside, default=default, gate=False, **who)
    treatment = plan.contract.fields["contexts"]
    reference = Reference("contexts", treatment, plan.contract.default)
    out = derive(plan, columns, who["keys"], ConsentRequest(level=level), gate=False)
    for text, output, subject in zip(texts, out, who["subjects"], strict=True):
        expected = reference.document(text, subject) if text is not None else None
        assert exactly(closed(expected, output)) == exactly(consented(expected, level))


def consented(value, level):
    """What a dataset has for a treated document, but for how URLs are keyed; None where it stays sealed."""
    if isinstance(value, dict):
        return {consented(name, level): consented(inner, level) for name, inner in value.items()}
    if isinstance(value, list):
        return [consented(inner, level) for inner in value]
    if isinstance(value, Sealed):
        return value.value if value.level <= level else None
    if isinstance(value, Pseudonym):
        return rekeyed(value.digest.hex())
    return url(value)


def closed(expected, output):
    """`output` with None for each ciphertext where one has to be."""
    if isinstance(expected, Sealed) and isinstance(output, str) and re.fullmatch("A[Q-Za-f].{26,}", output):
        return None if output != expected.value else output
    if isinstance(expected, dict) and isinstance(output, dict):
        by_name = {comparable_name(name): inner for name, inner in expected.items()}
        return {name: closed(by_name.get(name), inner) for name, inner in output.items()}
    if isinstance(expected, list) and isinstance(output, list) and len(expected) == len(output):
        return [closed(one, other) for one, other in zip(expected, output, strict=True)]
    return output if isinstance(expected, Sealed | Pseudonym) else url(output)


def comparable_name(name):
    return rekeyed(name.digest.hex()) if isinstance(name, Pseudonym) else name


def url(value):
    return re.sub("[0-9a-f]{64}", "…", value) if isinstance(value, str) else value


# What must never come out.

SECRETS = st.text("ghijklmnopqrstuvwxyz €", min_size=4, max_size=12)
PRIVATE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | SECRETS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SECRETS, inner, max_size=4),
    max_leaves=15,
)
PRIVATE_DOCUMENTS = (
    st.builds(
        entity,
        st.just(CONTEXTS),
        st.lists(st.builds(entity, st.just(USER) | SECRETS, PRIVATE) | PRIVATE, max_size=4),
    )
    | st.builds(entity, st.just(UNSTRUCT), st.builds(entity, st.just(USER), PRIVATE))
    | st.builds(
        lambda data, more: entity(USER, data) | more, PRIVATE, st.dictionaries(SECRETS, PRIVATE, max_size=2)
    )
    | PRIVATE
)


def leaves_of(value):
    """Every scalar and every name in a parsed document, but for what a document is made of."""
    if isinstance(value, dict):
        names = [name for name in value if name not in ("schema", "data")]
        return names + [leaf for inner in value.values() for leaf in leaves_of(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves_of(inner)]
    return [] if value in (None, CONTEXTS, UNSTRUCT) else [value]


def shape(value):
    """Lists and objects without names and values; null shows."""
    if isinstance(value, dict):
        around = {name: shape(value[name]) for name in ("schema", "data") if name in value}
        others = [shape(inner) for name, inner in value.items() if name not in around]
        return around, sorted(others, key=repr)
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return value if value in (None, CONTEXTS, UNSTRUCT) and not isinstance(value, bool) else "leaf"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(PRIVATE_DOCUMENTS, min_size=1, max_size=4),
    st.sampled_from(["pseudonymize", {"encrypt": {"level": 1}}, "drop"]),
)
def test_where_nothing_is_listed_nothing_survives_and_the_shape_does(documents, default):
    _, columns = treat(documents, default=default)
    for document, output in zip(documents, columns["contexts"].to_pylist(), strict=True):
        if output is None:
            assert document is None or default == "drop"
            continue
        value = json.loads(output)
        found = leaves_of(value)
        assert all(isinstance(leaf, str) for leaf in found)
        form = (
            "[0-9a-f]{64}" if default == "pseudonymize" else "A[Q-Za-f][A-Za-z0-9+/]{26,}={0,2}|[0-9a-f]{64}"
        )
        assert all(re.fullmatch(form, leaf) for leaf in found)
        bare = re.sub(f"{CONTEXTS}|{UNSTRUCT}|schema|data|null", "", output)
        for secret in leaves_of(document):
            assert not (isinstance(secret, str) and len(secret) >= 4 and secret in bare)
        if default == "drop":
            assert found == []
        elif isinstance(document, dict) and "schema" in document:
            assert shape(value) == shape(document)
            assert len(found) == len(leaves_of(document))
        else:
            assert len(found) == 1, "a whole"


NESTED = st.recursive(
    st.none() | st.integers(10**6, 10**9) | SECRETS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(SECRETS | st.sampled_from(["a", "b", "c"]), inner, max_size=4)
    ),
    max_leaves=15,
)
OPEN = st.sampled_from(["keep", {"mask": {"keep_first": 1}}, {"generalize": {"step": 1}}, {"url": {}}])
OPEN_PATHS = st.sampled_from(["a", "a/b", "a[]", "a[]/b", "a[][]", "a/b/c", "b", "b/c", "[]/a", "[]"])


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["a", "b"]), NESTED) | NESTED,
    st.dictionaries(OPEN_PATHS, OPEN, min_size=1, max_size=3),
    st.sampled_from(["pseudonymize", {"encrypt": {"level": 1}}, "drop"]),
)
def test_whatever_the_shape_no_original_survives_but_scalars_and_lists_of_them_that_are_listed(
    data, entities, default
):
    document = entity(CONTEXTS, [entity(USER, data)])
    _, columns = treat([document], {ANY_USER: entities}, default=default, gate=False)
    treated_data = json.loads(columns["contexts"][0].as_py())["data"][0]["data"]
    readable = [str(one) for path in entities for one in found_at(data, path) if one is not None]
    masked = [one[0] + "*" * (len(one) - 1) for one in readable]
    names = [name for path in entities for name in re.split(r"[\[\]/]+", path)]
    for leaf in leaves_of(treated_data):
        hidden = re.fullmatch(r"[0-9a-f]{64}|A[Q-Za-f][A-Za-z0-9+/]{26,}={0,2}", str(leaf))
        assert hidden or str(leaf) in [*readable, *masked, *names]


def found_at(data, path):
    """The scalars that stand at a path, and those in a list of scalars there."""
    values = [data]
    for name in re.findall(r"\[\]|[^\[\]/]+", path):
        if name == "[]":
            values = [one for value in values if isinstance(value, list) for one in value]
        else:
            values = [value[name] for value in values if isinstance(value, dict) and name in value]
    lists = [value for value in values if isinstance(value, list)]
    flat = [value for value in lists if not any(isinstance(one, dict | list) for one in value)]
    return [value for value in values if not isinstance(value, dict | list)] + [
        one for value in flat for one in value
    ]


@settings(max_examples=50, deadline=None)
@given(st.lists(DOCUMENTS, max_size=3), INSIDE, DEFAULTS, st.randoms())
def test_equal_documents_give_equal_bytes_in_whatever_order_their_keys_come(
    documents, inside, default, random
):
    def shuffled(value):
        if isinstance(value, dict):
            names = list(value)
            random.shuffle(names)
            return {name: shuffled(value[name]) for name in names}
        return [shuffled(inner) for inner in value] if isinstance(value, list) else value

    def bytes_of(values):
        return treat(values, inside, default=default, gate=False)[1]["contexts"].to_pylist()

    once = bytes_of(documents)
    assert bytes_of(documents) == once
    whole = [isinstance(value, str) for value in documents]
    again = bytes_of(
        [value if is_text else shuffled(value) for value, is_text in zip(documents, whole, strict=True)]
    )
    assert again == once


# The leak gate.


def gate(texts, tamper=None, entities=None, **settings):
    plan, columns = treat(texts, entities, gate=False, **settings)
    count = len(texts)
    original = pa.table(
        {
            "id": settings.pop("ids", [f"i{row}" for row in range(count)]),
            "contexts": pa.array([None if text is None else json.dumps(text) for text in texts], pa.string()),
            "payload": pa.nulls(count, pa.struct([("event", pa.string())])),
            UNLISTED: pa.nulls(count, pa.string()),
        }
    )
    if tamper is not None:
        columns["contexts"] = pa.array([json.dumps(value) for value in tamper])
    return [str(leak) for leak in inspect(original, columns, plan)]


KEPT = {ANY_USER: {"k": "keep", "m": {"encrypt": {"level": 1}}, "p": "pseudonymize", "d": "drop"}}


def test_kept_values_and_names_inside_documents_are_looked_at():
    field = f"contexts {ANY_USER} k"
    assert gate([user(k="fine")], entities=KEPT) == []
    assert gate([user(k=["x", "write to john@acme.com"])], entities=KEPT) == [
        f"{field}: looks like email; treat it, or say keep: {{allow: [email]}} (1 value)"
    ]
    assert gate([user(k=["x", {"john@acme.com": "john@acme.com"}])], entities=KEPT) == []
    assert gate([user(k={"john@acme.com": 1})], default="keep") == [
        "contexts, what the contract does not list (default): "
        "looks like email; treat it, or say keep: {allow: [email]} (1 value)"
    ]
    for number in (4111111111111111, 4111111111111111.0, -4111111111111111, -4111111111111111.0):
        assert gate([user(k=[1.5, number])], entities=KEPT) == [
            f"{field}: looks like card; treat it, or say keep: {{allow: [card]}} (1 value)"
        ]
    (found,) = gate([entity("iglu:10.0.0.7/x/y/1-0-0", {})], entities={"iglu:*/x/y/*-*-*": {}})
    assert found.startswith("contexts $schema: looks like ip")


def test_an_original_from_inside_a_document_is_found_in_a_kept_value_of_its_row_alone():
    texts = [user(m="ann-77", k="x"), user(p=123456, k="y"), user(m="zoe-88", k="by ann-77 and 123456")]
    assert gate(texts, entities=KEPT) == []
    texts = [user(m="ann-77", k="by ann-77", p=123456), user(p=123456, k=[123456, True])] * 2
    rule = "contains the original (treat it, or say keep: {allow: [original]})"
    assert sorted(gate(texts, entities=KEPT)) == [
        f"contexts {ANY_USER} k: {rule} of contexts {ANY_USER} m (2 values)",
        f"contexts {ANY_USER} k: {rule} of contexts {ANY_USER} p (2 values)",
    ]


@pytest.mark.parametrize("card", [5111222233334444, 123456, -4711001])
def test_a_whole_number_is_found_whatever_its_type(card):
    rule = "contains the original (treat it, or say keep: {allow: [original]})"
    texts = [
        user(k=float(card), p=card),
        user(k=f"no. {abs(card)}", p=float(card)),
        user(k=card, p=str(abs(card))),
    ]
    found = [f"contexts {ANY_USER} k: {rule} of contexts {ANY_USER} p (3 values)"]
    assert gate([*texts, user(k=1.5, p=1.5)], entities=KEPT) == found


def test_an_original_of_a_column_is_found_inside_a_document():
    fields = {"id": "pseudonymize"}
    rule = "contains the original (treat it, or say keep: {allow: [original]}) of id (2 values)"
    ids = ["person-1", "person-2", "person-1"]
    texts = [user(k="for person-1"), user(k="for person-1"), user(k="for person-1")]
    plan, columns = treat(texts, KEPT, keys=[0, 0, 0], subjects=[0, 0, 0], fields=fields, gate=False)
    original = pa.table(
        {
            "id": ids,
            "contexts": [json.dumps(text) for text in texts],
            "payload": pa.nulls(3, pa.struct([("event", pa.string())])),
            UNLISTED: pa.nulls(3, pa.string()),
        }
    )
    assert len(columns["contexts"].dictionary) == 1
    assert [str(leak) for leak in inspect(original, columns, plan)] == [f"contexts {ANY_USER} k: {rule}"]


def test_rows_stay_in_order_whoever_owns_their_documents():
    """Distinct documents come sorted by owner; the search in equal rows wants them in the chunk's order."""
    texts = [user(k=f"about secret {row}", **({"p": f"secret {row}"} if row % 3 else {})) for row in range(6)]
    plan, columns = treat(texts, KEPT, keys=[5, 3, 4, 0, 2, 1], subjects=[2, 1, 2, 0, 1, 0], gate=False)
    original = pa.table(
        {
            "id": [f"i{row}" for row in range(6)],
            "contexts": [json.dumps(text) for text in texts],
            "payload": pa.nulls(6, pa.struct([("event", pa.string())])),
            UNLISTED: pa.nulls(6, pa.string()),
        }
    )
    (found,) = inspect(original, columns, plan)
    assert (found.column, found.count) == (f"contexts {ANY_USER} k", 4)


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (user(m="clear"), f"contexts {ANY_USER} m: not in the form of encrypt"),
        (user(m={"clear": 1}), f"contexts {ANY_USER} m: not in the form of encrypt"),
        (user(p=5), f"contexts {ANY_USER} p: not in the form of pseudonymize"),
        (user(p=["a" * 64, "clear"]), f"contexts {ANY_USER} p: not in the form of pseudonymize"),
        (user(d=1), f"contexts {ANY_USER} d: is there, and should have been dropped"),
        (user(clear="a" * 64), "contexts $names: not in the form of pseudonymize"),
        (user(k="x") | {"clear": None}, "contexts $names: not in the form of pseudonymize"),
        (user(k={"clear": None}), "contexts $names: not in the form of pseudonymize"),
        (
            user(k=["a" * 64, {"a" * 64: "clear"}]),
            "contexts, what the contract does not list (default): not in the form of pseudonymize",
        ),
        (
            user(k=["clear", {}]),
            "contexts, what the contract does not list (default): not in the form of pseudonymize",
        ),
        (
            entity(CONTEXTS, ["clear"]),
            "contexts, what the contract does not list (default): not in the form of pseudonymize",
        ),
        (entity(CONTEXTS, [entity("clear", None)]), "contexts $names: not in the form of pseudonymize"),
        (entity(CONTEXTS, [entity(ORDER, None)]), "contexts $names: not in the form of pseudonymize"),
        (entity(ORDER, []), "contexts $names: not in the form of pseudonymize"),
        ("clear", "contexts, what the contract does not list (default): not in the form of pseudonymize"),
        (
            {"clear": 1},
            "contexts, what the contract does not list (default): not in the form of pseudonymize",
        ),
    ],
)
def test_what_is_not_treated_is_found_and_never_shown(output, found):
    assert gate([user(k="x")], tamper=[output], entities=KEPT) == [f"{found} (1 value)"]


@pytest.mark.parametrize(
    ("treatment", "good", "bad"),
    [
        ({"generalize": {"step": 10}}, [40, -10, 40.5, None], "47"),
        ({"generalize": {"date": "day"}}, ["2026-11-22", 1732233600000], "yesterday"),
        ({"generalize": {"ipv4_prefix": 24}}, ["203.0.113.0/24"], 5),
        ({"mask": {"keep_last": 2}}, ["***99", ""], "clear"),
        ({"url": {}}, ["https://a.example/"], "ann@a.example"),
        ({"pseudonymize": {"hash": "MD5"}}, ["a" * 32], "a" * 64),
    ],
)
def test_the_form_of_every_treatment_is_looked_at_inside_documents(treatment, good, bad):
    entities = {ANY_USER: {"x": treatment}}
    assert gate([user()], tamper=[user(x=good)], entities=entities) == []
    assert len(gate([user()], tamper=[user(x=[*good, bad])], entities=entities)) == 1
