"""One commit per batch and layer; what replaces it, what it is compared with, what is refused."""

import pytest

from pii_pipeline.ledger import (
    PSEUDONYMIZED_EVENTS,
    VALIDATED_EVENTS,
    Batch,
    Commit,
    ConservationError,
    Ledger,
    StaleHead,
    StaleUpstream,
    UnknownBatch,
    table_layer,
    upstream_of,
)
from pii_pipeline_tests.unit.ledger.examples import (
    HOUR,
    NEXT_HOUR,
    derive,
    file,
    pseudonymize,
    sealed,
    validate,
)


def ids(commits: tuple[Commit, ...]) -> list[str]:
    return [commit.batch_id[-8:] for commit in commits]


def test_a_commit_comes_back_whole(ledger: Ledger) -> None:
    [batch] = sealed(ledger, "a")
    assert ledger.commit_of(batch.id, VALIDATED_EVENTS) is None
    made = validate(ledger, batch)
    assert made.superseded == ()
    found = ledger.commit_of(batch.id, VALIDATED_EVENTS)
    assert found is not None and found == made.commit
    assert found.counts["bad_by_reason"] == {"not_json": 1}
    assert [f.dataset for f in found.files] == ["validated_events", "bad_events"]
    assert ledger.commit_of(batch.id, PSEUDONYMIZED_EVENTS) is None


def test_a_replaced_commit_keeps_its_sequence_and_gives_up_its_files(ledger: Ledger) -> None:
    first, second = sealed(ledger, "a", "b")
    old = validate(ledger, first).commit
    validate(ledger, second)
    again = validate(ledger, first, "v2")
    assert again.commit.sequence == old.sequence == 1
    assert again.superseded == old.files
    assert ledger.files("logins", VALIDATED_EVENTS) == [
        file(first, VALIDATED_EVENTS, "v2").path,
        file(second, VALIDATED_EVENTS, "v1").path,
    ]
    assert validate(ledger, first, "v2").superseded == (), "the same files again are still the commit's"


def test_a_commit_without_files_is_a_commit(ledger: Ledger) -> None:
    [batch] = sealed(ledger, "a")
    counts = {"records": 0, "validated": 0, "bad": 0, "duplicate": 0}
    made = ledger.commit(batch, VALIDATED_EVENTS, "v1", [], counts, 0.0)
    assert ledger.commit_of(batch.id, VALIDATED_EVENTS) == made.commit


def test_a_batch_is_compared_with_all_others_the_first_time_and_the_same_ones_again(ledger: Ledger) -> None:
    a, b, c = sealed(ledger, "a", "b", "c")
    for batch in (b, a):
        validate(ledger, batch)
    earlier = ledger.earlier_commits("logins", VALIDATED_EVENTS, c, HOUR)
    assert (ids(earlier.commits), earlier.head) == (["T10-0002", "T10-0001"], 2)
    validate(ledger, c, expected_head=earlier.head)
    again = ledger.earlier_commits("logins", VALIDATED_EVENTS, a, HOUR)
    assert ids(again.commits) == ["T10-0002"], "not itself, not what came after it"
    validate(ledger, a, "v2", expected_head=again.head)
    assert ids(ledger.earlier_commits("logins", VALIDATED_EVENTS, c, HOUR).commits) == [
        "T10-0002",
        "T10-0001",
    ]


def test_only_hours_within_the_window_and_only_the_own_stream_and_layer(ledger: Ledger) -> None:
    [old] = sealed(ledger, "a")
    new, newest = sealed(ledger, "b", "c", hour=NEXT_HOUR)
    [other] = sealed(ledger, "d", stream="webshop", hour=NEXT_HOUR)
    for batch in (old, new, other):
        validate(ledger, batch)
    pseudonymize(ledger, new)
    earlier = ledger.earlier_commits("logins", VALIDATED_EVENTS, newest, NEXT_HOUR)
    assert (ids(earlier.commits), earlier.head) == (["T11-0001"], 2)
    untouched = ledger.earlier_commits("new_stream", VALIDATED_EVENTS, newest, HOUR)
    assert (untouched.commits, untouched.head) == ((), 0)


def test_a_batch_committed_in_between_makes_the_comparison_stale(ledger: Ledger) -> None:
    a, b, c = sealed(ledger, "a", "b", "c")
    seen = ledger.earlier_commits("logins", VALIDATED_EVENTS, b, HOUR)
    validate(ledger, a)
    with pytest.raises(StaleHead, match="compared with commits up to 0, and 1 are before it"):
        validate(ledger, b, expected_head=seen.head)
    assert ledger.commit_of(b.id, VALIDATED_EVENTS) is None
    assert ledger.files("logins", VALIDATED_EVENTS) == [file(a, VALIDATED_EVENTS, "v1").path]
    seen = ledger.earlier_commits("logins", VALIDATED_EVENTS, b, HOUR)
    validate(ledger, b, expected_head=seen.head)
    # What comes after a batch is none of its business: making it again is not disturbed.
    seen = ledger.earlier_commits("logins", VALIDATED_EVENTS, a, HOUR)
    validate(ledger, c)
    assert validate(ledger, a, "v2", expected_head=seen.head).commit.sequence == 1


def test_two_workers_on_one_batch_do_not_make_each_other_stale(ledger: Ledger) -> None:
    [a] = sealed(ledger, "a")
    one = ledger.earlier_commits("logins", VALIDATED_EVENTS, a, HOUR)
    two = ledger.earlier_commits("logins", VALIDATED_EVENTS, a, HOUR)
    validate(ledger, a, expected_head=one.head)
    assert validate(ledger, a, expected_head=two.head).superseded == ()


def test_a_commit_that_loses_records_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    [batch] = sealed(ledger, "a")
    before = validate(ledger, batch).commit
    lost = {"records": 10, "validated": 9, "bad": 0, "duplicate": 0}
    with pytest.raises(ConservationError, match="10 records ≠ 9 validated"):
        ledger.commit(batch, VALIDATED_EVENTS, "v2", [file(batch, VALIDATED_EVENTS, "v2")], lost, 0.0)
    assert ledger.commit_of(batch.id, VALIDATED_EVENTS) == before
    fewer = {"validated": 7, "pseudonymized": 7, "erased": 0, "expired": 0}
    with pytest.raises(ConservationError, match="7 validated went in, 8 came out upstream"):
        ledger.commit(batch, PSEUDONYMIZED_EVENTS, "p1", [], fewer, 0.0, upstream="v1")
    pseudonymize(ledger, batch)
    more = {"pseudonymized": 7, "admitted": 7, "withheld": 0}
    with pytest.raises(ConservationError, match="7 pseudonymized went in, 6 came out upstream"):
        ledger.commit(batch, "product_analytics", "d1", [], more, 0.0, upstream="p1")
    derive(ledger, batch, "product_analytics")


def test_a_layer_made_from_what_was_replaced_meanwhile_is_refused(ledger: Ledger) -> None:
    [batch] = sealed(ledger, "a")
    with pytest.raises(StaleUpstream):
        pseudonymize(ledger, batch)
    validate(ledger, batch, "v1")
    validate(ledger, batch, "v2")
    with pytest.raises(StaleUpstream, match="made from v1, in force upstream is v2"):
        pseudonymize(ledger, batch, upstream="v1")
    counts = {"validated": 8, "pseudonymized": 8, "erased": 0, "expired": 0}
    with pytest.raises(StaleUpstream, match="made from nothing"):
        ledger.commit(batch, PSEUDONYMIZED_EVENTS, "p1", [], counts, 0.0)
    pseudonymize(ledger, batch, upstream="v2")


def test_a_batch_nobody_sealed_is_refused(ledger: Ledger) -> None:
    with pytest.raises(UnknownBatch):
        validate(ledger, Batch("logins-20261122T10-0009", "logins", HOUR, 9, 1, ()))


def test_a_warehouse_table_follows_its_dataset(ledger: Ledger) -> None:
    [batch] = sealed(ledger, "a")
    validate(ledger, batch)
    pseudonymize(ledger, batch)
    derive(ledger, batch, "marketing")
    of_lake, of_derived = table_layer(PSEUDONYMIZED_EVENTS, "users"), table_layer("marketing", "readers")
    assert (upstream_of(of_lake), upstream_of(of_derived)) == (PSEUDONYMIZED_EVENTS, "marketing")

    ledger.commit(batch, of_lake, "t1", [], {"pseudonymized": 6, "loaded": 6}, 0.1, upstream="p1")
    ledger.commit(batch, of_derived, "t1", [], {"admitted": 4, "loaded": 4}, 0.1, upstream="d1")
    with pytest.raises(ConservationError, match="6 pseudonymized ≠ 5 loaded"):
        ledger.commit(batch, of_lake, "t2", [], {"pseudonymized": 6, "loaded": 5}, 0.1, upstream="p1")
    with pytest.raises(ConservationError, match="3 admitted went in, 4 came out upstream"):
        ledger.commit(batch, of_derived, "t2", [], {"admitted": 3, "loaded": 3}, 0.1, upstream="d1")
    with pytest.raises(StaleUpstream):
        ledger.commit(batch, of_derived, "t2", [], {"admitted": 4, "loaded": 4}, 0.1, upstream="p1")

    [status] = ledger.status()
    assert status.violations() == [] and status.pending(of_lake) == status.pending(of_derived) == 0
    derive(ledger, batch, "marketing", fingerprint="d2")
    [status] = ledger.status()
    assert (status.pending(of_lake), status.pending(of_derived)) == (0, 1)


def test_which_batches_a_layer_has(ledger: Ledger) -> None:
    first, second, _ = sealed(ledger, "a", "b", "c")
    [other] = sealed(ledger, "a", stream="clicks")
    for batch in (second, first, other):
        validate(ledger, batch)
    assert ledger.committed_batches("logins", VALIDATED_EVENTS) == {first.id, second.id}
    assert ledger.committed_batches("logins", PSEUDONYMIZED_EVENTS) == set()
