"""What every layer does alike: which batches to make, under which name, and the commit at the end."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from pii_pipeline.ledger import (
    Batch,
    Commit,
    CommittedFile,
    Counts,
    LeaseHeld,
    StaleHead,
    StaleUpstream,
    add_counts,
    upstream_of,
)
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.streams.model import Stream

LEASE_PATIENCE = 600.0
"""Seconds to wait for another run that works on the same stream and hour."""


class InputsGone(Exception):
    """A batch cannot be made again, its landing objects expired or changed; what was committed stays."""


class Progress(Protocol):
    """Told after every chunk; `records` and `bytes` are those of the chunk."""

    def __call__(self, layer: str, records: int, bytes: int) -> None: ...


def silent(layer: str, records: int, bytes: int) -> None:
    """No progress shown."""


@dataclass(frozen=True)
class Made:
    """What making one batch in one layer gave, ready to be committed."""

    files: tuple[CommittedFile, ...]
    counts: Counts
    expected_head: int | None = None


@dataclass
class LayerResult:
    """What a layer did for a stream and hour.

    `counts` are the sums over all committed batches, made now or before; `made` and `skipped` count
    batches; `seconds`, `made_records` and `made_bytes` (of files written) are this run's.
    """

    stream: str
    hour: str
    layer: str
    made: int = 0
    skipped: int = 0
    kept: list[str] = field(default_factory=list)
    counts: dict[str, int | dict[str, int]] = field(default_factory=dict)
    files: list[CommittedFile] = field(default_factory=list)
    seconds: float = 0.0
    made_records: int = 0
    made_bytes: int = 0


def make_layer(
    installation: Installation,
    stream: Stream,
    hour: str,
    layer: str,
    fingerprint_of: Callable[[Batch, Commit | None], str],
    make: Callable[[Batch, Commit | None, str], Made],
    records_name: str,
    force: bool,
) -> LayerResult:
    """Makes `layer` for every batch of the hour that is not made yet, or not from what is there now.

    `fingerprint_of(batch, upstream commit)` says what the output depends on; `make(batch, upstream commit,
    fingerprint)` writes the files. Nothing is visible before its commit. The lease keeps two runs from the
    same work; were it lost, they would still meet in the ledger's transaction.
    """
    ledger = installation.ledger
    result = LayerResult(stream.name, hour, layer)
    upstream_layer = upstream_of(layer)
    refused = False
    started = time.perf_counter()
    with ExitStack() as stack:
        _enter_patiently(stack, lambda: ledger.lease(stream.name, hour))
        for batch in ledger.batches(stream.name, hour):
            upstream = ledger.commit_of(batch.id, upstream_layer) if upstream_layer else None
            if upstream_layer and upstream is None:
                continue  # not made upstream: nothing to make it from
            fingerprint = fingerprint_of(batch, upstream)
            commit = ledger.commit_of(batch.id, layer)
            if commit is None or commit.fingerprint != fingerprint or force:
                try:
                    commit = _make_and_commit(installation, batch, layer, fingerprint_of, make)
                    result.made += 1
                    result.made_records += _number(commit.counts, records_name)
                    result.made_bytes += sum(file.bytes for file in commit.files)
                except InputsGone as gone:
                    result.kept.append(str(gone))
                    refused |= force or commit is None
            else:
                result.skipped += 1
            if commit is not None:
                result.counts = add_counts([result.counts, commit.counts])
                result.files += commit.files
    if refused:
        raise InputsGone("; ".join(result.kept))  # after the other batches, which can be made
    result.seconds = time.perf_counter() - started
    return result


def _make_and_commit(
    installation: Installation,
    batch: Batch,
    layer: str,
    fingerprint_of: Callable[[Batch, Commit | None], str],
    make: Callable[[Batch, Commit | None, str], Made],
) -> Commit:
    upstream_layer = upstream_of(layer)
    while True:
        started = time.perf_counter()
        upstream = installation.ledger.commit_of(batch.id, upstream_layer) if upstream_layer else None
        fingerprint = fingerprint_of(batch, upstream)
        with _without_collections():
            made = make(batch, upstream, fingerprint)
        try:
            done = installation.ledger.commit(
                batch,
                layer,
                fingerprint,
                made.files,
                made.counts,
                time.perf_counter() - started,
                expected_head=made.expected_head,
                upstream=upstream.fingerprint if upstream else None,
            )
        except (StaleHead, StaleUpstream):
            continue  # another run came first: what this was made from, or compared with, has changed
        for file in done.superseded:
            installation.delete(file)
        return done.commit


@contextmanager
def _without_collections() -> Iterator[None]:
    """No garbage collector while a batch is made: chunks are long lists without cycles, freed by counting,
    and looking through them again and again takes a twentieth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _enter_patiently(stack: ExitStack, lease: Callable[[], AbstractContextManager[object]]) -> None:
    give_up = time.monotonic() + LEASE_PATIENCE
    while True:
        try:
            stack.enter_context(lease())
            return
        except LeaseHeld:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)


def _number(counts: Mapping[str, int | Mapping[str, int]], name: str) -> int:
    value = counts.get(name, 0)
    return value if isinstance(value, int) else 0
