"""Piinguin's records into the vault."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date

from pii_pipeline.vault.audit import Action
from pii_pipeline.vault.model import PIINGUIN_FIELD, PIINGUIN_STREAM, NewRecord, RecordKey
from pii_pipeline.vault.vault import Vault, fits, well_formed

AT_ONCE = 1_000
"""Records in one call of the vault, which is one entry of its audit log."""


@dataclass(slots=True)
class Imported:
    """How many records were new, how many there already, and how many the vault cannot hold: a pseudonym of
    more than 1,024 bytes, or an original of more than 65,536."""

    new: int = 0
    known: int = 0
    unfit: int = 0


def import_piinguin(
    vault: Vault,
    principal: str,
    records: Iterable[tuple[str, str]],
    day: date,
    progress: Callable[[int], None],
) -> Imported:
    """Keeps all `records` (pseudonym and original), as seen on `day`. May be done again: then they are known.

    Raises what `Vault.create` does, and what iterating over the records does.
    """
    done = Imported()
    waiting: list[NewRecord] = []

    def keep() -> None:
        if waiting:
            stored = vault.create(principal, waiting, Action.IMPORT)
            done.new, done.known = done.new + stored.new, done.known + stored.known
            progress(len(waiting))
            waiting.clear()

    for pseudonym, original in records:
        key = RecordKey(PIINGUIN_STREAM, PIINGUIN_FIELD, pseudonym)
        if not (well_formed(key) and fits(original)):
            done.unfit += 1
            continue
        waiting.append(NewRecord(key, original, day))
        if len(waiting) == AT_ONCE:
            keep()
    keep()
    return done
