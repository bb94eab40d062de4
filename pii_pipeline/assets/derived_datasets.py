"""Derived datasets: what a stream's data subjects consented to, readable."""

import dagster as dg

from pii_pipeline.assets import columns
from pii_pipeline.assets.layer import counts_metadata, layer_assets
from pii_pipeline.assets.specs import asset_spec, version
from pii_pipeline.ledger import PSEUDONYMIZED_EVENTS
from pii_pipeline.pipeline.derive import CODE_VERSION, derive_hour
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
        upstream=PSEUDONYMIZED_EVENTS,
        columns=columns.derived_columns(stream, dataset),
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
        describe=lambda _, result: counts_metadata(result),
    )


def _consent(derived: Derived) -> str:
    request = derived.consent
    if request.purposes is not None:
        return "purposes " + "+".join(map(str, sorted(request.purposes)))
    return f"level {request.level}"
