"""Between the ledger's tables and its model: what several of `Ledger`'s transactions share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from pii_pipeline.ledger.conservation import violations
from pii_pipeline.ledger.model import (
    Batch,
    Commit,
    CommittedFile,
    ConservationError,
    SealedObject,
    SharedFile,
    StaleUpstream,
    upstream_of,
)
from pii_pipeline.ledger.tables import batches, commits, files, heads, objects, unheld_files


def cut(rows: Sequence[sa.Row[Any]], most: int) -> Iterator[list[sa.Row[Any]]]:
    """Neighbouring rows of `objects` together, in shares as equal as whole objects allow.

    There are as many shares as it takes for none to be larger than `most` bytes on average; each ends with
    the object whose end is nearest to where an equal share would end.
    """
    total = sum(row.size for row in rows)
    shares = max(1, -(-total // most))
    held: list[sa.Row[Any]] = []
    done, share = 0, 1
    for row in rows:
        if held and (2 * done + row.size) * shares > 2 * total * share:
            yield held
            held, share = [], max(share, done * shares // total) + 1
        held.append(row)
        done += row.size
    if held:
        yield held


def new_batch(stream: str, hour: str, number: int, rows: Sequence[sa.Row[Any]]) -> Batch:
    """The hour's batch of that number, made of rows of `objects`."""
    sealed = tuple(SealedObject(row.uri, row.size, row.etag, row.last_modified, row.arrival) for row in rows)
    # Readable in a file name, and free of what differs from one storage to the next (uris, etags, the order
    # in which hours were sealed): the same landing gives the same names.
    batch_id = f"{stream}-{hour.replace('-', '')}-{number:04d}"
    return Batch(batch_id, stream, hour, number, sum(item.size for item in sealed), sealed)


def write_batches(connection: sa.Connection, new: Sequence[Batch], sealed_at: Any) -> None:
    """Inserts the batches and writes into their objects whose they are."""
    connection.execute(
        sa.insert(batches),
        [
            {
                "id": batch.id,
                "stream": batch.stream,
                "hour": batch.hour,
                "number": batch.number,
                "bytes": batch.bytes,
                "sealed_at": sealed_at,
            }
            for batch in new
        ],
    )
    connection.execute(
        sa.update(objects)
        .where(
            objects.c.stream == sa.bindparam("of_stream"),
            objects.c.uri == sa.bindparam("of_uri"),
            objects.c.etag == sa.bindparam("of_etag"),
        )
        .values(batch_id=sa.bindparam("to_batch"), position=sa.bindparam("at_position")),
        [
            {
                "of_stream": batch.stream,
                "of_uri": item.uri,
                "of_etag": item.etag,
                "to_batch": batch.id,
                "at_position": position,
            }
            for batch in new
            for position, item in enumerate(batch.objects)
        ],
    )


def find_commits(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[Commit]:
    """The commits that meet the conditions, with their files, by sequence."""
    # One statement, so that a commit and its files are of one moment: a commit that is being replaced must
    # not show its new fingerprint beside its old files.
    held = (files.c.batch_id == commits.c.batch_id) & (files.c.layer == commits.c.layer)
    columns = [files.c[name] for name in ("dataset", "path", "bytes", "rows", "first_row", "columns")]
    found = connection.execute(
        sa.select(commits, *columns)
        .outerjoin(files, held)
        .where(*conditions)
        .order_by(commits.c.stream, commits.c.layer, commits.c.sequence, files.c.position)
    )
    result: list[Commit] = []
    for _, group in groupby(found, key=lambda row: (row.batch_id, row.layer)):
        of_commit = list(group)
        row = of_commit[0]
        result.append(
            Commit(
                batch_id=row.batch_id,
                stream=row.stream,
                hour=row.hour,
                layer=row.layer,
                fingerprint=row.fingerprint,
                upstream=row.upstream,
                files=tuple(
                    CommittedFile(*file[-len(columns) :]) for file in of_commit if file.path is not None
                ),
                counts=row.counts,
                seconds=row.seconds,
                sequence=row.sequence,
                committed_at=row.committed_at,
            )
        )
    return result


def check_commit(connection: sa.Connection, commit: Commit) -> None:
    """Raises `ConservationError` or `StaleUpstream` for a commit that must not be written."""
    above = upstream_of(commit.layer)
    found = None
    if above is not None:
        # The lock keeps the upstream commit as it is until this transaction has ended.
        found = connection.execute(
            sa.select(commits.c.fingerprint, commits.c.counts)
            .where(commits.c.batch_id == commit.batch_id, commits.c.layer == above)
            .with_for_update(read=True)
        ).one_or_none()
    in_force = found.fingerprint if found else None
    if commit.upstream != in_force or (above is not None and found is None):
        raise StaleUpstream(
            f"{commit.batch_id} {commit.layer}: made from {commit.upstream or 'nothing'}, "
            f"in force upstream is {in_force or 'nothing'}"
        )
    wrong = violations(commit.layer, commit.counts, found.counts if found else None)
    if wrong:
        raise ConservationError(f"{commit.batch_id} {'; '.join(wrong)}")


def write_commit(connection: sa.Connection, commit: Commit, first: bool) -> None:
    """Inserts a first commit and raises the head to it, or replaces what is there; the files with it."""
    key = {"batch_id": commit.batch_id, "layer": commit.layer}
    values = {
        "stream": commit.stream,
        "hour": commit.hour,
        "sequence": commit.sequence,
        "fingerprint": commit.fingerprint,
        "upstream": commit.upstream,
        "counts": commit.counts,
        "seconds": commit.seconds,
        "committed_at": commit.committed_at,
    }
    if first:
        connection.execute(sa.insert(commits).values(**key, **values))
        connection.execute(
            sa.update(heads)
            .where(heads.c.stream == commit.stream, heads.c.layer == commit.layer)
            .values(head=commit.sequence)
        )
    else:
        connection.execute(sa.update(commits).filter_by(**key).values(**values))
        connection.execute(sa.delete(files).filter_by(**key))
    if commit.files:
        connection.execute(
            sa.insert(files),
            [
                {
                    **key,
                    "position": position,
                    "dataset": file.dataset,
                    "path": file.path,
                    "bytes": file.bytes,
                    "rows": file.rows,
                    "first_row": file.first_row,
                    "columns": file.columns,
                }
                for position, file in enumerate(commit.files)
            ],
        )
        held = [file.path for file in commit.files]
        connection.execute(sa.delete(unheld_files).where(unheld_files.c.path.in_(held)))


def refuse_shared(connection: sa.Connection, commit: Commit) -> None:
    """Raises `SharedFile` if a file of the `commit` that is to be replaced holds rows of other batches: who
    reads it would go on reading those of this commit."""
    paths = [file.path for file in commit.files]
    others = sa.select(files.c.path).where(files.c.path.in_(paths), files.c.batch_id != commit.batch_id)
    if connection.execute(others.limit(1)).scalar_one_or_none() is not None:
        raise SharedFile(f"{commit.batch_id} {commit.layer}: its file holds rows of other batches")


def held_by_none(connection: sa.Connection, some: Sequence[CommittedFile]) -> tuple[CommittedFile, ...]:
    """Those of the files that are in no commit."""
    paths = [file.path for file in some]
    held = set(connection.execute(sa.select(files.c.path).where(files.c.path.in_(paths))).scalars())
    return tuple(file for file in some if file.path not in held)
