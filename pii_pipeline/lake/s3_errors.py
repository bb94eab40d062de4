"""What obstore and boto3 raise, as errors of ours. Texts of theirs quote keys and what the server said, and
stay behind; what is common to all of AWS, `aws` says."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError, PreconditionError, UnauthenticatedError

from pii_pipeline import aws
from pii_pipeline.lake.errors import NoSuchBucket, StorageDenied, StorageUnavailable, VersionChanged

_CODE = re.compile(r"<Code>([A-Za-z0-9.]+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")

_PERMISSIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "GetObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CopyObject": "s3:GetObject and s3:PutObject",
    "DeleteObject": "s3:DeleteObject (and s3:GetObject, for a version)",
}
_CHANGED = {"PreconditionFailed", "ConditionalRequestConflict"}  # the latter: while it was being deleted
_GONE = {"NoSuchKey", "404", "NotFound"}
_KMS_STATES = {"KMS.DisabledException": "is disabled", "KMS.KMSInvalidStateException": "is pending deletion"}


@contextmanager
def typed_errors(bucket: str, setting: str, operation: str, path: str = "") -> Iterator[None]:
    """Raises what goes wrong inside as FileNotFoundError, `VersionChanged` or a `StorageError`; `setting`:
    where the bucket's name is from."""
    try:
        with aws.typed_errors():
            yield
    except PreconditionError:
        failure: Exception = _changed(bucket)
    except UnauthenticatedError as error:  # when boto3 does not renew them
        failure = _failure(bucket, setting, operation, path, aws.no_credentials(type(error).__name__))
    except (BaseError, FileNotFoundError) as error:
        failure = _failure(bucket, setting, operation, path, _of_obstore(error))
    except aws.AwsError as error:
        failure = _failure(bucket, setting, operation, path, error)
    else:
        return
    raise failure from None


def _of_obstore(error: Exception) -> aws.AwsError:
    said = str(error)
    code, status = _CODE.search(said), _STATUS.search(said)
    if not (code or status):
        return aws.no_answer(type(error).__name__)
    return aws.refusal(code[1] if code else "", int(status[1]) if status else 0, said)


def _failure(bucket: str, setting: str, operation: str, path: str, error: aws.AwsError) -> Exception:
    where = f"s3://{bucket}"
    if error.code == "NoSuchBucket":
        return NoSuchBucket(f"{where}: there is no such bucket — make it, or mend {setting}")
    if error.code == "PermanentRedirect" or error.status == 301:
        return NoSuchBucket(f"{where}: the bucket is in another region — set AWS_REGION to it")
    if error.code in _CHANGED:
        return _changed(bucket)
    if error.code in _GONE or error.status == 404:
        return FileNotFoundError(errno.ENOENT, "no such object", f"{where}/{path}")
    if error.code in _KMS_STATES:
        return StorageDenied(f"{where}: the KMS key of the bucket or object {_KMS_STATES[error.code]}")
    if error.kind == "denied":
        wanted = error.permission or _PERMISSIONS.get(operation, operation)
        return StorageDenied(
            f"{where}: {operation} is denied ({error.code or error.status}) — it needs {wanted}"
        )
    if error.kind in ("credentials", "region"):
        return StorageDenied(f"{where}: {operation}: {error}")
    return StorageUnavailable(f"{where}: {operation}: {error}")


def _changed(bucket: str) -> VersionChanged:
    return VersionChanged(f"s3://{bucket}: an object was replaced before it was read to its end")
