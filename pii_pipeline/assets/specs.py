"""What every asset says about itself: zone, readers, contract, owners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from pii_pipeline.partitions import HOURS
from pii_pipeline.streams.model import Stream

_READERS = {
    "landing": "Personal data in clear, as sent. Read by the pipeline alone.",
    "restricted": "Personal data in clear, encrypted at rest, for a short time. Read by the pipeline alone.",
    "lake": "No personal data in clear. Read by everybody in the house.",
    "consented": "Decrypted personal data. Read by those whom this dataset's own access policy names.",
}


def asset_spec(
    stream: Stream,
    dataset: str,
    zone: str,
    what: str,
    upstream: str | None = None,
    columns: dg.TableSchema | None = None,
    code_version: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    stored: str = "parquet",
) -> dg.AssetSpec:
    """The spec of `[stream, dataset]` in `zone`; `what` says in a sentence or two what it holds, `stored` as
    what it is there, outside landing."""
    contracts = ", ".join(contract.contract for contract in stream.active)
    described: dict[str, Any] = {"contract": contracts, **(metadata or {})}
    if zone == "landing":
        described["folder"] = f"{zone}/{stream.name}"
    elif stored == "parquet":
        described["folder"] = f"{zone}/{stream.name}/{dataset}"
    if columns is not None:
        described["dagster/column_schema"] = columns
    return dg.AssetSpec(
        dg.AssetKey([stream.name, dataset]),
        deps=[dg.AssetKey([stream.name, upstream])] if upstream else [],
        description=f"{what}\n\n{_READERS[zone]}\n\nContract: {contracts}. {stream.description}",
        group_name=stream.name,
        kinds={"python", stream.format.name if zone == "landing" else stored},
        owners=list(stream.owners),
        tags={"zone": zone, "personal_data": "no" if zone == "lake" else "yes"},
        partitions_def=HOURS,
        code_version=code_version,
        metadata=described,
    )


def version(stream: Stream, *parts: str) -> str:
    """The code version of a layer: its own, and the digests of the active contracts."""
    return "-".join([*parts, *(contract.digest[:12] for contract in stream.active)])


def cautions(stream: Stream) -> dict[str, dg.MetadataValue]:
    """What the loader found risky in the stream's files, as metadata; nothing if it found nothing."""
    found: Sequence[str] = [f"- {caution}" for caution in stream.warnings]
    return {"cautions": dg.MetadataValue.md("\n".join(found))} if found else {}
