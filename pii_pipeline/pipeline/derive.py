"""Derived datasets: the lake's rows whose data subject consented, decrypted where the request allows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial

import numpy as np
import pyarrow as pa

from pii_pipeline.contracts.columns import widened
from pii_pipeline.keys.keyring import DataKeys, Keyring
from pii_pipeline.lake import ParquetWriter, data_file, read_parquet, write_parquet
from pii_pipeline.ledger import PSEUDONYMIZED_EVENTS, Batch, Commit, CommittedFile, fingerprint, hour_start
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import InputsGone, Layer, LayerResult, Progress, as_made, make_layer, silent
from pii_pipeline.pipeline.made import Made, MadeFile
from pii_pipeline.pipeline.parallel import ordered_map
from pii_pipeline.pipeline.sealing import ChunkOpener, SealedRows
from pii_pipeline.pipeline.shares import Share, as_share, by_contract
from pii_pipeline.pipeline.subjects import windows
from pii_pipeline.privacy.derive import derive_columns
from pii_pipeline.privacy.distinct import distinct
from pii_pipeline.privacy.encodings import from_base64, from_uuid
from pii_pipeline.privacy.leak_gate import LeakError
from pii_pipeline.privacy.nested import plain
from pii_pipeline.privacy.plan import CONSENT, CONTRACT, EVENT_TIME, KEY_LINK, SUBJECT_TOKEN
from pii_pipeline.streams.datasets import dataset_schema, derived_plan
from pii_pipeline.streams.model import Stream

CODE_VERSION = "5"


@dataclass(frozen=True, slots=True)
class DerivedChunk:
    """A chunk of the lake as the dataset has it: its rows, how many were withheld, bytes read, seconds."""

    table: pa.Table
    withheld: int
    bytes: int
    seconds: float


def derive_hour(
    installation: Installation,
    stream: Stream,
    dataset: str,
    hour: str,
    force: bool = False,
    progress: Progress = silent,
) -> LayerResult:
    """Makes the hour's part of a derived dataset from what is in the lake."""
    layer = Layer(
        dataset,
        "pseudonymized",
        partial(derived_fingerprint, installation, stream, dataset),
        partial(_derive_batch, stream, dataset),
        as_made,
    )
    return make_layer(installation, stream, hour, layer, force, progress)


def derived_fingerprint(
    installation: Installation, stream: Stream, dataset: str, batch: Batch, upstream: Commit | str | None
) -> str:
    """What the dataset's part of a batch depends on; `upstream`: of the lake's part, or that fingerprint."""
    wanted = stream.derived[dataset]
    consent, joinable = wanted.consent, wanted.joinable_with_lake is not None
    request = f"{dataset} {consent.level} {sorted(set(consent.purposes or ()))} {joinable}"
    etags = [item.etag for item in batch.objects]
    secret = installation.secret.version
    above = upstream.fingerprint if isinstance(upstream, Commit) else upstream
    return fingerprint(etags, f"{stream.digest} {request}", CODE_VERSION, secret, above)


def _derive_batch(
    stream: Stream,
    dataset: str,
    installation: Installation,
    batch: Batch,
    upstream: Commit | None,
    name: str,
    progress: Progress,
) -> Made:
    assert upstream is not None
    source = next(file for file in upstream.files if file.dataset == PSEUDONYMIZED_EVENTS)
    with derived_file(installation, stream, dataset, batch, name) as file:
        for chunk in ordered_map(file.derive, file.shares(source), installation.workers):
            file.write(chunk, progress)
    return file.made()


@contextmanager
def derived_file(
    installation: Installation, stream: Stream, dataset: str, batch: Batch, name: str
) -> Iterator[DerivedFile]:
    """The file of one batch of a derived dataset, there when the block ends, and not if it raises."""
    path = data_file(stream.name, dataset, hour_start(batch.hour), batch.id, name)
    with write_parquet(installation.zones.consented, path, dataset_schema(stream, dataset)) as out:
        yield DerivedFile(installation, stream, dataset, path, out)


class DerivedFile:
    """Shares of the lake in, chunks of the dataset out and into its file. `seconds` it took so far."""

    def __init__(
        self,
        installation: Installation,
        stream: Stream,
        dataset: str,
        path: str,
        out: ParquetWriter,
    ) -> None:
        self._installation = installation
        self._stream = stream
        self._dataset = dataset
        wanted = stream.derived[dataset]
        self._plans = {contract.contract: derived_plan(contract, wanted) for contract in stream.active}
        self._schema = dataset_schema(stream, dataset)
        self._path = path
        self._out = out
        self._withheld = 0
        self._salts: dict[bytes, bytes] = {}
        self.seconds = 0.0

    def shares(self, source: CommittedFile) -> Iterator[Share]:
        """What is needed of a batch's file in the lake. Raises `InputsGone` if some of it came there under a
        contract that is not active any more: its columns may be other ones by now."""
        needed = dict.fromkeys(name for derived in self._plans.values() for name in derived.needed)
        encoded = {
            name: [CONTRACT, KEY_LINK, SUBJECT_TOKEN, *derived.plan.treated_texts(derived.plan.lake_schema())]
            for name, derived in self._plans.items()
        }
        dictionaries = dict.fromkeys(name for names in encoded.values() for name in names)
        lake = self._installation.zones.lake
        for batch in read_parquet(
            lake, source.path, columns=list(needed), dictionaries=list(dictionaries), rows=source.span
        ):
            table = pa.Table.from_batches([batch])
            # Files of releases that knew one version only do not name it.
            told = CONTRACT in table.column_names
            for contract, rows in (
                by_contract(table, self._stream) if told else [(self._stream.contract, table)]
            ):
                if contract is None:
                    raise InputsGone(f"{source.path}: came there under a contract that is not active now")
                yield as_share(contract, rows, encoded[contract.contract])

    def derive(self, share: Share, sealed: SealedRows | None = None) -> DerivedChunk:
        """The dataset's part of a share of the lake (its columns that are needed, or more).

        `sealed`: the share has not left this process; else its keys are asked of the store. Raises
        `LeakError`. Several threads may be in here.
        """
        started = time.perf_counter()
        derived, table = self._plans[share.contract.contract], share.table
        rows, size = table.num_rows, table.nbytes
        admitted = derived.request.admits(table[CONSENT].combine_chunks())
        table = table.select(derived.needed).filter(pa.array(admitted))
        if sealed is None:
            table, row, opener = self._opened(table)
        else:
            row, opener = sealed.row[admitted], sealed.sealer.opener(self._dataset)
        columns, leaks = derive_columns(table, derived, row, opener)
        if leaks:
            raise LeakError(leaks)
        names = derived.schema().names
        result = widened(pa.table([columns[name] for name in names], names), self._schema)
        return DerivedChunk(result, rows - table.num_rows, size, time.perf_counter() - started)

    def write(self, chunk: DerivedChunk, progress: Progress) -> None:
        """Appends what `derive` made, in the order of the lake's chunks."""
        started = time.perf_counter()
        self._out.write(chunk.table)
        self._withheld += chunk.withheld
        self.seconds += chunk.seconds + time.perf_counter() - started
        progress(self._dataset, chunk.table.num_rows + chunk.withheld, chunk.bytes)

    def made(self) -> Made:
        """Once the file is there."""
        rows = self._out.rows
        counts = {"pseudonymized": rows + self._withheld, "admitted": rows, "withheld": self._withheld}
        return Made((MadeFile.of(self._dataset, self._path, self._out),), counts)

    def _opened(self, table: pa.Table) -> tuple[pa.Table, np.ndarray, ChunkOpener]:
        """The rows that can still be read, the data key of each, and what opens them."""
        days = windows(table[EVENT_TIME].combine_chunks()).days
        keyring = self._installation.keyring(self._stream, days)
        row, keys, known = self._data_keys(table, keyring)
        if not known.all():
            # Forgotten people and expired windows: nothing of theirs can be read, so nothing is admitted.
            table = table.filter(pa.array(known[row]))
            row, keys, _ = self._data_keys(table, keyring)
        return table, row, ChunkOpener(keyring, self._dataset, keys)

    def _data_keys(self, table: pa.Table, keyring: Keyring) -> tuple[np.ndarray, DataKeys, np.ndarray]:
        """The data key of each row, those keys, and which of them still exist."""
        tokens = distinct(plain(table[SUBJECT_TOKEN]))
        row = tokens.pair
        first = np.zeros(len(tokens.dictionary), np.int64)
        first[row[::-1]] = np.arange(len(row))[::-1]
        when = windows(table[EVENT_TIME].combine_chunks())
        days: list[date] = [when.days[i] for i in when.window[first].tolist()]
        links = from_uuid(plain(table[KEY_LINK]).take(pa.array(first)).dictionary_decode())
        sealed = from_base64(tokens.dictionary)
        refs: list[bytes | None] = [None] * len(sealed)
        for day in sorted({day for day in days if keyring.window_keys[day] is not None}):
            chosen = [i for i, other in enumerate(days) if other == day]
            opened = keyring.open_subject_tokens(day, [sealed[i] for i in chosen], [links[i] for i in chosen])
            for i, ref in zip(chosen, opened, strict=True):
                refs[i] = ref
        salts = self._salts
        new = sorted({ref for ref in refs if ref is not None and ref not in salts})
        salts.update(self._installation.keys.salts_of(new))
        known = np.array([ref in salts for ref in refs], bool)
        keys = DataKeys(days, [salts.get(ref, b"") if ref else b"" for ref in refs], links)
        return row, keys, known
