"""Events of Snowplow's PII enrichment among the rows of a stream that is relayed, and those that are bad.

Whatever names `pii_transformation`, or has an escape by which it might, is read as the relay's Lambda does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.model import Contract
from pii_pipeline.pipeline.columns import column_at
from pii_pipeline.privacy.plan import CONTRACT
from pii_pipeline.relay.transformations import NAME, Replaced, Unreadable, read_unstruct_event
from pii_pipeline.streams.model import UNSTRUCT_EVENT
from pii_pipeline.validation import Failure, Validated

CODE_VERSION = "1"

_PERHAPS = rf"{NAME}|\\u"


def transformations(column: pa.Array) -> Iterator[tuple[int, list[Replaced] | Unreadable]]:
    """Of a column `unstruct_event`: the row of each such event, and what it says was replaced, or what is
    wrong with it."""
    rows = np.flatnonzero(pc.match_substring_regex(column, _PERHAPS).fill_null(False).to_numpy(False))
    for row, text in zip(rows.tolist(), column.take(pa.array(rows)).to_pylist(), strict=True):
        try:
            replaced = read_unstruct_event(text)
        except Unreadable as unreadable:
            yield row, unreadable
        else:
            if replaced is not None:
                yield row, replaced


def without_unreadable(done: Validated, contracts: dict[str, Contract]) -> Validated:
    """Has those that cannot be read fail. `contracts`: the active ones, by name."""
    unreadable = [
        (row, found)
        for row, found in transformations(done.table[UNSTRUCT_EVENT].combine_chunks())
        if isinstance(found, Unreadable)
    ]
    if not unreadable:
        return done
    names = done.table[CONTRACT].to_pylist()
    failures = [
        Failure(
            int(done.rows[row]),
            names[row],
            "schema_violation",
            UNSTRUCT_EVENT,
            NAME,
            str(found),
            _subject(done.table.slice(row, 1), contracts[names[row]]),
        )
        for row, found in unreadable
    ]
    good = np.ones(len(done.rows), bool)
    good[[row for row, _ in unreadable]] = False
    return replace(
        done,
        rows=done.rows[good],
        table=done.table.filter(pa.array(good)),
        failures=sorted([*done.failures, *failures], key=lambda failure: failure.row),
    )


def _subject(row: pa.Table, contract: Contract) -> str | None:
    """Whom the event is about."""
    if contract.data_subject is None:
        return None
    (value,) = column_at(row, contract.data_subject.field).to_pylist()
    return None if value in (None, "") else str(value)
