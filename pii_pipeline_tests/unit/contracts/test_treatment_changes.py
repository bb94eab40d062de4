"""What is done to fields in one version of a contract and in the next, and what is protected less."""

import pytest

from pii_pipeline.contracts.treatments import Drop, Encrypt, Keep, SelfDescribing
from pii_pipeline_tests.unit.contracts.comparing import changes, diff, load
from pii_pipeline_tests.unit.contracts.examples import CONTRACT, SCHEMA, changed, with_properties


def test_treatments_below_a_record_and_of_its_own(tmp_path):
    old = changed("premium: keep", "premium: keep\n  product: keep")
    new = changed("premium: keep", "premium: keep\n  product: keep\n  product/sku: {mask: {keep_last: 1}}")
    assert changes(tmp_path, new, old_contract=old)[1] == [
        ("fields.product/sku", "keep", "{mask: {keep_last: 1}}", "stronger", "")
    ]


def test_entities_of_self_describing_fields_one_by_one(tmp_path):
    def described(contract, entities):
        fields = {**contract.fields, "context": SelfDescribing(entities=entities)}
        return contract.model_copy(update={"fields": fields})

    page, user = "iglu:com.acme/page/jsonschema/1-*-*", "iglu:com.acme/user/jsonschema/1-0-*"
    contract = load(tmp_path)
    old = described(contract, {page: {"url": Keep(), "title": Keep()}, user: {"address": Drop()}})
    new = described(
        contract, {page: {"url": Keep()}, user: {"address": Drop(), "address/city": Keep(), "id": Drop()}}
    )
    found = [
        (change.place, change.before, change.after, change.protection) for change in diff(old, new).changes
    ]
    assert found == [
        (f"fields.context.{page}.title", "keep", "pseudonymize", "stronger"),
        (f"fields.context.{user}.address/city", "drop", "keep", "weaker"),
        (f"fields.context.{user}.id", "pseudonymize", "drop", "stronger"),
    ]


def test_a_criterion_that_means_more_schemas_is_a_change_for_those_alone(tmp_path):
    def described(criterion):
        treatment = SelfDescribing(entities={criterion: {"url": Keep()}})
        return contract.model_copy(update={"fields": {"context": treatment}})

    contract = load(tmp_path)
    one, all_ = "iglu:com.acme/page/jsonschema/1-0-0", "iglu:com.acme/page/jsonschema/1-*-*"
    places = [f"fields.context.{all_}.$schema", f"fields.context.{all_}.url"]
    changes = diff(described(one), described(all_)).changes
    assert [(change.place, change.protection) for change in changes] == [(at, "weaker") for at in places]
    changes = diff(described(all_), described(one)).changes
    assert [(change.place, change.protection) for change in changes] == [(at, "stronger") for at in places]


def test_a_schema_that_becomes_readable_is_a_change(tmp_path):
    def described(entities, default="pseudonymize"):
        fields = {"context": SelfDescribing(entities=entities)}
        update = {"fields": fields, "default": Drop() if default == "drop" else contract.default}
        return contract.model_copy(update=update)

    contract = load(tmp_path)
    user, any_ = "iglu:com.acme/user/jsonschema/1-*-*", "iglu:*/*/jsonschema/*-*-*"
    (change,) = diff(described({}), described({any_: {}})).changes
    assert (change.place, change.before, change.after, change.protection) == (
        f"fields.context.{any_}.$schema", "pseudonymize", "keep", "weaker",
    )  # fmt: skip
    assert diff(described({any_: {}}), described({user: {}, any_: {}})).changes == ()
    assert diff(described({any_: {}}), described({user: {}})).weaker == ()
    found = diff(described({}, "drop"), described({user: {"id": Drop()}}, "drop")).weaker
    assert [(change.place, change.before) for change in found] == [(f"fields.context.{user}.$schema", "drop")]


def test_what_is_kept_holds_for_scalars_and_lists_of_them(tmp_path):
    def described(paths):
        return contract.model_copy(update={"fields": {"context": SelfDescribing(entities={user: paths})}})

    contract, user = load(tmp_path), "iglu:com.acme/user/jsonschema/1-*-*"
    old = described({"a": Keep(), "b": Drop(), "b/c": Keep()})
    new = described(
        {"a": Keep(), "a[]": Keep(), "a[][]": Keep(), "a/d": Keep(), "b": Drop(), "b/c/e": Keep()}
    )
    found = [
        (change.place.rpartition(".")[2], change.before, change.after) for change in diff(old, new).changes
    ]
    assert found == [
        ("b/c", "keep", "drop"),
        ("a[][]", "pseudonymize", "keep"),
        ("a/d", "pseudonymize", "keep"),
        ("b/c/e", "drop", "keep"),
    ]


def test_overlapping_criteria_that_change_places(tmp_path):
    def described(*criteria):
        entities = {criterion: places[criterion] for criterion in criteria}
        return contract.model_copy(update={"fields": {"context": SelfDescribing(entities=entities)}})

    contract = load(tmp_path)
    model, revision = "iglu:x/y/jsonschema/1-*-*", "iglu:x/y/jsonschema/*-0-*"
    places = {model: {"e": Encrypt(level=2), "f": Drop()}, revision: {"e": Keep(), "f": Keep()}}
    both = "fields.context.iglu:x/y/jsonschema/1-0-*"
    comparison = diff(described(model, revision), described(revision, model))
    found = [(change.place, change.before, change.after, change.protection) for change in comparison.changes]
    assert found == [
        (f"{both}.e", "{encrypt: {level: 2}}", "keep", "weaker"),
        (f"{both}.f", "drop", "keep", "weaker"),
    ]
    back = diff(described(revision, model), described(model, revision))
    assert {change.protection for change in back.changes} == {"stronger"}
    added = diff(described(model), described(revision, model))
    assert [change.place for change in added.weaker] == [
        f"fields.context.{revision}.$schema", f"fields.context.{revision}.e",
        f"fields.context.{revision}.f", f"{both}.e", f"{both}.f",
    ]  # fmt: skip


def test_criteria_of_which_no_schema_is_both_do_not_overlap(tmp_path):
    def described(*criteria):
        entities = {criterion: {"e": treatment} for criterion, treatment in criteria}
        return contract.model_copy(update={"fields": {"context": SelfDescribing(entities=entities)}})

    contract = load(tmp_path)
    one, two = ("iglu:x/y/jsonschema/1-0-*", Drop()), ("iglu:x/y/jsonschema/*-1-0", Keep())
    other = ("iglu:x/z/jsonschema/*-*-*", Keep())
    assert diff(described(one, two, other), described(other, two, one)).changes == ()


UNDECLARED = "pseudonymize, among undeclared keys"


@pytest.mark.parametrize(
    ("default", "treatment", "before", "after"),
    [
        ("pseudonymize", "keep", UNDECLARED, "keep"),
        ("pseudonymize", "{mask: {keep_last: 1}}", UNDECLARED, "{mask: {keep_last: 1}}"),
        ("keep", "keep", UNDECLARED, "keep"),
        ("drop", "pseudonymize", "drop, among undeclared keys", "pseudonymize"),
    ],
)
def test_a_new_field_is_weaker_than_an_undeclared_key(tmp_path, default, treatment, before, after):
    old = changed("fields:", f"default: {default}\nfields:")
    new = changed("premium: keep", f"premium: keep\n  extra: {treatment}", old)
    schema = with_properties(extra={"type": "string"})
    comparison, _ = changes(tmp_path, new, schema, old_contract=old)
    (weaker,) = comparison.weaker
    assert (weaker.place, weaker.before, weaker.after) == ("fields.extra", before, after)
    back, _ = changes(tmp_path / "back", old, SCHEMA, old_contract=new, old_schema=schema)
    assert back.weaker == ()


@pytest.mark.parametrize("treatment", ["pseudonymize", "drop", "{encrypt: {level: 2}}"])
def test_a_new_field_that_is_as_unreadable_as_an_undeclared_key(tmp_path, treatment):
    new = changed("premium: keep", f"premium: keep\n  extra: {treatment}")
    assert changes(tmp_path, new, with_properties(extra={"type": "string"}))[0].weaker == ()


@pytest.mark.parametrize(
    ("closed", "weaker"),
    [
        ({"additionalProperties": False}, []),
        ({"additionalProperties": False, "patternProperties": {"^e": {}}}, ["fields.extra"]),
        ({"additionalProperties": {"type": "string"}}, ["fields.extra"]),
    ],
)
def test_a_new_field_that_old_events_could_not_have(tmp_path, closed, weaker):
    new = changed("premium: keep", "premium: keep\n  extra: keep")
    schema = with_properties(extra={"type": "string"})
    comparison, _ = changes(tmp_path, new, {**schema, **closed}, old_schema={**SCHEMA, **closed})
    assert [change.place for change in comparison.weaker] == weaker


def test_new_fields_inside_records_and_lists_are_told_leaf_by_leaf(tmp_path):
    record = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    items = {
        "type": "object",
        "properties": {"sku": {"type": "string"}, "price": {"type": "number"}, "n": record},
    }
    new = changed("premium: keep", "premium: keep\n  items[]/n: keep\n  items[]/n/b: drop")
    comparison, _ = changes(tmp_path, new, with_properties(items={"type": "array", "items": items}))
    assert [(change.place, change.before) for change in comparison.weaker] == [
        ("fields.items[]/n/a", UNDECLARED)
    ]


def test_a_whole_that_becomes_a_record_is_compared_with_its_leaves(tmp_path):
    record = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    old = changed("premium: keep", "premium: keep\n  context: {encrypt: {level: 1}}")
    new = changed("premium: keep", "premium: keep\n  context: drop\n  context/a: keep")
    comparison, _ = changes(tmp_path / "a", new, with_properties(context=record), old_contract=old)
    assert [(change.place, change.before, change.after) for change in comparison.weaker] == [
        ("fields.context/a", "{encrypt: {level: 1}}, as part of `context`", "keep")
    ]
    all_ = changed("premium: keep", "premium: keep\n  context: keep")
    comparison, _ = changes(tmp_path / "b", all_, with_properties(context=record), old_contract=old)
    assert [change.place for change in comparison.weaker] == ["fields.context"], "told once"


def test_a_dropped_field_that_is_not_declared_any_more_is_pseudonymized(tmp_path):
    old = changed("premium: keep", "premium: keep\n  extra: drop")
    schema = with_properties(extra={"type": "string"})
    comparison, _ = changes(tmp_path / "a", CONTRACT, SCHEMA, old_contract=old, old_schema=schema)
    assert [(change.place, change.before, change.after) for change in comparison.weaker] == [
        ("fields.extra", "drop", UNDECLARED)
    ]
    closed = {**SCHEMA, "additionalProperties": False}
    assert changes(tmp_path / "b", CONTRACT, closed, old_contract=old, old_schema=schema)[0].weaker == ()
