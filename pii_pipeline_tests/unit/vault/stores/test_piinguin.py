"""A table that Piinguin wrote, read to be brought over."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from pii_pipeline.vault.errors import VaultSettingError, VaultUnavailable
from pii_pipeline.vault.stores.piinguin import PiinguinTable
from pii_pipeline_tests.faulty_proxy import FaultyProxy
from pii_pipeline_tests.unit.vault.stores.test_dynamodb import make_table


def piinguin_table(aws: boto3.Session, items: list[dict[str, Any]]) -> None:
    make_table(aws, "piinguin", "modifiedValue")
    client = aws.client("dynamodb")
    for item in items:
        client.put_item(TableName="piinguin", Item=item)


def written(pseudonym: str, original: str) -> dict[str, Any]:
    return {"modifiedValue": {"S": pseudonym}, "originalValue": {"S": original}}


def test_all_pages_are_read(aws: boto3.Session, faulty_aws: FaultyProxy) -> None:
    pairs = {f"{number:x}" * 8: "é\0💶" + "x" * 60_000 + str(number) for number in range(40)}
    piinguin_table(aws, [written(*pair) for pair in pairs.items()])
    table = PiinguinTable("piinguin")
    assert dict(table) == pairs
    assert faulty_aws.count("Scan") > 1
    assert len(list(table)) == 40, "again from the start"
    assert table.malformed == 0


def test_what_is_malformed_is_counted(aws: boto3.Session, faulty_aws: FaultyProxy) -> None:
    canary = {"S": "canary@example.com"}
    piinguin_table(
        aws,
        [
            written("a", "1"),
            {"modifiedValue": canary},
            {"modifiedValue": {"S": "b"}, "originalValue": {"N": "5"}},
            {"modifiedValue": {"S": "c"}, "originalValue": {"L": [canary]}},
            {"modifiedValue": {"S": "d"}, "original": canary},
            {"modifiedValue": {"S": "e"}, "originalValue": {"S": ""}, "more": canary},
        ],
    )
    table = PiinguinTable("piinguin")
    for _ in range(2):
        assert sorted(table) == [("a", "1"), ("e", "")]
        assert table.malformed == 4


def test_an_empty_table(aws: boto3.Session, faulty_aws: FaultyProxy) -> None:
    piinguin_table(aws, [])
    assert list(PiinguinTable("piinguin")) == []


def test_a_table_that_is_not_there_or_not_piinguins(aws: boto3.Session, faulty_aws: FaultyProxy) -> None:
    with pytest.raises(VaultSettingError, match="table piinguin: there is none in this account and region"):
        list(PiinguinTable("piinguin"))
    for keys in ["id"], ["modifiedValue", "originalValue"]:
        make_table(aws, f"other-{len(keys)}", *keys)
        with pytest.raises(VaultSettingError, match=r"is not Piinguin's: its key is not `modifiedValue`"):
            list(PiinguinTable(f"other-{len(keys)}"))


def test_a_table_that_may_not_be_read(aws: boto3.Session, faulty_aws: FaultyProxy) -> None:
    piinguin_table(aws, [written("a", "1")])
    faulty_aws.fail("AccessDeniedException", operation="Scan")
    with pytest.raises(VaultUnavailable) as told:
        list(PiinguinTable("piinguin"))
    assert str(told.value) == (
        "Piinguin: DynamoDB table piinguin: dynamodb:Scan is not allowed — "
        "allow it, on the table and its indexes"
    )
