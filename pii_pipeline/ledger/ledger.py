"""The ledger: landing objects in, sealed batches, one commit per batch and layer."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from itertools import groupby

import sqlalchemy as sa

from pii_pipeline.database import again_if_lost, reading
from pii_pipeline.hours import hour_start
from pii_pipeline.ledger import noticed, retention, rows, shared_files, tables, vault, zones
from pii_pipeline.ledger import status as status_queries
from pii_pipeline.ledger.conservation import Counts
from pii_pipeline.ledger.contents import HourContents, contents
from pii_pipeline.ledger.lease import Lease, hold
from pii_pipeline.ledger.model import (
    PSEUDONYMIZED_EVENTS,
    VALIDATED_EVENTS,
    ActiveContract,
    Batch,
    Commit,
    CommitResult,
    CommittedFile,
    Earlier,
    Known,
    LandingObject,
    Listing,
    Part,
    StaleHead,
    UnknownBatch,
    Waiting,
)
from pii_pipeline.ledger.retention import Deletion, Expiring, Placed, RestrictedFile
from pii_pipeline.ledger.tables import batches, commits, lock, now, objects
from pii_pipeline.ledger.vault import KnownVault

DEFAULT_MAX_BATCH_BYTES = 192 * 1024 * 1024
DEFAULT_TTL = timedelta(seconds=60)

_SEALING = "raw_events"
"""The layer under whose lock an hour's objects are cut into batches."""


class Ledger:
    """What came and what was made of it, in one database.

    `engine` comes from `pii_pipeline.database.connect`, its tables from `upgrade`. Every change is one
    transaction; changes of one stream and layer wait for one another. When the server restarts, it is waited
    for, and a method begun again. Methods may be called from any thread; another process makes its own.
    `hour` is text as in `hours`; a wrong one raises `ValueError`.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    # ── landing objects and batches ──────────────────────────────────────────────────────────────────────

    def enter(self, stream: str, hour: str, landed: Sequence[LandingObject]) -> int:
        """Enters the objects of an hour that the stream does not know yet; returns how many those were (none,
        if it had to be begun again and they were entered the first time).

        An object is its stream, uri and etag: known ones stay in the hour and batch they are in.
        """
        return self.enter_hours(stream, {hour: landed})

    @again_if_lost
    def enter_hours(self, stream: str, landed: Mapping[str, Sequence[LandingObject]]) -> int:
        """The same for the objects of several hours, in one transaction."""
        entries = noticed.entries(stream, landed)
        with self._engine.begin() as connection:
            return len(tables.insert_new(connection, objects, entries, objects.c.uri))

    @again_if_lost
    def known(self, stream: str, uris: Sequence[str]) -> dict[str, set[Known]]:
        """What the stream has entered under these uris, every version of each."""
        with reading(self._engine) as connection:
            return noticed.known(connection, stream, uris)

    @again_if_lost
    def waiting(self, stream: str) -> list[Waiting]:
        """The hours with objects that are in no batch yet, oldest first."""
        with reading(self._engine) as connection:
            return noticed.waiting(connection, stream)

    @again_if_lost
    def listing(self, stream: str) -> Listing:
        """How far the stream's objects were looked at, as `keep_listing` last said; the start, if never."""
        with reading(self._engine) as connection:
            return noticed.listing(connection, stream)

    @again_if_lost
    def keep_listing(self, stream: str, listing: Listing) -> None:
        """Remembers how far the stream's objects have been looked at. Here and not in Dagster's cursor: an
        object's name may hold personal data, and what was noticed is here too, of one moment."""
        with self._engine.begin() as connection:
            noticed.keep_listing(connection, stream, listing)

    @again_if_lost
    def perhaps_overwritten(self, stream: str, hour: str) -> list[LandingObject]:
        """The objects of the hour that are in no batch, of whose uri the stream knows another version too."""
        with reading(self._engine) as connection:
            return noticed.perhaps_overwritten(connection, stream, hour)

    @again_if_lost
    def withdraw(self, stream: str, overwritten: Sequence[LandingObject]) -> None:
        """Takes out those of the objects that are still in no batch: they were entered, and are no more."""
        with self._engine.begin() as connection:
            noticed.withdraw(connection, stream, overwritten)

    @again_if_lost
    def seal(self, stream: str, hour: str, max_batch_bytes: int = DEFAULT_MAX_BATCH_BYTES) -> list[Batch]:
        """Cuts the hour's objects that are in no batch into new batches and returns those (not those of a
        first time that it had to be begun again after).

        Objects go in order of last modification and uri. There are as many batches as it takes for
        `max_batch_bytes` to be enough on average, and they are as equal as whole objects allow: they are made
        side by side, and one that is larger than the others would be waited for.
        """
        hour_start(hour)
        with self._engine.begin() as connection:
            lock(connection, stream, _SEALING)
            of_hour = (objects.c.stream == stream) & (objects.c.hour == hour)
            loose = connection.execute(
                sa.select(objects)
                .where(of_hour, objects.c.batch_id.is_(None))
                .order_by(objects.c.last_modified, objects.c.uri, objects.c.etag)
            ).all()
            last = connection.execute(
                sa.select(sa.func.coalesce(sa.func.max(batches.c.number), 0)).where(
                    batches.c.stream == stream, batches.c.hour == hour
                )
            ).scalar_one()
            new = [
                rows.new_batch(stream, hour, number, group)
                for number, group in enumerate(rows.cut(loose, max_batch_bytes), start=last + 1)
            ]
            if new:
                rows.write_batches(connection, new, sealed_at=now(connection))
        return new

    @again_if_lost
    def batches(self, stream: str, hour: str) -> list[Batch]:
        """The hour's batches with their objects, by number."""
        with reading(self._engine) as connection:
            sealed = connection.execute(
                sa.select(objects, batches.c.number)
                .join(batches, batches.c.id == objects.c.batch_id)
                .where(batches.c.stream == stream, batches.c.hour == hour)
                .order_by(batches.c.number, objects.c.position)
            ).all()
        groups = groupby(sealed, key=lambda row: row.number)
        return [rows.new_batch(stream, hour, number, list(group)) for number, group in groups]

    # ── commits ──────────────────────────────────────────────────────────────────────────────────────────

    @again_if_lost
    def commit_of(self, batch_id: str, layer: str) -> Commit | None:
        """The commit of a batch in a layer, if there is one."""
        with reading(self._engine) as connection:
            found = rows.find_commits(connection, commits.c.batch_id == batch_id, commits.c.layer == layer)
        return found[0] if found else None

    @again_if_lost
    def committed_batches(self, stream: str, layer: str) -> set[str]:
        """The batches of all hours that have a commit in the layer."""
        chosen = sa.select(commits.c.batch_id).where(commits.c.stream == stream, commits.c.layer == layer)
        with reading(self._engine) as connection:
            return set(connection.execute(chosen).scalars())

    @again_if_lost
    def earlier_commits(self, stream: str, layer: str, batch: Batch, since_hour: str) -> Earlier:
        """The commits that `batch` is compared with for duplicates, in order of sequence, and the head.

        Those of lower sequence than the batch's own, so that making a batch again compares with the same
        ones as the first time; all of them if it has no commit yet. Of hours from `since_hour` on.
        """
        hour_start(since_hour)
        # Under the lock of the commits: own sequence, head and commits must be those of one moment. A commit
        # of this very batch in between would otherwise make it a duplicate of itself.
        with self._engine.begin() as connection:
            head = lock(connection, stream, layer)
            own = connection.execute(
                sa.select(commits.c.sequence).where(commits.c.batch_id == batch.id, commits.c.layer == layer)
            ).scalar_one_or_none()
            found = rows.find_commits(
                connection,
                commits.c.stream == stream,
                commits.c.layer == layer,
                commits.c.hour >= since_hour,
                sa.true() if own is None else commits.c.sequence < own,
            )
        return Earlier(tuple(found), head)

    def commit(
        self,
        batch: Batch,
        layer: str,
        fingerprint: str,
        files: Sequence[CommittedFile],
        counts: Counts,
        seconds: float,
        expected_head: int | None = None,
        upstream: str | None = None,
        lease: Lease | None = None,
    ) -> CommitResult:
        """Makes a batch's files of a layer visible, in place of those of an earlier commit.

        `counts` must obey the layer's law and agree with the upstream commit's (`ConservationError`).
        `upstream` is the fingerprint of the upstream commit that was read, for every layer that has one
        above it; `StaleUpstream` if that is not the one in force. `expected_head` is what
        `earlier_commits` gave; `StaleHead` if another batch has been committed before this one since.
        `lease`: the one it is made under; `LeaseLost` if somebody else has it by now. `seconds`: how long the
        work took. `SharedFile` if a file of the earlier commit holds rows of other batches. What is replaced
        is deleted by the next `remove_unheld`.
        """
        replaced: dict[str, CommittedFile] = {}  # by every time it is begun: the first may have been the one

        @again_if_lost
        def write() -> CommitResult:
            with self._engine.begin() as connection:
                head = lock(connection, batch.stream, layer)
                if lease is not None:
                    lease.confirm(connection)
                if connection.scalar(sa.select(batches.c.id).where(batches.c.id == batch.id)) is None:
                    raise UnknownBatch(f"batch {batch.id} was never sealed here")
                found = rows.find_commits(
                    connection, commits.c.batch_id == batch.id, commits.c.layer == layer
                )
                before = found[0] if found else None
                if before:
                    rows.refuse_shared(connection, before)
                sequence = before.sequence if before else head + 1
                if expected_head is not None and sequence - 1 > expected_head:
                    raise StaleHead(
                        f"{batch.id} {layer}: compared with commits up to {expected_head}, "
                        f"and {sequence - 1} are before it"
                    )
                new = Commit(
                    batch_id=batch.id,
                    stream=batch.stream,
                    hour=batch.hour,
                    layer=layer,
                    fingerprint=fingerprint,
                    upstream=upstream,
                    files=tuple(files),
                    counts=counts,
                    seconds=seconds,
                    sequence=sequence,
                    committed_at=now(connection),
                )
                rows.check_commit(connection, new)
                rows.write_commit(connection, new, first=before is None)
                replaced.update({file.path: file for file in before.files} if before else {})
                superseded = rows.held_by_none(connection, list(replaced.values()))
                shared_files.remember_unheld(
                    connection, batch.stream, batch.hour, layer, superseded, new.committed_at
                )
                return CommitResult(new, superseded)

        return write()

    # ── files that batches share ─────────────────────────────────────────────────────────────────────────

    @again_if_lost
    def fragments(self, stream: str, until: str, small_bytes: int) -> list[tuple[str, str]]:
        """Hour and dataset, of hours up to `until`, where there is more than one file smaller than that, with
        the same columns."""
        with reading(self._engine) as connection:
            return shared_files.fragments(connection, stream, until, small_bytes)

    @again_if_lost
    def parts(self, stream: str, hour: str) -> list[Part]:
        """What the files of an hour hold of each batch, by layer, number of the batch and position."""
        with reading(self._engine) as connection:
            return shared_files.parts(connection, stream, hour)

    @again_if_lost
    def announce(
        self, stream: str, hour: str, layer: str, files: Sequence[CommittedFile], lease: Lease
    ) -> list[CommittedFile]:
        """To be called before files are given their names for `commit` or `exchange`: if it never comes to
        that, they are deleted as all that nobody holds.

        Gives them under the names that they may have: another one for each whose name somebody is deleting,
        or has begun to and never said that it was done. Raises `LeaseLost`.
        """
        with self._engine.begin() as connection:
            lease.confirm(connection)
            named = shared_files.free_names(connection, files)
            shared_files.remember_unheld(connection, stream, hour, layer, named, now(connection))
        return named

    @again_if_lost
    def disown(self, stream: str, hour: str, layer: str, files: Sequence[CommittedFile]) -> None:
        """To be called by who was overtaken between `announce` and the change that was to follow: the other
        may have deleted these files before they were there."""
        with self._engine.begin() as connection:
            shared_files.disown(connection, stream, hour, layer, files, now(connection))

    @again_if_lost
    def exchange(
        self,
        stream: str,
        hour: str,
        before: Sequence[Part],
        after: Sequence[Part],
        lease: Lease,
        grace: timedelta,
    ) -> None:
        """Has commits of one layer hold the same rows in other files, all of them from one moment on.

        `after` is `before`, part by part, but for the file. Files that no commit holds then are deleted by
        the first `remove_unheld` after `grace`. Raises `StaleFiles` if the commits do not hold `before` any
        more, `ConservationError` if rows would be lost, and `LeaseLost`.
        """
        layer = shared_files.layer_of(before, after)
        with self._engine.begin() as connection:
            lock(connection, stream, layer)
            lease.confirm(connection)
            shared_files.exchange(connection, stream, hour, before, after, now(connection) + grace)

    @again_if_lost
    def hours_with_unheld(self, stream: str) -> list[str]:
        """The hours that have files to be deleted now, oldest first."""
        with reading(self._engine) as connection:
            return shared_files.hours_with_unheld(connection, stream, now(connection))

    def remove_unheld(
        self,
        stream: str,
        hour: str,
        lease: Lease,
        delete: Callable[[str, str], None],
        layer: str | None = None,
    ) -> int:
        """Has the files of an hour that no commit holds deleted by `delete(dataset, path)`; how many.

        Those whose time has come, and all of `layer`. Under the hour's lease, and while no transaction is
        open: storage may take its time. `delete` meets no file that is, or will be, somebody's. Who was to
        commit one had announced it under an earlier lease, and is refused since this one was taken. Who
        announces one from now on is given another name, until it is said here that all is done; and for ever
        if somebody else, whom nobody knows to be at an end, had begun to delete it. Raises `LeaseLost`.
        """
        token = uuid.uuid4().hex

        @again_if_lost
        def due() -> bool:
            with reading(self._engine) as connection:
                return shared_files.are_due(connection, stream, hour, layer, now(connection))

        @again_if_lost
        def begin() -> shared_files.Going:
            with self._engine.begin() as connection:
                lease.confirm(connection)
                return shared_files.begin_deleting(connection, stream, hour, layer, token, now(connection))

        @again_if_lost
        def end(going: shared_files.Going) -> None:
            with self._engine.begin() as connection:
                shared_files.end_deleting(connection, going, token)

        if not due():
            return 0
        going = begin()
        for dataset, path in going.files:
            delete(dataset, path)
        end(going)
        return len(going.files)

    # ── retention ────────────────────────────────────────────────────────────────────────────────────────

    @again_if_lost
    def placed(self, stream: str, uris: Sequence[str]) -> dict[tuple[str, str], Placed]:
        """Where the stream has filed the versions of these objects that it knows, by uri and etag."""
        with reading(self._engine) as connection:
            return retention.placed(connection, stream, uris)

    @again_if_lost
    def finished(self, stream: str, hour: str, layers: Iterable[str]) -> set[str]:
        """The hour's batches that are made to their end: committed in each of the `layers`, and each from
        what is committed above it."""
        with reading(self._engine) as connection:
            return retention.finished(connection, stream, hour, layers)

    @again_if_lost
    def restricted_files(
        self, stream: str, layer: str, datasets: Sequence[str], hour: str | None = None
    ) -> list[RestrictedFile]:
        """The committed files of these datasets, which a layer writes into the restricted zone, by hour and
        batch."""
        with reading(self._engine) as connection:
            return retention.restricted_files(connection, stream, layer, datasets, hour)

    @again_if_lost
    def expire(self, stream: str, hour: str, going: Sequence[Expiring], lease: Lease) -> None:
        """Writes down what is to be deleted. Files among it are in no commit from now on; the commits stay.

        `lease`: the hour's; `LeaseLost` if somebody else has it by now.
        """
        with self._engine.begin() as connection:
            for layer in (VALIDATED_EVENTS, PSEUDONYMIZED_EVENTS):
                lock(connection, stream, layer)
            lease.confirm(connection)
            retention.expire(connection, stream, hour, going)

    @again_if_lost
    def expiring_hours(self, stream: str) -> list[str]:
        """The hours of which something is still to be deleted, oldest first."""
        with reading(self._engine) as connection:
            return retention.expiring_hours(connection, stream)

    @again_if_lost
    def expiring(self, stream: str, hour: str) -> list[Expiring]:
        """What of the hour is to be deleted and not known to be gone, also from the last time."""
        with reading(self._engine) as connection:
            return retention.still_expiring(connection, stream, hour)

    def expired(
        self, stream: str, hour: str, gone: Sequence[Expiring], overwritten: Sequence[Expiring] = ()
    ) -> None:
        """Crosses off what is `gone`, and counts it; and what cannot be deleted any more, for the version it
        was is not there."""
        identifier = uuid.uuid4().hex

        @again_if_lost
        def write() -> None:
            with self._engine.begin() as connection:
                retention.cross_off(connection, stream, hour, gone, identifier)
                retention.spare(connection, stream, hour, overwritten)

        write()

    @again_if_lost
    def deletions(self, stream: str) -> list[Deletion]:
        """What retention has deleted of the stream, as numbers, in the order in which it did."""
        with reading(self._engine) as connection:
            return retention.deleted(connection, stream)

    # ── contracts ────────────────────────────────────────────────────────────────────────────────────────

    @again_if_lost
    def remember_contracts(self, digests: Mapping[str, str]) -> dict[str, ActiveContract]:
        """Remembers contracts, by their digests, that are in use from now on; returns what is known of them.

        Of one that is known already, what was remembered first stays; if that is something else, nothing is
        remembered of the others.
        """
        known = self.active_contracts()
        agreed = all(known[name].digest == digest for name, digest in digests.items() if name in known)
        if agreed and not digests.keys() <= known.keys():
            with self._engine.begin() as connection:
                entries = [
                    {"contract": contract, "digest": digest, "active_since": now(connection)}
                    for contract, digest in sorted(digests.items())
                ]
                tables.insert_new(connection, tables.contracts, entries, tables.contracts.c.contract)
            known = self.active_contracts()
        return {contract: known[contract] for contract in digests if contract in known}

    @again_if_lost
    def active_contracts(self) -> dict[str, ActiveContract]:
        """Every contract that is or was in use, by its name and version. Makes no table: none are known where
        there is none."""
        with reading(self._engine) as connection:
            if not sa.inspect(connection).has_table(tables.contracts.name):
                return {}
            found = connection.execute(sa.select(tables.contracts)).all()
        return {row.contract: ActiveContract(row.contract, row.digest, row.active_since) for row in found}

    # ── zones ────────────────────────────────────────────────────────────────────────────────────────────

    @again_if_lost
    def zones(self) -> dict[str, str]:
        """Where each zone is that paths are relative to, as a URI; those that are known."""
        with reading(self._engine) as connection:
            return zones.remembered(connection)

    @again_if_lost
    def remember_zones(self, uris: Mapping[str, str]) -> None:
        """Remembers where zones are that are not known yet."""
        with self._engine.begin() as connection:
            zones.remember(connection, uris)

    @again_if_lost
    def move_zone(self, zone: str, uri: str) -> None:
        """From now on the zone is there. How far it has been listed says nothing about another place."""
        with self._engine.begin() as connection:
            zones.move(connection, zone, uri)

    @again_if_lost
    def held_files(self) -> list[tuple[str, str, int]]:
        """Dataset, path and bytes of every file that a commit holds, once each, in this order."""
        with reading(self._engine) as connection:
            return zones.held_files(connection)

    @again_if_lost
    def unread_objects(self) -> list[tuple[str, int]]:
        """Uri and bytes of every landing object of which no validated events are committed, by uri."""
        with reading(self._engine) as connection:
            return zones.unread_objects(connection)

    # ── the vault ────────────────────────────────────────────────────────────────────────────────────────

    @again_if_lost
    def vault(self) -> KnownVault | None:
        """The vault that originals are loaded into; None before the first load."""
        with reading(self._engine) as connection:
            return vault.known(connection)

    @again_if_lost
    def adopt_vault(self, sequence: int, hash: str, instead_of: str | None = None) -> None:
        """From now on originals are loaded into the vault whose audit log has this entry, if none is known
        yet, or the one that is was `adopted` as `instead_of`: then all is to be loaded again."""
        with self._engine.begin() as connection:
            vault.adopt(connection, sequence, hash, instead_of)

    @again_if_lost
    def see_vault(self, adopted: str, sequence: int, hash: str) -> None:
        """Remembers a later entry of the audit log of that vault, if it is still the one that is known."""
        with self._engine.begin() as connection:
            vault.see(connection, adopted, sequence, hash)

    # ── leases ───────────────────────────────────────────────────────────────────────────────────────────

    def lease(
        self, stream: str, hour: str, owner: str | None = None, ttl: timedelta = DEFAULT_TTL
    ) -> AbstractContextManager[Lease]:
        """The lease of an hour's work; see `named_lease`."""
        hour_start(hour)
        return self.named_lease(f"{stream} {hour}", owner, ttl)

    def named_lease(
        self, name: str, owner: str | None = None, ttl: timedelta = DEFAULT_TTL
    ) -> AbstractContextManager[Lease]:
        """``with ledger.named_lease("compact logins"):`` keeps others off the same work; `LeaseHeld` if they
        are on it.

        Renewed by a thread while it is held. `owner` is this process (`process_owner`) unless given; a
        holder of this host that died is succeeded at once, any other when its lease has expired.
        """
        return hold(self._engine, name, owner, ttl)

    # ── questions ────────────────────────────────────────────────────────────────────────────────────────

    @again_if_lost
    def status(self, stream: str | None = None, hour: str | None = None) -> list[status_queries.HourStatus]:
        """Objects, batches, counts and seconds per stream and hour, ordered by both."""
        with reading(self._engine) as connection:
            return status_queries.status(connection, stream, hour)

    @again_if_lost
    def files(self, stream: str, dataset: str, hour: str | None = None) -> list[str]:
        """The paths of a dataset's committed files, in order of hour and batch: what readers may see."""
        statement = (
            sa.select(tables.files.c.path)
            .join(batches, batches.c.id == tables.files.c.batch_id)
            .where(batches.c.stream == stream, tables.files.c.dataset == dataset)
            .order_by(batches.c.hour, batches.c.number, tables.files.c.position)
        )
        if hour is not None:
            statement = statement.where(batches.c.hour == hour)
        with reading(self._engine) as connection:
            # A file may belong to several batches (compaction), and is read once.
            return list(dict.fromkeys(connection.execute(statement).scalars()))

    @again_if_lost
    def files_of_stream(self, stream: str) -> dict[str, dict[str, list[str]]]:
        """The same for all datasets and hours of a stream: paths by dataset and hour."""
        statement = (
            sa.select(tables.files.c.dataset, batches.c.hour, tables.files.c.path)
            .join(batches, batches.c.id == tables.files.c.batch_id)
            .where(batches.c.stream == stream)
            .order_by(batches.c.hour, batches.c.number, tables.files.c.position)
        )
        found: dict[str, dict[str, dict[str, None]]] = {}
        with reading(self._engine) as connection:
            for dataset, hour, path in connection.execute(statement):
                found.setdefault(dataset, {}).setdefault(hour, {})[path] = None
        return {
            dataset: {hour: list(paths) for hour, paths in hours.items()} for dataset, hours in found.items()
        }

    @again_if_lost
    def contents(self, stream: str, hour: str) -> HourContents:
        """What is sealed and made of one hour."""
        with reading(self._engine) as connection:
            return contents(connection, stream, hour)

    @again_if_lost
    def hours(self, stream: str) -> list[str]:
        """The hours of which the stream has objects, oldest first."""
        statement = sa.select(objects.c.hour).where(objects.c.stream == stream).distinct()
        with reading(self._engine) as connection:
            return list(connection.execute(statement.order_by(objects.c.hour)).scalars())
