"""Warehouse tables in ``stream.yaml``: what is refused on which line with which mend, and what loads."""

from pathlib import Path

import pytest

from pii_pipeline.contracts.errors import ConfigurationError
from pii_pipeline.settings import project_root
from pii_pipeline.streams.loader import load_streams
from pii_pipeline.streams.model import Stream
from pii_pipeline.streams.tables import warehouse_table
from pii_pipeline.warehouse.table import Column
from pii_pipeline_tests.unit.contracts.examples import CONTRACT, SCHEMA, changed, with_properties, write

STREAM = """\
description: Clicks.
derived:
  marketing:
    description: For newsletters.
    consent: {purposes: [2]}
warehouse:
  clicks:
    description: Who clicked.
    from: pseudonymized_events
    columns:
      email: {type: text}
"""


ALL = """\
description: Clicks.
warehouse:
  clicks: {description: All.}
"""


def load(folder: Path, stream: str, schema: object = SCHEMA, contract: str = CONTRACT) -> Stream:
    write(folder / "shop", contract, schema)
    (folder / "shop" / "stream.yaml").write_text(stream)
    return load_streams([folder])["shop"]


def problems(folder: Path, stream: str, schema: object = SCHEMA) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, stream, schema)
    return [str(problem).removeprefix(f"{folder}/shop/") for problem in caught.value.problems]


def with_columns(columns: str, table: str = "clicks", dataset: str = "pseudonymized_events") -> str:
    text = changed("email: {type: text}", columns, STREAM).replace("clicks:", f"{table}:")
    return text.replace("from: pseudonymized_events", f"from: {dataset}")


def columns_of(stream: Stream) -> tuple[Column, ...]:
    return warehouse_table(stream, "clicks").columns


def test_a_table_loads(tmp_path: Path) -> None:
    stream = load(
        tmp_path,
        with_columns(
            """id: {type: varchar(64)}
      sku: {field: product/sku}
      things: {field: items}
      all_tags: {field: tags}
      consent: {field: _consent}
      day: {field: _event_time, convert: date}
      happened: {field: _event_time}
      version: {field: email, convert: version_number}
      premium: {type: boolean}
"""
        ),
    )
    assert columns_of(stream) == (
        Column("id", "varchar(64)", ("id",)),
        Column("sku", "text", ("product", "sku")),
        Column("things", "json", ("items",)),
        Column("all_tags", "text[]", ("tags",)),
        Column("consent", "integer[]", ("_consent",)),
        Column("day", "date", ("_event_time",), "date"),
        Column("happened", "timestamptz", ("_event_time",)),
        Column("version", "integer", ("email",), "version_number"),
        Column("premium", "boolean", ("premium",)),
    )
    assert stream.warnings == ()


def test_names_with_slashes_and_tildes(tmp_path: Path) -> None:
    schema = with_properties(**{"a/b": {"type": "object", "properties": {"~c": {"type": "string"}}}})
    stream = load(tmp_path, with_columns("c: {field: a~1b/~0c}"), schema)
    assert columns_of(stream) == (Column("c", "text", ("a/b", "~c")),)


def test_without_columns_it_has_those_of_the_dataset(tmp_path: Path) -> None:
    stream = load(tmp_path, ALL)
    assert warehouse_table(stream, "clicks").dataset == "pseudonymized_events"
    found = {column.name: column.type for column in columns_of(stream)}
    assert (
        found
        | {
            "_event_time": "timestamptz",
            "_key_link": "text",
            "_consent": "integer[]",
            "_event_id_reused": "boolean",
            "email": "text",
            "tags": "text[]",
            "items": "json",
            "product": "json",
            "premium": "boolean",
        }
        == found
    )
    assert len(found) == len(SCHEMA["properties"]) + 7


def test_of_a_derived_dataset_somebody_should_look_at_it(tmp_path: Path) -> None:
    stream = load(tmp_path, with_columns("email: {}", dataset="marketing"))
    assert warehouse_table(stream, "clicks").dataset == "marketing"
    (caution,) = stream.warnings
    assert (caution.line, caution.field) == (9, "warehouse.clicks.from")
    assert caution.message.startswith("decrypted fields are in the warehouse: grant the table to those alone")


@pytest.mark.parametrize(
    ("stream", "problem"),
    [
        (
            with_columns("email: {type: text}", table="marketing"),
            "7: warehouse.marketing: `marketing` is the name of a dataset — rename it: shop_marketing",
        ),
        (
            with_columns("email: {type: text}", table="bad_events"),
            "7: warehouse.bad_events: `bad_events` is the name of a dataset — rename it: shop_bad_events",
        ),
        (
            with_columns("email: {type: text}", table="order"),
            "7: warehouse.order: `order` is a word of SQL — rename the table",
        ),
        (
            with_columns("email: {type: text}", table="Clicks"),
            "7: warehouse.Clicks: `Clicks` is not lower-case letters, digits and _, starting with a letter — "
            "rename the table",
        ),
        (
            with_columns("email: {type: text}", table="_pii_tables"),
            "7: warehouse._pii_tables: `_pii_tables` is not lower-case letters, digits and _, starting with "
            "a letter — rename the table",
        ),
        (
            with_columns("email: {type: text}", dataset="marketin"),
            "9: warehouse.clicks.from: `marketin` is no dataset that can be loaded — did you mean "
            "`marketing`?",
        ),
        (
            with_columns("email: {type: text}", dataset="bad_events"),
            "9: warehouse.clicks.from: `bad_events` is no dataset that can be loaded — one of "
            "pseudonymized_events, marketing",
        ),
        (
            changed("    description: Who clicked.\n", "", STREAM),
            "7: warehouse.clicks.description: is missing — add `description:`",
        ),
        (
            changed("from:", "form:", STREAM),
            "9: warehouse.clicks.form: unknown key — did you mean `from`?",
        ),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, stream: str, problem: str) -> None:
    assert problems(tmp_path, stream) == [f"stream.yaml:{problem}"]


@pytest.mark.parametrize(
    ("stream", "problem"),
    [
        (
            with_columns("emial: {}"),
            "emial: the dataset has no field `emial` — did you mean `email`?",
        ),
        (
            with_columns("mail: {field: product/sk}"),
            "mail.field: the dataset has no field `product/sk` — did you mean `product/sku`?",
        ),
        (
            with_columns("sku: {field: 'items[]/sku'}"),
            "sku.field: `items[]/sku` is inside a list — name the list, `items`; it comes whole",
        ),
        (
            with_columns("link: {field: _key_link}", dataset="marketing"),
            "link.field: the dataset has no field `_key_link` — name one, as `field`",
        ),
        (
            with_columns("user: {field: email}"),
            "user: `user` is a word of SQL — rename the column, and say which `field` it is",
        ),
        (
            with_columns("_batch: {field: email}"),
            "_batch: `_batch` is not lower-case letters, digits and _, starting with "
            "a letter — rename the column, and say which `field` it is",
        ),
        (
            with_columns("email: {type: integer}"),
            "email.type: `integer` does not fit `email`, which is text — write text or varchar(n)",
        ),
        (
            with_columns("email: {type: varchar}"),
            "email.type: `varchar` does not fit `email`, which is text — write text or varchar(n)",
        ),
        (
            with_columns("premium: {type: text}"),
            "premium.type: `text` does not fit `premium`, which is boolean — write boolean",
        ),
        (
            with_columns("id: {type: varchar(63)}"),
            "id.type: `id` is pseudonymized, and pseudonyms have 64 characters — write varchar(64) or more",
        ),
        (
            with_columns("day: {field: email, convert: date}"),
            "day.convert: `date` is for timestamptz, `email` is text — remove it, or "
            "name a field that is timestamptz",
        ),
        (
            with_columns("n: {field: premium, convert: version_number}"),
            "n.convert: `version_number` is for text, `premium` is boolean — remove "
            "it, or name a field that is text",
        ),
        (
            with_columns("email: {convert: version_number, type: bigint}"),
            "email.type: `version_number` gives integer — write integer, or no type",
        ),
        (
            with_columns("email: {convert: versionnumber}"),
            "email.convert: unknown value 'versionnumber' — did you mean `version_number`?",
        ),
        (
            with_columns("email: {tpye: text}"),
            "email.tpye: unknown key — did you mean `type`?",
        ),
    ],
)
def test_columns_that_are_refused(tmp_path: Path, stream: str, problem: str) -> None:
    assert problems(tmp_path, stream) == [f"stream.yaml:11: warehouse.clicks.columns.{problem}"]


@pytest.mark.parametrize(
    ("dataset", "characters"), [("pseudonymized_events", 32), ("marketing", 64)], ids=["lake", "derived"]
)
def test_hashes_are_as_long_as_their_function_makes_them_until_they_are_keyed_again(
    tmp_path: Path, dataset: str, characters: int
) -> None:
    contract = changed("  premium: keep", "  premium: keep\n  session: {pseudonymize: {hash: MD5}}")
    stream = with_columns(f"session: {{type: varchar({characters})}}", dataset=dataset)
    load(tmp_path / "right", stream, contract=contract)
    with pytest.raises(ConfigurationError, match=f"pseudonyms have {characters} characters"):
        load(tmp_path / "wrong", stream.replace(f"varchar({characters})", "varchar(31)"), contract=contract)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    stream = with_columns("emial: {}\n      order: {field: email}\n      id: {type: date}")
    assert [problem.split(": ")[1] for problem in problems(tmp_path, stream)] == [
        "warehouse.clicks.columns.emial",
        "warehouse.clicks.columns.order",
        "warehouse.clicks.columns.id.type",
    ]


@pytest.mark.parametrize("names", [["x" * 64], ["é" * 32], ["userId", "userid"]])
def test_names_of_the_dataset_that_no_table_can_have(tmp_path: Path, names: list[str]) -> None:
    schema = with_properties(**{name: {"type": "string"} for name in names})
    (problem,) = problems(tmp_path, ALL, schema)
    assert problem == (
        "stream.yaml:3: warehouse.clicks: columns would have names that are too long, or the same: "
        f"{', '.join(names)} — list the table's `columns`, and give these other names"
    )


def test_names_of_the_dataset_that_need_quotes(tmp_path: Path) -> None:
    names = ["order", "userId", "a/b", "größe", 'x"y', "Batch"]
    stream = load(tmp_path, ALL, with_properties(**{name: {"type": "string"} for name in names}))
    assert {(column.name, column.path) for column in columns_of(stream)} >= {
        (name, (name,)) for name in names
    }


def test_a_table_of_one_name_in_two_streams(tmp_path: Path) -> None:
    for name in ("shop", "store"):
        write(tmp_path / name, changed("acme/shop", f"acme/{name}"))
        (tmp_path / name / "stream.yaml").write_text(STREAM)
    streams = load_streams([tmp_path])
    assert list(streams) == [], "nothing says whose the table is"
    assert [str(problem) for problem in streams.problems_of(streams.broken)] == [
        f"{tmp_path}/store/stream.yaml:7: warehouse.clicks: the stream `shop` has a table of that name, and "
        "there is one warehouse — rename one of them"
    ]


def test_the_table_that_comes_with_the_project() -> None:
    table = warehouse_table(load_streams([project_root() / "streams"])["logins"], "user_logins")
    assert [(column.name, column.type) for column in table.columns] == [
        ("user_id", "varchar(128)"),
        ("device_type", "varchar(32)"),
        ("masked_ip", "varchar(256)"),
        ("masked_device_id", "varchar(256)"),
        ("locale", "varchar(32)"),
        ("app_version", "integer"),
        ("app_version_text", "varchar(32)"),
        ("create_date", "date"),
    ]
