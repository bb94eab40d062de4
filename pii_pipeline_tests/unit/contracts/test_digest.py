"""The digest of a contract: what it sees, and what it does not."""

import json
from datetime import timedelta

import pytest

from pii_pipeline.contracts.digest import meaning
from pii_pipeline.contracts.model import Consent, Contract, Rule
from pii_pipeline.contracts.treatments import (
    TREATMENTS,
    Drop,
    Encrypt,
    Generalize,
    Keep,
    Mask,
    Pseudonymize,
    SelfDescribing,
    Url,
)
from pii_pipeline_tests.unit.contracts.examples import (
    CONTRACT,
    INSIDE,
    SCHEMA,
    USER,
    changed,
    inside,
    load,
    with_properties,
)

EVERYTHING = (
    CONTRACT.replace("key_field", "max_age: 36h\nkey_field")
    + """\
  - {field: email, regex: '@'}
  - {field: tags, not_empty: true}
  - {field: quantity, enum: [1, 2]}
default: drop
"""
).replace(
    "  premium: keep\n",
    """\
  premium: keep
  id: {keep: {allow: [phone]}}
  session: {pseudonymize: {domain: visit, reversible: true}}
  person: {pseudonymize: {hash: SHA-256}}
  tags[]: {mask: {keep_last: 2}}
  product/sku: {url: {keep_query: [a]}}
  ts: {generalize: {date: day}}
  price: {generalize: {step: 0.5}}
  product/stock: drop
""",
)


def digest(folder, contract=CONTRACT, schema: object = SCHEMA) -> str:
    return load(folder, contract, schema).contract.digest


def test_digest_is_pinned(tmp_path):
    # An upgrade that changes it makes every batch of every stream again: that must be meant.
    assert digest(tmp_path / "a") == "556d99eca548c4f81b524d59a3fce31dc34b3244f03cfaa7962912fed2a3b77c"
    assert (
        digest(tmp_path / "b", EVERYTHING)
        == "13ac220e16d9df89cf3b7d085989948e018c9d52f1995003a4909a8214f9552c"
    )


def test_digest_tells_treatments_without_settings_apart_inside_entities_too():
    kept, dropped = (
        SelfDescribing(entities={"iglu:com.acme/page/jsonschema/1-*-*": {"url": item}})
        for item in (Keep(), Drop())
    )
    assert meaning(kept) != meaning(dropped)


def test_an_option_that_is_new_and_not_used_changes_no_digest(tmp_path):
    class LaterRule(Rule):
        multiple_of: int | None = None

    class LaterEncrypt(Encrypt, frozen=True):
        padded: bool = False

    class LaterContract(Contract):
        retention: timedelta = timedelta(days=90)

    def as_later(contract, **options):
        fields = {
            path: LaterEncrypt(level=treatment.level, **options)
            if isinstance(treatment, Encrypt)
            else treatment
            for path, treatment in contract.fields.items()
        }
        rules = [LaterRule.model_validate(dict(rule)) for rule in contract.validations]
        return LaterContract.model_validate(
            {**contract_settings(contract), "fields": fields, "validations": rules}
        )

    def contract_settings(contract):
        return {field.alias or name: getattr(contract, name) for name, field in Contract.model_fields.items()}

    contract = load(tmp_path, EVERYTHING).contract
    assert meaning(as_later(contract)) == meaning(contract)
    assert meaning(as_later(contract, padded=True)) != meaning(contract)


def test_defaults_are_pinned():
    # The digest leaves out what is as by default: a default that changes would change what contracts mean
    # under the same digest. A new option with a default of its own is added here.
    known = {
        Contract: {
            "time_format": None,
            "time_zone": "UTC",
            "max_age": timedelta(days=7),
            "data_subject": None,
            "event_id_field": None,
            "consent": None,
            "default": Pseudonymize(),
            "fields": {},
            "validations": (),
        },
        Consent: {"field": None, "values": None, "default": None},
        Rule: dict.fromkeys(("regex", "min", "max", "enum", "min_length", "max_length", "not_empty")),
        Keep: {"name": "keep", "allow": ()},
        Drop: {"name": "drop"},
        Pseudonymize: {
            "name": "pseudonymize",
            "domain": None,
            "joinable": False,
            "reversible": False,
            "hash": None,
        },
        Encrypt: {"name": "encrypt"},
        Generalize: {
            "name": "generalize",
            "ipv4_prefix": None,
            "ipv6_prefix": None,
            "date": None,
            "step": None,
        },
        Url: {"name": "url", "keep_query": (), "keep_path": True},
        Mask: {"name": "mask", "keep_first": 0, "keep_last": 0},
        SelfDescribing: {"name": "self_describing", "entities": {}},
    }
    assert set(known) >= set(TREATMENTS.values())
    for model, defaults in known.items():
        found = {
            name: field.default
            for name, field in model.model_fields.items()
            if not field.is_required() and not field.exclude
        }
        assert found == defaults, model


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("state: active", "state: archived"),
        ("state: active", "# a comment\nstate: active"),
        ("key_field: session", "max_age: 168h\nkey_field: 'session'"),
        ("fields:", "default: {pseudonymize: {joinable: false}}\nfields:"),
        ("  premium: keep", "  premium: {keep: {}}"),
        (
            "  email: {encrypt: {level: 2}}\n  premium: keep",
            "  premium: keep\n  email: {encrypt: {level: 2}}",
        ),
    ],
)
def test_digest_ignores_what_does_not_reach_the_lake(tmp_path, old, new):
    assert digest(tmp_path / "a") == digest(tmp_path / "b", changed(old, new))


def test_digest_ignores_the_schemas_layout(tmp_path):
    assert digest(tmp_path / "a") == digest(tmp_path / "b", schema=json.dumps(SCHEMA))
    # keywords in another order; the order of properties is that of the columns, and counts
    turned = {"properties": SCHEMA["properties"], "type": "object"}
    assert digest(tmp_path / "a") == digest(tmp_path / "c", schema=turned)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("shop/1.0.0", "shop/1.0.1"),
        ("time_field: ts", "time_field: created_ms"),
        ("key_field: session", "key_field: id"),
        ("event_id_field: id\n", ""),
        ("namespace: customer", "namespace: guest"),
        ("field: person", "field: session"),
        ("type: granular", "type: cumulative"),
        ("level: 2", "level: 3"),
        ("premium: keep", "premium: drop"),
        ("fields:", "default: drop\nfields:"),
        ("fields:", "max_age: 6d\nfields:"),
        ("min: 0", "min: 1"),
        ("min: 0", "max: 0"),
    ],
)
def test_digest_sees_what_reaches_the_lake(tmp_path, old, new):
    assert digest(tmp_path / "a") != digest(tmp_path / "b", changed(old, new))


def test_digest_sees_the_schema(tmp_path):
    first = digest(tmp_path / "a")
    assert first != digest(tmp_path / "b", schema=with_properties(extra={"type": "string"}))
    assert first != digest(
        tmp_path / "c", schema=with_properties(email={"type": ["string", "null"], "minLength": 1})
    )
    order = {**SCHEMA, "properties": dict(reversed(SCHEMA["properties"].items()))}
    assert first != digest(tmp_path / "d", schema=order)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("level: 2}}\n        plan", "level: 3}}\n        plan"),
        ("plan: keep", "plan: drop"),
        ("1-*-*", "1-0-*"),
    ],
)
def test_digest_sees_what_is_listed_inside_documents(tmp_path, old, new):
    contract = changed("  premium: keep\n", INSIDE)
    assert digest(tmp_path / "a", contract) != digest(tmp_path / "b", changed(old, new, contract))


def test_digest_sees_the_order_of_criteria_and_not_that_of_paths(tmp_path):
    one, other = (
        f"      {USER}:\n        a: keep\n",
        "      iglu:com.acme/user/jsonschema/1-0-0:\n        a: drop\n",
    )
    head = INSIDE.partition("      iglu")[0]
    first = changed("  premium: keep\n", head + one + other)
    assert digest(tmp_path / "a", first) != digest(tmp_path / "b", changed(one + other, other + one, first))
    paths = inside("a: keep", "b: drop")
    assert digest(tmp_path / "c", paths) == digest(tmp_path / "d", inside("b: drop", "a: keep"))
    assert load(tmp_path / "e", paths).contract.hashes is False
    assert load(tmp_path / "f", inside("a: {pseudonymize: {hash: MD5}}")).contract.hashes is True
    assert load(
        tmp_path / "g", changed("premium: keep", "premium: {pseudonymize: {hash: MD5}}")
    ).contract.hashes
