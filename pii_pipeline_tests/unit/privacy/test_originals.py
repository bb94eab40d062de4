"""What reversible pseudonyms stand for, gathered on the way; and what people consented to last."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pii_pipeline.privacy import documents
from pii_pipeline.privacy.consent import LEVELS, latest_said
from pii_pipeline.privacy.originals import Originals
from pii_pipeline.privacy.plan import compile_plan
from pii_pipeline.privacy.pseudonymize import pseudonymize_columns
from pii_pipeline.privacy.sealer import RowKeys
from pii_pipeline_tests.unit.privacy.reference import PlainSealer, contract
from pii_pipeline_tests.unit.privacy.test_treatments import table

USER = "iglu:com.acme/user/jsonschema/1-0-0"
CRITERION = "iglu:com.acme/user/jsonschema/1-*-*"
SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "name": {"type": "string"},
        "number": {"type": "integer"},
        "address": {"type": "object", "properties": {"city": {"type": "string"}}},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"tags": {"type": "array", "items": {"type": "string"}}},
            },
        },
        "context": {"type": "object"},
    },
}
Rows = list[dict[str, Any]]


def gathered(rows: Rows, subjects: list[int], days: list[int], **fields: Any) -> set[tuple[Any, ...]]:
    """(field, pseudonym, subject, text, first day, last day) of all that was found, each once."""
    plan = compile_plan(contract(SCHEMA, fields=fields))
    who = np.array(subjects, np.int64)
    found = Originals(who, np.array(days, np.int64))
    keys = RowKeys(who, who * 1000 + np.array(days))
    columns = pseudonymize_columns(table(plan, rows), plan, keys, PlainSealer(), found)
    without = pseudonymize_columns(table(plan, rows), plan, keys, PlainSealer())
    assert {name: column.to_pylist() for name, column in columns.items()} == {
        name: column.to_pylist() for name, column in without.items()
    }
    told = [
        (item.path, *each)
        for item in found.fields()
        for each in zip(
            [pseudonym.hex() for pseudonym in item.pseudonyms],
            item.subject.tolist(),
            [text.decode() for text in item.texts],
            item.first.tolist(),
            item.last.tolist(),
            strict=True,
        )
    ]
    assert len(set(told)) == len({each[:4] for each in told}) == len(told)
    lake = str([column.to_pylist() for column in columns.values()])
    assert all(each[1] in lake for each in told)
    return {(each[0], *each[2:]) for each in told}


ROWS: Rows = [{"name": "ann"}, {"name": "bob"}, {"name": None}, {"name": "ann"}, {"name": "ann"}]


@pytest.mark.parametrize(
    "how",
    [{}, {"domain": "user"}, {"joinable": True}, {"domain": "none"}, {"hash": "SHA-256"}, {"hash": "MD5"}],
)
def test_each_original_of_a_person_once_with_its_days(how: dict[str, Any]) -> None:
    found = gathered(
        ROWS, [0, 1, 1, 2, 0], [12, 12, 10, 11, 9], name={"pseudonymize": {**how, "reversible": True}}
    )
    assert found == {("name", 0, "ann", 9, 12), ("name", 1, "bob", 12, 12), ("name", 2, "ann", 11, 11)}


def test_only_what_is_reversible_is_gathered() -> None:
    assert gathered(ROWS, [0] * 5, [1] * 5, name={"pseudonymize": {"domain": "user"}}) == set()
    nothing: Rows = [{"name": None}, {}]
    assert gathered(nothing, [0, 1], [1, 1], name={"pseudonymize": {"reversible": True}}) == set()


def test_records_lists_and_numbers() -> None:
    rows: Rows = [
        {
            "number": 42,
            "address": {"city": "Ghent"},
            "items": [{"tags": ["a", "b"]}, None, {"tags": ["a", None]}],
        },
        {"number": 42, "address": None, "items": [{"tags": ["a"]}]},
    ]
    reversible = {"pseudonymize": {"reversible": True}}
    found = gathered(rows, [0, 1], [5, 6], number=reversible, address=reversible, items=reversible)
    assert found == {
        ("number", 0, "42", 5, 5),
        ("number", 1, "42", 6, 6),
        ("address/city", 0, "Ghent", 5, 5),
        ("items[]/tags[]", 0, "a", 5, 5),
        ("items[]/tags[]", 0, "b", 5, 5),
        ("items[]/tags[]", 1, "a", 6, 6),
    }


def test_documents_that_are_worked_on_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def text(mail: object, **more: object) -> dict[str, Any]:
        return {"context": json.dumps({"schema": USER, "data": {"mail": mail, **more}})}

    rows = [text("ann@x.example"), text("ann@x.example", other=1), text("bob@x.example"), text(17)]
    place = {"self_describing": {CRITERION: {"mail": {"pseudonymize": {"reversible": True}}}}}
    path = f"context {CRITERION} mail"
    wanted = {
        (path, 0, "ann@x.example", 3, 4),
        (path, 1, "bob@x.example", 3, 3),
        (path, 1, "17", 3, 3),
    }
    assert gathered(rows, [0, 0, 1, 1], [3, 4, 3, 3], context=place) == wanted
    monkeypatch.setattr(documents, "BLOCK_BYTES", 1)
    assert gathered(rows, [0, 0, 1, 1], [3, 4, 3, 3], context=place) == wanted


SAID = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.none() | st.lists(st.integers(0, 3), max_size=3)),
    min_size=1,
    max_size=12,
)


@given(SAID)
def test_what_was_said_last_whatever_the_order_of_the_rows(said: list[tuple[int, int, Any]]) -> None:
    numbers = {subject: number for number, subject in enumerate(sorted({row[0] for row in said}))}
    subject = np.array([numbers[row[0]] for row in said])
    consent = pa.array([row[2] for row in said], LEVELS)
    rows = latest_said(consent, subject, np.array([row[1] for row in said]))
    assert subject[rows].tolist() == list(numbers.values())
    for number, row in zip(numbers.values(), rows.tolist(), strict=True):
        mine = [
            (-at, len(set(levels or ())), sorted(set(levels or ())))
            for (who, at, levels) in said
            if numbers[who] == number
        ]
        levels = set(said[row][2] or ())
        assert (-said[row][1], len(levels), sorted(levels)) == min(mine)


def test_nobody_says_nothing() -> None:
    assert len(latest_said(pa.array([], LEVELS), np.array([], np.int64), np.array([], np.int64))) == 0
