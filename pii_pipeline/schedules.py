"""What happens by the clock. All of it is UTC: hours are, and no hour of UTC comes twice or never."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import timedelta

import dagster as dg

from pii_pipeline.hours import hour_of
from pii_pipeline.partitions import partition_of_hour
from pii_pipeline.pipeline.arrivals import look_again, unfinished
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.landing import FIRST_HOUR
from pii_pipeline.requests import hour_request, queued_hours
from pii_pipeline.steps import guarded
from pii_pipeline.streams.model import Stream

HOURS = 24
"""How long an hour that failed is tried again every hour."""

EVERYTHING_AT = 4
"""The hour (UTC) of the day in which all of them are."""

LOOKING_SECONDS = 25
"""How long an evaluation looks at what has landed; Dagster gives it 60 in all."""


def daily_compaction(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """The schedule `compact_files`: at 03:20 every day, when of yesterday nothing much comes any more."""
    return _by_the_clock(
        "compact_files",
        job,
        "20 3 * * *",
        "Puts small files of hours that are over together, at 03:20 UTC every day.",
    )


def closed_hour(streams: Mapping[str, Stream], job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """The schedule `closed_hour`: five minutes after every hour, whatever is not made of it yet.

    A safety net below the sensors: looks again at what has landed in the last day, and in the time that is
    left at everything; and asks again for the hours of the last day, and at four o'clock for all hours, that
    have something in no batch, or a batch that is not made to its end.
    """

    @dg.schedule(
        name="closed_hour",
        description="Makes what the sensors' runs have not made, five minutes after every hour.",
        job=job,
        cron_schedule="5 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def net(
        context: dg.ScheduleEvaluationContext, installation: dg.ResourceParam[Installation]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        def look() -> list[dg.RunRequest]:
            now = context.scheduled_execution_time
            closed = hour_of(now - timedelta(hours=1))
            day = [hour_of(now - timedelta(hours=back)) for back in range(1, HOURS + 1)]
            since = FIRST_HOUR if now.hour == EVERYTHING_AT else day[-1]
            until = time.monotonic() + LOOKING_SECONDS
            asked = []
            for stream in streams.values():
                try:
                    guarded(lambda stream=stream: look_again(installation, stream, day, until))
                except dg.Failure as failure:
                    # The others have their turn, and what the ledger knows already is asked for.
                    context.log.error(f"{stream.name}: {failure.description}")
                queued = queued_hours(context.instance, stream.name)
                asked += [
                    hour_request(stream, hour, run_key=f"{stream.name} {hour} {now.isoformat()}")
                    for hour in unfinished(installation, stream, since, closed)
                    if partition_of_hour(hour) not in queued
                ]
            return asked

        asked = guarded(look)
        yield from asked
        if not asked:
            yield dg.SkipReason("everything is made that has landed")

    return net


def daily_retention(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """The schedule `daily_retention`: at 03:30 what is older than its stream keeps it is deleted."""
    return _by_the_clock("daily_retention", job, "30 3 * * *", "Deletes what is too old, every day at 03:30.")


def weekly_key_ages(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """The schedule `weekly_key_ages`: on Monday at 06:00 a report of how old keys are."""
    return _by_the_clock(
        "weekly_key_ages", job, "0 6 * * 1", "Reports how old keys are, every Monday at 06:00."
    )


def _by_the_clock(name: str, job: dg.JobDefinition, cron: str, description: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=name,
        description=description,
        job=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
