"""vault_records: originals of reversible fields, in the vault."""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from pii_pipeline.assets import columns, summaries
from pii_pipeline.assets.layer import counts_metadata
from pii_pipeline.assets.specs import asset_spec, version
from pii_pipeline.ledger import PSEUDONYMIZED_EVENTS, VAULT_RECORDS, Counts
from pii_pipeline.partitions import hour_of_partition
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import LayerResult, Progress
from pii_pipeline.pipeline.vault_records import CODE_VERSION, load_hour
from pii_pipeline.steps import forced, guarded
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

    @dg.multi_asset(name="__".join(spec.key.path), specs=[spec])
    def load(
        context: dg.AssetExecutionContext,
        installation: dg.ResourceParam[Installation],
        progress: dg.ResourceParam[Progress],
    ) -> Iterator[dg.MaterializeResult]:
        hour = hour_of_partition(context.partition_key)
        force = forced(context.run.tags)
        loaded = guarded(lambda: load_hour(installation, stream, hour, force, progress))
        yield dg.MaterializeResult(spec.key, metadata=vault_metadata(summaries.in_vault, loaded))

    return load


def vault_metadata(summary: Callable[[Counts], str], result: LayerResult) -> dict[str, Any]:
    """Of a layer that writes no files, but into the vault."""
    counts = counts_metadata(result)
    metadata: dict[str, Any] = {
        "summary": dg.MetadataValue.md(summary(result.counts)),
        **counts,
        "dagster/partition_row_count": counts.get("originals", 0),
        "batches_made": result.made,
        "batches_skipped": result.skipped,
        "seconds": round(result.seconds, 3),
    }
    if result.kept:
        metadata["batches_kept"] = dg.MetadataValue.md("\n".join(f"- {reason}" for reason in result.kept))
    return metadata
