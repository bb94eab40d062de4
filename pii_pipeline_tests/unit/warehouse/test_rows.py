"""From a dataset's columns to a table's: version numbers, types, what is not there."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pii_pipeline.warehouse.rows import table_rows, version_numbers
from pii_pipeline.warehouse.table import Column, Table, arrow_type, column_types, fits, natural_type


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2.3.0", 2_003_000),
        ("0.2.6", 2_006),
        ("2.6", 2_006_000),
        ("26", 26_000_000),
        ("1.1", 1_001_000),
        ("0", 0),
        ("2146.999.999", 2_146_999_999),
        ("007.08.09", 7_008_009),
        ("2147.0.0", None),
        ("1.1000.0", None),
        ("1.2.3.4", None),
        ("2.3.0-beta", None),
        ("v2.3", None),
        ("2.", None),
        (".2", None),
        ("2..3", None),
        ("2.3\n", None),
        (" 2.3", None),
        ("٢.٣", None),
        ("unknown", None),
        ("", None),
        (None, None),
    ],
)
def test_a_version_as_a_number(text: str | None, number: int | None) -> None:
    assert version_numbers(pa.array([text, "1"], pa.string())).to_pylist() == [number, 1_000_000]


PART = st.integers(0, 999)
VERSIONS = st.lists(st.tuples(st.integers(0, 2146), PART, PART), min_size=1)


@given(VERSIONS)
def test_numbers_sort_as_versions_do(versions: list[tuple[int, int, int]]) -> None:
    texts = [".".join(map(str, version)) for version in versions]
    numbers = version_numbers(pa.array(texts)).to_pylist()
    assert sorted(range(len(texts)), key=numbers.__getitem__) == sorted(
        range(len(texts)), key=versions.__getitem__
    )
    assert len(set(numbers)) == len(set(versions))


def one(column: Column, array: pa.Array) -> list[object]:
    """What the column becomes of an array that is called x."""
    rows = table_rows(pa.record_batch([array], ["x"]), Table("t", "d", (column,)), "b")
    assert rows.schema.names == ["_batch", column.name]
    assert rows.schema.types[1] == arrow_type(column.type)
    return rows.column(1).to_pylist()


def test_a_date_is_that_of_utc() -> None:
    times = [
        datetime(2026, 11, 22, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1969, 12, 31, 1, tzinfo=UTC),
        None,
    ]
    found = one(Column("day", "date", ("x",), "date"), pa.array(times, pa.timestamp("us", "UTC")))
    assert found == [date(2026, 11, 22), date(1969, 12, 31), None]


def test_a_field_of_a_record_that_is_null_is_null() -> None:
    records = pa.StructArray.from_arrays([pa.array(["a", "b"])], ["y"], mask=pa.array([False, True]))
    assert one(Column("y", "text", ("x", "y")), records) == ["a", None]


@pytest.mark.parametrize("path", [("gone",), ("gone", "y"), ("x", "y")])
def test_what_an_earlier_contract_did_not_have_is_null(path: tuple[str, ...]) -> None:
    assert one(Column("y", "text", path), pa.array([{"z": "a"}, {"z": "b"}])) == [None, None]


@pytest.mark.parametrize(
    ("column", "array"),
    [
        (Column("y", "text", ("x",)), pa.array([1, 2])),
        (Column("y", "bigint", ("x",)), pa.array(["1", "2"])),
        (Column("y", "json", ("x",)), pa.array(["sealed", "text"])),
        (Column("y", "text", ("x",)), pa.array([{"z": 1}, {"z": 2}])),
        (Column("y", "integer", ("x",), "version_number"), pa.array([1, 2])),
        (Column("y", "date", ("x",), "date"), pa.array(["2026-01-01"] * 2)),
    ],
)
def test_what_an_earlier_contract_had_of_another_type_is_null(column: Column, array: pa.Array) -> None:
    assert one(column, array) == [None, None]


def test_natural_types_and_what_fits_them() -> None:
    natural = {
        "text": pa.string(),
        "bigint": pa.int64(),
        "integer": pa.int32(),
        "double precision": pa.float64(),
        "boolean": pa.bool_(),
        "timestamptz": pa.timestamp("us", "UTC"),
        "date": pa.date32(),
        "integer[]": pa.list_(pa.int32()),
        "text[]": pa.list_(pa.string()),
    }
    assert {name: natural_type(type) for name, type in natural.items()} == {name: name for name in natural}
    assert {name: arrow_type(name) for name in natural} == natural
    for nested in (pa.struct([("a", pa.int64())]), pa.list_(pa.list_(pa.int64()))):
        assert natural_type(nested) == "json"
    assert natural_type(pa.list_(pa.struct([("a", pa.int64())]))) == "json"
    fitting = {"text": ["text", "varchar(1)", "varchar(10485760)"], "bigint": ["bigint", "integer"]}
    types = {
        *natural,
        "json",
        "varchar(1)",
        "varchar(10485760)",
        "varchar(0)",
        "varchar(10485761)",
        "varchar",
    }
    for name in (*natural, "json"):
        assert {type for type in types if fits(type, name)} == set(fitting.get(name, [name])), name


def test_a_definition_changes_with_whatever_the_rows_depend_on() -> None:
    table = Table("t", "d", (Column("a", "text", ("x",)),))
    others = [
        Table("t", "e", table.columns),
        Table("t", "d", (Column("b", "text", ("x",)),)),
        Table("t", "d", (Column("a", "varchar(3)", ("x",)),)),
        Table("t", "d", (Column("a", "text", ("x", "y")),)),
        Table("t", "d", (Column("a", "text", ("x",), "version_number"),)),
        Table("t", "d", ()),
    ]
    assert len({table.definition, *(other.definition for other in others)}) == len(others) + 1
    assert column_types(others[2].definition) == {"a": "varchar(3)"}
