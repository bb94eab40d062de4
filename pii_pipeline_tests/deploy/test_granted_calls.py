"""What vault and relay ask AWS for is what their roles may, action by action and resource by resource.

Their calls are taken where boto3 makes them, while they do all that they do over an emulator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient

from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.relay.quarantine import open_quarantine
from pii_pipeline.relay.settings import read_relay_settings
from pii_pipeline.settings import read_settings
from pii_pipeline.vault.model import DataSubject, LawfulBasis, NewRecord, Reason, RecordKey
from pii_pipeline.vault.stores import Allowance, VaultStore
from pii_pipeline_tests.aws import REGION, make_bucket
from pii_pipeline_tests.deploy.terraform import ACCOUNT, module
from pii_pipeline_tests.deploy.test_policies import RELAY, VAULT, may, opens, policies
from pii_pipeline_tests.deploy.test_terraform import make_tables
from pii_pipeline_tests.unit.vault.stores.examples import DAY, consent, key, record, seen, subject, unbound
from pii_pipeline_tests.unit.vault.stores.examples import mark as marked
from pii_pipeline_tests.vault_server import environment

BY_WHO_COPIES = {"all_records", "all_consents"}
"""Of the store: `pii vault copy` reads whole tables, by rights that the service does not have."""

Granted = tuple[str, str]
"""An action, and a resource as the policies write it."""

ANCHORS = f"arn:aws:s3:::pii-vault-anchors-{ACCOUNT}"
QUARANTINE = f"arn:aws:s3:::pii-relay-snowplow-{ACCOUNT}"
TABLES = {
    f"pii-vault{suffix}": f"aws_dynamodb_table.vault_{name}[0]"
    for suffix, name in {"": "records", "-audit": "audit", "-state": "state"}.items()
}
_TRANSACTED = {"Put": "PutItem", "Update": "UpdateItem", "ConditionCheck": "ConditionCheckItem"}

NAMED_FOR = {"Null": {"kms:EncryptionContextKeys": "false"}}
"""Every call says what a key is for."""

POLICY = """
purposes:
  fraud: {description: Who is behind it., ticket: optional}
ticket: "[A-Z]{2,10}-[0-9]{1,9}"
principals:
  operator:
    read: [{streams: [logins], fields: [ip], bases: [legal_obligation], purposes: [fraud]}]
    create: [{streams: [logins], fields: [ip]}]
    delete: [{streams: [logins], fields: [ip]}]
    erase: true
    limits: {records_per_day: 100}
"""

BY_LAMBDA = {
    *("DescribeStream", "DescribeStreamSummary", "GetRecords", "GetShardIterator", "ListShards"),
    *("CreateLogStream", "PutLogEvents"),
    *("AssignPrivateIpAddresses", "CreateNetworkInterface", "DeleteNetworkInterface"),
    *("DescribeNetworkInterfaces", "DescribeSubnets", "UnassignPrivateIpAddresses"),
    "ListBucket",  # before it puts what was given up
}
"""What Lambda itself does in the function's role, of AWS's own policies AWSLambdaKinesisExecutionRole and
AWSLambdaVPCAccessExecutionRole, and https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html.
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[Granted]:
    """What is asked of AWS from now on."""
    found: set[Granted] = set()
    ask = BaseClient._make_api_call  # pyright: ignore[reportAttributeAccessIssue]

    def noted(self: Any, operation: str, said: Mapping[str, Any]) -> Any:
        found.update(_needed(self.meta.service_model.service_name, operation, said))
        return ask(self, operation, said)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    return found


def _needed(service: str, operation: str, said: Mapping[str, Any]) -> Iterator[Granted]:
    """What one has to be granted for a call."""
    if service == "dynamodb":
        for action, table, index in _of_dynamodb(operation, said):
            yield f"dynamodb:{action}", TABLES[table] + (f"/index/{index}" if index else "")
    elif service == "s3":
        bucket = f"arn:aws:s3:::{said['Bucket']}"
        if operation == "PutObject" and "ObjectLockMode" in said:
            yield "s3:PutObjectRetention", f"{bucket}/*"
        yield {
            "ListObjectVersions": ("s3:ListBucketVersions", bucket),
            "PutObject": ("s3:PutObject", f"{bucket}/*"),
        }[operation]
    elif service == "kms":
        assert said["EncryptionContext"]
        yield f"kms:{operation}", "the key's"
    else:
        yield f"{service}:{operation}", said["SecretId"]


def _of_dynamodb(operation: str, said: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    if operation == "TransactWriteItems":  # has no permission of its own
        for write in said["TransactItems"]:
            ((kind, what),) = write.items()
            yield _TRANSACTED[kind], what["TableName"], None
    elif operation in ("BatchGetItem", "BatchWriteItem"):
        for table in said["RequestItems"]:
            yield operation, table, None
    else:
        yield operation, said["TableName"], said.get("IndexName")


def granted(role: str) -> set[Granted]:
    """What its own policies allow, by action and resource."""
    return {
        (action, resource)
        for policy in policies(role)
        for statement in policy["Statement"]
        for action in _listed(statement["Action"])
        for resource in _listed(statement["Resource"])
    }


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.fixture
def account(aws: boto3.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Terraform makes of it, and settings that name tables, anchors and key."""
    make_tables(aws)
    aws.client("s3").create_bucket(
        Bucket=ANCHORS.rpartition(":")[2],
        CreateBucketConfiguration={"LocationConstraint": REGION},  # type: ignore[typeddict-item]
        ObjectLockEnabledForBucket=True,
    )
    kms = aws.client("kms")
    kms.create_alias(
        AliasName="alias/pii-key-encryption", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"]
    )
    given = module().outputs["environment"]
    names = ("PII_KEY_ENCRYPTION_KEY", "PII_VAULT_ANCHORS")
    variables = environment(tmp_path, POLICY) | {name: given[name] for name in names}
    for name, value in (variables | {"PII_VAULT_URL": "dynamodb://pii-vault"}).items():
        monkeypatch.setenv(name, value)
    make_bucket(aws, QUARANTINE.rpartition(":")[2])
    aws.client("secretsmanager").create_secret(Name="pii/relay-token", SecretString="a-token")


def test_the_vault_may_what_it_asks_for_and_nothing_else(account: None, asked: set[Granted]) -> None:
    with closing(Installation(read_settings())) as installation:  # makes keys
        (ref,) = installation.vault_subjects.enter([DataSubject("customer", "u-1")])
    with closing(Installation(read_settings())) as installation:  # finds them
        all_of_vault(installation, ref)
        all_of_store(installation.vault_store)
    in_policies = {one for one in asked if not one[0].startswith("kms:")}
    for action, resource in in_policies:
        assert may(VAULT, action, resource), (action, resource)
    needed = {(action, re.sub("/index/.*", "/index/*", resource)) for action, resource in in_policies}
    assert granted(VAULT) == needed
    (use,) = [
        statement
        for statement in module().policy("aws_kms_key.key_encryption")["Statement"]
        if VAULT in _listed(statement["Principal"]["AWS"])
    ]
    of_key = {action for action, _ in asked - in_policies}
    assert set(use["Action"]) == of_key and use["Condition"] == NAMED_FOR
    context = {"kms:EncryptionContextKeys": "stream"}
    assert all(opens(VAULT, "key_encryption", action.removeprefix("kms:"), **context) for action in of_key)


def all_of_vault(installation: Installation, ref: bytes) -> None:
    """What the service does: a record made, told, erased and deleted, an anchor, and all verified."""
    of = RecordKey("logins", "ip", "0" * 64)
    vault = installation.vault
    vault.create("operator", [NewRecord(of, "original", DAY, ref), NewRecord(of, "another", DAY, None)])
    reason = Reason(LawfulBasis.LEGAL_OBLIGATION, "fraud", None)
    assert vault.read("operator", reason, [of])[0].originals
    assert vault.erase("operator", [ref], ["another"]) == 2
    assert vault.delete("operator", [of]) == 0
    installation.vault_audit.tick()
    verified = installation.vault_audit.verify()
    assert verified.broken is None and verified.anchored is not None


def all_of_store(store: VaultStore) -> None:
    """What the interface has, at least once, so that each call of the store is made."""
    that = record(1)
    store.put([that, unbound(2)])
    store.put([seen(that, -1, 1)])  # known, and seen on other days
    assert store.count([key(1), key(9)]) == [1, 0]
    assert store.find([key(1)]) == [[seen(that, -1, 1)]]
    store.put_consents([consent(1, 2)])
    assert store.consents("logins", [subject(1)])
    assert store.delete_subjects([subject(1)]) == 1 and store.delete_marked([marked(2)]) == 1
    store.put([that])
    assert store.delete([key(1)]) == 1
    assert store.records() == 0
    assert store.spend([Allowance("ann", "2026-11-26", 1)], 1) is None
    last = store.last_entry()
    assert last is not None
    assert not store.append([last]), "and so it looks whose the entry is"
    assert len(list(store.entries())) == last.sequence
    store.remember_anchor(last.sequence, datetime.now(UTC))
    assert store.anchored()


def test_all_of_the_store_is_all_of_its_interface() -> None:
    names = {name for name in vars(VaultStore) if not name.startswith("_")}
    assert names - {"close"} - BY_WHO_COPIES <= set(all_of_store.__code__.co_names)


def test_the_relay_may_what_it_asks_for_and_what_lambda_does_for_it(
    account: None, asked: set[Granted], tmp_path: Path
) -> None:
    function = module().resources["aws_lambda_function.relay[snowplow]"]
    variables = dict(function["environment"]["variables"])
    secret = variables["PII_VAULT_TOKEN"].removeprefix("aws-secretsmanager://")
    (tmp_path / "ca.pem").write_text("")
    settings = read_relay_settings(
        variables
        | {
            "PII_VAULT_TOKEN": "aws-secretsmanager://pii/relay-token",
            "PII_VAULT_TLS_CA": str(tmp_path / "ca.pem"),
        }
    )
    assert settings.quarantine is not None
    assert open_quarantine(settings.quarantine).put("not_json/s/h/1", b"record", float("inf"))
    own = {(action, secret if resource == "pii/relay-token" else resource) for action, resource in asked}
    of_function = {one for one in granted(RELAY) if one[0].partition(":")[2] not in BY_LAMBDA}
    stream_key = {one for one in of_function if one[0] == "kms:Decrypt"}
    assert of_function - stream_key == own and len(stream_key) == 1
    unused = BY_LAMBDA - {action.partition(":")[2] for action, _ in granted(RELAY)}
    assert not unused
