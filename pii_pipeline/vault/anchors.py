"""Anchors of the audit log, kept away from its database: which entry had which hash, and when.

`PII_VAULT_ANCHORS` says where: a bucket (``s3://bucket/prefix``), where Object Lock in COMPLIANCE mode lets
nobody delete them until their time is over; or a folder (``file:///…``), where who may write may also delete.

All that an anchor says is in its name, so to list them is to read them, and to overwrite one changes nothing:

    {number, 20 digits}_{time, UTC}_{hash, 64 hex digits}_{seal, 64 hex digits}.json
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from pii_pipeline import aws
from pii_pipeline.database.files import make_private_directories
from pii_pipeline.vault.chain import AuditKey
from pii_pipeline.vault.errors import VaultSettingError, VaultUnavailable
from pii_pipeline.vault.stores import Entry

SETTING = "PII_VAULT_ANCHORS"

_NAME = re.compile(r"(\d{20})_(\d{8}T\d{6}Z)_([0-9a-f]{64})_([0-9a-f]{64})\.json")
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Anchor:
    """That entry `sequence` had this hash. seal: of all of it, under the audit key (`chain`)."""

    sequence: int
    at: datetime
    hash: bytes
    seal: bytes

    @classmethod
    def of(cls, entry: Entry, at: datetime, key: AuditKey) -> Anchor:
        """Of an entry that is in the log."""
        at = at.replace(microsecond=0)
        return cls(entry.sequence, at, entry.hash, key.anchor(entry.sequence, entry.hash, _written(at)))

    def is_genuine(self, key: AuditKey) -> bool:
        """Whether it was made with this key."""
        return key.anchor(self.sequence, self.hash, _written(self.at)) == self.seal

    @property
    def name(self) -> str:
        """All of it, as a file is called."""
        return f"{self.sequence:020}_{_written(self.at)}_{self.hash.hex()}_{self.seal.hex()}.json"

    @property
    def body(self) -> bytes:
        """The same, to be read by people."""
        content = {
            "number": self.sequence,
            "at": self.at.astimezone(UTC).isoformat(timespec="seconds"),
            "hash": self.hash.hex(),
            "seal": self.seal.hex(),
        }
        return json.dumps(content, indent=2).encode() + b"\n"


class Anchors(Protocol):
    """Where they are kept. Both raise `VaultUnavailable` and `VaultSettingError`."""

    def write(self, anchor: Anchor) -> None:
        """Keeps it, durably."""
        ...

    def all(self) -> Iterator[Anchor]:
        """By number, the lowest first. What is not called as an anchor is none."""
        ...


def open_anchors(uri: str, retention: timedelta) -> Anchors:
    """Where `uri` says; connects when it is first used. `retention`: how long S3 is to keep each.

    Raises `VaultSettingError`.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3" and parts.netloc:
        return S3Anchors(parts.netloc, parts.path.strip("/"), retention)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return FolderAnchors(Path(unquote(parts.path)))
    raise VaultSettingError(f"{SETTING}: no place for anchors — write s3://BUCKET/PREFIX or file:///FOLDER")


class FolderAnchors:
    """Files that their owner alone may read. Not proof against who may write there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, anchor: Anchor) -> None:
        """A new file, synchronised."""
        try:
            make_private_directories(self._folder)
            file = self._folder / anchor.name
            with suppress(FileExistsError), open(file, "xb", opener=_private) as output:
                output.write(anchor.body)
                output.flush()
                os.fsync(output.fileno())
            _synchronise(self._folder)
        except OSError as error:
            raise VaultUnavailable(f"{SETTING}: the folder cannot be written to ({error.strerror})") from None

    def all(self) -> Iterator[Anchor]:
        """From the names of the files."""
        try:
            names = sorted(file.name for file in self._folder.iterdir()) if self._folder.exists() else []
        except OSError as error:
            raise VaultUnavailable(f"{SETTING}: the folder cannot be read ({error.strerror})") from None
        yield from filter(None, map(_parsed, names))


class S3Anchors:
    """Objects that nobody can delete before their time. All versions count, whatever was put over them."""

    def __init__(self, bucket: str, prefix: str, retention: timedelta) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._retention = retention

    def write(self, anchor: Anchor) -> None:
        """A PUT with its Object Lock."""
        self._call(
            "PutObject",
            self._client.put_object,
            Bucket=self._bucket,
            Key=f"{self._prefix}{anchor.name}",
            Body=anchor.body,
            ContentType="application/json",
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=anchor.at + self._retention,
        )

    def all(self) -> Iterator[Anchor]:
        """From the keys, a thousand with each request; what has a delete marker over it too."""
        last = None
        pages = self._client.get_paginator("list_object_versions").paginate(
            Bucket=self._bucket, Prefix=self._prefix
        )
        pages = iter(pages)
        while page := self._call("ListObjectVersions", next, pages, {}):
            for version in page.get("Versions", ()):
                anchor = _parsed(version["Key"].removeprefix(self._prefix))
                if anchor is not None and anchor != last:
                    yield anchor
                last = anchor

    @cached_property
    def _client(self) -> Any:
        return self._call("the session", lambda: aws.client(aws.session(), "s3"))

    def _call(self, operation: str, function: Any, *arguments: Any, **named: Any) -> Any:
        try:
            with aws.typed_errors():
                return function(*arguments, **named)
        except aws.AwsError as error:
            raised = _explained(f"{SETTING}: s3://{self._bucket}: {operation}", error)
        raise raised


def _explained(what: str, error: aws.AwsError) -> VaultUnavailable | VaultSettingError:
    if error.code == "InvalidRequest":
        mend = "make a bucket with Object Lock, which S3 gives to new ones alone"
        return VaultSettingError(f"{what} is refused: the bucket has no Object Lock — {mend}")
    if error.code == "NoSuchBucket":
        return VaultSettingError(f"{what}: there is no such bucket — make it, with Object Lock")
    if error.kind == "denied":
        wanted = error.permission or "s3:PutObject, s3:PutObjectRetention and s3:ListBucketVersions"
        return VaultSettingError(f"{what} is denied — allow {wanted}")
    kind = VaultUnavailable if error.kind == "unavailable" else VaultSettingError
    return kind(f"{what}: {error}")


def _parsed(name: str) -> Anchor | None:
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        at = datetime.strptime(found[2], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Anchor(int(found[1]), at, bytes.fromhex(found[3]), bytes.fromhex(found[4]))


def _written(at: datetime) -> str:
    return at.astimezone(UTC).strftime(_TIME)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _synchronise(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
