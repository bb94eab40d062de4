"""The consented datasets' kernel: admitted rows of the lake, decrypted where the request allows.

A derived dataset is unlinked from the lake unless it says otherwise: key link, subject token, event id and
undeclared keys stay behind, pseudonyms are keyed again for this dataset, ciphertexts that stay closed are
sealed once more. Kept fields and times are equal in both, of course: the more of them, the easier a match.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pii_pipeline.contracts.record_type import arrow_type
from pii_pipeline.contracts.treatments import Encrypt, Pseudonymize, Url
from pii_pipeline.privacy.canonical import from_texts
from pii_pipeline.privacy.consent import ConsentRequest
from pii_pipeline.privacy.distinct import Distinct, distinct
from pii_pipeline.privacy.documents import Look, as_treated
from pii_pipeline.privacy.encodings import (
    HEX_DIGITS,
    base64_array,
    flat,
    from_base64,
    from_hex,
    hex_array,
    hex_digits,
    split_digests,
)
from pii_pipeline.privacy.leak_gate import Leak, summed, treated_leaks
from pii_pipeline.privacy.nested import leaves, plain, transform
from pii_pipeline.privacy.plan import (
    CONSENT,
    EVENT_TIME,
    ID_REUSED,
    KEY_LINK,
    SUBJECT_TOKEN,
    UNLISTED,
    Leaf,
    ListStep,
    Plan,
    RecordStep,
    Step,
    column_leaves,
    lake_type,
)
from pii_pipeline.privacy.sealer import Index, Opener, SealedColumn

_LINKING = (KEY_LINK, SUBJECT_TOKEN, CONSENT, ID_REUSED, UNLISTED)


@dataclass(frozen=True, slots=True)
class DerivedPlan:
    """One consented dataset of one contract."""

    plan: Plan
    request: ConsentRequest
    joinable_with_lake: bool = False

    @property
    def columns(self) -> tuple[tuple[str, Step], ...]:
        """The contract's columns of this dataset: without the event id, which would link it to the lake."""
        event_id = None if self.joinable_with_lake else self.plan.contract.event_id_field
        kept = ((name, _without(step, name, event_id)) for name, step in self.plan.root.fields)
        return tuple((name, step) for name, step in kept if step is not None)

    def schema(self) -> pa.Schema:
        """Decrypted fields have their original type, everything else the lake's."""
        system = [field for field in self.plan.lake_schema() if field.name.startswith("_")]
        if not self.joinable_with_lake:
            system = [field for field in system if field.name not in _LINKING]
        return pa.schema(system + [pa.field(name, self._type(step)) for name, step in self.columns])

    @property
    def needed(self) -> list[str]:
        """The lake's columns that this dataset is made of."""
        keys = (EVENT_TIME, KEY_LINK, SUBJECT_TOKEN, CONSENT)
        return list(dict.fromkeys([*keys, *self.schema().names]))

    def readable(self, leaf: Leaf) -> bool:
        """Whether this encrypted leaf is decrypted here."""
        return isinstance(leaf.treatment, Encrypt) and self.request.readable(leaf.treatment.level)

    def changed(self, leaf: Leaf) -> bool:
        """Whether this leaf has other values here than in the lake."""
        unlinked = not self.joinable_with_lake and isinstance(leaf.treatment, Pseudonymize | Encrypt | Url)
        return unlinked or self.readable(leaf)

    def _type(self, step: Step) -> pa.DataType:
        if isinstance(step, ListStep):
            return pa.list_(self._type(step.element))
        if isinstance(step, RecordStep):
            return pa.struct([pa.field(name, self._type(child)) for name, child in step.fields])
        if isinstance(step, Leaf) and self.readable(step):
            return arrow_type(step.node)
        return lake_type(step)


def _without(step: Step, path: str, gone: str | None) -> Step | None:
    if path == gone:
        return None
    if isinstance(step, RecordStep):
        kept = ((name, _without(child, f"{path}/{name}", gone)) for name, child in step.fields)
        fields = tuple((name, child) for name, child in kept if child is not None)
        return RecordStep(fields) if fields else None
    return step


def derive_columns(
    table: pa.Table, derived: DerivedPlan, data_keys: Index, opener: Opener
) -> tuple[dict[str, pa.Array], list[Leak]]:
    """The dataset's columns for the admitted rows in `table` (lake columns), and what the leak gate found.

    `data_keys[i]` is the data key of row i. Raises the opener's error if a ciphertext does not open.
    """
    plan = derived.plan
    rows = np.arange(table.num_rows)
    opened = _open_leaves(table, derived, data_keys, opener, rows)

    def kernel(values: pa.Array, leaf: Leaf, at: Index) -> pa.Array:
        if derived.readable(leaf):
            return next(opened[leaf.path])
        return _unlink(values, leaf, plan, opener) if derived.changed(leaf) else values

    columns: dict[str, pa.Array] = {}
    leaks: list[Leak] = []
    before = Look(as_treated, derived.changed, data_keys)
    after = Look(as_treated, lambda leaf: not derived.readable(leaf))
    for name, step in derived.columns:
        columns[name] = transform(plain(table[name]), step, rows, kernel, before)
        for leaf, values, _ in leaves(columns[name], step, rows, after):
            leaks += treated_leaks(leaf, values, plan, rekeyed=not derived.joinable_with_lake)
    for name in derived.schema().names:
        if name.startswith("_"):
            columns[name] = plain(table[name])
    return columns, summed(leaks)


def _open_leaves(
    table: pa.Table, derived: DerivedPlan, data_keys: Index, opener: Opener, rows: Index
) -> dict[str, Iterator[pa.Array]]:
    """The leaves that are readable here by path, each in the pieces it comes in, decrypted: with their
    original types, inside documents as JSON (binary)."""
    look = Look(as_treated, derived.readable, data_keys)
    found: list[tuple[Leaf, Distinct]] = []
    columns: list[SealedColumn] = []
    for name, step in derived.columns:
        if not any(derived.readable(leaf) for leaf in column_leaves(step)):
            continue
        for leaf, values, at in leaves(plain(table[name]), step, rows, look):
            assert isinstance(leaf.treatment, Encrypt)
            pairs = distinct(values, data_keys[at])
            sealed = pairs.of(from_base64(pairs.dictionary))
            owners = pairs.owner if pairs.owner is not None else np.empty(0, np.int64)
            level, bound = leaf.treatment.level, derived.plan.associated_data(leaf.path)
            found.append((leaf, pairs))
            columns.append(SealedColumn(level, bound, sealed, owners))
    opened: dict[str, list[pa.Array]] = {}
    for (leaf, pairs), texts in zip(found, opener.open(columns), strict=True):
        plaintexts = pairs.spread(pa.array(texts, pa.binary())).dictionary_decode()
        values = plaintexts if leaf.inside else from_texts(plaintexts.cast(pa.string()), leaf.node)
        opened.setdefault(leaf.path, []).append(values)
    return {path: iter(pieces) for path, pieces in opened.items()}


def _unlink(column: pa.Array, leaf: Leaf, plan: Plan, opener: Opener) -> pa.Array:
    if not isinstance(leaf.treatment, Pseudonymize | Encrypt | Url):
        return column
    values = distinct(column)
    if isinstance(leaf.treatment, Url):
        return values.spread(_rekey_inside(values.dictionary, opener))
    if isinstance(leaf.treatment, Pseudonymize):
        pseudonyms = from_hex(values.dictionary, leaf.treatment.digest_bytes)
        return values.spread(hex_array(opener.rekey(pseudonyms)))
    sealed = from_base64(values.dictionary)
    return values.spread(base64_array(opener.outer_seal(plan.associated_data(leaf.path), sealed)))


def _rekey_inside(texts: pa.Array, opener: Opener) -> pa.Array:
    """Texts (a string column without nulls) with the pseudonyms inside them keyed again.

    A pseudonym is 64 hexadecimal digits with no further one on either side. The new one is as long, so that
    it takes the old one's place in a copy of the column's bytes.
    """
    offsets, data = flat(texts)
    size = len(data)
    if size < HEX_DIGITS:
        return texts
    digit = hex_digits(data)
    before, after = np.zeros(size, bool), np.zeros(size, bool)
    before[1:], after[:-1] = digit[:-1], digit[1:]
    # Where one text ends and the next begins, digits are no neighbours.
    before[offsets[offsets < size]] = after[offsets[1:] - 1] = False
    runs, ends = np.flatnonzero(digit & ~before), np.flatnonzero(digit & ~after)
    places = runs[ends - runs == HEX_DIGITS - 1]
    if len(places) == 0:
        return texts
    windows = np.lib.stride_tricks.sliding_window_view(data, HEX_DIGITS)
    keyed = opener.rekey(split_digests(bytes.fromhex(windows[places].tobytes().decode())))
    data = data.copy()
    windows = np.lib.stride_tricks.sliding_window_view(data, HEX_DIGITS, writeable=True)
    windows[places] = np.frombuffer(b"".join(keyed).hex().encode(), np.uint8).reshape(-1, HEX_DIGITS)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)
