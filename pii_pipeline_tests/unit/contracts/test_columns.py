"""Columns of several versions: where they differ, and all of them in one table."""

import pyarrow as pa
import pytest

from pii_pipeline.contracts.columns import clashes, differences, union, widened

FIRST = pa.schema(
    [
        pa.field("a", pa.string(), nullable=False),
        pa.field("r", pa.struct([("x", pa.int64()), ("s/t", pa.string())])),
        pa.field("l", pa.list_(pa.struct([("p", pa.string())]))),
        pa.field("only", pa.string()),
    ]
)
SECOND = pa.schema(
    [
        pa.field("l", pa.list_(pa.struct([("q", pa.float64()), ("p", pa.string())]))),
        pa.field("new", pa.bool_()),
        pa.field("r", pa.struct([("y", pa.list_(pa.string())), ("x", pa.int64())])),
        pa.field("a", pa.string()),
    ]
)


def test_differences_by_path_whatever_the_order():
    assert list(differences(FIRST, SECOND)) == [
        ("r/s~1t", pa.string(), None),
        ("r/y", None, pa.list_(pa.string())),
        ("l[]/q", None, pa.float64()),
        ("only", pa.string(), None),
        ("new", None, pa.bool_()),
    ]
    assert list(differences(FIRST, FIRST)) == []
    assert clashes(FIRST, SECOND) == []


@pytest.mark.parametrize(
    ("other", "path"),
    [
        (pa.schema([pa.field("a", pa.int64())]), "a"),
        (pa.schema([pa.field("r", pa.struct([("x", pa.string())]))]), "r/x"),
        (pa.schema([pa.field("r", pa.string())]), "r"),
        (pa.schema([pa.field("l", pa.list_(pa.string()))]), "l[]"),
    ],
)
def test_two_types_in_one_place_clash(other, path):
    assert [found.path for found in clashes(FIRST, other)] == [path]
    with pytest.raises(ValueError, match=path.replace("[]", r"\[\]")):
        union([FIRST, other])


def test_the_union_goes_by_the_first_then_what_others_add():
    merged = union([FIRST, SECOND])
    assert merged == pa.schema(
        [
            pa.field("a", pa.string(), nullable=False),
            pa.field("r", pa.struct([("x", pa.int64()), ("s/t", pa.string()), ("y", pa.list_(pa.string()))])),
            pa.field("l", pa.list_(pa.struct([("p", pa.string()), ("q", pa.float64())]))),
            pa.field("only", pa.string()),
            pa.field("new", pa.bool_()),
        ]
    )
    assert union([FIRST]) == FIRST


def test_widened_rows_are_null_where_they_have_nothing():
    rows = [
        {"a": "1", "r": {"x": 1, "s/t": "t"}, "l": [{"p": "p"}, None], "only": None},
        {"a": "2", "r": None, "l": None, "only": "o"},
    ]
    table = pa.Table.from_pylist(rows, FIRST)
    table = table.set_column(0, "a", table["a"].dictionary_encode())
    wide = widened(table, union([FIRST, SECOND]))
    assert pa.types.is_dictionary(wide.schema.field("a").type), "text stays as it is encoded"
    assert wide.to_pylist() == [
        {
            "a": "1",
            "r": {"x": 1, "s/t": "t", "y": None},
            "l": [{"p": "p", "q": None}, None],
            "only": None,
            "new": None,
        },
        {"a": "2", "r": None, "l": None, "only": "o", "new": None},
    ]


def test_text_that_is_encoded_inside_records_is_not_so_any_more():
    encoded = pa.StructArray.from_arrays([pa.array(["v", None]).dictionary_encode()], ["x"])
    wide = widened(pa.table({"r": encoded}), pa.schema([("r", pa.struct([("x", pa.string())]))]))
    assert wide["r"].to_pylist() == [{"x": "v"}, {"x": None}]
    assert wide.schema.field("r").type == pa.struct([("x", pa.string())])
