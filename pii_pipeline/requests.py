"""Runs as sensors and schedules ask for them: one stream, one hour."""

from __future__ import annotations

import dagster as dg

from pii_pipeline.partitions import partition_of_hour
from pii_pipeline.streams.model import LAYERS, Stream

STREAM_TAG = "pii/stream"
"""Run tag: the stream that the run is of. The queue limits runs by it."""

DRAIN_TAG = "pii/drain"
"""Run tag: the stream whose queue the run drains. Of these there is one at a time."""

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
            dg.AssetKey([stream.name, name]) for name in (*LAYERS, *stream.derived, *stream.warehouse)
        ],
    )


def queued_hours(instance: dg.DagsterInstance, stream: str) -> set[str]:
    """The partitions for which a run of the stream was asked for and has not begun."""
    wanted = dg.RunsFilter(statuses=_NOT_BEGUN, tags={STREAM_TAG: stream})
    return {run.tags[_PARTITION_TAG] for run in instance.get_runs(wanted) if _PARTITION_TAG in run.tags}
