"""Piinguin's own table in DynamoDB, read to be brought into the vault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from pii_pipeline.vault.errors import VaultSettingError
from pii_pipeline.vault.stores.dynamodb_calls import MISSING, DynamoDb
from pii_pipeline.vault.stores.dynamodb_tables import PIINGUIN_KEY

_ORIGINAL = "originalValue"


class PiinguinTable:
    """The records of a table, in flat memory and no order; each time they are iterated over, from the start.

    `malformed`: how many items of the last time were passed over, for they have no original or no text in its
    place. Iterating raises `VaultUnavailable`, and `VaultSettingError` for a table that is not there or not
    Piinguin's.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self.malformed = 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Pseudonym (`modifiedValue`) and original in clear (`originalValue`)."""
        self.malformed = 0
        with closing(DynamoDb("Piinguin")) as dynamodb:
            described = dynamodb.ask("describe_table", self._table, {MISSING}).get("Table")
            where = f"Piinguin: DynamoDB table {self._table}"
            if described is None:
                raise VaultSettingError(
                    f"{where}: there is none in this account and region — look at name and AWS_PROFILE"
                )
            if [key["AttributeName"] for key in described["KeySchema"]] != [PIINGUIN_KEY]:
                raise VaultSettingError(f"{where} is not Piinguin's: its key is not `{PIINGUIN_KEY}`")
            for item in dynamodb.scan(self._table):
                pseudonym, original = item[PIINGUIN_KEY].get("S"), item.get(_ORIGINAL, {}).get("S")
                if pseudonym is None or original is None:
                    self.malformed += 1
                else:
                    yield pseudonym, original
