"""Too many bad events mean a broken producer or contract: stop before half an hour looks like a whole one."""

import dagster as dg

from pii_pipeline.ledger import VALIDATED_EVENTS
from pii_pipeline.partitions import HOURS, hour_of_partition
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.steps import guarded, numbers
from pii_pipeline.streams.model import Stream

NAME = "bad_event_rate"


def bad_event_rate_check(stream: Stream) -> dg.AssetChecksDefinition:
    """The blocking check of a stream's hour: on ``validated_events``, on which the rest is built."""
    threshold = stream.bad_event_threshold

    @dg.asset_check(
        name=NAME,
        asset=dg.AssetKey([stream.name, VALIDATED_EVENTS]),
        description=f"At most {threshold:.1%} of the hour's records are bad (bad_event_threshold).",
        blocking=True,
        partitions_def=HOURS,
    )
    def check(
        context: dg.AssetCheckExecutionContext, installation: dg.ResourceParam[Installation]
    ) -> dg.AssetCheckResult:
        hour = hour_of_partition(context.op_execution_context.partition_key)
        found = guarded(lambda: installation.ledger.status(stream.name, hour))
        layer = found[0].layers.get(VALIDATED_EVENTS) if found else None
        counts = numbers(layer.counts) if layer else {}
        records, bad = counts.get("records", 0), counts.get("bad", 0)
        share = bad / records if records else 0.0
        passed = stream.tolerates(records, bad)
        excess = f"{bad} of {records} records are bad, more than {threshold:.1%}"
        return dg.AssetCheckResult(
            passed=passed,
            description=None if passed else excess,
            metadata={"records": records, "bad": bad, "share": share, "threshold": threshold},
        )

    return check
