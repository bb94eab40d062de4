"""Too many bad events mean a broken producer or contract: stop before half an hour looks like a whole one."""

import dagster as dg

from pii_pipeline.asset_checks.tables import table
from pii_pipeline.ledger import VALIDATED_EVENTS, Counts
from pii_pipeline.partitions import HOURS, hour_of_partition
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.steps import guarded, numbers, reasons, share
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
        passed = stream.tolerates(records, bad)
        are = "record is" if records == 1 else "records are"
        excess = f"{bad} of {records} {are} bad, more than {threshold:.1%}"
        return dg.AssetCheckResult(
            passed=passed,
            description=None if passed else excess,
            metadata={
                "outcomes": _outcomes(layer.counts if layer else {}),
                "records": records,
                "bad": bad,
                "share": share(bad, records),
                "threshold": threshold,
            },
        )

    return check


def _outcomes(counts: Counts) -> dg.TableMetadataValue:
    """What became of each of the hour's records."""
    known = numbers(counts)
    good = [(name, known.get(name, 0)) for name in ("validated", "duplicate")]
    bad = [(f"bad: {reason}", number) for reason, number in reasons(counts)]
    total = known.get("records", 0)
    rows = [(name, number, f"{share(number, total):.1%}") for name, number in (*good, *bad)]
    return table(("outcome", "records", "share"), rows)
