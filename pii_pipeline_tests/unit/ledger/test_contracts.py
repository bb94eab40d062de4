"""The contracts that the ledger knows as having been active."""

import sqlalchemy as sa

from pii_pipeline.ledger import Ledger, tables

FIRST, SECOND = "acme/shop/1.0.0", "acme/shop/1.1.0"


def test_what_was_remembered_first_stays(ledger: Ledger):
    assert ledger.active_contracts() == {}
    first = ledger.remember_contracts({FIRST: "a"})
    assert first[FIRST].digest == "a"
    assert ledger.remember_contracts({FIRST: "a"}) == first
    assert ledger.remember_contracts({FIRST: "b"}) == first
    assert ledger.active_contracts() == first


def test_where_one_is_known_as_another_nothing_is_remembered_of_the_others(ledger: Ledger):
    first = ledger.remember_contracts({FIRST: "a"})
    assert ledger.remember_contracts({FIRST: "b", SECOND: "c"}) == first
    assert ledger.active_contracts() == first
    both = ledger.remember_contracts({FIRST: "a", SECOND: "c"})
    assert {name: known.digest for name, known in both.items()} == {FIRST: "a", SECOND: "c"}
    assert both[FIRST] == first[FIRST], "and since when"


def test_a_ledger_of_an_earlier_release_knows_none_and_gets_the_table(ledger: Ledger, engine: sa.Engine):
    tables.contracts.drop(engine)
    assert ledger.active_contracts() == {}
    assert not sa.inspect(engine).has_table(tables.contracts.name), "asking makes nothing"
    ledger.create_all()
    assert ledger.remember_contracts({FIRST: "a"}).keys() == {FIRST}
