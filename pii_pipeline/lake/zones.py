"""Zones: who may read what lies there. A path belongs to exactly one of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path, PurePosixPath
from typing import Literal, get_args
from urllib.parse import unquote, urlsplit

from pii_pipeline.lake.errors import UnsupportedStorage
from pii_pipeline.lake.local import LocalFolder
from pii_pipeline.lake.storage import Storage

ZoneName = Literal["landing", "restricted", "lake", "consented"]

COMMON_SETTING = "PII_STORAGE_URI"
"""Says where all zones are folders."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_S3 = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/(?P<prefix>[^/].*))?")
_S3_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()=-]+(/[A-Za-z0-9!_.*'()=-]+)*")  # what needs no escaping anywhere


@dataclass(frozen=True, slots=True)
class Zone:
    """A folder of this machine, or a bucket from a prefix on. Paths inside it are relative, their parts
    parted by ``/``.

    uri: the root as a URI, without a slash at the end
    root: the root as other tools open it
    """

    name: ZoneName
    uri: str
    root: str
    storage: Storage = field(compare=False, repr=False)

    @classmethod
    def at(cls, name: ZoneName, location: str | Path, sse_kms_key_id: str | None = None) -> Zone:
        """The zone at `location`: a local path (a relative one counts from here), a ``file://`` URI, or
        ``s3://bucket/prefix``.

        `sse_kms_key_id`: of the key that S3 encrypts what is written with; None leaves that to the bucket.
        Nothing is made or touched. Raises `UnsupportedStorage` for anything else.
        """
        text = str(location)
        scheme = _SCHEME.match(text)
        storage: Storage
        if scheme and scheme[1] == "s3":
            storage = _s3_prefix(name, text.rstrip("/"), sse_kms_key_id)
        elif scheme and scheme[1] != "file":
            problem = f"storage {scheme[1]}: is not supported"
            raise _unsupported(name, problem, "a path, file:///path or s3://bucket/prefix")
        else:
            storage = _local_folder(name, text, is_uri=scheme is not None)
        return cls(name, storage.uri_of(""), storage.location(""), storage)

    def checked(self, path: str) -> str:
        """`path`, relative to this zone. Raises ValueError if it leads out of the zone."""
        if path.startswith("/") or ".." in PurePosixPath(path).parts or "\0" in path:
            raise ValueError(f"a path of the {self.name} zone must be relative and stay inside it")
        return path

    def path(self, path: str) -> str:
        """`path` of this zone as other tools open it: a local path, or ``s3://bucket/key``. Raises ValueError
        if it leads out of the zone."""
        return self.storage.location(self.checked(path))

    def uri_of(self, path: str) -> str:
        """`path` of this zone as a URI."""
        return self.storage.uri_of(self.checked(path))


def setting_of(name: str) -> str:
    """The variable that says where the zone is, if it is not below `PII_STORAGE_URI`."""
    return f"PII_{name.upper()}_URI"


def _unsupported(name: str, problem: str, form: str) -> UnsupportedStorage:
    return UnsupportedStorage(f"{setting_of(name)}: {problem} — write {form}, in it or in {COMMON_SETTING}")


def _local_folder(name: str, text: str, is_uri: bool) -> LocalFolder:
    if is_uri:
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise _unsupported(name, "no file's URI", "file:///path")
        text = unquote(parts.path)
    return LocalFolder(str(Path(text).expanduser().resolve()))


def _s3_prefix(name: str, text: str, sse_kms_key_id: str | None) -> Storage:
    match = _S3.fullmatch(text)
    prefix = (match["prefix"] or "") if match else ""
    harmless = not prefix or (_S3_PREFIX.fullmatch(prefix) and not {".", ".."} & set(prefix.split("/")))
    if match is None or not harmless:
        form = "s3://bucket or s3://bucket/prefix, the prefix in letters, digits and !_.*'()=-"
        raise _unsupported(name, "no S3 URI", form)
    from pii_pipeline.lake.s3 import S3Prefix  # boto3 takes half a second to import

    return S3Prefix(match["bucket"], prefix, sse_kms_key_id, f"{setting_of(name)} or {COMMON_SETTING}")


@dataclass(frozen=True, slots=True)
class Zones:
    """The four zones of an installation."""

    landing: Zone
    restricted: Zone
    lake: Zone
    consented: Zone

    def __post_init__(self) -> None:
        zones = [getattr(self, name) for name in get_args(ZoneName)]
        for inner, outer in permutations(zones, 2):
            if f"{inner.uri}/".startswith(f"{outer.uri}/"):
                raise ValueError(
                    f"the {inner.name} zone lies inside the {outer.name} zone: whoever reads one reads both"
                    f" — mend PII_{inner.name.upper()}_URI or PII_{outer.name.upper()}_URI"
                )

    @classmethod
    def under(cls, storage: str | Path, **overrides: str | Path | None) -> Zones:
        """The folders ``landing``, ``restricted``, ``lake`` and ``consented`` under `storage`.

        `overrides`: other locations by zone name; None leaves the zone where it is.
        """
        if unknown := set(overrides) - set(get_args(ZoneName)):
            raise ValueError(f"there is no zone {sorted(unknown)[0]}")
        base = str(storage).rstrip("/")
        return cls(
            **{name: Zone.at(name, overrides.get(name) or f"{base}/{name}") for name in get_args(ZoneName)}
        )
