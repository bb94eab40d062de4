"""A store of each kind, and a second one over the same database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pii_pipeline.vault.stores import VaultStore, open_store
from pii_pipeline_tests.faulty_proxy import FaultyProxy


@pytest.fixture
def dynamodb_url(faulty_aws: FaultyProxy) -> str:
    faulty_aws.one_by_one = True
    return "dynamodb://vault"


@pytest.fixture(params=["sqlite", "postgresql", "dynamodb"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'vault' / 'vault.db'}"
    return request.getfixturevalue({"postgresql": "postgres_database_url"}.get(request.param, "dynamodb_url"))


@pytest.fixture
def store(store_url: str) -> Iterator[VaultStore]:
    store = open_store(store_url)
    yield store
    store.close()


@pytest.fixture
def many(store_url: str) -> int:
    """So many that no call to the database holds them all. moto looks at a whole table for each query."""
    return 300 if store_url.startswith("dynamodb") else 10_000
