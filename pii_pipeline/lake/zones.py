"""Zones: who may read what lies there. A path belongs to exactly one of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args
from urllib.parse import unquote, urlsplit

from pyarrow import fs

ZoneName = Literal["landing", "restricted", "lake", "consented"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


class UnsupportedStorage(ValueError):
    """The URI names a kind of storage that is not there."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A folder of a filesystem. Paths inside it are relative, with ``/`` between their parts.

    uri: the root as a URI, without a slash at the end
    filesystem: `pyarrow.fs.FileSystem`; `root` is the root as this filesystem writes it
    """

    name: ZoneName
    uri: str
    root: str
    filesystem: Any = field(compare=False, repr=False)

    @classmethod
    def at(cls, name: ZoneName, location: str | Path) -> Zone:
        """The zone at `location`: a local path (a relative one counts from here) or a ``file://`` URI.

        Nothing is made or touched. Raises `UnsupportedStorage` for any other scheme.
        """
        text = str(location)
        if _SCHEME.match(text):
            parts = urlsplit(text)
            if parts.scheme != "file":
                raise UnsupportedStorage(
                    f"{name} zone: storage {parts.scheme}: is not supported; use a path or file:///path"
                )
            if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
                raise UnsupportedStorage(f"{name} zone: a file URI is written file:///path")
            text = unquote(parts.path)
        root = Path(text).expanduser().resolve()
        return cls(name, root.as_uri(), str(root), fs.LocalFileSystem())

    def path(self, path: str) -> str:
        """`path` of this zone as its filesystem writes it. Raises ValueError if it leads out of the zone."""
        if path.startswith("/") or ".." in PurePosixPath(path).parts or "\0" in path:
            raise ValueError(f"a path of the {self.name} zone must be relative and stay inside it")
        return f"{self.root}/{path}" if path else self.root

    def uri_of(self, path: str) -> str:
        """`path` of this zone as a URI."""
        return Path(self.path(path)).as_uri()


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
