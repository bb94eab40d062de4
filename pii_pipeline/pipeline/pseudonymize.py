"""pseudonymized_events: the validated rows of a batch, treated, looked at once more, into the lake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.columns import differences, widened
from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import arrow_schema
from pii_pipeline.keys.keyring import DataKeys, Keyring
from pii_pipeline.keys.subjects import Subject
from pii_pipeline.lake import data_file, plain_schema, read_parquet, write_parquet
from pii_pipeline.ledger import (
    PSEUDONYMIZED_EVENTS,
    VALIDATED_EVENTS,
    Batch,
    Commit,
    fingerprint,
    hour_start,
)
from pii_pipeline.pipeline import duplicates, originals
from pii_pipeline.pipeline.ahead import Ahead, Derived
from pii_pipeline.pipeline.columns import column_at
from pii_pipeline.pipeline.installation import EVENT_DIGESTS, Installation
from pii_pipeline.pipeline.layer import (
    InputsGone,
    Layer,
    LayerResult,
    Progress,
    as_made,
    make_layer,
    silent,
)
from pii_pipeline.pipeline.made import Made, MadeFile
from pii_pipeline.pipeline.originals import (
    SealedOriginals,
    consents_said,
    originals_files,
    seal_originals,
)
from pii_pipeline.pipeline.parallel import ordered_map
from pii_pipeline.pipeline.sealing import ChunkSealer, SealedRows
from pii_pipeline.pipeline.shares import Share, as_share, by_contract
from pii_pipeline.pipeline.subjects import People, SubjectCache, Windows, people, texts, windows
from pii_pipeline.pipeline.validate import ARRIVAL_TIME, columns_under, validation
from pii_pipeline.privacy.consent import LEVELS, consent_column
from pii_pipeline.privacy.distinct import numbered
from pii_pipeline.privacy.encodings import base64_array, uuid_array
from pii_pipeline.privacy.leak_gate import LeakError, inspect
from pii_pipeline.privacy.nested import plain
from pii_pipeline.privacy.originals import Originals
from pii_pipeline.privacy.plan import (
    CONSENT,
    CONTRACT,
    EVENT_TIME,
    ID_REUSED,
    KEY_LINK,
    SUBJECT_TOKEN,
    Plan,
    compile_plan,
)
from pii_pipeline.privacy.pseudonymize import pseudonymize_columns
from pii_pipeline.privacy.sealer import RowKeys
from pii_pipeline.streams.datasets import dataset_schema
from pii_pipeline.streams.model import Stream

CODE_VERSION = "6"

DOCUMENT_BYTES = 32 * 1024 * 1024
"""Of documents in a chunk. Treated, they are as a rule three times as long, and 33 times where each of their
values is a digit that becomes a pseudonym: 1 GiB, and no column may have two."""


@dataclass(frozen=True, slots=True)
class _Treated:
    table: pa.Table
    erased: int
    expired: int
    bytes: int
    derived: Derived | Exception
    sealed: SealedOriginals | None


def pseudonymize_hour(
    installation: Installation,
    stream: Stream,
    hour: str,
    force: bool = False,
    progress: Progress = silent,
    ahead: Sequence[str] = (),
) -> LayerResult:
    """Pseudonymizes what is validated of the hour and not, or not so, in the lake yet.

    `ahead`: derived datasets that will be asked for next; they are made on the way, and not committed.
    """
    layer = pseudonymize_layer(installation, stream, ahead)
    return make_layer(installation, stream, hour, layer, force, progress)


def pseudonymize_layer(installation: Installation, stream: Stream, ahead: Sequence[str]) -> Layer[Made]:
    """The layer, with derived datasets to be made ahead."""

    def fingerprint_of(batch: Batch, upstream: Commit | None) -> str:
        etags = [item.etag for item in batch.objects]
        secret = installation.secret_version(stream)
        above = upstream.fingerprint if upstream else None
        return fingerprint(etags, stream.digest, code_version(stream), secret, above)

    return Layer(
        PSEUDONYMIZED_EVENTS,
        "pseudonymized",
        fingerprint_of,
        partial(_pseudonymize_batch, stream, tuple(ahead)),
        as_made,
        above=validation(installation, stream),
        lacks=lambda upstream: upstream.path_of(VALIDATED_EVENTS) is None,
    )


def code_version(stream: Stream) -> str:
    """Of the layer: streams without reversible fields do not depend on how originals are kept."""
    return f"{CODE_VERSION}.{originals.CODE_VERSION}" if stream.reversible else CODE_VERSION


def _pseudonymize_batch(
    stream: Stream,
    datasets: Sequence[str],
    installation: Installation,
    batch: Batch,
    upstream: Commit | None,
    name: str,
    progress: Progress,
) -> Made:
    assert upstream is not None
    path = data_file(stream.name, PSEUDONYMIZED_EVENTS, hour_start(batch.hour), batch.id, name)
    ahead = Ahead(installation, stream, datasets, batch, name)
    plans = {contract.contract: compile_plan(contract) for contract in stream.active}
    treat = _Treatment(installation, stream, plans, ahead)
    kept = originals_files(installation, stream, batch, name) if stream.reversible else nullcontext()
    erased = expired = 0
    try:
        with (
            ahead,
            write_parquet(installation.zones.lake, path, dataset_schema(stream, PSEUDONYMIZED_EVENTS)) as out,
            kept as vault,
        ):
            shares = validated_shares(installation, stream, batch, upstream, plans)
            for treated in ordered_map(treat, shares, installation.workers):
                out.write(treated.table)
                if vault and treated.sealed:
                    vault.write(treated.sealed)
                erased += treated.erased
                expired += treated.expired
                progress(PSEUDONYMIZED_EVENTS, treated.table.num_rows, treated.bytes)
                ahead.write(treated.derived, progress)
    except FileNotFoundError:
        raise InputsGone(f"batch {batch.id}: the validated events are not there any more") from None
    counts = {
        "validated": out.rows + erased + expired,
        "pseudonymized": out.rows,
        "erased": erased,
        "expired": expired,
    }
    files = (MadeFile.of(PSEUDONYMIZED_EVENTS, path, out),)
    if vault:
        files, counts = (*files, *vault.made()), counts | vault.counts()
    return Made(files, counts, ahead=ahead.made())


def validated_shares(
    installation: Installation,
    stream: Stream,
    batch: Batch,
    upstream: Commit,
    plans: Mapping[str, Plan],
) -> Iterator[Share]:
    """The validated rows of a batch chunk by chunk and version by version, redelivered ones left out, with
    `ID_REUSED`. Rows that were validated under another contract are the newest's, if it can have them."""
    encoded = {name: plan.treated_texts(columns_under(plan.contract)) for name, plan in plans.items()}
    dictionaries = [CONTRACT, *dict.fromkeys(name for names in encoded.values() for name in names)]
    for rows, verdict in validated_rows(installation, stream, batch, upstream, dictionaries=dictionaries):
        reused = pa.nulls(rows.num_rows, pa.bool_()) if verdict is None else verdict == duplicates.ID_REUSED
        table = rows.append_column(ID_REUSED, pa.array(reused))
        shared = by_contract(table, stream) if CONTRACT in rows.schema.names else [(None, table)]
        for contract, rows in shared:
            governing = contract or stream.contract
            if not _fits(rows, governing, validated_so=contract is not None):
                why = "validated under an earlier contract, and its objects are gone"
                raise InputsGone(f"batch {batch.id}: {why}")
            for piece in _cut(_narrowed(rows, governing), plans[governing.contract].documents):
                yield as_share(governing, piece, encoded[governing.contract])


def validated_rows(
    installation: Installation,
    stream: Stream,
    batch: Batch,
    upstream: Commit,
    columns: Sequence[str] | None = None,
    dictionaries: Sequence[str] = (),
) -> Iterator[tuple[pa.Table, np.ndarray | None]]:
    """The validated rows of a batch chunk by chunk, redelivered ones left out, and their verdicts (int8; None
    where none were made). Raises FileNotFoundError."""
    key = installation.keys.restricted_key(stream.name, hour_start(batch.hour).date())
    restricted = installation.zones.restricted
    path, path_of_digests = upstream.path_of(VALIDATED_EVENTS), upstream.path_of(EVENT_DIGESTS)
    if path is None:
        raise FileNotFoundError("deleted while this was waiting")
    verdict: np.ndarray | None = None
    if path_of_digests is not None:
        digests = list(read_parquet(restricted, path_of_digests, key=key, columns=["verdict"]))
        verdict = np.concatenate([np.empty(0, np.int8), *(part["verdict"].to_numpy() for part in digests)])
    at = 0
    for part in read_parquet(restricted, path, key=key, columns=columns, dictionaries=dictionaries):
        table = pa.Table.from_batches([part])
        mine = None if verdict is None else verdict[at : at + table.num_rows]
        at += part.num_rows
        if mine is not None:
            new = mine != duplicates.DUPLICATE
            table, mine = table.filter(pa.array(new)), mine[new]
        yield table, mine


def _fits(table: pa.Table, contract: Contract, validated_so: bool) -> bool:
    """Whether validated rows can be treated as `contract` says; `validated_so`: they were judged by it."""
    wanted = columns_under(contract)
    known = plain_schema(table.schema)
    if any(found.first is not None and found.path != CONTRACT for found in differences(wanted, known)):
        return False
    return validated_so or not texts(column_at(table, contract.key_field))[1].min(initial=0) < 0


def _narrowed(table: pa.Table, contract: Contract) -> pa.Table:
    """`table` with the records in it as `contract` has them: what is encrypted whole, is what it says."""
    for field in arrow_schema(contract.record):
        column = table[field.name]
        if pa.types.is_nested(field.type) and column.type != field.type:
            table = table.set_column(
                table.schema.get_field_index(field.name), field.name, column.cast(field.type)
            )
    return table


def _cut(table: pa.Table, documents: Sequence[str]) -> Iterator[pa.Table]:
    """The rows in pieces of at most `DOCUMENT_BYTES` in the fields `documents`, or of one row."""
    if not documents:
        yield table
        return
    sizes = [pc.binary_length(column_at(table, path)).fill_null(0).to_numpy() for path in documents]
    ends = np.cumsum(np.sum(sizes, axis=0, dtype=np.int64))
    start = 0
    while start < table.num_rows:
        most = DOCUMENT_BYTES + (ends[start - 1] if start else 0)
        stop = max(int(np.searchsorted(ends, most, side="right")), start + 1)
        yield table.slice(start, stop - start)
        start = stop


class _Treatment:
    """From a share of validated rows to a chunk of the lake."""

    def __init__(
        self, installation: Installation, stream: Stream, plans: Mapping[str, Plan], ahead: Ahead
    ) -> None:
        self._installation = installation
        self._stream = stream
        self._plans = plans
        self._schema = dataset_schema(stream, PSEUDONYMIZED_EVENTS)
        self._subjects = SubjectCache(installation.keys)
        self._ahead = ahead

    def __call__(self, share: Share) -> _Treated:
        contract, table = share
        plan = self._plans[contract.contract]
        size = table.nbytes
        when = windows(table[EVENT_TIME].combine_chunks())
        keyring = self._installation.keyring(self._stream, when.days)
        table, when, expired = _without_expired(table, when, keyring)
        who = people(table, contract, self._stream.name, when, self._installation.index_key)
        gone = self._erased(table, who.tags, who.subject)
        erased = int(gone.sum())
        if erased:
            table = table.filter(pa.array(~gone))
            when = windows(table[EVENT_TIME].combine_chunks())
            who = people(table, contract, self._stream.name, when, self._installation.index_key)
        subjects = self._subjects.get(who.tags)
        refs = [subject.ref for subject in subjects]
        keys = _data_keys(column_at(table, contract.key_field), when, who.subject, refs, keyring)
        data_keys = DataKeys(
            days=[when.days[i] for i in keys.window.tolist()],
            salts=[subjects[i].salt for i in keys.subject.tolist()],
            key_links=keys.links,
        )
        sealer = ChunkSealer(keyring, [subject.salt for subject in subjects], data_keys)
        found = Originals(who.subject, when.since_1970) if contract.reversible else None
        columns = pseudonymize_columns(table, plan, RowKeys(who.subject, keys.row), sealer, found)
        leaks = inspect(table, columns, plan)
        if leaks:
            raise LeakError(leaks)
        columns |= {
            EVENT_TIME: table[EVENT_TIME].combine_chunks(),
            CONTRACT: plain(table[CONTRACT]),
            KEY_LINK: _spread(keys.row, uuid_array(keys.links)),
            SUBJECT_TOKEN: _spread(keys.row, base64_array(keys.tokens)),
            CONSENT: _consent(table, contract),
            ID_REUSED: table[ID_REUSED].combine_chunks(),
        }
        names = plan.lake_schema().names
        lake = pa.table([columns[name] for name in names], names)
        derived = self._ahead.derive(Share(contract, lake), SealedRows(keys.row, sealer))
        sealed = None if found is None else self._sealed(plan, found, lake, who, subjects)
        return _Treated(widened(lake, self._schema), erased, expired, size, derived, sealed)

    def _sealed(
        self,
        plan: Plan,
        found: Originals,
        lake: pa.Table,
        who: People,
        subjects: Sequence[Subject],
    ) -> SealedOriginals:
        """What a chunk that has passed the gate has for the vault."""
        key = self._installation.keys.vault_key()
        rows, too_long = seal_originals(self._stream.name, plan.contract, found, subjects, key)
        said, at = plain(lake[CONSENT]), plain(lake[EVENT_TIME])
        return SealedOriginals(rows, consents_said(plan, said, who, at, subjects), too_long)

    def _erased(self, table: pa.Table, tags: list[bytes], subject: np.ndarray) -> np.ndarray:
        """Rows of people who were erased after them: event or arrival time at or before the erasure."""
        erased_at = self._installation.keys.erased_at(tags)
        if not erased_at:
            return np.zeros(table.num_rows, bool)
        never = np.iinfo(np.int64).min
        moments = np.array(
            [int(erased_at[tag].timestamp() * 1e6) if tag in erased_at else never for tag in tags], np.int64
        )[subject]
        times = [
            table[name].combine_chunks().cast(pa.int64()).to_numpy() for name in (EVENT_TIME, ARRIVAL_TIME)
        ]
        return (times[0] <= moments) | (times[1] <= moments)


@dataclass(frozen=True, slots=True)
class _Keys:
    """The distinct data keys of a chunk; row i is under key `row[i]`."""

    row: np.ndarray
    window: np.ndarray
    subject: np.ndarray
    links: list[bytes]
    tokens: list[bytes]


def _data_keys(
    key_values: pa.Array, when: Windows, subject: np.ndarray, refs: list[bytes], keyring: Keyring
) -> _Keys:
    """The distinct (window, key field value, subject) of the rows, with key link and token of each."""
    values, codes = texts(key_values)
    combined = (codes * len(when.days) + when.window) * len(refs) + subject
    distinct, row = numbered(combined)
    of_subject = distinct % max(len(refs), 1)
    of_window = distinct // max(len(refs), 1) % max(len(when.days), 1)
    of_value = distinct // max(len(refs), 1) // max(len(when.days), 1)
    links: list[bytes] = [b""] * len(distinct)
    tokens: list[bytes] = [b""] * len(distinct)
    for number, day in enumerate(when.days):
        chosen = np.flatnonzero(of_window == number).tolist()
        of_day = [refs[of_subject[i]] for i in chosen]
        found = keyring.key_links(day, [values[of_value[i]] for i in chosen], of_day)
        for i, link, token in zip(chosen, found, keyring.subject_tokens(day, of_day, found), strict=True):
            links[i], tokens[i] = link, token
    return _Keys(row, of_window, of_subject, links, tokens)


def _consent(table: pa.Table, contract: Contract) -> pa.Array:
    """The consent levels of the rows; null where the contract does not say where they are."""
    if contract.consent is None:
        return pa.nulls(table.num_rows, LEVELS)
    field = contract.consent.field
    values = None if field is None else column_at(table, field)
    return consent_column(contract.consent, values, table.num_rows)


def _spread(rows: np.ndarray, values: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(rows.astype(np.int32)), values)


def _without_expired(table: pa.Table, when: Windows, keyring: Keyring) -> tuple[pa.Table, Windows, int]:
    """The rows whose window still has its key, and how many have not: they are never made again."""
    gone = [number for number, day in enumerate(when.days) if keyring.window_keys[day] is None]
    if not gone:
        return table, when, 0
    keep = ~np.isin(when.window, gone)
    table = table.filter(pa.array(keep))
    return table, windows(table[EVENT_TIME].combine_chunks()), int((~keep).sum())
