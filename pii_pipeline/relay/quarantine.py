"""Where records go that cannot be read: as they came, under the reason, for whoever may see originals.

    PLACE/REASON/STREAM/SHARD/SEQUENCE-NUMBER

They may hold originals in clear, so the place is to be one that nobody else reads: a bucket of its own, under
a key of its own by which S3 encrypts what is put there. A record that comes again takes the place of itself.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from pii_pipeline import aws
from pii_pipeline.relay.settings import RelaySettingError

SETTING = "PII_RELAY_QUARANTINE"


class Quarantine(Protocol):
    """A place for records."""

    def put(self, name: str, record: bytes, until: float) -> bool:
        """Whether it is kept there, durably; `name`: parts between strokes. Tries no more after `until`
        (`time.monotonic`)."""
        ...


def open_quarantine(uri: str) -> Quarantine:
    """Raises `RelaySettingError`."""
    parts = urlsplit(uri)
    if parts.scheme == "s3" and parts.netloc:
        return S3Quarantine(parts.netloc, parts.path.strip("/"))
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return FolderQuarantine(Path(unquote(parts.path)))
    raise RelaySettingError(f"{SETTING}: no place — write s3://BUCKET/PREFIX or file:///FOLDER")


class S3Quarantine:
    """Objects, encrypted as their bucket does it."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._until: float | None = None
        self._client: Any = None

    def put(self, name: str, record: bytes, until: float) -> bool:
        """See `Quarantine`."""
        try:
            with aws.typed_errors():
                if until != self._until:  # a client is in a hurry for one batch
                    self._client, self._until = aws.client(aws.session(), "s3", until=until), until
                self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=record)
        except aws.AwsError:
            return False
        return True


class FolderQuarantine:
    """Files that their owner alone may read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, record: bytes, until: float) -> bool:
        """See `Quarantine`."""
        if time.monotonic() >= until:
            return False
        file = self._folder / name
        hidden = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            for folder in reversed((self._folder, *file.relative_to(self._folder).parents)):
                (self._folder / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(hidden, "wb", opener=_private) as output:
                output.write(record)
                output.flush()
                os.fsync(output.fileno())
            hidden.replace(file)
        except OSError:
            return False
        return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
