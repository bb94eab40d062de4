"""What is said of two schemas holds for every event; what is said one way holds the other way round."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from pii_pipeline.contracts.schema import VALIDATORS, dialect
from pii_pipeline.contracts.schema_changes import SchemaChange, schema_changes

NAMES = ("a", "b", "c")
TEXTS = st.text("ab", max_size=4)
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -1.5, 2.0])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS


def keywords(**choices: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these keywords, each with one of its values."""
    return st.fixed_dictionaries({}, optional=choices)


def typed(kind: str, rest: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    types = st.sampled_from([kind, [kind, "null"]])
    return st.builds(lambda type, more: {"type": type, **more}, types, rest)


texts = typed(
    "string",
    keywords(
        minLength=st.integers(0, 2),
        maxLength=st.integers(1, 3),
        pattern=st.sampled_from(["^a", "b$"]),
        enum=st.lists(TEXTS, min_size=1, max_size=2),
    ),
)
numbers = st.sampled_from(["integer", "number"]).flatmap(
    lambda kind: typed(
        kind,
        keywords(
            minimum=st.integers(-2, 1),
            maximum=st.integers(0, 2),
            exclusiveMinimum=st.integers(-2, 1),
            exclusiveMaximum=st.integers(0, 3),
            const=st.integers(-1, 1),
            multipleOf=st.just(2),
        ),
    )
)
several = st.builds(lambda parts: {"oneOf": parts}, st.lists(texts | numbers, min_size=1, max_size=2))
leaves = st.just({"type": "boolean"}) | texts | numbers | several


def records(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda properties, required, more: {
            "type": "object",
            "properties": properties,
            "required": required,
            **more,
        },
        st.dictionaries(st.sampled_from(NAMES), inner, min_size=1),
        st.lists(st.sampled_from(NAMES), unique=True, max_size=1),
        keywords(additionalProperties=st.just(False) | st.just({"type": "integer"}) | st.just(True)),
    )


lists = st.builds(
    lambda items, more: {"type": "array", "items": items, **more},
    leaves,
    keywords(minItems=st.integers(0, 2), maxItems=st.integers(0, 2)),
)
texts_or_records = records(leaves).map(lambda schema: {**schema, "type": ["object", "string"]})
schemas = records(leaves | lists | records(leaves) | texts_or_records)
values = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)
events = st.dictionaries(st.sampled_from(NAMES), values, max_size=3)


def found(old: dict[str, Any], new: dict[str, Any]) -> list[SchemaChange]:
    return list(schema_changes(old, new))


def accepts(schema: dict[str, Any], record: Any) -> bool:
    return VALIDATORS[dialect(schema)](schema).is_valid(record)


def declared(schema: dict[str, Any], record: Any) -> bool:
    """Whether the record has only keys that the schema declares."""
    if isinstance(record, dict) and "properties" in schema:
        return all(
            key in schema["properties"] and declared(schema["properties"][key], value)
            for key, value in record.items()
        )
    if isinstance(record, list) and isinstance(schema.get("items"), dict):
        return all(declared(schema["items"], value) for value in record)
    return True


@settings(max_examples=200, deadline=None)
@given(schemas, schemas, st.lists(events, min_size=1, max_size=8))
def test_an_event_that_is_refused_by_one_alone_is_told_of(old, new, records):
    changes = found(old, new)
    for record in records:
        if not accepts(old, record) or not declared(old, record):
            continue
        if not accepts(new, record):
            event("refused")
            assert any(change.narrower for change in changes), record
    assert [(c.narrower, c.wider) for c in changes] == _turned(old, new)


def _turned(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[bool, bool]]:
    """The verdicts the other way round, in the order of the first way."""
    opposite = {"added": "removed", "removed": "added"}
    back = {(change.path, change.about): change for change in found(new, old)}
    turned = [back[change.path, opposite.get(change.about, change.about)] for change in found(old, new)]
    return [(change.wider, change.narrower) for change in turned]


@given(schemas)
def test_a_schema_and_itself(schema):
    assert found(schema, schema) == []


open_records = schemas.map(lambda schema: {**schema, "additionalProperties": True})


@settings(deadline=None)
@given(open_records, leaves)
def test_a_new_field_that_may_be_missing_refuses_nothing(schema, leaf):
    more = {**schema, "properties": {**schema["properties"], "d": leaf}}
    (change,) = found(schema, more)
    assert (change.path, change.about, change.narrower, change.wider) == ("d", "added", False, False)
