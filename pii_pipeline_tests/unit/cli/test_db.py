"""``pii db``: what version the tables have, and bringing them up to date."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pii_pipeline.database.schema import migrations
from pii_pipeline_tests.unit.cli.conftest import Pii

NEWEST = migrations()[-1].number


def test_tables_are_brought_up_to_date_once(pii: Pii, tmp_path: Path) -> None:
    first = pii("db", "status")
    assert first.exit_code == 1
    assert first.stdout.splitlines()[1] == "0001 first schema: to be done"
    assert not (tmp_path / "pii.db").exists(), "looking makes nothing"

    done = json.loads(pii("db", "upgrade", "--json").stdout)
    assert done["version"] == NEWEST
    assert [item["number"] for item in done["done"]] == [migration.number for migration in migrations()]
    again = pii("db", "upgrade")
    assert (again.exit_code, again.stdout) == (0, f"version {NEWEST}, 0 migrations done\n")

    status = pii("db", "status")
    assert (status.exit_code, status.stdout) == (0, f"version {NEWEST}\n")
    assert json.loads(pii("db", "status", "--json").stdout) == {"version": NEWEST, "pending": []}


def test_any_command_brings_them_up_to_date(pii: Pii) -> None:
    assert pii("status").exit_code == 0
    assert pii("db", "status").stdout == f"version {NEWEST}\n"


@pytest.mark.parametrize("command", [["db", "status"], ["db", "upgrade"], ["status"]])
def test_a_later_releases_database_is_refused_as_a_wrong_setting(
    pii: Pii, tmp_path: Path, command: list[str]
) -> None:
    pii("db", "upgrade")
    with closing(sqlite3.connect(tmp_path / "pii.db")) as database, database:
        database.execute("UPDATE pii_schema_version SET version_num = '9999'")
    refused = pii(*command)
    assert refused.exit_code == 2
    assert refused.stderr == (
        f"pii: PII_DATABASE_URL: its tables are of a later release (version 9999, this one knows {NEWEST}) — "
        "use that release, or a database of its own\n"
    )


def test_the_password_of_a_server_that_is_not_there_is_not_told(
    pii: Pii, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PII_DATABASE_URL", "postgresql://anna:hunter2@127.0.0.1:1/pii?sslpassword=hunter3")
    for command in (["db", "status"], ["db", "upgrade"], ["status"]):
        refused = pii(*command)
        assert refused.exit_code == 1
        assert "postgresql://anna:***@127.0.0.1:1/pii: cannot connect, nobody listens there" in refused.stderr
        assert "hunter" not in refused.output
