"""The main job."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import dagster as dg

PROCESS_EVENTS = "process_events"


def process_events() -> dg.UnresolvedAssetJobDefinition:
    """Every asset and check of every stream, for one arrival hour.

    Nothing is tried again by Dagster: what failed for the data's sake fails again, and a run is cheap to
    start anew, since it skips what is made.
    """
    return dg.define_asset_job(
        PROCESS_EVENTS,
        selection=dg.AssetSelection.all(),
        description="One hour of landing objects → validated, pseudonymized and derived events, checked.",
        tags={"pii/version": _version()},
    )


def _version() -> str:
    try:
        return version("pii_pipeline")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
