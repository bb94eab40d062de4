"""Refusals of a principal are entries up to a number a minute, and beyond it counted; what is told never."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from pii_pipeline.vault.audit import UNKNOWN, Action
from pii_pipeline.vault.errors import VaultRefused, VaultUnavailable
from pii_pipeline.vault.model import LawfulBasis, Reason
from pii_pipeline.vault.refusals import MOST_A_MINUTE, Refusals
from pii_pipeline_tests.unit.vault.examples import MONDAY, Parts, ip, of_ann

FRAUD = Reason(LawfulBasis.LEGAL_OBLIGATION, "fraud", "ABC-1")
MINUTE = "2026-11-23T09:30"


def denied(parts: Parts, times: int, principal: str = "auditor") -> None:
    for number in range(times):
        with pytest.raises(VaultRefused):
            parts.vault.read(principal, FRAUD, [ip(number)])


def refused(parts: Parts) -> list[dict[str, Any]]:
    return [entry for entry in parts.entries() if entry["action"] == "refused"]


def counted(parts: Parts) -> list[dict[str, Any]]:
    """The entries that are counts."""
    return [entry for entry in refused(parts) if "refused" not in entry]


def test_the_first_of_a_minute_are_entries_and_the_others_one_that_counts_them(parts: Parts):
    denied(parts, MOST_A_MINUTE + 7)
    for _ in range(3):
        with pytest.raises(VaultRefused):
            parts.vault.delete("auditor", [])
    assert len(refused(parts)) == MOST_A_MINUTE
    parts.audit.tick()
    assert counted(parts) == [], "the minute is not over"
    parts.clock.goes_on(60)
    parts.audit.tick()
    (entry,) = counted(parts)
    assert entry["counts"] == {"read denied": 7, "delete invalid": 3}
    assert (entry["principal"], entry["detail"]) == ("auditor", {"minute": MINUTE})
    parts.audit.tick()
    assert len(counted(parts)) == 1
    denied(parts, 1)
    assert refused(parts)[-1]["refused"] == "read", "of the next minute the first are entries again"
    assert parts.audit.verify().broken is None


def test_what_is_told_is_never_counted_found_or_not(parts: Parts):
    denied(parts, MOST_A_MINUTE + 1, "operator-of-nothing")
    with suppress(VaultRefused):
        parts.vault.read("operator", Reason(LawfulBasis.CONTRACT, "fraud"), [ip("x")])
    before = len(parts.entries())
    parts.vault.create("operator", [of_ann("10.0.0.1")])
    for number in range(MOST_A_MINUTE + 10):
        parts.vault.read("operator", FRAUD, [ip(number)])
    assert len(parts.entries()) == before + 1 + MOST_A_MINUTE + 10


def test_each_principal_has_its_own_number_and_those_nobody_knows_have_one(parts: Parts):
    denied(parts, MOST_A_MINUTE)
    for number in range(MOST_A_MINUTE + 5):
        denied(parts, 1, f"stranger-{number}")
    denied(parts, 1, "slow")
    assert Counter(entry["principal"] for entry in refused(parts)) == {
        "auditor": MOST_A_MINUTE,
        UNKNOWN: MOST_A_MINUTE,
        "slow": 1,
    }
    parts.audit.close()
    (entry,) = counted(parts)
    assert (entry["principal"], entry["counts"]) == (UNKNOWN, {"read denied": 5})


def test_at_the_end_all_are_recorded_and_after_it_each(parts: Parts):
    denied(parts, MOST_A_MINUTE + 3)
    parts.audit.close()
    assert counted(parts)[0]["counts"] == {"read denied": 3}
    denied(parts, 2)
    assert len(refused(parts)) == MOST_A_MINUTE + 1 + 2


def test_a_count_that_cannot_be_recorded_waits(parts: Parts, monkeypatch: pytest.MonkeyPatch):
    denied(parts, MOST_A_MINUTE + 3)
    parts.clock.goes_on(60)

    def away(*_: object) -> bool:
        raise VaultUnavailable("the database does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(parts.store, "append", away)
        with pytest.raises(VaultUnavailable):
            parts.audit.tick()
        parts.audit.close()  # says so in the log
    parts.audit.tick()
    assert [entry["counts"] for entry in counted(parts)] == [{"read denied": 3}]


def test_none_is_lost_between_threads(parts: Parts):
    refusals, taken = Refusals(), []

    def refuse(number: int) -> bool:
        if number % 10 == 0 and (more := refusals.take(None)) is not None:
            taken.append(more)
        return refusals.is_entry("somebody", "read denied", MONDAY)

    with ThreadPoolExecutor(8) as threads:
        entries = sum(threads.map(refuse, range(5_000)))
    while (more := refusals.take(None)) is not None:
        taken.append(more)
    assert entries == MOST_A_MINUTE
    assert entries + sum(sum(more.counts.values()) for more in taken) == 5_000


def test_what_the_vault_was_not_asked_is_refused_as_well(parts: Parts):
    parts.vault.note_refused("operator", Action.CREATE, "invalid", 12)
    last = parts.last()
    assert (last["action"], last["refused"], last["why"], last["counts"]) == (
        "refused",
        "create",
        "invalid",
        {"asked": 12},
    )
