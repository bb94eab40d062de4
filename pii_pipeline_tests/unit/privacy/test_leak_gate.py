import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pii_pipeline.privacy.canonical import whole_text, whole_texts
from pii_pipeline.privacy.detectors import detect
from pii_pipeline.privacy.leak_gate import inspect
from pii_pipeline.privacy.plan import UNLISTED, compile_plan
from pii_pipeline.privacy.pseudonymize import pseudonymize_columns
from pii_pipeline.privacy.sealer import RowKeys
from pii_pipeline_tests.unit.privacy.reference import PlainSealer, contract
from pii_pipeline_tests.unit.privacy.test_treatments import SCHEMA, table

FIELDS = {"plain": "keep", "id": {"pseudonymize": {"joinable": True}}, "items[]/sku": "keep", "gone": "drop"}


def gate(rows, tamper=None, **settings):
    plan = compile_plan(contract(SCHEMA, **({"fields": FIELDS} | settings)))
    original = table(plan, rows)
    who = np.arange(len(rows))
    columns = pseudonymize_columns(original, plan, RowKeys(who, who), PlainSealer())
    if tamper:
        columns |= tamper
    return [str(leak) for leak in inspect(original, columns, plan)]


def test_clean_rows_pass():
    assert gate([{"id": "user-12345", "plain": "view", "items": [{"sku": "S1"}], "number": 3.5}]) == []


@pytest.mark.parametrize("kept", ["user-12345", "xx user-12345 yy", "XUSER-12345X"])
def test_an_original_in_a_kept_column_of_the_same_row_is_found(kept):
    assert gate([{"id": "user-12345", "plain": kept}]) == [
        "plain: contains the original (treat it, or say keep: {allow: [original]}) of id (1 value)"
    ]


def test_an_original_in_a_kept_list_of_the_same_row_is_found():
    rows = [{"id": "someone-1"}, {"id": "user-12345", "items": [{"sku": "a"}, {"sku": "user-12345"}]}]
    assert gate(rows) == [
        "items[]/sku: contains the original (treat it, or say keep: {allow: [original]}) of id (1 value)"
    ]


def test_a_field_in_which_originals_may_stand_can_say_so():
    fields = FIELDS | {"plain": {"keep": {"allow": ["original"]}}}
    assert gate([{"id": "user-12345", "plain": "user-12345"}], fields=fields) == []


def test_another_rows_original_and_a_short_one_are_no_finding():
    assert gate([{"id": "user-12345", "plain": "x"}, {"id": "abc", "plain": "user-12345 abc"}]) == []


def test_short_originals_count_as_whole_words_only():
    assert gate([{"id": "1001", "plain": "210015"}]) == []
    assert gate([{"id": "1001", "plain": "order 1001!"}]) == [
        "plain: contains the original (treat it, or say keep: {allow: [original]}) of id (1 value)"
    ]


@pytest.mark.parametrize("column", ["id", "number", "flag"])
def test_a_treated_column_that_is_not_treated_is_found(column):
    found = gate([{"id": "u", "number": 1.5, "flag": True}], tamper={column: pa.array(["clear text"])})
    assert found == [f"{column}: not in the form of pseudonymize (1 value)"]


def test_undeclared_keys_that_got_through_are_found():
    found = gate([{"id": "u"}], tamper={"_unlisted": pa.array(['{"name":"John"}'])})
    assert found == ["_unlisted: holds more than pseudonyms (1 value)"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mail john.doe+x@acme.co.uk now", "email"),
        ("from 203.0.113.9", "ip"),
        ("[2001:db8::8a2e:370:7334]", "ip"),
        ("+49 170 1234567", "phone"),
        ("0049 (170) 123-4567", "phone"),
        ("4111 1111 1111 1111", "card"),
        ("378282246310005", "card"),
        ("4111111111111111.0", "card"),
        ("DE89 3704 0044 0532 0130 00", "iban"),
        ("GB82WEST12345698765432", "iban"),
        ("2026-11-22 10:36:10 +49 170 1234567", "phone"),
        ("4111e840-0049-4170-1234-567446655440 0049-170-1234567", "phone"),
    ],
)
def test_personal_data_is_known_by_its_looks(text, name):
    assert detect(pa.array(["nothing", text])) == {name: 1}
    assert detect(pa.array([text]), (name,)) == {}
    assert gate([{"id": "u", "plain": text}]) == [
        f"plain: looks like {name}; treat it, or say keep: {{allow: [{name}]}} (1 value)"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T10:36:10.973Z",
        "550e8400-e29b-41d4-a716-446655440000",
        "4111e840-0049-4170-1234-567446655440",
        "2021-09-27 01:15:51.334000001",
        "2026-11-22 10:36:10+0049",
        "1.2.3",
        "4111111111111112",
        "4111111111111111.05",
        "4111111111111111.0.1",
        "1732270000000",
        "DE89370400440532013001",
        "10:36",
        "a@b",
        "S00042",
    ],
)
def test_harmless_text_is_left_alone(text):
    assert detect(pa.array([text])) == {}


CARD = "looks like card; treat it, or say keep: {allow: [card]}"
ORIGINAL = "contains the original (treat it, or say keep: {allow: [original]})"
NUMBER_KEPT = {"number": "keep", "plain": "keep", "id": "pseudonymize"}


@pytest.mark.parametrize(
    ("number", "found"),
    [
        (4111111111111111.0, [f"number: {CARD} (1 value)"]),
        (-4111111111111111.0, [f"number: {CARD} (1 value)"]),
        (4111111111111112.0, []),
        (4111111111111.5, []),
        (41111111111.0, []),
        (9.4e18, []),
        (1e300, []),
        (None, []),
    ],
)
def test_whole_doubles_are_looked_at_as_whole_numbers_are(number, found):
    rows = [{"id": "u", "number": number}, {"id": "u", "number": 1.5}, {"id": "u"}]
    assert gate(rows, fields=NUMBER_KEPT) == found


def test_doubles_that_are_no_numbers_are_passed_over():
    kept = pa.array([float("nan"), float("inf"), -float("inf"), None])
    assert gate([{"id": "u"}] * 4, {"number": kept}, fields=NUMBER_KEPT) == []


@pytest.mark.parametrize("number", [5111222233334, -5111222233334, -(2**63), 2**63 - 1])
def test_whole_numbers_of_any_size_are_looked_at(number):
    schema = {"type": "object", "properties": {"id": {"type": "string"}, "number": {"type": "integer"}}}
    plan = compile_plan(contract(schema, fields={"number": "keep", "id": "pseudonymize"}))
    original = table(plan, [{"id": "u", "number": number}])
    columns = {"id": pa.array(["a" * 64]), "number": original["number"].chunk(0), UNLISTED: pa.nulls(1)}
    assert inspect(original, columns, plan) == []


@pytest.mark.parametrize("sign", [1, -1])
def test_a_card_number_is_found_whatever_its_sign(sign):
    schema = {"type": "object", "properties": {"id": {"type": "string"}, "number": {"type": "integer"}}}
    plan = compile_plan(contract(schema, fields={"number": "keep", "id": "pseudonymize"}))
    original = table(plan, [{"id": "u", "number": sign * 4111111111111111}])
    columns = {"id": pa.array(["a" * 64]), "number": original["number"].chunk(0), UNLISTED: pa.nulls(1)}
    assert [str(leak) for leak in inspect(original, columns, plan)] == [f"number: {CARD} (1 value)"]


@pytest.mark.parametrize("number", ["123456", "4711001", "123456789012"])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_original_of_six_digits_is_found_in_a_double_and_the_other_way_round(number, sign):
    double = sign * float(number)
    assert gate([{"id": number, "number": double}, {"id": "u"}], fields=NUMBER_KEPT) == [
        f"number: {ORIGINAL} of id (1 value)"
    ]
    fields = NUMBER_KEPT | {"number": "pseudonymize"}
    rows = [{"id": "u", "number": double, "plain": f"no. {number}"}, {"id": "u", "number": double + 0.5}]
    assert gate(rows, fields=fields) == [f"plain: {ORIGINAL} of number (1 value)"]


def test_a_whole_double_of_five_digits_is_a_number_like_all_others():
    assert gate([{"id": "12345", "number": 12345.0}], fields=NUMBER_KEPT) == []


def test_an_original_is_found_in_a_double_and_that_of_a_double_in_a_text():
    rows = [
        {"id": "5111222233334444", "number": 5111222233334444.0},
        {"id": "u", "number": 5111222233334444.0},
    ]
    assert gate(rows, fields=NUMBER_KEPT) == [f"number: {ORIGINAL} of id (1 value)"]
    rows = [
        {"id": "u", "number": 5111222233334444.0, "plain": "card 5111222233334444"},
        {"id": "u", "number": 51112.0, "plain": "51112"},
        {"id": "u", "number": 1.5, "plain": "5111222233334444"},
    ]
    fields = NUMBER_KEPT | {"number": "pseudonymize"}
    assert gate(rows, fields=fields) == [f"plain: {ORIGINAL} of number (1 value)"]


@given(st.floats() | st.integers(10**12 - 5, 2**63).map(float), st.sampled_from([0, 10**5, 10**12]))
def test_a_column_of_doubles_tells_whole_numbers_as_one_value_does(number, least):
    (told,) = whole_texts(pa.array([number], pa.float64()), least).to_pylist()
    assert told == whole_text(number, least)
    if told is not None:
        assert float(told) == number
        assert len(str(least)) <= len(told.lstrip("-")) <= 19 or least == 0


@given(st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**6), 10**6), st.sampled_from([0, 10**5, 10**12]))
def test_a_column_of_whole_numbers_tells_them_as_one_value_does(number, least):
    assert whole_texts(pa.array([number, None]), least).to_pylist() == [whole_text(number, least), None]


def test_findings_never_hold_the_value():
    rows = [{"id": "user-12345", "plain": "user-12345 john@acme.com"}]
    assert not any("12345" in leak or "john" in leak for leak in gate(rows))
