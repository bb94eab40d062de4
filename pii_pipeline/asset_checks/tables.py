"""Tables in a check's metadata: the UI shows them in place, where it shows a link to Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg


def table(header: Sequence[str], rows: Iterable[Sequence[str | int]]) -> dg.TableMetadataValue:
    """A table of `rows`, which may be none."""
    return dg.MetadataValue.table(
        [dg.TableRecord(dict(zip(header, row, strict=True))) for row in rows],
        dg.TableSchema([dg.TableColumn(name) for name in header]),
    )
