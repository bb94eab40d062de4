"""Landing objects become batches, each object in one batch."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pii_pipeline.ledger import (
    Known,
    LandingObject,
    Ledger,
    Listing,
    arrival_in,
    hour_of,
    hour_start,
)
from pii_pipeline_tests.unit.ledger.examples import HOUR, NEXT_HOUR, landed


def names(ledger: Ledger, stream: str = "logins", hour: str = HOUR) -> list[list[str]]:
    return [[o.uri.rpartition("/")[2] for o in b.objects] for b in ledger.batches(stream, hour)]


def test_an_object_is_entered_once_wherever_it_is_listed_again(ledger: Ledger) -> None:
    assert ledger.enter("logins", HOUR, [landed("a"), landed("b"), landed("a")]) == 2
    assert ledger.enter("logins", HOUR, [landed("a"), landed("c")]) == 1
    assert ledger.enter("logins", NEXT_HOUR, [landed("a")]) == 0
    assert ledger.hours("logins") == [HOUR]
    assert ledger.enter("webshop", NEXT_HOUR, [landed("a")]) == 1, "another stream's object"
    assert ledger.enter("logins", NEXT_HOUR, [landed("a", etag="new")]) == 1, "another object under the uri"
    assert ledger.hours("logins") == [HOUR, NEXT_HOUR]
    assert ledger.enter("logins", HOUR, []) == 0


def test_batches_are_cut_in_order_of_time_and_uri_below_the_limit(ledger: Ledger) -> None:
    ledger.enter(
        "logins",
        HOUR,
        [
            landed("d", 60, minute=1),
            landed("c", 40, minute=1),
            landed("late", 5, minute=9),
            landed("huge", 500, minute=2),
            landed("a", 1, minute=3),
            landed("b", 100, minute=4),
        ],
    )
    new = ledger.seal("logins", HOUR, max_batch_bytes=100)
    assert names(ledger) == [["c", "d"], ["huge"], ["a"], ["b", "late"]]
    assert [b.bytes for b in new] == [100, 500, 1, 105]
    assert ledger.batches("logins", HOUR) == new, "what sealing returns is what is there"


def test_batches_are_as_equal_as_whole_objects_allow(ledger: Ledger) -> None:
    ledger.enter("logins", HOUR, [landed(f"{number:02}", 32, minute=number) for number in range(22)])
    new = ledger.seal("logins", HOUR, max_batch_bytes=128)
    assert [len(batch.objects) for batch in new] == [4, 3, 4, 4, 3, 4], "not five of four and one of two"


def test_sealing_again_takes_only_what_is_new(ledger: Ledger) -> None:
    ledger.enter("logins", HOUR, [landed("a"), landed("b")])
    first = ledger.seal("logins", HOUR)
    assert ledger.seal("logins", HOUR) == []
    ledger.enter("logins", HOUR, [landed("0 earlier than both", minute=-5), landed("a")])
    second = ledger.seal("logins", HOUR)
    assert ledger.batches("logins", HOUR) == first + second
    assert names(ledger) == [["a", "b"], ["0 earlier than both"]]


def test_batch_ids_are_unique_and_safe_and_do_not_depend_on_storage_or_order(ledger: Ledger) -> None:
    for stream, hour in [("logins", NEXT_HOUR), ("logins", HOUR), ("webshop", HOUR)]:
        ledger.enter(stream, hour, [landed(f"{stream} {hour} {n}") for n in range(2)])
        ledger.seal(stream, hour, max_batch_bytes=1)
    ids = [b.id for s in ("logins", "webshop") for h in (HOUR, NEXT_HOUR) for b in ledger.batches(s, h)]
    assert ids == [
        "logins-20261122T10-0001",
        "logins-20261122T10-0002",
        "logins-20261122T11-0001",
        "logins-20261122T11-0002",
        "webshop-20261122T10-0001",
        "webshop-20261122T10-0002",
    ]


def test_what_is_sealed_comes_back_whole_with_its_arrival_inside_the_hour(ledger: Ledger) -> None:
    start = hour_start(HOUR)
    in_berlin = (start + timedelta(minutes=7, microseconds=3)).astimezone(timezone(timedelta(hours=1)))
    cases = [
        (in_berlin, start + timedelta(minutes=7, microseconds=3)),
        (start - timedelta(days=3), start),
        (start + timedelta(hours=1), start + timedelta(hours=1, microseconds=-1)),
    ]
    ledger.enter("logins", HOUR, [LandingObject(f"u{n}", n, "e", m) for n, (m, _) in enumerate(cases)])
    [batch] = ledger.seal("logins", HOUR)
    by_uri = {o.uri: o for o in batch.objects}
    for n, (last_modified, arrival) in enumerate(cases):
        found = by_uri[f"u{n}"]
        assert (found.size, found.etag) == (n, "e")
        assert found.last_modified == last_modified
        assert found.arrival == arrival
        assert found.arrival.utcoffset() == timedelta(0)
        assert hour_of(found.arrival) == HOUR
    assert ledger.batches("logins", HOUR) == [batch]


@pytest.mark.parametrize("hour", ["2026-11-22 10", "2026-11-22T24", "2026-11-22", "2026-11-22T10:00", ""])
def test_a_wrong_hour_is_refused(hour: str) -> None:
    with pytest.raises(ValueError):
        hour_start(hour)


def test_a_moment_without_time_zone_is_refused() -> None:
    naive = datetime(2026, 11, 22, 10)
    with pytest.raises(ValueError, match="time zone"):
        LandingObject("u", 1, "e", naive)
    with pytest.raises(ValueError, match="time zone"):
        arrival_in(HOUR, naive)


def test_versions_that_are_no_more_are_withdrawn_unless_they_are_sealed(ledger: Ledger) -> None:
    first, second, third = (landed("a", etag=etag) for etag in ("1", "2", "3"))
    ledger.enter("logins", HOUR, [first, landed("b")])
    assert ledger.perhaps_overwritten("logins", HOUR) == [], "there is one version of each"
    ledger.seal("logins", HOUR)
    ledger.enter("logins", HOUR, [second, landed("c")])
    ledger.enter("logins", NEXT_HOUR, [third])
    ledger.enter("webshop", HOUR, [landed("c", etag="other")])
    assert ledger.perhaps_overwritten("logins", HOUR) == [second]
    assert ledger.perhaps_overwritten("logins", NEXT_HOUR) == [third]
    ledger.withdraw("logins", [first, second])
    ledger.withdraw("logins", [])
    (batch,) = ledger.seal("logins", HOUR)
    assert [item.uri for item in batch.objects] == [landed("c").uri]
    assert ledger.known("logins", [first.uri])[first.uri] == {
        Known(item.etag, item.size, item.last_modified) for item in (first, third)
    }


def test_where_a_listing_stopped_is_remembered_for_each_stream(ledger: Ledger) -> None:
    assert ledger.listing("logins") == Listing()
    began = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
    for listing in (Listing("logins/a", began), Listing("logins/b", began, began), Listing(complete=began)):
        ledger.keep_listing("logins", listing)
        assert (ledger.listing("logins"), ledger.listing("webshop")) == (listing, Listing())
