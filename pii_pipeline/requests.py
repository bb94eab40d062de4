"""Runs as sensors and schedules ask for them: one stream, one hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import dagster as dg

from pii_pipeline.ledger import Waiting
from pii_pipeline.partitions import partition_of_hour
from pii_pipeline.streams.model import Stream

STREAM_TAG = "pii/stream"
"""Run tag: the stream that the run is of. The queue limits runs by it."""

DRAIN_TAG = "pii/drain"
"""Run tag: the stream whose queue the run drains. Of these there is one at a time."""

_WAITING_TAG = "pii/waiting"
"""Run tag: which objects were waiting when the run was asked for."""

ATTEMPTS = 3
"""Runs for the same objects. Where they fail, others have their turn; the schedules go on with those."""

_RECENT_RUNS = 1_000
_PARTITION_TAG = "dagster/partition"
_NOT_BEGUN = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,  # its process is; it has looked at nothing yet
]


def hour_request(stream: Stream, hour: str, run_key: str | None = None) -> dg.RunRequest:
    """A run of `process_events` for the stream and hour ("2026-11-22T10"); Dagster starts no two with the
    same key."""
    return dg.RunRequest(
        run_key=run_key,
        partition_key=partition_of_hour(hour),
        tags={STREAM_TAG: stream.name},
        asset_selection=[
            dg.AssetKey([stream.name, name]) for name in (*stream.layers, *stream.derived, *stream.warehouse)
        ],
    )


def requests_for(
    instance: dg.DagsterInstance, stream: Stream, hours: Sequence[Waiting]
) -> list[dg.RunRequest]:
    """A run for each of these hours, but where one has not begun, which will take whatever is there when it
    does; where one for the same objects is at work; or where some for them have failed."""
    if not hours:
        return []
    tried: Counter[tuple[str | None, str | None]] = Counter()
    queued, at_work = set(), set()
    for run in instance.get_runs(dg.RunsFilter(tags={STREAM_TAG: stream.name}), limit=_RECENT_RUNS):
        about = run.tags.get(_PARTITION_TAG), run.tags.get(_WAITING_TAG)
        tried[about] += 1
        if run.status in _NOT_BEGUN:
            queued.add(about[0])
        elif not run.is_finished:
            at_work.add(about)
    asked = []
    for item in hours:
        about = partition_of_hour(item.hour), item.digest
        if about[0] not in queued and about not in at_work and tried[about] < ATTEMPTS:
            key = f"{stream.name} {item.hour} {item.digest} {tried[about]}"
            request = hour_request(stream, item.hour, key)
            asked.append(request._replace(tags={**request.tags, _WAITING_TAG: item.digest}))
    return asked


def queued_hours(instance: dg.DagsterInstance, stream: str) -> set[str]:
    """The partitions for which a run of the stream was asked for and has not begun."""
    wanted = dg.RunsFilter(statuses=_NOT_BEGUN, tags={STREAM_TAG: stream})
    return {run.tags[_PARTITION_TAG] for run in instance.get_runs(wanted) if _PARTITION_TAG in run.tags}
