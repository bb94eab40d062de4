"""The vault that originals are loaded into, which the ledger knows again by its audit log.

The ledger says of each batch that it is loaded. Where PII_VAULT_URL names another vault than before, an empty
one, or an older state of it, that would not be true of it: so nothing is loaded there, until somebody says
that it is the vault from now on. Then all is loaded again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pii_pipeline.lake import walk_objects
from pii_pipeline.ledger import (
    PSEUDONYMIZED_EVENTS,
    RELAYED_ORIGINALS,
    VALIDATED_EVENTS,
    VAULT_RECORDS,
    Batch,
    Commit,
    KnownVault,
    Ledger,
    fingerprint,
)
from pii_pipeline.pipeline.installation import REVERSIBLE_ORIGINALS, Installation
from pii_pipeline.pipeline.layer import Layer, LayerResult, Progress, make_layer
from pii_pipeline.streams.model import Stream
from pii_pipeline.vault.audit import Action, Event
from pii_pipeline.vault.policy import PIPELINE
from pii_pipeline.vault.stores import SETTING, Entry


class AnotherVault(Exception):
    """The vault is not the one that originals were loaded into."""


@dataclass
class ToLoad:
    """Batches of a stream that are to be loaded again; of `lost` ones nothing is left that it could be made
    of: neither sealed originals, nor validated events, nor all of its landing objects."""

    stream: str
    batches: int = 0
    lost: int = 0


def uses_vault(stream: Stream) -> bool:
    """Whether something of it is loaded into the vault."""
    return stream.reversible or stream.relay is not None


def hold_to_vault(installation: Installation) -> None:
    """Raises `AnotherVault` where the ledger knows a vault, and PII_VAULT_URL does not name it."""
    known = installation.ledger.vault()
    if known is not None:
        _hold_to(installation, known)


def load_into_vault(
    installation: Installation,
    stream: Stream,
    hour: str,
    layer: Callable[[str], Layer[Any]],
    force: bool,
    progress: Progress,
) -> LayerResult:
    """Makes a layer that loads into the vault, which the first load adopts. `layer` gets what tells the vault
    from others (`KnownVault.adopted`), for `loaded_fingerprint`. Raises `AnotherVault`."""
    ledger = installation.ledger
    if ledger.vault() is None:
        entry = _adoption(installation, PIPELINE)
        ledger.adopt_vault(entry.sequence, entry.hash.hex())  # of two at once, the first
    known = ledger.vault()
    assert known is not None
    _hold_to(installation, known)
    result = make_layer(installation, stream, hour, layer(known.adopted), force, progress)
    last = installation.vault_store.last_entry()
    if result.made and last is not None:
        ledger.see_vault(known.adopted, last.sequence, last.hash.hex())
    return result


def loaded_fingerprint(code_version: str, vault: str, batch: Batch, upstream: Commit | None) -> str:
    """Of a layer that loads into the vault: objects, contract and secret are in that of the layer above."""
    return fingerprint([], vault, code_version, None, upstream.fingerprint if upstream else None)


def adopt(installation: Installation, principal: str) -> list[ToLoad]:
    """Has originals loaded into the vault that PII_VAULT_URL names from now on, all that were loaded before
    too; which these are. What cannot be loaded again stays out. Recorded in its audit log."""
    known = installation.ledger.vault()
    entry = _adoption(installation, principal)
    installation.ledger.adopt_vault(entry.sequence, entry.hash.hex(), known.adopted if known else None)
    return [_to_load(installation, stream) for stream in installation.streams.values() if uses_vault(stream)]


def _hold_to(installation: Installation, known: KnownVault) -> None:
    found = next(installation.vault_store.entries(known.sequence, known.sequence), None)
    if found is None or found.hash.hex() != known.hash:
        raise AnotherVault(
            f"{SETTING}: this is not the vault that originals were loaded into, or it is an older state of "
            f"it (entry {known.sequence} of its audit log is not there as it was) — set it back, or bring "
            "that vault over with `pii vault copy`; or have all loaded into this one: pii vault adopt"
        )


def _adoption(installation: Installation, principal: str) -> Entry:
    """The entry that says that originals are loaded into this vault from now on."""
    number = installation.vault_audit.record(Event(Action.ADOPT, principal))
    return next(installation.vault_store.entries(number, number))


def _to_load(installation: Installation, stream: Stream) -> ToLoad:
    ledger = installation.ledger
    found = ToLoad(stream.name)
    wanted: list[set[str]] = []  # the landing objects of each batch that can be made of nothing else
    for layer in (VAULT_RECORDS, RELAYED_ORIGINALS):
        loaded = ledger.committed_batches(stream.name, layer)
        found.batches += len(loaded)
        for hour in ledger.hours(stream.name) if loaded else ():
            wanted += [
                {item.uri for item in batch.objects}
                for batch in ledger.batches(stream.name, hour)
                if batch.id in loaded and not _is_at_hand(ledger, batch.id, layer)
            ]
    if wanted:
        some = set[str]().union(*wanted)
        landed = walk_objects(installation.zones.landing, stream.name)
        there = {info.path for info in landed if info.path in some}
        found.lost = sum(not uris <= there for uris in wanted)
    return found


def _is_at_hand(ledger: Ledger, batch_id: str, layer: str) -> bool:
    """Whether what a batch is loaded from is there, or what that is made of, if it has anything."""
    loaded = ledger.commit_of(batch_id, layer)
    files = [(VALIDATED_EVENTS, VALIDATED_EVENTS)]
    if layer == VAULT_RECORDS:
        files.append((PSEUDONYMIZED_EVENTS, REVERSIBLE_ORIGINALS))
    commits = ((ledger.commit_of(batch_id, above), dataset) for above, dataset in files)
    there = any(commit is not None and commit.path_of(dataset) is not None for commit, dataset in commits)
    return there or (loaded is not None and loaded.counts.get("originals") == 0)
