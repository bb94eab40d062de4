"""Whole objects in and out of a zone: written atomically, readable by their owner alone.

A local file is written under a hidden temporary name in its own folder, synchronised, and renamed: whoever
reads sees the old file or the new one, also after a crash. While it is written its writer holds a lock on
it, which ends with the process: so `sweep_temporaries` knows the leftovers of a crash from work in progress.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import fs

from pii_pipeline.lake.zones import Zone

_FILE_MODE = 0o600
_FOLDER_MODE = 0o700
_COPY_BYTES = 1 << 20
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object of a zone. `path` is relative to the zone, `size` in bytes, `last_modified` in UTC."""

    name: str
    path: str
    uri: str
    size: int
    last_modified: datetime


def put(zone: Zone, path: str, data: bytes | BinaryIO) -> ObjectInfo:
    """Writes `data` (a file is read from where it stands to its end), replacing what was there."""
    with atomic_output(zone, path) as sink:
        if isinstance(data, bytes):
            sink.write(data)
        else:
            while block := data.read(_COPY_BYTES):
                sink.write(block)
    return _info(zone, path, zone.filesystem.get_file_info(zone.path(path)))


def open_input(zone: Zone, path: str) -> BinaryIO:
    """Opens an object for reading, with seeking. Raises FileNotFoundError."""
    return zone.filesystem.open_input_file(zone.path(path))


def list_objects(zone: Zone, prefix: str = "", after: str | None = None) -> list[ObjectInfo]:
    """All objects in the folder `prefix` and below, ordered by path; none if there is no such folder.

    `after`: only those whose path comes after this one.

    Hidden names (a dot in front) are not listed: they are unfinished, ours or another writer's.
    """
    base = zone.path(prefix.rstrip("/"))
    found = zone.filesystem.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
    return sorted(
        (
            _info(zone, entry.path[len(zone.root) + 1 :], entry)
            for entry in found
            if entry.type == fs.FileType.File
            and not entry.base_name.startswith(".")
            and (after is None or entry.path[len(zone.root) + 1 :] > after)
        ),
        key=lambda info: info.path,
    )


def delete(zone: Zone, path: str) -> None:
    """Deletes an object; it may be gone already."""
    with suppress(FileNotFoundError):
        zone.filesystem.delete_file(zone.path(path))


def sweep_temporaries(zone: Zone, prefix: str = "") -> int:
    """Deletes what crashed writers left in the folder `prefix` and below; gives how many files.

    What a living process is writing stays.
    """
    swept = 0
    for folder, _, names in os.walk(zone.path(prefix.rstrip("/"))):
        for name in filter(_TEMPORARY.fullmatch, names):
            swept += _sweep(Path(folder, name))
    return swept


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


@contextmanager
def atomic_output(zone: Zone, path: str) -> Iterator[Any]:
    """A `pa.NativeFile` to write to; the object is there when the block ends, and not if it raises."""
    with _output(zone, path, publish=True) as (sink, _):
        yield sink


@contextmanager
def hidden_output(zone: Zone, path: str) -> Iterator[tuple[Any, str]]:
    """A `pa.NativeFile` to write to, and the hidden path under which it lies until `publish`.

    From the end of the block until then it is a leftover to any `sweep_temporaries`.
    """
    with _output(zone, path, publish=False) as (sink, temporary):
        yield sink, str(PurePosixPath(path).with_name(temporary.name))


def publish(zone: Zone, hidden: str, path: str) -> None:
    """Gives what `hidden_output` wrote its name, in place of what has it. Raises FileNotFoundError."""
    _rename(Path(zone.path(hidden)), Path(zone.path(path)))


@contextmanager
def _output(zone: Zone, path: str, publish: bool) -> Iterator[tuple[Any, Path]]:
    target = Path(zone.path(path))
    _make_folder(target.parent)
    temporary, descriptor = _create_temporary(target)
    try:
        with pa.OSFile(str(temporary), "wb") as sink:
            yield sink, temporary
        os.fsync(descriptor)
        if publish:
            _rename(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _create_temporary(target: Path) -> tuple[Path, int]:
    """A new empty file beside `target`, ours alone whatever the umask, and its locked descriptor."""
    while True:
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _FILE_MODE)
        os.fchmod(descriptor, _FILE_MODE)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)  # a sweep came between creating and locking


def _rename(temporary: Path, target: Path) -> None:
    temporary.replace(target)
    _sync_folder(target.parent)


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


def _info(zone: Zone, path: str, entry: Any) -> ObjectInfo:
    return ObjectInfo(entry.base_name, path, zone.uri_of(path), entry.size, entry.mtime)
