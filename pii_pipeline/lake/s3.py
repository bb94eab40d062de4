"""A bucket from a prefix on, by S3's API.

Bytes go through obstore (Rust's object_store: concurrent, conditional, tried again with backoff); who we are
and where S3 is, and all that moves no bytes (list, head, copy, delete), is boto3's business: credentials,
profile, region and endpoint are what any user of it expects. Imported only where a zone is on S3.

An object is seen when its PUT, or its multipart upload, is complete. What is not published yet is a whole
object under a hidden key; publishing copies it inside S3. What a killed writer had not completed is nobody's
object: a lifecycle rule of the bucket ends such uploads.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

import boto3
import obstore
import pyarrow as pa
from boto3.s3.transfer import TransferConfig
from obstore.exceptions import BaseError, GenericError, InvalidPathError
from obstore.store import S3Store
from pyarrow import fs

from pii_pipeline import aws
from pii_pipeline.lake.errors import VersionChanged
from pii_pipeline.lake.naming import hidden_name, is_hidden_name, key_of_path, path_of_key
from pii_pipeline.lake.s3_errors import typed_errors
from pii_pipeline.lake.s3_reading import S3Block, S3File, S3Versions
from pii_pipeline.lake.storage import ObjectInfo, Version

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential

PART_BYTES = 8 << 20
"""Of an upload's part, and of what is uploaded as one. S3 takes 10,000 parts: 80 GB."""
_PARTS_AT_ONCE = 4
_COPIED_AT_ONCE = TransferConfig(multipart_threshold=1 << 30, multipart_chunksize=256 << 20)

RETRIES: RetryConfig = {
    "max_retries": 10,
    "retry_timeout": timedelta(minutes=3),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=15),
        "base": 2,
    },
}
TIMEOUTS: ClientConfig = {
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=30),
    "timeout": timedelta(minutes=5),
}
_DELETED_AT_ONCE = 10
"""As many as boto3 has connections."""
_COPY_SECONDS = 50
"""What S3 may take to copy a part."""
_CREDENTIALS_LAST = timedelta(minutes=6)
"""They are asked for again 5 minutes before; boto3 renews those that expire 10 to 15 minutes before that."""


class S3Prefix:
    """What lies in `bucket` below `prefix`, which has no slash at its ends and may be empty.

    `sse_kms_key_id`: of the key that what is written is encrypted with; None leaves that to the bucket.
    `setting`: where its URI is from, for messages. Goes to other processes as these four; connections are
    made by each for itself, when it first needs one.
    """

    def __init__(self, bucket: str, prefix: str, sse_kms_key_id: str | None, setting: str) -> None:
        self.bucket = bucket
        self._prefix = prefix
        self._sse_kms_key_id = sse_kms_key_id
        self._setting = setting
        self._typed_errors = partial(typed_errors, bucket, setting)

    def __reduce__(self) -> tuple[Any, ...]:
        return S3Prefix, (self.bucket, self._prefix, self._sse_kms_key_id, self._setting)

    def location(self, path: str) -> str:
        """``s3://bucket/key``, the key without NULs; see `path_of_key`."""
        key = path_of_key(self._key(path))
        return f"s3://{self.bucket}/{key}" if key else f"s3://{self.bucket}"

    uri_of = location

    def list(self, prefix: str, after: str | None = None) -> Iterator[ObjectInfo]:
        """All objects below `prefix`, a thousand with each request. Keys that mark folders are none."""
        below = self._key(prefix)
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket,
            Prefix=f"{below}/" if below else "",
            StartAfter="" if after is None else self._key(after),
        )
        with self._typed_errors("ListObjectsV2"):
            for page in pages:
                for found in page.get("Contents", ()):
                    if found["Size"] or not found["Key"].endswith("/"):
                        path = path_of_key(found["Key"][len(self._key("")) + 1 if self._prefix else 0 :])
                        yield self._info(path, found["Size"], found["LastModified"], found["ETag"])

    def info(self, path: str) -> ObjectInfo:
        """Of one object. Raises FileNotFoundError."""
        with self._typed_errors("HeadObject", path):
            found = self._client.head_object(Bucket=self.bucket, Key=self._key(path))
        return self._info(path, found["ContentLength"], found["LastModified"], found["ETag"])

    def put(self, path: str, data: bytes | BinaryIO) -> None:
        """One PUT of what is in memory, or fits into a part of it; else a multipart upload."""
        body: Any = data
        parts = False
        if not isinstance(data, bytes):
            body = _at_most(data, PART_BYTES)
            if parts := len(body) == PART_BYTES:
                body = chain([body], iter(lambda: data.read(PART_BYTES), b""))
        with self._typed_errors("PutObject", path):
            obstore.put(
                self._store,
                self._key(path),
                body,
                use_multipart=parts,
                chunk_size=PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )

    def open_input(self, path: str) -> Any:
        """A `pa.NativeFile` over ranged reads of the version that is there now. Raises FileNotFoundError."""
        file = S3File(partial(self.read, path))
        file.begin()
        return pa.PythonFile(file, mode="r")

    def source(self, path: str) -> tuple[str, fs.FileSystem]:
        """For Arrow's own client: a scan reads in threads of its own, and ends them while it holds Python's
        lock. A file of ours would wait for that lock, and both for ever."""
        return f"{self.bucket}/{self._key(path)}", self._filesystem

    def versions(self, wanted: Sequence[Version]) -> S3Versions:
        """By their ETags, read ahead."""
        return S3Versions(self.read, wanted)

    def read(self, path: str, tag: str | None, wanted: tuple[int, int] | int | None) -> S3Block:
        """Bytes of an object, all of them if `wanted` is None: from and to, or so many at its end.

        Raises `VersionChanged` if its ETag is not `tag`, and FileNotFoundError.
        """
        options: dict[str, Any] = {}
        if tag is not None:
            options["if_match"] = f'"{tag}"'
        if wanted is not None:
            options["range"] = {"suffix": wanted} if isinstance(wanted, int) else wanted
        key = self._key(path)
        with self._typed_errors("GetObject", path):
            if key != key.strip("/"):  # obstore would strip it
                return self._read_unusual(key, tag, wanted)
            try:
                found = obstore.get(self._store, key, options=options)  # type: ignore[arg-type]
                return S3Block(found.range[0], found.meta["size"], _tag(found.meta["e_tag"]), found.bytes())
            except (InvalidPathError, ValueError):
                return self._read_unusual(key, tag, wanted)
            except GenericError as error:
                if not (isinstance(wanted, int) and _NOTHING_TO_RANGE_OVER.search(str(error))):
                    raise
        return self.read(path, tag, None)

    def _read_unusual(self, key: str, tag: str | None, wanted: tuple[int, int] | int | None) -> S3Block:
        """The same for a key that obstore does not take, such as one with an empty part (``a//b``)."""
        options = {} if tag is None else {"IfMatch": f'"{tag}"'}
        if wanted is not None:
            wanted_range = f"-{wanted}" if isinstance(wanted, int) else f"{wanted[0]}-{wanted[1] - 1}"
            options["Range"] = f"bytes={wanted_range}"
        found = self._client.get_object(Bucket=self.bucket, Key=key, **options)
        data = found["Body"].read()
        start, size = 0, len(data)
        if "ContentRange" in found:
            start, size = (int(part) for part in _RANGE.findall(found["ContentRange"])[0])
        return S3Block(start, size, _tag(found["ETag"]), data)

    @contextmanager
    def hidden_output(self, path: str) -> Iterator[tuple[Any, str]]:
        """An object, complete when the block ends; if it raises, its upload is given up."""
        hidden = hidden_name(path)
        with self._typed_errors("PutObject", path):
            writer = obstore.open_writer(
                self._store, self._key(hidden), buffer_size=PART_BYTES, max_concurrency=_PARTS_AT_ONCE
            )
        output = _Output(writer, partial(self._typed_errors, "PutObject", path))
        try:
            with pa.PythonFile(output, mode="w") as sink:
                yield sink, hidden
            output.complete()
        except BaseException as error:
            with suppress(BaseError, OSError):  # it is closed already, or cannot be given up either
                writer.__exit__(type(error), error, error.__traceback__)
            raise

    def publish(self, hidden: str, path: str) -> None:
        """Copies it inside S3, in place of what is there. Raises FileNotFoundError."""
        source = {"Bucket": self.bucket, "Key": self._key(hidden)}
        with self._typed_errors("CopyObject", path):
            self._client.copy(
                source, self.bucket, self._key(path), ExtraArgs=self._encryption, Config=_COPIED_AT_ONCE
            )
        self.delete(hidden)

    def delete(self, path: str) -> None:
        """Deletes an object; it may be gone already."""
        with self._typed_errors("DeleteObject", path):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(path))

    def delete_versions(self, wanted: Sequence[Version]) -> list[Version]:
        """By their ETags: S3 looks at them when it deletes."""
        with ThreadPoolExecutor(_DELETED_AT_ONCE, "s3-delete") as threads:
            done = list(threads.map(self._delete_version, wanted))
        return [item for item, gone in zip(wanted, done, strict=True) if not gone]

    def _delete_version(self, wanted: Version) -> bool:
        try:
            with self._typed_errors("DeleteObject", wanted.path):
                self._client.delete_object(
                    Bucket=self.bucket, Key=self._key(wanted.path), IfMatch=f'"{wanted.tag}"'
                )
        except FileNotFoundError:
            return True
        except VersionChanged:
            return False
        return True

    def sweep(self, prefix: str) -> int:
        """Deletes hidden objects. What somebody is writing is no object yet."""
        left = [info.path for info in self.list(prefix) if is_hidden_name(info.name)]
        for path in left:
            self.delete(path)
        return len(left)

    def _key(self, path: str) -> str:
        key = key_of_path(path)
        return f"{self._prefix}/{key}" if self._prefix and key else self._prefix or key

    def _info(self, path: str, size: int, last_modified: datetime, tag: str) -> ObjectInfo:
        name = path.rpartition("/")[2]
        return ObjectInfo(name, path, self.uri_of(path), size, last_modified.astimezone(UTC), _tag(tag))

    @cached_property
    def _connected(self) -> tuple[boto3.Session, Any]:
        with self._typed_errors("connecting"):
            return _connection(_environment())

    @property
    def _client(self) -> Any:
        return self._connected[1]

    @cached_property
    def _encryption(self) -> dict[str, Any]:
        if self._sse_kms_key_id is None:
            return {}
        return {
            "ServerSideEncryption": "aws:kms",
            "SSEKMSKeyId": self._sse_kms_key_id,
        }

    @cached_property
    def _store(self) -> S3Store:
        session, client = self._connected
        meta = client.meta
        options: ClientConfig = {**TIMEOUTS, "allow_http": meta.endpoint_url.startswith("http://")}
        if certificates := _certificates(session):
            options["root_certificate"] = Path(certificates).read_bytes()
        encryption: S3Config = {}
        if self._sse_kms_key_id is not None:
            encryption = {
                "server_side_encryption": "aws:kms",
                "sse_kms_key_id": self._sse_kms_key_id,
            }
        return S3Store(
            self.bucket,
            config=encryption,
            aws_endpoint_url_s3=meta.endpoint_url,
            region=meta.region_name,
            client_options=options,
            retry_config=RETRIES,
            credential_provider=partial(_credentials, session),
        )

    @cached_property
    def _filesystem(self) -> fs.FileSystem:
        session, client = self._connected
        where = urlsplit(client.meta.endpoint_url)
        with self._typed_errors("connecting"):
            credentials = _credentials(session)
        return fs.S3FileSystem(
            access_key=credentials["access_key_id"],
            secret_key=credentials["secret_access_key"],
            session_token=credentials.get("token"),
            region=client.meta.region_name,
            scheme=where.scheme,
            endpoint_override=where.netloc,
            tls_ca_file_path=_certificates(session),
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=10),
        )


class _Output:
    """What `pa.PythonFile` writes to."""

    closed = False

    def __init__(self, writer: Any, typed: Any) -> None:
        self._writer = writer
        self._typed = typed
        self._position = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")  # Arrow's buffers say that their bytes have a sign
        with self._typed(), _writers_errors():
            self._writer.write(view)
        self._position += len(view)
        return len(view)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Parts go when they are full."""

    def close(self) -> None:
        """The upload is completed by who opened it, if nothing went wrong."""

    def complete(self) -> None:
        with self._typed(), _writers_errors():
            self._writer.close()


@contextmanager
def _writers_errors() -> Iterator[None]:
    """obstore's writers raise as OSError what everything else of it raises as errors of its own."""
    try:
        yield
    except OSError as error:
        raise GenericError(str(error)) from None


_NOTHING_TO_RANGE_OVER = re.compile(r"status code: 416|NotPartial")
"""What is said of the end of an empty object."""
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


def _tag(etag: str | None) -> str:
    return (etag or "").strip('"')


def _at_most(data: BinaryIO, size: int) -> bytes:
    """The next `size` bytes, fewer only at the end; a read of a pipe may give fewer before."""
    parts = []
    while size and (part := data.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _environment() -> frozenset[tuple[str, str]]:
    """What boto3 looks at when a session is made."""
    return frozenset((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))


@lru_cache(maxsize=1)
def _connection(environment: frozenset[tuple[str, str]]) -> tuple[boto3.Session, Any]:
    """The session and its client of S3, which all zones of a process share: it takes long to make them."""
    session = aws.session()
    if session.get_credentials() is None:
        raise aws.no_credentials("NoCredentialsError")
    return session, aws.client(session, "s3", takes=_COPY_SECONDS)


def _certificates(session: boto3.Session) -> str | None:
    """The file of those that the endpoint is trusted by, if they are not the machine's own."""
    return session._session.get_config_variable("ca_bundle")


def _credentials(session: boto3.Session) -> S3Credential:
    found = session.get_credentials()
    assert found is not None, "there were some when the session was made"
    frozen = found.get_frozen_credentials()
    assert frozen.access_key is not None and frozen.secret_key is not None
    return {
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "token": frozen.token,
        "expires_at": datetime.now(UTC) + _CREDENTIALS_LAST,
    }
