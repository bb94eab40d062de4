"""The vault's three tables in DynamoDB, made on first use: TABLE, TABLE-audit and TABLE-state."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from pii_pipeline.vault.errors import VaultSettingError, VaultUnavailable
from pii_pipeline.vault.stores.dynamodb_calls import MISSING, DynamoDb
from pii_pipeline.vault.stores.interface import SETTING

PIINGUIN_KEY = "modifiedValue"
"""The key of Piinguin's own table."""

BY_SUBJECT = "by_subject"
BY_MARK = "by_mark"

_PATIENCE = 120.0  # seconds until a new table is there
_PAUSE = 0.5
_BEING_MADE = "CREATING"
_MADE_BY_ANOTHER = "ResourceInUseException"


@dataclass(frozen=True)
class Layout:
    """A table: type ("B", "S" or "N") of its partition key and of its sort key, and its indexes, each by one
    attribute of bytes that not all items have. `expires`: the attribute that says when an item may go."""

    keys: dict[str, str]
    indexes: dict[str, str] = field(default_factory=dict)
    expires: str | None = None


RECORDS = Layout({"record": "B", "part": "B"}, {BY_SUBJECT: "subject", BY_MARK: "mark"})
AUDIT = Layout({"log": "S", "sequence": "N"})
STATE = Layout({"of": "B", "name": "S"}, expires="expires")


def have_table(dynamodb: DynamoDb, table: str, layout: Layout) -> None:
    """Makes the table if there is none. Raises `VaultSettingError` for one that is not the vault's."""
    described = _described(dynamodb, table)
    if described is None:
        dynamodb.ask("create_table", table, {_MADE_BY_ANOTHER}, **_definition(layout))
    if described is None or described["TableStatus"] == _BEING_MADE:
        described = _when_made(dynamodb, table)
        if layout.expires:
            expiry = {"Enabled": True, "AttributeName": layout.expires}
            expected = {"ValidationException"}  # another has said so already
            dynamodb.ask("update_time_to_live", table, expected, TimeToLiveSpecification=expiry)
    _check(table, layout, described)


def _definition(layout: Layout) -> dict[str, Any]:
    kinds = layout.keys | dict.fromkeys(layout.indexes.values(), "B")
    definition: dict[str, Any] = {
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()
        ],
        "KeySchema": _schema(*layout.keys),
        "BillingMode": "PAY_PER_REQUEST",
        "DeletionProtectionEnabled": True,
    }
    if layout.indexes:
        definition["GlobalSecondaryIndexes"] = [
            {"IndexName": index, "KeySchema": _schema(name), "Projection": {"ProjectionType": "KEYS_ONLY"}}
            for index, name in layout.indexes.items()
        ]
    return definition


def _described(dynamodb: DynamoDb, table: str) -> Any:
    return dynamodb.ask("describe_table", table, {MISSING}).get("Table")


def _when_made(dynamodb: DynamoDb, table: str) -> Any:
    give_up = time.monotonic() + _PATIENCE
    while (described := _described(dynamodb, table)) is None or described["TableStatus"] == _BEING_MADE:
        if time.monotonic() > give_up:
            raise VaultUnavailable(f"{SETTING}: DynamoDB table {table} is still being made — try again later")
        time.sleep(_PAUSE)
    return described


def _check(table: str, layout: Layout, described: Any) -> None:
    where = f"{SETTING}: DynamoDB table {table}"
    if described["KeySchema"] == _schema(PIINGUIN_KEY):
        raise VaultSettingError(
            f"{where} is Piinguin's own, with originals in clear — name another table, and bring them there "
            "with `pii vault import`"
        )
    kinds = {item["AttributeName"]: item["AttributeType"] for item in described["AttributeDefinitions"]}
    indexes = {item["IndexName"]: item["KeySchema"] for item in described.get("GlobalSecondaryIndexes", ())}
    wanted = {index: _schema(name) for index, name in layout.indexes.items()}
    if (
        described["KeySchema"] != _schema(*layout.keys)
        or any(kinds[name] != kind for name, kind in layout.keys.items())
        or any(indexes.get(index) != schema for index, schema in wanted.items())
    ):
        raise VaultSettingError(f"{where} has not the vault's keys and indexes — name another table")


def _schema(partition: str, sort: str | None = None) -> list[dict[str, str]]:
    schema = [{"AttributeName": partition, "KeyType": "HASH"}]
    return [*schema, {"AttributeName": sort, "KeyType": "RANGE"}] if sort else schema
