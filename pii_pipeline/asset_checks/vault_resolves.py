"""What pseudonyms stand for is in the vault, and can be told: a sample of every hour."""

from collections.abc import Callable
from dataclasses import asdict

import dagster as dg

from pii_pipeline.partitions import HOURS, hour_of_partition
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.vault_sample import PSEUDONYMS, Resolved
from pii_pipeline.steps import guarded
from pii_pipeline.streams.model import Stream

NAME = "vault_resolves"


def vault_resolves_check(
    stream: Stream, layer: str, resolve: Callable[[Installation, Stream, str], Resolved], right: str
) -> dg.AssetChecksDefinition:
    """The blocking check of a stream's hour, on a `layer` that loads into the vault; `right`: which original
    a pseudonym of it has to have."""

    @dg.asset_check(
        name=NAME,
        asset=dg.AssetKey([stream.name, layer]),
        description=f"Of up to {PSEUDONYMS} of the hour's pseudonyms, others each time, the vault tells "
        f"{right}. Read as `pipeline`, on record.",
        blocking=True,
        partitions_def=HOURS,
    )
    def check(
        context: dg.AssetCheckExecutionContext, installation: dg.ResourceParam[Installation]
    ) -> dg.AssetCheckResult:
        hour = hour_of_partition(context.op_execution_context.partition_key)
        found = guarded(lambda: resolve(installation, stream, hour))
        return dg.AssetCheckResult(
            passed=found.problem is None, description=found.problem, metadata=asdict(found)
        )

    return check
