"""The contracts that the ledger knows as having been active."""

from pathlib import Path

import sqlalchemy as sa

from pii_pipeline.database import connect
from pii_pipeline.ledger import Ledger

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


def test_asking_a_database_without_tables_makes_none(tmp_path: Path):
    engine = connect(f"sqlite:///{tmp_path / 'pii.db'}")
    assert Ledger(engine).active_contracts() == {}
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()
