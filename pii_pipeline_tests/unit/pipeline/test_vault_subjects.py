"""Whom the vault's callers may name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pii_pipeline.database import connect, upgrade
from pii_pipeline.keys.derivation import canonical_id, subject_tags
from pii_pipeline.keys.key_encryption import FileKey
from pii_pipeline.keys.store import KeyStore
from pii_pipeline.pipeline.vault import KeyStoreSubjects
from pii_pipeline.vault.errors import VaultRefused
from pii_pipeline.vault.model import DataSubject

JANE = DataSubject("customer", "jane")


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[KeyStore]:
    engine = connect(f"sqlite:///{tmp_path / 'pii.db'}")
    upgrade(engine)
    yield KeyStore(engine, FileKey(tmp_path / "kek"))
    engine.dispose()


@pytest.fixture
def subjects(keys: KeyStore) -> KeyStoreSubjects:
    return KeyStoreSubjects(lambda: keys, ["customer", "retail_customer"])


def test_they_are_the_persons_that_events_are_about(subjects: KeyStoreSubjects, keys: KeyStore) -> None:
    tag = subject_tags(keys.index_key(), "customer", [canonical_id("jane")])
    assert subjects.enter([JANE]) == [keys.subjects(tag)[0].ref]


def test_nobody_is_entered_by_asking(subjects: KeyStoreSubjects) -> None:
    assert subjects.find(JANE) is None
    assert subjects.find(JANE) is None
    entered = subjects.enter([JANE, DataSubject("retail_customer", "jane"), JANE])
    assert entered[0] == entered[2] != entered[1]
    assert subjects.find(JANE) == entered[0]


@pytest.mark.parametrize("nobody", [DataSubject("planted", "jane"), DataSubject("customer", "")])
def test_what_can_be_nobody_is_refused_without_being_told(
    subjects: KeyStoreSubjects, nobody: DataSubject
) -> None:
    for call in (lambda: subjects.find(nobody), lambda: subjects.enter([JANE, nobody])):
        with pytest.raises(VaultRefused) as refused:
            call()
        assert refused.value.why == "invalid"
        assert "jane" not in str(refused.value) and "planted" not in str(refused.value)
    assert subjects.find(JANE) is None
