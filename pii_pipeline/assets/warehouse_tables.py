"""Warehouse tables: a stream's datasets in DuckDB or PostgreSQL."""

import hashlib
from collections.abc import Iterator
from typing import Any

import dagster as dg

from pii_pipeline.assets import columns, summaries
from pii_pipeline.assets.layer import counts_metadata
from pii_pipeline.assets.specs import asset_spec, version
from pii_pipeline.partitions import hour_of_partition
from pii_pipeline.pipeline.installation import Installation, zone_of
from pii_pipeline.pipeline.layer import LayerResult, Progress
from pii_pipeline.pipeline.warehouse import CODE_VERSION, load_hour
from pii_pipeline.steps import forced, guarded
from pii_pipeline.streams.model import Stream
from pii_pipeline.streams.tables import warehouse_table


def warehouse_table_asset(stream: Stream, name: str, database: str) -> dg.AssetsDefinition:
    """The asset `[stream, name]` of a table in a `database` of that kind."""
    declared = stream.warehouse[name]
    defined = hashlib.sha256(warehouse_table(stream, name).definition.encode()).hexdigest()[:12]
    spec = asset_spec(
        stream,
        name,
        zone_of(declared.dataset),
        f"{declared.description} A table of the warehouse, with the rows of {declared.dataset}.",
        columns.table_columns(stream, name),
        load_hour,
        upstream=declared.dataset,
        code_version=version(stream, CODE_VERSION, defined),
        stored=database,
    )

    @dg.multi_asset(name="__".join(spec.key.path), specs=[spec])
    def load(
        context: dg.AssetExecutionContext,
        installation: dg.ResourceParam[Installation],
        progress: dg.ResourceParam[Progress],
    ) -> Iterator[dg.MaterializeResult]:
        hour = hour_of_partition(context.partition_key)
        force = forced(context.run.tags)
        loaded = guarded(lambda: load_hour(installation, stream, name, hour, force, progress))
        metadata = {
            "summary": dg.MetadataValue.md(summaries.loaded(declared.dataset, loaded.counts)),
            **_metadata(loaded, installation.warehouse.place),
        }
        yield dg.MaterializeResult(spec.key, metadata=metadata)

    return load


def _metadata(result: LayerResult, place: str) -> dict[str, Any]:
    return {
        **counts_metadata(result),
        "dagster/partition_row_count": result.counts.get("loaded", 0),
        "warehouse": place,
        "batches_made": result.made,
        "batches_skipped": result.skipped,
        "seconds": round(result.seconds, 3),
    }
