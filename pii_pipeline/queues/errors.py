"""What can be wrong with a queue, in words of ours: what AWS says may quote who was asking, and for what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class QueueError(Exception):
    """Base. The message names queue and operation."""


class QueueUnavailable(QueueError):
    """The queue does not answer at the moment, however often it was asked."""


class QueueRefused(QueueError):
    """The queue is not there, or what was asked is not allowed; the message has the mend."""


_PERMISSIONS = {
    "GetQueueUrl": "sqs:GetQueueUrl",
    "GetQueueAttributes": "sqs:GetQueueAttributes",
    "ReceiveMessage": "sqs:ReceiveMessage",
    "DeleteMessageBatch": "sqs:DeleteMessage",
    "ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
_ABSENT = ("QueueDoesNotExist", "NonExistentQueue")
_NO_CREDENTIALS = ("InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch")
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")


@contextmanager
def typed_errors(queue: str, operation: str) -> Iterator[None]:
    """Has what botocore raises inside leave as a `QueueError`."""
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        raised = _refusal(queue, operation, str(error.response.get("Error", {}).get("Code", "")))
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raised = QueueRefused(f"queue {queue}: no AWS credentials — set them as for any AWS tool")
    except exceptions.NoRegionError:
        raised = QueueRefused(
            f"queue {queue}: no AWS region — set AWS_DEFAULT_REGION, or name it in a profile"
        )
    except exceptions.ProfileNotFound:
        raised = QueueRefused(f"queue {queue}: there is no such AWS profile — mend AWS_PROFILE")
    except (exceptions.BotoCoreError, exceptions.HTTPClientError) as error:
        raised = QueueUnavailable(f"queue {queue}: {operation} got no answer ({type(error).__name__})")
    else:
        return
    raise raised from None


def _refusal(queue: str, operation: str, code: str) -> QueueError:
    what = f"queue {queue}: {operation}"
    if code.endswith(_ABSENT):
        return QueueRefused(f"queue {queue}: there is none of that name in this account and region")
    if code.startswith("KMS.") or code.startswith("Kms"):
        return QueueRefused(f"{what} was refused ({code}) — allow kms:Decrypt with the queue's key")
    if "AccessDenied" in code:
        return QueueRefused(f"{what} was denied — allow {_PERMISSIONS[operation]}")
    if code.endswith(_EXPIRED):
        return QueueRefused(f"{what} was refused: the credentials have expired — renew them")
    if code.endswith(_NO_CREDENTIALS):
        return QueueRefused(f"{what} was refused: the credentials are wrong ({code}) — mend them")
    return QueueUnavailable(f"{what} failed ({code or 'no code'})")
