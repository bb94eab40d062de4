"""vault_records: what a batch has for the vault, looked at record by record once more, and loaded.

A record is loaded only if it opens, and its original becomes its pseudonym again as the contract says that it
was made under: computed here, not where the two were put together. Loading is idempotent, so a batch that was
loaded and not committed is loaded again, and all of it is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.keys import vault_records
from pii_pipeline.keys.keyring import Keyring
from pii_pipeline.keys.vault_records import Whose
from pii_pipeline.lake import read_parquet
from pii_pipeline.ledger import VAULT_RECORDS, WITHOUT_ORIGINALS, Batch, Commit, hour_start
from pii_pipeline.pipeline.installation import LATEST_CONSENTS, REVERSIBLE_ORIGINALS, Installation
from pii_pipeline.pipeline.known_vault import load_into_vault, loaded_fingerprint
from pii_pipeline.pipeline.layer import InputsGone, Layer, LayerResult, Progress, as_made, silent
from pii_pipeline.pipeline.made import Made
from pii_pipeline.pipeline.parallel import ordered_map
from pii_pipeline.pipeline.pseudonymize import pseudonymize_layer
from pii_pipeline.pipeline.vault import LOADED_AT_ONCE
from pii_pipeline.privacy.plan import Plan, compile_plan
from pii_pipeline.streams.model import Stream
from pii_pipeline.vault.model import Consent, RecordKey, SealedRecord
from pii_pipeline.vault.policy import PIPELINE

CODE_VERSION = "1"


class WrongRecord(Exception):
    """A record that is not what it says: it does not open, or its original has another pseudonym."""

    def __init__(self, batch: str, field: str, number: int, problem: str) -> None:
        super().__init__(batch, field, number, problem)

    def __str__(self) -> str:
        return "batch {}: {}, record {} for the vault: {}".format(*self.args)


def load_hour(
    installation: Installation,
    stream: Stream,
    hour: str,
    force: bool = False,
    progress: Progress = silent,
) -> LayerResult:
    """Loads what the hour's batches have for the vault, and is not loaded yet, or not so. Raises
    `AnotherVault`."""

    def layer(vault: str) -> Layer[Made]:
        return Layer(
            VAULT_RECORDS,
            "originals",
            partial(loaded_fingerprint, CODE_VERSION, vault),
            partial(_load_batch, stream),
            as_made,
            above=pseudonymize_layer(installation, stream, ()),
            lacks=_lacks,
        )

    return load_into_vault(installation, stream, hour, layer, force, progress)


def _lacks(upstream: Commit) -> bool:
    return _counted(upstream) and upstream.path_of(REVERSIBLE_ORIGINALS) is None


def _counted(upstream: Commit) -> bool:
    """Whether originals were kept when it was made."""
    return "originals" in upstream.counts


def _load_batch(
    stream: Stream,
    installation: Installation,
    batch: Batch,
    upstream: Commit | None,
    name: str,
    progress: Progress,
) -> Made:
    assert upstream is not None
    if not _counted(upstream):
        # The lake's step comes first, and makes again what it can: the objects of this batch are gone.
        counts = dict.fromkeys(("originals", "new", "known", "forgotten"), 0)
        return Made((), {**counts, WITHOUT_ORIGINALS: upstream.counts["pseudonymized"]})
    check = _Check(installation, stream, batch)
    loaded = forgotten = 0

    def records() -> Iterator[Sequence[SealedRecord]]:
        nonlocal loaded, forgotten
        parts = _parts(installation, stream, batch, upstream, REVERSIBLE_ORIGINALS)
        for part, sound in ordered_map(check, parts, installation.workers):
            loaded += len(sound)
            forgotten += part.num_rows - len(sound)
            yield sound
            progress(VAULT_RECORDS, part.num_rows, part.nbytes)

    consents = (
        _consents(stream.name, part)
        for part in _parts(installation, stream, batch, upstream, LATEST_CONSENTS)
    )
    try:
        stored = installation.vault.load(PIPELINE, batch.id, records(), consents)
    except FileNotFoundError:
        raise InputsGone(f"batch {batch.id}: what it has for the vault is not there any more") from None
    counts = {"originals": loaded + forgotten, "new": stored.new, "known": stored.known}
    return Made((), {**counts, "forgotten": forgotten})


def _parts(
    installation: Installation, stream: Stream, batch: Batch, upstream: Commit, dataset: str
) -> Iterator[pa.RecordBatch]:
    """The rows of a restricted file, some at a time. Raises FileNotFoundError."""
    path = upstream.path_of(dataset)
    if path is None:
        raise FileNotFoundError("deleted while this was waiting")
    key = installation.keys.restricted_key(stream.name, hour_start(batch.hour).date())
    for part in read_parquet(installation.zones.restricted, path, key=key):
        for start in range(0, part.num_rows, LOADED_AT_ONCE):
            yield part.slice(start, LOADED_AT_ONCE)


def _consents(stream: str, part: pa.RecordBatch) -> list[Consent]:
    columns = (part[name].to_pylist() for name in ("subject", "levels", "cumulative", "at"))
    return [
        Consent(subject, stream, frozenset(levels), cumulative, at)
        for subject, levels, cumulative, at in zip(*columns, strict=True)
    ]


class _Check:
    """From rows of ``reversible_originals`` to sound records; those of forgotten people are left out."""

    def __init__(self, installation: Installation, stream: Stream, batch: Batch) -> None:
        self._installation = installation
        self._stream = stream
        self._batch = batch
        self._contracts = {contract.contract: contract for contract in stream.versions}
        self._plans: dict[str, Plan] = {}

    def __call__(self, part: pa.RecordBatch) -> tuple[pa.RecordBatch, list[SealedRecord]]:
        keys = self._installation.keys
        people = pc.dictionary_encode(part["subject"])
        refs: list[bytes] = people.dictionary.to_pylist()
        salts = keys.salts_of(refs)
        known = np.array([ref in salts for ref in refs], bool)[people.indices.to_numpy()]
        rows = part.filter(pa.array(known))
        subject = people.indices.to_numpy()[known].astype(np.int64)
        whose = Whose(subject, refs, [salts.get(ref, b"") for ref in refs])
        contracts, fields = rows["contract"].to_pylist(), rows["field"].to_pylist()
        pseudonyms: list[str] = rows["pseudonym"].to_pylist()
        names = [b""] * len(fields)
        groups = _groups(contracts, fields)
        for (_, field), positions in groups.items():
            texts = [pseudonyms[position].encode() for position in positions]
            of_field = vault_records.record_names(self._stream.name, field, texts)
            for position, name in zip(positions, of_field, strict=True):
                names[position] = name
        sealed: list[bytes] = rows["sealed"].to_pylist()
        opened = vault_records.unseal(keys.vault_key(), whose, names, sealed)
        originals = [original for original in opened if original is not None]
        if len(originals) < len(opened):
            raise self._wrong(fields, opened.index(None), "does not open")
        for (name, field), positions in groups.items():
            again = self._pseudonyms(name, field, whose, positions, originals)
            for position, pseudonym in zip(positions, again, strict=True):
                if pseudonym.hex() != pseudonyms[position]:
                    raise self._wrong(fields, position, "its original has another pseudonym")
        days = zip(rows["first_seen"].to_pylist(), rows["last_seen"].to_pylist(), strict=True)
        return part, [
            SealedRecord(RecordKey(self._stream.name, field, pseudonym), refs[number], data, b"", *seen)
            for field, pseudonym, number, data, seen in zip(
                fields, pseudonyms, subject.tolist(), sealed, days, strict=True
            )
        ]

    def _pseudonyms(
        self, name: str, field: str, whose: Whose, positions: Sequence[int], originals: Sequence[bytes]
    ) -> list[bytes]:
        """What the contract of that name makes of the originals at these positions."""
        contract = self._contracts.get(name)
        if contract is None:
            why = f"made under {name}, which is not among the stream's contracts any more"
            raise InputsGone(f"batch {self._batch.id}: {why}")
        if name not in self._plans:
            self._plans[name] = compile_plan(contract)
        plan = self._plans[name]
        if field not in plan.reversible:
            raise self._wrong([field], 0, f"{name} does not say that this field is reversible")
        values = [originals[position] for position in positions]
        salts = [whose.salts[number] for number in whose.subject[positions].tolist()]
        keyring = self._installation.pseudonym_keys(self._stream, contract)
        return pseudonyms_again(keyring, plan, field, values, salts)

    def _wrong(self, fields: Sequence[str], position: int, problem: str) -> WrongRecord:
        return WrongRecord(self._batch.id, fields[position], position, problem)


def pseudonyms_again(
    keyring: Keyring, plan: Plan, field: str, originals: list[bytes], salts: Sequence[bytes]
) -> list[bytes]:
    """What the contract makes of originals of a reversible field, each of the person with that salt."""
    treatment = plan.reversible[field]
    domain = treatment.domain or plan.domain(field)
    if treatment.hash is not None:
        return keyring.snowplow_hashes(treatment.hash, originals)
    if treatment.outlives_erasure:
        return keyring.pseudonyms(domain, originals)
    distinct = list(dict.fromkeys(salts))
    roots = dict(zip(distinct, keyring.pseudonym_roots(distinct), strict=True))
    return keyring.pseudonyms(domain, originals, [roots[salt] for salt in salts])


def _groups(contracts: Sequence[str], fields: Sequence[str]) -> dict[tuple[str, str], list[int]]:
    """The positions of each contract's fields."""
    groups: dict[tuple[str, str], list[int]] = {}
    for position, of in enumerate(zip(contracts, fields, strict=True)):
        groups.setdefault(of, []).append(position)
    return groups
