"""What lands is noticed wherever it lies, once, and asked for until it is in a batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from pii_pipeline.definitions import build
from pii_pipeline.jobs import PROCESS_EVENTS
from pii_pipeline.ledger import Listing
from pii_pipeline.pipeline import arrivals
from pii_pipeline.pipeline.arrivals import OVERLAP, notice, notice_more, waiting
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.runs import prepare_dagster_home
from pii_pipeline_tests.integration.small_streams import (
    GOOD,
    HOUR,
    PARTITION,
    assets_of,
    install,
    land_events,
)

MODIFIED = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    opened = install(tmp_path)
    yield opened
    opened.close()


def put(
    installation: Installation, path: str, modified: datetime = MODIFIED, content: bytes = b"{}\n"
) -> None:
    file = Path(installation.zones.landing.path(path))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (modified.timestamp(), modified.timestamp()))


def look(installation: Installation, listing: Listing, seconds: float = 60) -> arrivals.Noticed:
    return notice(installation, installation.streams["alpha"], listing, seconds)


def hours(installation: Installation) -> dict[str, int]:
    return {item.hour: item.objects for item in waiting(installation, installation.streams["alpha"])}


def test_objects_are_noticed_wherever_they_lie_and_sealed_in_their_hours(installation: Installation) -> None:
    for path in ("2026/11/22/09/a.json", "dt=2026-11-22/hour=09/b.json", "2026/11/21/c.json", "in/d.json"):
        put(installation, f"alpha/{path}")
    put(installation, "beta/2026/11/22/09/a.json")
    assert look(installation, Listing()).new == 4
    assert hours(installation) == {"2026-11-21T23": 1, "2026-11-22T09": 2, "2026-11-22T10": 1}
    for hour, objects in hours(installation).items():
        assert seal_hour(installation, installation.streams["alpha"], hour).objects == objects
    assert hours(installation) == {}
    assert look(installation, Listing()).new == 0


def test_an_hour_is_sealed_whole_without_anybody_who_noticed(installation: Installation) -> None:
    put(installation, "alpha/2026/11/22/10/a.json")
    put(installation, "alpha/dt=2026-11-22/hour=10/b.json")
    assert seal_hour(installation, installation.streams["alpha"], HOUR).objects == 2


def test_an_hour_that_has_not_begun_waits_for_it(installation: Installation) -> None:
    later = datetime.now(UTC) + timedelta(hours=2)
    put(installation, f"alpha/{later:%Y/%m/%d/%H}/a.json")
    assert look(installation, Listing()).new == 1
    assert hours(installation) == {}


def test_a_listing_goes_on_where_it_was_stopped(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "OBJECTS_AT_ONCE", 2)
    for number in range(5):
        put(installation, f"alpha/2026/11/22/10/{number}.json", content=b"%d\n" % number)
    stream, ledger = installation.streams["alpha"], installation.ledger
    assert ledger.listing("alpha") == Listing()
    assert [notice_more(installation, stream, 0).new for _ in range(3)] == [2, 2, 1]
    stopped = ledger.listing("alpha")
    assert stopped.after == "alpha/2026/11/22/10/4.json" and stopped.began is not None
    done = notice_more(installation, stream, 60)
    assert (done.seen, done.new) == (0, 0)
    assert ledger.listing("alpha") == done.listing == Listing(complete=stopped.began)
    assert ledger.listing("beta") == Listing()


def test_equal_times_late_ones_and_those_put_again_are_neither_missed_nor_taken_twice(
    installation: Installation,
) -> None:
    put(installation, "alpha/2026/11/22/10/a.json")
    listing = look(installation, Listing()).listing
    assert listing.complete is not None
    put(installation, "alpha/2026/11/22/10/0-same-time.json", listing.complete)
    put(installation, "alpha/2026/11/22/10/b.json", listing.complete)
    # Its upload began before the last listing did, and ended after it.
    put(installation, "alpha/2026/11/22/10/late.json", listing.complete - OVERLAP + timedelta(minutes=1))
    second = look(installation, listing)
    assert second.new == 3
    put(installation, "alpha/2026/11/22/10/a.json", datetime.now(UTC))  # the same bytes again
    put(installation, "alpha/2026/11/22/10/b.json", datetime.now(UTC), b"[]\n")  # others
    assert look(installation, second.listing).new == 1
    assert hours(installation) == {HOUR: 5}


# ── the sensor and the schedule ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Tick:
    run_requests: list[dg.RunRequest]
    skip_message: str | None


def tick(installation: Installation, instance: dg.DagsterInstance) -> Tick:
    definitions = build(installation)
    sensor = definitions.resolve_sensor_def("alpha_landing_objects")
    with dg.build_sensor_context(
        instance=instance, resources={"installation": installation}, definitions=definitions
    ) as context:
        found = sensor.evaluate_tick(context)
    assert not found.cursor
    return Tick(list(found.run_requests or ()), found.skip_message)


@pytest.fixture
def instance(installation: Installation) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(prepare_dagster_home(installation.settings))) as opened:
        yield opened


def test_one_run_is_asked_for_each_hour_and_never_for_a_file(
    installation: Installation, instance: dg.DagsterInstance
) -> None:
    for name in ("a.json", "b.json"):
        land_events(installation, "alpha", GOOD, name)
    put(installation, "alpha/2026/11/22/09/a.json")
    first = tick(installation, instance)
    assert [request.partition_key for request in first.run_requests] == ["2026-11-22-09:00", PARTITION]
    request = first.run_requests[1]
    assert request.tags["pii/stream"] == "alpha"
    assert {key.to_user_string() for key in request.asset_selection or ()} == assets_of("alpha")
    # Asked for until it is sealed: Dagster starts no two runs of one key.
    again = tick(installation, instance)
    assert [item.run_key for item in again.run_requests] == [item.run_key for item in first.run_requests]
    land_events(installation, "alpha", GOOD[:1], "c.json")
    more = tick(installation, instance)
    assert more.run_requests[0].run_key == first.run_requests[0].run_key
    assert more.run_requests[1].run_key != request.run_key
    for hour in ("2026-11-22T09", HOUR):
        seal_hour(installation, installation.streams["alpha"], hour)
    nothing = tick(installation, instance)
    assert nothing.run_requests == []
    assert nothing.skip_message == "nothing new among 4 objects"


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING"])
def test_a_run_that_has_not_begun_is_not_asked_for_again(
    installation: Installation, instance: dg.DagsterInstance, status: str
) -> None:
    land_events(installation, "alpha", GOOD)
    (request,) = tick(installation, instance).run_requests
    job = build(installation).resolve_job_def(PROCESS_EVENTS)
    run = instance.create_run_for_job(
        job, status=dg.DagsterRunStatus(status), tags={**request.tags, "dagster/partition": PARTITION}
    )
    land_events(installation, "alpha", GOOD[:1], "b.json")
    assert tick(installation, instance).run_requests == []
    instance.delete_run(run.run_id)
    assert len(tick(installation, instance).run_requests) == 1


def test_a_tick_that_fails_says_no_value(
    installation: Installation, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("anna@example.org")

    monkeypatch.setattr("pii_pipeline.sensors.landing_objects.notice_more", fail)
    with pytest.raises(dg.Failure) as failure:
        tick(installation, instance)
    assert "anna" not in f"{failure.value} {failure.value.__context__}"


def test_the_closed_hour_is_made_when_no_sensor_was_there(
    installation: Installation, instance: dg.DagsterInstance
) -> None:
    def scheduled(hour: int, minute: int = 5):
        definitions = build(installation)
        with dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=datetime(2026, 11, 22, hour, minute, tzinfo=UTC),
            resources={"installation": installation},
            repository_def=definitions.get_repository_def(),
        ) as context:
            found = definitions.resolve_schedule_def("closed_hour").evaluate_tick(context)
        return [(request.tags["pii/stream"], request.partition_key) for request in found.run_requests or ()]

    assert scheduled(11) == []
    land_events(installation, "alpha", GOOD)
    put(installation, "beta/in/a.json")
    assert scheduled(10) == [], "the hour is still open"
    assert scheduled(11) == [("alpha", PARTITION), ("beta", PARTITION)]
    seal_hour(installation, installation.streams["alpha"], HOUR)
    assert scheduled(12) == [("alpha", PARTITION), ("beta", PARTITION)], "sealed is not made"
    assert scheduled(11) != []
