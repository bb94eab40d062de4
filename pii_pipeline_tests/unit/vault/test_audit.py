"""What an entry says and does not say, threads that share a transaction, exports, when an anchor is due."""

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pii_pipeline.vault.audit import ANCHOR_ENTRIES, LISTED, Action, AuditLog, Event
from pii_pipeline.vault.chain import verify_export
from pii_pipeline.vault.errors import AuditBroken, VaultUnavailable
from pii_pipeline.vault.model import LawfulBasis, Reason, RecordKey
from pii_pipeline.vault.stores import Entry
from pii_pipeline_tests.unit.vault.examples import KEY, POLICY, Parts, ip, make_policy, pseudonym

CANARY = "jane.doe@example.com"


def test_an_entry_says_who_did_what_why_and_to_how_much(parts: Parts):
    reason = Reason(LawfulBasis.LEGAL_OBLIGATION, "fraud", "ABC-1")
    counts = {"asked": 2, "found": 1, "withheld": 0}
    keys = [ip(1), RecordKey("logins", "device_id", pseudonym(2))]
    assert parts.audit.record(Event(Action.READ, "operator", reason, keys, counts)) == 2
    entry = parts.last()
    records = [[key.stream, key.field, key.pseudonym] for key in keys]
    lines = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    assert len(bytes.fromhex(entry.pop("id"))) == 8
    assert entry == {
        "number": 2,
        "action": "read",
        "at": "2026-11-23T09:30:15.000+00:00",
        "policy": parts.policy.digest[:16],
        "principal": "operator",
        "basis": "legal_obligation",
        "purpose": "fraud",
        "ticket": "ABC-1",
        "places": [["logins", "device_id"], ["logins", "ip"]],
        "records": records,
        "members": hashlib.sha256(lines.encode()).hexdigest(),
        "counts": counts,
    }


def test_of_many_records_the_first_are_listed_and_the_digest_is_of_all(parts: Parts):
    keys = [ip(number) for number in range(LISTED + 5)]
    parts.audit.record(Event(Action.READ, "operator", keys=keys))
    first = parts.last()
    assert [record[2] for record in first["records"]] == [key.pseudonym for key in keys[:LISTED]]
    parts.audit.record(Event(Action.READ, "operator", keys=[*keys[:-2], keys[-1], keys[-2]]))
    assert parts.last()["records"] == first["records"] and parts.last()["members"] != first["members"]


def test_nothing_that_a_caller_may_have_made_up_is_in_the_database(parts: Parts, tmp_path: Path):
    reason = Reason(None, CANARY, CANARY)
    odd = [
        RecordKey("piinguin", "value", CANARY),
        RecordKey("logins", "ip", CANARY),
        RecordKey("jane.doe", "ip", pseudonym(1)),
        RecordKey("logins", "jane.doe", pseudonym(1)),
        RecordKey("logins", "ip", "\ud800 jane.doe"),
        RecordKey("piinguin", "value", pseudonym(CANARY)),
    ]
    parts.audit.record(Event(Action.REFUSED, CANARY, reason, odd, refused=(Action.READ, "denied")))
    entry = parts.last()
    assert (entry["principal"], entry["purpose"]) == ("unknown", "unknown") and "ticket" not in entry
    assert (entry["refused"], entry["why"]) == ("read", "denied")
    listed = entry["records"]
    assert [record[:2] for record in listed] == [
        ["piinguin", "value"], ["logins", "ip"], ["unknown", "ip"], ["logins", "unknown"],
        ["logins", "ip"], ["piinguin", "value"],
    ]  # fmt: skip
    marks = [record[2] for record in listed if record[2].startswith("mark:")]
    assert len(set(marks)) == 3 and marks[0] == marks[1], "equal values have equal marks"
    parts.audit.close()
    parts.store.close()
    kept = b"".join(
        file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and "yaml" not in file.name
    )
    assert entry["id"].encode() in kept
    for secret in (CANARY, "jane.doe", pseudonym(CANARY)):
        assert secret.encode() not in kept
        assert hashlib.sha256(secret.encode()).hexdigest()[:32].encode() not in kept


def test_another_policy_is_an_entry_before_the_first_one_under_it(parts: Parts, tmp_path: Path):
    def said() -> list[tuple[str, str | None]]:
        return [(entry["action"], entry.get("detail", {}).get("digest")) for entry in parts.entries()]

    parts.audit.record(Event(Action.ERASE, "operator"))
    parts.again().record(Event(Action.ERASE, "operator"))
    assert said() == [("policy", parts.policy.digest), ("erase", None), ("erase", None)]
    assert parts.entries()[0]["principal"] == "vault"
    changed = make_policy(tmp_path, POLICY.replace("per_day: 5", "per_day: 6"))
    other = AuditLog(parts.store, KEY, changed, parts.anchors, parts.clock)
    for _ in range(2):
        other.record(Event(Action.ERASE, "operator"))
    parts.audit.record(Event(Action.ERASE, "operator"))
    assert said()[3:] == [("policy", changed.digest), *[("erase", None)] * 3]
    assert [entry["policy"] for entry in parts.entries()[3:]] == [
        *[changed.digest[:16]] * 3,
        parts.policy.digest[:16],
    ]
    assert parts.audit.verify().broken is None
    other.close()


class SlowStore:
    """Passes everything on; an append waits until it may, or fails."""

    def __init__(self, store: object) -> None:
        self._store = store
        self.may = threading.Event()
        self.may.set()
        self.fails = False
        self.appends: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def append(self, entries: Sequence[Entry]) -> bool:
        assert self.may.wait(30)
        if self.fails:
            raise VaultUnavailable("not now")
        self.appends.append(len(entries))
        return self._store.append(entries)  # type: ignore[attr-defined]


def record_at_once(audit: AuditLog, store: SlowStore, count: int) -> list[int | Exception]:
    """What came of `count` threads that record while the first append is held up."""
    results: list[int | Exception] = []

    def record(number: int) -> None:
        try:
            results.append(audit.record(Event(Action.DELETE, "operator", keys=[ip(number)])))
        except VaultUnavailable as error:
            results.append(error)

    store.may.clear()
    threads = [threading.Thread(target=record, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while audit._appending.waiting < count - 1 and time.monotonic() < deadline:  # all but the leader's
        time.sleep(0.005)
    store.may.set()
    for thread in threads:
        thread.join()
    return results


def slow(parts: Parts) -> tuple[AuditLog, SlowStore]:
    store = SlowStore(parts.store)
    audit = AuditLog(store, KEY, parts.policy, parts.anchors, parts.clock)  # type: ignore[arg-type]
    audit.record(Event(Action.ERASE, "operator"))
    audit.close()
    store.appends.clear()
    return audit, store


def test_threads_that_wait_at_once_share_a_transaction(parts: Parts):
    audit, store = slow(parts)
    results = record_at_once(audit, store, 250)
    assert sorted(results) == list(range(3, 253)), "each has a number of its own"  # type: ignore[type-var]
    assert store.appends[0] == 1 and len(store.appends) == 4 and max(store.appends) == 98
    assert [entry["number"] for entry in parts.entries()] == list(range(1, 253))
    assert audit.verify().entries == 252


def test_all_who_waited_for_a_transaction_that_failed_are_told(parts: Parts):
    audit, store = slow(parts)
    store.fails = True
    results = record_at_once(audit, store, 5)
    assert len(results) == 5 and all(isinstance(result, VaultUnavailable) for result in results)
    store.fails = False
    assert audit.record(Event(Action.ERASE, "operator")) == 3, "and it goes on"


def test_an_export_can_be_followed_without_keys_from_anywhere(parts: Parts):
    for number in range(6):
        parts.audit.record(Event(Action.DELETE, "operator", keys=[ip(number)]))
    lines = list(parts.audit.export())
    assert verify_export(lines) == 7
    assert verify_export(parts.audit.export(3, 5)) == 3
    assert verify_export(parts.audit.export(7)) == 1
    assert verify_export([]) == 0
    previous = bytes(32)
    for line in lines:  # by the documented formula, and nothing of ours
        said = json.loads(line)
        assert said["previous"] == previous.hex()
        previous = hashlib.sha256(previous + said["text"].encode()).digest()
        assert said["hash"] == previous.hex()


@pytest.mark.parametrize("first", [1, 3])
def test_a_changed_export_is_found_and_located(parts: Parts, first: int):
    for number in range(8):
        parts.audit.record(Event(Action.DELETE, "operator", keys=[ip(number)]))
    lines = list(parts.audit.export(first))
    four = 4 - first

    def broken(changed: list[str]) -> int:
        with pytest.raises(AuditBroken) as caught:
            verify_export(changed)
        return caught.value.sequence

    def with_line(**other: object) -> list[str]:
        return [*lines[:four], json.dumps({**json.loads(lines[four]), **other}), *lines[four + 1 :]]

    said = json.loads(lines[four])
    assert broken(with_line(text=said["text"].replace("operator", "auditor"))) == 4
    assert broken(with_line(hash="00" * 32)) == 4
    assert broken(with_line(previous="00" * 32)) == 4
    assert broken(with_line(text="{}")) == 4
    assert broken(with_line(text=7)) == 4
    assert broken([*lines[:four], "no line", *lines[four + 1 :]]) == 4
    assert broken([*lines[:four], *lines[four + 1 :]]) == 4
    assert broken([*lines[:four], lines[four + 1], lines[four], *lines[four + 2 :]]) == 4
    assert broken([*lines[: four + 1], lines[four], *lines[four + 1 :]]) == 5


def anchored(parts: Parts) -> list[int]:
    parts.audit.close()
    return [anchor.sequence for anchor in parts.anchors.all()]


def test_an_anchor_is_due_after_so_many_entries_or_so_long(parts: Parts, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pii_pipeline.vault.audit.ANCHOR_ENTRIES", 10)
    assert ANCHOR_ENTRIES == 1_000

    def record(count: int) -> None:
        for _ in range(count):
            parts.audit.record(Event(Action.ERASE, "operator"))

    record(1)
    assert anchored(parts) == [2], "the first at once"
    record(9)
    assert anchored(parts) == [2]
    record(1)
    assert anchored(parts) == [2, 12]
    parts.clock.goes_on(299)
    record(1)
    parts.audit.tick()
    assert anchored(parts) == [2, 12]
    parts.clock.goes_on(1)
    record(1)
    assert anchored(parts) == [2, 12, 14]
    record(1)
    parts.clock.goes_on(300)
    parts.audit.tick()
    assert anchored(parts) == [2, 12, 14, 15], "also while nothing is recorded"
    parts.clock.goes_on(10_000)
    parts.audit.tick()
    assert anchored(parts) == [2, 12, 14, 15], "nothing is new"
    assert parts.again().verify().unanchored == 0


def test_processes_share_their_anchors(parts: Parts):
    parts.audit.record(Event(Action.ERASE, "operator"))
    assert anchored(parts) == [2]
    other = parts.again()
    other.record(Event(Action.ERASE, "operator"))
    other.close()
    assert anchored(parts) == [2]


class NoAnchors:
    """A storage of anchors that does not answer."""

    def __init__(self) -> None:
        self.asked = 0

    def write(self, anchor: object) -> None:
        self.asked += 1
        raise VaultUnavailable("PII_VAULT_ANCHORS: no answer")

    def all(self) -> list[object]:
        return []


def test_where_no_anchor_can_be_written_entries_are_and_it_is_told(parts: Parts, caplog):
    nowhere = NoAnchors()
    audit = AuditLog(parts.store, KEY, parts.policy, nowhere, parts.clock)  # type: ignore[arg-type]
    for number in range(3):
        assert audit.record(Event(Action.ERASE, "operator")) == number + 2
    audit.close()
    assert nowhere.asked == 1, "the next try is later"
    assert "no anchor of the audit log was written: PII_VAULT_ANCHORS: no answer" in caplog.text
    with pytest.raises(VaultUnavailable):
        audit.tick()
    assert audit.verify().unanchored == 4
