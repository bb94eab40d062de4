"""validated_events and bad_events: one batch of landing objects → typed rows, quarantine, event digests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from pii_pipeline.contracts.columns import union
from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import arrow_schema
from pii_pipeline.formats import (
    DelimitedText,
    ObjectFault,
    ObjectFile,
    ObjectProblem,
    ObjectSource,
    RecordChunk,
    read_chunks,
    split_fields,
)
from pii_pipeline.lake import (
    Version,
    VersionChanged,
    Versions,
    data_file,
    open_versions,
    read_parquet,
    write_parquet,
)
from pii_pipeline.ledger import (
    VALIDATED_EVENTS,
    Batch,
    Commit,
    Counts,
    fingerprint,
    hour_of,
    hour_start,
)
from pii_pipeline.pipeline import bad_events, duplicates
from pii_pipeline.pipeline.bad_events import BadRecord, bad_event_rows
from pii_pipeline.pipeline.columns import column_at
from pii_pipeline.pipeline.installation import EVENT_DIGESTS, Installation
from pii_pipeline.pipeline.layer import InputsGone, Layer, LayerResult, Progress, make_layer, silent
from pii_pipeline.pipeline.made import Made, MadeFile
from pii_pipeline.pipeline.parallel import ordered_map
from pii_pipeline.privacy.detectors import detect
from pii_pipeline.privacy.leak_gate import Leak, LeakError
from pii_pipeline.privacy.plan import CONTRACT, EVENT_TIME, UNLISTED
from pii_pipeline.streams.model import Stream
from pii_pipeline.validation import SideBySide

CODE_VERSION = "5"
BAD_EVENTS = "bad_events"
ARRIVAL_TIME = "_arrival_time"


@dataclass(frozen=True, slots=True)
class _Checked:
    """One chunk after validation: its typed rows, their digests, its bad records, and its size.

    `digests`: of the typed rows, in a stream with an event id. `messages`: of those records that came in
    messages, and `delivered` which these are: positions among the typed rows, or behind them among `bad`.
    """

    table: pa.Table
    digests: pa.Table | None
    messages: pa.Table | None
    delivered: np.ndarray
    bad: list[BadRecord]
    records: int
    bytes: int
    objects: frozenset[int]


def validated_schema(stream: Stream) -> pa.Schema:
    """The columns of ``validated_events``: the fields of all active versions, then what we add."""
    return _with_ours(union([arrow_schema(contract.record) for contract in stream.active]))


def columns_under(contract: Contract) -> pa.Schema:
    """The columns of ``validated_events`` that the events of one contract have."""
    return _with_ours(arrow_schema(contract.record))


def _with_ours(fields: pa.Schema) -> pa.Schema:
    return pa.schema(
        [
            *fields,
            pa.field(EVENT_TIME, pa.timestamp("us", "UTC")),
            pa.field(UNLISTED, pa.string()),
            pa.field(CONTRACT, pa.string()),
            pa.field(ARRIVAL_TIME, pa.timestamp("us", "UTC")),
        ]
    )


def validate_hour(
    installation: Installation,
    stream: Stream,
    hour: str,
    force: bool = False,
    progress: Progress = silent,
    following: Layer[Any] | None = None,
) -> LayerResult:
    """Validates every sealed batch of the hour that is new, changed, or forced.

    `following`: the layer that will be asked for next, unless there are too many bad events.
    """

    def then(commit: Commit) -> Layer[Any] | None:
        records, bad = commit.counts["records"], commit.counts["bad"]
        assert isinstance(records, int) and isinstance(bad, int)
        return following if stream.tolerates(records, bad) else None

    return make_layer(installation, stream, hour, validation(installation, stream), force, progress, then)


def validation(installation: Installation, stream: Stream) -> Layer[_Validated]:
    """The layer."""

    def fingerprint_of(batch: Batch, _: Commit | None) -> str:
        etags = [item.etag for item in batch.objects]
        settings = f"{stream.max_record_bytes} {stream.dedupe_window} {stream.contract_field} {stream.format}"
        return fingerprint(etags, f"{stream.digest} {settings}", CODE_VERSION, None)

    return Layer(
        VALIDATED_EVENTS,
        "records",
        fingerprint_of,
        partial(_validate_batch, stream),
        partial(_tell_duplicates, installation, stream),
    )


@dataclass(frozen=True, slots=True)
class _Validated:
    """A batch after validation, redelivered events not told yet.

    `digests` has a row per validated record and then one per message, None if there is neither an event id
    nor a message. The messages are those of the records at `delivered`: positions among the validated ones,
    or behind them among the bad ones.
    """

    valid: MadeFile
    bad: MadeFile
    counts: Counts
    digests: pa.Table | None
    delivered: np.ndarray


class _GoneMeanwhile(Exception):
    """A landing object changed, or went, when some of its records had been read."""


def _validate_batch(
    stream: Stream,
    installation: Installation,
    batch: Batch,
    _: Commit | None,
    name: str,
    progress: Progress,
) -> _Validated:
    while True:
        with suppress(_GoneMeanwhile):  # next time it is gone before any of its records
            return _validate_objects(stream, installation, batch, name, progress)


def _validate_objects(
    stream: Stream, installation: Installation, batch: Batch, name: str, progress: Progress
) -> _Validated:
    zones, keys = installation.zones, installation.keys
    day = hour_start(batch.hour).date()
    key = keys.restricted_key(stream.name, day)
    made_before = installation.ledger.commit_of(batch.id, VALIDATED_EVENTS) is not None
    versions = open_versions(
        zones.landing, [Version(item.uri, item.size, item.etag) for item in batch.objects]
    )
    sources = [
        ObjectSource(item.uri, partial(_SealedFile, versions, index))
        for index, item in enumerate(batch.objects)
    ]
    check = _checker(installation, stream, batch)

    hour = hour_start(batch.hour)
    validated_path = data_file(stream.name, VALIDATED_EVENTS, hour, batch.id, name)
    bad_path = data_file(stream.name, BAD_EVENTS, hour, batch.id, name)
    counts = {"records": 0, "bad": 0}
    reasons: Counter[str] = Counter()
    told = _Told()
    seen: set[int] = set()
    quarantine = installation.quarantine(stream, batch)

    with (
        write_parquet(
            zones.restricted, validated_path, validated_schema(stream), key=key, compression="lz4"
        ) as valid,
        write_parquet(zones.lake, bad_path, bad_events.SCHEMA) as bad_file,
    ):

        def set_aside(bad: list[BadRecord]) -> None:
            rows = bad_event_rows(
                bad,
                stream.name,
                [(item.uri, item.etag, item.arrival) for item in batch.objects],
                quarantine.seal,
                quarantine.tag,
            )
            _gate(rows)
            bad_file.write(rows)
            counts["bad"] += len(bad)
            reasons.update(item.type for item in bad)

        chunks = read_chunks(sources, stream.max_record_bytes, stream.format.form)
        for result in ordered_map(check, chunks, installation.workers):
            if isinstance(result, ObjectProblem):
                _refuse_if_gone(result, made_before, seen, batch)
                set_aside(
                    [
                        BadRecord(
                            contract=stream.contract.contract,
                            object=result.object,
                            number=None,
                            offset=None,
                            type=result.type,
                            path=None,
                            rule=None,
                            message=result.message,
                            record=None,
                            subject=None,
                        )
                    ]
                )
                counts["records"] += 1
                continue
            counts["records"] += result.records
            seen |= result.objects
            told.add(result, valid.rows, counts["bad"])
            valid.write(result.table)
            if result.bad:
                set_aside(result.bad)
            progress(VALIDATED_EVENTS, result.records, result.bytes)

    digests, delivered = told.of_batch(valid.rows, identified=stream.contract.event_id_field is not None)
    return _Validated(
        MadeFile.of(VALIDATED_EVENTS, validated_path, valid),
        MadeFile.of(BAD_EVENTS, bad_path, bad_file),
        {**counts, "validated": valid.rows, "bad_by_reason": dict(sorted(reasons.items()))},
        digests,
        delivered,
    )


class _Told:
    """Gathers by what the records of a batch are told from others."""

    def __init__(self) -> None:
        self._digests: list[pa.Table] = []
        self._messages: list[tuple[pa.Table, pa.Table]] = []
        self._delivered: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, chunk: _Checked, valid: int, bad: int) -> None:
        """The next chunk; `valid` and `bad` records came before it."""
        if chunk.digests is not None:
            self._digests.append(chunk.digests)
        if chunk.messages is not None:
            among_valid = chunk.delivered < chunk.table.num_rows
            first_bad = int(among_valid.sum())
            self._messages.append((chunk.messages.slice(0, first_bad), chunk.messages.slice(first_bad)))
            of_bad = chunk.delivered[~among_valid] - chunk.table.num_rows + bad
            self._delivered.append((chunk.delivered[among_valid] + valid, of_bad))

    def of_batch(self, valid: int, identified: bool) -> tuple[pa.Table | None, np.ndarray]:
        """`digests` and `delivered` of a batch with so many `valid` records. Messages of valid records come
        first: of two deliveries of one, the valid record is the one that stays."""
        if not identified and not self._messages:
            return None, np.empty(0, np.int64)
        own = self._digests if identified else [duplicates.unidentified(valid)]
        messages = [part for side in (0, 1) for part in (item[side] for item in self._messages)]
        delivered = [item[0] for item in self._delivered] + [item[1] + valid for item in self._delivered]
        digests = pa.concat_tables([duplicates.SCHEMA.empty_table(), *own, *messages])
        return digests, np.concatenate([np.empty(0, np.int64), *delivered])


def _tell_duplicates(
    installation: Installation, stream: Stream, batch: Batch, name: str, done: _Validated
) -> Made:
    """Compares the batch with those that came before it, and writes down the verdicts."""
    if done.digests is None:
        return Made((done.valid, done.bad), {**done.counts, "duplicate": 0})
    valid = done.valid.file.rows
    hour = hour_start(batch.hour)
    key = installation.keys.restricted_key(stream.name, hour.date())
    since = hour_of(hour - stream.dedupe_window)
    earlier = installation.ledger.earlier_commits(stream.name, VALIDATED_EVENTS, batch, since)
    verdict = duplicates.verdicts(done.digests, _earlier_digests(installation, stream, earlier.commits))
    again = done.delivered[verdict[valid:] == duplicates.DUPLICATE]
    verdict[again[again < valid]] = duplicates.DUPLICATE
    bad, bad_counts = _without(installation, done, again[again >= valid] - valid)
    table = done.digests.set_column(4, duplicates.SCHEMA.field("verdict"), pa.array(verdict))
    path = data_file(stream.name, EVENT_DIGESTS, hour, batch.id, name)
    # Nothing makes digests smaller.
    with write_parquet(
        installation.zones.restricted, path, duplicates.SCHEMA, key=key, compression="none"
    ) as out:
        out.write(table)
    repeated = int((verdict[:valid] == duplicates.DUPLICATE).sum())
    counts = {
        **done.counts,
        **bad_counts,
        "validated": valid - repeated,
        "duplicate": repeated + done.bad.file.rows - bad.file.rows,
        "event_id_reused": int((verdict[:valid] == duplicates.ID_REUSED).sum()),
    }
    return Made((done.valid, bad, MadeFile.of(EVENT_DIGESTS, path, out)), counts, earlier.head)


def _without(
    installation: Installation, done: _Validated, again: np.ndarray
) -> tuple[MadeFile, dict[str, int | dict[str, int]]]:
    """The bad events without those at `again`, which were set aside when they first came; and what is counted
    of them.

    Where any came in a message, the file is always written anew: so the first one is never given its name,
    stays for another comparison, and is a leftover to the hour's next sweep.
    """
    bad, lake = done.bad, installation.zones.lake
    if not (done.delivered >= done.valid.file.rows).any():
        return bad, {}
    kept = np.ones(bad.file.rows, bool)
    kept[again] = False
    reasons: Counter[str] = Counter()
    at = 0
    try:
        with write_parquet(lake, bad.file.path, bad_events.SCHEMA) as out:
            for part in read_parquet(lake, bad.hidden):
                rows = part.filter(pa.array(kept[at : at + part.num_rows]))
                at += part.num_rows
                reasons.update(rows["failure_type"].to_pylist())
                out.write(pa.Table.from_batches([rows], bad_events.SCHEMA))
    except FileNotFoundError:
        return bad, {}  # swept away: giving it its name fails, and the batch is made again
    return (
        MadeFile.of(BAD_EVENTS, bad.file.path, out),
        {"bad": out.rows, "bad_by_reason": dict(sorted(reasons.items()))},
    )


class _SealedFile(ObjectFile):
    """A landing object as it was sealed. That it is not so any more is a fault of the object, whenever the
    lake finds it out."""

    def __init__(self, versions: Versions, index: int) -> None:
        with _as_faults():
            self._file = versions.open(index)

    def read(self, size: int, /) -> bytes:
        with _as_faults():
            return self._file.read(size)

    def close(self) -> None:
        self._file.close()


@contextmanager
def _as_faults() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ObjectFault("object_missing", "the object is gone") from None
    except VersionChanged:
        raise ObjectFault("object_changed", "the object has other bytes than when it was sealed") from None


def _checker(installation: Installation, stream: Stream, batch: Batch):  # noqa: ANN202
    versions = SideBySide(stream.active, stream.contract_field)
    event_id_field = stream.contract.event_id_field  # that of all active versions
    # The bounds are those of the hour, not of the object: identical bytes get one verdict within an hour.
    start = hour_start(batch.hour)
    latest = start + timedelta(hours=2)
    arrivals = pa.array([item.arrival for item in batch.objects], pa.timestamp("us", "UTC"))
    seed = installation.digest_seed
    form = stream.format.form

    def check(chunk: RecordChunk | ObjectProblem) -> _Checked | ObjectProblem:
        if isinstance(chunk, ObjectProblem):
            return chunk
        arrival = arrivals.take(pa.array(chunk.object))
        fields = split_fields(chunk, form) if isinstance(form, DelimitedText) else None
        validated = versions.validate(chunk.records, chunk.too_large, start, latest, arrival, fields)
        rows = pa.array(validated.rows)
        table = validated.table.append_column(ARRIVAL_TIME, arrival.take(rows))
        digests = messages = None
        if event_id_field is not None:
            ids = column_at(table, event_id_field)
            digests = duplicates.digests(chunk.records, validated.rows, ids, seed)
        judged = np.concatenate([validated.rows, np.array([f.row for f in validated.failures], np.int64)])
        delivered = np.empty(0, np.int64)
        if chunk.message_ids is not None:
            delivered = np.flatnonzero(chunk.message_ids.is_valid().to_numpy(False)[judged])
            messages = duplicates.message_digests(chunk.records, judged[delivered], chunk.message_ids, seed)
        bad = [
            BadRecord(
                contract=failure.contract,
                object=int(chunk.object[failure.row]),
                number=int(chunk.number[failure.row]),
                offset=int(chunk.offset[failure.row]),
                type=failure.type,
                path=failure.path,
                rule=failure.rule,
                message=failure.message,
                record=chunk.records[failure.row].as_py(),
                subject=failure.subject,
            )
            for failure in validated.failures
        ]
        objects = frozenset(np.unique(chunk.object).tolist())
        size = int(chunk.records.nbytes)
        return _Checked(table, digests, messages, delivered, bad, len(chunk), size, objects)

    return check


def _refuse_if_gone(problem: ObjectProblem, made_before: bool, seen: set[int], batch: Batch) -> None:
    """A gone object is a bad one the first time; after that its committed output is worth more than none."""
    if problem.type not in ("object_missing", "object_changed"):
        return
    if made_before:
        raise InputsGone(f"batch {batch.id}: landing object {problem.object} is not there as it was sealed")
    if problem.object in seen:
        raise _GoneMeanwhile


def _earlier_digests(
    installation: Installation, stream: Stream, commits: tuple[Commit, ...]
) -> Iterator[pa.Table]:
    for commit in commits:
        key = installation.keys.restricted_key(stream.name, hour_start(commit.hour).date())
        for file in commit.files:
            if file.dataset == EVENT_DIGESTS:
                batches = read_parquet(installation.zones.restricted, file.path, key=key)
                yield pa.Table.from_batches(list(batches), duplicates.SCHEMA)


def _gate(rows: pa.Table) -> None:
    leaks = [
        Leak(name, f"looks like {detector}", count)
        for name in ("failure_type", "field", "rule", "message")
        for detector, count in detect(rows[name].combine_chunks().unique().drop_null()).items()
    ]
    if leaks:
        raise LeakError(leaks)
