"""vault_records: originals of reversible fields, in the vault."""

from collections.abc import Callable
from typing import Any

import dagster as dg

from pii_pipeline.assets import columns, summaries
from pii_pipeline.assets.layer import counts_metadata, loading_asset
from pii_pipeline.assets.specs import asset_spec, version
from pii_pipeline.ledger import PSEUDONYMIZED_EVENTS, VAULT_RECORDS, Counts
from pii_pipeline.pipeline.layer import LayerResult
from pii_pipeline.pipeline.vault_records import CODE_VERSION, load_hour
from pii_pipeline.streams.model import Stream


def vault_records_asset(stream: Stream, store: str) -> dg.AssetsDefinition:
    """The asset `[stream, vault_records]` of a vault in a `store` of that kind."""
    spec = asset_spec(
        stream,
        VAULT_RECORDS,
        "vault",
        "What the pseudonyms of reversible fields stand for, each original sealed under a key that dies with "
        "its data subject's.",
        columns.vault_columns(stream),
        load_hour,
        upstream=PSEUDONYMIZED_EVENTS,
        code_version=version(stream, CODE_VERSION),
        stored=store,
    )
    return loading_asset(
        spec,
        lambda installation, hour, force, progress: load_hour(installation, stream, hour, force, progress),
        lambda _, loaded: vault_metadata(summaries.in_vault, loaded),
    )


def vault_metadata(summary: Callable[[Counts], str], result: LayerResult) -> dict[str, Any]:
    """Of a layer that writes into the vault."""
    counts = counts_metadata(result)
    return {
        "summary": dg.MetadataValue.md(summary(result.counts)),
        **counts,
        "dagster/partition_row_count": counts.get("originals", 0),
    }
