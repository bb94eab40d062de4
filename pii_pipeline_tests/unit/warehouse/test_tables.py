"""What a warehouse promises, on each kind of it: one suite, real databases."""

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from pii_pipeline.warehouse.errors import DoesNotFit, NotOurs, RowsLost, WarehouseError
from pii_pipeline.warehouse.table import Column, Table
from pii_pipeline.warehouse.warehouse import Warehouse, warehouse_at
from pii_pipeline_tests.warehouses import ask, columns

PEOPLE = Table(
    "people",
    "pseudonymized_events",
    (
        Column("name", "varchar(8)", ("name",)),
        Column("age", "integer", ("age",)),
        Column("city", "text", ("home", "city")),
    ),
)
HOME = pa.struct([("city", pa.string())])


def rows(*names: str | None, age: int | None = 30) -> pa.RecordBatch:
    homes = [None if name is None else {"city": f"{name}ville"} for name in names]
    return pa.record_batch(
        [pa.array(names, pa.string()), pa.array([age] * len(names), pa.int64()), pa.array(homes, HOME)],
        ["name", "age", "home"],
    )


@pytest.fixture
def warehouse(warehouse_url: str) -> Warehouse:
    return warehouse_at(warehouse_url)


def load(warehouse: Warehouse, table: Table, batch: str, fingerprint: str, *parts: pa.RecordBatch) -> None:
    with warehouse.open(table) as opened:
        opened.define()
        opened.replace(batch, fingerprint, sum(part.num_rows for part in parts), parts)


def held(warehouse: Warehouse, table: Table = PEOPLE) -> dict[str, str]:
    with warehouse.open(table) as opened:
        opened.define()
        return opened.batches()


def names(url: str) -> list[str | None]:
    return [name for (name,) in ask(url, "SELECT name FROM people ORDER BY name")]


def test_a_batch_is_loaded_and_replaced_as_a_whole(warehouse: Warehouse, warehouse_url: str) -> None:
    load(warehouse, PEOPLE, "b-1", "f1", rows("ann", "bob"), rows("cho"))
    load(warehouse, PEOPLE, "b-2", "f1", rows("dee"))
    assert names(warehouse_url) == ["ann", "bob", "cho", "dee"]
    load(warehouse, PEOPLE, "b-1", "f2", rows("eve"))
    assert names(warehouse_url) == ["dee", "eve"]
    assert held(warehouse) == {"b-1": "f2", "b-2": "f1"}
    found = ask(warehouse_url, "SELECT name, age, city, _batch FROM people ORDER BY name")
    assert found == [("dee", 30, "deeville", "b-2"), ("eve", 30, "eveville", "b-1")]


def test_a_batch_without_rows_is_held_too(warehouse: Warehouse, warehouse_url: str) -> None:
    load(warehouse, PEOPLE, "b-1", "f1", rows("ann"))
    load(warehouse, PEOPLE, "b-1", "f2")
    assert (names(warehouse_url), held(warehouse)) == ([], {"b-1": "f2"})


def test_columns_and_types_are_those_declared(warehouse: Warehouse, warehouse_url: str) -> None:
    table = Table(
        "events",
        "pseudonymized_events",
        (
            Column("text", "text", ("text",)),
            Column("short", "varchar(4)", ("text",)),
            Column("small", "integer", ("number",)),
            Column("big", "bigint", ("number",)),
            Column("real", "double precision", ("real",)),
            Column("yes", "boolean", ("yes",)),
            Column("at", "timestamptz", ("at",)),
            Column("day", "date", ("at",), "date"),
            Column("version", "integer", ("text",), "version_number"),
            Column("numbers", "integer[]", ("numbers",)),
            Column("texts", "text[]", ("texts",)),
            Column("items", "json", ("items",)),
            Column("order", "bigint", ("number",)),
            Column('Ödd "name"', "text", ("text",)),
        ),
    )
    at = datetime(2026, 11, 22, 23, 59, 59, 123456, tzinfo=UTC)
    items = pa.list_(pa.struct([("sku", pa.string()), ("price", pa.float64())]))
    batch = pa.record_batch(
        [
            pa.array(["2.3", None], pa.string()),
            pa.array([7, None], pa.int64()),
            pa.array([0.5, None], pa.float64()),
            pa.array([True, None], pa.bool_()),
            pa.array([at, None], pa.timestamp("us", "UTC")),
            pa.array([[1, None, 2], None], pa.list_(pa.int32())),
            pa.array([["a", None, ""], []], pa.list_(pa.string())),
            pa.array([[{"sku": "Łódź 🎉", "price": 1.5}], None], items),
        ],
        ["text", "number", "real", "yes", "at", "numbers", "texts", "items"],
    )
    load(warehouse, table, "b", "f", batch)
    first, second = ask(warehouse_url, "SELECT * FROM events ORDER BY text NULLS LAST")
    assert first[:6] == ("2.3", "2.3", 7, 7, 0.5, True)
    assert first[6].astimezone(UTC) == at
    assert first[7:11] == (date(2026, 11, 22), 2_003_000, [1, None, 2], ["a", None, ""])
    assert first[12:] == (7, "2.3", "b")
    assert second == (None,) * 10 + ([],) + (None,) * 3 + ("b",)
    ((sku, price),) = ask(
        warehouse_url, "SELECT items->0->>'sku', CAST(items->0->>'price' AS float) FROM events WHERE yes"
    )
    assert (sku, price) == ("Łódź 🎉", 1.5)
    types = columns(warehouse_url, "events")
    assert list(types) == [column.name for column in table.columns] + ["_batch"]
    if warehouse.kind == "postgres":
        length = "SELECT character_maximum_length FROM information_schema.columns WHERE column_name = 'short'"
        assert ask(warehouse_url, length) == [(4,)]
        assert types["items"] == "jsonb"


def test_text_keeps_every_character_but_nul(warehouse: Warehouse, warehouse_url: str) -> None:
    table = Table(
        "people",
        "pseudonymized_events",
        (
            Column("name", "text", ("name",)),
            Column("all", "text[]", ("all",)),
            Column("home", "json", ("home",)),
        ),
    )
    texts = ["a\0b", "\\u0000", "é€𝄞\n\t\"'\\", "", None]
    for number, text in enumerate(texts):
        batch = pa.record_batch(
            [
                pa.array([text], pa.string()),
                pa.array([[text]], pa.list_(pa.string())),
                pa.array([{"city": text}], HOME),
            ],
            ["name", "all", "home"],
        )
        load(warehouse, table, f"b-{number}", "f", batch)
    wanted = [None if text is None else text.replace("\0", "\ufffd") for text in texts]
    found = ask(warehouse_url, "SELECT name, \"all\", home->>'city' FROM people ORDER BY _batch")
    assert found == [(text, [text], text) for text in wanted]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (rows("ann", "a-secret-name"), "people.name: a text is longer than varchar(8) — widen the column"),
        (rows("ann", age=3_000_000_000), "people.age: a number is beyond integer — widen the column"),
    ],
    ids=["text", "number"],
)
def test_what_does_not_fit_leaves_the_batch_as_it_was(
    warehouse: Warehouse, warehouse_url: str, batch: pa.RecordBatch, message: str
) -> None:
    load(warehouse, PEOPLE, "b-1", "f1", rows("ann", "bob"))
    with pytest.raises(DoesNotFit) as caught:
        load(warehouse, PEOPLE, "b-1", "f2", rows("cho"), batch)
    assert str(caught.value).startswith(message)
    assert "secret" not in str(caught.value) and "3000000000" not in str(caught.value)
    assert (names(warehouse_url), held(warehouse)) == (["ann", "bob"], {"b-1": "f1"})


def test_characters_are_counted_not_bytes(warehouse: Warehouse, warehouse_url: str) -> None:
    load(warehouse, PEOPLE, "b-1", "f1", rows("𝄞" * 8, None))
    assert ask(warehouse_url, "SELECT count(*), count(name) FROM people") == [(2, 1)]


def test_fewer_rows_than_there_should_be_are_refused(warehouse: Warehouse, warehouse_url: str) -> None:
    load(warehouse, PEOPLE, "b-1", "f1", rows("ann"))
    with (
        pytest.raises(RowsLost, match="3 rows of b-1 are in the lake, and 2 came"),
        warehouse.open(PEOPLE) as opened,
    ):
        opened.replace("b-1", "f2", 3, [rows("bob", "cho")])
    assert (names(warehouse_url), held(warehouse)) == (["ann"], {"b-1": "f1"})


def test_a_batch_that_breaks_off_leaves_what_was_there(warehouse: Warehouse, warehouse_url: str) -> None:
    def parts() -> Iterator[pa.RecordBatch]:
        yield rows("bob")
        raise ZeroDivisionError

    load(warehouse, PEOPLE, "b-1", "f1", rows("ann"))
    with pytest.raises(ZeroDivisionError), warehouse.open(PEOPLE) as opened:
        opened.replace("b-1", "f2", 2, parts())
    assert (names(warehouse_url), held(warehouse)) == (["ann"], {"b-1": "f1"})


def test_batches_can_be_removed(warehouse: Warehouse, warehouse_url: str) -> None:
    for number in range(3):
        load(warehouse, PEOPLE, f"b-{number}", "f", rows(f"p{number}"))
    with warehouse.open(PEOPLE) as opened:
        opened.remove(["b-0", "b-2", "never there"])
    assert (names(warehouse_url), held(warehouse)) == (["p1"], {"b-1": "f"})


def changed(*columns: Column) -> Table:
    return Table(PEOPLE.name, PEOPLE.dataset, columns)


CHANGES = {
    "column added": changed(*PEOPLE.columns, Column("also", "bigint", ("age",))),
    "column removed": changed(*PEOPLE.columns[:1]),
    "column renamed": changed(Column("called", "varchar(8)", ("name",)), *PEOPLE.columns[1:]),
    "type changed": changed(PEOPLE.columns[0], Column("age", "text", ("name",))),
    "other field": changed(PEOPLE.columns[0], Column("city", "text", ("name",))),
    "all new": changed(Column("x", "text", ("name",))),
    "other dataset": Table("people", "marketing", PEOPLE.columns),
}


@pytest.mark.parametrize("table", CHANGES.values(), ids=CHANGES)
def test_a_changed_definition_changes_the_table_and_tells_what_to_load_again(
    warehouse: Warehouse, warehouse_url: str, table: Table
) -> None:
    load(warehouse, PEOPLE, "b-1", "f1", rows("ann"))
    load(warehouse, PEOPLE, "b-2", "f1", rows("bob"))
    with warehouse.open(table) as opened:
        assert sorted(opened.define()) == ["b-1", "b-2"]
        assert opened.batches() == {}
        opened.replace("b-1", "f2", 1, [rows("ann")])
        opened.replace("b-2", "f2", 1, [rows("bob")])
        assert opened.define() == []
    assert set(columns(warehouse_url, "people")) == {"_batch"} | {column.name for column in table.columns}
    assert ask(warehouse_url, f"SELECT count({table.columns[-1].name}) FROM people") == [(2,)]
    assert held(warehouse, table) == {"b-1": "f2", "b-2": "f2"}


def test_a_change_that_fails_changes_nothing(warehouse: Warehouse, warehouse_url: str) -> None:
    load(warehouse, PEOPLE, "b-1", "f1", rows("cornelius"[:8]))
    narrow = changed(Column("name", "varchar(3)", ("name",)))
    with pytest.raises(DoesNotFit), warehouse.open(narrow) as opened:
        opened.define()
        opened.replace("b-1", "f2", 1, [rows("cornelius"[:8])])
    assert names(warehouse_url) == ["corneliu"]
    assert held(warehouse) == {"b-1": "f1"}
    assert list(columns(warehouse_url, "people")) == ["name", "age", "city", "_batch"]


def test_a_table_that_somebody_dropped_is_made_again(warehouse: Warehouse, warehouse_url: str) -> None:
    load(warehouse, PEOPLE, "b-1", "f1", rows("ann"))
    ask(warehouse_url, "DROP TABLE people")
    assert held(warehouse) == {}
    load(warehouse, PEOPLE, "b-1", "f1", rows("ann"))
    assert names(warehouse_url) == ["ann"]


@pytest.mark.parametrize("theirs", ["TABLE people (name text)", "VIEW people AS SELECT 1 AS name"])
def test_what_others_made_is_left_alone(warehouse: Warehouse, warehouse_url: str, theirs: str) -> None:
    other = Table("visits", "pseudonymized_events", PEOPLE.columns)
    load(warehouse, other, "b-1", "f1", rows("ann"))
    ask(warehouse_url, f"CREATE {theirs}")
    with pytest.raises(NotOurs, match="there is a table people that is not ours"):
        held(warehouse)
    assert list(columns(warehouse_url, "people")) == ["name"]


def test_others_may_add_columns_and_views(warehouse: Warehouse, warehouse_url: str) -> None:
    load(warehouse, PEOPLE, "b-1", "f1", rows("ann"))
    ask(warehouse_url, "ALTER TABLE people ADD COLUMN remark text")
    ask(warehouse_url, "CREATE VIEW called AS SELECT name FROM people")
    load(warehouse, PEOPLE, "b-2", "f1", rows("bob"))
    wider = changed(*PEOPLE.columns, Column("also", "bigint", ("age",)))
    load(warehouse, wider, "b-1", "f2", rows("cho"))
    assert ask(warehouse_url, "SELECT name FROM called") == [("cho",)]
    assert ask(warehouse_url, "SELECT name, also, remark FROM people") == [("cho", 30, None)]
    ask(warehouse_url, "ALTER TABLE people DROP COLUMN remark")
    assert held(warehouse, wider) == {"b-1": "f2"}


def test_tables_do_not_disturb_one_another(warehouse: Warehouse, warehouse_url: str) -> None:
    other = Table("visits", "marketing", PEOPLE.columns[:1])
    load(warehouse, PEOPLE, "b-1", "f1", rows("ann"))
    load(warehouse, other, "b-1", "f9", rows("bob"))
    with warehouse.open(other) as opened:
        opened.remove(["b-1"])
    assert (names(warehouse_url), held(warehouse), held(warehouse, other)) == (["ann"], {"b-1": "f1"}, {})


def test_who_loads_at_once_takes_turns(warehouse_url: str) -> None:
    """Each with a warehouse of its own, as two runs have: one version of the batch is there, whole."""
    errors: list[Exception] = []

    def work(number: int) -> None:
        mine = warehouse_at(warehouse_url)
        try:
            for turn in range(5):
                load(mine, PEOPLE, "b-1", f"{number}-{turn}", *[rows(f"p{number}-{turn}")] * (number + 1))
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    ((name, count),) = ask(warehouse_url, "SELECT name, count(*) FROM people GROUP BY name")
    assert held(warehouse_at(warehouse_url)) == {"b-1": name[1:]}
    assert count == int(name[1]) + 1


def test_identity_tells_a_warehouse_from_another(warehouse: Warehouse, warehouse_url: str) -> None:
    before = warehouse.identity(["people"])
    load(warehouse, PEOPLE, "b-1", "f1", rows("ann"))
    made = warehouse.identity(["people"])
    load(warehouse, PEOPLE, "b-2", "f1", rows("bob"))
    load(warehouse, changed(*PEOPLE.columns[:1]), "b-2", "f1", rows("bob"))
    assert made == warehouse.identity(["people"]) != before


def test_a_column_that_others_changed_is_refused(warehouse: Warehouse, warehouse_url: str) -> None:
    """In binary, eight letters would be a bigint."""
    load(warehouse, PEOPLE, "b-1", "f1", rows("ann"))
    ask(warehouse_url, "ALTER TABLE people DROP COLUMN name")
    ask(warehouse_url, "ALTER TABLE people ADD COLUMN name bigint")
    for table in (PEOPLE, changed(*PEOPLE.columns[:2])):
        with pytest.raises(NotOurs, match="somebody changed name of the table people — drop the table"):
            load(warehouse, table, "b-2", "f1", rows("8letters"))
    ask(warehouse_url, "DROP TABLE people")
    load(warehouse, PEOPLE, "b-2", "f1", rows("8letters"))
    assert names(warehouse_url) == ["8letters"]


def test_what_the_database_refuses_is_told_without_a_value(warehouse: Warehouse, warehouse_url: str) -> None:
    load(warehouse, PEOPLE, "b-1", "f1", rows("ann"))
    ask(warehouse_url, "CREATE UNIQUE INDEX one_city ON people (city)")
    with pytest.raises(WarehouseError) as caught:
        load(warehouse, PEOPLE, "b-2", "f1", rows("a-secret", "a-secret"))
    said = str(caught.value)
    assert said.startswith("PII_WAREHOUSE_URL: ") and " — " in said
    assert "secret" not in said
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert held(warehouse) == {"b-1": "f1"}
