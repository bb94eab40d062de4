"""S3's notifications in a real queue: what they tell of is entered once, asked for, and only then deleted."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3
import dagster as dg
import pytest

from pii_pipeline import aws as aws_module
from pii_pipeline.definitions import build
from pii_pipeline.lake import ObjectInfo, put
from pii_pipeline.ledger import Listing
from pii_pipeline.pipeline import notifications
from pii_pipeline.pipeline.arrivals import notice, waiting
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.notifications import Told, enter_told, open_notifications
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.queues import QueueRefused, QueueUnavailable
from pii_pipeline.runs import prepare_dagster_home
from pii_pipeline.sensors import landing_objects
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline.streams.model import Stream
from pii_pipeline_tests.aws import make_bucket
from pii_pipeline_tests.faulty_proxy import FaultyProxy
from pii_pipeline_tests.integration.small_streams import GOOD, HOUR, PARTITION, assets_of, environment
from pii_pipeline_tests.queues import Queue, one_call_at_a_time
from pii_pipeline_tests.unit.pipeline.test_notifications import (
    TEST_EVENT,
    of_event_bridge,
    of_s3,
    records,
    through_sns,
)

FOLDER = "2026/11/22/10"
LINES = "".join(json.dumps(event) + "\n" for event in GOOD).encode()


@pytest.fixture
def installation(tmp_path: Path, aws: boto3.Session) -> Iterator[Installation]:
    landing = {"PII_LANDING_URI": f"{make_bucket(aws, 'acme')}/in", "PII_LANDING_NOTIFICATIONS": "told"}
    opened = Installation(read_settings(environment(tmp_path) | landing, project=project_root()))
    with one_call_at_a_time():
        yield opened
    opened.close()


@pytest.fixture
def queue(aws: boto3.Session) -> Queue:
    return Queue(aws, "told")


def stored(installation: Installation, path: str, content: bytes = LINES) -> tuple[str, int, str, str]:
    """An object of the landing zone: key, size, ETag and time, as S3 tells them."""
    info = put(installation.zones.landing, path, io.BytesIO(content))
    assert info.tag is not None
    return f"in/{path}", info.size, info.tag, info.last_modified.isoformat().replace("+00:00", "Z")


def direct(key: str, size: int, etag: str, at: str, bucket: str = "acme") -> str:
    return records(of_s3(at=at, bucket=bucket, key=quote_plus(key, safe="/"), size=size, eTag=etag))


def bridged(key: str, size: int, etag: str, at: str) -> str:
    return json.dumps(of_event_bridge(at=at, bucket="acme", key=key, size=size, etag=etag))


def read(installation: Installation) -> Told:
    return enter_told(installation, open_notifications("told"), 10)


def hours(installation: Installation, stream: str = "alpha") -> dict[str, int]:
    return {item.hour: item.objects for item in waiting(installation, installation.streams[stream])}


@pytest.mark.parametrize("form", [direct, lambda *told: through_sns(direct(*told)), bridged])
def test_what_each_form_tells_is_what_listing_finds(
    installation: Installation, queue: Queue, form: Callable[..., str]
) -> None:
    paths = [
        f"alpha/{FOLDER}/a.json",
        "alpha/dt=2026-11-22/hour=10/b c+d%41.json",
        "alpha/2026/11/21/e.json",
    ]
    queue.send([form(*stored(installation, path)) for path in paths])
    assert read(installation) == Told(3, 3, 0)
    assert queue.left() == 0
    assert hours(installation) == {"2026-11-21T23": 1, HOUR: 2}
    assert notice(installation, installation.streams["alpha"], Listing()).new == 0, "the same versions"
    stream = installation.streams["alpha"]
    assert (seal_hour(installation, stream, HOUR).objects, hours(installation)) == (2, {"2026-11-21T23": 1})
    assert validate_hour(installation, stream, HOUR).counts["validated"] == 2 * len(GOOD)


def test_told_twice_it_is_entered_once(installation: Installation, queue: Queue) -> None:
    told = stored(installation, f"alpha/{FOLDER}/a.json")
    queue.send([direct(*told), direct(*told), through_sns(direct(*told)), bridged(*told)])
    assert read(installation) == Told(4, 1, 0)
    queue.send([direct(*told)])
    assert read(installation) == Told(1, 0, 0)
    again = stored(installation, f"alpha/{FOLDER}/a.json", LINES * 2)
    queue.send([direct(*again)])
    assert read(installation) == Told(1, 1, 0), "another version is another object"
    assert (hours(installation), queue.left()) == ({HOUR: 2}, 0)


@pytest.mark.parametrize("folder", [FOLDER, "2026/11/22", "in"], ids=["an hour's", "a day's", "any"])
def test_of_an_object_that_was_overwritten_before_it_was_sealed_the_last_version_counts(
    installation: Installation, queue: Queue, folder: str
) -> None:
    """As if nobody had looked in between; whatever order S3 tells of it in, and how often."""
    path = f"alpha/{folder}/a.json"
    versions = [stored(installation, path, LINES * number) for number in (1, 2, 3)]
    queue.send([direct(*versions[0])])
    assert read(installation).new == 1
    queue.send([direct(*versions[2]), direct(*versions[1])])
    assert read(installation).new == 2
    stream = installation.streams["alpha"]
    (hour,) = hours(installation)

    def made() -> tuple[Any, ...]:
        sealed = seal_hour(installation, stream, hour)
        counts = validate_hour(installation, stream, hour).counts
        return sealed.objects, counts["records"], counts["validated"], counts["bad"], hours(installation)

    last = 1, 3 * len(GOOD), 3 * len(GOOD), 0, {}
    assert made() == last
    queue.send([direct(*versions[1])])
    assert read(installation).new == 1, "told again, of a version that is no more"
    assert made() == last
    queue.send([direct(*stored(installation, path))])
    assert read(installation).new == 1
    assert made() == (2, 4 * len(GOOD), 4 * len(GOOD), 0, {}), "what was sealed had been there"


def test_what_is_none_of_ours_is_let_go_and_what_is_none_of_s3s_stays(
    installation: Installation, queue: Queue
) -> None:
    told = ("etag", "2026-11-22T10:01:00.000Z")
    others = [
        direct("elsewhere/alpha/a.json", 3, *told),
        direct("in/alpha/a.json", 3, *told, bucket="acme-2"),
        direct("in", 3, *told),
        direct("in/alpha", 3, *told),
        direct("in/alpha/", 0, *told),
        direct(f"in/alpha/{FOLDER}/", 0, *told),
        direct(f"in/alpha/{FOLDER}/.a.json.tmp", 3, *told),
        direct("in/gamma/a.json", 3, *told),
        direct("in/../alpha/a.json", 3, *told),
        direct("in//alpha/a.json", 3, *told),
        TEST_EVENT,
        json.dumps(of_event_bridge("Object Deleted")),
    ]
    foreign = ['{"user_id": "a"}', "no json", "[" * 9_000, direct("in/alpha/a.json", 3, "a\0b", told[1])]
    queue.send([*others, *foreign])
    assert read(installation) == Told(len(others) + len(foreign), 0, len(foreign))
    assert queue.left() == len(foreign)
    assert hours(installation) == hours(installation, "beta") == {}


def test_any_key_is_entered_as_listing_enters_it(
    installation: Installation, queue: Queue, aws: boto3.Session
) -> None:
    """S3 knows no folders: nothing of a key leads anywhere."""
    s3 = aws.client("s3")
    keys = ["../beta/a.json", "..", "./a.json", "a//b.json", f"{FOLDER}/../11/a.json", "folder/", "x/é +%41"]
    keys += ["a\0b.json", "a␀0b.json", "a\x01b.json", "%00", "z" * (1024 - len("in/alpha/"))]
    for key in keys:
        s3.put_object(Bucket="acme", Key=f"in/alpha/{key}", Body=LINES)
    listed = s3.list_objects_v2(Bucket="acme", Prefix="in/alpha/")["Contents"]
    assert len(listed) == len(keys)
    queue.send(
        [
            bridged(item["Key"], item["Size"], item["ETag"].strip('"'), item["LastModified"].isoformat())
            for item in listed
        ]
    )
    hidden = 1  # ".."
    assert read(installation) == Told(len(keys), len(keys) - hidden, 0)
    stream = installation.streams["alpha"]
    assert notice(installation, stream, Listing()).new == 0
    assert hours(installation, "beta") == {}
    found = 0
    for hour in hours(installation):
        seal_hour(installation, stream, hour)
        counts = validate_hour(installation, stream, hour).counts
        assert isinstance(counts["records"], int)
        found += counts["records"]
        assert (counts["validated"], counts["bad"]) == (counts["records"], 0)
    assert found == (len(keys) - hidden) * len(GOOD)


def test_what_cannot_be_entered_is_told_again(
    installation: Installation, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [direct(*stored(installation, f"alpha/{FOLDER}/{number}.json")) for number in range(12)]
    queue.send(told)
    entered = notifications.enter

    def failing(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(notifications, "enter", failing)
    monkeypatch.setattr(notifications, "_VISIBILITY_SECONDS", 0)
    with pytest.raises(OSError, match="Input/output"):
        read(installation)
    assert queue.left() == 12, "deleted only after it is in the ledger"
    monkeypatch.setattr(notifications, "enter", entered)
    assert read(installation).new == 12
    assert (hours(installation), queue.left()) == ({HOUR: 12}, 0)


def many(number: int) -> list[str]:
    return [direct(f"in/alpha/{FOLDER}/{n}.json", 3, f"{n}", "2026-11-22T10:01:00Z") for n in range(number)]


def test_what_waits_is_taken_in_chunks(
    installation: Installation, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "_MESSAGES_AT_ONCE", 40)
    entered, chunks = notifications.enter, []

    def noted(installation: Installation, stream: Stream, found: Sequence[ObjectInfo]) -> int:
        chunks.append(len(found))
        return entered(installation, stream, found)

    monkeypatch.setattr(notifications, "enter", noted)
    queue.send(many(100))
    assert read(installation) == Told(100, 100, 0)
    assert max(chunks) == 40 and sum(chunks) == 100
    assert (hours(installation), queue.left()) == ({HOUR: 100}, 0)


def test_it_looks_for_as_long_as_it_is_told_to(
    installation: Installation, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "_MESSAGES_AT_ONCE", 10)
    entered = notifications.enter

    def slow(installation: Installation, stream: Stream, found: Sequence[ObjectInfo]) -> int:
        time.sleep(1)
        return entered(installation, stream, found)

    monkeypatch.setattr(notifications, "enter", slow)
    queue.send(many(25))
    assert enter_told(installation, open_notifications("told"), 0.9).messages == 10
    assert queue.left() == 15


def test_what_was_received_before_a_call_failed_is_entered(
    installation: Installation, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.send(many(30))
    receive, calls = notifications.Queue.receive, []

    def failing(self: notifications.Queue, *settings: int) -> object:
        calls.append(settings)
        if len(calls) > 2:
            raise QueueUnavailable("queue told: ReceiveMessage: AWS does not answer")
        return receive(self, *settings)

    monkeypatch.setattr(notifications.Queue, "receive", failing)
    with pytest.raises(QueueUnavailable):
        read(installation)
    assert (hours(installation), queue.left()) == ({HOUR: 20}, 10)


# ── the sensor ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def instance(installation: Installation) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(prepare_dagster_home(installation.settings))) as opened:
        yield opened


def tick(
    installation: Installation, instance: dg.DagsterInstance
) -> tuple[Sequence[dg.RunRequest], str | None]:
    definitions = build(installation)
    sensor = definitions.resolve_sensor_def("landing_notifications")
    resources = {"installation": installation}
    with dg.build_sensor_context(instance=instance, resources=resources, definitions=definitions) as context:
        found = sensor.evaluate_tick(context)
    return list(found.run_requests or ()), found.skip_message


def test_it_takes_the_place_of_listing(installation: Installation) -> None:
    sensors = {sensor.name: sensor for sensor in build(installation).get_repository_def().sensor_defs}
    assert set(sensors) == {"landing_notifications"}
    assert sensors["landing_notifications"].default_status is dg.DefaultSensorStatus.RUNNING


def test_one_run_is_asked_for_each_stream_and_hour(
    installation: Installation, queue: Queue, instance: dg.DagsterInstance
) -> None:
    assert tick(installation, instance) == ([], "nothing new in 0 notifications")
    for path in (f"alpha/{FOLDER}/a.json", f"alpha/{FOLDER}/b.json", f"beta/{FOLDER}/a.json"):
        queue.send([direct(*stored(installation, path))])
    later = datetime.now(UTC) + timedelta(hours=2)
    queue.send([direct(*stored(installation, f"alpha/{later:%Y/%m/%d/%H}/a.json"))])
    asked, _ = tick(installation, instance)
    assert [(item.tags["pii/stream"], item.partition_key) for item in asked] == [
        ("alpha", PARTITION),
        ("beta", PARTITION),
    ]
    assert {key.to_user_string() for key in asked[0].asset_selection or ()} == assets_of("alpha")
    again, _ = tick(installation, instance)
    assert [item.run_key for item in again] == [item.run_key for item in asked], "until it is sealed"
    for name in ("alpha", "beta"):
        seal_hour(installation, installation.streams[name], HOUR)
    assert tick(installation, instance) == ([], "nothing new in 0 notifications")


def test_a_queue_that_is_not_there_fails_the_tick_in_words_of_ours(
    installation: Installation, instance: dg.DagsterInstance
) -> None:
    with pytest.raises(dg.Failure) as failure:
        tick(installation, instance)
    said = "QueueRefused: queue told: there is none of that name in this account and region"
    assert str(failure.value.description).startswith(said)
    with pytest.raises(QueueRefused):
        open_notifications("told")


def test_a_tick_ends_in_time_when_the_queue_falls_silent(
    installation: Installation,
    queue: Queue,
    faulty_aws: FaultyProxy,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At any of its calls. What was entered before is told again, and does nothing then."""
    answer = aws_module.HURRIED_CONNECT_SECONDS + aws_module.HURRIED_READ_SECONDS + 1
    assert landing_objects.READING_SECONDS + landing_objects.DELETING_SECONDS + answer < 20
    monkeypatch.setattr(notifications, "_LONG_POLL_SECONDS", 0)
    monkeypatch.setattr(aws_module, "HURRIED_READ_SECONDS", 0.2)
    monkeypatch.setattr(aws_module, "HURRIED_ATTEMPTS", 50)
    monkeypatch.setattr(landing_objects, "READING_SECONDS", 0.5)
    monkeypatch.setattr(landing_objects, "DELETING_SECONDS", 0.5)
    for operation in ("GetQueueUrl", "ReceiveMessage", "DeleteMessageBatch"):
        queue.send(many(20))
        faulty_aws.fail("silence", operation=operation)
        began = time.monotonic()
        with pytest.raises(dg.Failure) as failure:
            tick(installation, instance)
        assert time.monotonic() - began < 20, operation
        said = f"QueueUnavailable: queue told: {operation}: AWS does not answer"
        assert str(failure.value.description).startswith(said)
        faulty_aws.heal()


def test_a_broken_streams_objects_are_found_by_the_closed_hour(
    installation: Installation, queue: Queue, instance: dg.DagsterInstance
) -> None:
    """Its notifications are gone when it is mended; nothing rests on them alone."""
    contract = next(Path(folder) for folder in installation.settings.streams) / "alpha" / "contract.yaml"
    mended = contract.read_text()
    contract.write_text("contract: [")
    broken = Installation(installation.settings)
    assert "alpha" in broken.streams.broken
    queue.send([direct(*stored(installation, f"alpha/{FOLDER}/a.json"))])
    assert read(broken) == Told(1, 0, 0)
    broken.close()
    contract.write_text(mended)
    definitions = build(installation)
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime(2026, 11, 22, 12, 5, tzinfo=UTC),
        resources={"installation": installation},
        repository_def=definitions.get_repository_def(),
    ) as context:
        found = definitions.resolve_schedule_def("closed_hour").evaluate_tick(context)
    assert [(item.tags["pii/stream"], item.partition_key) for item in found.run_requests or ()] == [
        ("alpha", PARTITION)
    ]
