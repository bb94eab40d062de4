"""What is done to whole columns at once is what would be done to one value after the other."""

import re
from functools import cache
from itertools import pairwise
from urllib.parse import unquote_plus

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pii_pipeline.contracts.record_type import Scalar
from pii_pipeline.contracts.treatments import Encrypt, Pseudonymize, Url
from pii_pipeline.privacy import encodings
from pii_pipeline.privacy.derive import _rekey_inside
from pii_pipeline.privacy.detectors import DETECTORS, NO_LOOKS, WORTH_A_LOOK, detect, finds_something
from pii_pipeline.privacy.distinct import distinct
from pii_pipeline.privacy.documents import Look
from pii_pipeline.privacy.leak_gate import _pattern, form_leaks, inspect
from pii_pipeline.privacy.nested import leaves, plain
from pii_pipeline.privacy.plan import UNLISTED, Leaf, Plan, column_leaves, compile_plan
from pii_pipeline.privacy.pseudonymize import pseudonymize_columns
from pii_pipeline.privacy.sealer import RowKeys
from pii_pipeline.privacy.url import treat_urls, url_splitter
from pii_pipeline_tests.unit.privacy.reference import PlainSealer, contract
from pii_pipeline_tests.unit.privacy.test_treatments import SCHEMA, table

THOROUGH = settings(max_examples=300, deadline=None)


def columns_of(texts):
    """The same column in every way it may come: plain, cut out of a longer one, dictionary-encoded."""
    whole = pa.array(texts, pa.string())
    longer = pa.array(["before é", None, *texts, "after"], pa.string())
    yield whole
    yield longer.slice(2, len(texts))
    yield whole.dictionary_encode()
    yield longer.dictionary_encode().slice(2, len(texts))


# Distinct pairs.


@THOROUGH
@given(st.lists(st.tuples(st.none() | st.sampled_from(["a", "b", "é", ""]), st.integers(0, 3))))
def test_each_pair_of_owner_and_value_is_there_once(rows):
    owners = np.array([owner for _, owner in rows], np.int64)
    for column in columns_of([value for value, _ in rows]):
        pairs = distinct(column, owners)
        values = pairs.dictionary.to_pylist()
        owned = [] if pairs.owner is None else pairs.owner.tolist()
        found = list(zip([values[i] for i in pairs.value.tolist()], owned, strict=True))
        there = {row for row in rows if row[0] is not None}
        assert found == sorted(there, key=lambda row: (row[1], values.index(row[0])))
        texts = pairs.of([value.encode() for value in values])
        assert texts == [value.encode() for value, _ in found]
        if found:
            spread = pairs.spread(pa.array(range(len(found)))).to_pylist()
            assert spread == [None if row[0] is None else found.index(row) for row in rows]


# Bytes as text.


@given(st.lists(st.binary(min_size=32, max_size=32)), st.lists(st.binary(max_size=100)))
def test_digests_and_ciphertexts_there_and_back(digests, ciphertexts):
    texts = encodings.hex_array(digests)
    texts.validate(full=True)
    assert texts.to_pylist() == [digest.hex() for digest in digests]
    assert encodings.from_hex(texts) == digests
    sealed = encodings.base64_array(ciphertexts)
    assert encodings.from_base64(sealed) == ciphertexts


@pytest.mark.parametrize("text", ["ab" * 31, "ab" * 33, "ab" * 31 + "  ", "xy" * 32, "ab" * 31 + "é"])
def test_what_is_no_pseudonym_is_refused_without_being_shown(text):
    with pytest.raises(ValueError) as refused:
        encodings.from_hex(pa.array(["ab" * 32, text]))
    assert text.strip() not in str(refused.value)


def test_a_digest_of_another_length_is_refused():
    with pytest.raises(ValueError):
        encodings.hex_array([bytes(31)])


@given(st.lists(st.text()))
def test_the_bytes_of_a_column(texts):
    for column in list(columns_of(texts))[:2]:
        offsets, data = encodings.flat(column)
        cut = [data[start:end].tobytes().decode() for start, end in pairwise(offsets)]
        assert cut == texts


def test_which_bytes_are_hexadecimal_digits():
    found = np.flatnonzero(encodings.hex_digits(np.arange(256, dtype=np.uint8)))
    assert bytes(found.tolist()) == b"0123456789abcdef"


# Nested columns.


def test_rows_cut_out_of_a_longer_table_are_treated_as_they_are():
    rows = [
        {"id": "a", "plain": "https://a.example/?q=1", "items": [{"sku": "x", "tags": ["t", None]}, None]},
        {"id": "b", "address": {"city": "c", "no": 7}, "items": []},
        {"id": None, "plain": "https://b.example/#top", "address": None, "items": None},
        {"id": "d", "number": 1.5, "items": [{"sku": "x", "note": "n", "tags": None}], UNLISTED: '{"a":1}'},
    ]
    fields = {"plain": {"url": {}}, "address": {"encrypt": {"level": 1}}, "items[]/sku": "keep"}
    plan = compile_plan(contract(SCHEMA, fields=fields))

    def treat(part, owners):
        columns = pseudonymize_columns(part, plan, RowKeys(owners, owners), PlainSealer())
        assert inspect(part, columns, plan) == []
        return {name: column.to_pylist() for name, column in columns.items()}

    for start, count in [(0, 4), (1, 2), (1, 3), (3, 1), (2, 0)]:
        part = rows[start : start + count]
        owners = np.arange(start, start + count)
        assert treat(table(plan, rows).slice(start, count), owners) == treat(table(plan, part), owners)
    pieces = pa.concat_tables([table(plan, rows[:1]), table(plan, rows[1:])])
    assert treat(pieces, np.arange(4)) == treat(table(plan, rows), np.arange(4))


def test_leaves_know_their_rows():
    plan = compile_plan(contract(SCHEMA))
    rows = np.arange(3)
    made = table(
        plan, [{"items": [{"sku": "x", "tags": ["s", "t"]}, None]}, {}, {"items": [{"tags": ["u"]}]}]
    )
    step = dict(plan.root.fields)["items"]
    found = list(leaves(plain(made["items"]), step, rows, Look()))
    assert [leaf for leaf, _, _ in found] == column_leaves(step)
    assert [(values.to_pylist(), at.tolist()) for _, values, at in found] == [
        (["x", None, None], [0, 0, 2]),
        ([None, None, None], [0, 0, 2]),
        (["s", "t", "u"], [0, 0, 2]),
    ]
    ((_, _, at),) = leaves(plain(made["id"]), dict(plan.root.fields)["id"], rows, Look())
    assert at is rows


# URLs.

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-\[\]]{0,39}")
HOST = re.compile(r"(?:[A-Za-z0-9.\-_]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*:)?(?://(?P<authority>[^/?#]*))?(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?(?:#.*)?",
    re.DOTALL,
)


def may_stay(text):
    for _ in range(4):
        if re.search("[@\uff20\ufe6b]", text) or any(test(text) for test in DETECTORS.values()):
            return False
        decoded = unquote_plus(text)
        if decoded == text:
            return True
        text = decoded
    return False


def treated_url(text, treatment, hide):
    """One URL from beginning to end; `hide(original)` is what stands in the original's place."""
    match = URL.fullmatch(text)
    assert match is not None
    scheme, authority, path, query = match.groups()
    if authority is None and (scheme is not None or not path.startswith("/")):
        return hide(text)
    out = scheme or ""
    if authority is not None:
        host = authority.rpartition("@")[2]
        out += "//" + (hide(host) if host and not HOST.fullmatch(host) else host)
    segments = []
    for segment in path.split("/"):
        segment = segment.partition(";")[0]
        shown = not segment or (treatment.keep_path and may_stay(segment))
        segments.append(segment if shown else hide(unquote_plus(segment)))
    out += "/".join(segments)
    pairs = []
    for pair in query.split("&") if query else []:
        name, equals, value = pair.partition("=")
        if name in treatment.keep_query and may_stay(value):
            pairs.append(pair)
            continue
        if name and not (equals and NAME.fullmatch(name)):
            name = hide(unquote_plus(name))
        pairs.append(name + equals + (hide(unquote_plus(value)) if value else ""))
    return out + ("?" + "&".join(pairs) if pairs else "")


CHARACTERS = [*"/?&=#;@:%+. \n", "//", "::", "%40", "%2540", "%C3%A9", "café", "e\u0301", "\uff20"]
WORDS = ["https:", "http://", "a", "q", "page", "a.example", "shop.example:8080", "[::1]", "null"]
NUMBERS = ["4111111111111111", "31612345678", "+31612345678", "203.0.113.9", "2001:db8::1", "00491701234567"]
OTHERS = ["DE89370400440532013000", "product-0037", "4" + "\u0661" * 15, "\u0664" * 3]
PIECES = st.sampled_from(CHARACTERS + WORDS + NUMBERS + OTHERS)
URLS = st.builds("".join, st.lists(PIECES, max_size=12)) | st.builds(
    "https://a.example/{}?{}&page={}".format, PIECES, st.builds("".join, st.lists(PIECES, max_size=6)), PIECES
)
ODD = [
    "",
    "?",
    "#",
    "/",
    "//",
    "///",
    "a:",
    "/?",
    "/#?a=1",
    "/?#a",
    "/a?b?c=d",
    "//@/",
    "//a b/c",
    "/?=",
    "/?a==b",
    "/?&&",
    "mailto:a",
]


@pytest.mark.parametrize("treatment", [Url(), Url(keep_query=("page", "a")), Url(keep_path=False)])
@pytest.mark.parametrize("text", ODD)
def test_an_odd_url_is_cut_where_a_plain_reading_cuts_it(text, treatment):
    assert "…".join(url_splitter(treatment)(text).texts) == treated_url(text, treatment, lambda _: "…")


@THOROUGH
@given(
    st.lists(st.tuples(st.none() | URLS | st.sampled_from(ODD), st.integers(0, 2)), max_size=8),
    st.sampled_from([Url(), Url(keep_query=("page", "a")), Url(keep_path=False, keep_query=("q",))]),
)
def test_a_column_of_urls_is_treated_as_each_url_alone(rows, treatment):
    subjects = np.array([subject for _, subject in rows], np.int64)
    sealer = PlainSealer()

    def one(text, subject):
        def hide(original):
            return sealer.pseudonyms("domain", [original.encode()], np.array([subject]))[0].hex()

        return text if text is None else treated_url(text, treatment, hide)

    expected = [one(text, subject) for text, subject in rows]
    for column in columns_of([text for text, _ in rows]):
        assert treat_urls(column, treatment, "domain", subjects, sealer).to_pylist() == expected


# Pseudonyms inside texts.

A, B = "0123456789abcdef" * 4, "fedcba9876543210" * 4
TEXTS = st.builds(
    "".join, st.lists(st.sampled_from([A, B, A[1:], "0", "g", "/?q=", "A", "é", "ab", A.upper()]), max_size=6)
)


@THOROUGH
@given(st.lists(TEXTS))
@example([A, B])
@example(["", A, "", "x" + B, B + "x", ""])
@example([A + "0", "0" + A, A + B])
def test_pseudonyms_in_texts_are_keyed_again_where_a_regular_expression_finds_them(texts):
    def again(match):
        return PlainSealer().rekey([bytes.fromhex(match[0])])[0].hex()

    expected = [re.sub(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", again, text) for text in texts]
    for column in list(columns_of(texts))[:2]:
        keyed = _rekey_inside(column, PlainSealer())
        keyed.validate(full=True)
        assert keyed.to_pylist() == expected
        assert column.to_pylist() == texts, "the column itself stays as it was"


# The leak gate.

SIGNS = [*"0123456789+-.:@a/()A ", "00", "::", "DE89", "3704 0044", "x.y", "\u0664", "\uff20", "é"]
LOOKS = st.builds("".join, st.lists(st.sampled_from(SIGNS + NUMBERS), max_size=14))


@settings(max_examples=1000, deadline=None)
@given(LOOKS)
@example("4" + "\u0661" * 15)
def test_the_cheap_look_overlooks_nothing(text):
    assert finds_something(text) == any(test(text) for test in DETECTORS.values())


@THOROUGH
@given(st.lists(st.none() | LOOKS), st.sets(st.sampled_from(list(DETECTORS))))
def test_a_column_shows_what_its_distinct_texts_show(texts, skip):
    expected = {}
    for text in {text for text in texts if text is not None}:
        worth, plain = (
            pc.match_substring_regex(pa.array([text]), of)[0].as_py() for of in (WORTH_A_LOOK, NO_LOOKS)
        )
        if worth and not plain:
            for name, test in DETECTORS.items():
                if name not in skip and test(text):
                    expected[name] = expected.get(name, 0) + 1
    for column in list(columns_of(texts))[:2]:
        assert detect(column, tuple(skip)) == expected


FORMS = st.builds(
    "".join,
    st.lists(st.sampled_from(["a" * 63, "a" * 64, "b", "1", "A", "Q", "=", "@", "#", "\n", "é", "/"])),
)


@pytest.mark.parametrize("treatment", [Pseudonymize(), Url(), Encrypt(level=1)])
@given(texts=st.lists(st.none() | FORMS))
@settings(max_examples=100, deadline=None)
def test_a_form_is_what_its_pattern_says(treatment, texts):
    leaf = Leaf("field", Scalar("string"), treatment, True)
    pattern = _pattern(leaf)
    assert pattern is not None
    wrong = sum(
        not pc.match_substring_regex(pa.array([text]), pattern)[0].as_py()
        for text in {text for text in texts if text is not None}
    )
    for column in list(columns_of(texts))[:3]:
        assert [leak.count for leak in form_leaks(leaf, column)] == ([wrong] if wrong else [])


NAMES = st.builds(
    "".join, st.lists(st.sampled_from(["user", "USER", "1001", "9", " ", "é", "É", "-", "\t", "longer-name"]))
)
EVENTS = st.lists(
    st.fixed_dictionaries(
        {"id": NAMES},
        optional={
            "plain": NAMES,
            "gone": NAMES,
            "address": st.fixed_dictionaries(
                {}, optional={"city": NAMES, "no": st.sampled_from([7, 1001, 100100, 10019])}
            ),
            "items": st.lists(
                st.none()
                | st.fixed_dictionaries(
                    {},
                    optional={"sku": NAMES, "note": NAMES, "tags": st.lists(NAMES | st.none(), max_size=2)},
                ),
                max_size=3,
            ),
        },
    ),
    max_size=4,
)


def strings(event, path):
    """The values at a path as the gate compares them."""
    found = [event]
    for name in path.split("/"):
        found = [None if value is None else value.get(name.removesuffix("[]")) for value in found]
        for _ in range(name.count("[]")):
            found = [element for value in found if value is not None for element in value]
    return [str(value) for value in found if value is not None]


def ascii_lower(text):
    return text.encode().lower().decode()


def in_same_row(events, kept, identifying):
    """What the gate must say, one original and one kept text at a time."""
    for path in identifying:
        shortest = 6 if path.endswith("no") else 4
        for other in kept:
            count = 0
            for event in events:
                for original in strings(event, path):
                    needle = ascii_lower(original).strip(" \t\n\r\v\f")
                    if len(needle.encode()) < shortest:
                        continue
                    words = (
                        rf"(?<![^\W_]){re.escape(needle)}(?![^\W_])" if len(needle) < 8 else re.escape(needle)
                    )
                    count += sum(
                        re.search(words, ascii_lower(hay)) is not None for hay in strings(event, other)
                    )
            if count:
                yield f"{other} {path} {count}"


@cache
def what_is_searched() -> tuple[list[str], list[str], Plan]:
    """The fields that are kept, those that are not, and what is done to them: the same in every example."""
    kept = ["plain", "address/city", "items[]/sku", "items[]/tags[]"]
    identifying = ["id", "address/no", "items[]/note"]
    fields = dict.fromkeys(kept, "keep") | dict.fromkeys(identifying, "pseudonymize") | {"gone": "drop"}
    return kept, identifying, compile_plan(contract(SCHEMA, fields=fields))


@settings(max_examples=500, deadline=None)
@given(EVENTS)
@example([{"id": "user1001", "items": [{"sku": "user1001", "tags": ["USER1001"]}, {"sku": "user1001"}]}])
@example([{"id": "x", "items": [{"note": "longer-name", "tags": ["a longer-name"]}]}, {"id": "longer-name"}])
@example([{"id": ""}, {"id": "", "plain": "user", "items": [{"note": "user"}, {"note": "user"}]}])
@example([{"id": "9", "address": {"no": 100100, "city": "no 100100!"}, "plain": "100100"}])
def test_an_original_is_found_where_a_plain_search_finds_it(events):
    kept, identifying, plan = what_is_searched()
    whole = table(plan, [{"id": "user1001", "plain": "x"}, *events])
    encoded = table(plan, events)
    encoded = encoded.set_column(0, "id", encoded["id"].dictionary_encode())
    for original in (table(plan, events), whole.slice(1), encoded):
        owners = np.arange(len(events))
        columns = pseudonymize_columns(original, plan, RowKeys(owners, owners), PlainSealer())
        found = [leak for leak in inspect(original, columns, plan) if leak.other]
        # Fields in lists come last unless each row has one element; which of them is first says nothing.
        expected = sorted(in_same_row(events, kept, identifying))
        assert sorted(f"{leak.column} {leak.other} {leak.count}" for leak in found) == expected


@pytest.mark.parametrize("number", [-100, 1000, 10**15, -(2**62)])
def test_an_original_in_a_kept_number_is_found(number):
    fields = {"id": "pseudonymize", "address/no": "keep"}
    plan = compile_plan(contract(SCHEMA, fields=fields))
    original = table(
        plan, [{"id": "x", "address": {"no": 7}}, {"id": str(number), "address": {"no": number}}]
    )
    columns = pseudonymize_columns(original, plan, RowKeys(np.arange(2), np.arange(2)), PlainSealer())
    assert [leak.column for leak in inspect(original, columns, plan) if leak.other] == ["address/no"]
