"""A vault on SQLite, and one on either database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pii_pipeline_tests.unit.vault.examples import Parts, make


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = make(f"sqlite:///{tmp_path / 'vault.db'}", tmp_path)
    yield made
    made.audit.close()
    made.store.close()


@pytest.fixture
def either(database_url: str, tmp_path: Path) -> Iterator[Parts]:
    """On SQLite, then on PostgreSQL."""
    made = make(database_url, tmp_path)
    yield made
    made.audit.close()
    made.store.close()
