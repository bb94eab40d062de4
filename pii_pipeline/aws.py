"""AWS through boto3: whose credentials, profile, region and endpoint they are is boto3's own business.

Messages of AWS name accounts, roles and request ids. What leaves here is the service's error code, the name
of a permission, and words of ours. boto3 takes most of a second to import and to make its first client: only
those pay it who use it.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

Kind = Literal["denied", "credentials", "region", "unavailable", "refused"]

ATTEMPTS = 10
"""Per call. With boto3's growing pauses that is about a minute of throttling, or twelve seconds of faults."""
CONNECT_SECONDS = 5
READ_SECONDS = 10
HURRIED_ATTEMPTS = 3
HURRIED_CONNECT_SECONDS = 2
HURRIED_READ_SECONDS = 3
"""Where somebody waits, and asks again anyway."""
_PAUSE = 0.1
_LONGEST_PAUSE = 5.0

# What answers mean: the first of these that is found in status and code. AWS has several codes for one thing.
_MEANINGS: list[tuple[str, Kind, str]] = [
    (
        "ExpiredToken|RequestExpired|TokenRefreshRequired",
        "credentials",
        "the AWS credentials have expired — renew them (aws sso login, or a new session token)",
    ),
    ("RequestTimeTooSkewed", "credentials", "the clock of this machine is wrong — set it"),
    (
        "AuthFailure|IncompleteSignature|InvalidAccessKeyId|InvalidClientTokenId|InvalidSignature|InvalidToken"
        "|MissingAuthenticationToken|SignatureDoesNotMatch|UnrecognizedClient",
        "credentials",
        "AWS does not accept the credentials ({}) — look at AWS_PROFILE, or AWS_ACCESS_KEY_ID and its like",
    ),
    (
        "^5|^429|Internal|OverLimit|RequestLimitExceeded|SlowDown|Throttl|ThroughputExceeded|Timeout"
        "|TooManyRequests|TransactionConflict|TransactionInProgress|Unavailable",
        "unavailable",
        "AWS does not answer, however often it is asked ({}) — run it again later",
    ),
    # A gateway in between may have words of its own.
    ("^401|^403|AccessDenied|UnauthorizedOperation", "denied", "AWS does not allow it ({})"),
    ("", "refused", "AWS refuses it ({})"),
]
_NO_CREDENTIALS = re.compile("Credential|Token|SSO|Login|Profile|MFA|Metadata|Config")
_PERMISSION = re.compile(r"perform: ([a-z0-9-]+:[A-Za-z]+)")


class AwsError(Exception):
    """A call to AWS failed, after boto3's own retries. The message says what is wrong, and the mend.

    kind: for programs
    code: the service's word, or the name of boto3's error
    status: HTTP's; 0 where there is no answer
    permission: the one that is missing, where AWS says which
    """

    def __init__(self, kind: Kind, code: str, problem: str, status: int = 0, permission: str = "") -> None:
        super().__init__(problem)
        self.kind: Kind = kind
        self.code = code
        self.status = status
        self.permission = permission


def session(resource: str = "") -> Any:
    """A session of boto3, in the region of `resource` if that is an ARN. Raises `AwsError`."""
    import boto3

    parts = resource.split(":")
    region = parts[3] if parts[0] == "arn" and len(parts) > 4 else ""
    with typed_errors():
        return boto3.Session(region_name=region or None)


def client(
    session: Any, service: str, connections: int = 10, takes: float = 0, until: float | None = None
) -> Any:
    """A client of `service` for so many threads at once. `takes`: the seconds the service itself may take
    for an answer. `until`: when (`time.monotonic`) the last call may begin, whose answer is then waited for
    little longer than `takes`. What breaks off is asked for again, and never taken for the whole.

    Raises `AwsError` where boto3 knows no region, or an endpoint is no URL.
    """
    from botocore.config import Config

    # At DEBUG it logs whole answers: keys, secrets, messages.
    logging.getLogger("botocore.parsers").setLevel(logging.INFO)
    hurried = until is not None
    attempts = HURRIED_ATTEMPTS if hurried else ATTEMPTS
    config = Config(
        connect_timeout=HURRIED_CONNECT_SECONDS if hurried else CONNECT_SECONDS,
        read_timeout=(HURRIED_READ_SECONDS if hurried else READ_SECONDS) + takes,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=connections,
    )
    with typed_errors():
        made = session.client(service, config=config)
    _ask_for_whole_answers(made, attempts)
    if until is not None:
        _begin_no_call_after(made, until)
    return made


def _begin_no_call_after(client: Any, until: float) -> None:
    """Has every attempt refused that `client` would begin later."""

    def refuse(**_: Any) -> None:
        if time.monotonic() > until:
            raise no_answer("out of time")

    client.meta.events.register("before-send", refuse)


def _ask_for_whole_answers(client: Any, most: int) -> None:
    """Has `client` ask again, `most` times in all, when an answer breaks off.

    Of services that speak JSON botocore takes half an answer for a whole one that says nothing, so that a
    queue is empty, or all was deleted. What never comes whole is `botocore.exceptions.IncompleteReadError`.
    """
    from botocore.exceptions import IncompleteReadError

    def ask_again(response: Any, operation: Any, attempts: int, **_: Any) -> float | None:
        # The body of an object is read by who asked for it; an answer to HEAD has none.
        if response is None or operation.has_streaming_output or operation.http["method"] == "HEAD":
            return None
        answer, _parsed = response
        length = answer.headers.get("content-length", "")
        if not length.isdecimal() or len(answer.content) >= int(length):
            return None
        if attempts >= most:
            raise IncompleteReadError(actual_bytes=len(answer.content), expected_bytes=length)
        return min(_PAUSE * 2**attempts, _LONGEST_PAUSE)

    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"needs-retry.{service}", ask_again)


@contextmanager
def typed_errors() -> Iterator[None]:
    """Has what boto3 raises inside leave as an `AwsError`."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        said: dict[str, Any] = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raised = refusal(str(said.get("Code", "")), int(status), str(said.get("Message", "")))
    except (BotoCoreError, ResponseParserError) as error:
        raised = _of_boto3(error)
    except ValueError as error:
        if isinstance(error, UnicodeError):
            raise  # of what it was given to send
        # An endpoint that is no URL, a key that is no header: some it finds when it is asked first.
        raised = _wrong_settings("ValueError")
    else:
        return
    raise raised from None


def refusal(code: str, status: int, said: str) -> AwsError:
    """What an answer means; `said` is AWS's text, of which no more than the name of a permission is kept."""
    permission = _PERMISSION.search(said)
    meaning = next(item for item in _MEANINGS if re.search(item[0], f"{status} {code}"))
    problem = meaning[2].format(code or status)
    return AwsError(meaning[1], code, problem, status, permission[1] if permission else "")


def no_credentials(code: str) -> AwsError:
    """Whoever was to give some has none."""
    return AwsError(
        "credentials",
        code,
        f"no AWS credentials can be had ({code}) — set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, log in (aws sso login), or give this machine a role",
    )


def no_answer(code: str) -> AwsError:
    """Nobody answers, or not to the end."""
    return AwsError("unavailable", code, f"AWS does not answer ({code}) — run it again later")


def _wrong_settings(code: str) -> AwsError:
    return AwsError("refused", code, "boto3 does not take its settings — look at AWS_…")


def _of_boto3(error: Exception) -> AwsError:
    from botocore import exceptions, parsers

    unanswered = (
        exceptions.ConnectionError,
        exceptions.HTTPClientError,
        exceptions.IncompleteReadError,
        parsers.ResponseParserError,
    )
    code = type(error).__name__
    if isinstance(error, exceptions.NoRegionError | exceptions.InvalidRegionError):
        return AwsError("region", code, "no AWS region is known — set AWS_DEFAULT_REGION")
    if isinstance(error, exceptions.EndpointProviderError):
        return _wrong_settings(code)
    if isinstance(error, unanswered):
        return no_answer(code)
    if _NO_CREDENTIALS.search(code):
        return no_credentials(code)
    return AwsError("refused", code, f"boto3 refuses it ({code})")
