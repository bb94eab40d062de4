"""The vault that originals are loaded into, as the ledger remembers it."""

from concurrent.futures import ThreadPoolExecutor

from pii_pipeline.ledger import KnownVault, Ledger


def test_the_first_one_stays_until_another_takes_its_place(ledger: Ledger):
    assert ledger.vault() is None
    ledger.adopt_vault(2, "a")
    ledger.adopt_vault(2, "b")
    assert ledger.vault() == KnownVault("a", 2, "a")
    ledger.adopt_vault(9, "c", instead_of="b")
    assert ledger.vault() == KnownVault("a", 2, "a")
    ledger.adopt_vault(1, "c", instead_of="a")
    assert ledger.vault() == KnownVault("c", 1, "c")


def test_later_entries_of_the_same_one_are_remembered(ledger: Ledger):
    ledger.adopt_vault(2, "a")
    ledger.see_vault("a", 7, "seven")
    ledger.see_vault("a", 5, "five")
    ledger.see_vault("b", 8, "eight")
    assert ledger.vault() == KnownVault("a", 7, "seven")


def test_of_many_at_once_one_is_the_first(ledger: Ledger):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: ledger.adopt_vault(number, str(number)), range(1, 9)))
    known = ledger.vault()
    assert known is not None
    assert known.adopted == known.hash == str(known.sequence)
