"""``pii query`` and ``pii status`` over what the layers committed, here without Dagster."""

import json
from pathlib import Path

import pytest

from pii_pipeline.cli.common import installation
from pii_pipeline.pipeline import vault_records, warehouse
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline_tests.unit.cli.conftest import Pii

HOUR = "2026-01-15T10"


@pytest.fixture
def logins(pii: Pii) -> None:
    """100 log-ins, 99 of them in the lake and the warehouse."""
    pii("sample", "logins", "--events", 100, "--end", "2026-01-15T11:00", "--land")
    with installation() as opened:
        stream = opened.streams["logins"]
        seal_hour(opened, stream, HOUR)
        validate_hour(opened, stream, HOUR)
        pseudonymize_hour(opened, stream, HOUR)
        warehouse.load_hour(opened, stream, "user_logins", HOUR)
        vault_records.load_hour(opened, stream, HOUR)


@pytest.mark.usefixtures("logins")
def test_json_is_a_list_of_objects(pii: Pii):
    result = pii(
        "query",
        "--json",
        "select _hour, count(*) as n, sum(1) as s from logins.pseudonymized_events group by 1",
    )
    assert json.loads(result.stdout) == [{"_hour": HOUR, "n": 99, "s": 99}]


@pytest.mark.usefixtures("logins")
def test_times_are_iso_and_decimals_numbers(pii: Pii):
    sql = """select arrival_time, 1.5::decimal(4,2) as d, 'x'::blob as b, {'k': [1.0, 'nan'::double]} as s,
                    7 as n, 8 as n
             from logins.bad_events"""
    (row,) = json.loads(pii("query", "--json", sql).stdout)
    arrival = row.pop("arrival_time")
    assert arrival.startswith("2026-01-15T10:")
    assert arrival.endswith("+00:00")
    assert row == {"d": 1.5, "b": "eA==", "s": {"k": [1.0, None]}, "n": 7, "n_1": 8}


@pytest.mark.usefixtures("logins")
def test_people_see_a_hundred_rows_or_as_many_as_they_say(pii: Pii):
    assert "99 rows\n" in pii("query", "from logins.pseudonymized_events").stdout
    assert "100 rows, and more" in pii("query", "from range(101)").stdout
    assert "2 rows, and more" in pii("query", "from range(101)", "--limit", 2).stdout
    assert len(json.loads(pii("query", "from range(101)", "--json").stdout)) == 101


def test_what_is_not_committed_is_empty_and_typed(pii: Pii):
    sql = "select _event_time + interval 1 hour, product.price * 2, email from webshop.marketing"
    assert json.loads(pii("query", "--json", sql).stdout) == []
    assert pii("query", "select count(*) as n from webshop.bad_events", "--json").stdout.split() == [
        "[",
        "{",
        '"n":',
        "0",
        "}",
        "]",
    ]
    types = {
        row["column_name"]: row["column_type"]
        for row in json.loads(pii("query", "--json", "describe webshop.marketing").stdout)
    }
    assert types["loyalty_number"] == "BIGINT"
    assert types["_event_time"] == "TIMESTAMP WITH TIME ZONE"


@pytest.mark.usefixtures("logins")
def test_uncommitted_files_are_invisible(pii: Pii, storage: Path):
    (file,) = (storage / "lake/logins/pseudonymized_events").rglob("*.parquet")
    file.with_name("stray.parquet").write_bytes(file.read_bytes())
    assert json.loads(
        pii("query", "--json", "select count(*) as n from logins.pseudonymized_events").stdout
    ) == [{"n": 99}]


@pytest.mark.usefixtures("logins")
def test_a_committed_file_that_is_gone_is_named(pii: Pii, storage: Path):
    (file,) = (storage / "lake/logins/bad_events").rglob("*.parquet")
    file.unlink()
    result = pii("query", "from logins.bad_events")
    assert result.exit_code == 1
    assert f"{file}: is committed, and not there" in result.stderr


@pytest.mark.parametrize("dataset", ["validated_events", "raw_events"])
def test_clear_data_is_refused_with_the_reason(pii: Pii, dataset: str):
    result = pii("query", f"select * from logins.{dataset}")
    assert result.exit_code == 2
    assert "in clear" in result.stderr


@pytest.mark.usefixtures("logins")
@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select nope from logins.bad_events", 'Referenced column "nope" not found'),
        ("selec", "syntax error"),
        ("select 1; select 2", "not exactly one"),
        ("", "not exactly one"),
        ("select cast(device_type as integer) from logins.pseudonymized_events", "use TRY_CAST"),
        ("select error(device_type) from logins.pseudonymized_events", "may quote data"),
        ("select * from read_text('/etc/hostname')", "no files"),
        ("copy logins.bad_events to 'copy.csv'", "no files"),
        ("attach 'copy.db'", "no files"),
        ("set enable_external_access = true", "may quote data"),
    ],
)
def test_errors_are_one_line_without_data(pii: Pii, sql: str, said: str):
    result = pii("query", sql)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert "android" not in result.output
    assert "ios" not in result.output
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.usefixtures("logins")
def test_status_adds_up(pii: Pii, storage: Path):
    (report,) = json.loads(pii("status", "--json").stdout)
    assert (report["stream"], report["hour"], report["objects"]) == ("logins", HOUR, 1)
    assert (report["records"], report["validated"], report["bad"], report["duplicates"]) == (100, 99, 1, 0)
    assert report["bad_by_reason"] == {"schema_violation": 1}
    assert (report["pseudonymized"], report["erased"], report["expired"]) == (99, 0, 0)
    assert report["tables"] == {"user_logins": {"loaded": 99}}
    assert report["seconds"] > 0
    assert report["records_per_second"] == pytest.approx(100 / report["seconds"], rel=0.05)
    assert report["problems"] == []
    for files in report["files"].values():
        assert all(Path(file).is_file() for file in files)
    table = pii("status", "logins", "--hour", HOUR).stdout
    for text in (
        "100 records",
        "99 validated",
        "1 bad",
        "schema_violation",
        "user_logins:",
        "99 loaded",
        str(storage / "lake/logins/bad_events"),
        f"Tables: {storage.parent / 'warehouse.duckdb'}",
    ):
        assert text in table


def test_one_record_is_one_record(pii: Pii):
    pii("sample", "logins", "--events", 1, "--end", "2026-01-15T11:00", "--land")
    with installation() as opened:
        stream = opened.streams["logins"]
        seal_hour(opened, stream, HOUR)
        validate_hour(opened, stream, HOUR)
    assert " 1 record " in pii("status").stdout


@pytest.mark.usefixtures("logins")
def test_status_tells_what_is_not_made(pii: Pii):
    pii("sample", "logins", "--seed", 2, "--end", "2026-01-15T11:00", "--land")
    with installation() as opened:
        seal_hour(opened, opened.streams["logins"], HOUR)
    (report,) = json.loads(pii("status", "--json").stdout)
    assert report["problems"] == [
        "validated_events: 1 of 2 batches not made",
        "pseudonymized_events: 1 of 2 batches not made",
        "vault_records: 1 of 2 batches not made",
        "user_logins: 1 of 2 batches not made",
    ]


def test_status_of_nothing_says_so(pii: Pii):
    assert json.loads(pii("status", "--json").stdout) == []
    assert "Nothing was processed" in pii("status").stdout
    assert pii("status", "nope").exit_code == 2
