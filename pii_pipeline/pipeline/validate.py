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
    write_parquet,
)
from pii_pipeline.ledger import (
    VALIDATED_EVENTS,
    Batch,
    Commit,
    fingerprint,
    hour_start,
)
from pii_pipeline.pipeline import bad_events, duplicates, transformations
from pii_pipeline.pipeline.bad_events import BAD_EVENTS, BadRecord, bad_event_rows
from pii_pipeline.pipeline.columns import column_at
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import InputsGone, Layer, LayerResult, Progress, make_layer, silent
from pii_pipeline.pipeline.made import MadeFile
from pii_pipeline.pipeline.parallel import ordered_map
from pii_pipeline.pipeline.redelivery import BatchDigests, ChunkDigests, Validated, tell_duplicates
from pii_pipeline.privacy.detectors import detect
from pii_pipeline.privacy.leak_gate import Leak, LeakError
from pii_pipeline.privacy.plan import CONTRACT, EVENT_TIME, UNLISTED
from pii_pipeline.streams.model import Stream
from pii_pipeline.validation import SideBySide

CODE_VERSION = "5"
ARRIVAL_TIME = "_arrival_time"


@dataclass(frozen=True, slots=True)
class _Checked:
    """One chunk after validation: its typed rows, its bad records, by what both are told, and its size."""

    table: pa.Table
    bad: list[BadRecord]
    digests: ChunkDigests
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


def validation(installation: Installation, stream: Stream) -> Layer[Validated]:
    """The layer."""

    def fingerprint_of(batch: Batch, _: Commit | None) -> str:
        etags = [item.etag for item in batch.objects]
        settings = f"{stream.max_record_bytes} {stream.dedupe_window} {stream.contract_field} {stream.format}"
        if stream.relay:
            settings += f" {stream.relay} {transformations.CODE_VERSION}"
        return fingerprint(etags, f"{stream.digest} {settings}", CODE_VERSION, None)

    return Layer(
        VALIDATED_EVENTS,
        "records",
        fingerprint_of,
        partial(_validate_batch, stream),
        partial(tell_duplicates, installation, stream),
    )


class _GoneMeanwhile(Exception):
    """A landing object changed, or went, when some of its records had been read."""


def _validate_batch(
    stream: Stream,
    installation: Installation,
    batch: Batch,
    _: Commit | None,
    name: str,
    progress: Progress,
) -> Validated:
    while True:
        with suppress(_GoneMeanwhile):  # next time it is gone before any of its records
            return _validate_objects(stream, installation, batch, name, progress)


def _validate_objects(
    stream: Stream, installation: Installation, batch: Batch, name: str, progress: Progress
) -> Validated:
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
    told = BatchDigests()
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
            told.add(result.digests, valid.rows, counts["bad"])
            valid.write(result.table)
            if result.bad:
                set_aside(result.bad)
            progress(VALIDATED_EVENTS, result.records, result.bytes)

    digests, delivered = told.of_batch(valid.rows, identified=stream.contract.event_id_field is not None)
    return Validated(
        MadeFile.of(VALIDATED_EVENTS, validated_path, valid),
        MadeFile.of(BAD_EVENTS, bad_path, bad_file),
        {**counts, "validated": valid.rows, "bad_by_reason": dict(sorted(reasons.items()))},
        digests,
        delivered,
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
    contracts = {contract.contract: contract for contract in stream.active}
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
        if stream.relay:
            validated = transformations.without_unreadable(validated, contracts)
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
        told = ChunkDigests(table.num_rows, digests, messages, delivered)
        return _Checked(table, bad, told, len(chunk), size, objects)

    return check


def _refuse_if_gone(problem: ObjectProblem, made_before: bool, seen: set[int], batch: Batch) -> None:
    """A gone object is a bad one the first time; after that its committed output is worth more than none."""
    if problem.type not in ("object_missing", "object_changed"):
        return
    if made_before:
        raise InputsGone(f"batch {batch.id}: landing object {problem.object} is not there as it was sealed")
    if problem.object in seen:
        raise _GoneMeanwhile


def _gate(rows: pa.Table) -> None:
    leaks = [
        Leak(name, f"looks like {detector}", count)
        for name in ("failure_type", "field", "rule", "message")
        for detector, count in detect(rows[name].combine_chunks().unique().drop_null()).items()
    ]
    if leaks:
        raise LeakError(leaks)
