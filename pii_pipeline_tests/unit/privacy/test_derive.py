import numpy as np
import pyarrow as pa
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_pipeline.privacy.consent import ConsentRequest
from pii_pipeline.privacy.derive import DerivedPlan, derive_columns
from pii_pipeline.privacy.plan import compile_plan
from pii_pipeline.privacy.pseudonymize import pseudonymize_columns
from pii_pipeline.privacy.sealer import RowKeys
from pii_pipeline_tests.unit.privacy.reference import PlainSealer, contract
from pii_pipeline_tests.unit.privacy.test_treatments import SCHEMA, table

FIELDS = {
    "plain": "keep",
    "number": {"encrypt": {"level": 1}},
    "flag": {"encrypt": {"level": 2}},
    "address": {"encrypt": {"level": 1}},
    "items[]/sku": {"encrypt": {"level": 1}},
    "gone": {"url": {}},
}


def lake_and_dataset(rows, request, joinable=False, keys=None, **extra):
    plan = compile_plan(contract(SCHEMA, fields=FIELDS, **extra))
    owners = np.array(keys if keys is not None else range(len(rows)), np.int64)
    lake = pseudonymize_columns(table(plan, rows), plan, RowKeys(owners, owners), PlainSealer())
    lake = {
        name: pa.array(column.to_pylist(), plan.lake_schema().field(name).type)
        for name, column in lake.items()
    }
    count = len(rows)
    lake |= {
        "_event_time": pa.array([0] * count, pa.timestamp("us", "UTC")),
        "_contract": pa.array([plan.contract.contract] * count),
        "_key_link": pa.array(["k"] * count),
        "_subject_token": pa.array(["t"] * count),
        "_consent": pa.nulls(count, pa.list_(pa.int32())),
        "_event_id_reused": pa.nulls(count, pa.bool_()),
    }
    derived = DerivedPlan(plan, request, joinable)
    columns, leaks = derive_columns(pa.table(lake), derived, owners, PlainSealer())
    assert leaks == []
    return lake, {name: column.to_pylist() for name, column in columns.items()}, derived


ROWS = [
    {
        "id": "a",
        "plain": "p",
        "number": 0.1,
        "flag": False,
        "address": {"street": "Große Straße", "city": None, "no": 7},
        "items": [{"sku": "x", "note": "n", "tags": []}, {"sku": None, "note": None, "tags": None}],
        "gone": "https://a.example/?q=john",
    },
    {"id": "b", "plain": None, "number": None, "flag": None, "address": None, "items": None, "gone": None},
]


def test_only_what_the_request_covers_is_decrypted_with_its_type():
    _, out, derived = lake_and_dataset(ROWS, ConsentRequest(level=1))
    assert out["number"] == [0.1, None]
    assert out["address"] == [ROWS[0]["address"], None]
    assert [item["sku"] for item in out["items"][0]] == ["x", None]
    assert out["flag"][0].startswith("A"), "level 2 stays ciphertext"
    assert derived.schema().field("number").type == pa.float64()
    assert derived.schema().field("flag").type == pa.string()
    _, higher, _ = lake_and_dataset(ROWS, ConsentRequest(level=2))
    assert higher["flag"] == [False, None]
    _, other, _ = lake_and_dataset(ROWS, ConsentRequest(purposes=frozenset({2})))
    assert other["flag"] == [False, None]
    assert other["number"][0].startswith("A"), "a purpose does not include those below it"


def test_a_consented_dataset_does_not_join_the_lake():
    lake, out, derived = lake_and_dataset(ROWS, ConsentRequest(level=1), event_id_field="id")
    assert "id" not in out
    system = [name for name in derived.schema().names if name.startswith("_")]
    assert system == ["_event_time", "_contract"]
    for name in ("flag", "gone"):
        assert out[name][0] != lake[name][0].as_py(), f"{name} would join"
    assert out["items"][0][0]["note"] != lake["items"][0][0]["note"].as_py()
    assert out["gone"][0].startswith("https://a.example/?q=")


def test_joinable_with_the_lake_is_explicit():
    lake, out, derived = lake_and_dataset(ROWS, ConsentRequest(level=1), joinable=True, event_id_field="id")
    for name in ("id", "flag", "gone", "_key_link", "_subject_token"):
        assert out[name] == lake[name].to_pylist()
    assert derived.schema().names == [*derived.plan.lake_schema().names]


VALUES = st.builds(
    dict,
    id=st.text(min_size=1),
    number=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    flag=st.none() | st.booleans(),
    address=st.none()
    | st.builds(
        dict,
        street=st.none() | st.text(),
        city=st.none() | st.text(),
        no=st.none() | st.integers(-(2**63), 2**63 - 1),
    ),
    items=st.none()
    | st.lists(
        st.none()
        | st.builds(dict, sku=st.none() | st.text(), note=st.none(), tags=st.none() | st.lists(st.text())),
        max_size=3,
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, max_size=6), st.integers(1, 3))
def test_whatever_was_encrypted_comes_back_as_it_was(rows, people):
    request = ConsentRequest(level=2)
    _, out, _ = lake_and_dataset(rows, request, keys=[i % people for i in range(len(rows))])
    assert out["number"] == [row["number"] for row in rows]
    assert out["flag"] == [row["flag"] for row in rows]
    assert out["address"] == [row["address"] for row in rows]
    skus = [
        items if items is None else [item if item is None else item["sku"] for item in items]
        for items in out["items"]
    ]
    assert skus == [
        row["items"]
        if row["items"] is None
        else [item if item is None else item["sku"] for item in row["items"]]
        for row in rows
    ]


def test_a_ciphertext_moved_to_another_column_does_not_open():
    lake, _, derived = lake_and_dataset(ROWS, ConsentRequest(level=1))
    swapped = pa.table({**lake, "number": lake["address"]})
    with pytest.raises(InvalidTag):
        derive_columns(swapped, derived, np.arange(2), PlainSealer())
