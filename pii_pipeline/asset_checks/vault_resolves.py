"""What the lake's pseudonyms stand for is in the vault, and can be told: a sample of every hour."""

from dataclasses import asdict

import dagster as dg

from pii_pipeline.ledger import VAULT_RECORDS
from pii_pipeline.partitions import HOURS, hour_of_partition
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.vault_sample import PSEUDONYMS, resolve_sample
from pii_pipeline.steps import guarded
from pii_pipeline.streams.model import Stream

NAME = "vault_resolves"


def vault_resolves_check(stream: Stream) -> dg.AssetChecksDefinition:
    """The blocking check of a stream's hour, on ``vault_records``."""

    @dg.asset_check(
        name=NAME,
        asset=dg.AssetKey([stream.name, VAULT_RECORDS]),
        description=f"Of up to {PSEUDONYMS} of the hour's pseudonyms, others each time, the vault tells an "
        "original that becomes the pseudonym again. Read as `pipeline`, on record.",
        blocking=True,
        partitions_def=HOURS,
    )
    def check(
        context: dg.AssetCheckExecutionContext, installation: dg.ResourceParam[Installation]
    ) -> dg.AssetCheckResult:
        hour = hour_of_partition(context.op_execution_context.partition_key)
        found = guarded(lambda: resolve_sample(installation, stream, hour))
        return dg.AssetCheckResult(
            passed=found.problem is None, description=found.problem, metadata=asdict(found)
        )

    return check
