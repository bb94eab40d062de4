"""Where the vault keeps what it knows: SQLite (a file), PostgreSQL or DynamoDB, behind one interface."""

from __future__ import annotations

from pii_pipeline.vault.errors import VaultSettingError
from pii_pipeline.vault.stores.interface import MOST_ENTRIES, SETTING, Allowance, Entry, VaultStore
from pii_pipeline.vault.stores.rows import Room

__all__ = ["DYNAMODB", "MOST_ENTRIES", "SETTING", "Allowance", "Entry", "Room", "VaultStore", "open_store"]

DYNAMODB = "dynamodb://"
_SQL = ("sqlite:", "postgresql:", "postgresql+psycopg2:")


def open_store(url: str) -> VaultStore:
    """The store at `sqlite:///PATH`, `postgresql://…` or `dynamodb://TABLE`, with the tables of this release.

    Raises `VaultSettingError` for anything else and for what holds other tables, `VaultUnavailable`. A store
    must not cross a fork; every process opens its own.
    """
    if url.startswith(_SQL):
        from pii_pipeline.vault.stores.sql import open_sql  # each imports what it alone needs

        return open_sql(url)
    if url.startswith(DYNAMODB):
        from pii_pipeline.vault.stores.dynamodb import open_dynamodb

        return open_dynamodb(url.removeprefix(DYNAMODB))
    raise VaultSettingError(
        f"{SETTING}: no store that is supported — "
        "use sqlite:///PATH (a file), postgresql://… or dynamodb://TABLE"
    )
