"""Warehouse tables: a stream's datasets in DuckDB or PostgreSQL."""

import hashlib

import dagster as dg

from pii_pipeline.assets import columns, summaries
from pii_pipeline.assets.layer import counts_metadata, loading_asset
from pii_pipeline.assets.specs import asset_spec, version
from pii_pipeline.pipeline.installation import zone_of
from pii_pipeline.pipeline.warehouse import CODE_VERSION, load_hour
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
    return loading_asset(
        spec,
        lambda installation, hour, force, progress: load_hour(
            installation, stream, name, hour, force, progress
        ),
        lambda installation, loaded: {
            "summary": dg.MetadataValue.md(summaries.loaded(declared.dataset, loaded.counts)),
            **counts_metadata(loaded),
            "dagster/partition_row_count": loaded.counts.get("loaded", 0),
            "warehouse": installation.warehouse.place,
        },
    )
