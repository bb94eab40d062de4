"""Derived datasets: what a stream's data subjects consented to, readable."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import dagster as dg

from pii_pipeline.assets import columns, summaries
from pii_pipeline.assets.layer import counts_metadata, layer_assets
from pii_pipeline.assets.specs import asset_spec, version
from pii_pipeline.ledger import PSEUDONYMIZED_EVENTS
from pii_pipeline.pipeline.derive import CODE_VERSION, derive_hour
from pii_pipeline.pipeline.layer import LayerResult
from pii_pipeline.steps import numbers, share
from pii_pipeline.streams.model import Derived, Stream


def derived_dataset_asset(stream: Stream, dataset: str) -> dg.AssetsDefinition:
    """The asset `[stream, dataset]`."""
    derived = stream.derived[dataset]
    consent = _consent(derived)
    joinable = derived.joinable_with_lake
    linked = f"Joinable with the lake: {joinable.reason}" if joinable else "Unlinked from the lake."
    spec = asset_spec(
        stream,
        dataset,
        "consented",
        f"{derived.description} Events whose data subject consented to {consent}, with the fields readable "
        f"that this opens. {linked}",
        columns.derived_columns(stream, dataset),
        derive_hour,
        upstream=PSEUDONYMIZED_EVENTS,
        code_version=version(stream, CODE_VERSION, consent.replace(" ", "_"), str(joinable is not None)),
        metadata={"consent": consent},
    )
    return layer_assets(
        stream,
        [spec],
        gated=dataset,
        work=lambda installation, hour, force, progress, _: derive_hour(
            installation, stream, dataset, hour, force, progress
        ),
        describe=partial(_describe, stream),
    )


def _describe(stream: Stream, dataset: str, result: LayerResult) -> Mapping[str, Any]:
    counted = numbers(result.counts)
    return {
        "summary": dg.MetadataValue.md(summaries.derived(stream, dataset, result.counts)),
        **counts_metadata(result),
        "withheld_share": share(counted.get("withheld", 0), counted.get("pseudonymized", 0)),
    }


def _consent(derived: Derived) -> str:
    request = derived.consent
    if request.purposes is not None:
        plural = "s" if len(request.purposes) > 1 else ""
        return f"purpose{plural} " + "+".join(map(str, sorted(request.purposes)))
    return f"level {request.level}"
