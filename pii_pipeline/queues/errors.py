"""What can be wrong with a queue, in words of ours: what AWS says may quote who was asking, and for what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pii_pipeline import aws


class QueueError(Exception):
    """Base. The message names queue and operation."""


class QueueUnavailable(QueueError):
    """The queue does not answer at the moment, however often it was asked."""


class QueueRefused(QueueError):
    """The queue is not there, or what was asked is not allowed; the message has the mend."""


_PERMISSIONS = {
    "DeleteMessageBatch": "sqs:DeleteMessage",
    "ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
_ABSENT = ("QueueDoesNotExist", "NonExistentQueue")


@contextmanager
def typed_errors(queue: str, operation: str) -> Iterator[None]:
    """Has what botocore raises inside leave as a `QueueError`."""
    try:
        with aws.typed_errors():
            yield
    except aws.AwsError as error:
        raised = _failure(error, queue, operation)
    else:
        return
    raise raised from None


def _failure(error: aws.AwsError, queue: str, operation: str) -> QueueError:
    what = f"queue {queue}: {operation}"
    if error.kind == "unavailable":
        return QueueUnavailable(f"{what}: {error}")
    if error.code.endswith(_ABSENT):
        return QueueRefused(f"queue {queue}: there is none of that name in this account and region")
    if error.code.upper().startswith("KMS"):
        return QueueRefused(
            f"{what} is refused ({error.code}) — it needs kms:Decrypt and the queue's key, enabled"
        )
    if error.kind == "denied":
        wanted = error.permission or _PERMISSIONS.get(operation, f"sqs:{operation}")
        return QueueRefused(f"{what} is denied ({error.code}) — it needs {wanted}")
    return QueueRefused(f"{what}: {error}")
