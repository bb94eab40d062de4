"""relayed_originals: what Snowplow's PII enrichment replaced in a batch's events, into the vault.

As over Piinguin's wire, it is on the stream `piinguin`, and names no data subject. What is there already is
known, so a batch that was loaded and not committed is loaded again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa

from pii_pipeline.ledger import RELAYED_ORIGINALS, VALIDATED_EVENTS, Batch, Commit
from pii_pipeline.pipeline import transformations
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.known_vault import load_into_vault, loaded_fingerprint
from pii_pipeline.pipeline.layer import InputsGone, Layer, LayerResult, Progress, as_made, silent
from pii_pipeline.pipeline.made import Made
from pii_pipeline.pipeline.pseudonymize import validated_rows
from pii_pipeline.pipeline.validate import validation
from pii_pipeline.pipeline.vault import LOADED_AT_ONCE, KeyStoreSeals
from pii_pipeline.privacy.plan import EVENT_TIME
from pii_pipeline.relay.transformations import Unreadable
from pii_pipeline.streams.model import UNSTRUCT_EVENT, Stream
from pii_pipeline.vault.model import PIINGUIN_FIELD, PIINGUIN_STREAM, NewRecord, RecordKey, SealedRecord
from pii_pipeline.vault.policy import PIPELINE

CODE_VERSION = "1"


def relay_hour(
    installation: Installation,
    stream: Stream,
    hour: str,
    force: bool = False,
    progress: Progress = silent,
) -> LayerResult:
    """Loads what the hour's events say was replaced, and is not loaded yet, or not so. Raises
    `AnotherVault`."""

    def layer(vault: str) -> Layer[Made]:
        return Layer(
            RELAYED_ORIGINALS,
            "validated",
            # How transformations are read is in the fingerprint of the validated events.
            partial(loaded_fingerprint, CODE_VERSION, vault),
            partial(_relay_batch, stream),
            as_made,
            above=validation(installation, stream),
            lacks=lambda upstream: upstream.path_of(VALIDATED_EVENTS) is None,
        )

    return load_into_vault(installation, stream, hour, layer, force, progress)


def _relay_batch(
    stream: Stream,
    installation: Installation,
    batch: Batch,
    upstream: Commit | None,
    name: str,
    progress: Progress,
) -> Made:
    assert upstream is not None
    seals = KeyStoreSeals(lambda: installation.keys)
    counts = dict.fromkeys(("validated", "relayed", "other", "originals"), 0)

    def sealed() -> Iterator[Sequence[SealedRecord]]:
        columns = [UNSTRUCT_EVENT, EVENT_TIME]
        for table, _ in validated_rows(installation, stream, batch, upstream, columns):
            records, events = _records(table)
            counts["validated"] += table.num_rows
            counts["relayed"] += events
            counts["other"] += table.num_rows - events
            counts["originals"] += len(records)
            for start in range(0, len(records), LOADED_AT_ONCE):
                yield seals.seal(records[start : start + LOADED_AT_ONCE])
            progress(RELAYED_ORIGINALS, table.num_rows, table.nbytes)

    try:
        stored = installation.vault.load(PIPELINE, batch.id, sealed(), ())
    except FileNotFoundError:
        raise InputsGone(f"batch {batch.id}: the validated events are not there any more") from None
    return Made((), {**counts, "new": stored.new, "known": stored.known})


def _records(table: pa.Table) -> tuple[list[NewRecord], int]:
    """The originals in some events, each once for each day, and how many events had them."""
    found: dict[NewRecord, None] = {}
    events = 0
    times = table[EVENT_TIME]
    for row, replaced in transformations.transformations(table[UNSTRUCT_EVENT].combine_chunks()):
        assert not isinstance(replaced, Unreadable), "validation lets none of these through"
        events += 1
        day = times[row].as_py().date()
        for item in replaced:
            key = RecordKey(PIINGUIN_STREAM, PIINGUIN_FIELD, item.pseudonym)
            found[NewRecord(key, item.original, day)] = None
    return list(found), events
