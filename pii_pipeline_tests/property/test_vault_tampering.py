"""Whatever somebody writes into the vault's tables, of whatever type: the audit log is found broken at that
entry, a record or consent counts as tampered with, and nothing fails in another way.

SQLite, whose columns take values of any type once a table is made anew without constraints: as nobody does
but who means harm.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pii_pipeline.vault.audit import Action, Event
from pii_pipeline.vault.errors import AuditBroken, TamperedRow, VaultRefused
from pii_pipeline.vault.model import Consent, LawfulBasis, NewRecord, Reason, Withheld
from pii_pipeline.vault.stores import Allowance
from pii_pipeline_tests.unit.vault.examples import ANN, MONDAY, Parts, ip, make

ENTRIES = 6
TABLES = ("vault_audit", "vault_records", "vault_consents", "vault_spent", "vault_anchor")
KEYS = {
    "vault_records": "stream, field, pseudonym, subject, digest",
    "vault_spent": 'principal, "window"',
    "vault_anchor": "id",
}
"""That those who write need: entries of the log would collide where they are altered."""
CONSENTED = Reason(LawfulBasis.CONSENT, "support")
NOT_UTF_8 = "CAST(x'ff00fe' AS TEXT)"

literals = st.one_of(
    st.sampled_from(["NULL", NOT_UTF_8, "9e999", "-9e999", "9223372036854775807", "-1", "0", "''", "x''"]),
    st.sampled_from(["'9999-12-31 23:59:59.999999-23:59'", "'0001-01-01T00:00:00+23:59'", "'infinity'"]),
    st.integers(-(2**63) + 1, 2**63 - 1).map(str),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: number % 1).map(repr),
    st.text(st.characters(codec="utf-8", exclude_characters="\0'")).map(lambda text: f"'{text}'"),
    st.binary(max_size=80).map(lambda data: f"x'{data.hex()}'"),
    st.binary(max_size=20).map(lambda data: f"CAST(x'{data.hex()}' AS TEXT)"),
    st.integers(2**63, 2**400).map(str),
)
"""Values of all of SQLite's types, as it writes them."""


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = make(f"sqlite:///{tmp_path / 'vault.db'}", tmp_path)
    for number in range(ENTRIES - 3):
        parts.audit.record(Event(Action.DELETE, "operator", keys=[ip(number)], counts={"asked": 1}))
    parts.vault.create("operator", [NewRecord(ip(name), name, MONDAY.date(), ANN) for name in ("1", "2")])
    parts.vault.load("pipeline", "b", [], [[Consent(ANN, "logins", frozenset({2}), False, MONDAY)]])
    parts.audit.close()
    assert len(parts.entries()) == ENTRIES
    parts.store.spend([Allowance("slow", "2026-11-23", 5)], 1)
    with closing(sqlite3.connect(tmp_path / "vault.db", isolation_level=None)) as database:
        for table in TABLES:
            database.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")
    yield parts
    parts.store.close()


def mangle(folder: Path, table: str, column: str, where: str, literal: str) -> bool:
    """Writes the value, with the table's other rows as they were; False where it is what was there."""
    with closing(sqlite3.connect(folder / "vault.db", isolation_level=None, timeout=30)) as database:
        database.execute("BEGIN IMMEDIATE")
        columns = [f'"{row[1]}"' for row in database.execute(f"PRAGMA table_info(kept_{table})")]
        database.execute(f"DROP TABLE {table}")
        database.execute(f"CREATE TABLE {table} ({', '.join(columns)})")  # without types or constraints
        database.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")
        if table in KEYS:
            database.execute(f"CREATE UNIQUE INDEX key_of_{table} ON {table} ({KEYS[table]})")
        same = f"CAST({column} AS BLOB) = CAST({literal} AS BLOB)"
        if database.execute(f"SELECT {same} FROM {table} WHERE {where}").fetchone()[0]:
            literal = column  # nothing is changed
        # Where the key is another row's, nothing is changed either.
        changed = database.execute(
            f"UPDATE OR IGNORE {table} SET {column} = {literal} WHERE {where}"
        ).rowcount
        database.execute("COMMIT")
        return changed > 0 and literal != column


def entries_before(literal: str) -> int:
    """How many of the log's entries come before one that has this number."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE number (sequence)")
        database.execute(f"INSERT INTO number VALUES ({literal})")
        below = (
            f"SELECT count(*) FROM number WHERE sequence >= {number}" for number in range(1, ENTRIES + 1)
        )
        return sum(database.execute(query).fetchone()[0] for query in below)


anything = settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@anything
@given(number=st.integers(1, ENTRIES), column=st.sampled_from(["text", "hash", "seal"]), literal=literals)
@example(number=3, column="text", literal=NOT_UTF_8)
@example(number=ENTRIES, column="hash", literal="NULL")
def test_an_entry_with_anything_in_it_is_found(parts: Parts, number: int, column: str, literal: str) -> None:
    if mangle(parts.folder, "vault_audit", column, f"sequence = {number}", literal):
        found = parts.again().verify()
        assert found.broken is not None and found.broken.sequence == number, str(found.broken)
        assert len(list(parts.audit.export())) == ENTRIES


@anything
@given(number=st.integers(1, ENTRIES), literal=literals)
@example(number=ENTRIES, literal=NOT_UTF_8)
@example(number=2, literal="2.5")
@example(number=3, literal="1.5")
@example(number=2, literal="9223372036854775807")
@example(number=2, literal="'3'")
@example(number=1, literal="9e999")
@example(number=1, literal="NULL")
def test_a_number_that_is_anything_is_missed_where_it_was(parts: Parts, number: int, literal: str) -> None:
    if not mangle(parts.folder, "vault_audit", "sequence", f"sequence = {number}", literal):
        return
    found = parts.again().verify()
    before = entries_before(literal)
    if number == ENTRIES and not before:  # as if it were cut off: anchors are there for that
        assert (found.broken, found.entries) == (None, ENTRIES - 1)
    else:
        first = min(number, before + 1) if before else number  # where it is now, or where it was
        assert found.broken is not None and found.broken.sequence == first, str(found.broken)
    assert len(list(parts.audit.export())) <= 2 * ENTRIES
    again = parts.again()
    with suppress(AuditBroken):
        again.record(Event(Action.DELETE, "operator"))
    again.close()


@anything
@given(
    column=st.sampled_from(["subject", "digest", "sealed", "mark", "first_seen", "last_seen"]),
    literal=literals,
    basis=st.sampled_from([CONSENTED, Reason(LawfulBasis.CONTRACT, "support")]),
)
@example(column="sealed", literal="zeroblob(70000)", basis=CONSENTED)
@example(column="first_seen", literal=NOT_UTF_8, basis=CONSENTED)
def test_a_record_with_anything_in_it_keeps_nobody_from_another(
    parts: Parts, column: str, literal: str, basis: Reason
) -> None:
    which = f"pseudonym = x'{ip('1').pseudonym.encode().hex()}'"
    mangle(parts.folder, "vault_records", column, which, literal)
    altered, whole = parts.vault.read("operator", basis, [ip("1"), ip("2")])
    assert whole.originals == ("2",) and whole.withheld is None
    if column in ("digest", "mark"):  # nothing that is read depends on them, but that a mark is one
        assert altered.originals in (("1",), ())
    elif column == "sealed":
        assert (altered.originals, altered.withheld) == ((), Withheld.TAMPERED)
    elif column == "subject":  # of whoever it names now
        assert not altered.originals and altered.withheld is not None
    else:  # a day that is one is not found: days are not sealed
        assert altered.originals == ("1",) or altered.withheld is Withheld.TAMPERED
    assert parts.vault.create("operator", [NewRecord(ip("1"), "1", MONDAY.date(), ANN)])


@anything
@given(column=st.sampled_from(["levels", "cumulative", "at", "rank", "seal"]), literal=literals)
@example(column="levels", literal="'2,99999999999999999999999'")
@example(column="levels", literal="'1,2,3'")
@example(column="cumulative", literal="1")
@example(column="at", literal="'2026-11-30 00:00:00.000000'")
@example(column="rank", literal="x'ffffffffffffffffffffffffffffffffffff'")
def test_a_consent_with_anything_in_it_is_none_and_on_record(parts: Parts, column: str, literal: str) -> None:
    if mangle(parts.folder, "vault_consents", column, "1", literal):
        (found,) = parts.vault.read("operator", CONSENTED, [ip("1")])
        assert (found.originals, found.withheld) == ((), Withheld.NO_CONSENT)
        assert parts.last()["counts"]["tampered_consents"] == 1


@anything
@given(column=st.sampled_from(["spent", "began_at"]), literal=literals)
def test_a_counter_with_anything_in_it_is_a_limit_or_a_number(
    parts: Parts, column: str, literal: str
) -> None:
    mangle(parts.folder, "vault_spent", column, "1", literal)
    try:
        parts.vault.read("slow", Reason(LawfulBasis.CONTRACT, "support"), [ip("1")])
    except VaultRefused as refused:
        assert refused.why == "limit"


@anything
@given(column=st.sampled_from(["sequence", "at"]), literal=literals)
@example(column="sequence", literal=NOT_UTF_8)
@example(column="at", literal="NULL")
def test_what_is_said_of_the_last_anchor_may_be_anything(parts: Parts, column: str, literal: str) -> None:
    mangle(parts.folder, "vault_anchor", column, "1", literal)
    parts.clock.goes_on(301)
    parts.audit.tick()
    try:
        said: Any = parts.store.anchored()
    except TamperedRow:
        said = math.inf, None
    found = parts.again().verify()
    held = max(anchor.sequence for anchor in parts.anchors.all())
    if said[0] > held:
        assert found.broken is not None and found.broken.sequence == held + 1
    else:
        assert found.broken is None
