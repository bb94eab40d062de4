"""The vault: originals by pseudonym, told to whom the policy allows, each look on record before the answer.

The functional core of the service: no network, no Dagster, no key store. What seals and opens is handed in.
"""

from __future__ import annotations

import hmac
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import Literal, NoReturn, Protocol

from pii_pipeline.vault.audit import Action, AuditLog, Event
from pii_pipeline.vault.errors import VaultRefused, Why
from pii_pipeline.vault.model import (
    FIELD,
    MAX_ORIGINAL_BYTES,
    MAX_ORIGINALS,
    MAX_PSEUDONYM_BYTES,
    PIINGUIN_FIELD,
    PIINGUIN_STREAM,
    PSEUDONYM,
    STREAM,
    Consent,
    Found,
    LawfulBasis,
    NewRecord,
    Reason,
    RecordKey,
    SealedRecord,
    Stored,
    Withheld,
)
from pii_pipeline.vault.policy import Policy
from pii_pipeline.vault.stores import Allowance, Room, VaultStore
from pii_pipeline.vault.together import Together

MAX_BATCH = 10_000
"""Records in one call. Who has more makes more calls: each is one entry in the audit log."""
_CALLS_AT_ONCE = 1_000
"""Of a principal, that spend together: all that wait."""

_log = logging.getLogger(__name__)


class Seals(Protocol):
    """What the vault asks of the key hierarchy. Deterministic: equal records are sealed alike."""

    def seal(self, records: Sequence[NewRecord]) -> list[SealedRecord]:
        """Raises `VaultRefused` ("invalid") where the data subject of one was forgotten."""
        ...

    def open(self, records: Sequence[SealedRecord]) -> list[str | Withheld]:
        """The original of each; FORGOTTEN where the data subject was, TAMPERED where it does not open."""
        ...

    def consent_seals(self, consents: Sequence[Consent]) -> list[bytes]:
        """What seals each (32 bytes): whom it is of, the stream, and what was said when."""
        ...

    def marks(self, originals: Sequence[str]) -> list[bytes]:
        """The blind index of each original (32 bytes)."""
        ...


class Vault:
    """Every method names the `principal` who asks, whom the caller has authenticated.

    All raise `VaultRefused` for what the policy does not allow, which is recorded; `VaultUnavailable`; and
    `AuditBroken` once the audit log was cut. A change is in the audit log before it is made, so that none is
    made that is not there; a read, with what it found, before it returns.
    """

    def __init__(
        self,
        store: VaultStore,
        seals: Seals,
        policy: Policy,
        audit: AuditLog,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._seals = seals
        self._policy = policy
        self._audit = audit
        self._clock = clock
        self._spending = {
            name: Together(partial(self._spend, name), _CALLS_AT_ONCE) for name in policy.principals
        }

    def create(
        self,
        principal: str,
        records: Sequence[NewRecord],
        action: Literal[Action.CREATE, Action.IMPORT] = Action.CREATE,
    ) -> Stored:
        """Keeps originals; what is there already is kept once. Durable when it returns."""
        keys = [record.key for record in records]
        self._check(principal, action, keys)
        if not all(fits(record.original) for record in records):
            problem = f"an original is longer than {MAX_ORIGINAL_BYTES} bytes, or is no text"
            self.refuse(principal, action, "invalid", problem, keys)
        try:
            sealed = self._seals.seal(records)
            self._look_for_room(sealed)
        except VaultRefused as refused:
            self.refuse(principal, action, refused.why, str(refused), keys)
        self._audit.record(Event(action, principal, keys=keys, counts={"asked": len(keys)}))
        return self._store.put(sealed)

    def read(self, principal: str, reason: Reason, keys: Sequence[RecordKey]) -> list[Found]:
        """What the vault has of each key, in order. What was tampered with is told as such, and by the log;
        it keeps nobody from the rest."""
        self._check(principal, Action.READ, keys, reason)
        try:
            stored = self._find(keys)
        except VaultRefused as refused:
            self.refuse(principal, Action.READ, refused.why, str(refused), keys, reason)
        withheld, forged = self._without_consent(reason, stored)
        told = [record for records in stored for record in records if record not in withheld]
        opened = iter(self._seals.open(told))
        found = [
            _found(key, [Withheld.NO_CONSENT if record in withheld else next(opened) for record in records])
            for key, records in zip(keys, stored, strict=True)
        ]
        tampered = Counter(answer.key for answer in found if answer.withheld is Withheld.TAMPERED)
        counts = {
            "asked": len(keys),
            "found": sum(bool(answer.originals) for answer in found),
            "withheld": sum(answer.withheld not in (None, Withheld.TAMPERED) for answer in found),
        }
        if tampered:
            counts["tampered"] = tampered.total()
        if forged:
            counts["tampered_consents"] = forged
        self._audit.record(Event(Action.READ, principal, reason, keys, counts))
        self._say_tampered(tampered)
        return found

    def delete(self, principal: str, keys: Sequence[RecordKey]) -> int:
        """Deletes all originals of these keys; how many there were. What is not there is no error."""
        self._check(principal, Action.DELETE, keys)
        self._audit.record(Event(Action.DELETE, principal, keys=keys, counts={"asked": len(keys)}))
        return self._store.delete(keys)

    def erase(self, principal: str, subjects: Sequence[bytes], originals: Sequence[str]) -> int:
        """Deletes all records of data subjects (refs, 16 bytes each), and those without one that are of these
        originals; how many there were. The audit log says how many of each, and of whom it says nothing."""
        self._check(principal, Action.ERASE)
        if not all(map(fits, originals)):
            self.refuse(principal, Action.ERASE, "invalid", "an original is none that could have been kept")
        counts = {"subjects": len(subjects), "originals": len(originals)}
        self._audit.record(Event(Action.ERASE, principal, counts=counts))
        gone = self._store.delete_subjects(subjects)
        return gone + self._store.delete_marked(self._seals.marks(originals))

    def load(
        self,
        principal: str,
        batch: str,
        records: Iterable[Sequence[SealedRecord]],
        consents: Iterable[Sequence[Consent]],
    ) -> Stored:
        """What a batch of the main job brings, sealed there. May be done again: then all of it is known.

        Each part of the records is an entry of the audit log, and so is each of the consents, which decide
        about reads.
        """
        self._check(principal, Action.LOAD)
        detail = {"batch": batch}
        new = known = 0
        for part in records:
            keys = [record.key for record in part]
            counts = {"asked": len(keys)}
            self._audit.record(Event(Action.LOAD, principal, keys=keys, counts=counts, detail=detail))
            stored = self._store.put(part)
            new, known = new + stored.new, known + stored.known
        for said in consents:
            counts = {"consents": len(said)}
            self._audit.record(Event(Action.LOAD, principal, counts=counts, detail=detail))
            sealed = zip(said, self._seals.consent_seals(said), strict=True)
            self._store.put_consents([replace(consent, seal=seal) for consent, seal in sealed])
        return Stored(new, known)

    def export_audit(self, principal: str, first: int = 1, last: int | None = None) -> Iterator[str]:
        """Lines of the audit log, each an entry with what it takes to follow them (`chain`); the export is an
        entry itself, and where no `last` is named the last of them."""
        self._check(principal, Action.EXPORT)
        counts = {"first": first} | ({} if last is None else {"last": last})
        number = self._audit.record(Event(Action.EXPORT, principal, counts=counts))
        return self._audit.export(first, number if last is None else last)

    def refuse(
        self,
        principal: str,
        action: Action,
        why: Why,
        problem: str,
        keys: Sequence[RecordKey] = (),
        reason: Reason | None = None,
    ) -> NoReturn:
        """Records a refusal and raises it."""
        self._audit.refuse(_refused(principal, action, why, keys, reason))
        raise VaultRefused(why, problem)

    def note_refused(self, principal: str, action: Action, why: Why, asked: int) -> None:
        """Records that so many requests of a caller's were refused before the vault was asked."""
        self._audit.refuse(Event(Action.REFUSED, principal, counts={"asked": asked}, refused=(action, why)))

    def _check(
        self,
        principal: str,
        action: Action,
        keys: Sequence[RecordKey] | None = None,
        reason: Reason | None = None,
    ) -> None:
        """Refuses what is not to be done. Limits come last: what is refused for another reason spends
        nothing, and who may not ask learns nothing of them."""

        def refuse(why: Why, problem: str) -> NoReturn:
            self.refuse(principal, action, why, problem, (keys or ())[:MAX_BATCH], reason)

        if keys is not None and not 0 < len(keys) <= MAX_BATCH:
            refuse("invalid", f"not from 1 to {MAX_BATCH} records at once")
        if not all(map(well_formed, keys or ())):
            refuse("invalid", "a stream, field or pseudonym is not written as one")
        if reason is not None and reason.basis is None:
            refuse("no basis", "a read names its lawful basis")
        problem = self._policy.refusal(principal, action, keys or (), reason)
        if problem is not None:
            refuse("denied", problem)
        if action is not Action.READ or not self._policy.allowances(principal, self._clock()):
            return
        short = self._spending[principal].do(len(keys or ()))
        if short is not None:
            refuse("limit", f"no more than {short.most} records in this window of time ({short.window})")

    def _spend(self, principal: str, amounts: Sequence[int]) -> list[Allowance | None]:
        """Takes what several reads of a principal ask for from what is left to him now: for all at once; or,
        if that is too much, for one after the other, as far as there is enough. Of each call, which allowance
        has not enough; None where all have."""
        allowances = self._policy.allowances(principal, self._clock())
        short = self._store.spend(allowances, sum(amounts))
        if short is None or len(amounts) == 1:
            return [short] * len(amounts)
        return [self._store.spend(allowances, amount) for amount in amounts]

    def _find(self, keys: Sequence[RecordKey]) -> list[list[SealedRecord]]:
        """As the store does. A key that is there more than once has its originals as often in the answer."""
        stored = self._store.find(keys)
        if len(set(keys)) < len(keys):
            room = Room()
            for record in chain.from_iterable(stored):
                room.take(record.sealed)
        return stored

    def _look_for_room(self, sealed: Sequence[SealedRecord]) -> None:
        """Raises `VaultRefused` where a pseudonym would get more originals than `MAX_ORIGINALS`."""
        given: dict[RecordKey, set[tuple[bytes, bytes]]] = defaultdict(set)
        for record in sealed:
            given[record.key].add((record.subject, record.sealed))
        for (key, some), count in zip(given.items(), self._store.count(list(given)), strict=True):
            if count + len(some) > MAX_ORIGINALS:
                known = {(record.subject, record.sealed) for record in self._store.find([key])[0]}
                if not some <= known and len(some | known) > MAX_ORIGINALS:
                    raise VaultRefused("invalid", f"a pseudonym has no more than {MAX_ORIGINALS} originals")

    def _say_tampered(self, keys: Iterable[RecordKey]) -> None:
        places = Counter(self._policy.known_place(key.stream, key.field) for key in keys)
        for (stream, field), number in places.items():
            _log.error(
                "%s, %s: what the vault's database has of %d pseudonyms was altered, or moved to another row",
                stream,
                field,
                number,
            )

    def _without_consent(
        self, reason: Reason, stored: Iterable[Sequence[SealedRecord]]
    ) -> tuple[set[SealedRecord], int]:
        """The records that a consent-based read must not tell: whose subject's latest consent does not cover
        it, or who name nobody who could have consented. Of one that is none any more nobody knows whose it
        was: that is told. And how many consents were tampered with."""
        if reason.basis != LawfulBasis.CONSENT:
            return set(), 0
        wanted = self._policy.wanted_consent(reason)
        by_stream: dict[str, list[SealedRecord]] = defaultdict(list)
        for record in chain.from_iterable(stored):
            by_stream[record.key.stream].append(record)
        refused: set[SealedRecord] = set()
        forged = 0
        for stream, records in by_stream.items():
            subjects = {record.subject for record in records if record.subject}
            said, others = self._genuine_consents(stream, list(subjects))
            forged += others
            refused.update(
                record
                for record in records
                if record.sealed and not (record.subject in said and said[record.subject].covers(wanted))
            )
        return refused, forged

    def _genuine_consents(
        self, stream: str, subjects: Sequence[bytes]
    ) -> tuple[Mapping[bytes, Consent], int]:
        """Those that have their seal, by subject; and how many others there are, which count as none."""
        said = self._store.consents(stream, subjects)
        seals = self._seals.consent_seals(list(said.values()))
        genuine = {
            consent.subject: consent
            for consent, seal in zip(said.values(), seals, strict=True)
            if hmac.compare_digest(consent.seal, seal)
        }
        forged = len(said) - len(genuine)
        if forged:
            (named, _) = self._policy.known_place(stream, "")
            _log.error(
                "%s: %d consents in the vault's database were made or altered by others", named, forged
            )
        return genuine, forged


def well_formed(key: RecordKey) -> bool:
    """Whether its parts are written as such: what else is asked for, the vault refuses."""
    if key.stream == PIINGUIN_STREAM:
        return key.field == PIINGUIN_FIELD and 0 < _size(key.pseudonym) <= MAX_PSEUDONYM_BYTES
    parts = ((STREAM, key.stream), (FIELD, key.field), (PSEUDONYM, key.pseudonym))
    return all(pattern.fullmatch(part) for pattern, part in parts)


def fits(original: str) -> bool:
    """Whether it is text, and not too long to be kept."""
    return _size(original) <= MAX_ORIGINAL_BYTES


def _refused(
    principal: str, action: Action, why: str, keys: Sequence[RecordKey], reason: Reason | None
) -> Event:
    counts = {"asked": len(keys)} if keys else {}
    return Event(Action.REFUSED, principal, reason, keys, counts, refused=(action, why))


def _found(key: RecordKey, outcomes: Sequence[str | Withheld]) -> Found:
    """`outcomes`: of each record its original, or why it is not told. One may be the other's name."""
    told = dict.fromkeys(outcome for outcome in outcomes if not isinstance(outcome, Withheld))
    why = {outcome for outcome in outcomes if isinstance(outcome, Withheld)}
    withheld = None
    if Withheld.TAMPERED in why:
        withheld = Withheld.TAMPERED
    elif outcomes and not told:
        withheld = Withheld.NO_CONSENT if Withheld.NO_CONSENT in why else Withheld.FORGOTTEN
    return Found(key, tuple(told), withheld)


def _size(text: str) -> int:
    """In UTF-8; what it cannot write is too long for everything."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 2**31
