"""What the vault tells and changes, for whom, and what is on record of it before it does."""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from pii_pipeline.vault.audit import Action
from pii_pipeline.vault.chain import verify_export
from pii_pipeline.vault.errors import VaultRefused, VaultUnavailable
from pii_pipeline.vault.model import (
    MAX_ORIGINAL_BYTES,
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
from pii_pipeline.vault.stores import open_store, rows
from pii_pipeline.vault.vault import MAX_BATCH, Vault
from pii_pipeline_tests.unit.vault.examples import ANN, BOB, MONDAY, Parts, ip, of_ann, pseudonym

FRAUD = Reason(LawfulBasis.LEGAL_OBLIGATION, "fraud", "ABC-1")
SUPPORT = Reason(LawfulBasis.CONTRACT, "support")
CONSENTED = Reason(LawfulBasis.CONSENT, "support")
WIRE = Reason(LawfulBasis.CONTRACT, "piinguin")
LATER = MONDAY + timedelta(hours=1)


def consent(subject: bytes, *levels: int, cumulative: bool = False, stream: str = "logins") -> Consent:
    return Consent(subject, stream, frozenset(levels), cumulative, MONDAY)


def wire(value: str, original: str) -> NewRecord:
    return NewRecord(RecordKey("piinguin", "value", value), original, date(2026, 11, 20))


def refused(call: Callable[[], object], why: str) -> VaultRefused:
    with pytest.raises(VaultRefused) as caught:
        call()
    assert caught.value.why == why, str(caught.value)
    return caught.value


def test_what_was_created_is_read_by_who_may(either: Parts):
    vault = either.vault
    assert vault.create("operator", [of_ann("10.0.0.1"), of_ann("10.0.0.2", None)]) == Stored(2, 0)
    assert vault.create("operator", [of_ann("10.0.0.1")]) == Stored(0, 1)
    keys = [ip("10.0.0.2"), ip("unknown"), ip("10.0.0.1"), ip("10.0.0.1")]
    assert vault.read("operator", FRAUD, keys) == [
        Found(keys[0], ("10.0.0.2",)),
        Found(keys[1]),
        Found(keys[2], ("10.0.0.1",)),
        Found(keys[3], ("10.0.0.1",)),
    ]
    entry = either.last()
    assert entry["counts"] == {"asked": 4, "found": 3, "withheld": 0}
    assert (entry["principal"], entry["basis"], entry["ticket"]) == ("operator", "legal_obligation", "ABC-1")
    kept = "".join(json.dumps(said) for said in either.entries())
    assert "10.0.0" not in kept


def test_all_originals_of_a_pseudonym_are_kept_and_told_oldest_first(parts: Parts):
    key = ip("shared")
    days = [("c", 3), ("a", 1), ("b", 2), ("a", 9)]
    records = [NewRecord(key, original, date(2026, 11, day), ANN) for original, day in days]
    assert parts.vault.create("operator", records) == Stored(3, 1)
    parts.vault.create("operator", [NewRecord(key, "a", date(2026, 11, 4), BOB)])
    assert parts.vault.read("operator", FRAUD, [key]) == [Found(key, ("a", "b", "c"))], (
        "one that two have, once"
    )


def test_an_import_is_recorded_as_one(parts: Parts):
    assert parts.vault.create("operator", [wire("x", "y")], Action.IMPORT) == Stored(1, 0)
    assert parts.last()["action"] == "import"


def test_a_deletion_is_of_all_originals_of_a_key(parts: Parts):
    parts.vault.create("operator", [of_ann("1"), of_ann("1", BOB), of_ann("2")])
    assert parts.vault.delete("operator", [ip("1"), ip("none")]) == 2
    assert parts.last()["action"] == "delete" and parts.last()["counts"] == {"asked": 2}
    assert parts.vault.read("operator", FRAUD, [ip("1"), ip("2")]) == [Found(ip("1")), Found(ip("2"), ("2",))]


def test_an_erasure_is_of_a_persons_records_and_of_an_originals_that_name_nobody(parts: Parts):
    wired = [wire("h1", "jane@example.com"), wire("h2", "jane@example.com"), wire("h3", "joe@example.com")]
    parts.vault.create("operator", [of_ann("1"), of_ann("2", BOB), *wired])
    assert parts.vault.erase("operator", [ANN], ["jane@example.com"]) == 3
    assert parts.last()["counts"] == {"originals": 1, "subjects": 1}
    assert "records" not in parts.last() and "members" not in parts.last()
    assert [answer.originals for answer in parts.vault.read("operator", FRAUD, [ip("1"), ip("2")])] == [
        (),
        ("2",),
    ]
    found = parts.vault.read("operator", WIRE, [record.key for record in wired])
    assert [answer.originals for answer in found] == [(), (), ("joe@example.com",)]


def test_who_was_forgotten_is_withheld_and_their_new_records_are_refused(parts: Parts):
    parts.vault.create("operator", [of_ann("1"), of_ann("1", BOB), of_ann("2")])
    del parts.seals.salts[ANN]
    assert parts.vault.read("operator", FRAUD, [ip("1"), ip("2")]) == [
        Found(ip("1"), ("1",)),
        Found(ip("2"), withheld=Withheld.FORGOTTEN),
    ]
    assert parts.last()["counts"] == {"asked": 2, "found": 1, "withheld": 1}
    refused(lambda: parts.vault.create("operator", [of_ann("3")]), "invalid")
    assert (parts.last()["refused"], parts.last()["why"]) == ("create", "invalid")
    assert parts.vault.read("operator", FRAUD, [ip("3")]) == [Found(ip("3"))]


def test_a_consent_based_read_is_told_what_the_latest_consent_covers_alone(parts: Parts):
    """Purpose support wants 2."""
    carl, dora = b"c" * 16, b"d" * 16
    parts.seals.salts.update({carl: b"c", dora: b"d"})
    said = [consent(ANN, 2, 7), consent(BOB, 1, 3), consent(carl, 3, cumulative=True)]
    said += [consent(dora, 2, stream="webshop")]
    people = {"ann": ANN, "bob": BOB, "carl": carl, "dora": dora, "nobody": None}
    parts.vault.load("pipeline", "batch", [], [said])
    parts.vault.create("operator", [of_ann(name, subject) for name, subject in people.items()])
    found = parts.vault.read("operator", CONSENTED, [*map(ip, people), ip("unknown")])
    told = [(answer.originals, answer.withheld) for answer in found]
    no = ((), Withheld.NO_CONSENT)
    assert told == [(("ann",), None), no, (("carl",), None), no, no, ((), None)]
    assert parts.last()["counts"] == {"asked": 6, "found": 2, "withheld": 3}
    assert parts.seals.opened == 2, "what is withheld is not even opened"
    assert all(answer.originals for answer in parts.vault.read("operator", SUPPORT, [*map(ip, people)]))
    later = Consent(ANN, "logins", frozenset(), False, MONDAY + timedelta(days=1))
    parts.vault.load("pipeline", "next", [], [[later]])
    assert parts.vault.read("operator", CONSENTED, [ip("ann")]) == [
        Found(ip("ann"), withheld=Withheld.NO_CONSENT)
    ]


def test_of_an_original_that_several_share_those_who_consented_count(parts: Parts):
    shared = ip("shared")
    records = [NewRecord(shared, original, MONDAY.date(), who) for original, who in (("a", ANN), ("b", BOB))]
    parts.vault.create("operator", records)
    parts.vault.load("pipeline", "batch", [], [[consent(BOB, 2)]])
    assert parts.vault.read("operator", CONSENTED, [shared]) == [Found(shared, ("b",))]
    del parts.seals.salts[BOB]
    assert parts.vault.read("operator", CONSENTED, [shared])[0].withheld == Withheld.NO_CONSENT


@pytest.mark.parametrize(
    "altered",
    [
        "levels = '1,2,3'",
        "cumulative = true",
        "at = '2026-11-22 09:30:15.000000'",
        "seal = (SELECT seal FROM vault_consents WHERE stream = 'webshop')",
    ],
)
def test_a_consent_that_somebody_made_up_is_none_and_on_record(
    either: Parts, altered: str, caplog: pytest.LogCaptureFixture
):
    dora = b"d" * 16
    either.seals.salts[dora] = b"d"
    either.vault.create("operator", [of_ann("ann"), of_ann("bob", BOB), of_ann("dora", dora)])
    said = [consent(ANN, 2), consent(dora, 2), consent(BOB, 2, stream="webshop"), consent(BOB, 1)]
    either.vault.load("pipeline", "batch", [], [said])
    if "cumulative" in altered:  # one that covers 2 only if it is
        either.vault.load("pipeline", "batch", [], [[replace(consent(BOB, 3), at=LATER)]])
    engine = create_engine(either.url)
    with engine.begin() as connection:
        statement = f"UPDATE vault_consents SET {altered} WHERE subject = :bob AND stream = 'logins'"
        connection.execute(text(statement.replace(":", "\\:").replace("\\:bob", ":bob")), {"bob": BOB})
    engine.dispose()
    keys = [ip("ann"), ip("bob"), ip("dora")]
    found = either.vault.read("operator", CONSENTED, keys)
    assert [answer.originals for answer in found] == [("ann",), (), ("dora",)]
    assert found[1].withheld is Withheld.NO_CONSENT
    counts = {"asked": 3, "found": 2, "withheld": 1, "tampered_consents": 1}
    assert either.last()["counts"] == counts
    assert caplog.messages == ["logins: 1 consents in the vault's database were made or altered by others"]
    either.vault.load("pipeline", "next", [], [[replace(consent(BOB, 2), at=LATER + timedelta(days=1))]])
    assert either.vault.read("operator", CONSENTED, keys)[1].originals == ("bob",)


def test_a_consent_of_another_is_none(parts: Parts):
    parts.vault.create("operator", [of_ann("ann"), of_ann("bob", BOB)])
    parts.vault.load("pipeline", "batch", [], [[consent(ANN, 2)]])
    with create_engine(parts.url).begin() as connection:
        connection.execute(text("UPDATE vault_consents SET subject = :bob"), {"bob": BOB})
    found = parts.vault.read("operator", CONSENTED, [ip("ann"), ip("bob")])
    assert [answer.withheld for answer in found] == [Withheld.NO_CONSENT] * 2
    assert parts.last()["counts"]["tampered_consents"] == 1


def test_callers_add_no_more_originals_than_so_many_to_a_pseudonym(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pii_pipeline.vault.vault.MAX_ORIGINALS", 3)

    def of_one(*originals: str) -> list[NewRecord]:
        return [NewRecord(ip("1"), original, MONDAY.date(), ANN) for original in originals]

    parts.vault.create("operator", [*of_one("a", "b"), of_ann("other")])
    refused(lambda: parts.vault.create("operator", [of_ann("new"), *of_one("b", "c", "d")]), "invalid")
    assert (parts.last()["refused"], parts.last()["counts"]) == ("create", {"asked": 4})
    assert parts.vault.create("operator", of_one("c")) == Stored(1, 0)
    assert parts.vault.create("operator", of_one("a", "b", "c", "c")) == Stored(0, 4), "as often as they like"
    refused(lambda: parts.vault.create("operator", of_one("d")), "invalid")
    loaded = parts.seals.seal(of_one("d", "e"))
    assert parts.vault.load("pipeline", "b", [loaded], []) == Stored(2, 0), "what events say is all kept"
    assert parts.vault.create("operator", of_one("e")) == Stored(0, 1)
    refused(lambda: parts.vault.create("operator", of_one("f")), "invalid")
    assert len(parts.vault.read("operator", SUPPORT, [ip("1")])[0].originals) == 5
    assert parts.store.records() == 6


def test_more_than_a_read_may_load_is_refused_and_on_record(parts: Parts, monkeypatch: pytest.MonkeyPatch):
    parts.vault.create("operator", [of_ann("1"), of_ann("2")])
    room = sum(len(records[0].sealed) + rows._BESIDE for records in parts.store.find([ip("1"), ip("2")]))
    monkeypatch.setattr(rows, "MAX_READ_BYTES", room)
    assert len(parts.vault.read("operator", SUPPORT, [ip("1"), ip("2"), ip("3")])) == 3
    refused(lambda: parts.vault.read("operator", SUPPORT, [ip("1"), ip("1"), ip("1")]), "limit")
    entry = parts.last()
    assert (entry["refused"], entry["why"], entry["counts"]) == ("read", "limit", {"asked": 3})
    parts.vault.create("operator", [of_ann("3")])
    refused(lambda: parts.vault.read("operator", SUPPORT, [ip("1"), ip("2"), ip("3")]), "limit")
    assert parts.vault.read("operator", SUPPORT, [ip("3")])[0].originals == ("3",)


def test_each_part_of_a_load_is_on_record_and_a_second_load_finds_all_known(parts: Parts):
    sealed = parts.seals.seal([of_ann(str(number)) for number in range(5)])
    load = [sealed[:2], sealed[2:]]
    assert parts.vault.load("pipeline", "b-1", load, [[consent(ANN, 2)]]) == Stored(5, 0)
    assert parts.vault.load("pipeline", "b-1", iter(load), []) == Stored(0, 5)
    said = [(entry["counts"], entry["detail"]) for entry in parts.entries() if entry["action"] == "load"]
    batch = {"batch": "b-1"}
    assert [counts for counts, _ in said] == [
        {"asked": 2},
        {"asked": 3},
        {"consents": 1},
        {"asked": 2},
        {"asked": 3},
    ]
    assert all(detail == batch for _, detail in said)
    reason = Reason(LawfulBasis.LEGAL_OBLIGATION, "verification")
    assert parts.vault.read("pipeline", reason, [ip("4")]) == [Found(ip("4"), ("4",))]
    refused(lambda: parts.vault.load("operator", "b-1", load, []), "denied")


def test_the_audit_log_is_exported_and_the_export_is_the_last_entry(parts: Parts):
    parts.vault.create("operator", [of_ann("1")])
    lines = list(parts.vault.export_audit("auditor"))
    assert verify_export(lines) == len(lines) == 3
    assert json.loads(json.loads(lines[-1])["text"])["action"] == "export"
    assert verify_export(parts.vault.export_audit("auditor", 2, 3)) == 2
    refused(lambda: parts.vault.export_audit("everywhere"), "denied")


CALLS: list[tuple[str, Callable[[Vault, str], Any]]] = [
    ("create", lambda vault, who: vault.create(who, [of_ann("1")])),
    ("read", lambda vault, who: vault.read(who, FRAUD, [ip("1")])),
    ("delete", lambda vault, who: vault.delete(who, [ip("1")])),
    ("erase", lambda vault, who: vault.erase(who, [ANN], [])),
    ("load", lambda vault, who: vault.load(who, "b", [], [])),
    ("export", lambda vault, who: vault.export_audit(who)),
]


@pytest.mark.parametrize(("action", "call"), CALLS, ids=[name for name, _ in CALLS])
def test_who_may_not_is_refused_and_on_record_and_nothing_is_changed(parts: Parts, action, call):
    parts.vault.create("operator", [of_ann("1")])
    for who, name in (
        ("auditor", "auditor"),
        ("slow", "slow"),
        ("Jane Doe", "unknown"),
        ("unknown", "unknown"),
    ):
        if (who, action) == ("auditor", "export"):
            continue
        refused(lambda: call(parts.vault, who), "denied")  # noqa: B023
        entry = parts.last()
        assert (entry["action"], entry["refused"], entry["why"]) == ("refused", action, "denied")
        assert entry["principal"] == name
    assert parts.store.records() == 1


@pytest.mark.parametrize(("action", "call"), CALLS, ids=[name for name, _ in CALLS])
def test_nothing_is_done_and_nothing_told_that_cannot_be_recorded(parts: Parts, monkeypatch, action, call):
    """The order of record and action: with the log out of reach nothing happens."""
    parts.vault.create("operator", [of_ann("1"), wire("x", "y")])
    parts.vault.load("pipeline", "b", [], [[consent(ANN, 2)]])

    def no_entry(_entries: object) -> bool:
        raise VaultUnavailable("no")

    monkeypatch.setattr(parts.store, "append", no_entry)
    who = "pipeline" if action == "load" else "operator"
    if action == "load":
        sealed = parts.seals.seal([of_ann("9")])
        call = lambda vault, who: vault.load(who, "b", [sealed], [[consent(ANN, 1)]])  # noqa: E731
    if action == "create":
        call = lambda vault, who: vault.create(who, [of_ann("9")])  # noqa: E731
    with pytest.raises(VaultUnavailable):
        call(parts.vault, who)
    assert parts.store.records() == 2
    assert [len(found) for found in parts.store.find([ip("1"), ip("9")])] == [1, 0]
    assert parts.store.consents("logins", [ANN])[ANN].levels == {2}


def test_a_change_is_on_record_although_it_fails(parts: Parts, monkeypatch):
    def broken(_records: object) -> Stored:
        raise VaultUnavailable("no")

    monkeypatch.setattr(parts.store, "put", broken)
    with pytest.raises(VaultUnavailable):
        parts.vault.create("operator", [of_ann("1")])
    assert parts.last()["action"] == "create"


def test_a_read_without_a_basis_is_refused_with_a_why_of_its_own(parts: Parts):
    problem = refused(
        lambda: parts.vault.read("operator", Reason(None, "fraud", "ABC-1"), [ip("1")]), "no basis"
    )
    assert str(problem) == "a read names its lawful basis"
    assert (parts.last()["why"], parts.last()["purpose"], "basis" in parts.last()) == (
        "no basis",
        "fraud",
        False,
    )


def test_what_is_refused_holds_nothing_of_what_was_asked(parts: Parts):
    canary = "jane.doe"
    keys = [RecordKey(canary, canary, canary), RecordKey("logins", "ip", canary)]
    reason = Reason(LawfulBasis.CONTRACT, canary, canary)
    told: list[str] = []
    calls: Sequence[Callable[[], object]] = (
        *[lambda key=key: parts.vault.read("operator", reason, [key]) for key in keys],
        lambda: parts.vault.read("operator", reason, [ip("1")]),
        lambda: parts.vault.read("operator", Reason(LawfulBasis.CONTRACT, "support", canary), [ip("1")]),
        lambda: parts.vault.delete("operator", keys),
        lambda: parts.vault.create("operator", [NewRecord(keys[0], canary, MONDAY.date())]),
        lambda: parts.vault.create(canary, [of_ann("1")]),
        lambda: parts.vault.create("operator", [wire("x" * 2000, canary)]),
        lambda: parts.vault.create("operator", [wire(canary, "\ud800")]),
        lambda: parts.vault.create("operator", [wire(canary, "x" * (MAX_ORIGINAL_BYTES + 1))]),
        lambda: parts.vault.create("operator", [wire("", canary)]),
        lambda: parts.vault.erase("operator", [], ["\ud800" + canary]),
    )
    for call in calls:
        with pytest.raises(VaultRefused) as caught:
            call()
        told.append(str(caught.value) + repr(caught.value))
    assert len(parts.entries()) == len(calls) + 1
    assert canary not in "".join(told) + "".join(entry.text for entry in parts.store.entries())


@pytest.mark.parametrize("odd", ["", "\ud800", "a\x00b", "a\nb", "x" * 256])
def test_names_that_no_store_can_hold_are_refused_whatever_the_policy_grants(parts: Parts, odd: str):
    for key in (RecordKey("logins", odd, pseudonym(1)), RecordKey(odd, "ip", pseudonym(1))):
        refused(lambda: parts.vault.read("everywhere", SUPPORT, [key]), "invalid")  # noqa: B023
        refused(
            lambda: parts.vault.create("everywhere", [NewRecord(key, "x", MONDAY.date())]),  # noqa: B023
            "invalid",
        )


@pytest.mark.parametrize("count", [0, MAX_BATCH + 1])
def test_as_many_records_as_one_call_takes(parts: Parts, count: int):
    keys = [ip(number) for number in range(count)]
    refused(lambda: parts.vault.read("operator", FRAUD, keys), "invalid")
    refused(lambda: parts.vault.delete("operator", keys), "invalid")
    refused(
        lambda: parts.vault.create("operator", [of_ann(str(number)) for number in range(count)]), "invalid"
    )


def test_limits_are_spent_by_what_is_asked_for_found_or_not_and_by_nothing_that_is_refused(parts: Parts):
    """Three a minute and five a day."""

    def read(*values: str, reason: Reason = SUPPORT) -> list[Found]:
        return parts.vault.read("slow", reason, [*map(ip, values)])

    refused(lambda: read("1", "2", reason=FRAUD), "denied")
    refused(
        lambda: parts.vault.read("slow", SUPPORT, [RecordKey("logins", "device_id", pseudonym(1))]), "denied"
    )
    refused(lambda: read("1", "2", "3", "4"), "limit")
    assert len(read("1", "1")) == 2
    problem = refused(lambda: read("1", "2"), "limit")
    assert str(problem) == "no more than 3 records in this window of time (2026-11-23T09:30)"
    assert len(read("1")) == 1
    refused(lambda: read("1"), "limit")
    parts.clock.goes_on(60)
    assert len(read("1", "2")) == 2
    problem = refused(lambda: read("1"), "limit")
    assert "2026-11-23)" in str(problem)
    assert (parts.last()["why"], parts.last()["counts"]) == ("limit", {"asked": 1})
    parts.clock.goes_on(86_400)
    assert len(read("1", "2", "3")) == 3


def test_two_who_spend_at_once_do_not_get_more_than_there_is(either: Parts):
    told: list[object] = []
    ready = threading.Barrier(8)

    def read(vault: Vault) -> None:
        ready.wait()
        try:
            told.append(vault.read("slow", SUPPORT, [ip("1")]))
        except VaultRefused as error:
            told.append(error.why)

    stores = [open_store(either.url) for _ in range(2)]
    vaults = [Vault(store, either.seals, either.policy, either.audit, either.clock) for store in stores]
    threads = [threading.Thread(target=read, args=(vaults[number % 2],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 8 and told.count("limit") == 5
    for store in stores:
        store.close()


@pytest.mark.parametrize("change", ["pseudonym", "subject", "field", "sealed"])
def test_a_record_that_was_moved_or_changed_is_told_as_such_and_keeps_nobody_from_the_others(
    parts: Parts, change: str, caplog: pytest.LogCaptureFixture
):
    parts.vault.create("operator", [of_ann("1"), of_ann("2", BOB)])
    key = ip("1")
    value: object = {
        "pseudonym": ip("moved").pseudonym.encode(),
        "subject": BOB,
        "field": "device_id",
        "sealed": bytes(40),
    }[change]
    engine = create_engine(parts.url)
    with engine.begin() as connection:
        statement = f"UPDATE vault_records SET {change} = :value WHERE pseudonym = :pseudonym"
        connection.execute(text(statement), {"value": value, "pseudonym": key.pseudonym.encode()})
    engine.dispose()
    asked = {"pseudonym": ip("moved"), "field": RecordKey("logins", "device_id", key.pseudonym)}.get(
        change, key
    )
    assert parts.vault.read("operator", SUPPORT, [ip("2"), asked, ip("3"), asked]) == [
        Found(ip("2"), ("2",)),
        Found(asked, withheld=Withheld.TAMPERED),
        Found(ip("3")),
        Found(asked, withheld=Withheld.TAMPERED),
    ]
    assert parts.last()["action"] == "read"
    assert parts.last()["counts"] == {"asked": 4, "found": 1, "tampered": 2, "withheld": 0}
    (line,) = caplog.records
    assert line.levelname == "ERROR"
    assert line.getMessage() == (
        f"logins, {asked.field}: what the vault's database has of 1 pseudonyms was altered, or moved to "
        "another row"
    )


def test_what_is_whole_of_a_pseudonym_is_told_beside_what_was_tampered_with(parts: Parts):
    """Originals that read as the reasons do are originals."""
    shared, said = ip("shared"), ["tampered", "forgotten", "no consent", "altered"]
    parts.vault.create("operator", [NewRecord(shared, text, MONDAY.date(), ANN) for text in said])
    sealed = parts.store.find([shared])[0]
    altered = next(record.sealed for record in sealed if parts.seals.open([record]) == ["altered"])
    with create_engine(parts.url).begin() as connection:
        statement = "UPDATE vault_records SET sealed = :other WHERE sealed = :altered"
        connection.execute(text(statement), {"other": altered[:-1] + b"?", "altered": altered})
    (found,) = parts.vault.read("operator", SUPPORT, [shared])
    assert (sorted(found.originals), found.withheld) == (sorted(said[:3]), Withheld.TAMPERED)
    assert parts.last()["counts"] == {"asked": 1, "found": 1, "tampered": 1, "withheld": 0}


def test_a_field_that_the_policy_does_not_name_is_not_in_the_log(
    parts: Parts, caplog: pytest.LogCaptureFixture
):
    jane = RecordKey("logins", "jane@example.com", pseudonym("1"))
    parts.vault.create("everywhere", [NewRecord(jane, "1", MONDAY.date())])
    with create_engine(parts.url).begin() as connection:
        connection.execute(text("UPDATE vault_records SET sealed = x'00'"))
    assert parts.vault.read("everywhere", SUPPORT, [jane])[0].withheld is Withheld.TAMPERED
    assert caplog.messages[0].startswith("logins, unknown: ")


def test_what_is_shown_of_records_is_nothing_of_a_person():
    sealed = SealedRecord(ip("1"), ANN, b"secret bytes", b"", MONDAY.date(), MONDAY.date())
    shown = repr([of_ann("10.0.0.1"), sealed, Found(ip("1"), ("10.0.0.1",)), consent(ANN, 2)])
    for hidden in ("10.0.0.1", "secret", pseudonym("1"), pseudonym("10.0.0.1")):
        assert hidden not in shown
