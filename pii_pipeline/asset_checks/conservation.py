"""Every record that went in is accounted for once: counted again from the ledger, over the whole hour."""

import dagster as dg

from pii_pipeline.partitions import HOURS, hour_of_partition
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.steps import guarded, numbers

NAME = "conservation"


def conservation_check(stream: str, layer: str, law: str) -> dg.AssetChecksDefinition:
    """The blocking check of one layer of one stream, and of the asset whose name is the last part of the
    layer's; `law` says what must be equal."""

    @dg.asset_check(
        name=NAME,
        asset=dg.AssetKey([stream, layer.rpartition("/")[2]]),
        description=f"{law}, over all batches of the hour, and as many went in as came out upstream.",
        blocking=True,
        partitions_def=HOURS,
    )
    def check(
        context: dg.AssetCheckExecutionContext, installation: dg.ResourceParam[Installation]
    ) -> dg.AssetCheckResult:
        hour = hour_of_partition(context.op_execution_context.partition_key)
        found = guarded(lambda: installation.ledger.status(stream, hour))
        # Each text begins with the layer whose law is broken.
        wrong = [text for status in found for text in status.violations() if text.startswith(f"{layer}: ")]
        known = found[0].layers.get(layer) if found else None
        return dg.AssetCheckResult(
            passed=not wrong,
            description="; ".join(wrong) or None,
            metadata=numbers(known.counts) if known else {},
        )

    return check
