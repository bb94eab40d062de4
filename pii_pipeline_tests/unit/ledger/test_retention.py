"""What may be deleted, and that it is written down before and counted once after."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from pii_pipeline.ledger import (
    PSEUDONYMIZED_EVENTS,
    VALIDATED_EVENTS,
    Expiring,
    LeaseLost,
    Ledger,
    Placed,
)
from pii_pipeline.ledger.tables import leases
from pii_pipeline_tests.unit.ledger.examples import (
    HOUR,
    NEXT_HOUR,
    derive,
    file,
    landed,
    pseudonymize,
    sealed,
    validate,
)

LAYERS = (VALIDATED_EVENTS, PSEUDONYMIZED_EVENTS, "report")


def going(item) -> Expiring:
    return Expiring(item.dataset, item.path, "", item.bytes)


def test_objects_are_placed_by_version(ledger: Ledger) -> None:
    (batch,) = sealed(ledger, "a")
    ledger.enter("logins", NEXT_HOUR, [landed("a", etag="other")])
    assert ledger.placed("logins", ["file:///landing/a", "file:///landing/b"]) == {
        ("file:///landing/a", "etag of a"): Placed(HOUR, batch.id),
        ("file:///landing/a", "other"): Placed(NEXT_HOUR, None),
    }
    assert ledger.placed("webshop", ["file:///landing/a"]) == {}


def test_finished_is_what_is_committed_in_every_layer_from_what_is_above_it(ledger: Ledger) -> None:
    first, second, third = sealed(ledger, "a", "b", "c")
    for batch in (first, second):
        validate(ledger, batch)
        pseudonymize(ledger, batch)
        derive(ledger, batch, "report")
    validate(ledger, third)
    assert ledger.finished("logins", HOUR, LAYERS) == {first.id, second.id}
    assert ledger.finished("logins", HOUR, (VALIDATED_EVENTS,)) == {first.id, second.id, third.id}
    assert ledger.finished("logins", HOUR, (*LAYERS, "marketing")) == set()
    pseudonymize(ledger, second, "p2")
    assert ledger.finished("logins", HOUR, LAYERS) == {first.id}, "the report is of what was replaced"
    validate(ledger, first, "v2")
    assert ledger.finished("logins", HOUR, LAYERS) == set()


def test_validated_files_are_used_when_the_lake_has_what_was_made_of_them(ledger: Ledger) -> None:
    first, second, third = sealed(ledger, "a", "b", "c")
    made = {}
    for batch in (first, second, third):
        validate(ledger, batch)
    for batch in (first, second):
        made[batch.id] = pseudonymize(ledger, batch).commit.committed_at
    validate(ledger, second, "v2")
    found = ledger.restricted_files("logins", VALIDATED_EVENTS, [VALIDATED_EVENTS])
    assert [(item.batch_id, item.used_at) for item in found] == [
        (first.id, made[first.id]),
        (second.id, None),
        (third.id, None),
    ]
    assert found[0].file == file(first, VALIDATED_EVENTS, "v1")
    assert ledger.restricted_files("logins", VALIDATED_EVENTS, [VALIDATED_EVENTS], NEXT_HOUR) == []
    assert (
        len(ledger.restricted_files("logins", VALIDATED_EVENTS, [VALIDATED_EVENTS, "bad_events"], HOUR)) == 6
    )


def test_what_expires_leaves_its_commit_which_stays(ledger: Ledger) -> None:
    (batch,) = sealed(ledger, "a")
    validate(ledger, batch)
    pseudonymize(ledger, batch)
    before, status = ledger.contents("logins", HOUR), ledger.status()
    validated = file(batch, VALIDATED_EVENTS, "v1")
    item = landed("a")
    wanted = [going(validated), Expiring("raw_events", item.uri, item.etag, item.size)]
    with ledger.lease("logins", HOUR) as lease:
        ledger.expire("logins", HOUR, wanted, lease)
        ledger.expire("logins", HOUR, wanted, lease)
    commit = ledger.commit_of(batch.id, VALIDATED_EVENTS)
    assert commit is not None
    assert [found.dataset for found in commit.files] == ["bad_events"]
    assert ledger.files("logins", VALIDATED_EVENTS) == []
    assert ledger.contents("logins", HOUR) == before
    assert ledger.status()[0].violations() == status[0].violations() == []
    assert ledger.expiring_hours("logins") == [HOUR]
    assert sorted(ledger.expiring("logins", HOUR), key=lambda found: found.dataset) == wanted[::-1]
    ledger.expired("logins", HOUR, wanted)
    ledger.expired("logins", HOUR, wanted)
    assert ledger.expiring_hours("logins") == []
    assert {(item.hour, item.dataset, item.number, item.bytes) for item in ledger.deletions("logins")} == {
        (HOUR, VALIDATED_EVENTS, 1, 100),
        (HOUR, "raw_events", 1, 10),
    }
    assert ledger.deletions("webshop") == []


def test_many_at_once(ledger: Ledger) -> None:
    many = [Expiring("raw_events", f"file:///landing/{number}", "tag", number) for number in range(1_000)]
    with ledger.lease("logins", HOUR) as lease:
        ledger.expire("logins", HOUR, many, lease)
    ledger.expired("logins", HOUR, many[1:], overwritten=many[:1])
    assert ledger.expiring("logins", HOUR) == []
    (deletion,) = ledger.deletions("logins")
    assert (deletion.number, deletion.bytes) == (999, sum(range(1_000)))


def test_a_file_that_was_made_again_under_its_name_is_not_deleted(ledger: Ledger) -> None:
    (batch,) = sealed(ledger, "a")
    validate(ledger, batch)
    with ledger.lease("logins", HOUR) as lease:
        ledger.expire("logins", HOUR, [going(file(batch, VALIDATED_EVENTS, "v1"))], lease)
    assert validate(ledger, batch).superseded == ()
    assert ledger.expiring("logins", HOUR) == []
    assert ledger.files("logins", VALIDATED_EVENTS) == [file(batch, VALIDATED_EVENTS, "v1").path]


def test_who_has_lost_the_hour_may_let_nothing_expire(ledger: Ledger, engine: sa.Engine) -> None:
    (batch,) = sealed(ledger, "a")
    validate(ledger, batch)
    validated = file(batch, VALIDATED_EVENTS, "v1")
    with ledger.lease("logins", HOUR, ttl=timedelta(hours=1)) as lease:
        with engine.begin() as connection:
            connection.execute(sa.update(leases).values(token="somebody else's"))
        with pytest.raises(LeaseLost):
            ledger.expire("logins", HOUR, [going(validated)], lease)
    assert ledger.files("logins", VALIDATED_EVENTS) == [validated.path]
    assert ledger.expiring("logins", HOUR) == []
