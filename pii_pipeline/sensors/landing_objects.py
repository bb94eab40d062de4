"""Watches what lands, and asks for one run of each hour of a stream that has new objects.

What is new goes into the ledger first, and what the ledger has in no batch is asked for. So a daemon that
dies between the two asks again. How far has been listed is kept there too, and in no cursor: it is the name
of an object, which may be a person's, and Dagster's database is no place for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import dagster as dg

from pii_pipeline.pipeline.arrivals import Noticed, notice_more, waiting
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.notifications import Told, enter_told, open_notifications
from pii_pipeline.pipeline.places import hold_to_places
from pii_pipeline.requests import requests_for
from pii_pipeline.steps import guarded
from pii_pipeline.streams.model import Stream

LOOKING_SECONDS = 12
"""How long a tick looks; the daemon gives it 60 in all. What is not seen now is seen next time."""

READING_SECONDS = 9
"""How long a tick takes notifications from their queue."""

DELETING_SECONDS = 4
"""How long it then may go on asking the queue: to delete what it has read. With the last answer a tick stays
below 20 seconds, whatever SQS does."""

HOURS_AT_ONCE = 24
"""Runs of a stream asked for in one tick; an old landing zone may have thousands of hours."""


def landing_sensor(stream: Stream, job: dg.UnresolvedAssetJobDefinition, seconds: int) -> dg.SensorDefinition:
    """The sensor `<stream>_landing_objects`, which lists every so many `seconds`."""

    @dg.sensor(
        name=f"{stream.name}_landing_objects",
        description=f"Asks for a run of every hour in which objects of {stream.name} have landed.",
        job=job,
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def landing(
        context: dg.SensorEvaluationContext, installation: dg.ResourceParam[Installation]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        def look() -> tuple[Noticed, list[dg.RunRequest]]:
            hold_to_places(installation)
            noticed = notice_more(installation, stream, LOOKING_SECONDS)
            return noticed, _requests(installation, context.instance, stream)

        noticed, asked = guarded(look)
        yield from asked
        if not asked:
            yield dg.SkipReason(f"nothing new among {noticed.seen:,} objects")

    return landing


def notification_sensor(
    streams: Mapping[str, Stream], queue: str, job: dg.UnresolvedAssetJobDefinition, seconds: int
) -> dg.SensorDefinition:
    """The sensor `landing_notifications`, which reads what S3 tells of a bucket that is too large to list,
    every so many `seconds`."""

    @dg.sensor(
        name="landing_notifications",
        description="Asks for a run of every hour of which S3 tells that objects have landed.",
        job=job,
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def told(
        context: dg.SensorEvaluationContext, installation: dg.ResourceParam[Installation]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        def look() -> tuple[Told, list[dg.RunRequest]]:
            hold_to_places(installation)
            opened = open_notifications(queue, READING_SECONDS + DELETING_SECONDS)
            told = enter_told(installation, opened, READING_SECONDS)
            return told, [
                request
                for stream in streams.values()
                for request in _requests(installation, context.instance, stream)
            ]

        told, asked = guarded(look)
        if told.foreign:
            context.log.warning(f"{told.foreign:,} messages in {queue} are no notifications of S3")
        yield from asked
        if not asked:
            yield dg.SkipReason(f"nothing new in {told.messages:,} notifications")

    return told


def _requests(
    installation: Installation, instance: dg.DagsterInstance, stream: Stream
) -> list[dg.RunRequest]:
    return requests_for(instance, stream, waiting(installation, stream))[:HOURS_AT_ONCE]
