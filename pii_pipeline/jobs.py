"""The main job, and the one that takes messages from a queue."""

from importlib.metadata import PackageNotFoundError, version

import dagster as dg

from pii_pipeline.ledger import LeaseHeld
from pii_pipeline.pipeline.drain import Drained, drain
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.steps import guarded

PROCESS_EVENTS = "process_events"
DRAIN_QUEUE = "drain_queue"


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


def _version() -> str:
    try:
        return version("pii_pipeline")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
