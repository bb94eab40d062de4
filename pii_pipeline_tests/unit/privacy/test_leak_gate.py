import numpy as np
import pyarrow as pa
import pytest

from pii_pipeline.privacy.detectors import detect
from pii_pipeline.privacy.leak_gate import inspect
from pii_pipeline.privacy.plan import compile_plan
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
        "plain: contains the original (treat it, or say keep: {allow: [original]}) of id (1 values)"
    ]


def test_an_original_in_a_kept_list_of_the_same_row_is_found():
    rows = [{"id": "someone-1"}, {"id": "user-12345", "items": [{"sku": "a"}, {"sku": "user-12345"}]}]
    assert gate(rows) == [
        "items[]/sku: contains the original (treat it, or say keep: {allow: [original]}) of id (1 values)"
    ]


def test_a_field_in_which_originals_may_stand_can_say_so():
    fields = FIELDS | {"plain": {"keep": {"allow": ["original"]}}}
    assert gate([{"id": "user-12345", "plain": "user-12345"}], fields=fields) == []


def test_another_rows_original_and_a_short_one_are_no_finding():
    assert gate([{"id": "user-12345", "plain": "x"}, {"id": "abc", "plain": "user-12345 abc"}]) == []


def test_short_originals_count_as_whole_words_only():
    assert gate([{"id": "1001", "plain": "210015"}]) == []
    assert gate([{"id": "1001", "plain": "order 1001!"}]) == [
        "plain: contains the original (treat it, or say keep: {allow: [original]}) of id (1 values)"
    ]


@pytest.mark.parametrize("column", ["id", "number", "flag"])
def test_a_treated_column_that_is_not_treated_is_found(column):
    found = gate([{"id": "u", "number": 1.5, "flag": True}], tamper={column: pa.array(["clear text"])})
    assert found == [f"{column}: not in the form of pseudonymize (1 values)"]


def test_undeclared_keys_that_got_through_are_found():
    found = gate([{"id": "u"}], tamper={"_unlisted": pa.array(['{"name":"John"}'])})
    assert found == ["_unlisted: holds more than pseudonyms (1 values)"]


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
        f"plain: looks like {name}; treat it, or say keep: {{allow: [{name}]}} (1 values)"
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
        "1732270000000",
        "DE89370400440532013001",
        "10:36",
        "a@b",
        "S00042",
    ],
)
def test_harmless_text_is_left_alone(text):
    assert detect(pa.array([text])) == {}


def test_findings_never_hold_the_value():
    rows = [{"id": "user-12345", "plain": "user-12345 john@acme.com"}]
    assert not any("12345" in leak or "john" in leak for leak in gate(rows))
