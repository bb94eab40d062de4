"""What Terraform would make, beside the policies."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from pii_pipeline.settings import ZONES, project_root, read_settings
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
    assert len(keys) == len(ZONES) + 2
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
    assert (
        settings.key_encryption_key
        == environment["PII_KEY_ENCRYPTION_KEY"]
        == "aws-kms://alias/pii-key-encryption"
    )


def test_the_datasets_of_the_example_are_those_of_the_streams() -> None:
    stream = yaml.safe_load((project_root() / "streams" / "webshop" / "stream.yaml").read_text())
    folders = {f"webshop/{dataset}" for dataset in stream["derived"]}
    named = {address.partition("[")[2][:-1] for address in module().of("aws_iam_role") if "[" in address}
    assert named == folders
