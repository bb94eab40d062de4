"""What obstore and boto3 raise, as errors of ours. Texts of theirs quote keys and what the server said, and
stay behind: of them only S3's error code and the name of a permission get through."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from obstore.exceptions import BaseError, PreconditionError, UnauthenticatedError

from pii_pipeline.lake.errors import NoSuchBucket, StorageDenied, StorageUnavailable, VersionChanged

_CODE = re.compile(r"<Code>([A-Za-z0-9.]+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_PERMISSION = re.compile(r"perform: ([a-z0-9-]+:[A-Za-z]+)")

_PERMISSIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "GetObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CopyObject": "s3:GetObject and s3:PutObject",
    "DeleteObject": "s3:DeleteObject (and s3:GetObject, for a version)",
}
_CREDENTIALS = {
    "ExpiredToken": "the credentials have expired — renew them (aws sso login, or a new session token)",
    "ExpiredTokenException": "the credentials have expired — renew them",
    "TokenRefreshRequired": "the credentials have expired — renew them",
    "InvalidToken": "the session token is none of AWS's — renew the credentials",
    "InvalidAccessKeyId": "the access key is not known — look at AWS_PROFILE and AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret access key is another one — look at AWS_SECRET_ACCESS_KEY",
    "RequestTimeTooSkewed": "the clock of this machine is wrong — set it",
}
_NO_CREDENTIALS = (
    UnauthenticatedError,  # of obstore, when boto3 does not renew them
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
_CHANGED = {"PreconditionFailed", "ConditionalRequestConflict"}  # the latter: while it was being deleted
_GONE = {"NoSuchKey", "404", "NotFound"}
_KMS_STATES = {"KMS.DisabledException": "is disabled", "KMS.KMSInvalidStateException": "is pending deletion"}


@contextmanager
def typed_errors(bucket: str, operation: str, path: str = "") -> Iterator[None]:
    """Raises what goes wrong inside as FileNotFoundError, `VersionChanged` or a `StorageError`."""
    try:
        yield
    except PreconditionError:
        failure: Exception = _changed(bucket)
    except _NO_CREDENTIALS as error:
        failure = StorageDenied(
            f"s3://{bucket}: the credentials cannot be had ({type(error).__name__})"
            " — look at AWS_PROFILE and what it names, or log in again (aws sso login)"
        )
    except ClientError as error:
        found: dict[str, Any] = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
        failure = _failure(
            bucket, operation, path, found.get("Code", ""), str(status), found.get("Message", "")
        )
    except (BaseError, FileNotFoundError) as error:
        said = str(error)
        code, status = _CODE.search(said), _STATUS.search(said)
        failure = _failure(
            bucket, operation, path, code[1] if code else "", status[1] if status else "", said
        )
    except BotoCoreError as error:
        failure = _unavailable(bucket, operation, type(error).__name__)
    else:
        return
    raise failure from None


def _failure(bucket: str, operation: str, path: str, code: str, status: str, said: str) -> Exception:
    if code in _CREDENTIALS:
        return StorageDenied(f"s3://{bucket}: {_CREDENTIALS[code]}")
    if code == "NoSuchBucket":
        return NoSuchBucket(f"s3://{bucket}: there is no such bucket — make it, or mend the zone's URI")
    if code == "PermanentRedirect" or status == "301":
        return NoSuchBucket(f"s3://{bucket}: the bucket is in another region — set AWS_REGION to it")
    if code in _CHANGED:
        return _changed(bucket)
    if code in _GONE or status == "404":
        return FileNotFoundError(errno.ENOENT, "no such object", f"s3://{bucket}/{path}")
    if code in _KMS_STATES:
        return StorageDenied(f"s3://{bucket}: the KMS key of the bucket or object {_KMS_STATES[code]}")
    if status in ("401", "403"):
        told = _PERMISSION.search(said)
        wanted = told[1] if told else _PERMISSIONS.get(operation, operation)
        return StorageDenied(f"s3://{bucket}: {operation} is denied ({code or status}) — it needs {wanted}")
    return _unavailable(
        bucket, operation, " ".join(dict.fromkeys(filter(None, (status, code)))) or "no answer"
    )


def _changed(bucket: str) -> VersionChanged:
    return VersionChanged(f"s3://{bucket}: an object was replaced before it was read to its end")


def _unavailable(bucket: str, operation: str, why: str) -> StorageUnavailable:
    return StorageUnavailable(f"s3://{bucket}: {operation} failed, also when it was tried again ({why})")
