"""Assets: one module per layer, each a factory from a stream."""

from __future__ import annotations

import dagster as dg

from pii_pipeline.assets.derived_datasets import derived_dataset_asset
from pii_pipeline.assets.pseudonymized_events import pseudonymized_events_asset
from pii_pipeline.assets.raw_events import raw_events_asset
from pii_pipeline.assets.relayed_originals import relayed_originals_asset
from pii_pipeline.assets.validated_events import validated_events_assets
from pii_pipeline.assets.vault_records import vault_records_asset
from pii_pipeline.assets.warehouse_tables import warehouse_table_asset
from pii_pipeline.streams.model import Stream


def stream_assets(stream: Stream, warehouse: str, vault: str) -> list[dg.AssetsDefinition]:
    """All assets of a stream, in the order in which they are made; `warehouse` and `vault`: the kinds of
    their databases."""
    return [
        raw_events_asset(stream),
        validated_events_assets(stream),
        pseudonymized_events_asset(stream),
        *([vault_records_asset(stream, vault)] if stream.reversible else []),
        *([relayed_originals_asset(stream, vault)] if stream.relay else []),
        *(derived_dataset_asset(stream, dataset) for dataset in stream.derived),
        *(warehouse_table_asset(stream, table, warehouse) for table in stream.warehouse),
    ]
