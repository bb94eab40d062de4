"""Whole objects in and out of a zone, the same for a local folder and a bucket: what is written is there as a
whole or not at all, and what is read is one version of it from its beginning to its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, BinaryIO

from pii_pipeline.lake.local import content_tag
from pii_pipeline.lake.storage import ObjectInfo, Version, Versions
from pii_pipeline.lake.zones import Zone


def put(zone: Zone, path: str, data: bytes | BinaryIO) -> ObjectInfo:
    """Writes `data` (a file is read from where it stands to its end), replacing what was there."""
    zone.storage.put(zone.checked(path), data)
    return zone.storage.info(path)


def open_input(zone: Zone, path: str) -> Any:
    """Opens an object for reading, as a `pa.NativeFile` with seeking. Raises FileNotFoundError."""
    return zone.storage.open_input(zone.checked(path))


def list_objects(zone: Zone, prefix: str = "") -> list[ObjectInfo]:
    """All objects in the folder `prefix` and below, ordered by path; none if there is no such folder.

    Hidden ones are not listed.
    """
    return list(walk_objects(zone, prefix))


def walk_objects(zone: Zone, prefix: str = "", after: str | None = None) -> Iterator[ObjectInfo]:
    """The same, one after the other while they are listed; `after`: those whose path comes after this one."""
    found = zone.storage.list(zone.checked(prefix.rstrip("/")), after)
    return (info for info in found if not info.hidden)


def tag_of(zone: Zone, info: ObjectInfo) -> str:
    """What tells the version that was listed from others under its path: the storage's own tag of it (S3's
    ETag), or else a hash of its bytes, which are read for it. Raises FileNotFoundError."""
    if info.tag is not None:
        return info.tag
    with zone.storage.open_input(zone.checked(info.path)) as file:
        return content_tag(file)


def tag_now(zone: Zone, path: str) -> str:
    """The same of the version that is under `path` now. Raises FileNotFoundError."""
    return tag_of(zone, zone.storage.info(_listed(zone, path)))


def open_versions(zone: Zone, wanted: Sequence[Version]) -> Versions:
    """The `wanted` objects, to be read one after the other, each as the version that has its tag."""
    return zone.storage.versions(wanted)


def delete(zone: Zone, path: str) -> None:
    """Deletes an object; it may be gone already."""
    zone.storage.delete(zone.checked(path))


def delete_versions(zone: Zone, wanted: Sequence[Version]) -> list[Version]:
    """Deletes the `wanted` objects, each only as the version that has its tag; they may be gone already.

    Returns those that were overwritten since: what lies under their paths now stays.
    """
    return zone.storage.delete_versions([item._replace(path=_listed(zone, item.path)) for item in wanted])


def sweep_temporaries(zone: Zone, prefix: str = "") -> int:
    """Deletes what crashed writers left in the folder `prefix` and below; gives how many files.

    What a living process is writing stays.
    """
    return zone.storage.sweep(zone.checked(prefix.rstrip("/")))


def _listed(zone: Zone, path: str) -> str:
    """A path as a listing gave it: in a bucket ".." is a name like any other, and leads nowhere."""
    return path if zone.uri.startswith("s3://") else zone.checked(path)


def hidden_output(zone: Zone, path: str) -> AbstractContextManager[tuple[Any, str]]:
    """A `pa.NativeFile` to write to, and the hidden path under which it lies from the end of the block until
    `publish`; if the block raises, it does not.

    Until it is published it is a leftover to any `sweep_temporaries`.
    """
    return zone.storage.hidden_output(zone.checked(path))


def publish(zone: Zone, hidden: str, path: str) -> None:
    """Gives what `hidden_output` wrote its name, in place of what has it. Raises FileNotFoundError."""
    zone.storage.publish(zone.checked(hidden), zone.checked(path))
