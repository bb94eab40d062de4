"""The audit log: who looked at what, and why; append-only, each entry bound to the one before (`chain`).

An entry holds principals, codes, names of streams and fields that the policy knows, counts, and pseudonyms:
nothing of a person and no words of a caller's, so it survives an erasure. In place of what may be anything
there is a keyed mark. What chain and seals do not find is a log cut at its end: `anchors` do, up to
the gap behind the last of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from pii_pipeline.vault.anchors import Anchor, Anchors
from pii_pipeline.vault.chain import NOTHING, AuditKey, canonical, export_lines, next_hash, number_of
from pii_pipeline.vault.errors import AuditBroken, TamperedRow, VaultError, VaultUnavailable
from pii_pipeline.vault.model import PIINGUIN_STREAM, PSEUDONYM, Reason, RecordKey
from pii_pipeline.vault.refusals import Refusals
from pii_pipeline.vault.stores import MOST_ENTRIES, Entry, VaultStore
from pii_pipeline.vault.together import Together
from pii_pipeline.vault.verify import Verification, verify

UNKNOWN = "unknown"
"""Stands for names that the policy does not know."""
VAULT = "vault"
"""The principal of what the vault records of itself."""

LISTED = 20
"""As many records an entry names one by one; the digest is of all."""
ANCHOR_ENTRIES = 1_000
ANCHOR_SECONDS = 300
"""An anchor is due after as many entries, or as long after the last one if there are entries since."""

_AT_ONCE = MOST_ENTRIES - 1
"""Entries in one transaction, beside one of the policy."""
_PATIENCE = 60.0
"""Seconds to go on trying while other processes append first."""
_LONGEST_PAUSE = 0.05
_ANCHOR_PAUSE = 60.0
"""Seconds until an anchor that could not be written is tried again."""

_log = logging.getLogger(__name__)


class Action(StrEnum):
    """What an entry is about."""

    CREATE = "create"
    READ = "read"
    DELETE = "delete"
    ERASE = "erase"
    LOAD = "load"  # by the main job
    IMPORT = "import"
    EXPORT = "export"  # of the audit log
    POLICY = "policy"  # another policy than that of the entry before
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Event:
    """What is to be recorded. `keys` become pseudonyms or a digest of them, by `AuditLog`.

    refused: the action that was not done, and why. counts: by words such as asked, found, new, deleted; where
    refusals were counted, by both of these.
    """

    action: Action
    principal: str
    reason: Reason | None = None
    keys: Sequence[RecordKey] = field(default=(), repr=False)
    counts: Mapping[str, int] = field(default_factory=dict)
    refused: tuple[Action, str] | None = None
    detail: Mapping[str, str] = field(default_factory=dict)
    """Words of ours only: the digest of a policy, the batch of a load, the minute of a count."""


class Vocabulary(Protocol):
    """What of a caller's words may stand in the log: `Policy`. Each gives what it knows, or "unknown"."""

    @property
    def digest(self) -> str:
        """Of the policy that holds, 64 hexadecimal digits."""
        ...

    def known_principal(self, name: str) -> str:
        """Of a principal's name."""
        ...

    def known_place(self, stream: str, field: str) -> tuple[str, str]:
        """Of each of the two."""
        ...

    def known_reason(self, reason: Reason) -> Reason:
        """Of its purpose; without a ticket that is not written as one."""
        ...


class AuditLog:
    """Over a store; safe across threads and processes."""

    def __init__(
        self,
        store: VaultStore,
        key: bytes,
        words: Vocabulary,
        anchors: Anchors,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._key = AuditKey(key)
        self._words = words
        self._anchors = anchors
        self._clock = clock
        self._refusals = Refusals()
        self._appending = Together(self._append, _AT_ONCE)
        # The next two are of who appends.
        self._head: Entry | None = None
        self._policy_noted = False
        self._anchoring = threading.Lock()
        self._anchored: tuple[int, datetime] | None = None
        self._starting = threading.Lock()
        self._next_try = 0.0
        self._thread: threading.Thread | None = None

    def record(self, event: Event) -> int:
        """Appends an entry, durably; its number. Entries of threads that wait at once are one transaction.

        Raises `VaultUnavailable`, and `AuditBroken` if the log was cut since this process last appended, or
        ends with what this installation did not make: then the entry is missing, and what it was to record
        must not be done, or told.
        """
        number = self._appending.do(self._content(event))
        self._anchor_in_background()
        return number

    def refuse(self, event: Event) -> None:
        """Records that something was `refused`. Of many refusals of a principal within a minute the first are
        entries, and the others are counted (`refusals`): one entry says how many more there were, written by
        `tick` when the minute is over, or by `close`. Raises as `record` does."""
        assert event.refused is not None
        principal = self._words.known_principal(event.principal)
        if self._refusals.is_entry(principal, " ".join(event.refused), self._clock()):
            self.record(event)

    def tick(self) -> None:
        """Records refusals that were counted, and writes an anchor if one is due; to be called now and then
        while nothing is recorded.

        Raises `VaultUnavailable` or `VaultSettingError` where it cannot be written, and `AuditBroken` if the
        end of the log is not as this process, or one with its key, left it.
        """
        self._record_counted(self._clock())
        with self._anchoring:
            self._look_for_ours()
            last = self._store.last_entry()
            if last is None:
                return
            self._anchored = self._claimed(last.sequence) or self._anchored
            if self._due(last.sequence):
                self._key.check_seal(last)
                at = self._clock()
                self._anchors.write(Anchor.of(last, at, self._key))
                self._store.remember_anchor(last.sequence, at)
                self._anchored = last.sequence, at

    def verify(self) -> Verification:
        """Follows the whole log, seals and anchors; see `verify.Verification`. Raises `VaultUnavailable`."""
        return verify(self._store, self._key, self._anchors)

    def entries(self, first: int = 1, last: int | None = None) -> Iterator[Entry]:
        """As they are stored, to be looked at."""
        return self._store.entries(first, last)

    def export(self, first: int = 1, last: int | None = None) -> Iterator[str]:
        """Entries as lines that `chain.verify_export` follows; what does not verify is exported as well."""
        before = next(self._store.entries(first - 1, first - 1), None) if first > 1 else None
        return export_lines(self._store.entries(first, last), before.hash if before else NOTHING)

    def close(self) -> None:
        """Records refusals that were counted, and waits for an anchor that is being written."""
        self._refusals.close()
        try:
            self._record_counted(None)
        except VaultError as error:
            _log.error("refusals that were counted are not in the audit log: %s", error)
        if self._thread is not None:
            self._thread.join()

    def _record_counted(self, at: datetime | None) -> None:
        """Of the minutes that are over at that time, or of all."""
        while (more := self._refusals.take(at)) is not None:
            detail = {"minute": more.minute}
            try:
                self.record(Event(Action.REFUSED, more.principal, counts=more.counts, detail=detail))
            except VaultError:
                self._refusals.put_back(more)
                raise

    def _content(self, event: Event) -> dict[str, Any]:
        """What its entry says, but for the number; what is not known of it is left out.

        `id` (random) tells an entry from another that says the same. `places`: streams and fields, `records`:
        the first keys with them. `members`: SHA-256 over all keys, in order, as they are listed: a line of
        JSON each.
        """
        content: dict[str, Any] = {
            "action": event.action.value,
            "at": self._clock().astimezone(UTC).isoformat(timespec="milliseconds"),
            "id": secrets.token_hex(8),
            "policy": self._words.digest[:16],
            "principal": event.principal
            if event.principal == VAULT
            else self._words.known_principal(event.principal),
        }
        if event.refused is not None:
            content["refused"], content["why"] = event.refused[0].value, event.refused[1]
        if event.reason is not None:
            reason = self._words.known_reason(event.reason)
            content |= {"basis": reason.basis, "purpose": reason.purpose, "ticket": reason.ticket}
        if event.keys:
            content |= self._of_keys(event.keys)
        content |= {"counts": dict(event.counts), "detail": dict(event.detail)}
        return {name: value for name, value in content.items() if value not in (None, {})}

    def _of_keys(self, keys: Sequence[RecordKey]) -> dict[str, Any]:
        """Their digest, where they are, and the first of them."""
        names = {
            place: self._words.known_place(*place) for place in {(key.stream, key.field) for key in keys}
        }
        heads = {place: json.dumps(known, separators=(",", ":"))[:-1] for place, known in names.items()}
        forms = [self._form(key) for key in keys]
        # Each as JSON would have it: no form needs an escape.
        lines = [f'{heads[key.stream, key.field]},"{form}"]\n' for key, form in zip(keys, forms, strict=True)]
        return {
            "members": hashlib.sha256("".join(lines).encode()).hexdigest(),
            "places": sorted(set(names.values())),
            "records": [json.loads(line) for line in lines[:LISTED]],
        }

    def _form(self, key: RecordKey) -> str:
        """A pseudonym; as a mark on Piinguin's stream, or where it is not written as one."""
        if key.stream == PIINGUIN_STREAM or not PSEUDONYM.fullmatch(key.pseudonym):
            return f"mark:{self._key.mark(key.pseudonym)}"
        return key.pseudonym

    def _append(self, contents: Sequence[dict[str, Any]]) -> range:
        """Behind what is there now, whoever appended it; their numbers."""
        head = self._head or self._ours(self._store.last_entry())
        give_up = time.monotonic() + _PATIENCE
        pause = 0.001
        while True:
            entries = self._behind(head, contents)
            if self._store.append(entries):
                self._head, self._policy_noted = entries[-1], True
                return range(entries[-1].sequence - len(contents) + 1, entries[-1].sequence + 1)
            self._look_for_ours()
            head = self._ours(self._store.last_entry())
            if time.monotonic() > give_up:
                raise VaultUnavailable("the audit log is too busy: others append all the time")
            time.sleep(random.uniform(0, pause))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _behind(self, head: Entry | None, contents: Sequence[dict[str, Any]]) -> list[Entry]:
        """The entries with these contents that follow `head`; before our first, one of the policy if the last
        entry was made under another."""
        if not self._policy_noted and _policy_of(head) != self._words.digest[:16]:
            event = Event(Action.POLICY, VAULT, detail={"digest": self._words.digest})
            contents = [self._content(event), *contents]
        number, previous = (head.sequence, head.hash) if head else (0, NOTHING)
        entries = []
        for content in contents:
            number += 1
            text = canonical({**content, "number": number})
            previous = next_hash(previous, text)
            entries.append(Entry(number, text, previous, self._key.seal(previous)))
        return entries

    def _ours(self, last: Entry | None) -> Entry | None:
        """The end of a log that this process did not make. What does not have this installation's seal, or
        another number than it was made with, is not gone on with: nobody could verify such a log ever after;
        nor is one begun beside anchors of another. Raises `AuditBroken`."""
        if last is None and self._was_anchored():
            problem = (
                "it is not there, and anchors of this installation's log are: PII_VAULT_URL is another "
                "database, or the log was deleted — name the database that it is in, or for a new log "
                "another PII_VAULT_ANCHORS"
            )
            raise AuditBroken(1, problem)
        if last is not None and not (self._key.sealed(last) and number_of(last.text) == last.sequence):
            problem = (
                "it was altered, or another installation made it — give each installation a PII_VAULT_URL of "
                "its own, or put PII_DATABASE_URL and PII_VAULT_URL back together"
            )
            raise AuditBroken(last.sequence, problem)
        return last

    def _was_anchored(self) -> bool:
        """Whether a log of this installation's was; not known where anchors cannot be read."""
        with suppress(VaultError):
            return any(anchor.is_genuine(self._key) for anchor in self._anchors.all())
        return False

    def _look_for_ours(self) -> None:
        """Raises `AuditBroken` if what this process appended last is not there any more."""
        if (head := self._head) is None:
            return
        found = next(self._store.entries(head.sequence, head.sequence), None)
        if found is None or found.hash != head.hash:
            problem = "it was appended, and is gone or another now: the log was cut or replaced"
            raise AuditBroken(head.sequence, problem)

    def _claimed(self, last: int) -> tuple[int, datetime] | None:
        """What the database says was anchored last, where `last` is the last entry's number. What is no such
        thing, or not possible yet, is not believed."""
        with suppress(TamperedRow):
            claimed = self._store.anchored()
            if claimed is not None and claimed[0] <= last and claimed[1] <= self._clock():
                return claimed
        return None

    def _due(self, last: int) -> bool:
        """Whether an anchor is, where `last` is the last entry's number."""
        number, at = self._anchored or (0, datetime.min.replace(tzinfo=UTC))
        age = (self._clock() - at).total_seconds()
        return last > number and (last - number >= ANCHOR_ENTRIES or age >= ANCHOR_SECONDS)

    def _anchor_in_background(self) -> None:
        """So that nobody who asks the vault waits for the storage of anchors."""
        head = self._head
        if head is None or not self._due(head.sequence):
            return
        with self._starting:
            at_work = self._thread is not None and self._thread.is_alive()
            if at_work or time.monotonic() < self._next_try:
                return
            self._next_try = time.monotonic() + _ANCHOR_PAUSE
            self._thread = threading.Thread(target=self._try_to_anchor, name="vault-anchor")
            self._thread.start()

    def _try_to_anchor(self) -> None:
        try:
            self.tick()
        except VaultError as error:
            _log.error("no anchor of the audit log was written: %s", error)
        else:
            self._next_try = 0.0


def _policy_of(entry: Entry | None) -> str | None:
    """The beginning of the digest of the policy that an entry was made under."""
    if entry is not None:
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            return json.loads(entry.text)["policy"]
    return None
