"""Samples of streams that have no generator of their own."""

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pii_pipeline.contracts.loader import load_contract
from pii_pipeline.contracts.model import Contract
from pii_pipeline.formats.kinds import JSON
from pii_pipeline.samples.errors import UnsatisfiableError
from pii_pipeline.samples.generate import generate
from pii_pipeline.samples.generic import generate_generic
from pii_pipeline.samples.patterns import TooHardError, compile_pattern
from pii_pipeline.samples.planted import Planted
from pii_pipeline.streams.loader import load_stream
from pii_pipeline.streams.scaffold import new_stream
from pii_pipeline_tests.unit.samples.reference import Reference, contract_of

END = datetime(2026, 11, 22, 10, 55, tzinfo=UTC)


def make_contract(folder: Path, properties: dict[str, Any], required: list[str], extra: str = "") -> Contract:
    (folder / "schema.json").write_text(
        json.dumps({"type": "object", "properties": properties, "required": required})
    )
    (folder / "contract.yaml").write_text(
        "contract: acme/thing/1.0.0\nstate: active\nschema: schema.json\ntime_field: at\nkey_field: who\n"
        + extra
    )
    return load_contract(folder / "contract.yaml").contract


def made(contract: Contract, events: int = 200) -> list[Any]:
    return [
        json.loads(line)
        for line in b"".join(generate_generic(contract, events, 5, END, Planted(), JSON, bad=0)).split()
    ]


@pytest.mark.parametrize("stream", ["webshop", "logins"])
def test_a_wide_contract_gets_valid_events(stream: str) -> None:
    contract = contract_of(stream)
    planted = Planted()
    records = b"".join(generate_generic(contract, 200, 5, END, planted, JSON, bad=0)).split(b"\n")[:-1]
    judge = Reference(contract, END).judge
    assert [judge(record) for record in records] == [None] * 200
    assert planted.records == planted.validated == 200


def test_a_stream_as_pii_init_writes_it_can_be_sampled(tmp_path: Path) -> None:
    new_stream(tmp_path, "my_stream")
    contract = load_stream(tmp_path / "my_stream").contract
    planted = Planted()
    records = b"".join(generate(contract, 3_000, 5, END, planted)).split(b"\n")[:-1]
    assert b"".join(generate(contract, 3_000, 5, END)).split(b"\n")[:-1] == records
    judged = list(map(Reference(contract, END).judge, records))
    assert Counter(filter(None, judged)) == planted.failure_types
    kinds = {"torn", "missing_field", "wrong_value", "broken_rule", "too_old", "in_future"}
    assert planted.bad.keys() == kinds, "an empty key breaks its schema"
    assert 0.005 < planted.bad.total() / 3_000 < 0.02
    good = [json.loads(record) for record, failure in zip(records, judged, strict=True) if failure is None]
    assert len({event["event_id"] for event in good}) == len(good) == planted.validated
    times = [datetime.fromisoformat(event["ts"]) for event in good]
    assert times == sorted(times) and END - timedelta(hours=1) <= times[0] and times[-1] < END


def test_the_good_events_are_the_same_whatever_is_broken(tmp_path: Path) -> None:
    new_stream(tmp_path, "my_stream")
    contract = load_stream(tmp_path / "my_stream").contract
    alone, mixed = (
        b"".join(generate_generic(contract, 300, 5, END, Planted(), JSON, bad=bad)).split(b"\n")
        for bad in (0, 0.2)
    )
    same = sum(one == other for one, other in zip(alone, mixed, strict=True))
    assert 200 < same < 270


@pytest.mark.parametrize("bad", [0.0, 1.0])
def test_what_an_event_follows_is_not_broken(tmp_path: Path, bad: float) -> None:
    properties = {name: {"type": "string"} for name in ("at", "who", "says")}
    contract = make_contract(
        tmp_path, properties, ["at", "who", "says"], "validations: [{field: says, max_length: 99}]"
    )
    lines = b"".join(generate_generic(contract, 50, 5, END, Planted(), JSON, "says", bad)).splitlines()
    whole = [line for line in lines if line.endswith(b"}")]
    assert len(whole) >= 40
    assert {json.loads(line)["says"] for line in whole} == {contract.contract}


def test_bounds_of_schema_and_rules_hold_together(tmp_path: Path) -> None:
    contract = make_contract(
        tmp_path,
        {
            "at": {"type": "integer"},
            "who": {"type": ["string", "null"], "maxLength": 12},
            "size": {"type": "integer", "minimum": -5, "exclusiveMaximum": 40, "multipleOf": 7},
            "rate": {"type": "number", "exclusiveMinimum": 0},
            "code": {"type": "string", "pattern": "^[A-Z]{3}-\\d{4}$"},
            "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 2},
            "mood": {"anyOf": [{"const": "good"}, {"type": "integer", "maximum": -1}]},
            "place": {"$ref": "#/properties/size"},
        },
        ["at", "who", "size", "rate", "code", "tags", "mood", "place"],
        "validations: [{field: size, min: 3}, {field: rate, max: 2}, {field: who, not_empty: true}]",
    )
    events = made(contract)
    assert {event["size"] for event in events} == {7, 14, 21, 28, 35}
    assert all(0 < event["rate"] <= 2 for event in events)
    assert all(re.fullmatch(r"[A-Z]{3}-\d{4}", event["code"]) for event in events)
    assert all(len(set(event["tags"])) == len(event["tags"]) >= 2 for event in events)
    assert {isinstance(event["mood"], int) for event in events} == {True, False}
    assert all(END.timestamp() - 3600 <= event["at"] / 1000 < END.timestamp() for event in events)
    assert all(event["who"] for event in events)


def test_consent_is_said_in_the_words_of_the_contract(tmp_path: Path) -> None:
    properties = {name: {"type": "string"} for name in ("at", "who", "agreed")}
    words = "consent: {field: agreed, type: granular, values: {all: [1, 2], some: [1], none: []}}"
    events = made(make_contract(tmp_path, properties, ["at", "who", "agreed"], words))
    assert {event["agreed"] for event in events} == {"all", "some", "none"}


@pytest.mark.parametrize(
    ("who", "pattern"),
    [
        ({"type": "string", "enum": ["only"]}, "only"),
        ({"type": "string", "enum": ["x", "y", ""], "minLength": 1}, "x|y"),
        ({"const": "me"}, "me"),
        ({"type": "string", "maxLength": 1}, "[0-9]"),
        ({"type": "string", "maxLength": 5}, "key-[0-9]|[0-9]{1,5}"),
        ({"type": "string", "minLength": 20, "maxLength": 20}, "0{17,}[0-9]+"),
        ({"type": ["string", "null"], "maxLength": 3}, "[0-9]{1,3}"),
    ],
)
def test_a_key_is_what_its_schema_lists_or_as_short_as_it_asks(
    tmp_path: Path, who: dict, pattern: str
) -> None:
    contract = make_contract(tmp_path, {"at": {"type": "string"}, "who": who}, ["at", "who"])
    keys = [event["who"] for event in made(contract)]
    assert all(re.fullmatch(pattern, key) for key in keys)
    assert len(set(keys)) > 5 or "enum" in who or "const" in who


def test_an_event_id_and_other_texts_are_as_short_as_their_schema_asks(tmp_path: Path) -> None:
    properties = {
        "at": {"type": "string"},
        "who": {"type": "string"},
        "id": {"type": "string", "maxLength": 12},
        "note": {"type": "string", "maxLength": 3},
        "mark": {"type": "string", "maxLength": 1},
        "kind": {"type": "string", "enum": ["a", "b"], "maxLength": 1},
    }
    rules = "event_id_field: id\nvalidations: [{field: mark, not_empty: true}, {field: kind, enum: [b]}]"
    events = made(make_contract(tmp_path, properties, list(properties), rules))
    assert len({event["id"] for event in events}) == len(events)
    assert {len(event["id"]) for event in events} == {12}
    assert {len(event["note"]) for event in events} == {3}
    assert {len(event["mark"]) for event in events} == {1}
    assert {event["kind"] for event in events} == {"b"}


@pytest.mark.parametrize(
    ("schema", "demand"),
    [
        ({"type": "string", "pattern": "^(?=x)y"}, "pattern"),
        ({"type": "integer", "minimum": 9, "maximum": 3}, "least and greatest"),
        ({"type": "string", "not": {"type": "string"}}, "not"),
        (
            {"type": "string", "enum": ["a"], "const": "b"},
            "`enum` or `const`; what else is asked of it leaves none",
        ),
    ],
)
def test_what_cannot_be_made_is_said_with_the_field(tmp_path: Path, schema: dict, demand: str) -> None:
    properties = {"at": {"type": "string"}, "who": {"type": "string"}, "odd": schema}
    contract = make_contract(tmp_path, properties, ["at", "who", "odd"])
    with pytest.raises(UnsatisfiableError, match=rf"`odd`.*{demand}"):
        made(contract, 1)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[^@\s]+@[^@\s]+$",
        r"^\d{4}-\d{2}(-\d{2})?$",
        r"^(?:cat|dog)s?$",
        r"[]x-z^-]+",
        r"\AORD_[0-9A-F]{2,3}\.\w+\/\D\z".replace(r"\z", r"\Z"),
        r"a{2,}b*?.",
        "",
    ],
)
def test_examples_match_their_pattern(pattern: str) -> None:
    make, random = compile_pattern(pattern), Random(1)
    assert all(re.fullmatch(pattern, make(random)) for _ in range(50))


@pytest.mark.parametrize("pattern", ["(?=a)", r"(a)\1", "(a", "a)", "[a", r"\p{L}"])
def test_patterns_beyond_the_simple_are_refused(pattern: str) -> None:
    with pytest.raises(TooHardError):
        compile_pattern(pattern)
