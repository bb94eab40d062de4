"""A folder of this machine: objects written atomically, readable by their owner alone.

A file is written under a hidden temporary name in its own folder, synchronised, and renamed: whoever reads
sees the old file or the new one, also after a crash. While it is written its writer holds a lock on it, which
ends with the process: so `sweep` knows the leftovers of a crash from work in progress.

Nothing here tells one version of a file from the next but its bytes: they are hashed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import xxhash
from pyarrow import fs

from pii_pipeline.lake.errors import VersionChanged
from pii_pipeline.lake.naming import hidden_name, is_hidden_name
from pii_pipeline.lake.storage import ObjectInfo, Version

_FILE_MODE = 0o600
_FOLDER_MODE = 0o700
_COPY_BYTES = 1 << 20
_HASHED_BYTES = 1 << 18  # stays in the processor's cache


class Readable(Protocol):
    """The one method of a binary file that hashing uses."""

    def read(self, size: int, /) -> bytes:
        """At most `size` further bytes, none at the end."""
        ...


def content_tag(file: Readable) -> str:
    """Fingerprint of the bytes from here to the end of `file`: XXH3-128, 32 lowercase hex digits."""
    digest = xxhash.xxh3_128()
    while block := file.read(_HASHED_BYTES):
        digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """The folder at `root`, an absolute path."""

    root: str

    def location(self, path: str) -> str:
        """The path of the file."""
        return f"{self.root}/{path}" if path else self.root

    def uri_of(self, path: str) -> str:
        """``file:///…``"""
        return Path(self.location(path)).as_uri()

    def list(self, prefix: str, after: str | None = None) -> Iterator[ObjectInfo]:
        """All files below `prefix`."""
        selector = fs.FileSelector(self.location(prefix), recursive=True, allow_not_found=True)
        found = {
            entry.path[len(self.root) + 1 :]: entry
            for entry in fs.LocalFileSystem().get_file_info(selector)
            if entry.type == fs.FileType.File
        }
        for path in sorted(found):
            if after is None or path > after:
                yield self._info(path, found[path])

    def info(self, path: str) -> ObjectInfo:
        """Of one file. Raises FileNotFoundError."""
        entry = fs.LocalFileSystem().get_file_info(self.location(path))
        if entry.type != fs.FileType.File:
            raise FileNotFoundError(f"{path} is no file")
        return self._info(path, entry)

    def put(self, path: str, data: bytes | BinaryIO) -> None:
        """Writes a file; its readers see the old one or the new one."""
        with self._output(path, publish=True) as (sink, _):
            if isinstance(data, bytes):
                sink.write(data)
            else:
                while block := data.read(_COPY_BYTES):
                    sink.write(block)

    def open_input(self, path: str) -> Any:
        """A `pa.NativeFile`. Raises FileNotFoundError."""
        return fs.LocalFileSystem().open_input_file(self.location(path))

    def source(self, path: str) -> tuple[str, Any]:
        """As it is."""
        return self.location(path), fs.LocalFileSystem()

    def versions(self, wanted: Sequence[Version]) -> LocalVersions:
        """Each hashed before it is read, and again while it is."""
        return LocalVersions(self, wanted)

    def hidden_output(self, path: str) -> AbstractContextManager[tuple[Any, str]]:
        """A file beside `path`, synchronised when the block ends, and gone if it raises."""
        return self._output(path, publish=False)

    def publish(self, hidden: str, path: str) -> None:
        """Renames it, in place of what is there. Raises FileNotFoundError."""
        target = Path(self.location(path))
        Path(self.location(hidden)).replace(target)
        _sync_folder(target.parent)

    def delete(self, path: str) -> None:
        """Deletes a file; it may be gone already."""
        Path(self.location(path)).unlink(missing_ok=True)

    def delete_versions(self, wanted: Sequence[Version]) -> list[Version]:
        """Each hashed first, and then deleted if it is still the file that was hashed."""
        return [item for item in wanted if not _delete_version(Path(self.location(item.path)), item.tag)]

    def sweep(self, prefix: str) -> int:
        """Deletes what crashed writers left; what a living process is writing stays."""
        swept = 0
        for folder, _, names in os.walk(self.location(prefix)):
            for name in filter(is_hidden_name, names):
                swept += _sweep(Path(folder, name))
        return swept

    @contextmanager
    def _output(self, path: str, publish: bool) -> Iterator[tuple[Any, str]]:
        _make_folder(Path(self.location(path)).parent)
        hidden, descriptor = self._create_hidden(path)
        temporary = Path(self.location(hidden))
        try:
            with pa.OSFile(str(temporary), "wb") as sink:
                yield sink, hidden
            os.fsync(descriptor)
            if publish:  # while the lock is held: no sweep may come between
                self.publish(hidden, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def _create_hidden(self, path: str) -> tuple[str, int]:
        """A new empty file, ours alone whatever the umask, and its locked descriptor."""
        while True:
            hidden = hidden_name(path)
            descriptor = os.open(self.location(hidden), os.O_CREAT | os.O_EXCL | os.O_WRONLY, _FILE_MODE)
            os.fchmod(descriptor, _FILE_MODE)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return hidden, descriptor
            os.close(descriptor)  # a sweep came between creating and locking

    def _info(self, path: str, entry: Any) -> ObjectInfo:
        return ObjectInfo(entry.base_name, path, self.uri_of(path), entry.size, entry.mtime)


class LocalVersions:
    """Versions of files, told by their content."""

    def __init__(self, folder: LocalFolder, wanted: Sequence[Version]) -> None:
        self._folder = folder
        self._wanted = wanted

    def open(self, index: int) -> HashedFile:
        """Hashed before it is read: of a file that was overwritten no byte must come out, since it will be
        sealed again as what it is now."""
        path, _, tag = self._wanted[index]
        file = self._folder.open_input(path)
        if content_tag(file) != tag:
            file.close()
            raise VersionChanged(_CHANGED)
        file.seek(0)
        return HashedFile(file, tag)


class HashedFile:
    """A file that is hashed while it is read, since it may be overwritten meanwhile."""

    def __init__(self, file: Any, tag: str) -> None:
        self._file = file
        self._tag = tag
        self._digest = xxhash.xxh3_128()

    def read(self, size: int, /) -> bytes:
        """At most `size` further bytes. Raises `VersionChanged` at the end if they were others."""
        block = self._file.read(size)
        self._digest.update(block)
        if not block and self._digest.hexdigest() != self._tag:
            raise VersionChanged(_CHANGED)
        return block

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


_CHANGED = "the object has other bytes than when it was sealed"


def _delete_version(file: Path, tag: str) -> bool:
    """Whether nothing of that content lies there now: it was deleted, or there was no file."""
    try:
        with file.open("rb") as opened:
            before = os.fstat(opened.fileno())
            if content_tag(opened) != tag or _version_of(file.stat()) != _version_of(before):
                return False
        file.unlink()
    except FileNotFoundError:
        pass
    return True


def _version_of(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _sweep(temporary: Path) -> bool:
    try:
        descriptor = os.open(temporary, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink()
    except (BlockingIOError, FileNotFoundError):
        return False
    finally:
        os.close(descriptor)
    return True


def _make_folder(folder: Path) -> None:
    """Makes `folder` and what is missing above it; folders that are there keep their mode."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(_FOLDER_MODE)
        folder.chmod(_FOLDER_MODE)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
