"""What every asset says about itself: zone, readers, contract, columns, the code and files it is made by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from types import FunctionType
from typing import Any

import dagster as dg

from pii_pipeline.assets.rows import Column
from pii_pipeline.partitions import HOURS
from pii_pipeline.streams.loader import STREAM_FILE
from pii_pipeline.streams.model import Stream

_READERS = {
    "landing": "Personal data in clear, as sent. Read by the pipeline alone.",
    "restricted": "Personal data in clear, encrypted at rest, for a short time. Read by the pipeline alone.",
    "lake": "No personal data in clear. Read by everybody in the house.",
    "vault": "Originals, sealed. Told by the vault alone, to whom its policy allows it, each look on record.",
    "consented": "Decrypted personal data. Read by those whom this dataset's own access policy names.",
}

NOBODY = "team:unowned"
"""Owns what no stream.yaml names an owner of, so that the catalogue can be searched for it."""

FRESHNESS = dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=2), fail_window=timedelta(days=1))
"""An hour is to be made once it is over: two hours without a run are late, a day is an outage."""


def house_policy(spec: dg.AssetSpec) -> dg.AssetSpec:
    """`spec` with what holds for every asset of the house: somebody owns it, and it is to be fresh."""
    return spec.replace_attributes(owners=spec.owners or [NOBODY], freshness_policy=FRESHNESS)


def asset_spec(
    stream: Stream,
    dataset: str,
    zone: str,
    what: str,
    columns: Sequence[Column],
    code: FunctionType,
    upstream: str | None = None,
    code_version: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    stored: str = "parquet",
) -> dg.AssetSpec:
    """The spec of `[stream, dataset]` in `zone`; `what` says in a sentence or two what it holds, `code` is
    the function that makes it, `stored` as what it is there, outside landing."""
    contracts = ", ".join(contract.contract for contract in stream.active)
    landing = zone == "landing"
    described: dict[str, Any] = {
        "contract": contracts,
        **(metadata or {}),
        "dagster/column_schema": _column_schema(stream, columns),
        "dagster/column_lineage": _column_lineage(stream, columns),
        "dagster/code_references": _code_references(stream, code),
    }
    if landing:
        described["folder"] = f"{zone}/{stream.name}"
    elif stored == "parquet":
        described["folder"] = f"{zone}/{stream.name}/{dataset}"
    if zone in ("lake", "consented"):
        # As `pii query` knows it, and a warehouse its own tables.
        described["dagster/table_name"] = f"{stream.name}.{dataset}" if stored == "parquet" else dataset
    return dg.AssetSpec(
        dg.AssetKey([stream.name, dataset]),
        deps=[dg.AssetKey([stream.name, upstream])] if upstream else [],
        description=f"{what}\n\n{_READERS[zone]}\n\nContract: {contracts}. {stream.description}",
        group_name=stream.name,
        # The zone is no technology, but kinds are what the graph shows below each asset.
        kinds={zone, stream.format.name if landing else stored},
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
    found = [f"- `{item.file.name}:{item.line}` {item.field}: {item.message}" for item in stream.warnings]
    return {"cautions": dg.MetadataValue.md("\n".join(found))} if found else {}


def _column_schema(stream: Stream, columns: Sequence[Column]) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.name,
                column.type,
                _described(stream, column),
                dg.TableColumnConstraints(nullable=column.nullable),
                column.tags,
            )
            for column in columns
        ]
    )


def _described(stream: Stream, column: Column) -> str:
    """In Markdown, where two spaces break a line and an empty line ends a list."""
    parts = filter(None, [column.says, column.done, _origin(stream, column)])
    return ("\n\n" if "\n" in column.done else "  \n").join(parts)


def _origin(stream: Stream, column: Column) -> str:
    """The columns that `column` is made of, with links: Dagster's own page shows lineage of columns only in
    Dagster+."""
    found = []
    for dataset, group in groupby(column.sources, key=lambda source: source[0]):
        names = [name for _, name in group]
        listed = "" if names == [column.name] else " " + ", ".join(f"`{name}`" for name in names)
        found.append(f"[{dataset}](/assets/{stream.name}/{dataset}){listed}")
    return f"← {'; '.join(found)}" if found else ""


def _column_lineage(stream: Stream, columns: Sequence[Column]) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            column.name: [
                dg.TableColumnDep(dg.AssetKey([stream.name, dataset]), name)
                for dataset, name in column.sources
            ]
            for column in columns
        }
    )


def _code_references(stream: Stream, code: FunctionType) -> dg.CodeReferencesMetadataValue:
    """Links that an editor on this machine opens. Their paths are in the definitions alone: no run, event or
    file of ours holds them."""
    module = Path(code.__code__.co_filename)
    files = [*(contract.file for contract in stream.active), stream.folder / STREAM_FILE]
    return dg.CodeReferencesMetadataValue(
        code_references=[
            *(
                dg.LocalFileCodeReference(file_path=str(file.absolute()), label=f"{stream.name}/{file.name}")
                for file in files
            ),
            dg.LocalFileCodeReference(
                file_path=str(module),
                line_number=code.__code__.co_firstlineno,
                label=f"{module.parent.name}/{module.name}",
            ),
        ]
    )
