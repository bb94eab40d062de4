"""Commits change the files that hold their rows, and files that no commit holds are remembered until they are
gone: what `Ledger`'s transactions do for that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, count
from typing import Any

import sqlalchemy as sa

from pii_pipeline.ledger import rows
from pii_pipeline.ledger.model import CommittedFile, ConservationError, Part, StaleFiles
from pii_pipeline.ledger.tables import batches, commits, files, insert_new, unheld_files

_PATHS_AT_ONCE = 500
"""SQLite takes no statement with very many parameters."""

_NOBODY_KNOWS = ""
"""Who is deleting a file: several have begun, and some of them never ended."""
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""When a file is deleted that is gone, and of which only the name must not be given again."""


def fragments(connection: sa.Connection, stream: str, until: str, small_bytes: int) -> list[tuple[str, str]]:
    """Hour and dataset, of hours up to `until`, where there is more than one file smaller than that, with the
    same columns."""
    place = (batches.c.hour, files.c.dataset)
    found = connection.execute(
        sa.select(*place)
        .distinct()
        .join(batches, batches.c.id == files.c.batch_id)
        .where(batches.c.stream == stream, batches.c.hour <= until, files.c.bytes < small_bytes)
        .group_by(*place, files.c.columns)
        .having(sa.func.count(files.c.path.distinct()) > 1)
        .order_by(*place)
    )
    return [(row.hour, row.dataset) for row in found]


def parts(connection: sa.Connection, stream: str, hour: str) -> list[Part]:
    """What the files of an hour hold of each batch, by layer, number of the batch and position."""
    held = (files.c.batch_id == commits.c.batch_id) & (files.c.layer == commits.c.layer)
    found = connection.execute(
        sa.select(files, batches.c.number, commits.c.fingerprint)
        .join(commits, held)
        .join(batches, batches.c.id == files.c.batch_id)
        .where(batches.c.stream == stream, batches.c.hour == hour)
        .order_by(files.c.layer, batches.c.number, files.c.position)
    )
    return [
        Part(
            row.batch_id,
            row.number,
            row.layer,
            row.position,
            row.fingerprint,
            CommittedFile(row.dataset, row.path, row.bytes, row.rows, row.first_row, row.columns),
        )
        for row in found
    ]


def layer_of(before: Sequence[Part], after: Sequence[Part]) -> str:
    """The one layer of these parts. Raises `ConservationError` unless both are of the same rows."""
    (layer,) = {part.layer for part in before}
    if [_rows_of(part) for part in before] != [_rows_of(part) for part in after]:
        raise ConservationError(f"{layer}: the new files have not the rows of the old ones")
    return layer


def exchange(
    connection: sa.Connection,
    stream: str,
    hour: str,
    before: Sequence[Part],
    after: Sequence[Part],
    delete_after: datetime,
) -> None:
    """Writes `after` in place of `before`; nothing if that is done."""
    now_held = {(part.batch_id, part.layer, part.position): part for part in parts(connection, stream, hour)}
    found = [now_held.get((part.batch_id, part.layer, part.position)) for part in before]
    if found == list(after):
        return
    if found != list(before):
        raise StaleFiles(f"{stream} {hour} {before[0].layer}: its files were replaced meanwhile")
    connection.execute(
        sa.update(files)
        .where(
            files.c.batch_id == sa.bindparam("of_batch"),
            files.c.layer == sa.bindparam("of_layer"),
            files.c.position == sa.bindparam("at_position"),
        )
        .values(
            path=sa.bindparam("new_path"),
            bytes=sa.bindparam("new_bytes"),
            first_row=sa.bindparam("new_first_row"),
        ),
        [
            {
                "of_batch": part.batch_id,
                "of_layer": part.layer,
                "at_position": part.position,
                "new_path": part.file.path,
                "new_bytes": part.file.bytes,
                "new_first_row": part.file.first_row,
            }
            for part in after
        ],
    )
    _forget_unheld(connection, list({part.file.path for part in after}))
    old = list({part.file.path: part.file for part in before}.values())
    for start in range(0, len(old), _PATHS_AT_ONCE):
        loose = rows.held_by_none(connection, old[start : start + _PATHS_AT_ONCE])
        remember_unheld(connection, stream, hour, before[0].layer, loose, delete_after)


def remember_unheld(
    connection: sa.Connection,
    stream: str,
    hour: str,
    layer: str,
    some: Sequence[CommittedFile],
    delete_after: datetime,
) -> None:
    """Remembers that no commit holds these files, and until when they stay."""
    _forget_unheld(connection, [file.path for file in some])
    if entries := _entries(stream, hour, layer, some, delete_after):
        connection.execute(sa.insert(unheld_files), entries)


def _entries(
    stream: str, hour: str, layer: str, some: Sequence[CommittedFile], delete_after: datetime
) -> list[dict[str, Any]]:
    return [
        {
            "path": file.path,
            "stream": stream,
            "hour": hour,
            "layer": layer,
            "dataset": file.dataset,
            "delete_after": delete_after,
        }
        for file in some
    ]


def hours_with_unheld(connection: sa.Connection, stream: str, now: datetime) -> list[str]:
    """The hours that have files to be deleted, oldest first."""
    chosen = (unheld_files.c.stream == stream) & (unheld_files.c.delete_after <= now)
    hours = sa.select(unheld_files.c.hour).where(chosen).distinct().order_by(unheld_files.c.hour)
    return list(connection.execute(hours).scalars())


def free_names(connection: sa.Connection, some: Sequence[CommittedFile]) -> list[CommittedFile]:
    """The files, under other names where somebody has begun to delete what has theirs."""

    def is_free(path: str) -> bool:
        taken = (unheld_files.c.path == path) & unheld_files.c.deleted_by.is_not(None)
        return connection.scalar(sa.select(sa.func.count()).where(taken)) == 0

    def names(path: str) -> Iterator[str]:
        stem, dot, ending = path.rpartition(".")
        return chain([path], (f"{stem}-{number}{dot}{ending}" for number in count(2)))

    return [replace(file, path=next(filter(is_free, names(file.path)))) for file in some]


def disown(
    connection: sa.Connection,
    stream: str,
    hour: str,
    layer: str,
    some: Sequence[CommittedFile],
    now: datetime,
) -> None:
    """Has files deleted that may have come after their deletion. What is held or remembered stays so."""
    entries = _entries(stream, hour, layer, some, now)
    insert_new(connection, unheld_files, entries, unheld_files.c.path)
    paths = [file.path for file in some]
    once_more = unheld_files.c.path.in_(paths) & unheld_files.c.deleted_by.is_not(None)
    connection.execute(sa.update(unheld_files).where(once_more).values(delete_after=now))


@dataclass(frozen=True)
class Going:
    """Files, by dataset and path, whose deletion began at that moment."""

    files: tuple[tuple[str, str], ...]
    since: datetime


def are_due(connection: sa.Connection, stream: str, hour: str, layer: str | None, now: datetime) -> bool:
    """Whether there is something for `begin_deleting`."""
    found = sa.select(unheld_files.c.path).where(_due(stream, hour, layer, now)).limit(1)
    return connection.execute(found).first() is not None


def begin_deleting(
    connection: sa.Connection, stream: str, hour: str, layer: str | None, token: str, now: datetime
) -> Going:
    """The hour's files that nobody holds and whose time has come, and all of `layer`: to be deleted by who
    has the `token`. What a commit holds, whatever is written there, is forgotten instead."""
    due = _due(stream, hour, layer, now)
    held = unheld_files.c.path.in_(sa.select(files.c.path))
    connection.execute(sa.delete(unheld_files).where(due, held))
    # An earlier one who had begun may be at it still, or be dead: nobody knows, and the name is lost.
    begun = unheld_files.c.deleted_by
    mine = sa.case((begun.is_(None) | (begun == token), token), else_=_NOBODY_KNOWS)
    columns = (unheld_files.c.dataset, unheld_files.c.path)
    taken = sa.update(unheld_files).where(due).values(deleted_by=mine, delete_after=now).returning(*columns)
    return Going(tuple(sorted((row.dataset, row.path) for row in connection.execute(taken))), now)


def end_deleting(connection: sa.Connection, going: Going, token: str) -> None:
    """Forgets files that are deleted, unless their names are lost, or somebody has disowned them since."""
    paths = [path for _, path in going.files]
    for start in range(0, len(paths), _PATHS_AT_ONCE):
        some = unheld_files.c.path.in_(paths[start : start + _PATHS_AT_ONCE])
        here = some & (unheld_files.c.delete_after == going.since)
        connection.execute(sa.delete(unheld_files).where(here, unheld_files.c.deleted_by == token))
        lost = here & (unheld_files.c.deleted_by == _NOBODY_KNOWS)
        connection.execute(sa.update(unheld_files).where(lost).values(delete_after=_NEVER))


def _due(stream: str, hour: str, layer: str | None, now: datetime) -> sa.ColumnElement[bool]:
    of_hour = (unheld_files.c.stream == stream) & (unheld_files.c.hour == hour)
    of_layer = (unheld_files.c.layer == layer) & (unheld_files.c.delete_after < _NEVER)
    return of_hour & ((unheld_files.c.delete_after <= now) | of_layer)


def _forget_unheld(connection: sa.Connection, paths: Sequence[str]) -> None:
    for start in range(0, len(paths), _PATHS_AT_ONCE):
        some = paths[start : start + _PATHS_AT_ONCE]
        connection.execute(sa.delete(unheld_files).where(unheld_files.c.path.in_(some)))


def _rows_of(part: Part) -> tuple[str, str, int, str, str, int]:
    return part.batch_id, part.layer, part.position, part.fingerprint, part.file.dataset, part.file.rows
