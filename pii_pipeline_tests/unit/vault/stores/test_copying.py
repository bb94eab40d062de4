"""A vault brought from any store into any other: it is the same there, or it is said that it is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from pii_pipeline.vault.audit import Action, AuditLog, Event
from pii_pipeline.vault.copying import Copied, copy_vault
from pii_pipeline.vault.errors import AuditBroken, CopyFailed, VaultUnavailable
from pii_pipeline.vault.model import (
    PIINGUIN_FIELD,
    PIINGUIN_STREAM,
    Consent,
    LawfulBasis,
    NewRecord,
    Reason,
    RecordKey,
    SealedRecord,
)
from pii_pipeline.vault.stores import VaultStore, open_store
from pii_pipeline.vault.vault import Vault
from pii_pipeline_tests.postgres import empty_database
from pii_pipeline_tests.unit.vault.examples import ANN, BOB, KEY, MONDAY, Parts, ip, make, of_ann

SUPPORT = Reason(LawfulBasis.CONSENT, "support")
RECORDS = 40


@pytest.fixture
def parts(store_url: str, tmp_path: Path) -> Iterator[Parts]:
    """A vault with records of a person and of nobody, consents, and more entries than one append takes."""
    made = make(store_url, tmp_path)
    made.vault.create("everywhere", [of_ann(f"10.0.0.{number}") for number in range(RECORDS - 2)])
    mail = RecordKey(PIINGUIN_STREAM, PIINGUIN_FIELD, "Zoë\0")
    made.vault.create("operator", [NewRecord(mail, "zoë@example.org", date(2026, 11, 1))])
    made.vault.create("everywhere", [of_ann("10.0.0.1", BOB)])
    consents = [Consent(ANN, "logins", frozenset({1, 2}), False, MONDAY)]
    made.vault.load("pipeline", "b1", [], [consents])
    for _ in range(100):
        made.audit.record(Event(Action.LOAD, "pipeline"))
    made.audit.tick()
    yield made
    made.audit.close()
    made.store.close()


@pytest.fixture(params=["sqlite", "postgresql", "dynamodb"])
def target_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'copy' / 'vault.db'}"
    elif request.param == "dynamodb":
        request.getfixturevalue("dynamodb_url")
        yield "dynamodb://copy"
    else:
        with empty_database(request.getfixturevalue("postgres_url")) as url:
            yield url


@pytest.fixture
def target(target_url: str) -> Iterator[VaultStore]:
    with closing(open_store(target_url)) as store:
        yield store


@pytest.fixture
def file(tmp_path: Path) -> Iterator[VaultStore]:
    """An empty store; what goes wrong does so alike in all of them."""
    with closing(open_store(f"sqlite:///{tmp_path / 'copy.db'}")) as store:
        yield store


only_sqlite = pytest.mark.parametrize("vault_url", ["sqlite"], indirect=True)


def copy(parts: Parts, target: VaultStore) -> Copied:
    return copy_vault(parts.store, target, parts.audit, "operator", lambda count: None)


def all_of(store: VaultStore) -> list[Any]:
    return [
        {record for part in store.all_records() for record in part},
        [consent for part in store.all_consents() for consent in part],
        list(store.entries()),
        store.anchored(),
    ]


def test_from_any_store_into_any_other(parts: Parts, target: VaultStore) -> None:
    done = copy(parts, target)
    assert all_of(target) == all_of(parts.store)
    assert done == Copied(RECORDS, 1, len(parts.entries()))
    assert parts.last()["action"] == "copy"
    assert parts.last()["principal"] == "operator"

    audit = AuditLog(target, KEY, parts.policy, parts.anchors, parts.clock)
    vault = Vault(target, parts.seals, parts.policy, audit, parts.clock)
    (found,) = vault.read("operator", SUPPORT, [ip("10.0.0.1")])
    assert found.originals == ("10.0.0.1",)
    verified = audit.verify()
    assert (verified.broken, verified.entries) == (None, done.entries + 1)
    assert verified.anchored == parts.audit.verify().anchored
    audit.close()


@only_sqlite
def test_a_copy_that_was_broken_off_is_begun_again(parts: Parts, file: VaultStore) -> None:
    class Failing:
        """Fails at the last append: records are there, and the beginning of the log."""

        def __init__(self, store: VaultStore) -> None:
            self._store = store
            self._left = 1

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        def append(self, entries: Sequence[Any]) -> bool:
            if not self._left:
                raise VaultUnavailable("gone")
            self._left -= 1
            return self._store.append(entries)

    with pytest.raises(VaultUnavailable):
        copy(parts, Failing(file))  # type: ignore[arg-type]
    last = file.last_entry()
    assert last is not None
    assert last.sequence < len(parts.entries())
    copy(parts, file)
    assert all_of(file) == all_of(parts.store)


@only_sqlite
def test_what_was_deleted_between_two_tries_does_not_come_along(parts: Parts, file: VaultStore) -> None:
    for records in parts.store.all_records():
        file.put(records)
    parts.vault.erase("operator", [BOB], [])
    with pytest.raises(CopyFailed, match="into an empty store"):
        copy(parts, file)


@only_sqlite
def test_the_vault_itself_another_one_and_one_that_has_gone_on(parts: Parts, tmp_path: Path) -> None:
    with closing(open_store(parts.url)) as itself, pytest.raises(CopyFailed, match="where the vault is"):
        copy(parts, itself)
    other = make(f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "other")
    other.audit.record(Event(Action.LOAD, "pipeline"))
    with pytest.raises(CopyFailed, match="another vault"):
        copy(parts, other.store)
    assert not list(other.store.all_records())
    other.store.close()


@only_sqlite
@pytest.mark.parametrize("meanwhile", ["recorded", "put", "deleted"])
def test_a_vault_that_is_used_meanwhile_is_not_copied(
    parts: Parts, file: VaultStore, meanwhile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_consents = file.put_consents

    def use(consents: Sequence[Consent]) -> None:
        put_consents(consents)
        late = of_ann("late")
        (sealed,) = parts.seals.seal([late])
        if meanwhile == "recorded":
            parts.audit.record(Event(Action.LOAD, "pipeline"))
        elif meanwhile == "put":  # what was on record before the copy, and is only stored now
            parts.store.put([sealed])
        else:
            parts.store.delete([ip("10.0.0.1")])

    monkeypatch.setattr(file, "put_consents", use)
    with pytest.raises(CopyFailed, match="the vault was used meanwhile"):
        copy(parts, file)


@only_sqlite
def test_a_store_that_loses_something_is_found_out(
    parts: Parts, file: VaultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = file.put
    monkeypatch.setattr(file, "put", lambda records: put(records[1:]))
    with pytest.raises(CopyFailed, match="not the same"):
        copy(parts, file)


@only_sqlite
def test_a_log_that_is_not_as_it_was_is_not_copied(
    parts: Parts, file: VaultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = parts.store.entries

    def edited(first: int = 1, last: int | None = None) -> Iterator[Any]:
        return (entry._replace(text=entry.text.replace("load", "read")) for entry in entries(first, last))

    monkeypatch.setattr(parts.store, "entries", edited)
    with pytest.raises(AuditBroken):
        copy(parts, file)
    assert all_of(file) == [set(), [], [], None]


@only_sqlite
def test_days_and_marks_are_looked_at_too(parts: Parts, file: VaultStore) -> None:
    (wider,) = (
        record for part in parts.store.all_records() for record in part if record.key == ip("10.0.0.5")
    )
    file.put([_seen_longer(wider)])
    with pytest.raises(CopyFailed, match="not the same"):
        copy(parts, file)


def _seen_longer(record: SealedRecord) -> SealedRecord:
    return SealedRecord(
        record.key,
        record.subject,
        record.sealed,
        record.mark,
        record.first_seen - timedelta(days=1),
        record.last_seen,
    )


@only_sqlite
def test_a_record_that_was_altered_in_the_database_is_said_to_be(
    parts: Parts, file: VaultStore, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(parts.url.removeprefix("sqlite:///"))) as database, database:
        database.execute("UPDATE vault_records SET stream = x'ff00' WHERE subject = ?", [BOB])
    with pytest.raises(CopyFailed, match="a record was altered in the vault's database"):
        copy(parts, file)
