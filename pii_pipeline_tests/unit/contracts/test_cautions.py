"""What loads, but is risky: what is warned of."""

import pytest

from pii_pipeline.contracts.cautions import linkable_after_erasure
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


def cautions_of(folder, contract=CONTRACT, schema: object = SCHEMA) -> list[str]:
    return [str(caution).removeprefix(f"{folder}/") for caution in load(folder, contract, schema).warnings]


def test_encrypted_without_consent(tmp_path):
    contract = changed("consent: {field: levels, type: granular}\n", "")
    assert cautions_of(tmp_path, contract) == [
        "contract.yaml:9: fields.email: encrypted, but no `consent` says who may ever read it: drop it, or "
        "declare `consent`"
    ]


def test_keep_as_default(tmp_path):
    (first, *_) = cautions_of(tmp_path, changed("fields:", "default: keep\nfields:"))
    assert first.startswith("contract.yaml:9: default: every field that is not listed stays readable")


@pytest.mark.parametrize(
    ("name", "part", "why"),
    [
        ("subscribed", {"type": "boolean"}, "a boolean takes two values"),
        ("size", {"enum": ["S", "M", "L"]}, "takes only 3 values"),
        ("size", {"type": "string", "enum": [str(n) for n in range(50)]}, "takes only 50 values"),
        ("size", {"const": "S"}, "takes only 1 value"),
        ("country", {"type": "string"}, "its name promises few values"),
        ("billingCountry", {"type": "string"}, "its name promises few values"),
        ("birth_date", {"type": "string"}, "its name promises few values"),
        ("postal_code", {"type": "string"}, "its name promises few values"),
        ("GENDER", {"type": "string"}, "its name promises few values"),
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_few_values_pseudonymized(tmp_path, name, part, why, listed):
    contract = changed("premium: keep", f"premium: keep\n  {name}: pseudonymize") if listed else CONTRACT
    (caution,) = cautions_of(tmp_path, contract, with_properties(**{name: part}))
    where = f"contract.yaml:12: fields.{name}" if listed else "contract.yaml:1: default"
    assert caution.startswith(f"{where}: `{name}` is pseudonymized but {why}: ")
    assert caution.endswith("keep it if it identifies nobody, else generalize, encrypt or drop it")


def test_few_values_by_a_rule_and_inside_lists(tmp_path):
    contract = changed("price, min: 0", "session, enum: [a, b]")
    assert "`session` is pseudonymized but takes only 2 values" in cautions_of(tmp_path, contract)[0]
    sizes = {"type": "array", "items": {"enum": ["S", "M"]}}
    assert (
        "`sizes[]` is pseudonymized but takes only 2"
        in cautions_of(tmp_path, schema=with_properties(sizes=sizes))[0]
    )


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("size", {"type": "string", "enum": [str(n) for n in range(51)]}),
        ("capacity", {"type": "string"}),
        ("message", {"type": "string"}),
    ],
)
def test_many_values_pseudonymized(tmp_path, name, part):
    assert cautions_of(tmp_path, schema=with_properties(**{name: part})) == []


@pytest.mark.parametrize(
    ("name", "personal"),
    [
        ("contact_email", True),
        ("mobilePhone", True),
        ("userIP", True),
        ("ipv4", True),
        ("ipAddress", True),
        ("iban", True),
        ("name", True),
        ("first_name", True),
        ("product_name", False),
        ("ship", False),
        ("telemetry", False),
        ("recipe", False),
    ],
)
def test_kept_though_the_name_sounds_personal(tmp_path, name, personal):
    contract = changed("premium: keep", f"premium: keep\n  {name}: keep")
    found = cautions_of(tmp_path, contract, with_properties(**{name: {"type": "string"}}))
    expected = (
        f"contract.yaml:12: fields.{name}: `{name}` is kept readable for everybody, and its name sounds like "
        "personal data"
    )
    assert found == ([expected] if personal else [])


def test_kept_with_its_parent_or_answered(tmp_path):
    user = {"type": "object", "properties": {"name": {"type": "string"}}}
    found = cautions_of(
        tmp_path / "a", changed("premium: keep", "premium: keep\n  user: keep"), with_properties(user=user)
    )
    assert [caution.partition(" is kept")[0] for caution in found] == [
        "contract.yaml:12: fields.user: `user/name`"
    ]
    contract = changed("premium: keep", "premium: keep\n  email_template: {keep: {allow: [email]}}")
    assert cautions_of(tmp_path / "b", contract, with_properties(email_template={"type": "string"})) == []


def test_what_stays_linkable_after_an_erasure(tmp_path):
    contract = changed(
        "premium: keep",
        "premium: keep\n  items: {pseudonymize: {joinable: true}}\n"
        "  session: {pseudonymize: {domain: none}}\n  id: {pseudonymize: {domain: shared}}",
    )
    loaded = load(tmp_path, contract)
    assert linkable_after_erasure(loaded.contract) == ["session", "items[]/sku", "items[]/price"]
    (caution,) = loaded.warnings
    assert (caution.line, caution.field) == (9, "fields")
    assert caution.message.endswith("still linkable after an erasure: session, items[]/sku, items[]/price")


def test_cautions_reach_into_documents(tmp_path):
    contract = inside("country: pseudonymize", "email: keep", "device: {pseudonymize: {hash: MD5}}")
    contract = contract.replace("  email: {encrypt: {level: 2}}\n", "  email: drop\n")
    where = f"fields.context.self_describing.{USER}"
    found = cautions_of(tmp_path / "a", contract)
    assert [caution.partition(" but ")[0] for caution in found] == [
        f"contract.yaml:15: {where}.country: `context {USER} country` is pseudonymized",
        f"contract.yaml:16: {where}.email: `context {USER} email` is kept readable for everybody, and its "
        "name sounds like personal data",
        "contract.yaml:9: fields: joinable across people, so still linkable after an erasure: "
        f"context {USER} device",
    ]
    sealed = inside("address: {encrypt: {level: 3}}").replace(
        "consent: {field: levels, type: granular}\n", ""
    )
    assert (
        f"contract.yaml:14: {where}.address: encrypted, but no `consent` says"
        in cautions_of(tmp_path / "b", sealed)[-1]
    )


def test_a_joinable_default_reaches_what_is_not_listed_in_documents(tmp_path):
    contract = changed("fields:", "default: {pseudonymize: {joinable: true}}\nfields:").replace(
        "  premium: keep\n", INSIDE
    )
    assert "context" in linkable_after_erasure(load(tmp_path, contract).contract)
