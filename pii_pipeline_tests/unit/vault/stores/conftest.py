"""A store of each kind, and a second one over the same database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pii_pipeline.vault.stores import VaultStore, open_store


@pytest.fixture
def store_url(vault_url: str) -> str:
    return vault_url


@pytest.fixture
def store(store_url: str) -> Iterator[VaultStore]:
    store = open_store(store_url)
    yield store
    store.close()


@pytest.fixture
def many(store_url: str) -> int:
    """So many that no call to the database holds them all. moto looks at a whole table for each query."""
    return 300 if store_url.startswith("dynamodb") else 10_000
