"""Commits of several batches hold their rows in one file, and in their own again; what nobody holds goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from pii_pipeline.database import connect
from pii_pipeline.ledger import (
    PSEUDONYMIZED_EVENTS,
    VALIDATED_EVENTS,
    CommittedFile,
    ConservationError,
    Lease,
    LeaseLost,
    Ledger,
    Part,
    SharedFile,
    StaleFiles,
    tables,
)
from pii_pipeline_tests.unit.ledger.examples import HOUR, NEXT_HOUR, pseudonymize, sealed, validate

LATER, AT_ONCE = timedelta(hours=1), timedelta(0)
PATH = "logins/pseudonymized_events/together.parquet"


@pytest.fixture
def lake(ledger: Ledger) -> list[Part]:
    """What the lake's files of three batches hold."""
    for batch in sealed(ledger, "a", "b", "c"):
        validate(ledger, batch)
        pseudonymize(ledger, batch)
    return in_lake(ledger)


def in_lake(ledger: Ledger) -> list[Part]:
    return [part for part in ledger.parts("logins", HOUR) if part.layer == PSEUDONYMIZED_EVENTS]


def together(parts: Sequence[Part]) -> list[Part]:
    """The same rows in one file."""
    file = CommittedFile(PSEUDONYMIZED_EVENTS, PATH, 250, 8)
    return [replace(part, file=replace(file, first_row=8 * at)) for at, part in enumerate(parts)]


def exchange(ledger: Ledger, before: Sequence[Part], after: Sequence[Part], grace: timedelta = LATER) -> None:
    with ledger.lease("logins", HOUR) as lease:
        ledger.exchange("logins", HOUR, before, after, lease, grace)


def removed(ledger: Ledger, layer: str | None = None) -> list[tuple[str, str]]:
    """The files that are deleted now."""
    gone: list[tuple[str, str]] = []
    with ledger.lease("logins", HOUR) as lease:
        number = ledger.remove_unheld(
            "logins", HOUR, lease, lambda dataset, path: gone.append((dataset, path)), layer
        )
    assert number >= len(gone)
    return gone


def test_parts_are_those_of_the_commits_in_order(ledger: Ledger, lake: list[Part]) -> None:
    assert [(part.number, part.position, part.fingerprint) for part in lake] == [
        (1, 0, "p1"),
        (2, 0, "p1"),
        (3, 0, "p1"),
    ]
    for part in lake:
        commit = ledger.commit_of(part.batch_id, PSEUDONYMIZED_EVENTS)
        assert commit is not None
        assert commit.files == (part.file,)
    validated = [part for part in ledger.parts("logins", HOUR) if part.layer == VALIDATED_EVENTS]
    assert [(part.number, part.position) for part in validated] == [
        (number, position) for number in (1, 2, 3) for position in (0, 1)
    ]
    assert ledger.parts("logins", NEXT_HOUR) == []


def test_files_are_exchanged_all_at_once_and_nothing_else_changes(ledger: Ledger, lake: list[Part]) -> None:
    commits = [ledger.commit_of(part.batch_id, PSEUDONYMIZED_EVENTS) for part in lake]
    contents = ledger.contents("logins", HOUR)
    exchange(ledger, lake, together(lake))
    assert ledger.files("logins", PSEUDONYMIZED_EVENTS) == [PATH], "read once"
    for at, (part, commit) in enumerate(zip(lake, commits, strict=True)):
        assert commit is not None
        file = CommittedFile(PSEUDONYMIZED_EVENTS, PATH, 250, 8, 8 * at)
        assert file.span == range(8 * at, 8 * at + 8)
        assert ledger.commit_of(part.batch_id, PSEUDONYMIZED_EVENTS) == replace(commit, files=(file,))
    assert ledger.contents("logins", HOUR) == contents
    (status,) = ledger.status("logins")
    lake_status = status.layers[PSEUDONYMIZED_EVENTS]
    assert (lake_status.files, lake_status.bytes, lake_status.committed) == (1, 250, 3)
    assert status.layers[VALIDATED_EVENTS].files == 6
    assert status.layers[VALIDATED_EVENTS].bytes == 600
    exchange(ledger, together(lake), lake)
    assert in_lake(ledger) == lake


def test_some_of_a_shared_file_leave_it_to_the_others(ledger: Ledger, lake: list[Part]) -> None:
    exchange(ledger, lake, together(lake))
    exchange(ledger, together(lake)[:1], lake[:1], AT_ONCE)
    assert ledger.files("logins", PSEUDONYMIZED_EVENTS) == [lake[0].file.path, PATH]
    assert removed(ledger) == [], "the others hold it"


def test_an_exchange_that_was_done_is_done(ledger: Ledger, lake: list[Part]) -> None:
    for _ in range(2):  # as when the answer to the first was lost
        exchange(ledger, lake, together(lake))
    assert in_lake(ledger) == together(lake)


@pytest.mark.parametrize("change", ["made again", "exchanged", "never there"])
def test_files_that_are_not_held_any_more_are_not_exchanged(
    ledger: Ledger, lake: list[Part], change: str
) -> None:
    before = list(lake)
    if change == "made again":
        (batch, *_) = ledger.batches("logins", HOUR)
        pseudonymize(ledger, batch, "p2")
    elif change == "exchanged":
        other = [replace(part, file=replace(part.file, path=f"{part.file.path}.other")) for part in lake]
        exchange(ledger, lake, other)
    else:
        before = [replace(lake[0], batch_id="logins-none"), *lake[1:]]
    now = in_lake(ledger)
    with pytest.raises(StaleFiles):
        exchange(ledger, before, together(before))
    assert in_lake(ledger) == now


def test_no_row_is_lost_in_an_exchange(ledger: Ledger, lake: list[Part]) -> None:
    after = together(lake)
    fewer = [replace(after[0], file=replace(after[0].file, rows=7)), *after[1:]]
    for wrong in (fewer, after[1:], [after[1], after[0], after[2]]):
        with pytest.raises(ConservationError):
            exchange(ledger, lake, wrong)
    assert in_lake(ledger) == lake


def test_who_has_lost_the_hour_exchanges_nothing(engine: sa.Engine, ledger: Ledger, lake: list[Part]) -> None:
    lost = Lease(engine, f"logins {HOUR}", "somebody", timedelta(seconds=60))
    lost.acquire()
    lost.release()
    with pytest.raises(LeaseLost):
        ledger.exchange("logins", HOUR, lake, together(lake), lost, LATER)
    with pytest.raises(LeaseLost):
        ledger.announce("logins", HOUR, PSEUDONYMIZED_EVENTS, [lake[0].file], lost)
    assert in_lake(ledger) == lake
    exchange(ledger, lake, together(lake), AT_ONCE)
    with pytest.raises(LeaseLost):
        ledger.remove_unheld("logins", HOUR, lost, lambda *_: pytest.fail("deleted"))


def test_a_batch_of_a_shared_file_is_not_made_again_before_it_has_its_own(
    ledger: Ledger, lake: list[Part]
) -> None:
    exchange(ledger, lake, together(lake))
    (batch, *_) = ledger.batches("logins", HOUR)
    with pytest.raises(SharedFile, match=batch.id):
        pseudonymize(ledger, batch, "p2")
    assert in_lake(ledger) == together(lake)
    exchange(ledger, together(lake), lake)
    assert pseudonymize(ledger, batch, "p2").superseded == (lake[0].file,)


def test_old_files_go_when_their_time_has_come(ledger: Ledger, lake: list[Part]) -> None:
    exchange(ledger, lake, together(lake), LATER)
    assert removed(ledger) == []
    assert ledger.hours_with_unheld("logins") == []
    assert removed(ledger, VALIDATED_EVENTS) == []
    assert removed(ledger, PSEUDONYMIZED_EVENTS) == [
        (PSEUDONYMIZED_EVENTS, part.file.path) for part in lake
    ], "at once, if they are asked for by their layer"
    exchange(ledger, together(lake), lake, AT_ONCE)
    assert ledger.hours_with_unheld("logins") == [HOUR]
    assert ledger.hours_with_unheld("webshop") == []
    assert removed(ledger) == [(PSEUDONYMIZED_EVENTS, PATH)]
    assert removed(ledger) == []
    assert ledger.hours_with_unheld("logins") == []


def test_a_file_that_is_held_again_stays(ledger: Ledger, lake: list[Part]) -> None:
    exchange(ledger, lake, together(lake), AT_ONCE)
    exchange(ledger, together(lake), lake, AT_ONCE)
    assert removed(ledger) == [(PSEUDONYMIZED_EVENTS, PATH)]
    (first, *others) = lake
    elsewhere = replace(first, file=replace(first.file, path="elsewhere.parquet"))
    exchange(ledger, [first], [elsewhere], AT_ONCE)
    (batch, *_) = ledger.batches("logins", HOUR)
    pseudonymize(ledger, batch, "p1")  # has its old name, by a commit
    assert in_lake(ledger) == [first, *others]
    assert removed(ledger) == [(PSEUDONYMIZED_EVENTS, "elsewhere.parquet")], "what the commit replaced"


def test_a_file_that_could_not_be_deleted_is_tried_again(ledger: Ledger, lake: list[Part]) -> None:
    exchange(ledger, lake, together(lake), AT_ONCE)

    def fail(dataset: str, path: str) -> None:
        raise OSError(dataset, path)

    with ledger.lease("logins", HOUR) as lease, pytest.raises(OSError, match=PSEUDONYMIZED_EVENTS):
        ledger.remove_unheld("logins", HOUR, lease, fail)
    assert len(removed(ledger)) == 3


def test_an_announced_file_goes_unless_it_comes_to_an_exchange(
    engine: sa.Engine, ledger: Ledger, lake: list[Part]
) -> None:
    with ledger.lease("logins", HOUR) as lease:
        for _ in range(2):
            ledger.announce("logins", HOUR, PSEUDONYMIZED_EVENTS, [together(lake)[0].file], lease)
    exchange(ledger, lake, together(lake))
    assert removed(ledger) == []
    with ledger.lease("logins", HOUR) as lease:
        ledger.announce("logins", HOUR, PSEUDONYMIZED_EVENTS, [replace(lake[0].file, path="new")], lease)
    assert removed(ledger) == [(PSEUDONYMIZED_EVENTS, "new")]
    # Whatever is written there: what a commit holds is never deleted.
    with engine.begin() as connection:
        connection.execute(
            sa.insert(tables.unheld_files).values(
                path=PATH,
                stream="logins",
                hour=HOUR,
                layer=PSEUDONYMIZED_EVENTS,
                dataset=PSEUDONYMIZED_EVENTS,
                delete_after=tables.now(connection),
            )
        )
    assert removed(ledger) == []


def test_fragments_are_several_small_files_of_an_hour_that_is_over(
    engine: sa.Engine, ledger: Ledger, lake: list[Part]
) -> None:
    both = [(HOUR, name) for name in ("bad_events", PSEUDONYMIZED_EVENTS, VALIDATED_EVENTS)]
    assert ledger.fragments("logins", HOUR, 101) == both
    assert ledger.fragments("logins", NEXT_HOUR, 101) == both
    assert ledger.fragments("logins", HOUR, 100) == [], "each file has 100 bytes"
    assert ledger.fragments("logins", "2026-11-22T09", 101) == []
    assert ledger.fragments("webshop", HOUR, 101) == []
    exchange(ledger, lake, together(lake))
    assert ledger.fragments("logins", HOUR, 1000) == [both[0], both[2]], "one file, of three batches"
    other = [replace(part, file=replace(part.file, columns=part.batch_id)) for part in lake]
    exchange(ledger, together(lake), lake)
    with engine.begin() as connection:
        for part in other:
            here = tables.files.c.path == part.file.path
            connection.execute(sa.update(tables.files).where(here).values(columns=part.file.columns))
    assert in_lake(ledger) == other
    assert ledger.fragments("logins", HOUR, 1000) == [both[0], both[2]], "with columns of its own each"


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────


def announced(ledger: Ledger, *paths: str) -> list[str]:
    """The names that new files get which were to have these."""
    files = [CommittedFile(PSEUDONYMIZED_EVENTS, path, 100, 8) for path in paths]
    with ledger.lease("logins", HOUR) as lease:
        named = ledger.announce("logins", HOUR, PSEUDONYMIZED_EVENTS, files, lease)
    assert [replace(file, path="") for file in named] == [replace(file, path="") for file in files]
    return [file.path for file in named]


def test_others_write_while_files_are_deleted(ledger: Ledger, database_url: str, lake: list[Part]) -> None:
    exchange(ledger, lake, together(lake), AT_ONCE)
    engine = connect(database_url)
    other = Ledger(engine)
    gone = []

    def delete(dataset: str, path: str) -> None:
        sealed(other, path, hour=NEXT_HOUR)  # waits for a minute, and fails, where a transaction is open
        gone.append(path)

    with ledger.lease("logins", HOUR) as lease:
        assert ledger.remove_unheld("logins", HOUR, lease, delete) == 3
    assert gone == [part.file.path for part in lake]
    assert len(other.batches("logins", NEXT_HOUR)) == 3
    engine.dispose()


def test_while_a_file_is_deleted_no_other_gets_its_name(engine: sa.Engine, ledger: Ledger) -> None:
    assert announced(ledger, "a.parquet", "b.parquet") == ["a.parquet", "b.parquet"]
    assert announced(ledger, "a.parquet") == ["a.parquet"], "a retry takes it over"
    names = []

    def delete(dataset: str, path: str) -> None:
        """By who is overtaken meanwhile."""
        with engine.begin() as connection:
            connection.execute(sa.delete(tables.leases))
        names.append(announced(ledger, path))

    with ledger.lease("logins", HOUR) as lease:
        ledger.remove_unheld("logins", HOUR, lease, delete)
    assert names == [["a-2.parquet"], ["b-2.parquet"]]
    assert announced(ledger, "a.parquet") == ["a.parquet"], "who deleted it has said that it is done"


def test_a_name_is_lost_if_who_was_deleting_the_file_may_be_at_it_still(ledger: Ledger) -> None:
    announced(ledger, "a.parquet")

    def fail(dataset: str, path: str) -> None:
        raise OSError(path)

    for _ in range(2):
        with ledger.lease("logins", HOUR) as lease, pytest.raises(OSError, match=r"a\.parquet"):
            ledger.remove_unheld("logins", HOUR, lease, fail)
    assert removed(ledger) == [(PSEUDONYMIZED_EVENTS, "a.parquet")]
    assert removed(ledger) == removed(ledger, PSEUDONYMIZED_EVENTS) == []
    assert ledger.hours_with_unheld("logins") == []
    assert announced(ledger, "a.parquet") == ["a-2.parquet"]
    assert removed(ledger) == [(PSEUDONYMIZED_EVENTS, "a-2.parquet")]
    assert announced(ledger, "a.parquet") == ["a-2.parquet"]


def test_what_comes_after_its_deletion_is_deleted_once_more(ledger: Ledger, lake: list[Part]) -> None:
    late = [CommittedFile(PSEUDONYMIZED_EVENTS, path, 100, 8) for path in ("a.parquet", "b.parquet")]

    def disown() -> None:
        ledger.disown("logins", HOUR, PSEUDONYMIZED_EVENTS, [*late, lake[0].file])

    expected = [(PSEUDONYMIZED_EVENTS, file.path) for file in late]
    announced(ledger, "a.parquet")
    disown()
    assert removed(ledger) == expected, "what a commit holds stays"
    with ledger.lease("logins", HOUR) as lease:
        disown()
        ledger.remove_unheld("logins", HOUR, lease, lambda *_: disown())
    assert removed(ledger) == expected, "also if it came while it was deleted"
    disown()
    assert removed(ledger) == expected, "or when its name was lost"
    assert removed(ledger) == []
    assert in_lake(ledger) == lake


def test_what_a_commit_replaces_goes_however_that_ends(ledger: Ledger, lake: list[Part]) -> None:
    (batch, *_) = ledger.batches("logins", HOUR)
    assert pseudonymize(ledger, batch, "p2").superseded == (lake[0].file,)
    assert ledger.hours_with_unheld("logins") == [HOUR]
    assert removed(ledger) == [(PSEUDONYMIZED_EVENTS, lake[0].file.path)]
