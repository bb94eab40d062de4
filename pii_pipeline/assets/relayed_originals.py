"""relayed_originals: what Snowplow's PII enrichment replaced, in the vault."""

import dagster as dg

from pii_pipeline.assets import columns, summaries
from pii_pipeline.assets.layer import loading_asset
from pii_pipeline.assets.specs import asset_spec, version
from pii_pipeline.assets.vault_records import vault_metadata
from pii_pipeline.ledger import RELAYED_ORIGINALS, VALIDATED_EVENTS
from pii_pipeline.pipeline.relayed_originals import CODE_VERSION, relay_hour
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
    return loading_asset(
        spec,
        lambda installation, hour, force, progress: relay_hour(installation, stream, hour, force, progress),
        lambda _, relayed: vault_metadata(summaries.relayed, relayed),
    )
