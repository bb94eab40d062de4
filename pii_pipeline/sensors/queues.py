"""Watches the queue that a stream's events come from, and asks for a drain when messages wait in it."""

from __future__ import annotations

import dagster as dg

from pii_pipeline.jobs import DRAIN_QUEUE, drain_config
from pii_pipeline.pipeline.drain import messages_waiting
from pii_pipeline.requests import DRAIN_TAG
from pii_pipeline.steps import guarded
from pii_pipeline.streams.model import Stream

ASKING_SECONDS = 12
"""How long a tick asks the queue. With the last answer it stays below 20 seconds, whatever SQS does."""

_UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def queue_sensor(stream: Stream, job: dg.JobDefinition, seconds: int, on: bool) -> dg.SensorDefinition:
    """The sensor `<stream>_queue`, which looks every so many `seconds`; unless `on`, it is switched off until
    somebody switches it on.

    A drain that is under way is let finish. That saves a run which would do nothing; what keeps two drains of
    a queue apart is their lease.
    """

    @dg.sensor(
        name=f"{stream.name}_queue",
        description=f"Asks for a drain of the queue of {stream.name} when messages wait in it.",
        job=job,
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        wanted = {DRAIN_TAG: stream.name}
        if context.instance.get_run_ids(dg.RunsFilter(None, DRAIN_QUEUE, _UNDER_WAY, wanted), limit=1):
            return dg.SkipReason("the queue is being drained")
        waiting = guarded(lambda: messages_waiting(stream, ASKING_SECONDS))
        if not waiting:
            return dg.SkipReason("no messages wait")
        return dg.RunRequest(run_config=drain_config(stream.name), tags=wanted)

    return watch
