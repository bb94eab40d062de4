"""A stream whose files cannot be used: an asset that says so, and fails where a run asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import dagster as dg

from pii_pipeline.contracts.errors import Problem
from pii_pipeline.partitions import HOURS
from pii_pipeline.pipeline.seal import RAW_EVENTS


def broken_stream_asset(name: str, problems: Sequence[Problem]) -> dg.AssetsDefinition:
    """The asset `[name, raw_events]` of a stream that has these problems, in place of all its assets.

    The other streams' are there and run; a run of everything fails, at its end. What the catalogue knows of
    the stream's earlier hours stays.
    """
    said = "\n".join(map(_text, problems))
    heading = "**The files of this stream cannot be used; nothing of it is processed.**"
    spec = dg.AssetSpec(
        dg.AssetKey([name, RAW_EVENTS]),
        description=f"{heading}\n\n```\n{said}\n```",
        group_name=name,
        kinds={"landing"},
        tags={"zone": "landing", "personal_data": "yes", "broken": "yes"},
        partitions_def=HOURS,
    )

    @dg.multi_asset(name="__".join(spec.key.path), specs=[spec])
    def refuse() -> None:
        raise dg.Failure(description=said, allow_retries=False)

    return refuse


def _text(problem: Problem) -> str:
    """The problem, without where on this machine its file is: that is stored with the run that fails."""
    return str(replace(problem, file=Path(*problem.file.parts[-2:])))
