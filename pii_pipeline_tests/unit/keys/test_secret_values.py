"""A secret in AWS Secrets Manager, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from pii_pipeline import aws as aws_module
from pii_pipeline.keys.errors import KeyServiceUnavailable, SecretUnreadable
from pii_pipeline.keys.secret_values import secret_value
from pii_pipeline_tests.faulty_proxy import NOT_TO_BE_QUOTED, FaultyProxy

SETTING = "PII_PSEUDONYM_SECRET"


@pytest.mark.parametrize("value", ["canary_secret", "file://x", "s3cret:/", "AWS-x://y", "awsome"])
def test_a_plain_value_is_the_secret(value: str) -> None:
    assert secret_value(SETTING, value) == value


@pytest.mark.parametrize(
    "value",
    [
        "aws-secretsmanager:/pii/secret",
        "aws-secretmanager://pii/secret",
        "aws-kms://alias/pii",
        "aws://secret",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:pii-AbCdEf",
        "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:pii-AbCdEf",
        "aws-secretsmanager://",
    ],
)
def test_what_looks_like_a_place_does_not_become_the_secret(value: str) -> None:
    with pytest.raises(SecretUnreadable, match="write aws-secretsmanager://NAME") as caught:
        secret_value(SETTING, value)
    assert str(caught.value).startswith(SETTING)


def test_by_name_and_by_arn(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = aws.client("secretsmanager").create_secret(Name="pii/secret", SecretString="canary_secret")
    assert secret_value(SETTING, "aws-secretsmanager://pii/secret") == "canary_secret"
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION")
    assert secret_value(SETTING, f"aws-secretsmanager://{made['ARN']}") == "canary_secret"


def test_a_line_break_at_its_end_is_refused(aws: Any) -> None:
    aws.client("secretsmanager").create_secret(Name="s", SecretString="canary_secret\n")
    with pytest.raises(SecretUnreadable, match="ends in a line break") as caught:
        secret_value(SETTING, "aws-secretsmanager://s")
    assert "canary" not in str(caught.value)


def test_what_is_no_text_is_refused(aws: Any) -> None:
    aws.client("secretsmanager").create_secret(Name="s", SecretBinary=b"canary")
    with pytest.raises(SecretUnreadable, match="holds no text"):
        secret_value(SETTING, "aws-secretsmanager://s")


def test_one_that_is_not_there_or_deleted(aws: Any) -> None:
    with pytest.raises(SecretUnreadable, match="secret s: there is no such secret"):
        secret_value(SETTING, "aws-secretsmanager://s")
    client = aws.client("secretsmanager")
    client.create_secret(Name="s", SecretString="canary")
    client.delete_secret(SecretId="s")
    with pytest.raises(SecretUnreadable, match="scheduled for deletion — restore it"):
        secret_value(SETTING, "aws-secretsmanager://s")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("AccessDeniedException", "secretsmanager:GetSecretValue is not allowed — allow it to the role"),
        ("DecryptionFailure", "its KMS key does not open it"),
        ("ExpiredTokenException", "the AWS credentials have expired — renew them"),
    ],
)
def test_what_is_refused(faulty_aws: FaultyProxy, code: str, said: str) -> None:
    faulty_aws.fail(code, operation="GetSecretValue")
    with pytest.raises(SecretUnreadable) as caught:
        secret_value("PII_SNOWPLOW_SALT", "aws-secretsmanager://s")
    assert str(caught.value).startswith(f"PII_SNOWPLOW_SALT: AWS Secrets Manager, secret s: {said}")
    assert NOT_TO_BE_QUOTED not in str(caught.value)


def test_what_passes_is_tried_again(
    aws: Any, faulty_aws: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.client("secretsmanager").create_secret(Name="s", SecretString="canary_secret")
    faulty_aws.fail("InternalServiceError", operation="GetSecretValue", status=500, times=1)
    assert secret_value(SETTING, "aws-secretsmanager://s") == "canary_secret"
    monkeypatch.setattr(aws_module, "ATTEMPTS", 1)
    faulty_aws.fail("ThrottlingException", operation="GetSecretValue")
    with pytest.raises(
        KeyServiceUnavailable, match="secret s: AWS does not answer, however often it is asked"
    ):
        secret_value(SETTING, "aws-secretsmanager://s")
