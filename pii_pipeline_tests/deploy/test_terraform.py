"""What Terraform would make, beside the policies."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import Any

import boto3
import pytest
import yaml

from pii_pipeline.relay.quarantine import S3Quarantine, open_quarantine
from pii_pipeline.relay.settings import read_relay_settings
from pii_pipeline.settings import ZONES, project_root, read_settings
from pii_pipeline.vault.stores import open_store
from pii_pipeline.vault.stores.dynamodb_tables import AUDIT, RECORDS, STATE
from pii_pipeline_tests.deploy.terraform import ACCOUNT, FOLDER, module

DAY = 86400


def zone(kind: str, name: str) -> dict[str, Any]:
    return module().resources[f"{kind}.zone[{name}]"]


def test_everything_is_evaluated() -> None:
    """A reference to what is not there would leave nothing."""

    def empty(value: Any) -> bool:
        if isinstance(value, dict):
            return "__attribute__" in value or any(map(empty, value.values()))
        if isinstance(value, list):
            return any(map(empty, value))
        return value is None or (
            isinstance(value, str) and value.startswith("{") and empty(json.loads(value))
        )

    assert len(module().resources) > 50
    assert not [address for address, found in module().resources.items() if empty(found)]


@pytest.mark.parametrize("name", ZONES)
def test_a_zone_is_a_private_bucket_under_a_key_of_its_own(name: str) -> None:
    bucket = zone("aws_s3_bucket", name)["bucket"]
    assert bucket == f"pii-{name}-{ACCOUNT}"
    block = zone("aws_s3_bucket_public_access_block", name)
    assert block.pop("bucket") == bucket and len(block) == 4 and all(block.values())
    assert zone("aws_s3_bucket_ownership_controls", name)["rule"]["object_ownership"] == "BucketOwnerEnforced"
    rule = zone("aws_s3_bucket_server_side_encryption_configuration", name)["rule"]
    by_default = rule["apply_server_side_encryption_by_default"]
    assert by_default["sse_algorithm"] == "aws:kms" and rule["bucket_key_enabled"] is True
    assert by_default["kms_master_key_id"] == f"aws_kms_key.zone[{name}]"


@pytest.mark.parametrize("name", ZONES)
def test_uploads_that_were_given_up_go_and_no_rule_deletes_what_is_not_processed(name: str) -> None:
    rules = zone("aws_s3_bucket_lifecycle_configuration", name)["rule"]
    rules = rules if isinstance(rules, list) else [rules]
    assert [rule["abort_incomplete_multipart_upload"]["days_after_initiation"] for rule in rules[:1]] == [2]
    for rule in rules:
        assert rule["status"] == "Enabled"
        assert not {"days", "date"} & rule.get("expiration", {}).keys()
    versioned = zone("aws_s3_bucket_versioning", name)["versioning_configuration"]["status"]
    expired = [rule["noncurrent_version_expiration"]["noncurrent_days"] for rule in rules[1:]]
    assert (versioned, expired) == (("Enabled", [30]) if name == "lake" else ("Disabled", []))


def test_every_key_is_rotated_and_none_goes_at_once() -> None:
    keys = module().of("aws_kms_key")
    assert len(keys) == len(ZONES) + 3
    for key in keys.values():
        assert key["enable_key_rotation"] is True and key["deletion_window_in_days"] == 30
    assert re.search(
        r'resource "aws_kms_key" "key_encryption" \{.*?prevent_destroy = true',
        (FOLDER / "keys.tf").read_text(),
        re.S,
    )


def test_every_queue_has_one_for_dead_letters_that_keeps_them_longer() -> None:
    queues = module().of("aws_sqs_queue")
    moves = {move["queue_url"]: move for move in module().of("aws_sqs_queue_redrive_policy").values()}
    takes = {take["queue_url"]: take for take in module().of("aws_sqs_queue_redrive_allow_policy").values()}
    dead_letters = {address for address in queues if "dead_letters" in address}
    assert moves.keys() == queues.keys() - dead_letters and takes.keys() == dead_letters
    for address, move in moves.items():
        redrive = json.loads(move["redrive_policy"])
        assert redrive["maxReceiveCount"] == 1000
        target = redrive["deadLetterTargetArn"]
        queue, dead = queues[address], queues[target]
        assert queue.get("fifo_queue", False) is dead.get("fifo_queue", False)
        assert queue["kms_master_key_id"] == dead["kms_master_key_id"]
        # In a standard queue a message moves with the age it has.
        assert dead["message_retention_seconds"] - queue["message_retention_seconds"] == 7 * DAY
        allow = json.loads(takes[target]["redrive_allow_policy"])
        assert allow == {"redrivePermission": "byQueue", "sourceQueueArns": [address]}
        alarms = [
            alarm["alarm_actions"]
            for alarm in module().of("aws_cloudwatch_metric_alarm").values()
            if alarm["dimensions"] == {"QueueName": dead["name"]}
        ]
        assert len(alarms) == 1 and alarms[0]


@pytest.mark.parametrize("name", ["logins", "orders"])
def test_a_streams_queue_is_of_its_kind_under_the_landing_zones_key(name: str) -> None:
    fifo = name == "orders"
    for kind in ("stream", "dead_letters"):
        queue = module().resources[f"aws_sqs_queue.{kind}[{name}]"]
        assert queue["fifo_queue"] is fifo and queue["name"].endswith(".fifo") is fifo
        assert queue["kms_master_key_id"] == "aws_kms_key.zone[landing]"
    assert module().resources[f"aws_cloudwatch_metric_alarm.waiting[{name}]"]["alarm_actions"]


def test_new_landing_objects_are_announced_and_the_queue_may_be_written_first() -> None:
    (announced,) = module().of("aws_s3_bucket_notification").values()
    assert announced["bucket"] == f"pii-landing-{ACCOUNT}"
    assert announced["queue"]["queue_arn"] == "aws_sqs_queue.notifications"
    assert announced["queue"]["events"] == ["s3:ObjectCreated:*"]
    assert "depends_on = [aws_sqs_queue_policy.notifications]" in (FOLDER / "storage.tf").read_text()


def test_its_output_is_what_the_settings_read() -> None:
    environment = module().outputs["environment"]
    settings = read_settings({name: value for name, value in environment.items() if name.startswith("PII_")})
    assert settings.zones == {name: f"s3://pii-{name}-{ACCOUNT}" for name in ZONES}
    assert settings.vault_anchors == f"s3://pii-vault-anchors-{ACCOUNT}"
    assert (
        settings.key_encryption_key
        == environment["PII_KEY_ENCRYPTION_KEY"]
        == "aws-kms://alias/pii-key-encryption"
    )


TABLES = {"": RECORDS, "-audit": AUDIT, "-state": STATE}


@pytest.mark.parametrize("suffix", TABLES)
def test_a_table_of_the_vault_is_as_the_vault_makes_it(suffix: str) -> None:
    layout = TABLES[suffix]
    (table,) = [
        found for found in module().of("aws_dynamodb_table").values() if found["name"] == f"pii-vault{suffix}"
    ]
    assert [table["hash_key"], table["range_key"]] == [*layout.keys]
    kinds = {attribute["name"]: attribute["type"] for attribute in table["attribute"]}
    assert kinds == {**layout.keys, **dict.fromkeys(layout.indexes.values(), "B")}
    indexes = table.get("global_secondary_index", [])
    assert {index["name"]: index["hash_key"] for index in indexes} == layout.indexes
    assert {index["projection_type"] for index in indexes} <= {"KEYS_ONLY"}
    ttl = table.get("ttl")
    assert (ttl and ttl["enabled"] and ttl["attribute_name"]) == layout.expires
    assert table["billing_mode"] == "PAY_PER_REQUEST" and table["deletion_protection_enabled"] is True
    assert table["point_in_time_recovery"]["enabled"] is True


def test_the_vault_finds_its_table_as_terraform_makes_it(aws: boto3.Session) -> None:
    """The vault refuses one whose keys and indexes are not its own."""
    make_tables(aws)
    store = open_store("dynamodb://pii-vault")
    assert store.records() == 0
    store.close()


def make_tables(session: boto3.Session) -> None:
    """Those of the vault."""
    client = session.client("dynamodb")
    for found in module().of("aws_dynamodb_table").values():
        indexes = [
            {
                "IndexName": index["name"],
                "KeySchema": [{"AttributeName": index["hash_key"], "KeyType": "HASH"}],
                "Projection": {"ProjectionType": index["projection_type"]},
            }
            for index in found.get("global_secondary_index", [])
        ]
        client.create_table(
            TableName=found["name"],
            BillingMode=found["billing_mode"],
            AttributeDefinitions=[
                {"AttributeName": each["name"], "AttributeType": each["type"]} for each in found["attribute"]
            ],
            KeySchema=[
                {"AttributeName": found["hash_key"], "KeyType": "HASH"},
                {"AttributeName": found["range_key"], "KeyType": "RANGE"},
            ],
            **({"GlobalSecondaryIndexes": indexes} if indexes else {}),
        )


def test_anchors_are_under_object_lock() -> None:
    bucket = module().resources["aws_s3_bucket.anchors"]
    assert bucket["object_lock_enabled"] is True
    versioning = module().resources["aws_s3_bucket_versioning.anchors"]
    assert versioning["versioning_configuration"]["status"] == "Enabled"
    for address in ("anchors", "quarantine[snowplow]"):
        block = module().resources[f"aws_s3_bucket_public_access_block.{address}"]
        assert len(block) == 5 and all(block.values())


def test_the_function_is_told_by_kinesis_and_says_what_failed() -> None:
    function = module().resources["aws_lambda_function.relay[snowplow]"]
    mapping = module().resources["aws_lambda_event_source_mapping.relay[snowplow]"]
    assert mapping["function_response_types"] == ["ReportBatchItemFailures"]
    assert mapping["event_source_arn"].endswith(":stream/snowplow-pii")
    # A bucket alone gets the records themselves.
    assert mapping["destination_config"]["on_failure"]["destination_arn"].startswith(
        "arn:aws:s3:::pii-relay-"
    )
    package, _, name = function["handler"].rpartition(".")
    assert callable(getattr(import_module(package), name))
    (alarm,) = [
        alarm
        for alarm in module().of("aws_cloudwatch_metric_alarm").values()
        if alarm["dimensions"] == {"FunctionName": function["function_name"]}
    ]
    assert alarm["alarm_actions"] and alarm["metric_name"] == "IteratorAge"


def test_its_environment_is_what_the_relay_reads(aws: boto3.Session) -> None:
    function = module().resources["aws_lambda_function.relay[snowplow]"]
    variables = dict(function["environment"]["variables"])
    secret = variables["PII_VAULT_TOKEN"].removeprefix("aws-secretsmanager://")
    name = secret.rpartition(":")[2].rpartition("-")[0]
    made = aws.client("secretsmanager").create_secret(Name=name, SecretString="relays")
    settings = read_relay_settings({**variables, "PII_VAULT_TOKEN": f"aws-secretsmanager://{made['ARN']}"})
    assert settings.connection.address == "vault.pii.internal:8080" and settings.tls
    assert settings.connection.token == "relays" and settings.quarantine is not None
    assert isinstance(open_quarantine(settings.quarantine), S3Quarantine)
    rule = module().resources["aws_s3_bucket_lifecycle_configuration.quarantine[snowplow]"]["rule"]
    assert rule["expiration"]["days"] == 30


def test_the_datasets_of_the_example_are_those_of_the_streams() -> None:
    stream = yaml.safe_load((project_root() / "streams" / "webshop" / "stream.yaml").read_text())
    folders = {f"webshop/{dataset}" for dataset in stream["derived"]}
    named = {
        address.partition("[")[2][:-1]
        for address in module().of("aws_iam_role")
        if address.startswith("aws_iam_role.consented_reader[")
    }
    assert named == folders
