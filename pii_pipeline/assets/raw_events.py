"""raw_events: the hour's landing objects, sealed in the ledger."""

from collections.abc import Iterator

import dagster as dg

from pii_pipeline.assets import columns, summaries
from pii_pipeline.assets.specs import asset_spec
from pii_pipeline.partitions import hour_of_partition
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.seal import RAW_EVENTS, seal_hour
from pii_pipeline.steps import guarded
from pii_pipeline.streams.model import Stream


def raw_events_asset(stream: Stream) -> dg.AssetsDefinition:
    """The asset `[stream, raw_events]`."""
    spec = asset_spec(
        stream,
        RAW_EVENTS,
        "landing",
        "Objects as they landed in the hour, entered into the ledger, cut into batches; nothing is copied.",
        columns.raw_columns(stream),
        seal_hour,
    )

    @dg.multi_asset(name="__".join(spec.key.path), specs=[spec])
    def seal(
        context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
    ) -> Iterator[dg.MaterializeResult]:
        hour = hour_of_partition(context.partition_key)
        sealed = guarded(lambda: seal_hour(installation, stream, hour))
        yield dg.MaterializeResult(
            spec.key,
            metadata={
                "summary": dg.MetadataValue.md(summaries.landed(sealed)),
                "objects": sealed.objects,
                "new_objects": sealed.new_objects,
                "batches": sealed.batches,
                "bytes": sealed.bytes,
                "seconds": round(sealed.seconds, 3),
            },
        )

    return seal
