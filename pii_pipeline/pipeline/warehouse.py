"""Warehouse tables: a dataset's committed files, batch by batch, into DuckDB or PostgreSQL.

The ledger says what was loaded, as of every layer; the warehouse says it too, in the transaction of the rows
(see `warehouse.warehouse`). A batch is loaded where either of them lacks it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from pii_pipeline.lake import UnreadableFile, read_parquet
from pii_pipeline.ledger import Batch, Commit, StaleUpstream, fingerprint, rows_count, table_layer
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import Layer, LayerResult, Progress, as_made, make_layer, silent
from pii_pipeline.pipeline.made import Made
from pii_pipeline.streams.model import Stream
from pii_pipeline.streams.tables import warehouse_table
from pii_pipeline.warehouse.table import Table
from pii_pipeline.warehouse.warehouse import OpenTable

CODE_VERSION = "1"


def load_hour(
    installation: Installation,
    stream: Stream,
    name: str,
    hour: str,
    force: bool = False,
    progress: Progress = silent,
) -> LayerResult:
    """Loads what a dataset has of the hour, and its warehouse table has not, or not so.

    Raises `WarehouseError`, and `ContractChanged` before the table is looked at: it follows the contract.
    """
    installation.hold_to_contracts(stream, using=False)
    table = warehouse_table(stream, name)
    held = _follow(installation, stream, table, progress)

    def make(
        installation: Installation, batch: Batch, upstream: Commit | None, wanted: str, progress: Progress
    ) -> Made:
        assert upstream is not None
        if force or held.get(batch.id) != wanted:
            with installation.warehouse.open(table) as opened:
                _refuse_replaced(installation, table, upstream)
                _load(installation, opened, table, upstream, progress)
        rows = _rows(table, upstream)
        return Made((), {rows_count(table.dataset): rows, "loaded": rows})

    layer = Layer(
        table_layer(table.dataset, table.name),
        "loaded",
        lambda _, upstream: _fingerprint(table, upstream),
        make,
        as_made,
        holds=lambda batch, wanted: held.get(batch.id) == wanted,
        side_by_side=False,  # a warehouse takes one load after the other
    )
    return make_layer(installation, stream, hour, layer, force, progress)


def _follow(
    installation: Installation, stream: Stream, table: Table, progress: Progress
) -> Mapping[str, str]:
    """Has the table be as it is declared, with no batch that the ledger does not hold. Gives the batches that
    it holds then, and the fingerprint of each.

    If it was declared otherwise before, what it held is loaded again in the same transaction: who reads it
    sees the one table or the other, and neither with a part of the rows.
    """
    with installation.warehouse.open(table) as opened:
        ledger = installation.ledger
        # The ledger is asked when nobody else loads: whatever is committed later is loaded later.
        for batch in opened.define():
            if commit := ledger.commit_of(batch, table.dataset):
                _load(installation, opened, table, commit, progress)
        committed = ledger.committed_batches(stream.name, table.dataset)
        opened.remove(opened.batches().keys() - committed)
        return opened.batches()


def _refuse_replaced(installation: Installation, table: Table, upstream: Commit) -> None:
    """What is loaded last stays: it must be what is committed now, though a run that has lost its lease may
    have been overtaken on the way here. The warehouse is locked; who replaces it after this loads after this.
    """
    found = installation.ledger.commit_of(upstream.batch_id, table.dataset)
    if found is None or found.fingerprint != upstream.fingerprint:
        raise StaleUpstream(f"{upstream.batch_id} {table.name}: {table.dataset} was made again meanwhile")


def _load(
    installation: Installation, opened: OpenTable, table: Table, upstream: Commit, progress: Progress
) -> None:
    parts = _parts(installation, table, upstream, progress)
    opened.replace(upstream.batch_id, _fingerprint(table, upstream), _rows(table, upstream), parts)


def _parts(
    installation: Installation, table: Table, upstream: Commit, progress: Progress
) -> Iterator[pa.RecordBatch]:
    """The committed rows of a batch, as many columns as the table needs."""
    zone = installation.zone_holding(table.dataset)
    needed = list(dict.fromkeys(column.path[0] for column in table.columns))
    for file in upstream.files:
        if file.dataset != table.dataset:
            continue
        try:
            for part in read_parquet(zone, file.path, columns=needed, rows=file.span):
                yield part
                progress(table.name, part.num_rows, part.nbytes)
        except FileNotFoundError:
            raise UnreadableFile(f"{file.path}: is committed, and not there") from None


def _rows(table: Table, upstream: Commit) -> int:
    return sum(file.rows for file in upstream.files if file.dataset == table.dataset)


def _fingerprint(table: Table, upstream: Commit | None) -> str:
    """What the table's part of a batch depends on; objects, contract and secret are in the dataset's."""
    return fingerprint([], table.definition, CODE_VERSION, None, upstream.fingerprint if upstream else None)
