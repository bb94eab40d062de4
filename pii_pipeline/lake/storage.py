"""What a zone asks of the place it is in. Paths are relative to the zone and checked by it already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object of a zone. `path` is relative to the zone, `size` in bytes, `last_modified` in UTC.

    tag: of its version, where the storage's listing has one; see `tag_of`
    """

    name: str
    path: str
    uri: str
    size: int
    last_modified: datetime
    tag: str | None = None

    @property
    def hidden(self) -> bool:
        """Whether it is unfinished, ours or another writer's: its name begins with a dot."""
        return self.name.startswith(".")


class Version(NamedTuple):
    """An object as it was when it was sealed: `size` in bytes, `tag` of `tag_of`."""

    path: str
    size: int
    tag: str


class VersionFile(Protocol):
    """A version of an object, read from its beginning.

    Raises `VersionChanged` or FileNotFoundError when it finds that the version is not there any more: at the
    latest at the end, which has to be read.
    """

    def read(self, size: int, /) -> bytes:
        """At most `size` further bytes, none at the end."""
        ...

    def close(self) -> None:
        """Frees what it holds."""
        ...


class Versions(Protocol):
    """Versions that are read one after the other, in their order."""

    def open(self, index: int) -> VersionFile:
        """The version of that number. Raises `VersionChanged` or FileNotFoundError if it is not there."""
        ...


class Storage(Protocol):
    """A folder of a filesystem, or a bucket from a prefix on."""

    def location(self, path: str) -> str:
        """`path` as other tools open it."""
        ...

    def uri_of(self, path: str) -> str:
        """`path` as a URI."""
        ...

    def list(self, prefix: str, after: str | None = None) -> Iterator[ObjectInfo]:
        """All objects in the folder `prefix` and below whose paths come after `after`, hidden ones too, in
        the order of their paths."""
        ...

    def info(self, path: str) -> ObjectInfo:
        """What a listing says of the object. Raises FileNotFoundError."""
        ...

    def put(self, path: str, data: bytes | BinaryIO) -> None:
        """Writes an object; it is there as a whole or not at all."""
        ...

    def open_input(self, path: str) -> Any:
        """A `pa.NativeFile` with seeking. Raises FileNotFoundError."""
        ...

    def source(self, path: str) -> tuple[str, Any]:
        """What `pyarrow.dataset` opens when it is scanned: a path, and the `pyarrow.fs` it is in."""
        ...

    def versions(self, wanted: Sequence[Version]) -> Versions:
        """To be read one after the other."""
        ...

    def hidden_output(self, path: str) -> AbstractContextManager[tuple[Any, str]]:
        """A `pa.NativeFile` to write to, and the hidden path where it lies after the block."""
        ...

    def publish(self, hidden: str, path: str) -> None:
        """Gives what lies at `hidden` its name. Raises FileNotFoundError."""
        ...

    def delete(self, path: str) -> None:
        """Deletes an object; it may be gone already."""
        ...

    def delete_versions(self, wanted: Sequence[Version]) -> list[Version]:
        """Deletes these objects unless they have other bytes by now; those that have."""
        ...

    def sweep(self, prefix: str) -> int:
        """Deletes what lies hidden in the folder `prefix` and below and nobody is writing; how many."""
        ...
