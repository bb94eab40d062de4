"""Limits of many calls at once: exact, whoever waits with whom, and each refusal is on record."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from pii_pipeline.settings import project_root
from pii_pipeline.vault.errors import VaultRefused, VaultUnavailable
from pii_pipeline.vault.model import LawfulBasis, Reason
from pii_pipeline.vault.stores import Allowance
from pii_pipeline.vault.vault import Vault
from pii_pipeline_tests.unit.vault.examples import POLICY, Parts, ip, make_policy

SUPPORT = Reason(LawfulBasis.CONTRACT, "support")
A_DAY = 103


def limited(parts: Parts, most: int) -> None:
    """The policy, where `slow` may read so many records a day."""
    text = POLICY.replace("{records_per_minute: 3, records_per_day: 5}", f"{{records_per_day: {most}}}")
    parts.policy = make_policy(parts.folder, text)
    parts.vault = Vault(parts.store, parts.seals, parts.policy, parts.audit, parts.clock)


def said(parts: Parts) -> Counter[tuple[str, str | None, int]]:
    """What the log says of `slow`: action, why it was refused, and of how many records."""
    return Counter(
        (entry["action"], entry.get("why"), entry["counts"]["asked"])
        for entry in parts.entries()
        if entry["principal"] == "slow"
    )


def test_two_processes_of_eight_threads_get_what_there_is_and_no_more(either: Parts) -> None:
    limited(either, A_DAY)
    command = [sys.executable, "-m", "pii_pipeline_tests.unit.vault.spender", either.url, str(either.folder)]
    running = [
        subprocess.Popen([*command, "8", "10"], stdout=subprocess.PIPE, text=True, cwd=project_root())
        for _ in range(2)
    ]
    told = [int(process.communicate(timeout=300)[0]) for process in running]
    assert sum(told) == A_DAY
    assert said(either) == {("read", None, 1): A_DAY, ("refused", "limit", 1): 160 - A_DAY}
    assert either.audit.verify().broken is None


class Spending:
    """Passes everything on; spending waits until it may, or fails."""

    def __init__(self, store: object) -> None:
        self._store = store
        self.begun, self.may = threading.Event(), threading.Event()
        self.amounts: list[int] = []
        self.failure: Exception | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def spend(self, allowances: Sequence[Allowance], amount: int) -> Allowance | None:
        self.begun.set()
        assert self.may.wait(30)
        self.amounts.append(amount)
        if self.failure is not None and amount > 1:
            raise self.failure
        return self._store.spend(allowances, amount)  # type: ignore[attr-defined]


def at_once(parts: Parts, spending: Spending, sizes: Sequence[int]) -> list[str]:
    """What came of reads of so many records, in that order, each "read" or why not: the first of them spends
    while the others wait for it."""
    vault = Vault(spending, parts.seals, parts.policy, parts.audit, parts.clock)  # type: ignore[arg-type]
    behind = vault._spending["slow"]

    def read(size: int) -> str:
        try:
            vault.read("slow", SUPPORT, [ip(number) for number in range(size)])
        except VaultRefused as refused:
            return refused.why
        except VaultUnavailable:
            return "unavailable"
        except ValueError:
            return "failed"
        return "read"

    with ThreadPoolExecutor(len(sizes)) as threads:
        running = []
        for position, size in enumerate(sizes):
            running.append(threads.submit(read, size))
            assert spending.begun.wait(30)
            deadline = time.monotonic() + 30
            while behind.waiting < position and time.monotonic() < deadline:
                time.sleep(0.002)
        spending.may.set()
        return [one.result() for one in running]


def test_those_that_wait_spend_at_once(parts: Parts) -> None:
    limited(parts, 20)
    spending = Spending(parts.store)
    assert at_once(parts, spending, [1, 2, 3, 4]) == ["read"] * 4
    assert spending.amounts == [1, 9]
    day = Allowance("slow", "2026-11-23", 20)
    assert parts.store.spend([day], 11) == day
    assert parts.store.spend([day], 10) is None


def test_where_there_is_not_enough_for_all_those_get_it_for_whom_there_is(parts: Parts) -> None:
    limited(parts, 10)
    spending = Spending(parts.store)
    assert at_once(parts, spending, [1, 5, 6, 4, 1]) == ["read", "read", "limit", "read", "limit"]
    assert spending.amounts == [1, 16, 5, 6, 4, 1]
    assert said(parts) == {
        ("read", None, 1): 1,
        ("read", None, 5): 1,
        ("read", None, 4): 1,
        ("refused", "limit", 6): 1,
        ("refused", "limit", 1): 1,
    }


@pytest.mark.parametrize(
    ("failure", "answers"),
    [
        (VaultUnavailable("no answer"), ["read", "unavailable", "unavailable", "unavailable"]),
        (ValueError("of one of them"), ["read", "read", "failed", "read"]),
    ],
)
def test_what_fails_for_one_fails_for_those_for_whom_it_is_true(
    parts: Parts, failure: Exception, answers: list[str]
) -> None:
    limited(parts, 20)
    spending = Spending(parts.store)
    spending.failure = failure
    assert at_once(parts, spending, [1, 1, 2, 1]) == answers
