"""Keys that no schema declares: kept, but unreadable.

``_unlisted`` is JSON text: {pseudonym of the path: treated value}. Every leaf is pseudonymized, whatever its
type; lists and objects keep their shape, object keys are pseudonymized too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from pii_pipeline.contracts.treatments import Drop
from pii_pipeline.privacy.canonical import scalar_text
from pii_pipeline.privacy.plan import Plan
from pii_pipeline.privacy.sealer import RowKeys, Sealer

DOMAIN = "$unlisted"


def pseudonymize_unlisted(texts: pa.Array, plan: Plan, keys: RowKeys, sealer: Sealer) -> pa.Array:
    """The JSON texts of undeclared keys with all keys and values pseudonymized, bound to the subject.

    Null where an event has none. With `default: drop` they are dropped as well.
    """
    if isinstance(plan.contract.default, Drop) or texts.null_count == len(texts):
        return pa.nulls(len(texts), pa.string())
    rows = np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False)).tolist()
    documents = [orjson.loads(texts[row].as_py()) for row in rows]
    originals: list[bytes] = []
    subjects: list[int] = []
    for row, document in zip(rows, documents, strict=True):
        found = _scalars(document)
        originals += found
        subjects += [int(keys.subject[row])] * len(found)
    # One call for the chunk; equal pairs are derived again, but undeclared keys are rare.
    digests = sealer.pseudonyms(plan.domain(DOMAIN), originals, np.array(subjects, np.int64))
    treated = iter(digest.hex() for digest in digests)
    outputs: list[bytes | None] = [None] * len(texts)
    for row, document in zip(rows, documents, strict=True):
        outputs[row] = orjson.dumps(_replace(document, treated))
    return pa.array(outputs, pa.binary()).cast(pa.string())


def _scalars(value: Any) -> list[bytes]:
    """Every key and leaf below `value` as bytes, in the order `_replace` asks for them."""
    if isinstance(value, dict):
        return [text for key, child in value.items() for text in (key.encode(), *_scalars(child))]
    if isinstance(value, list):
        return [text for child in value for text in _scalars(child)]
    return [] if value is None else [scalar_text(value).encode()]


def _replace(value: Any, treated: Any) -> Any:
    if isinstance(value, dict):
        return {next(treated): _replace(child, treated) for child in value.values()}
    if isinstance(value, list):
        return [_replace(child, treated) for child in value]
    return None if value is None else next(treated)
