"""What changed from one version of a contract to the next, and for whom it matters."""

import json

import pytest

from pii_pipeline_tests.unit.contracts.comparing import changes, diff, load
from pii_pipeline_tests.unit.contracts.examples import SCHEMA, changed, with_properties


def test_a_contract_and_itself(tmp_path):
    contract = load(tmp_path)
    comparison = diff(contract, contract)
    assert comparison.changes == ()
    assert comparison.accepts_old_events and comparison.accepts_new_events and comparison.keeps_columns
    assert (comparison.asked, comparison.made, comparison.says_so) == (None, None, True)


def test_the_version_alone_is_no_change(tmp_path):
    comparison, found = changes(tmp_path, changed("1.0.0", "1.0.1"))
    assert found == []
    assert (comparison.asked, comparison.made, comparison.says_so) == (None, "patch", True)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("premium: keep", "premium: drop", [
            ("fields.premium", "keep", "drop", "stronger", ""),
            ("lake.premium", "bool", None, None, "r"),
        ]),
        ("premium: keep", "premium: pseudonymize", [
            ("fields.premium", "keep", "pseudonymize", "stronger", ""),
            ("lake.premium", "bool", "string", None, "r"),
        ]),
        ("level: 2", "level: 1", [
            ("fields.email", "{encrypt: {level: 2}}", "{encrypt: {level: 1}}", "other", ""),
        ]),
        ("  premium: keep", "  premium: keep\n  product: {encrypt: {level: 1}}", [
            ("fields.product", "pseudonymize", "{encrypt: {level: 1}}", "other", ""),
            ("lake.product", "struct<sku: string, stock: string>", "string", None, "r"),
        ]),
        ("time_field: ts", "time_field: created_ms", [("time_field", "ts", "created_ms", None, "on")]),
        ("time_field: ts", "time_field: $arrival", [("time_field", "ts", "$arrival", None, "n")]),
        ("time_field: ts", "time_field: ts\nmax_age: 36h", [("max_age", "7d", "36h", None, "o")]),
        ("time_field: ts", "time_field: ts\nmax_age: 14d", [("max_age", "7d", "14d", None, "n")]),
        ("key_field: session", "key_field: id", [("key_field", "session", "id", "other", "on")]),
        ("event_id_field: id\n", "", [("event_id_field", "id", None, None, "")]),
        ("data_subject: {field: person, namespace: customer}\n", "", [
            ("data_subject", "{field: person, namespace: customer}", None, "weaker", ""),
        ]),
        ("namespace: customer", "namespace: guest", [
            ("data_subject", "{field: person, namespace: customer}", "{field: person, namespace: guest}",
             "other", ""),
        ]),
        ("type: granular", "type: cumulative", [
            ("consent", "{type: granular, field: levels}", "{type: cumulative, field: levels}",
             "other", ""),
        ]),
        ("acme/shop", "acme/store", [("contract", "acme/shop", "acme/store", "other", "")]),
        ("min: 0", "min: 1", [("validations.price.min", "0.0", "1.0", None, "o")]),
        ("min: 0", "min: -1", [("validations.price.min", "0.0", "-1.0", None, "n")]),
        ("min: 0", "max: 9", [
            ("validations.price.min", "0.0", None, None, "n"),
            ("validations.price.max", None, "9.0", None, "o"),
        ]),
        ("validations:\n  - {field: price, min: 0}\n", "", [
            ("validations.price.min", "0.0", None, None, "n"),
        ]),
        ("{field: price, min: 0}", "{field: price, min: 0}\n  - {field: email, regex: '@'}", [
            ("validations.email.regex", None, "@", None, "o"),
        ]),
    ],
)  # fmt: skip
def test_what_the_contract_says(tmp_path, old, new, expected):
    assert changes(tmp_path, changed(old, new))[1] == sorted(expected, key=lambda item: item[0] > "fields")


CONSENT = "consent: {field: levels, type: granular}"


@pytest.mark.parametrize(
    ("before", "after", "protection"),
    [
        (CONSENT, "consent: {field: levels, type: granular, default: [1]}", "weaker"),
        ("consent: {type: granular, default: [1, 2]}", "consent: {type: granular, default: [1]}", "stronger"),
        ("consent: {type: granular, default: [1]}", "consent: {type: granular, default: [2]}", "other"),
        ("consent: {type: cumulative, default: [1]}", "consent: {type: cumulative, default: [2]}", "weaker"),
        (
            "consent: {type: granular, field: email, values: {agreed: [1], refused: []}}",
            "consent: {type: granular, field: email, values: {agreed: [1], refused: [1]}}",
            "weaker",
        ),
        (
            "consent: {type: granular, field: email, values: {agreed: [1, 2], refused: []}}",
            "consent: {type: granular, field: email, values: {agreed: [1], refused: [3]}}",
            "other",
        ),
        (CONSENT, "consent: {field: quantity, type: granular}", "other"),
        (CONSENT, "", "other"),
    ],
)
def test_consent_that_means_more_protects_less(tmp_path, before, after, protection):
    old, new = changed(CONSENT, before), changed(CONSENT, after)
    assert [found[3] for found in changes(tmp_path / "a", new, old_contract=old)[1]] == [protection]
    opposite = {"weaker": "stronger", "stronger": "weaker", "other": "other"}[protection]
    assert [found[3] for found in changes(tmp_path / "b", old, old_contract=new)[1]] == [opposite]


@pytest.mark.parametrize(("default", "protection"), [("keep", "weaker"), ("drop", "stronger")])
def test_a_default_is_told_once_for_all_fields_that_are_not_listed(tmp_path, default, protection):
    _, found = changes(tmp_path, changed("fields:", f"default: {default}\nfields:"))
    assert found[0] == ("default", "pseudonymize", default, protection, "")
    assert {place.partition(".")[0] for place, *_ in found[1:]} == {"lake"}


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        ("{field: email, regex: '@'}", "{field: email, regex: '@a'}", "on"),
        ("{field: quantity, max: 9}", "{field: quantity, max: 8}", "o"),
        ("{field: email, max_length: 9}", "{field: email, max_length: 10}", "n"),
        ("{field: tags, min_length: 2}", "{field: tags, min_length: 1}", "n"),
        ("{field: quantity, enum: [1, 2]}", "{field: quantity, enum: [1, 2, 3]}", "n"),
        ("{field: quantity, enum: [1, 2]}", "{field: quantity, enum: [2, 3]}", "on"),
    ],
)
def test_a_rule_that_is_tightened_or_loosened(tmp_path, before, after, refused):
    old, new = (changed("{field: price, min: 0}", rule) for rule in (before, after))
    (_, (found,)) = changes(tmp_path, new, old_contract=old)
    assert found[4] == refused


def test_rules_of_one_kind_on_one_field(tmp_path):
    two = changed("{field: price, min: 0}", "{field: email, regex: a}\n  - {field: email, regex: b}")
    other = changed("{field: price, min: 0}", "{field: email, regex: b}\n  - {field: email, regex: a}")
    assert changes(tmp_path / "a", other, old_contract=two)[1] == [], "their order is no change"
    one = changed("{field: price, min: 0}", "{field: email, regex: c}")
    assert changes(tmp_path / "b", one, old_contract=two)[1] == [
        ("validations.email.regex", "a", None, None, "n"),
        ("validations.email.regex", "b", None, None, "n"),
        ("validations.email.regex", None, "c", None, "o"),
    ]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"extra": {"type": "string"}}, [("schema.extra", None, "string, pseudonymize", None, "")]),
        ({"extra": {"type": "array", "items": {"type": "array", "items": {"type": "object"}}}}, [
            ("schema.extra", None, "list of list of json, pseudonymize", None, ""),
        ]),
        ({"quantity": {"type": "number"}}, [
            ("schema.quantity", "integer", "number", None, "n"),
        ]),
        ({"price": {"type": "integer"}}, [("schema.price", "number", "integer", None, "o")]),
        ({"tags": {"type": "array", "items": {"type": "integer"}}}, [
            ("schema.tags", "list of string", "list of integer", None, "on"),
        ]),
        ({"quantity": {"type": "object", "properties": {"n": {"type": "integer"}}}}, [
            ("schema.quantity", "integer", "record", None, "on"),
            ("lake.quantity", "string", "struct<n: string>", None, "r"),
        ]),
        ({"email": {"type": "string"}}, [("schema.email", "null, string", "string", None, "o")]),
        ({"id": {"type": ["string", "null"]}}, [("schema.id", "string", "null, string", None, "n")]),
        ({"id": {"type": "string", "minLength": 3}}, [("schema.id", None, "3 to any", None, "o")]),
        ({"id": {"type": "string", "maxLength": 3, "title": "x"}}, [
            ("schema.id", None, "any to 3", None, "o"),
        ]),
        ({"id": {"type": "string", "minLength": 0, "format": "uuid"}}, []),
        ({"id": {"type": "string", "pattern": "^a"}}, [("schema.id", None, "^a", None, "o")]),
        ({"id": {"enum": ["b", "a"], "type": "string"}}, [("schema.id", None, '"a", "b"', None, "o")]),
        ({"quantity": {"type": "integer", "minimum": 1, "exclusiveMaximum": 9}}, [
            ("schema.quantity", None, "1 to 9 (excluded)", None, "o"),
        ]),
        ({"quantity": {"type": "integer", "multipleOf": 2}}, [
            ("schema.quantity", "multipleOf", "multipleOf", None, "on"),
        ]),
        ({"tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3}}, [
            ("schema.tags", None, "any to 3", None, "o"),
        ]),
        ({"product": {"type": "object", "properties": {
            "sku": {"type": "string"}, "stock": {"type": "integer"}}, "additionalProperties": False}}, [
            ("schema.product", None, "false", None, "o"),
        ]),
        ({"product": {"type": "object", "required": ["sku"], "properties": {
            "sku": {"type": "string"}, "size": {"type": "integer"}, "stock": {"type": "integer"}}}}, [
            ("schema.product/sku", "optional", "required", None, "o"),
            ("schema.product/size", None, "integer, pseudonymize", None, ""),
        ]),
        ({"product": {"type": "object", "required": ["size"], "properties": {
            "sku": {"type": "string"}, "size": {"type": "integer"}}}}, [
            ("schema.product/stock", "integer, pseudonymize", None, None, ""),
            ("schema.product/size", None, "integer, pseudonymize", None, "o"),
            ("lake.product/stock", "string", None, None, "r"),
        ]),
    ],
)  # fmt: skip
def test_what_the_schema_says(tmp_path, properties, expected):
    assert changes(tmp_path, schema=with_properties(**properties))[1] == expected


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        ({"minimum": 1}, {"minimum": 2}, "o"),
        ({"minimum": 1}, {"exclusiveMinimum": 1}, "o"),
        ({"maximum": 3}, {"exclusiveMaximum": 4}, "n"),
        ({"minimum": 1, "maximum": 2}, {"minimum": 0, "maximum": 1}, "on"),
        ({"minimum": 1}, {}, "n"),
        ({"enum": [1, 2]}, {"enum": [1]}, "o"),
        ({"const": 1}, {"enum": [1, 2]}, "n"),
    ],
)
def test_limits_of_the_schema(tmp_path, before, after, refused):
    old, new = (with_properties(quantity={"type": "integer", **words}) for words in (before, after))
    (_, (found,)) = changes(tmp_path, schema=new, old_schema=old)
    assert found[4] == refused


def test_the_old_draft_means_its_flags(tmp_path):
    draft4 = {"$schema": "http://json-schema.org/draft-04/schema#"}
    old = with_properties(quantity={"type": "integer", "minimum": 1, "exclusiveMinimum": True}) | draft4
    new = with_properties(quantity={"type": "integer", "exclusiveMinimum": 1})
    assert changes(tmp_path, schema=new, old_schema=old)[1] == []


def test_what_a_reference_leads_to_counts(tmp_path):
    def schema(least):
        either = {"oneOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}
        return with_properties(either=either) | {"$defs": {"n": {"type": "integer", "minimum": least}}}

    assert changes(tmp_path / "a", schema=schema(1), old_schema=schema(1))[1] == []
    (_, (found,)) = changes(tmp_path / "b", schema=schema(1), old_schema=schema(0))
    assert (found[0], found[4]) == ("schema.either", "on")


def test_where_undeclared_keys_are_refused_a_new_field_is_too(tmp_path):
    closed = {**SCHEMA, "additionalProperties": False}
    open_, more = with_properties(extra={"type": "string"}), {**with_properties(extra={"type": "string"})}
    assert changes(tmp_path / "a", schema=more | {"additionalProperties": False}, old_schema=closed)[1] == [
        ("schema.extra", None, "string, pseudonymize", None, "n")
    ]
    assert changes(tmp_path / "b", schema=closed, old_schema=open_ | {"required": ["extra"]})[1] == [
        ("schema", None, "false", None, "o"),
        ("schema.extra", "string, pseudonymize", None, None, "on"),
        ("lake.extra", "string", None, None, "r"),
    ]


@pytest.mark.parametrize(
    ("version", "schema", "asked", "made", "says_so"),
    [
        ("1.0.1", {**SCHEMA, "title": "Events"}, "patch", "patch", True),
        ("1.0.1", with_properties(extra={"type": "string"}), "minor", "patch", False),
        ("1.1.0", with_properties(extra={"type": "string"}), "minor", "minor", True),
        ("2.0.0", with_properties(extra={"type": "string"}), "minor", "major", True),
        ("1.1.0", with_properties(price={"type": "integer"}), "major", "minor", False),
        ("2.0.0", with_properties(price={"type": "integer"}), "major", "major", True),
        ("0.9.0", with_properties(extra={"type": "string"}), "minor", None, False),
    ],
)
def test_the_step_that_the_changes_ask_for(tmp_path, version, schema, asked, made, says_so):
    comparison, _ = changes(tmp_path, changed("1.0.0", version), schema)
    assert (comparison.asked, comparison.made, comparison.says_so) == (asked, made, says_so)


def test_json_says_everything(tmp_path):
    comparison, _ = changes(tmp_path, changed("premium: keep", "premium: drop").replace("1.0.0", "1.1.0"))
    said = json.loads(json.dumps(comparison.as_json()))
    assert said.pop("changes")[0] == {
        "place": "fields.premium",
        "about": "treatment",
        "before": "keep",
        "after": "drop",
        "protection": "stronger",
        "refuses_old": False,
        "refuses_new": False,
        "breaks_readers": False,
    }
    assert said == {
        "old": "acme/shop/1.0.0",
        "new": "acme/shop/1.1.0",
        "weaker": [],
        "accepts_old_events": True,
        "accepts_new_events": True,
        "keeps_columns": False,
        "step_asked": "major",
        "step_made": "minor",
        "version_says_so": False,
    }
