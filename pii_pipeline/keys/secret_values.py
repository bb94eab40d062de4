"""Secrets that a setting does not hold but names: in AWS Secrets Manager."""

from __future__ import annotations

import re

from pii_pipeline import aws
from pii_pipeline.keys.errors import KeyServiceUnavailable, SecretUnreadable

_SCHEME = "aws-secretsmanager://"
_SUPPORTED = f"write {_SCHEME}NAME (or an ARN), or the secret itself"
_ELSEWHERE = re.compile(r"arn:aws|aws[a-z-]*:/")


def secret_value(setting: str, value: str) -> str:
    """The secret that `value` of the variable `setting` is, or names.

    What only looks like the name of a place is refused: it would become the secret. Raises
    `SecretUnreadable`, or `KeyServiceUnavailable` for what passes by itself.
    """
    if not value.startswith(_SCHEME):
        if _ELSEWHERE.match(value):
            raise SecretUnreadable(f"{setting}: no place of a secret that is supported — {_SUPPORTED}")
        return value
    name = value.removeprefix(_SCHEME)
    if not name:
        raise SecretUnreadable(f"{setting}: names no secret — {_SUPPORTED}")
    text = _fetch(f"{setting}: AWS Secrets Manager, secret {name}", name)
    if text.endswith("\n"):
        raise SecretUnreadable(
            f"{setting}: the secret {name} ends in a line break, which would be a part of it — store it "
            "without one (printf, not echo)"
        )
    return text


def _fetch(where: str, name: str) -> str:
    try:
        with aws.typed_errors():
            answer = aws.client(aws.session(name), "secretsmanager").get_secret_value(SecretId=name)
    except aws.AwsError as error:
        problem = error
    else:
        if answer.get("SecretString"):
            return answer["SecretString"]
        raise SecretUnreadable(f"{where}: holds no text — store it as SecretString")
    if problem.kind == "unavailable":
        raise KeyServiceUnavailable(f"{where}: {problem}")
    if problem.kind == "denied":
        raise SecretUnreadable(
            f"{where}: secretsmanager:GetSecretValue is not allowed — allow it to the role, and kms:Decrypt "
            "where the secret is under a key of your own"
        )
    if problem.code == "ResourceNotFoundException":
        raise SecretUnreadable(
            f"{where}: there is no such secret — name one of this account and region that has a value"
        )
    if problem.code == "InvalidRequestException":
        raise SecretUnreadable(f"{where}: it is scheduled for deletion — restore it")
    if problem.code == "DecryptionFailure":
        raise SecretUnreadable(f"{where}: its KMS key does not open it — enable the key, allow kms:Decrypt")
    raise SecretUnreadable(f"{where}: {problem}")
