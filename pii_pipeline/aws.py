"""AWS through boto3: whose credentials, profile, region and endpoint they are is boto3's own business.

Messages of AWS name accounts, roles and request ids. What leaves here is the service's error code and words
of ours. boto3 takes most of a second to import and to make its first client: only those pay it who use it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, Literal, TypeVar

R = TypeVar("R")

Kind = Literal["denied", "credentials", "region", "unavailable", "refused"]

ATTEMPTS = 10
"""Per call. With boto3's growing pauses that is about a minute of throttling, or twelve seconds of faults."""
CONNECTIONS = 10
CONNECT_SECONDS = 5
READ_SECONDS = 10
_PAUSE = 0.1
_LONGEST_PAUSE = 5.0

_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_UNKNOWN = {
    "AuthFailure",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_BUSY = {
    "DependencyTimeoutException",
    "InternalServiceError",
    "KMSInternalException",
    "KeyUnavailableException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionConflictException",
    "TransactionInProgressException",
}
_NO_CREDENTIALS = re.compile("Credential|Token|SSO|Login|Profile|MFA|Metadata|Config")
_FORBIDDEN = 403
_SERVER_ERROR = 500


class AwsError(Exception):
    """A call to AWS failed, after boto3's own retries. `kind` is for programs, `code` the service's word."""

    def __init__(self, kind: Kind, code: str, problem: str) -> None:
        super().__init__(kind, code, problem)
        self.kind: Kind = kind
        self.code = code

    def __str__(self) -> str:
        return self.args[2]


def client(service: str, resource: str = "", connections: int = CONNECTIONS) -> Any:
    """A client of `service`, safe across threads, of which `connections` can be served at once; in the region
    of `resource` if that is an ARN.

    Raises `AwsError` where boto3 knows no region, a profile is not there, or an endpoint is no URL.
    """
    import boto3
    from botocore.config import Config

    # At DEBUG it logs whole answers: keys and secrets.
    logging.getLogger("botocore.parsers").setLevel(logging.INFO)
    config = Config(
        max_pool_connections=connections,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    )
    try:
        session = call(boto3.Session, region_name=_region(resource))
        return call(session.client, service, config=config)
    except ValueError:
        raise AwsError("refused", "ValueError", "boto3 does not take its settings: look at AWS_…") from None


def ask_for_whole_answers(client: Any, attempts: int) -> None:
    """Has `client` ask again, `attempts` times in all, when an answer breaks off.

    Of services that speak JSON botocore takes half an answer for a whole one that says nothing, so that a
    queue is empty, or all was deleted. What never comes whole is `botocore.exceptions.IncompleteReadError`.
    """
    from botocore.exceptions import IncompleteReadError

    def ask_again(response: Any, attempts: int, **_: Any) -> float | None:
        if response is None:
            return None
        answer, _parsed = response
        length = answer.headers.get("content-length", "")
        if not length.isdecimal() or len(answer.content) >= int(length):
            return None
        if attempts >= most:
            raise IncompleteReadError(actual_bytes=len(answer.content), expected_bytes=length)
        return min(_PAUSE * 2**attempts, _LONGEST_PAUSE)

    most, service = attempts, client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"needs-retry.{service}", ask_again)


def call(operation: Callable[..., R], *arguments: Any, **named: Any) -> R:
    """What `operation` of a client returns; whatever boto3 raises leaves as `AwsError`."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        return operation(*arguments, **named)
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        raised = _explained(error)
    raise raised


def _explained(error: Exception) -> AwsError:
    from botocore import exceptions, parsers

    unanswered = (
        exceptions.ConnectionError,
        exceptions.HTTPClientError,
        exceptions.IncompleteReadError,
        parsers.ResponseParserError,
    )
    if isinstance(error, exceptions.ClientError):
        return _of_service(error)
    code = type(error).__name__
    if isinstance(error, exceptions.NoRegionError | exceptions.InvalidRegionError):
        return AwsError("region", code, "no AWS region is known: set AWS_DEFAULT_REGION")
    if isinstance(error, unanswered):
        return AwsError("unavailable", code, f"AWS does not answer ({code})")
    if _NO_CREDENTIALS.search(code):
        mend = "log in, or set what boto3 reads (AWS_PROFILE …)"
        return AwsError("credentials", code, f"no AWS credentials can be had ({code}): {mend}")
    return AwsError("refused", code, f"boto3 refuses it ({code})")


def _of_service(error: Any) -> AwsError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _EXPIRED:
        return AwsError("credentials", code, "the AWS credentials have expired: renew them, and run it again")
    if code in _UNKNOWN:
        return AwsError("credentials", code, f"AWS does not accept the credentials ({code}): look at them")
    if code in _DENIED or status == _FORBIDDEN:  # a gateway in between may have words of its own
        return AwsError("denied", code, f"AWS does not allow it ({code})")
    if code in _BUSY or status >= _SERVER_ERROR:
        return AwsError(
            "unavailable",
            code,
            f"AWS had no answer in {ATTEMPTS} attempts ({code}): run it again later",
        )
    return AwsError("refused", code, f"AWS refuses it ({code})")


def _region(resource: str) -> str | None:
    parts = resource.split(":")
    return parts[3] or None if parts[0] == "arn" and len(parts) > 4 else None
