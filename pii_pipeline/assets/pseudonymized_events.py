"""pseudonymized_events: the lake."""

import dagster as dg

from pii_pipeline.assets import columns, summaries
from pii_pipeline.assets.layer import counts_metadata, derived_among, layer_assets
from pii_pipeline.assets.specs import asset_spec, cautions, version
from pii_pipeline.ledger import PSEUDONYMIZED_EVENTS, VALIDATED_EVENTS
from pii_pipeline.pipeline.pseudonymize import code_version, pseudonymize_hour
from pii_pipeline.streams.model import Stream


def pseudonymized_events_asset(stream: Stream) -> dg.AssetsDefinition:
    """The asset `[stream, pseudonymized_events]`."""
    spec = asset_spec(
        stream,
        PSEUDONYMIZED_EVENTS,
        "lake",
        "Validated events, each field treated as the contract says. Left out: redelivered events, and those "
        "of forgotten people and expired days.",
        columns.pseudonymized_columns(stream),
        pseudonymize_hour,
        upstream=VALIDATED_EVENTS,
        code_version=version(stream, code_version(stream)),
        metadata=cautions(stream),
    )
    return layer_assets(
        stream,
        [spec],
        gated=PSEUDONYMIZED_EVENTS,
        work=lambda installation, hour, force, progress, asked: pseudonymize_hour(
            installation, stream, hour, force, progress, derived_among(stream, asked)
        ),
        describe=lambda _, result: {
            "summary": dg.MetadataValue.md(summaries.pseudonymized(stream, result.counts)),
            **counts_metadata(result),
        },
    )
