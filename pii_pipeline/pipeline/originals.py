"""Originals of reversible fields on their way into the vault: sealed in the chunk that they are found in.

They lie in the restricted zone from when their batch comes into the lake until the vault has them. Nothing in
these files is in clear, and the files are encrypted besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pii_pipeline.contracts.model import Contract
from pii_pipeline.keys import vault_records
from pii_pipeline.keys.subjects import Subject
from pii_pipeline.keys.vault_records import Whose
from pii_pipeline.lake import ParquetWriter, data_file, write_parquet
from pii_pipeline.ledger import Batch, hour_start
from pii_pipeline.pipeline.installation import LATEST_CONSENTS, REVERSIBLE_ORIGINALS, Installation
from pii_pipeline.pipeline.made import MadeFile
from pii_pipeline.pipeline.subjects import People
from pii_pipeline.privacy.consent import LEVELS, latest_said
from pii_pipeline.privacy.encodings import hex_array
from pii_pipeline.privacy.originals import FieldOriginals, Originals
from pii_pipeline.privacy.plan import Plan
from pii_pipeline.privacy.sealer import Index
from pii_pipeline.streams.model import Stream
from pii_pipeline.vault.model import MAX_ORIGINAL_BYTES

CODE_VERSION = "1"

ORIGINALS = pa.schema(
    [
        pa.field("contract", pa.string(), nullable=False),
        pa.field("field", pa.string(), nullable=False),
        pa.field("pseudonym", pa.string(), nullable=False),
        pa.field("subject", pa.binary(), nullable=False),
        pa.field("sealed", pa.binary(), nullable=False),
        pa.field("first_seen", pa.date32(), nullable=False),
        pa.field("last_seen", pa.date32(), nullable=False),
    ]
)
"""Of ``reversible_originals``: under which version of the contract the pseudonym was made, of whom (the ref),
what it stands for, and the days of the events."""

CONSENTS = pa.schema(
    [
        pa.field("subject", pa.binary(), nullable=False),
        pa.field("levels", LEVELS, nullable=False),
        pa.field("cumulative", pa.bool_(), nullable=False),
        pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
    ]
)
"""Of ``latest_consents``: what a person consented to last."""


@dataclass(frozen=True, slots=True)
class SealedOriginals:
    """What a chunk has for the vault: rows of `ORIGINALS` and `CONSENTS`. `too_long`: so many originals are
    left out, which the vault would not take."""

    originals: pa.Table
    consents: pa.Table
    too_long: int


def seal_originals(
    stream: str, contract: Contract, originals: Originals, subjects: Sequence[Subject], vault_key: bytes
) -> tuple[pa.Table, int]:
    """What was found in a chunk, sealed, as rows of `ORIGINALS`; and how many were too long.

    `subjects`: the people of the chunk, in the order of the numbers they have in `originals`.
    """
    found = list(originals.fields())
    fields = [_short(item) for item in found]
    too_long = sum(len(item.texts) for item in found) - sum(len(item.texts) for item in fields)
    pseudonyms = [hex_array(item.pseudonyms, len(item.pseudonyms[0])) for item in fields if item.texts]
    fields = [item for item in fields if item.texts]
    if not fields:
        return ORIGINALS.empty_table(), too_long
    subject = np.concatenate([item.subject for item in fields])
    names: list[bytes] = []
    for item, texts in zip(fields, pseudonyms, strict=True):
        names += vault_records.record_names(stream, item.path, texts.cast(pa.binary()).to_pylist())
    refs = [person.ref for person in subjects]
    whose = Whose(subject, refs, [person.salt for person in subjects])
    sealed = vault_records.seal(vault_key, whose, names, [text for item in fields for text in item.texts])
    columns = [
        pa.repeat(contract.contract, len(sealed)),
        pa.concat_arrays([pa.repeat(item.path, len(item.texts)) for item in fields]),
        pa.concat_arrays(pseudonyms),
        pa.array([refs[number] for number in subject.tolist()], pa.binary()),
        pa.array(sealed, pa.binary()),
        _dates([item.first for item in fields]),
        _dates([item.last for item in fields]),
    ]
    return pa.table(columns, schema=ORIGINALS), too_long


def consents_said(
    plan: Plan, consent: pa.Array, who: People, at: pa.Array, subjects: Sequence[Subject]
) -> pa.Table:
    """The latest consent of each person of a chunk, as rows of `CONSENTS`: also of those who have no original
    there, for they may have had one before. None where the contract does not say who consents to what."""
    contract, subject = plan.contract, who.subject
    if contract.consent is None or not len(subject):
        return CONSENTS.empty_table()
    rows = latest_said(consent, subject, at.cast(pa.int64()).to_numpy())
    if contract.data_subject is not None and plan.reversible.keys() == {contract.data_subject.field}:
        rows = rows[who.known[subject[rows]]]  # whom nobody names has no original
    said = pa.array(rows)
    columns = [
        pa.array([subjects[number].ref for number in subject[rows].tolist()], pa.binary()),
        consent.take(said).fill_null([]),
        pa.repeat(contract.consent.type == "cumulative", len(rows)),
        at.take(said),
    ]
    return pa.table(columns, schema=CONSENTS)


def _short(found: FieldOriginals) -> FieldOriginals:
    """Those that the vault takes."""
    if max(map(len, found.texts), default=0) <= MAX_ORIGINAL_BYTES:
        return found
    chosen = [number for number, text in enumerate(found.texts) if len(text) <= MAX_ORIGINAL_BYTES]
    return FieldOriginals(
        found.path,
        found.subject[chosen],
        [found.pseudonyms[number] for number in chosen],
        [found.texts[number] for number in chosen],
        found.first[chosen],
        found.last[chosen],
    )


def _dates(days: Sequence[Index]) -> pa.Array:
    return pa.array(np.concatenate(days).astype(np.int32)).cast(pa.date32())


class OriginalsFiles:
    """The files of one batch: ``reversible_originals`` and ``latest_consents``."""

    def __init__(self, paths: Sequence[str], originals: ParquetWriter, consents: ParquetWriter) -> None:
        self._paths = paths
        self._originals = originals
        self._consents = consents
        self._too_long = 0

    def write(self, sealed: SealedOriginals) -> None:
        """Appends what a chunk has."""
        self._originals.write(sealed.originals)
        self._consents.write(sealed.consents)
        self._too_long += sealed.too_long

    def made(self) -> tuple[MadeFile, ...]:
        """Once the files are there."""
        return (
            MadeFile.of(REVERSIBLE_ORIGINALS, self._paths[0], self._originals),
            MadeFile.of(LATEST_CONSENTS, self._paths[1], self._consents),
        )

    def counts(self) -> dict[str, int]:
        """What is added to the counts of the lake's layer."""
        counts = {"originals": self._originals.rows}
        return counts | {"originals_too_long": self._too_long} if self._too_long else counts


@contextmanager
def originals_files(
    installation: Installation, stream: Stream, batch: Batch, name: str
) -> Iterator[OriginalsFiles]:
    """The files of a batch, there when the block ends, and not if it raises."""
    hour = hour_start(batch.hour)
    key = installation.keys.restricted_key(stream.name, hour.date())
    zone = installation.zones.restricted
    paths = [
        data_file(stream.name, dataset, hour, batch.id, name)
        for dataset in (REVERSIBLE_ORIGINALS, LATEST_CONSENTS)
    ]
    with (
        write_parquet(zone, paths[0], ORIGINALS, key=key, compression="lz4") as originals,
        write_parquet(zone, paths[1], CONSENTS, key=key, compression="lz4") as consents,
    ):
        yield OriginalsFiles(paths, originals, consents)
