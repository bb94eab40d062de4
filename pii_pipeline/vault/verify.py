"""Whether the audit log is as it was written: its chain, its seals, and what anchors remember of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pii_pipeline.vault.anchors import SETTING, Anchor, Anchors
from pii_pipeline.vault.chain import AuditKey, check
from pii_pipeline.vault.errors import AuditBroken, TamperedRow
from pii_pipeline.vault.stores import Entry, VaultStore


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of it.

    entries: how many follow one another from the first on, as they were written
    broken: the first that is not as it was, and what is wrong with it
    anchored: number of the last entry that an anchor holds, and when it was written: what is behind it could
        have been cut off, or made anew by who has the key, and nobody would see it
    """

    entries: int
    broken: AuditBroken | None
    anchored: tuple[int, datetime] | None

    @property
    def unanchored(self) -> int:
        """The entries behind the last anchor: the gap."""
        return max(0, self.entries - (self.anchored[0] if self.anchored else 0))


def verify(store: VaultStore, key: AuditKey, anchors: Anchors) -> Verification:
    """Follows the log from its first entry to the last, in flat memory, beside its anchors.

    Entries may be appended meanwhile. Raises `VaultUnavailable`.
    """
    try:
        claimed = store.anchored()  # before they are listed: there may be more by then, not fewer
    except TamperedRow as error:
        claimed = error
    following = _Following(key, anchors)
    try:
        while following.go_on(store.entries(following.count + 1)):
            pass
        following.finish(claimed)
    except AuditBroken as error:
        return following.result(error)
    return following.result(None)


class _Following:
    """How far the log was followed, and its anchors up to there."""

    def __init__(self, key: AuditKey, anchors: Anchors) -> None:
        self._key = key
        self._kept = anchors
        self._anchors = self._genuine()
        self._last: Entry | None = None
        self._held: Anchor | None = None
        self._next = next(self._anchors, None)

    @property
    def count(self) -> int:
        return self._last.sequence if self._last else 0

    def go_on(self, entries: Iterator[Entry]) -> bool:
        """Whether there are anchors further on, and there were entries: there may be more by now."""
        before = self.count
        for entry in entries:
            check(entry, self._last, self._key)
            self._last = entry
            self._compare(entry)
        return self._next is not None and self.count > before

    def finish(self, claimed: tuple[int, datetime] | TamperedRow | None) -> None:
        """`claimed`: the entry that the database says was anchored last, and when."""
        if self._next is not None:
            at = f"{self._next.at:%Y-%m-%d %H:%M:%S} UTC"
            problem = (
                f"gone: entry {self._next.sequence} was there when it was anchored at {at}, the log was cut"
            )
            raise AuditBroken(self.count + 1, problem)
        held = self._held.sequence if self._held else 0
        if isinstance(claimed, TamperedRow):
            raise AuditBroken(held + 1, str(claimed))
        if claimed is not None and claimed[0] > held:
            why = f"its anchor is not there: it was deleted, or {SETTING} was another"
            raise AuditBroken(held + 1, f"entry {claimed[0]} was anchored, and {why}")

    def result(self, broken: AuditBroken | None) -> Verification:
        held = (self._held.sequence, self._held.at) if self._held else None
        return Verification(broken.sequence - 1 if broken else self.count, broken, held)

    def _compare(self, entry: Entry) -> None:
        while self._next is not None and self._next.sequence == entry.sequence:
            if self._next.hash != entry.hash:
                problem = (
                    f"from it to entry {entry.sequence} the log is another than the one that was anchored"
                )
                raise AuditBroken(self._anchored_before(self._next) + 1, problem)
            self._held = self._next
            self._next = next(self._anchors, None)

    def _anchored_before(self, anchor: Anchor) -> int:
        """The last entry that was anchored when this anchor was written: a log that was cut, and went on, has
        later ones too, which say nothing of the time before."""
        before = (found for found in self._genuine() if found.sequence < anchor.sequence)
        return max((found.sequence for found in before if found.at <= anchor.at), default=0)

    def _genuine(self) -> Iterator[Anchor]:
        """Those that were made with the key; any other is no anchor of this log."""
        return (anchor for anchor in self._kept.all() if anchor.is_genuine(self._key))
