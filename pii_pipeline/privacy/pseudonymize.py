"""The lake's kernel: every leaf treated as its contract says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pii_pipeline.contracts.treatments import Encrypt, Generalize, Keep, Mask, Pseudonymize, Url
from pii_pipeline.privacy import generalize, mask, unlisted, url
from pii_pipeline.privacy.canonical import distinct_texts, json_texts
from pii_pipeline.privacy.distinct import Distinct, distinct
from pii_pipeline.privacy.documents import Look, to_treat
from pii_pipeline.privacy.encodings import base64_array, hex_array
from pii_pipeline.privacy.nested import leaves, plain, transform
from pii_pipeline.privacy.originals import Originals
from pii_pipeline.privacy.plan import UNLISTED, Leaf, Plan, column_leaves
from pii_pipeline.privacy.sealer import Index, RowKeys, SealedColumn, Sealer


def pseudonymize_columns(
    table: pa.Table, plan: Plan, keys: RowKeys, sealer: Sealer, originals: Originals | None = None
) -> dict[str, pa.Array]:
    """The contract's columns of `table` (``validated_events``), treated; dropped ones are left out.

    Treated text comes as dictionary columns. Equal input and keys give equal output, to the byte. Into
    `originals` go those of reversible fields.
    """
    rows = np.arange(table.num_rows)
    sealed = _seal_leaves(table, plan, keys, sealer, rows)

    def kernel(values: pa.Array, leaf: Leaf, at: Index) -> pa.Array:
        if leaf.path in sealed:
            return next(sealed[leaf.path])
        if isinstance(leaf.treatment, Pseudonymize):
            return _pseudonymize(values, leaf, at, plan, keys, sealer, originals)
        return _treat(values, leaf, at, plan, keys, sealer)

    look = Look(to_treat, lambda leaf: not isinstance(leaf.treatment, Keep), keys.data_key)
    columns = {
        name: transform(plain(table[name]), step, rows, kernel, look) for name, step in plan.root.fields
    }
    columns[UNLISTED] = unlisted.pseudonymize_unlisted(plain(table[UNLISTED]), plan, keys, sealer)
    return columns


def _seal_leaves(
    table: pa.Table, plan: Plan, keys: RowKeys, sealer: Sealer, rows: Index
) -> dict[str, Iterator[pa.Array]]:
    """The encrypted leaves by path, each in the pieces it comes in, sealed in one go so that they share their
    data keys."""
    look = Look(to_treat, lambda leaf: isinstance(leaf.treatment, Encrypt), keys.data_key)
    found: list[tuple[Leaf, Distinct]] = []
    columns: list[SealedColumn] = []
    for name, step in plan.root.fields:
        if not any(isinstance(leaf.treatment, Encrypt) for leaf in column_leaves(step)):
            continue
        for leaf, values, at in leaves(plain(table[name]), step, rows, look):
            assert isinstance(leaf.treatment, Encrypt)
            pairs = distinct(_scalars(values), keys.data_key[at])
            texts = pairs.of(distinct_texts(pairs.dictionary))
            owners = pairs.owner if pairs.owner is not None else np.empty(0, np.int64)
            level, bound = leaf.treatment.level, plan.associated_data(leaf.path)
            found.append((leaf, pairs))
            columns.append(SealedColumn(level, bound, texts, owners))
    sealed: dict[str, list[pa.Array]] = {}
    for (leaf, pairs), texts in zip(found, sealer.seal(columns), strict=True):
        sealed.setdefault(leaf.path, []).append(pairs.spread(base64_array(texts)))
    return {path: iter(pieces) for path, pieces in sealed.items()}


def _treat(values: pa.Array, leaf: Leaf, rows: Index, plan: Plan, keys: RowKeys, sealer: Sealer) -> pa.Array:
    treatment = leaf.treatment
    if isinstance(treatment, Keep):
        return values
    if isinstance(treatment, Generalize):
        return generalize.generalize_column(values, leaf.node, treatment)
    if isinstance(treatment, Url):
        return url.treat_urls(values, treatment, plan.domain(leaf.path), keys.subject[rows], sealer)
    assert isinstance(treatment, Mask)
    return mask.mask_column(values, treatment)


def _pseudonymize(
    values: pa.Array,
    leaf: Leaf,
    rows: Index,
    plan: Plan,
    keys: RowKeys,
    sealer: Sealer,
    originals: Originals | None,
) -> pa.Array:
    treatment = leaf.treatment
    assert isinstance(treatment, Pseudonymize)
    pairs = distinct(values, None if treatment.outlives_erasure else keys.subject[rows])
    texts = pairs.of(distinct_texts(pairs.dictionary))
    if treatment.hash is not None:
        pseudonyms = sealer.hashes(treatment.hash, texts)
    else:
        pseudonyms = sealer.pseudonyms(treatment.domain or plan.domain(leaf.path), texts, pairs.owner)
    if treatment.reversible and originals is not None:
        originals.add(leaf.path, pairs, texts, pseudonyms, rows)
    return pairs.spread(hex_array(pseudonyms, treatment.digest_bytes))


def _scalars(values: pa.Array) -> pa.Array:
    """Records and lists to be sealed whole become their JSON text, which can be told apart by value."""
    return json_texts(values) if pa.types.is_nested(values.type) else values
