"""Whatever is done to the audit log in its database, its verification finds it, and where."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, text

from pii_pipeline.vault.anchors import open_anchors
from pii_pipeline.vault.audit import Action, AuditLog, Event
from pii_pipeline.vault.chain import AuditKey, canonical, next_hash
from pii_pipeline.vault.errors import AuditBroken
from pii_pipeline.vault.stores import Entry, open_store
from pii_pipeline.vault.verify import Verification
from pii_pipeline_tests.unit.vault.examples import KEY, Parts, ip

ENTRIES = 12


@pytest.fixture
def log(either: Parts) -> Parts:
    """Twelve entries, of which anchors hold the first two (the policy's and ours) and the tenth."""
    fill(either, 1)
    fill(either, 8)
    anchor(either)
    fill(either, ENTRIES - 10)
    return either


def fill(parts: Parts, count: int) -> None:
    for number in range(count):
        parts.audit.record(Event(Action.DELETE, "operator", keys=[ip(number)], counts={"asked": 1}))
    parts.audit.close()  # the first entry's anchor is there


def anchor(parts: Parts) -> None:
    parts.clock.goes_on(301)
    parts.audit.tick()


@contextmanager
def database(parts: Parts) -> Iterator[Connection]:
    engine = create_engine(parts.url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def change(parts: Parts, *statements: str, **values: object) -> None:
    with database(parts) as connection:
        for statement in statements:
            connection.execute(text(statement), values)


def rows(parts: Parts) -> list[Entry]:
    return list(parts.store.entries())


def write(connection: Connection, entry: Entry) -> None:
    connection.execute(text("DELETE FROM vault_audit WHERE sequence = :sequence"), entry._asdict())
    statement = (
        "INSERT INTO vault_audit (sequence, text, hash, seal, writer)"
        " VALUES (:sequence, :text, :hash, :seal, :writer)"
    )
    connection.execute(text(statement), {**entry._asdict(), "writer": bytes(16)})


def said(entry: Entry, **other: object) -> str:
    """The text of an entry with something else in it."""
    return canonical({**json.loads(entry.text), **other})


def verified(parts: Parts) -> Verification:
    return parts.again().verify()


def assert_broken(parts: Parts, sequence: int, problem: str) -> None:
    found = verified(parts)
    assert found.broken is not None, "nothing was found"
    assert (found.broken.sequence, found.entries) == (sequence, sequence - 1), str(found.broken)
    assert problem in str(found.broken)


def test_a_log_that_is_as_it_was_written_verifies_and_the_gap_is_stated(log):
    found = verified(log)
    assert (found.entries, found.broken, found.unanchored) == (ENTRIES, None, 2)
    assert found.anchored == (10, log.clock.now.replace(microsecond=0))


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        ('text = replace(text, \'"principal":"\', \'"principal":"x\')', "edited"),
        ("text = replace(text, '2026', '2025')", "edited"),
        ("text = text || ' '", "edited"),
        ("text = 'no entry'", "another entry stands in its place"),
        ("text = replace(text, '\"number\":', '\"numbers\":')", "another entry stands in its place"),
        ("hash = :other", "edited"),
        ("seal = :other", "its seal is another"),
    ],
)
def test_an_edit_of_any_column_of_any_entry_is_found(log, edit, problem):
    edit = edit.replace(":'", "\\:'").replace(':"', '\\:"')  # a colon that names no value
    before = rows(log)
    for number in (1, 5, ENTRIES):
        values = {"number": number, "other": bytes(32)}
        change(log, f"UPDATE vault_audit SET {edit} WHERE sequence = :number", **values)
        assert_broken(log, number, problem)
        with database(log) as connection:
            write(connection, before[number - 1])
        assert verified(log).broken is None


@pytest.mark.parametrize("number", [1, 5])
def test_a_number_that_was_changed_leaves_a_gap(log, number):
    change(log, "UPDATE vault_audit SET sequence = sequence + 100 WHERE sequence = :number", number=number)
    assert_broken(log, number, "missing")


@pytest.mark.parametrize("number", [1, 2, 5, 10])
def test_an_entry_that_was_deleted_is_missed(log, number):
    change(log, "DELETE FROM vault_audit WHERE sequence = :number", number=number)
    assert_broken(log, number, "missing")


def test_entries_that_close_the_gap_of_a_deleted_one_are_found(log):
    renumber = "UPDATE vault_audit SET sequence = sequence - 1 WHERE sequence = {}"
    later = [renumber.format(number) for number in range(6, ENTRIES + 1)]
    change(log, "DELETE FROM vault_audit WHERE sequence = 5", *later)
    assert_broken(log, 5, "another entry stands in its place")


@pytest.mark.parametrize("with_numbers", [False, True])
def test_two_entries_that_were_swapped_are_found(log, with_numbers):
    before = rows(log)
    one, other = before[3], before[6]
    texts = (one.text, other.text)
    if with_numbers:  # so that each text says the number it is under now
        texts = said(one, number=7), said(other, number=4)
    with database(log) as connection:
        write(connection, Entry(7, texts[0], one.hash, one.seal))
        write(connection, Entry(4, texts[1], other.hash, other.seal))
    assert_broken(log, 4, "edited" if with_numbers else "another entry stands in its place")


def test_an_entry_that_was_put_in_is_found(log):
    before = rows(log)
    forged = said(before[4], principal="auditor", number=6)
    with database(log) as connection:
        for entry in reversed(before[5:]):
            write(connection, Entry(entry.sequence + 1, entry.text, entry.hash, entry.seal))
        hash_ = next_hash(before[4].hash, forged)
        write(connection, Entry(6, forged, hash_, before[5].seal))
    assert_broken(log, 6, "its seal is another")


def test_an_entry_at_the_end_that_nobody_with_the_key_made_is_found(log):
    last = rows(log)[-1]
    forged = said(last, number=ENTRIES + 1)
    with database(log) as connection:
        write(connection, Entry(ENTRIES + 1, forged, next_hash(last.hash, forged), last.seal))
    assert_broken(log, ENTRIES + 1, "its seal is another")


def rebuild(parts: Parts, first: int, key: bytes | None, rewrite: Callable[[Entry], str]) -> None:
    """All entries from `first` on, chained anew; sealed with `key`, or as they were."""
    before = rows(parts)
    previous = before[first - 2].hash
    with database(parts) as connection:
        for entry in before[first - 1 :]:
            changed = rewrite(entry)
            previous = next_hash(previous, changed)
            seal = AuditKey(key).seal(previous) if key else entry.seal
            write(connection, Entry(entry.sequence, changed, previous, seal))


@pytest.mark.parametrize("key", [None, bytes(32)])
def test_a_tail_that_was_made_anew_without_the_key_is_found(log, key):
    rebuild(log, 8, key, lambda entry: said(entry, principal="auditor"))
    assert_broken(log, 8, "its seal is another")


def test_a_tail_that_was_made_anew_with_the_key_is_found_by_the_anchor_behind_it(log):
    rebuild(log, 8, KEY, lambda entry: said(entry, principal="auditor"))
    assert_broken(log, 3, "from it to entry 10 the log is another than the one that was anchored")


def test_what_was_made_anew_with_the_key_behind_the_last_anchor_is_the_gap(log):
    rebuild(log, 11, KEY, lambda entry: said(entry, principal="auditor"))
    found = verified(log)
    assert found.broken is None and found.unanchored == 2


@pytest.mark.parametrize(("first", "missed"), [(3, 3), (10, 10)])
def test_a_log_that_was_cut_before_an_anchor_is_found(log, first, missed):
    change(log, "DELETE FROM vault_audit WHERE sequence >= :first", first=first)
    assert_broken(log, missed, "entry 10 was there when it was anchored at 2026-11-23 09:35:16 UTC")


def test_a_log_that_was_emptied_is_found(log):
    change(log, "DELETE FROM vault_audit", "DELETE FROM vault_anchor")
    assert_broken(log, 1, "the log was cut")


def test_a_log_that_was_cut_behind_the_last_anchor_is_within_the_stated_gap(log):
    change(log, "DELETE FROM vault_audit WHERE sequence > 10")
    found = verified(log)
    assert (found.entries, found.broken, found.unanchored) == (10, None, 0)


def test_who_cuts_the_log_under_a_running_vault_stops_it(log):
    change(log, "DELETE FROM vault_audit WHERE sequence > 10")
    for _ in range(2):
        with pytest.raises(AuditBroken, match="the log was cut or replaced"):
            log.audit.record(Event(Action.DELETE, "operator"))
    log.clock.goes_on(1_000)
    with pytest.raises(AuditBroken, match=f"audit entry {ENTRIES}: "):
        log.audit.tick()
    assert len(rows(log)) == 10


def test_a_cut_log_that_went_on_is_found_by_the_anchor(log):
    change(log, "DELETE FROM vault_audit WHERE sequence > 7")
    log.clock.goes_on(1)
    other = log.again()
    for _ in range(6):
        other.record(Event(Action.DELETE, "operator"))
    other.close()
    # It has anchors of its own, which say nothing of the time before.
    assert len(list(log.anchors.all())) > 2
    assert_broken(log, 3, "from it to entry 10 the log is another")


def test_no_anchor_is_written_of_an_entry_that_nobody_with_the_key_made(log):
    last = rows(log)[-1]
    forged = said(last, number=ENTRIES + 1)
    with database(log) as connection:
        write(connection, Entry(ENTRIES + 1, forged, next_hash(last.hash, forged), last.seal))
    log.clock.goes_on(1_000)
    with pytest.raises(AuditBroken, match=f"audit entry {ENTRIES + 1}: its seal is another"):
        log.again().tick()
    assert len(list(log.anchors.all())) == 2


def test_what_the_database_says_of_anchors_does_not_keep_them_from_being_written(log):
    for said in "sequence = 1000000", "at = '9999-12-31'":
        change(log, f"UPDATE vault_anchor SET {said}")
        log.clock.goes_on(301)
        fill(log, 1)
        for _ in range(3):
            log.audit.tick()
    assert [found.sequence for found in log.anchors.all()] == [2, 10, 13, 14], "and not at every tick"


def test_a_last_anchor_that_was_deleted_is_missed(log):
    last = [*log.anchors.all()][-1]
    (log.folder / "anchors" / last.name).unlink()
    assert_broken(log, 3, "entry 10 was anchored, and its anchor is not there")


def test_an_anchor_that_nobody_with_the_key_made_says_nothing(log):
    genuine = [*log.anchors.all()][-1]
    folder = log.folder / "anchors"
    for name in (
        genuine.name.replace(genuine.hash.hex(), bytes(32).hex()),
        genuine.name.replace("00010_", "00011_"),
        genuine.name.replace("_2026", "_2027"),
        "no anchor.json",
        genuine.name.replace("_20261123T", "_20261399T"),
    ):
        (folder / name).write_bytes(b"")
    found = verified(log)
    assert (found.broken, found.anchored and found.anchored[0]) == (None, 10)


def test_an_older_copy_of_the_database_is_found(tmp_path: Path, parts: Parts):
    fill(parts, 5)
    parts.store.close()
    file = tmp_path / "vault.db"
    shutil.copy(file, tmp_path / "old.db")
    fill(parts, 5)
    anchor(parts)
    parts.store.close()
    for extra in ("vault.db-wal", "vault.db-shm"):
        (tmp_path / extra).unlink(missing_ok=True)
    shutil.copy(tmp_path / "old.db", file)
    assert_broken(parts, 7, "entry 11 was there when it was anchored")
    with pytest.raises(AuditBroken, match="the log was cut or replaced"):
        parts.audit.record(Event(Action.DELETE, "operator"))


def test_a_database_that_was_replaced_by_that_of_another_vault_is_found(tmp_path: Path, parts: Parts):
    fill(parts, 5)
    anchor(parts)
    other = AuditLog(
        open_store(f"sqlite:///{tmp_path / 'other.db'}"),
        KEY,
        parts.policy,
        open_anchors((tmp_path / "elsewhere").as_uri(), parts.policy.anchor_retention),
        parts.clock,
    )
    for number in range(8):
        other.record(Event(Action.DELETE, "operator", keys=[ip(number)], counts={"asked": 1}))
    other.close()
    swapped = AuditLog(open_store(f"sqlite:///{tmp_path / 'other.db'}"), KEY, parts.policy, parts.anchors)
    found = swapped.verify()
    assert found.broken is not None and found.broken.sequence == 1


def test_a_log_that_another_installation_made_is_not_gone_on_with(log: Parts):
    before = rows(log)
    other = AuditLog(
        open_store(log.url), b"another installation's audit key", log.policy, log.anchors, log.clock
    )
    with pytest.raises(AuditBroken, match="another installation made it") as refused:
        other.record(Event(Action.DELETE, "operator", keys=[ip(1)], counts={"asked": 1}))
    assert refused.value.sequence == ENTRIES and rows(log) == before
    assert (
        log.again().record(Event(Action.DELETE, "operator", keys=[ip(1)], counts={"asked": 1})) == ENTRIES + 1
    )
    assert log.audit.verify().broken is None


def test_no_log_is_begun_beside_the_anchors_of_another(log: Parts, tmp_path: Path):
    store = open_store(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(AuditBroken, match="PII_VAULT_URL is another database"):
        AuditLog(store, KEY, log.policy, log.anchors, log.clock).record(Event(Action.LOAD, "pipeline"))
    assert store.last_entry() is None and log.audit.verify().broken is None
    elsewhere = open_anchors((tmp_path / "new").as_uri(), log.policy.anchor_retention)
    again = AuditLog(store, KEY, log.policy, elsewhere, log.clock)
    assert again.record(Event(Action.LOAD, "pipeline")) == 2
    again.close()
    store.close()
