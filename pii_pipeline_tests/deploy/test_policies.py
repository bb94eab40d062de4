"""Who can read, write and open what, by the policies that Terraform makes: not their text, what they mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from cfnlint import lint_all

from pii_pipeline_tests.deploy.iam import Policy, Request, allowed, key_allows
from pii_pipeline_tests.deploy.terraform import ACCOUNT, REGION, module

ZONES = ("landing", "restricted", "lake", "consented")
PIPELINE, PRODUCER, LAKE_READER = (f"aws_iam_role.{name}" for name in ("pipeline", "producer", "lake_reader"))
MARKETING = "aws_iam_role.consented_reader[webshop/marketing]"
PRODUCT = "aws_iam_role.consented_reader[webshop/product_analytics]"
VAULT, RELAY = "aws_iam_role.vault", "aws_iam_role.relay[snowplow]"
ROLES = (PIPELINE, PRODUCER, LAKE_READER, MARKETING, PRODUCT, VAULT, RELAY)
ADMINISTRATOR = f"arn:aws:iam::{ACCOUNT}:role/administrator"
"""Somebody whom Terraform does not know, with all rights of the account."""

DATA_PROTECTION = f"arn:aws:iam::{ACCOUNT}:role/data-protection"
"""Who may read the quarantine: a role of the house's own, with rights that Terraform does not know."""

OBJECTS = {
    "landing": "webshop/2026/11/22/10/clicks.jsonl",
    "restricted": "webshop/validated_events/hour=2026-11-22T10/b-f.parquet",
    "lake": "webshop/pseudonymized_events/hour=2026-11-22T10/b-f.parquet",
    "consented": "webshop/marketing/hour=2026-11-22T10/b-f.parquet",
}
KEYS = [*(f"zone[{zone}]" for zone in ZONES), "key_encryption", "notifications", "quarantine[snowplow]"]
S3, SQS = f"s3.{REGION}.amazonaws.com", f"sqs.{REGION}.amazonaws.com"


def policies(principal: str) -> Sequence[Policy]:
    """The principal's own policies."""
    if principal in (ADMINISTRATOR, DATA_PROTECTION):
        return [{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}]
    own = [
        module().policy(address)
        for address, found in module().of("aws_iam_role_policy").items()
        if found["role"] == principal
    ]
    assert own, principal
    return own


def s3(principal: str, action: str, zone: str, key: str = "", **context: str) -> bool:
    """Whether S3 lets the principal do `action` to an object, or to the bucket."""
    return bucket(principal, action, zone, f"zone[{zone}]", key, **context)


def bucket(principal: str, action: str, name: str, address: str, key: str = "", **context: str) -> bool:
    """The same of any bucket."""
    arn = f"arn:aws:s3:::pii-{name}-{ACCOUNT}" + (f"/{key}" if key else "")
    known = {"aws:SecureTransport": "true", "aws:PrincipalArn": principal, **context}
    request = Request(principal, f"s3:{action}", arn, known)
    return allowed(request, policies(principal), module().policy(f"aws_s3_bucket_policy.{address}"))


def may(principal: str, action: str, resource: str, **context: str) -> bool:
    """Whether its own policies let the principal do it, to what has no policy itself."""
    return allowed(Request(principal, action, resource, context), policies(principal))


def opens(principal: str, key: str, action: str = "Decrypt", **context: str) -> bool:
    """Whether KMS lets the principal use a key."""
    request = Request(principal, f"kms:{action}", "the key's", context)
    return key_allows(request, policies(principal), module().policy(f"aws_kms_key.{key}"), ACCOUNT)


def reads(principal: str, zone: str, key: str | None = None) -> bool:
    """Whether an object comes out readable: S3 gives it, and KMS opens it."""
    given = s3(principal, "GetObject", zone, key or OBJECTS[zone])
    return given and opens(principal, f"zone[{zone}]", **{"kms:ViaService": S3})


def writes(principal: str, zone: str) -> bool:
    """Whether an object can be put, in parts too."""
    seals = [
        opens(principal, f"zone[{zone}]", action, **{"kms:ViaService": S3})
        for action in ("GenerateDataKey", "Decrypt")
    ]
    return s3(principal, "PutObject", zone, OBJECTS[zone]) and all(seals)


def sqs(principal: str, action: str, queue: str, **context: str) -> bool:
    """Whether SQS lets the principal do `action`."""
    known = {"aws:SecureTransport": "true", **context}
    return allowed(
        Request(principal, f"sqs:{action}", f"aws_sqs_queue.{queue}", known),
        policies(principal) if principal != "s3.amazonaws.com" else [],
        module().policy(f"aws_sqs_queue_policy.{queue}"),
    )


def test_each_reads_its_zone_and_nothing_else() -> None:
    found = {(role, zone) for role in (*ROLES, ADMINISTRATOR) for zone in ZONES if reads(role, zone)}
    assert found == {*((PIPELINE, zone) for zone in ZONES), (LAKE_READER, "lake"), (MARKETING, "consented")}


@pytest.mark.parametrize("zone", ZONES)
def test_all_rights_of_the_account_neither_get_an_object_nor_open_one(zone: str) -> None:
    """Either would do; both are there, for the day somebody changes one of them."""
    assert s3(ADMINISTRATOR, "GetBucketPolicy", zone)
    assert not s3(ADMINISTRATOR, "GetObject", zone, OBJECTS[zone])
    assert not opens(ADMINISTRATOR, f"zone[{zone}]", **{"kms:ViaService": S3})


def test_a_consented_dataset_is_one_folder() -> None:
    assert reads(PRODUCT, "consented", "webshop/product_analytics/hour=2026-11-22T10/b-f.parquet")
    for other in ("webshop/product_analytics_2/b.parquet", "webshop/b.parquet", "retail/product_analytics/b"):
        assert not reads(PRODUCT, "consented", other)


def test_what_is_listed_is_what_may_be_read() -> None:
    def lists(role: str, zone: str, prefix: str) -> bool:
        return s3(role, "ListBucket", zone, **{"s3:prefix": prefix})

    assert lists(MARKETING, "consented", "webshop/marketing/hour=2026-11-22T10/")
    for prefix in ("", "webshop/", "webshop/marketing_2/", "webshop/product_analytics/"):
        assert not lists(MARKETING, "consented", prefix)
    assert {zone for zone in ZONES if lists(LAKE_READER, zone, "")} == {"lake"}
    assert not [zone for zone in ZONES if lists(PRODUCER, zone, "")]


def test_the_pipeline_writes_everywhere_and_producers_into_landing() -> None:
    found = {(role, zone) for role in (*ROLES, ADMINISTRATOR) for zone in ZONES if writes(role, zone)}
    assert found == {*((PIPELINE, zone) for zone in ZONES), (PRODUCER, "landing")}


def test_only_the_pipeline_deletes_and_nobody_what_was_replaced_in_the_lake() -> None:
    everybody = (*ROLES, ADMINISTRATOR)
    found = {(role, zone) for role in everybody for zone in ZONES if s3(role, "DeleteObject", zone, "x")}
    assert found == {(PIPELINE, zone) for zone in ZONES}
    assert not [role for role in ROLES if s3(role, "DeleteObjectVersion", "lake", "x")]


@pytest.mark.parametrize("zone", ZONES)
def test_nothing_goes_over_plain_http_or_under_a_key_that_is_not_of_kms(zone: str) -> None:
    for action in ("GetObject", "PutObject"):
        assert s3(PIPELINE, action, zone, "x")
        assert not s3(PIPELINE, action, zone, "x", **{"aws:SecureTransport": "false"})
    header = "s3:x-amz-server-side-encryption"
    assert s3(PIPELINE, "PutObject", zone, "x", **{header: "aws:kms"})
    assert not s3(PIPELINE, "PutObject", zone, "x", **{header: "AES256"})


@pytest.mark.parametrize("zone", ZONES)
def test_a_key_of_a_zone_opens_nothing_that_is_handed_to_it(zone: str) -> None:
    assert not [role for role in (*ROLES, ADMINISTRATOR) if opens(role, f"zone[{zone}]")]
    elsewhere = {"kms:ViaService": f"rds.{REGION}.amazonaws.com"}
    assert not [role for role in ROLES if opens(role, f"zone[{zone}]", **elsewhere)]
    by_queue = {role for role in ROLES if opens(role, f"zone[{zone}]", **{"kms:ViaService": SQS})}
    assert by_queue == ({PIPELINE, PRODUCER} if zone == "landing" else set())


def test_the_key_encryption_key_is_the_pipelines_and_the_vaults_and_wants_to_know_what_for() -> None:
    context = {"kms:EncryptionContextKeys": "stream"}
    everybody = (*ROLES, ADMINISTRATOR)
    found = {role for role in everybody if opens(role, "key_encryption", **context)}
    assert found == {PIPELINE, VAULT}
    for role in found:
        assert opens(role, "key_encryption", "GenerateDataKey", **context)
        assert not opens(role, "key_encryption")


@pytest.mark.parametrize("key", KEYS)
def test_administrators_manage_a_key_and_cannot_use_it_or_hand_it_on(key: str) -> None:
    for action in ("PutKeyPolicy", "ScheduleKeyDeletion", "EnableKeyRotation", "DescribeKey"):
        assert opens(ADMINISTRATOR, key, action)
    known = {"kms:ViaService": S3, "kms:EncryptionContextKeys": "stream"}
    for action in ("Decrypt", "Encrypt", "GenerateDataKey", "ReEncryptFrom", "CreateGrant"):
        assert not opens(ADMINISTRATOR, key, action, **known)


def test_producers_send_and_the_pipeline_receives() -> None:
    for queue in ("stream[logins]", "stream[orders]"):
        assert {role for role in ROLES if sqs(role, "SendMessage", queue)} == {PRODUCER}
        for action in ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes"):
            assert PIPELINE in {role for role in ROLES if sqs(role, action, queue)}
        assert not sqs(PRODUCER, "ReceiveMessage", queue)
        assert not sqs(PIPELINE, "ReceiveMessage", queue, **{"aws:SecureTransport": "false"})
        assert not [role for role in ROLES if sqs(role, "PurgeQueue", queue)]


def test_no_queue_speaks_plain_http() -> None:
    queues = [address.removeprefix("aws_sqs_queue.") for address in module().of("aws_sqs_queue")]
    assert len(queues) == 6
    for queue in queues:
        for action in ("SendMessage", "ReceiveMessage", "SetQueueAttributes"):
            assert sqs(ADMINISTRATOR, action, queue)
            assert not sqs(ADMINISTRATOR, action, queue, **{"aws:SecureTransport": "false"})


def test_only_the_landing_bucket_of_this_account_sends_notifications() -> None:
    ours = {"aws:SourceArn": f"arn:aws:s3:::pii-landing-{ACCOUNT}", "aws:SourceAccount": ACCOUNT}
    assert sqs("s3.amazonaws.com", "SendMessage", "notifications", **ours)
    assert not sqs("s3.amazonaws.com", "SendMessage", "notifications", **{**ours, "aws:SourceAccount": "2"})
    another = {**ours, "aws:SourceArn": "arn:aws:s3:::another"}
    assert not sqs("s3.amazonaws.com", "SendMessage", "notifications", **another)
    assert sqs(PIPELINE, "ReceiveMessage", "notifications")
    assert opens(PIPELINE, "notifications", **{"kms:ViaService": SQS})


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_taken_by_those_who_are_named(role: str) -> None:
    trust = module().policy(role, "assume_role_policy")
    (statement,) = trust["Statement"]
    named = {
        PIPELINE: {"Service": "pods.eks.amazonaws.com"},
        PRODUCER: {"AWS": [f"arn:aws:iam::{ACCOUNT}:role/webshop-backend"]},
        LAKE_READER: {"AWS": [f"arn:aws:iam::{ACCOUNT}:role/analysts"]},
        MARKETING: {"AWS": [f"arn:aws:iam::{ACCOUNT}:role/marketing"]},
        PRODUCT: {"AWS": [f"arn:aws:iam::{ACCOUNT}:role/product-analytics"]},
        VAULT: {"Service": "pods.eks.amazonaws.com"},
        RELAY: {"Service": "lambda.amazonaws.com"},
    }
    assert statement["Principal"] == named[role]


def test_secrets_are_the_pipelines() -> None:
    secret = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:pii/pseudonym-secret-AbCdEf"
    may = {
        role
        for role in ROLES
        if allowed(Request(role, "secretsmanager:GetSecretValue", secret), policies(role))
    }
    assert may == {PIPELINE}


TABLES = ("vault_records", "vault_audit", "vault_state")


def test_the_vaults_tables_are_the_vaults_and_the_main_jobs_and_nobody_unmakes_them() -> None:
    for table in (f"aws_dynamodb_table.{name}[0]" for name in TABLES):
        for action in ("PutItem", "Query", "DescribeTable"):
            found = {role for role in ROLES if may(role, f"dynamodb:{action}", table)}
            assert found == {PIPELINE, VAULT}, (action, table)
        for action in ("DeleteTable", "UpdateTable", "CreateTable", "Scan", "UpdateTimeToLive"):
            assert not [role for role in ROLES if may(role, f"dynamodb:{action}", table)]
    assert may(VAULT, "dynamodb:Query", "aws_dynamodb_table.vault_records[0]/index/by_mark")


def test_an_entry_of_the_audit_log_is_neither_changed_nor_deleted() -> None:
    assert not [name for name in TABLES if may(VAULT, "dynamodb:DeleteItem", f"aws_dynamodb_table.{name}[0]")]
    for action in ("UpdateItem", "BatchWriteItem"):
        found = [name for name in TABLES if may(VAULT, f"dynamodb:{action}", f"aws_dynamodb_table.{name}[0]")]
        assert found == ["vault_records", "vault_state"]


def test_anchors_are_put_by_the_vault_and_hidden_by_nobody() -> None:
    def anchors(role: str, action: str, key: str = "anchors/1.json", **context: str) -> bool:
        return bucket(role, action, "vault-anchors", "anchors", key, **context)

    everybody = (*ROLES, ADMINISTRATOR)
    for action in ("PutObject", "PutObjectRetention"):
        assert {role for role in ROLES if anchors(role, action)} == {PIPELINE, VAULT}
    assert not anchors(ADMINISTRATOR, "PutObject")
    assert {role for role in ROLES if anchors(role, "ListBucketVersions", "")} == {PIPELINE, VAULT}
    for action in ("DeleteObject", "BypassGovernanceRetention"):
        assert not [role for role in everybody if anchors(role, action)]
    assert not anchors(VAULT, "PutObject", **{"aws:SecureTransport": "false"})


def test_the_relay_reads_its_stream_and_puts_what_it_cannot_read_where_it_cannot_read_it() -> None:
    stream = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/snowplow-pii"
    for action in ("GetRecords", "GetShardIterator", "DescribeStream", "DescribeStreamSummary", "ListShards"):
        assert {role for role in ROLES if may(role, f"kinesis:{action}", stream)} == {RELAY}
        assert not may(RELAY, f"kinesis:{action}", f"{stream}-2")
    assert not may(RELAY, "kinesis:PutRecord", stream)
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
    assert may(RELAY, "kms:Decrypt", key, **{"kms:ViaService": f"kinesis.{REGION}.amazonaws.com"})
    assert not may(RELAY, "kms:Decrypt", key)
    assert not quarantine(RELAY, "GetObject") and not opens(RELAY, "quarantine[snowplow]", **THROUGH_S3)
    token = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:pii/relay-token-GhIjKl"
    assert {role for role in ROLES if may(role, "secretsmanager:GetSecretValue", token)} == {RELAY}
    logs = "aws_cloudwatch_log_group.relay[snowplow]:log-stream:x"
    assert may(RELAY, "logs:PutLogEvents", logs) and not may(RELAY, "logs:PutLogEvents", "another:x")


THROUGH_S3 = {"kms:ViaService": S3}


def quarantine(principal: str, action: str, key: str = "not_json/s/h/1", **context: str) -> bool:
    """Whether S3 lets the principal do it to what a relay could not read."""
    return bucket(principal, action, "relay-snowplow", "quarantine[snowplow]", key, **context)


def test_what_the_relay_cannot_read_is_read_by_those_who_are_named() -> None:
    everybody = (*ROLES, ADMINISTRATOR, DATA_PROTECTION)
    key = "quarantine[snowplow]"
    readers = {role for role in everybody if quarantine(role, "GetObject") and opens(role, key, **THROUGH_S3)}
    assert readers == {DATA_PROTECTION}
    assert not quarantine(ADMINISTRATOR, "GetObject") and not opens(ADMINISTRATOR, key, **THROUGH_S3)
    assert not opens(DATA_PROTECTION, key)
    assert {role for role in everybody if quarantine(role, "PutObject")} == {RELAY}
    assert opens(RELAY, key, "GenerateDataKey", **THROUGH_S3)
    assert quarantine(DATA_PROTECTION, "DeleteObject") and quarantine(DATA_PROTECTION, "ListBucket", "")
    assert not quarantine(RELAY, "PutObject", **{"aws:SecureTransport": "false"})
    assert not quarantine(RELAY, "PutObject", **{"s3:x-amz-server-side-encryption": "AES256"})


def test_cfn_lint_knows_every_action_element_and_operator() -> None:
    """It has the list of all actions of AWS: one that is misspelt would allow, or deny, nothing."""
    everything = {
        f"{address} {argument}": found for (address, argument), found in module().policies().items()
    }
    assert len(everything) > 20 and not _findings(everything)
    wrong = {"Effect": "Allow", "Action": "s3:GetObjct", "Resource": "arn:aws:s3:::a/*"}
    assert _findings({"aws_iam_role_policy.x policy": {"Version": "2012-10-17", "Statement": [wrong]}})


_OF_POLICIES = ("E3510", "E3512", "E3514", "E3530", "I3510", "W2511", "W3037")
"""The rules over policies: of principals, of resources, of trust, which actions there are and on what."""

_KINDS = {
    "aws_iam_role_policy policy": ("AWS::IAM::ManagedPolicy", "PolicyDocument"),
    "aws_iam_role assume_role_policy": ("AWS::IAM::Role", "AssumeRolePolicyDocument"),
    "aws_s3_bucket_policy policy": ("AWS::S3::BucketPolicy", "PolicyDocument"),
    "aws_sqs_queue_policy policy": ("AWS::SQS::QueuePolicy", "PolicyDocument"),
    "aws_kms_key policy": ("AWS::KMS::Key", "KeyPolicy"),
}


_ARNS = {
    "aws_sqs_queue": ("sqs", "q"),
    "aws_dynamodb_table": ("dynamodb", "table/t"),
    "aws_cloudwatch_log_group": ("logs", "log-group:g"),
}


def _findings(documents: dict[str, dict[str, Any]]) -> list[str]:
    """What cfn-lint says of policies, by address and argument, as resources of its own language."""
    resources = {}
    for number, (name, document) in enumerate(documents.items()):
        address, argument = name.rsplit(" ", 1)
        kind, element = _KINDS[f"{address.split('.')[0]} {argument}"]
        resources[f"R{number}"] = {"Type": kind, "Properties": {element: document}}
    text = json.dumps({"Resources": resources})
    # Where the evaluator has an address, AWS has an ARN.
    for address in sorted(module().resources, key=len, reverse=True):
        service, name = _ARNS.get(address.partition(".")[0], ("iam", "role/x"))
        region = "" if service == "iam" else REGION
        text = text.replace(f'"{address}', f'"arn:aws:{service}:{region}:{ACCOUNT}:{name}')
    return [f"{found.rule.id}: {found.message}" for found in lint_all(text) if found.rule.id in _OF_POLICIES]
