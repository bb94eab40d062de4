"""Files that hold the rows of several batches: put together, and taken apart before a batch is made again.

Commits change their files in one transaction. Who asks the ledger for the files of a dataset, and reads each
of them once, meets every row once, whenever that is.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import pyarrow as pa

from pii_pipeline.lake import (
    UnreadableFile,
    Zone,
    data_file,
    parquet_schema,
    publish,
    read_parquet,
    write_parquet,
)
from pii_pipeline.ledger import CommittedFile, Lease, LeaseLost, Part, hour_start
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.made import MadeFile

_DIGITS = 16


@dataclass(frozen=True)
class HeldFile:
    """A committed file of one layer and what it holds of each batch, in order of its rows."""

    dataset: str
    path: str
    bytes: int
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """All of its rows: what a commit held and holds no more is in no file."""
        return sum(part.file.rows for part in self.parts)

    @property
    def batches(self) -> set[str]:
        """Whose rows it holds."""
        return {part.batch_id for part in self.parts}


def held_files(parts: Iterable[Part]) -> list[HeldFile]:
    """The files of `parts` of one stream and hour, in order of their first batches."""
    found: dict[str, list[Part]] = {}
    for part in sorted(parts, key=lambda part: (part.layer, part.number, part.position)):
        found.setdefault(part.file.path, []).append(part)
    return [
        HeldFile(
            of_file[0].file.dataset,
            path,
            of_file[0].file.bytes,
            tuple(sorted(of_file, key=lambda part: part.file.first_row)),
        )
        for path, of_file in found.items()
    ]


def put_together(
    installation: Installation,
    lease: Lease,
    stream: str,
    hour: str,
    files: Sequence[HeldFile],
    schema: pa.Schema,
    grace: timedelta,
) -> CommittedFile:
    """Makes one file of the `files` of one dataset, whose columns are `schema`; gives it, all its rows.

    The old ones stay for `grace`. The same files give the same one, to the byte. Raises `UnreadableFile`, and
    what `Ledger.exchange` raises.
    """
    before = [part for file in files for part in file.parts]
    first, last = before[0], max(before, key=lambda part: part.number)
    name = f"{first.batch_id}-to-{last.number:04d}"
    dataset, zone = files[0].dataset, installation.zone_holding(files[0].dataset)
    path = data_file(stream, dataset, hour_start(hour), name, _digest(files))
    begins = {}
    with write_parquet(zone, path, schema) as out:
        for file in files:
            begins[file.path] = out.rows
            for rows in _all_of(zone, file):
                out.write(rows)
    made = MadeFile.of(dataset, path, out)
    after = [_moved(part, made.file, begins[part.file.path] + part.file.first_row) for part in before]
    (named,) = _exchange(installation, lease, stream, hour, [made], before, after, grace)
    return named


def take_apart(
    installation: Installation, lease: Lease, stream: str, hour: str, layer: str, batches: Collection[str]
) -> None:
    """Gives each batch a file of its own in a layer, where one of `batches` shares one, since it is about to
    be made again; from what is in the file, whatever became of its inputs.

    Files of the layer that nobody holds go at once: what is made again may be so because somebody must not be
    in it any more. If the shared file is gone, it is gone for each of its batches.
    """
    parts = [part for part in installation.ledger.parts(stream, hour) if part.layer == layer]
    shared = [file for file in held_files(parts) if len(file.batches) > 1 and file.batches & {*batches}]
    written: list[MadeFile] = []
    before: list[Part] = []
    after: list[Part] = []
    for file in shared:
        own = [_own_file(part, stream, hour) for part in file.parts]
        with suppress(FileNotFoundError):
            made = _split(installation.zone_holding(file.dataset), file, [item.file for item in own])
            own = [_moved(part, item.file, 0) for part, item in zip(own, made, strict=True)]
            written += made
        before += file.parts
        after += own
    if before:
        _exchange(installation, lease, stream, hour, written, before, after, timedelta(0))
    installation.ledger.remove_unheld(stream, hour, lease, installation.delete, layer)


def _own_file(part: Part, stream: str, hour: str) -> Part:
    path = data_file(stream, part.file.dataset, hour_start(hour), part.batch_id, part.fingerprint)
    return replace(part, file=replace(part.file, path=path, bytes=0, first_row=0))


def _split(zone: Zone, file: HeldFile, own: Sequence[CommittedFile]) -> list[MadeFile]:
    """The rows of each part of `file` in the file that is its `own`. Raises FileNotFoundError."""
    schema = parquet_schema(zone, file.path)
    source = _all_of(zone, file)
    rest = pa.RecordBatch.from_pylist([], schema)
    made = []
    for target in own:
        with write_parquet(zone, target.path, schema) as out:
            while out.rows < target.rows:
                rest = rest if rest.num_rows else next(source)
                rows = rest.slice(0, target.rows - out.rows)
                out.write(rows)
                rest = rest.slice(rows.num_rows)
        made.append(MadeFile.of(target.dataset, target.path, out))
    deque(source, 0)  # to its end, where it is seen whether there are more
    return made


def _all_of(zone: Zone, file: HeldFile) -> Iterator[pa.RecordBatch]:
    """The rows of a file, which are as many as were committed."""
    left = file.rows
    for rows in read_parquet(zone, file.path):
        left -= rows.num_rows
        if left < 0:
            break
        yield rows
    if left:
        raise UnreadableFile(f"{zone.path(file.path)}: has not the rows that were committed")


def _exchange(
    installation: Installation,
    lease: Lease,
    stream: str,
    hour: str,
    written: Sequence[MadeFile],
    before: Sequence[Part],
    after: Sequence[Part],
    grace: timedelta,
) -> list[CommittedFile]:
    """Gives the `written` files their names, and to the commits; gives them under these. Killed in between,
    it leaves files that the ledger knows nobody holds."""
    ledger, layer = installation.ledger, before[0].layer
    named = ledger.announce(stream, hour, layer, [item.file for item in written], lease)
    paths = {item.file.path: file.path for item, file in zip(written, named, strict=True)}
    after = [
        replace(part, file=replace(part.file, path=paths.get(part.file.path, part.file.path)))
        for part in after
    ]
    try:
        for item, file in zip(written, named, strict=True):
            publish(installation.zone_holding(file.dataset), item.hidden, file.path)
        ledger.exchange(stream, hour, before, after, lease, grace)
    except FileNotFoundError:
        raise LeaseLost(f"{stream} {hour}: what was written has been swept away by another") from None
    except LeaseLost:
        ledger.disown(stream, hour, layer, named)
        raise
    return named


def _moved(part: Part, file: CommittedFile, first_row: int) -> Part:
    """`part` with its rows in another file, of the same columns."""
    columns = part.file.columns
    return replace(part, file=replace(file, rows=part.file.rows, first_row=first_row, columns=columns))


def _digest(files: Sequence[HeldFile]) -> str:
    names = "\n".join(f"{file.path} {file.rows}" for file in files)
    return hashlib.sha256(names.encode()).hexdigest()[:_DIGITS]
