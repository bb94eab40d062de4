"""Consents, limits, the audit log and its anchor in every store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from itertools import permutations

import pytest

from pii_pipeline.vault.model import Consent
from pii_pipeline.vault.stores import MOST_ENTRIES, Allowance, Entry, VaultStore, open_store
from pii_pipeline_tests.unit.vault.stores.examples import NOW, consent, entries, entry, mark, subject


def test_the_latest_consent_holds_whatever_the_order(store: VaultStore) -> None:
    said = [consent(1, 1), consent(1, after=0.000001), consent(1, 1, 2, 3, after=-60)]
    for number, order in enumerate(permutations(said)):
        stream = f"stream{number}"
        mine = [Consent(one.subject, stream, one.levels, one.cumulative, one.at) for one in order]
        if number % 2:
            store.put_consents(mine)
        else:
            for one in mine:
                store.put_consents([one])
        (held,) = store.consents(stream, [subject(1)]).values()
        assert (held.levels, held.at) == (frozenset(), said[1].at)


@pytest.mark.parametrize(
    ("wins", "loses"),
    [
        (consent(1), consent(1, 0)),
        (consent(1, 9), consent(1, 1, 2)),
        (consent(1, 1), consent(1, 2)),
        (consent(1, 1, 5), consent(1, 2, 3)),
        (consent(1, 1, 2), consent(1, 1, 3)),
        (consent(1, 2), consent(1, 10)),
        (consent(1, -1), consent(1, 0)),
        (consent(1, 3), consent(1, 3, cumulative=True)),
        (consent(1, 2**62), consent(1, 2**62 + 1)),
    ],
)
def test_of_two_at_once_the_one_with_less_holds(store: VaultStore, wins: Consent, loses: Consent) -> None:
    for order in [wins, loses], [loses, wins]:
        for one in order:
            store.put_consents([one])
        assert store.consents("logins", [subject(1)]) == {subject(1): wins}
        store.delete_subjects([subject(1)])
        store.put_consents(order)
        assert store.consents("logins", [subject(1)]) == {subject(1): wins}
        store.delete_subjects([subject(1)])


def test_consents_are_of_a_subject_and_a_stream(store: VaultStore) -> None:
    one, other = consent(1, 1, 3), consent(1, 2, stream="webshop", cumulative=True)
    store.put_consents([one, other])
    assert store.consents("logins", [subject(1), subject(2)]) == {subject(1): one}
    assert store.consents("webshop", [subject(1), subject(1)]) == {subject(1): other}
    assert store.consents("nowhere", [subject(1)]) == {}


def test_a_consent_that_is_put_again_is_written_anew(store: VaultStore) -> None:
    """Which mends one that was altered."""
    store.put_consents([replace(consent(1, 2), seal=b"another")])
    store.put_consents([consent(1, 2)])
    assert store.consents("logins", [subject(1)])[subject(1)].seal == mark(1)
    store.put_consents([replace(consent(1, 2, after=-1), seal=b"another")])
    assert store.consents("logins", [subject(1)]) == {subject(1): consent(1, 2)}


def test_moments_are_the_same_in_every_time_zone(store: VaultStore) -> None:
    elsewhere = consent(1, 1).at.astimezone(timezone(timedelta(hours=5, minutes=30)))
    store.put_consents([replace(consent(1, 1), at=elsewhere)])
    store.put_consents([consent(1, 1, 2)])
    assert store.consents("logins", [subject(1)])[subject(1)] == consent(1, 1)


def test_many_consents_at_once(store: VaultStore, many: int) -> None:
    some = [consent(number, number % 4) for number in range(many // 2)]
    store.put_consents(some)
    subjects = [subject(number) for number in range(many)]
    assert store.consents("logins", subjects) == {one.subject: one for one in some}


MINUTE = Allowance("ann", "2026-11-26T10:31", 10)
DAY = Allowance("ann", "2026-11-26", 15)


def test_what_is_spent_is_taken_from_all_or_from_none(store: VaultStore) -> None:
    assert store.spend([MINUTE, DAY], 6) is None
    assert store.spend([MINUTE, DAY], 5) == MINUTE
    assert store.spend([MINUTE, DAY], 4) is None, "nothing was taken by what was refused"
    assert store.spend([MINUTE], 1) == MINUTE
    next_minute = MINUTE._replace(window="2026-11-26T10:32")
    assert store.spend([next_minute, DAY], 6) == DAY
    assert store.spend([next_minute, DAY], 5) is None
    assert store.spend([next_minute], 5) is None
    assert store.spend([DAY], 1) == DAY


def test_an_allowance_is_of_a_principal_and_a_window(store: VaultStore) -> None:
    assert store.spend([MINUTE], 10) is None
    assert store.spend([MINUTE._replace(principal="anna")], 10) is None
    assert store.spend([MINUTE._replace(window="2026-11-26T10:3")], 10) is None
    assert store.spend([MINUTE], 1) == MINUTE


def test_more_than_there_ever_is(store: VaultStore) -> None:
    assert store.spend([DAY, MINUTE], 11) == MINUTE
    assert store.spend([DAY], 15) is None
    assert store.spend([MINUTE._replace(most=0)], 1) == MINUTE._replace(most=0)


def test_a_limit_that_was_lowered_holds_at_once(store: VaultStore) -> None:
    assert store.spend([MINUTE], 8) is None
    lower = MINUTE._replace(most=7)
    assert store.spend([lower], 1) == lower
    assert store.spend([MINUTE], 2) is None


def test_no_limits(store: VaultStore) -> None:
    assert store.spend([], 1_000_000) is None


def test_an_empty_log(store: VaultStore) -> None:
    assert store.last_entry() is None
    assert list(store.entries()) == []
    assert store.append([])
    assert not store.append([entry(2)]), "the one before is not there"
    assert store.last_entry() is None


def test_entries_are_appended_in_their_order(store: VaultStore, store_url: str) -> None:
    assert store.append([entry(1)])
    assert store.append(entries(2, 4))
    assert store.last_entry() == entry(4)
    other = open_store(store_url)
    assert list(other.entries()) == entries(1, 4)
    assert other.append([entry(5)])
    other.close()
    assert store.last_entry() == entry(5)


@pytest.mark.parametrize("taken", [entries(1, 1), entries(2, 3), entries(3, 3), entries(3, 5)])
def test_a_number_that_is_taken_is_not_taken_again(store: VaultStore, taken: list[Entry]) -> None:
    assert store.append(entries(1, 3))
    assert not store.append(taken), "though these are the same to the letter"
    assert not store.append([one._replace(text="another") for one in taken])
    assert list(store.entries()) == entries(1, 3), "all or none"


@pytest.mark.parametrize("first", [5, 6, 1000])
def test_after_a_gap_nothing_is_appended(store: VaultStore, first: int) -> None:
    assert store.append(entries(1, 3))
    assert not store.append(entries(first, first + 1))
    assert list(store.entries()) == entries(1, 3)


def test_as_many_as_may_be_appended_at_once(store: VaultStore, many: int) -> None:
    total = 0
    while total < min(many, 1_200):
        assert store.append(entries(total + 1, total + MOST_ENTRIES))
        total += MOST_ENTRIES
    assert list(store.entries()) == entries(1, total)
    assert list(store.entries(7)) == entries(7, total)
    assert list(store.entries(7, 7)) == entries(7, 7)
    assert list(store.entries(2, total - 1)) == entries(2, total - 1)
    assert list(store.entries(total - 1, total + 10)) == entries(total - 1, total)
    assert list(store.entries(total + 1)) == []
    assert list(store.entries(3, 2)) == []


def test_entries_are_read_as_they_are_asked_for(store: VaultStore) -> None:
    assert store.append(entries(1, 3))
    reading = store.entries()
    assert next(reading) == entry(1)
    assert store.append([entry(4)]), "a reader stops nobody"


def test_texts_come_back_to_the_letter(store: VaultStore) -> None:
    said = ["é", "e\u0301", "💶", "\\u0000", "'\"%s:x", "x" * 100_000, "\u2028"]
    some = [entry(number, text) for number, text in enumerate(said, 1)]
    some.append(Entry(len(some) + 1, '{"n": 1}\n ', bytes(32), b"\xff" * 32))
    assert store.append(some)
    assert list(store.entries()) == some


def test_what_was_anchored_last(store: VaultStore, store_url: str) -> None:
    assert store.anchored() is None
    store.remember_anchor(1_000, NOW)
    assert store.anchored() == (1_000, NOW)
    store.remember_anchor(999, NOW + timedelta(seconds=1))
    assert store.anchored() == (1_000, NOW), "somebody anchored a later one meanwhile"
    store.remember_anchor(1_000, NOW + timedelta(seconds=2))
    store.remember_anchor(10_000, NOW + timedelta(seconds=3))
    other = open_store(store_url)
    assert other.anchored() == (10_000, NOW + timedelta(seconds=3))
    other.close()


def test_nothing_of_one_part_is_in_another(store: VaultStore) -> None:
    """Consents, limits and the anchor are in one table of DynamoDB."""
    store.put_consents([consent(1, 1, stream="anchor")])
    store.spend([Allowance("anchor", "anchor", 5)], 5)
    store.remember_anchor(1, NOW)
    assert store.delete_subjects([subject(1), mark(1)[:16]]) == 0
    assert store.anchored() == (1, NOW)
    assert store.spend([Allowance("anchor", "anchor", 5)], 1) is not None
