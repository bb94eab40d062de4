"""Which of two treatments protects better."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pii_pipeline.contracts.protection import ConsentType, direction
from pii_pipeline.contracts.treatments import AnyTreatment, Drop, Keep, Pseudonymize

_read = TypeAdapter(AnyTreatment).validate_python
DEFAULTS = (Pseudonymize(), Pseudonymize())
OPPOSITE = {"weaker": "stronger", "stronger": "weaker", "other": "other", None: None}


def becomes(
    before: Any, after: Any, consent: ConsentType | None = "granular", defaults: Any = DEFAULTS
) -> str | None:
    """Of the first treatment's protection by the second; and the opposite the other way round."""
    found = direction(_read(before), _read(after), consent, defaults)
    assert direction(_read(after), _read(before), consent, defaults[::-1]) == OPPOSITE[found]
    return found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("drop", "pseudonymize"),
        ("drop", {"encrypt": {"level": 1}}),
        ("drop", "keep"),
        ("pseudonymize", "keep"),
        ({"encrypt": {"level": 1}}, "keep"),
        ("pseudonymize", {"generalize": {"date": "year"}}),
        ({"encrypt": {"level": 1}}, {"mask": {"keep_last": 2}}),
        ({"pseudonymize": {"joinable": True}}, "url"),
        ("url", "keep"),
        ("keep", {"keep": {"allow": ["email"]}}),
        ({"keep": {"allow": ["email"]}}, {"keep": {"allow": ["ip", "email"]}}),
        ("pseudonymize", {"pseudonymize": {"domain": "user"}}),
        ("pseudonymize", {"pseudonymize": {"joinable": True}}),
        ({"pseudonymize": {"domain": "user"}}, {"pseudonymize": {"domain": "user", "joinable": True}}),
        ({"pseudonymize": {"domain": "user"}}, {"pseudonymize": {"joinable": True}}),
        ({"pseudonymize": {"joinable": True}}, {"pseudonymize": {"domain": "none"}}),
        ({"pseudonymize": {"domain": "none"}}, {"pseudonymize": {"hash": "SHA-256"}}),
        ("pseudonymize", {"pseudonymize": {"reversible": True}}),
        ({"generalize": {"ipv4_prefix": 24}}, {"generalize": {"ipv4_prefix": 28}}),
        ({"generalize": {"ipv4_prefix": 24}}, {"generalize": {"ipv4_prefix": 24, "ipv6_prefix": 48}}),
        ({"generalize": {"date": "month"}}, {"generalize": {"date": "hour"}}),
        ({"generalize": {"step": 10}}, {"generalize": {"step": 5}}),
        ({"generalize": {"step": 0.3}}, {"generalize": {"step": 0.1}}),
        ({"url": {"keep_query": ["a"]}}, {"url": {"keep_query": ["b", "a"]}}),
        ({"url": {"keep_path": False}}, "url"),
        ({"mask": {"keep_last": 2}}, {"mask": {"keep_last": 4}}),
        ({"mask": {"keep_last": 2}}, {"mask": {"keep_first": 1, "keep_last": 2}}),
    ],
)
def test_weaker(before, after):
    assert becomes(before, after) == "weaker"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("pseudonymize", {"encrypt": {"level": 1}}),
        ({"encrypt": {"level": 1}}, {"encrypt": {"level": 2}}),
        ({"generalize": {"date": "year"}}, {"mask": {"keep_last": 1}}),
        ("url", {"mask": {"keep_last": 1}}),
        ({"generalize": {"date": "year"}}, {"generalize": {"ipv4_prefix": 8}}),
        ({"generalize": {"step": 10}}, {"generalize": {"step": 7}}),
        ({"generalize": {"ipv4_prefix": 8}}, {"generalize": {"ipv6_prefix": 48}}),
        ({"keep": {"allow": ["ip"]}}, {"keep": {"allow": ["email"]}}),
        ({"pseudonymize": {"domain": "a"}}, {"pseudonymize": {"domain": "b"}}),
        ({"pseudonymize": {"domain": "a"}}, {"pseudonymize": {"reversible": True}}),
        ({"pseudonymize": {"hash": "MD5"}}, {"pseudonymize": {"hash": "SHA-512"}}),
        ({"url": {"keep_query": ["a"]}}, {"url": {"keep_path": False, "keep_query": ["a", "b"]}}),
        ({"mask": {"keep_first": 2}}, {"mask": {"keep_last": 2}}),
    ],
)
def test_neither(before, after):
    assert becomes(before, after) == "other"


def test_a_level_of_cumulative_consent_is_more_or_less():
    assert becomes({"encrypt": {"level": 2}}, {"encrypt": {"level": 1}}, "cumulative") == "weaker"
    assert becomes({"encrypt": {"level": 2}}, {"encrypt": {"level": 1}}, None) == "other"


def test_entities_are_as_readable_as_the_most_readable_of_them():
    described = {"self_describing": {"iglu:a/b/jsonschema/1-*-*": {"url": "keep", "id": "drop"}}}
    assert becomes("pseudonymize", described) == "weaker"
    assert becomes("keep", described) == "other"
    hidden = {"self_describing": {"iglu:a/b/jsonschema/1-*-*": {"id": "drop"}}}
    assert becomes("pseudonymize", hidden) == "other"
    assert becomes("pseudonymize", hidden, defaults=(Pseudonymize(), Keep())) == "weaker"
    assert becomes("pseudonymize", hidden, defaults=(Drop(), Drop())) == "stronger"


prefixes = st.none() | st.integers(0, 32)
treatments = st.one_of(
    st.just("drop"),
    st.builds(
        lambda allow: {"keep": {"allow": allow}},
        st.lists(st.sampled_from(["email", "ip", "card"]), unique=True),
    ),
    st.builds(
        lambda domain, joinable, reversible: {
            "pseudonymize": {"domain": domain, "joinable": joinable, "reversible": reversible}
        },
        st.sampled_from([None, "a", "b", "none"]),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(lambda name: {"pseudonymize": {"hash": name}}, st.sampled_from(["MD5", "SHA-512"])),
    st.builds(lambda level: {"encrypt": {"level": level}}, st.integers(0, 3)),
    st.builds(
        lambda v4, v6: {"generalize": {"ipv4_prefix": v4, "ipv6_prefix": v6}}, st.integers(0, 32), prefixes
    ),
    st.builds(lambda unit: {"generalize": {"date": unit}}, st.sampled_from(["year", "month", "day", "hour"])),
    st.builds(lambda step: {"generalize": {"step": step}}, st.sampled_from([0.1, 0.25, 0.5, 1, 7, 10, 100])),
    st.builds(
        lambda names, path: {"url": {"keep_query": names, "keep_path": path}},
        st.lists(st.sampled_from("abc"), unique=True),
        st.booleans(),
    ),
    st.builds(lambda a, b: {"mask": {"keep_first": a, "keep_last": b}}, st.integers(0, 3), st.integers(0, 3)),
    st.builds(
        lambda one: {"self_describing": {"iglu:a/b/jsonschema/1-*-*": {"x": one}}},
        st.sampled_from(["keep", "drop", "pseudonymize"]),
    ),
)
consents = st.sampled_from(["granular", "cumulative", None])


@given(treatments, treatments, consents)
def test_what_is_weaker_one_way_is_stronger_the_other_way(before, after, consent):
    found = becomes(before, after, consent)
    same = _read(before) == _read(after)
    assert (found is None) == same


@given(treatments, treatments, treatments, consents)
def test_weaker_and_weaker_again_is_weaker(first, second, third, consent):
    if becomes(first, second, consent) == becomes(second, third, consent) == "weaker":
        assert becomes(first, third, consent) == "weaker"
