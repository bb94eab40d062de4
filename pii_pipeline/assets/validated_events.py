"""validated_events and bad_events: typed rows, and what was set aside with the reason."""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import dagster as dg

from pii_pipeline.assets import columns
from pii_pipeline.assets.layer import counts_metadata, derived_among, layer_assets
from pii_pipeline.assets.raw_events import NAME as RAW_EVENTS
from pii_pipeline.assets.specs import asset_spec, version
from pii_pipeline.ledger import PSEUDONYMIZED_EVENTS, VALIDATED_EVENTS
from pii_pipeline.pipeline import bad_events
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import LayerResult, Progress
from pii_pipeline.pipeline.pseudonymize import pseudonymize_layer
from pii_pipeline.pipeline.validate import BAD_EVENTS, CODE_VERSION, validate_hour
from pii_pipeline.streams.model import Stream


def validated_events_assets(stream: Stream) -> dg.AssetsDefinition:
    """The assets `[stream, validated_events]` and `[stream, bad_events]`, made in one step."""
    code_version = version(stream, CODE_VERSION)
    return layer_assets(
        stream,
        [
            asset_spec(
                stream,
                VALIDATED_EVENTS,
                "restricted",
                "Events that keep the contract, typed.",
                upstream=RAW_EVENTS,
                columns=columns.validated_columns(stream),
                code_version=code_version,
            ),
            asset_spec(
                stream,
                BAD_EVENTS,
                "lake",
                "Events that break the contract: where each was found, which rule it breaks, and the event "
                "itself, sealed under a key of its own short term.",
                upstream=RAW_EVENTS,
                columns=columns.table_schema(bad_events.SCHEMA, {}),
                code_version=code_version,
            ),
        ],
        gated=BAD_EVENTS,
        work=partial(_work, stream),
        describe=_describe,
    )


def _work(
    stream: Stream,
    installation: Installation,
    hour: str,
    force: bool,
    progress: Progress,
    asked: Collection[str],
) -> LayerResult:
    following = None
    if PSEUDONYMIZED_EVENTS in asked:
        following = pseudonymize_layer(installation, stream, derived_among(stream, asked))
    return validate_hour(installation, stream, hour, force, progress, following)


def _describe(dataset: str, result: LayerResult) -> Mapping[str, Any]:
    if dataset == VALIDATED_EVENTS:
        return counts_metadata(result)
    reasons = result.counts.get("bad_by_reason", {})
    assert isinstance(reasons, dict)
    rows = [
        f"| {reason} | {number} |" for reason, number in sorted(reasons.items(), key=lambda item: -item[1])
    ]
    table = "\n".join(["| reason | events |", "| --- | ---: |", *rows])
    return {"bad": result.counts.get("bad", 0), "bad_by_reason": dg.MetadataValue.md(table)}
