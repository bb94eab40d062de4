"""A rewritten pattern matches only where the original does, whichever engine the original belongs to."""

from __future__ import annotations

import re

import jsonschema_rs
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_pipeline.validation.patterns import to_re2

ODD = [
    chr(code)
    for code in (*range(0x00, 0x21), 0x7F, 0x85, 0xA0, 0x660, 0x1680, 0x2003, 0x2028, 0xFEFF, 0x1F600)
]
TEXTS = [
    *ODD,
    *"aAzZ09_-@.:ßü\u017f\u212a\u0131",
    "",
    "a@b",
    "a\u00a0@b",
    "a\n",
    "\na",
    "ab12",
    "a b",
    "\uff11",
    "aa",
    "a{,2}",
    "]",
    "\\",
]
SOUND = [
    "a", "^a$", "[^a]", r"^\d+$", r"\D", r"\w", r"^\W$", r"\s", r"^\S+$", r"^[^@\s]+@[^@\s]+$", r"[\d_-]",
    r"[\W]", "^.$", "(a|b)*c?", "(?:a|^b)", "a{1,2}", "a+?", r"[a-z\d]", r"\x61", r"\.", r"^[\s\S]*$", "",
    "a|", "[^\\d]",
]  # fmt: skip


@pytest.mark.parametrize("pattern", SOUND)
def test_what_the_rewritten_pattern_matches_both_engines_match(pattern: str):
    ecma = jsonschema_rs.Draft202012Validator({"pattern": pattern})
    for dialect in ("python", "ecma"):
        rewritten = to_re2(pattern, dialect)
        assert rewritten is not None
        found = pc.match_substring_regex(pa.array(TEXTS), rewritten).to_pylist()
        for text, matched in zip(TEXTS, found, strict=True):
            if matched:
                assert re.search(pattern, text)
                assert ecma.is_valid(text)


@pytest.mark.parametrize(
    "pattern", [r"^[^@\s]+@[^@\s]+$", r"^\d{4}-\d\d$", "^[A-Z]{2}$", r"^\w+$", "^(a|bc)*$"]
)
def test_plain_text_is_matched_just_as_by_the_original(pattern: str):
    texts = ["a@b.c", "a b@c", "2026-11", "DE", "de", "abc_1", "abcbc", "", "a@b@c"]
    found = pc.match_substring_regex(pa.array(texts), to_re2(pattern, "ecma")).to_pylist()
    assert found == [re.search(pattern, text) is not None for text in texts]


@pytest.mark.parametrize(
    "pattern",
    [
        r"\bx",
        "a(?=b)",
        r"(a)\1",
        "(?i)a",
        "(?P<n>a)",
        "a{,2}",
        "[[a]",
        "[a&&b]",
        r"\Aa",
        r"\u0061",
        "[]a]",
        "(?<!a)b",
    ],
)
def test_schema_patterns_with_constructs_read_differently_are_left_to_the_strict_path(pattern: str):
    assert to_re2(pattern, "ecma") is None


@pytest.mark.parametrize(
    "pattern", [r"\bx", "a(?=b)", r"(a)\1", "(?i)a", "(?i:a)", "a{1,5000}", "(?>a)b", "a*+b"]
)
def test_contract_regexes_without_a_sound_rewriting(pattern: str):
    try:
        re.compile(pattern)
    except re.error:
        pytest.skip("not known to this Python")
    assert to_re2(pattern, "python") is None


def test_pythons_own_syntax_is_translated_not_copied():
    rewritten = to_re2("^a{,2}b$", "python")
    found = pc.match_substring_regex(pa.array(["aab", "b", "a{,2}b", "aaab"]), rewritten)
    assert found.to_pylist() == [True, True, False, False]


@pytest.mark.filterwarnings("ignore:Possible")
@settings(max_examples=300, deadline=None, database=None)
@given(st.text(r"ab^$.|()[]{}*+?\dswDSW,-1", max_size=8), st.text("ab1 -\n\u00a0ü\x1c", max_size=4))
def test_random_patterns(pattern: str, text: str):
    rewritten = to_re2(pattern, "python")
    if rewritten is not None and pc.match_substring_regex(pa.array([text]), rewritten)[0].as_py():
        assert re.search(pattern, text)
    rewritten = to_re2(pattern, "ecma")
    if rewritten is not None and pc.match_substring_regex(pa.array([text]), rewritten)[0].as_py():
        try:
            reference = jsonschema_rs.Draft202012Validator({"pattern": pattern})
        except jsonschema_rs.ValidationError:
            return  # no ECMA-262 pattern at all: no contract with it can be loaded
        assert reference.is_valid(text)
