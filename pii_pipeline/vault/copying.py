"""A vault brought from one store into another: what is sealed stays sealed, and the audit log stays the same.

Nothing else may use the vault meanwhile. The copy is an entry of the log, the last one of both. The log goes
last, so a copy that was broken off has none, or the beginning of one, and nobody takes it for the vault; it
is begun again, and finds there what it has copied. Limits of reads begin anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from itertools import chain, islice

from pii_pipeline.vault.audit import Action, AuditLog, Event
from pii_pipeline.vault.errors import CopyFailed
from pii_pipeline.vault.stores import MOST_ENTRIES, VaultStore
from pii_pipeline.vault.stores.rows import encoded, levels_text

_USED = "the vault was used meanwhile — stop its service and the main job, and copy again"


@dataclass(frozen=True)
class Copied:
    """What both stores have."""

    records: int
    consents: int
    entries: int


def copy_vault(
    source: VaultStore,
    target: VaultStore,
    audit: AuditLog,
    principal: str,
    progress: Callable[[int], None],
) -> Copied:
    """Brings the vault in `source`, whose log is `audit`, into the empty `target`, and looks whether both are
    the same. `progress` is told how many records were copied since it last was.

    Raises `AuditBroken` before anything is copied if the log is not as it was written; `CopyFailed` if
    `target` holds something else, is the vault itself, or if the vault was used meanwhile.
    """
    audit.hold_to_ours()
    if (broken := audit.verify().broken) is not None:
        raise broken
    there = target.last_entry()
    if there is not None and next(source.entries(there.sequence, there.sequence), None) != there:
        raise CopyFailed("there is another vault, or one that has gone on since — name an empty store")
    number = audit.record(Event(Action.COPY, principal))
    if target.last_entry() != there:
        raise CopyFailed("that is where the vault is, or somebody uses it — name an empty store")
    for records in source.all_records():
        if not all(record.sealed and record.key.stream for record in records):
            problem = "a record was altered in the vault's database"
            raise CopyFailed(f"{problem} — put it right there, or delete it, first")
        target.put(records)
        progress(len(records))
    for consents in source.all_consents():
        target.put_consents(consents)
    _copy_log(source, target, (there.sequence if there else 0) + 1, number)
    if (broken := audit.verify(target).broken) is not None:
        raise CopyFailed(f"the copy of the log is not as it was written: {broken}")
    copied = _compared(source, target)
    if source.last_entry() != target.last_entry():
        raise CopyFailed(_USED)
    return Copied(*copied, number)


def _copy_log(source: VaultStore, target: VaultStore, first: int, last: int) -> None:
    entries = source.entries(first, last)
    while some := list(islice(entries, MOST_ENTRIES)):
        if not target.append(some):
            raise CopyFailed("somebody else writes there — name an empty store")
    anchored = source.anchored()
    if anchored is not None:
        target.remember_anchor(*anchored)


def _compared(source: VaultStore, target: VaultStore) -> tuple[int, int]:
    """How many records and consents both have. Raises `CopyFailed` if they are not the same."""
    counts = []
    for content in _records, _consents:
        here, there = _sum(content(source)), _sum(content(target))
        if here != there:
            problem = "what is there is not the same: there was more, of a copy that was broken off, or"
            raise CopyFailed(f"{problem} {_USED}, into an empty store")
        counts.append(here[0])
    return counts[0], counts[1]


def _sum(content: Iterable[bytes]) -> tuple[int, int]:
    """How many there are, and the sum of their digests: the same for the same ones in whatever order."""
    count = total = 0
    for one in content:
        count += 1
        total += int.from_bytes(hashlib.sha256(one).digest(), "big")
    return count, total % 2**256


def _records(store: VaultStore) -> Iterator[bytes]:
    """All that there is of each record."""
    for record in chain.from_iterable(store.all_records()):
        key = record.key
        yield encoded(
            *(part.encode() for part in (key.stream, key.field, key.pseudonym)),
            record.subject,
            record.sealed,
            record.mark,
            *(day.isoformat().encode() for day in (record.first_seen, record.last_seen)),
        )


def _consents(store: VaultStore) -> Iterator[bytes]:
    for said in chain.from_iterable(store.all_consents()):
        words = (
            said.stream,
            levels_text(said.levels),
            said.at.astimezone(UTC).isoformat(),
            str(said.cumulative),
        )
        yield encoded(said.subject, said.seal, *(word.encode() for word in words))
