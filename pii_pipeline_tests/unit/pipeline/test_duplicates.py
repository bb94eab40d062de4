"""The verdict on a record seen before is that of a plain walk over all records, one after the other."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pii_pipeline.pipeline.duplicates import DUPLICATE, ID_REUSED, NEW, SCHEMA, verdicts


def table(rows: np.ndarray) -> pa.Table:
    columns = [*rows[:, :3].T.astype(np.uint64), rows[:, 3] > 0, np.zeros(len(rows), np.int8)]
    return pa.table([pa.array(column) for column in columns], schema=SCHEMA)


def walked(batch: np.ndarray, earlier: list[np.ndarray]) -> list[int]:
    before = [tuple(row) for rows in earlier for row in rows.tolist() if row[3]]
    contents, ids = {row[:2] for row in before}, {row[2] for row in before}
    found = []
    for first, rest, event_id, has_id in batch.tolist():
        if not has_id:
            found.append(NEW)
        elif (first, rest) in contents:
            found.append(DUPLICATE)
        else:
            found.append(ID_REUSED if event_id in ids else NEW)
            contents.add((first, rest))
            ids.add(event_id)
    return found


def test_verdicts_are_those_of_a_walk_even_where_half_a_digest_is_the_same():
    random = np.random.default_rng(1)
    for size, span in ((0, 1), (1, 1), (40, 3), (40, 8), (200, 30), (200, 10**6)):
        for others in (0, 1, 2):
            rows = [
                np.column_stack([random.integers(0, span, (count, 3)), random.integers(0, 5, count)])
                for count in [size, *[50] * others]
            ]
            got = verdicts(table(rows[0]), [table(earlier) for earlier in rows[1:]])
            assert got.dtype == np.int8
            assert got.tolist() == walked(rows[0], rows[1:])
