"""The ledger knows the vault again that originals were loaded into, and loads into no other unless told."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pii_pipeline.cli import cli
from pii_pipeline.ledger import RELAYED_ORIGINALS, VAULT_RECORDS
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.known_vault import AnotherVault, ToLoad, adopt, hold_to_vault
from pii_pipeline.pipeline.layer import InputsGone
from pii_pipeline.pipeline.retention import apply_retention
from pii_pipeline.pipeline.vault_records import load_hour
from pii_pipeline.pipeline.vault_sample import resolve_sample
from pii_pipeline.streams.model import Stream
from pii_pipeline_tests.integration.test_vault_records import (
    EVENTS,
    HOUR,
    RECORDS,
    Open,
    into_lake,
    land,
    load,
    opened,
    other_vault,
    rows,
    variables,
)

__all__ = ["opened"]


@pytest.fixture
def stream(opened: Open) -> Stream:
    return opened().streams["alpha"]


@pytest.fixture
def loaded(opened: Open, stream: Stream) -> Installation:
    """An hour of two batches, in the vault."""
    installation = opened()
    land(installation, EVENTS[:10], "a.jsonl")
    into_lake(installation, stream)
    land(installation, EVENTS[10:], "b.jsonl")
    into_lake(installation, stream)
    assert load(installation, stream)["new"] == RECORDS
    return installation


def actions(folder: Path, name: str = "vault.db") -> list[str]:
    """Of the entries of the audit log."""
    with closing(sqlite3.connect(folder / name)) as database:
        found = database.execute("SELECT text -> '$.action' FROM vault_audit ORDER BY sequence")
        return [action.strip('"') for (action,) in found]


def cut(folder: Path, last: int) -> None:
    """An older state of the vault, as a backup is."""
    with closing(sqlite3.connect(folder / "vault.db")) as database, database:
        database.execute("DELETE FROM vault_audit WHERE sequence > ?", [last])
        database.execute("DELETE FROM vault_records")


def test_the_first_load_adopts_the_vault_and_the_next_one_knows_it(
    loaded: Installation,
    stream: Stream,
    opened: Open,
    tmp_path: Path,
) -> None:
    known = loaded.ledger.vault()
    log = list(loaded.vault_store.entries())
    assert actions(tmp_path)[:2] == ["policy", "adopt"]
    assert known is not None
    assert (known.adopted, known.hash) == (log[1].hash.hex(), log[-1].hash.hex())
    assert load_hour(opened(), stream, HOUR).made == 0
    hold_to_vault(loaded)
    assert actions(tmp_path).count("adopt") == 1


def test_another_vault_is_refused_and_nothing_is_in_it(
    loaded: Installation,
    stream: Stream,
    opened: Open,
    tmp_path: Path,
) -> None:
    other = opened(**other_vault(tmp_path))
    for force in False, True:
        with pytest.raises(AnotherVault, match=r"^PII_VAULT_URL: .* set it back, .*: pii vault adopt$"):
            load_hour(other, stream, HOUR, force)
    assert actions(tmp_path, "other.db") == []
    assert load(loaded, stream)["new"] == RECORDS


def test_an_older_state_of_the_vault_is_refused(
    loaded: Installation,
    stream: Stream,
    tmp_path: Path,
) -> None:
    cut(tmp_path, 2)
    with pytest.raises(AnotherVault, match="or it is an older state of it"):
        load(loaded, stream)


def test_the_same_vault_in_another_place_is_the_same(
    loaded: Installation,
    stream: Stream,
    opened: Open,
    tmp_path: Path,
) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "vault.db")) as database,
        closing(sqlite3.connect(tmp_path / "moved.db")) as to,
    ):
        database.backup(to)
    moved = opened(PII_VAULT_URL=f"sqlite:///{tmp_path / 'moved.db'}")
    assert load_hour(moved, stream, HOUR, force=True).counts["new"] == 0


def test_what_was_loaded_is_loaded_again_into_the_vault_that_is_adopted(
    loaded: Installation,
    stream: Stream,
    opened: Open,
    tmp_path: Path,
) -> None:
    other = opened(**other_vault(tmp_path))
    assert adopt(other, "operator") == [ToLoad("alpha", 2, 0)]
    assert loaded.ledger.status()[0].pending(VAULT_RECORDS) == 2
    assert resolve_sample(other, stream, HOUR).asked == 0, "none of it is said to be there"
    with pytest.raises(AnotherVault):
        load(loaded, stream)
    result = load_hour(other, stream, HOUR)
    assert (result.made, result.counts["new"]) == (2, RECORDS)
    assert rows(tmp_path, "vault_records", "other.db") == rows(tmp_path)
    assert loaded.ledger.status()[0].pending(VAULT_RECORDS) == 0
    assert resolve_sample(other, stream, HOUR).problem is None


def test_what_retention_deleted_is_made_again_or_said_to_be_lost(
    loaded: Installation,
    stream: Stream,
    opened: Open,
    tmp_path: Path,
) -> None:
    at_once = stream.retention.model_copy(update={"restricted": None})
    later = datetime.now(UTC) + timedelta(hours=1)
    apply_retention(loaded, stream.model_copy(update={"retention": at_once}), later)
    assert not list((tmp_path / "storage" / "restricted" / "alpha").rglob("*.parquet"))
    next((tmp_path / "storage" / "landing" / "alpha").rglob("b.jsonl")).unlink()
    other = opened(**other_vault(tmp_path))
    assert adopt(other, "operator") == [ToLoad("alpha", 2, 1)]
    result = load_hour(other, stream, HOUR)
    assert (result.made, len(result.kept)) == (1, 1)
    assert resolve_sample(other, stream, HOUR).problem is None, "what is not there is not said to be"
    with pytest.raises(InputsGone):
        load_hour(other, stream, HOUR, force=True)


def test_a_load_into_the_vault_of_before_that_ends_too_late_does_not_count(
    loaded: Installation,
    stream: Stream,
    opened: Open,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = opened(**other_vault(tmp_path))
    commit = type(loaded.ledger).commit

    def adopting(self: Any, *given: Any, **named: Any) -> Any:
        monkeypatch.undo()
        adopt(other, "operator")
        return commit(self, *given, **named)

    monkeypatch.setattr(type(loaded.ledger), "commit", adopting)
    assert load_hour(loaded, stream, HOUR, force=True).made == 2
    known = other.ledger.vault()
    assert known is not None
    assert known.hash == known.adopted, "what was seen of the other log says nothing of this one"
    assert load_hour(other, stream, HOUR).made == 2


def test_it_is_said_once_and_other_streams_go_on(
    loaded: Installation,
    stream: Stream,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (variables(tmp_path) | other_vault(tmp_path)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    run = CliRunner().invoke(cli, ["run"])
    assert run.exit_code == 1
    assert run.stderr.count("pii vault adopt") == 1
    assert run.stderr.startswith("pii: alpha: PII_VAULT_URL: this is not the vault")
    status = CliRunner().invoke(cli, ["vault", "status"])
    assert status.exit_code == 1
    assert status.stderr.startswith("pii: PII_VAULT_URL: this is not the vault")
    done = CliRunner().invoke(cli, ["vault", "adopt"])
    assert (done.exit_code, done.stdout) == (
        0,
        "Originals are loaded into this vault from now on.\n"
        "alpha: 2 batches to be loaded again, by `pii run alpha`\n",
    )
    assert CliRunner().invoke(cli, ["run"]).exit_code == 0
    assert rows(tmp_path, "vault_records", "other.db") == rows(tmp_path)
    assert loaded.ledger.committed_batches("alpha", RELAYED_ORIGINALS) == set()


def test_a_copy_is_the_vault_and_then_the_one_it_was_made_of_is_an_older_state(
    loaded: Installation, stream: Stream, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (variables(tmp_path) | {"DAGSTER_HOME": str(tmp_path / "dagster")}).items():
        monkeypatch.setenv(name, value)
    url = f"sqlite:///{tmp_path / 'copy.db'}"
    done = CliRunner().invoke(cli, ["vault", "copy", "--to", url])
    entries = len(actions(tmp_path))
    assert (done.exit_code, done.stdout) == (
        0,
        f"{RECORDS} records, 5 consents and {entries} entries of the audit log are the same in both.\n"
        "Set PII_VAULT_URL to the copy before the vault is used again.\n",
    )
    copied = opened(PII_VAULT_URL=url)
    assert load_hour(copied, stream, HOUR).made == 0
    assert load_hour(copied, stream, HOUR, force=True).counts["new"] == 0
    with pytest.raises(AnotherVault):
        load(loaded, stream)
    verified = CliRunner().invoke(cli, ["vault", "audit", "verify"], env={"PII_VAULT_URL": url})
    assert verified.exit_code == 0


@pytest.mark.parametrize(
    ("to", "code", "said"),
    [
        ("mysql://x", 2, "--to: no store that is supported — use sqlite:///PATH"),
        ("postgresql://nobody@127.0.0.1:1/none", 1, "--to: "),
        ("vault.db", 1, "--to: that is where the vault is"),
    ],
)
def test_where_it_cannot_be_copied_to(
    loaded: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, code: int, said: str
) -> None:
    for name, value in variables(tmp_path).items():
        monkeypatch.setenv(name, value)
    url = to if "://" in to else f"sqlite:///{tmp_path / to}"
    done = CliRunner().invoke(cli, ["vault", "copy", "--to", url])
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.startswith(f"pii: {said}")
    assert done.stderr.count("\n") == 1
    assert "PII_VAULT_URL" not in done.stderr


@pytest.mark.parametrize("command", ["status", "audit list", "audit verify"])
def test_whoever_looks_is_told_that_the_vault_is_another_or_gone(
    loaded: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (tmp_path / "policy.yaml").write_text("principals: {operator: {audit: true}}\n")
    for name, value in variables(tmp_path).items():
        monkeypatch.setenv(name, value)
    asked = ["vault", *command.split()]
    assert CliRunner().invoke(cli, asked).exit_code == 0
    loaded.vault_audit.close()

    elsewhere = {"PII_VAULT_URL": f"sqlite:///{tmp_path / 'typo.db'}"}
    empty = CliRunner().invoke(cli, asked, env=elsewhere)
    assert empty.exit_code == 1
    assert empty.stderr.startswith("pii: audit entry 1: it is not there, and anchors of this installation's")

    other = {
        "PII_DATABASE_URL": f"sqlite:///{tmp_path / 'other-pii.db'}",
        "PII_KEY_ENCRYPTION_KEY": f"file:{tmp_path / 'other-key'}",
    }
    foreign = CliRunner().invoke(cli, asked, env=other)
    assert foreign.exit_code == 1
    assert "another installation made it — give each installation a PII_VAULT_URL" in foreign.stderr
    assert foreign.stderr.count("\n") == 1
