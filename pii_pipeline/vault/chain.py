"""The audit log's formulas: what binds an entry to the one before, and how to follow them without keys.

=======  ===================================================================================================
hash     SHA-256(hash of the entry before, 32 bytes ‖ text as UTF-8); before the first: 32 zero bytes
seal     HMAC-SHA256(audit key, "seal" ‖ hash): who can write the database, but has no key, cannot make it
mark     HMAC-SHA256(audit key, "mark" ‖ what a caller wrote): stands for what may be anything
anchor   HMAC-SHA256(audit key, "anch" ‖ number as 8 bytes ‖ hash ‖ time as text)
=======  ===================================================================================================

A text is JSON in one line, ASCII alone, keys sorted, with the entry's own number in it: no two entries are
the same, and none can pass for another. A line of an export is a JSON object of `text`, `previous`, `hash`
and `seal`: that `hash` is SHA-256(`previous` ‖ `text`), and the `previous` of the next line, anybody can see.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pii_pipeline.vault.errors import AuditBroken
from pii_pipeline.vault.stores import Entry

NOTHING = bytes(32)
"""The hash before the first entry."""


class AuditKey:
    """The keyed formulas. `key`: 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, hash_: bytes) -> bytes:
        """32 bytes."""
        return self._mac(b"seal" + hash_)

    def sealed(self, entry: Entry) -> bool:
        """Whether its seal was made with this key."""
        return hmac.compare_digest(self.seal(entry.hash), entry.seal)

    def check_seal(self, entry: Entry) -> None:
        """Raises `AuditBroken`."""
        if not self.sealed(entry):
            problem = "its seal is another: made, or made anew, by somebody without the key"
            raise AuditBroken(entry.sequence, problem)

    def mark(self, written: str) -> str:
        """32 hexadecimal digits; who has the key can tell whether they stand for what he thinks."""
        return self._mac(b"mark" + written.encode(errors="surrogatepass"))[:16].hex()

    def anchor(self, sequence: int, hash_: bytes, at: str) -> bytes:
        """32 bytes."""
        return self._mac(b"anch" + sequence.to_bytes(8, "big") + hash_ + at.encode())

    def _mac(self, message: bytes) -> bytes:
        return hmac.digest(self._key, message, "sha256")


def canonical(content: Mapping[str, Any]) -> str:
    """The text of an entry."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def next_hash(previous: bytes, text: str) -> bytes:
    """Of an entry behind that with the hash `previous`."""
    return hashlib.sha256(previous + text.encode(errors="surrogatepass")).digest()


def check(entry: Entry, previous: Entry | None, key: AuditKey | None) -> None:
    """That an entry follows `previous` (None: is the first one) as it was written; seals with the key alone.

    Raises `AuditBroken` with the number of the first entry that is not there as it was.
    """
    number = previous.sequence + 1 if previous else 1
    if entry.sequence != number:
        raise AuditBroken(number, "missing: it was deleted, or has another number now")
    if number_of(entry.text) != number:
        raise AuditBroken(
            number, "another entry stands in its place: they were put in another order, or edited"
        )
    if next_hash(previous.hash if previous else NOTHING, entry.text) != entry.hash:
        raise AuditBroken(number, "edited, or put in: its hash is not that of its text and the entry before")
    if key is not None:
        key.check_seal(entry)


def export_lines(entries: Iterable[Entry], previous: bytes) -> Iterator[str]:
    """Each entry as a line; `previous`: the hash before the first of them."""
    for entry in entries:
        yield canonical(
            {
                "text": entry.text,
                "previous": previous.hex(),
                "hash": entry.hash.hex(),
                "seal": entry.seal.hex(),
            }
        )
        previous = entry.hash


def verify_export(lines: Iterable[str]) -> int:
    """Follows an export, which may begin anywhere, without keys; how many entries it has.

    Raises `AuditBroken` with the first entry that does not follow from the one before. What was cut off at
    either end, and an export that was made anew as a whole, nobody can see who has only that.
    """
    count, before = 0, None
    for line in lines:
        entry, previous = _read(line, before)
        if before is None and (number := number_of(entry.text)) > 1:
            before = Entry(number - 1, "", previous, b"")
        if before is not None and before.hash != previous:
            raise AuditBroken(before.sequence + 1, "does not follow from the entry before")
        check(entry, before, None)
        count, before = count + 1, entry
    return count


def _read(line: str, before: Entry | None) -> tuple[Entry, bytes]:
    """A line's entry and the hash before it."""
    try:
        parts = json.loads(line)
        number = number_of(parts["text"])
        hash_, seal, previous = (bytes.fromhex(parts[name]) for name in ("hash", "seal", "previous"))
        return Entry(number, parts["text"], hash_, seal), previous
    except (ValueError, KeyError, TypeError, RecursionError):
        raise AuditBroken(before.sequence + 1 if before else 1, "its line is none of an export") from None


def number_of(text: str) -> int:
    """That a text says it has; 0 if it is no entry's."""
    try:
        number = json.loads(text)["number"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return number if isinstance(number, int) else 0
