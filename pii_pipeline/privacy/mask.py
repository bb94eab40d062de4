"""``mask``: some characters stay at either end, the rest become ``*``."""

from __future__ import annotations

import pyarrow as pa

from pii_pipeline.contracts.treatments import Mask
from pii_pipeline.privacy.distinct import distinct


def mask_text(text: str, treatment: Mask) -> str:
    """`text` masked. Its length stays visible; if less than half would be hidden, all of it is."""
    shown = treatment.keep_first + treatment.keep_last
    if shown * 2 > len(text):
        return "*" * len(text)
    tail = text[len(text) - treatment.keep_last :]
    return text[: treatment.keep_first] + "*" * (len(text) - shown) + tail


def mask_column(values: pa.Array, treatment: Mask) -> pa.Array:
    """A string column masked; null stays null."""
    pairs = distinct(values)
    outputs = [mask_text(text, treatment) for text in pairs.dictionary.to_pylist()]
    return pairs.spread(pa.array(outputs, pa.string()))
