"""validated_events and bad_events: typed rows, and what was set aside with the reason."""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import dagster as dg

from pii_pipeline.assets import columns, summaries
from pii_pipeline.assets.layer import counts_metadata, derived_among, layer_assets
from pii_pipeline.assets.specs import asset_spec, version
from pii_pipeline.ledger import PSEUDONYMIZED_EVENTS, VALIDATED_EVENTS
from pii_pipeline.pipeline.bad_events import BAD_EVENTS
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import LayerResult, Progress
from pii_pipeline.pipeline.pseudonymize import pseudonymize_layer
from pii_pipeline.pipeline.seal import RAW_EVENTS
from pii_pipeline.pipeline.validate import CODE_VERSION, validate_hour
from pii_pipeline.steps import numbers, share
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
                columns.validated_columns(stream),
                validate_hour,
                upstream=RAW_EVENTS,
                code_version=code_version,
            ),
            asset_spec(
                stream,
                BAD_EVENTS,
                "lake",
                "Events that break the contract: where each was found, which rule it breaks, and the event "
                "itself, sealed under a key of its own short term.",
                columns.bad_event_columns(stream),
                validate_hour,
                upstream=RAW_EVENTS,
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
    counted = numbers(result.counts)
    rate = {"bad_share": share(counted.get("bad", 0), counted.get("records", 0))}
    if dataset == BAD_EVENTS:
        return {
            "summary": dg.MetadataValue.md(summaries.bad(result.counts)),
            "bad": counted.get("bad", 0),
            **rate,
        }
    return {
        "summary": dg.MetadataValue.md(summaries.validated(result.counts)),
        **counts_metadata(result),
        **rate,
    }
