"""The main job, the one that takes messages from a queue, and the one that keeps the files few."""

from importlib.metadata import PackageNotFoundError, version

import dagster as dg

from pii_pipeline.ledger import LeaseHeld
from pii_pipeline.pipeline.compaction import CompactedHour, compact_hours, hours_to_compact
from pii_pipeline.pipeline.drain import Drained, drain
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.steps import guarded

PROCESS_EVENTS = "process_events"
DRAIN_QUEUE = "drain_queue"
COMPACT_FILES = "compact_files"


def process_events() -> "dg.UnresolvedAssetJobDefinition":  # only type checkers can import it
    """Every asset and check of every stream, for one arrival hour.

    Nothing is tried again by Dagster: what failed for the data's sake fails again, and a run is cheap to
    start anew, since it skips what is made.
    """
    return dg.define_asset_job(
        PROCESS_EVENTS,
        selection=dg.AssetSelection.all(),
        description="One hour of landing objects → validated, pseudonymized and derived events, checked.",
        tags={"pii/version": _version()},
    )


class DrainConfig(dg.Config):
    """Which queue."""

    stream: str
    """The stream whose `source` it is."""


@dg.op(
    name="drain", description="Messages of the queue → landing objects of the hour that it is; then deleted."
)
def _drain(
    context: dg.OpExecutionContext, config: DrainConfig, installation: dg.ResourceParam[Installation]
) -> None:
    def work() -> Drained | None:
        try:
            return drain(installation, installation.streams[config.stream])
        except LeaseHeld:
            return None

    drained = guarded(work)
    if drained is None:
        context.log.info("another drain of the queue is at work")
        return
    context.add_output_metadata(
        {
            "messages": drained.messages,
            "objects": len(drained.objects),
            "bytes": sum(item.bytes for item in drained.objects),
            "hours": ", ".join(drained.hours),
            "undeleted": drained.undeleted,
            "waiting": drained.waiting,
            "seconds": round(drained.seconds, 3),
        }
    )


def drain_queue() -> dg.JobDefinition:
    """Drains the queue of one stream, which `drain_config` names."""

    @dg.job(
        name=DRAIN_QUEUE,
        description="The queue of one stream → landing objects, whose hours other runs process.",
        tags={"pii/version": _version()},
    )
    def job() -> None:
        _drain()

    return job


def drain_config(stream: str) -> dg.RunConfig:
    """Has `drain_queue` drain the queue of this stream."""
    return dg.RunConfig(ops={"drain": DrainConfig(stream=stream)})


@dg.op(name="compact", description="Small files of hours that are over → few; readers read on.")
def _compact(context: dg.OpExecutionContext, installation: dg.ResourceParam[Installation]) -> None:
    def work() -> list[CompactedHour]:
        due = hours_to_compact(installation, list(installation.streams.values()))
        return list(compact_hours(installation, due))

    hours = guarded(work)
    context.add_output_metadata(
        {
            "hours": len(hours),
            "hours_busy": sum(hour.busy for hour in hours),
            "files_before": sum(hour.before for hour in hours),
            "files_after": sum(hour.after for hour in hours),
            "files_deleted": sum(hour.deleted for hour in hours),
            "bytes_before": sum(hour.bytes_before for hour in hours),
            "bytes_after": sum(hour.bytes_after for hour in hours),
        }
    )
    problems = [f"{hour.stream} {hour.hour}: {hour.problem}" for hour in hours if hour.problem]
    if problems:
        raise dg.Failure("; ".join(problems), allow_retries=False)


def compact_files() -> dg.JobDefinition:
    """Compacts the files of all streams."""

    @dg.job(
        name=COMPACT_FILES,
        description="Small files of every stream's hours that are over → few; readers read on.",
        tags={"pii/version": _version()},
    )
    def job() -> None:
        _compact()

    return job


def _version() -> str:
    try:
        return version("pii_pipeline")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
