"""relayed_originals: what Snowplow's PII enrichment replaced, in the vault."""

from collections.abc import Iterator

import dagster as dg

from pii_pipeline.assets import columns, summaries
from pii_pipeline.assets.specs import asset_spec, version
from pii_pipeline.assets.vault_records import vault_metadata
from pii_pipeline.ledger import RELAYED_ORIGINALS, VALIDATED_EVENTS
from pii_pipeline.partitions import hour_of_partition
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import Progress
from pii_pipeline.pipeline.relayed_originals import CODE_VERSION, relay_hour
from pii_pipeline.steps import forced, guarded
from pii_pipeline.streams.model import Stream


def relayed_originals_asset(stream: Stream, store: str) -> dg.AssetsDefinition:
    """The asset `[stream, relayed_originals]` of a vault in a `store` of that kind."""
    spec = asset_spec(
        stream,
        RELAYED_ORIGINALS,
        "vault",
        "What Snowplow's PII enrichment replaced, each original sealed: on the stream `piinguin`, as over "
        "Piinguin's wire.",
        columns.relayed_columns(stream),
        relay_hour,
        upstream=VALIDATED_EVENTS,
        code_version=version(stream, CODE_VERSION),
        stored=store,
    )

    @dg.multi_asset(name="__".join(spec.key.path), specs=[spec])
    def relay(
        context: dg.AssetExecutionContext,
        installation: dg.ResourceParam[Installation],
        progress: dg.ResourceParam[Progress],
    ) -> Iterator[dg.MaterializeResult]:
        hour = hour_of_partition(context.partition_key)
        force = forced(context.run.tags)
        relayed = guarded(lambda: relay_hour(installation, stream, hour, force, progress))
        yield dg.MaterializeResult(spec.key, metadata=vault_metadata(summaries.relayed, relayed))

    return relay
