"""What every layer does alike: which batches to make, under which name, and the commit at the end."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

from pii_pipeline.lake import publish
from pii_pipeline.ledger import (
    Batch,
    Commit,
    CommittedFile,
    Lease,
    LeaseHeld,
    LeaseLost,
    StaleHead,
    StaleUpstream,
    add_counts,
    upstream_of,
)
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.made import Made
from pii_pipeline.pipeline.memory import batch_memory
from pii_pipeline.pipeline.places import hour_lease
from pii_pipeline.pipeline.shared_files import take_apart
from pii_pipeline.pipeline.workers import Key, Task, WorkerFailed
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


P = TypeVar("P")


@dataclass(frozen=True)
class Layer(Generic[P]):
    """How a layer is made of a batch.

    `counted` is the count that speed is told in. `fingerprint_of(batch, upstream commit)` says what the
    output depends on. `make(installation, batch, upstream commit, fingerprint, progress)` does the work and
    writes files; it may run in another process, so it and what it returns must be picklable.
    `finish(batch, fingerprint, what make returned)` does what has to be done in the order of the batches, in
    this process, and again if another run's commit came between.
    `holds(batch, fingerprint)` says whether what was committed is still there, where that can be known.
    `side_by_side`: whether batches may be made at the same time, by worker processes.
    `lacks(upstream commit)` says whether what this layer reads of it was deleted since; `above` then is the
    layer by which it is made again.
    """

    name: str
    counted: str
    fingerprint_of: Callable[[Batch, Commit | None], str]
    make: Callable[[Installation, Batch, Commit | None, str, Progress], P]
    finish: Callable[[Batch, str, P], Made]
    holds: Callable[[Batch, str], bool] = lambda batch, fingerprint: True
    side_by_side: bool = True
    above: Layer[Any] | None = None
    lacks: Callable[[Commit], bool] = lambda upstream: False


Following = Callable[[Commit], Layer[Any] | None]
"""The layer that will be asked for next, of a batch whose commit this is; None if that is not sure."""


def as_made(batch: Batch, fingerprint: str, made: Made) -> Made:
    """The `finish` of a layer that has nothing to add."""
    return made


@dataclass
class LayerResult:
    """What a layer did for a stream and hour.

    `counts` are the sums over all committed batches, made now or before; `made` and `skipped` count
    batches; `made_records`, `made_bytes` (of files written) and `seconds` are this run's. Seconds are those
    of the batches, added up: what is made side by side takes less.
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


@dataclass(frozen=True)
class _Job:
    batch: Batch
    upstream: Commit | None
    fingerprint: str
    made_before: bool


def make_layer(
    installation: Installation,
    stream: Stream,
    hour: str,
    layer: Layer[Any],
    force: bool,
    progress: Progress,
    following: Following | None = None,
) -> LayerResult:
    """Makes `layer` for every batch of the hour that is not made yet, or not from what is there now.

    Nothing is visible before its commit. The lease keeps two runs from making the same. A run that has lost
    it commits nothing more: it waits for the other, and then looks what is left to be made. Worker processes
    that this layer has no more work for begin with the one that `following` names. Raises `ContractChanged`
    before anything is read.
    """
    while True:
        with suppress(LeaseLost):
            return _make_layer(installation, stream, hour, layer, force, progress, following)


def _make_layer(
    installation: Installation,
    stream: Stream,
    hour: str,
    layer: Layer[Any],
    force: bool,
    progress: Progress,
    following: Following | None,
) -> LayerResult:
    ledger = installation.ledger
    result = LayerResult(stream.name, hour, layer.name)
    upstream_layer = upstream_of(layer.name)
    refused = False

    def keep(job: _Job, gone: InputsGone) -> None:
        nonlocal refused
        result.kept.append(str(gone))
        refused |= force or not job.made_before

    with ExitStack() as stack:
        lease = _enter_patiently(stack, lambda: hour_lease(installation, stream.name, hour))
        stack.enter_context(_unless_overtaken(lease))
        ledger.remove_unheld(stream.name, hour, lease, installation.delete)  # of who was killed or overtaken
        commits: dict[str, Commit | None] = {}
        jobs: list[_Job] = []
        batches = ledger.batches(stream.name, hour)
        if batches:
            installation.hold_to_contracts(stream)
        for batch in batches:
            upstream = ledger.commit_of(batch.id, upstream_layer) if upstream_layer else None
            if upstream_layer and upstream is None:
                continue  # not made upstream: nothing to make it from
            commit = commits[batch.id] = ledger.commit_of(batch.id, layer.name)
            if job := _due(layer, batch, upstream, commit, force):
                jobs.append(job)
            else:
                result.skipped += 1
        jobs = list(_with_inputs(installation, lease, layer, jobs, progress, keep))
        again = [job.batch.id for job in jobs if job.made_before]
        if again:
            take_apart(installation, lease, stream.name, hour, layer.name, again)
        in_workers = installation.worth_workers([job.batch.bytes for job in jobs])
        made = stack.enter_context(closing(_make_all(installation, lease, layer, jobs, progress, keep)))
        for job, commit in made:
            commits[job.batch.id] = commit
            result.made += 1
            result.seconds += commit.seconds
            then = following(commit) if following and in_workers else None
            if then:
                before = ledger.commit_of(job.batch.id, then.name)
                if next_job := _due(then, job.batch, commit, before, force):
                    _offer(installation, then, next_job)
            result.made_records += _number(commit.counts, layer.counted)
            result.made_bytes += sum(file.bytes for file in commit.files)
    for commit in commits.values():
        if commit is not None:
            result.counts = add_counts([result.counts, commit.counts])
            result.files += commit.files
    if refused:
        raise InputsGone("; ".join(result.kept))  # after the other batches, which can be made
    return result


Keep = Callable[[_Job, InputsGone], None]
"""Told of a job that cannot be done: what was committed stays."""


def _with_inputs(
    installation: Installation,
    lease: Lease,
    layer: Layer[Any],
    jobs: Sequence[_Job],
    progress: Progress,
    keep: Keep,
) -> Iterator[_Job]:
    """The jobs, what they read being there: where it was deleted, it is made again, from landing."""
    above = layer.above
    lost = {job.batch.id: job for job in jobs if above and job.upstream and layer.lacks(job.upstream)}
    remade: dict[str, Commit] = {}
    if above and lost:
        first = [_made_again(installation, above, job) for job in lost.values()]
        first = list(_with_inputs(installation, lease, above, first, progress, keep))
        take_apart(installation, lease, jobs[0].batch.stream, jobs[0].batch.hour, above.name, lost)
        made = _make_all(installation, lease, above, first, progress, keep)
        remade = {job.batch.id: commit for job, commit in made}
    for job in jobs:
        if job.batch.id not in lost:
            yield job
        elif upstream := remade.get(job.batch.id):
            fingerprint = layer.fingerprint_of(job.batch, upstream)
            yield _Job(job.batch, upstream, fingerprint, job.made_before)


def _made_again(installation: Installation, above: Layer[Any], job: _Job) -> _Job:
    """The same of the layer above."""
    top = upstream_of(above.name)
    upstream = installation.ledger.commit_of(job.batch.id, top) if top else None
    return _Job(job.batch, upstream, above.fingerprint_of(job.batch, upstream), job.made_before)


def _make_all(
    installation: Installation,
    lease: Lease,
    layer: Layer[Any],
    jobs: Sequence[_Job],
    progress: Progress,
    keep: Keep,
) -> Generator[tuple[_Job, Commit]]:
    """Each job and its commit, in order, but for those that cannot be done."""
    with closing(_work(installation, layer, jobs, progress)) as results:
        for job, worked in zip(jobs, results, strict=True):
            try:
                commit = _commit(installation, lease, layer, job, worked, progress)
            except InputsGone as gone:
                lease.renew()  # what another makes again, who has overtaken this run, is in other files now
                keep(job, gone)
            else:
                yield job, commit


@dataclass(frozen=True)
class _Worked:
    """What `make` returned and the seconds it took. If that was before the layer's turn, `losses` are those
    of the key store when it began: of who was forgotten since, it may hold what it must not."""

    made: Any
    seconds: float
    losses: int | None = None


def _work(
    installation: Installation, layer: Layer[Any], jobs: Sequence[_Job], progress: Progress
) -> Generator[_Worked | InputsGone]:
    """What came of each job, in order: made ahead, or now; in worker processes where that is worth their
    start."""
    ahead = _taken_from_ahead(installation, layer.name, jobs)
    now = [job for job in jobs if job.batch.id not in ahead]
    if layer.side_by_side and installation.worth_workers([job.batch.bytes for job in now]):
        tasks: dict[Key, Task] = {
            _key(layer, job): (_make, (layer.make, job.batch, job.upstream, job.fingerprint)) for job in now
        }
        worked = installation.processes.run(tasks, progress)
    else:
        worked = (
            _make(installation, layer.make, job.batch, job.upstream, job.fingerprint, progress) for job in now
        )
    with closing(worked):
        for job in jobs:
            yield ahead.get(job.batch.id) or next(worked)


def offer_layer(
    installation: Installation, stream: Stream, hour: str, layer: Layer[Any], force: bool
) -> None:
    """To the workers, where they will be worth it: an hour's first layer, before it is asked for."""
    ledger = installation.ledger
    jobs = [
        job
        for batch in ledger.batches(stream.name, hour)
        if (job := _due(layer, batch, None, ledger.commit_of(batch.id, layer.name), force))
    ]
    if installation.worth_workers([job.batch.bytes for job in jobs]):
        for job in jobs:
            _offer(installation, layer, job)


def _offer(installation: Installation, layer: Layer[Any], job: _Job) -> None:
    task = _make_early, (layer.make, job.batch, job.upstream, job.fingerprint)
    installation.processes.offer(_key(layer, job), task)


def _key(layer: Layer[Any], job: _Job) -> Key:
    """By this a step finds what was made of the job before its turn."""
    return layer.name, job.batch.id, job.fingerprint


def _due(
    layer: Layer[Any], batch: Batch, upstream: Commit | None, commit: Commit | None, force: bool
) -> _Job | None:
    """What there is to do for a batch whose part of the layer was last committed as `commit`, if anything."""
    fingerprint = layer.fingerprint_of(batch, upstream)
    if commit is None or commit.fingerprint != fingerprint or force or not layer.holds(batch, fingerprint):
        return _Job(batch, upstream, fingerprint, commit is not None)
    return None


def _taken_from_ahead(installation: Installation, layer: str, jobs: Sequence[_Job]) -> dict[str, _Worked]:
    """By batch: what was made of these jobs ahead."""
    found = [(job, installation.ahead.pop((layer, job.batch.id), None)) for job in jobs]
    return {
        job.batch.id: _Worked(item.made, item.seconds, item.losses)
        for job, item in found
        if item and item.fingerprint == job.fingerprint
    }


def _make(
    installation: Installation,
    make: Callable[[Installation, Batch, Commit | None, str, Progress], Any],
    batch: Batch,
    upstream: Commit | None,
    fingerprint: str,
    progress: Progress,
) -> _Worked | InputsGone:
    installation.renew_keys()
    started = time.perf_counter()
    try:
        with batch_memory(), _without_collections():
            made = make(installation, batch, upstream, fingerprint, progress)
    except InputsGone as gone:
        return gone
    return _Worked(made, time.perf_counter() - started)


def _make_early(installation: Installation, *work: Any) -> _Worked:
    """As `_make`, before the layer's turn."""
    losses = installation.keys.losses()
    worked = _make(installation, *work)
    if isinstance(worked, InputsGone):
        raise worked  # an offer that fails is made again in its turn
    return replace(worked, losses=losses)


def _commit(
    installation: Installation,
    lease: Lease,
    layer: Layer[Any],
    job: _Job,
    worked: _Worked | InputsGone,
    progress: Progress,
) -> Commit:
    """Commits what was made. If another run came first, what it was compared with, or made from, has changed:
    it is finished, or made, again. So it is if it was made early and does not hold any more."""
    batch, upstream, fingerprint = job.batch, job.upstream, job.fingerprint
    ledger, place = installation.ledger, (job.batch.stream, job.batch.hour)
    announced: dict[str, CommittedFile] = {}
    published: set[str] = set()
    while True:
        if isinstance(worked, InputsGone):
            raise worked
        started = time.perf_counter()
        with batch_memory():
            made = layer.finish(batch, fingerprint, worked.made)
        seconds = worked.seconds + time.perf_counter() - started - sum(item.seconds for item in made.ahead)
        if not _holds(installation, worked):
            worked = _make(installation, layer.make, batch, upstream, fingerprint, progress)
            continue
        files = [item.file for item in made.files]
        if files:
            files = ledger.announce(*place, layer.name, files, lease)
        announced |= {file.path: file for file in files}
        if not _published(installation, [item.hidden for item in made.files], files, published):
            worked = _make(installation, layer.make, batch, upstream, fingerprint, progress)
            continue
        try:
            done = ledger.commit(
                batch,
                layer.name,
                fingerprint,
                files,
                made.counts,
                seconds,
                expected_head=made.expected_head,
                upstream=upstream.fingerprint if upstream else None,
                lease=lease,
            )
        except StaleHead:
            continue
        except StaleUpstream:
            upstream_layer = upstream_of(layer.name)
            upstream = ledger.commit_of(batch.id, upstream_layer) if upstream_layer else None
            fingerprint = layer.fingerprint_of(batch, upstream)
            worked = _make(installation, layer.make, batch, upstream, fingerprint, progress)
            continue
        except LeaseLost:
            ledger.disown(*place, layer.name, list(announced.values()))
            raise
        for item in made.ahead:
            installation.ahead[item.layer, batch.id] = item
        if done.superseded or announced.keys() - {file.path for file in files}:
            ledger.remove_unheld(*place, lease, installation.delete)
        return done.commit


def _holds(installation: Installation, worked: _Worked) -> bool:
    if worked.losses in (None, installation.keys.losses()):
        return True
    installation.forget_windows()
    return False


def _published(
    installation: Installation, hidden: Sequence[str], files: Sequence[CommittedFile], published: set[str]
) -> bool:
    """Gives what is `hidden` its names, those that have not got them yet. False if one is gone: what is
    finished and not committed, any other run of the hour may have swept away."""
    for path, file in zip(hidden, files, strict=True):
        if path not in published:
            try:
                publish(installation.zone_holding(file.dataset), path, file.path)
            except FileNotFoundError:
                return False
            published.add(path)
    return True


@contextmanager
def _unless_overtaken(lease: Lease) -> Iterator[None]:
    """Raises `LeaseLost` where a file is gone because another has this lease, and has made it anew."""
    try:
        yield
    except (FileNotFoundError, WorkerFailed):
        lease.renew()
        raise


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


def _enter_patiently(stack: ExitStack, lease: Callable[[], AbstractContextManager[Lease]]) -> Lease:
    give_up = time.monotonic() + LEASE_PATIENCE
    while True:
        try:
            return stack.enter_context(lease())
        except LeaseHeld:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)


def _number(counts: Mapping[str, int | Mapping[str, int]], name: str) -> int:
    value = counts.get(name, 0)
    return value if isinstance(value, int) else 0
