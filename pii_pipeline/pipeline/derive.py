"""Derived datasets: the lake's rows whose data subject consented, decrypted where the request allows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import partial

import numpy as np
import pyarrow as pa

from pii_pipeline.keys.keyring import DataKeys, Keyring
from pii_pipeline.lake import data_file, read_parquet, write_parquet
from pii_pipeline.ledger import PSEUDONYMIZED_EVENTS, Batch, Commit, CommittedFile, fingerprint, hour_start
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import Layer, LayerResult, Made, Progress, as_made, make_layer, silent
from pii_pipeline.pipeline.parallel import ordered_map
from pii_pipeline.pipeline.sealing import ChunkOpener
from pii_pipeline.pipeline.subjects import windows
from pii_pipeline.privacy.consent import ConsentRequest
from pii_pipeline.privacy.derive import DerivedPlan, derive_columns
from pii_pipeline.privacy.distinct import distinct
from pii_pipeline.privacy.encodings import from_base64, from_uuid
from pii_pipeline.privacy.leak_gate import LeakError
from pii_pipeline.privacy.nested import plain
from pii_pipeline.privacy.plan import CONSENT, EVENT_TIME, KEY_LINK, SUBJECT_TOKEN, compile_plan
from pii_pipeline.streams.model import Stream

CODE_VERSION = "4"


@dataclass(frozen=True, slots=True)
class _Derived:
    table: pa.Table
    withheld: int
    bytes: int


def derived_plan(stream: Stream, dataset: str) -> DerivedPlan:
    """The plan of the stream's derived dataset of that name."""
    wanted = stream.derived[dataset]
    request = ConsentRequest(wanted.consent.level, frozenset(wanted.consent.purposes or ()))
    return DerivedPlan(compile_plan(stream.contract), request, wanted.joinable_with_lake is not None)


def derive_hour(
    installation: Installation,
    stream: Stream,
    dataset: str,
    hour: str,
    force: bool = False,
    progress: Progress = silent,
) -> LayerResult:
    """Makes the hour's part of a derived dataset from what is in the lake."""
    derived = derived_plan(stream, dataset)
    request = (
        f"{dataset} {derived.request.level} {sorted(derived.request.purposes)} {derived.joinable_with_lake}"
    )

    def fingerprint_of(batch: Batch, upstream: Commit | None) -> str:
        etags = [item.etag for item in batch.objects]
        secret = installation.secret.version
        above = upstream.fingerprint if upstream else None
        return fingerprint(etags, f"{stream.contract.digest} {request}", CODE_VERSION, secret, above)

    layer = Layer(dataset, "pseudonymized", fingerprint_of, partial(_derive_batch, stream, dataset), as_made)
    return make_layer(installation, stream, hour, layer, force, progress)


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
    derived = derived_plan(stream, dataset)
    path = data_file(stream.name, dataset, hour_start(batch.hour), batch.id, name)
    derive = _Derivation(installation, stream, dataset, derived)
    withheld = 0
    source = next(file.path for file in upstream.files if file.dataset == PSEUDONYMIZED_EVENTS)
    dictionaries = [KEY_LINK, SUBJECT_TOKEN, *derived.plan.treated_texts(derived.plan.lake_schema())]
    with write_parquet(installation.zones.consented, path, derived.schema()) as out:
        chunks = read_parquet(installation.zones.lake, source, dictionaries=dictionaries)
        for part in ordered_map(derive, chunks, installation.workers):
            out.write(part.table)
            withheld += part.withheld
            progress(dataset, part.table.num_rows + part.withheld, part.bytes)
    counts = {"pseudonymized": out.rows + withheld, "admitted": out.rows, "withheld": withheld}
    return Made((CommittedFile(dataset, path, out.size, out.rows),), counts)


class _Derivation:
    """From a chunk of the lake to a chunk of the dataset."""

    def __init__(
        self, installation: Installation, stream: Stream, dataset: str, derived: DerivedPlan
    ) -> None:
        self._installation = installation
        self._dataset = dataset
        self._derived = derived
        self._stream = stream
        self._salts: dict[bytes, bytes] = {}

    def __call__(self, batch: pa.RecordBatch) -> _Derived:
        rows, size = batch.num_rows, batch.nbytes
        table = pa.Table.from_batches([batch])
        table = table.filter(pa.array(self._derived.request.admits(table[CONSENT].combine_chunks())))
        days = windows(table[EVENT_TIME].combine_chunks()).days
        keyring = self._installation.keyring(self._stream, days)
        row, keys, known = self._data_keys(table, keyring)
        if not known.all():
            # Forgotten people and expired windows: nothing of theirs can be read, so nothing is admitted.
            table = table.filter(pa.array(known[row]))
            row, keys, _ = self._data_keys(table, keyring)
        opener = ChunkOpener(keyring, self._dataset, keys)
        columns, leaks = derive_columns(table, self._derived, row, opener)
        if leaks:
            raise LeakError(leaks)
        names = self._derived.schema().names
        result = pa.table([columns[name] for name in names], names)
        return _Derived(result, rows - table.num_rows, size)

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
