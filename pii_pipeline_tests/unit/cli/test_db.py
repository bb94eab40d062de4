"""``pii db``: what version the tables have, and bringing them up to date."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pii_pipeline.database.schema import migrations
from pii_pipeline.vault.stores.tables import VAULT_SCHEMA
from pii_pipeline_tests.unit.cli.conftest import Pii

NEWEST = migrations()[-1].number
NEWEST_OF_VAULT = migrations(VAULT_SCHEMA)[-1].number


def test_tables_are_brought_up_to_date_once(pii: Pii, tmp_path: Path) -> None:
    first = pii("db", "status")
    assert first.exit_code == 1
    lines = first.stdout.splitlines()
    assert lines[1] == "0001 first schema: to be done"
    vault = lines.index("vault: no tables of a release that counts its versions yet")
    assert lines[vault + 1] == "0001 first schema: to be done"
    assert len(lines) - vault - 1 == len(migrations(VAULT_SCHEMA))
    assert not list(tmp_path.glob("*.db")), "looking makes nothing"

    done = json.loads(pii("db", "upgrade", "--json").stdout)
    assert (done["ledger and keys"]["version"], done["vault"]["version"]) == (NEWEST, NEWEST_OF_VAULT)
    numbers = [item["number"] for item in done["ledger and keys"]["done"]]
    assert numbers == [migration.number for migration in migrations()]
    again = pii("db", "upgrade")
    assert (again.exit_code, again.stdout.splitlines()) == (
        0,
        [
            f"ledger and keys: version {NEWEST}, 0 migrations done",
            f"vault: version {NEWEST_OF_VAULT}, 0 migrations done",
        ],
    )

    status = pii("db", "status")
    assert (status.exit_code, status.stdout) == (
        0,
        f"ledger and keys: version {NEWEST}\nvault: version {NEWEST_OF_VAULT}\n",
    )
    assert json.loads(pii("db", "status", "--json").stdout) == {
        "ledger and keys": {"version": NEWEST, "pending": []},
        "vault": {"version": NEWEST_OF_VAULT, "pending": []},
    }


def test_both_may_be_in_one_database(pii: Pii, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PII_VAULT_URL", f"sqlite:///{tmp_path / 'pii.db'}")
    assert pii("db", "upgrade").exit_code == 0
    assert pii("db", "status").exit_code == 0
    assert [file.name for file in tmp_path.glob("*.db")] == ["pii.db"]


def test_nothing_has_a_version_in_dynamodb(pii: Pii, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PII_VAULT_URL", "dynamodb://vault")
    assert pii("db", "upgrade").exit_code == 0
    assert pii("db", "status").stdout == f"ledger and keys: version {NEWEST}\n"


def test_any_command_brings_them_up_to_date(pii: Pii) -> None:
    assert pii("status").exit_code == 0
    assert pii("db", "status").stdout.splitlines()[0] == f"ledger and keys: version {NEWEST}"


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


@pytest.mark.parametrize("command", ["status", "upgrade"])
def test_a_vault_of_a_later_release_is_refused_as_a_wrong_setting(
    pii: Pii, tmp_path: Path, command: str
) -> None:
    pii("db", "upgrade")
    with closing(sqlite3.connect(tmp_path / "vault.db")) as database, database:
        database.execute("UPDATE pii_vault_schema_version SET version_num = '9999'")
    refused = pii("db", command)
    assert refused.exit_code == 2
    assert refused.stderr.startswith("pii: PII_VAULT_URL: its tables are of a later release (version 9999,")


@pytest.mark.parametrize("setting", ["PII_DATABASE_URL", "PII_VAULT_URL"])
def test_the_password_of_a_server_that_is_not_there_is_not_told(
    pii: Pii, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv(setting, "postgresql://anna:hunter2@127.0.0.1:1/pii?sslpassword=hunter3")
    commands = (["db", "status"], ["db", "upgrade"])
    for command in commands if setting == "PII_VAULT_URL" else (*commands, ["status"]):
        refused = pii(*command)
        assert refused.exit_code == 1
        assert (
            f"{setting}: postgresql://anna:***@127.0.0.1:1/pii: cannot connect, nobody listens there"
            in refused.stderr
        )
        assert "hunter" not in refused.output
