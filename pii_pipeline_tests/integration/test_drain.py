"""Draining a real queue over HTTP: nothing is lost, nothing is counted twice, whatever happens on the way."""

import gzip
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from pii_pipeline.ledger import LeaseHeld
from pii_pipeline.pipeline import drain as draining
from pii_pipeline.pipeline.drain import Drained, drain
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.queues import QueueUnavailable
from pii_pipeline.settings import read_settings
from pii_pipeline_tests.aws import make_bucket
from pii_pipeline_tests.end_to_end.deployment import Deployment
from pii_pipeline_tests.queues import Queue, one_call_at_a_time
from pii_pipeline_tests.shared_data import shared_data
from pii_pipeline_tests.warehouses import ask

BAD = [
    "no json",
    "\t",
    '{"user_id": "half',
    "[1, 2]",
    '{"type": "heartbeat"}',
    '"text"',
    "{}",
    "\u00e9" * 40_000,
]

# `pii`, whose messages stay hidden for a batch and some SECONDS, killed after so many CALLS to delete.
_KILLED = """
import os, signal, sys, threading
from pii_pipeline.cli import main
from pii_pipeline.pipeline import drain
from pii_pipeline.queues import Queue
drain.SPARE_SECONDS = int(sys.argv.pop(1))
calls, delete, one = int(sys.argv.pop(1)), Queue.delete, threading.Lock()
def counted(queue, messages):
    global calls
    with one:
        if not calls:
            os.kill(os.getpid(), signal.SIGKILL)
        calls -= 1
        return delete(queue, messages)
Queue.delete = counted
main()
"""


def login(number: int) -> str:
    return json.dumps(
        {
            "user_id": f"user-{number}",
            "app_version": "2.3.0",
            "device_type": "ios",
            "ip": f"192.0.2.{number % 250}",
            "locale": None,
            "device_id": f"device-{number}",
        }
    )


@pytest.fixture(autouse=True)
def as_sqs() -> Iterator[None]:
    with one_call_at_a_time():
        yield


@pytest.fixture
def deployment(tmp_path: Path, aws: boto3.Session) -> Deployment:
    return Deployment(tmp_path / "deployment")


def opened(deployment: Deployment) -> Installation:
    """An installation of the deployment's in this process."""
    return Installation(read_settings(deployment.environment))


def drained(deployment: Deployment) -> Drained:
    installation = opened(deployment)
    try:
        return drain(installation, installation.streams["logins"])
    finally:
        installation.close()


def counted(deployment: Deployment) -> Counter[str]:
    """Sums over all hours of logins."""
    total: Counter[str] = Counter()
    for report in deployment.json("status", "logins"):
        total.update({name: report[name] for name in ("records", "validated", "bad", "duplicates")})
    return total


def run(deployment: Deployment) -> None:
    """Has everything processed that has landed, whatever share of it is bad."""
    deployment.start("run", "logins", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait(300)


def test_the_real_queue_comes_into_the_table_and_is_empty(deployment: Deployment, aws: boto3.Session) -> None:
    messages = json.loads(gzip.decompress((shared_data() / "login_queue" / "messages.json.gz").read_bytes()))
    queue = Queue(aws)
    queue.send([json.dumps(message) for message in messages])
    answer = deployment.json("drain", "logins")
    assert (answer["messages"], answer["undeleted"], answer["waiting"], queue.left()) == (100, 0, 0, 0)
    assert all(
        Path(item["uri"].removeprefix("file://")).stat().st_mode & 0o777 == 0o600
        for item in answer["objects"]
    )
    deployment.pii("run", "logins")
    assert counted(deployment) == {"records": 100, "validated": 99, "bad": 1, "duplicates": 0}
    url = deployment.environment["PII_WAREHOUSE_URL"]
    assert ask(url, "SELECT count(*) FROM user_logins") == [(99,)]
    originally = Counter(message.get("device_id") for message in messages if "ip" in message)
    masks = Counter(dict(ask(url, "SELECT masked_device_id, count(*) FROM user_logins GROUP BY 1")))
    assert sorted(masks.values()) == sorted(originally.values())


@pytest.mark.parametrize("process_between", [False, True])
def test_killed_between_write_and_delete_it_is_as_if_it_had_not_been(
    deployment: Deployment, aws: boto3.Session, process_between: bool
) -> None:
    queue = Queue(aws)
    queue.send([login(number) for number in range(60)] + BAD)
    killed = subprocess.Popen(
        [sys.executable, "-c", _KILLED, "1", "2", "drain", "logins"],
        env=deployment.environment,
        cwd=deployment.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert killed.wait(60) == -signal.SIGKILL
    objects = list((deployment.storage / "landing").rglob("*.sqs.jsonl.zst"))
    assert len(objects) == 1, "it had landed, and was durable"
    left = queue.left()
    # Two calls of ten messages, or one of them of the last eight: threads delete in whatever order.
    assert left in (48, 50), "some were deleted, some not"
    if process_between:
        run(deployment)
    deadline = time.monotonic() + 60
    redelivered = 0
    while queue.left():
        assert time.monotonic() < deadline
        redelivered += drained(deployment).messages  # the killed process's lease is in nobody's way
    assert redelivered == left
    run(deployment)
    assert counted(deployment) == {
        "records": 68 + redelivered,
        "validated": 60,
        "bad": len(BAD),
        "duplicates": redelivered,
    }
    reasons = deployment.query("SELECT failure_type, count(*) AS n FROM logins.bad_events GROUP BY 1")
    assert sum(row["n"] for row in reasons) == len(BAD)


def test_of_a_thousand_messages_the_malformed_end_in_bad_events(
    deployment: Deployment, aws: boto3.Session
) -> None:
    queue = Queue(aws)
    bodies = [BAD[number // 25 % len(BAD)] if number % 25 == 7 else login(number) for number in range(1000)]
    bodies = [body + " " * 30_000 if body == BAD[-1] else body for body in bodies]
    queue.send_many(bodies)
    answer = deployment.json("drain", "logins")
    assert (answer["messages"], queue.left()) == (1000, 0)
    deployment.pii("run", "logins")
    assert counted(deployment) == {"records": 1000, "validated": 960, "bad": 40, "duplicates": 0}
    found = deployment.query("SELECT failure_type, count(*) AS n FROM logins.bad_events GROUP BY 1")
    assert {row["failure_type"]: row["n"] for row in found} == {
        "not_json": 15,
        "schema_violation": 20,
        "too_large": 5,
    }
    said = json.dumps(deployment.query("SELECT * FROM logins.bad_events")) + deployment.said
    assert not re.search("heartbeat|user-|half", said)


def test_the_same_message_twice_is_a_duplicate_and_the_same_body_twice_is_not(
    deployment: Deployment, aws: boto3.Session
) -> None:
    queue = Queue(aws)
    queue.send([login(1), login(1), "no json", "no json"])
    deployment.json("drain", "logins")
    (landed,) = (deployment.storage / "landing").rglob("*.sqs.jsonl.zst")
    for again in range(2):  # delivered again
        (landed.parent / f"again-{again}.sqs.jsonl.zst").write_bytes(landed.read_bytes())
        run(deployment)
    assert counted(deployment) == {"records": 12, "validated": 2, "bad": 2, "duplicates": 8}
    before = deployment.files("lake")
    deployment.start("run", "logins", "--force", stdout=-3, stderr=-3).wait(300)
    assert counted(deployment)["duplicates"] == 8
    assert deployment.files("lake") == before


def test_it_lands_in_a_bucket_all_the_same(deployment: Deployment, aws: boto3.Session) -> None:
    deployment.environment["PII_STORAGE_URI"] = f"{make_bucket(aws, 'storage')}/pii"
    queue = Queue(aws)
    queue.send([login(1), login(2), "no json"])
    (drained_object,) = deployment.json("drain", "logins")["objects"]
    assert queue.left() == 0
    key = drained_object["uri"].removeprefix("s3://storage/")
    s3 = aws.client("s3")
    s3.copy_object(Bucket="storage", CopySource=f"storage/{key}", Key=key.replace("logins-", "again-"))
    run(deployment)
    assert counted(deployment) == {"records": 6, "validated": 2, "bad": 1, "duplicates": 3}


def test_a_message_that_has_become_too_old_meanwhile_is_no_bad_event(
    tmp_path: Path, aws: boto3.Session
) -> None:
    streams = small_stream(tmp_path, "time_field: at\nmax_age: 1h", event_id="event_id_field: id")
    deployment = Deployment(tmp_path / "deployment", streams)
    queue = Queue(aws, "small")
    now = time.time()
    queue.send([json.dumps({"user": "a", "at": int(now * 1000), "id": "1"})])
    deployment.json("drain", "small")
    (landed,) = (deployment.storage / "landing").rglob("*.sqs.jsonl.zst")
    deployment.pii("run", "small")
    # The hour of its second delivery is over before the event happened, and it would be a bad one there.
    earlier = time.gmtime(now - 3 * 3600)
    folder = deployment.storage / "landing" / "small" / time.strftime("%Y/%m/%d/%H", earlier)
    folder.mkdir(parents=True)
    (folder / landed.name).write_bytes(landed.read_bytes())
    deployment.pii("run", "small")
    reports = deployment.json("status", "small")
    assert [(report["validated"], report["bad"], report["duplicates"]) for report in reports] == [
        (0, 0, 1),
        (1, 0, 0),
    ]


def small_stream(folder: Path, time_field: str, event_id: str = "", source: str = "sqs: small") -> Path:
    """A folder of streams with one in it, `small`."""
    stream = folder / "streams" / "small"
    stream.mkdir(parents=True)
    (stream / "stream.yaml").write_text(
        f"description: Small.\nbad_event_threshold: 1\nsource: {{{source}}}\n"
    )
    (stream / "contract.yaml").write_text(
        "contract: tests/small/1.0.0\nstate: active\nschema: event.schema.json\nkey_field: user\n"
        f"{time_field}\n{event_id}\ndata_subject: {{field: user, namespace: customer}}\n"
    )
    properties = {"user": {"type": "string"}, "at": {"type": "integer"}, "id": {"type": "string"}}
    schema = {"type": "object", "required": ["user"], "properties": properties}
    (stream / "event.schema.json").write_text(json.dumps(schema))
    return folder / "streams"


def test_messages_stay_hidden_for_as_long_as_writing_takes(
    deployment: Deployment, aws: boto3.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(aws)
    queue.send([login(number) for number in range(30)])
    put, seen = draining.put, []

    def slow(*arguments: object) -> object:
        for _ in range(15):
            seen.extend(queue.sqs.receive_message(QueueUrl=queue.url).get("Messages", ()))
            time.sleep(0.4)
        return put(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(draining, "put", slow)
    monkeypatch.setattr(draining, "SPARE_SECONDS", -8)  # hidden for 2 s, of a batch of 10 s
    assert drained(deployment).messages == 30
    assert (seen, queue.left()) == ([], 0)


def test_a_fifo_queue_is_drained_to_its_end_and_each_group_in_its_order(
    tmp_path: Path, aws: boto3.Session
) -> None:
    deployment = Deployment(
        tmp_path / "deployment", small_stream(tmp_path, "time_field: $arrival", source="sqs: small.fifo")
    )
    queue = Queue(aws, "small.fifo", FifoQueue="true")
    for group in ("a", "b"):
        queue.send([json.dumps({"user": group, "id": str(number)}) for number in range(35)], group)
    assert deployment.json("drain", "small")["messages"] == 70
    assert queue.left() == 0
    objects = sorted(
        (deployment.storage / "landing").rglob("*.zst"), key=lambda file: file.stat().st_mtime_ns
    )
    import zstandard

    lines = [
        json.loads(json.loads(line)["body"])
        for file in objects
        for line in zstandard.ZstdDecompressor().decompressobj().decompress(file.read_bytes()).splitlines()
    ]
    for group in ("a", "b"):
        assert [int(item["id"]) for item in lines if item["user"] == group] == list(range(35))


def test_it_ends_although_messages_keep_coming_and_keeps_to_its_limits(
    tmp_path: Path, aws: boto3.Session
) -> None:
    source = "sqs: small, batch_messages: 20, batch_time: 2s"
    deployment = Deployment(
        tmp_path / "deployment", small_stream(tmp_path, "time_field: $arrival", source=source)
    )
    queue = Queue(aws, "small")
    queue.send(['{"user": "a"}'] * 50)
    answer = deployment.json("drain", "small", "--messages", "25")
    assert sorted(item["messages"] for item in answer["objects"]) == [5, 20]
    assert queue.left() == 25
    enough = threading.Event()

    def keep_sending() -> None:
        while not enough.wait(0.05):
            queue.send(['{"user": "b"}'])

    sender = threading.Thread(target=keep_sending)
    sender.start()
    try:
        assert 25 <= deployment.json("drain", "small")["messages"] < 100
    finally:
        enough.set()
        sender.join()
    assert deployment.json("drain", "small", "--seconds", "0.001")["messages"] <= 10


def test_what_cannot_be_written_stays_in_the_queue(
    deployment: Deployment, aws: boto3.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(aws)
    queue.send([login(number) for number in range(15)])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(draining, "put", full)
    with pytest.raises(OSError, match="No space"):
        drained(deployment)
    assert queue.left() == 15


def test_what_was_received_before_a_call_failed_lands(
    deployment: Deployment, aws: boto3.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(aws)
    queue.send([login(number) for number in range(30)])
    receive, calls = draining.Queue.receive, []

    def failing(self: draining.Queue, *settings: int) -> object:
        calls.append(settings)
        if len(calls) > 2:
            raise QueueUnavailable("queue logins: ReceiveMessage got no answer")
        return receive(self, *settings)

    monkeypatch.setattr(draining.Queue, "receive", failing)
    with pytest.raises(QueueUnavailable):
        drained(deployment)
    assert queue.left() == 10
    assert len(list((deployment.storage / "landing").rglob("*.sqs.jsonl.zst"))) == 1


def test_a_queue_is_drained_by_one_at_a_time(deployment: Deployment, aws: boto3.Session) -> None:
    Queue(aws).send([login(1)])
    installation = opened(deployment)
    with installation.ledger.named_lease("drain logins"):
        with pytest.raises(LeaseHeld, match="drain logins is held by"):
            drain(installation, installation.streams["logins"])
        deployment.pii("drain", "logins", code=1)
    assert drain(installation, installation.streams["logins"]).messages == 1
    installation.close()


def test_what_is_wrong_is_one_line_that_names_queue_and_mend(
    deployment: Deployment, aws: boto3.Session
) -> None:
    deployment.pii("drain", "logins", code=2)
    assert deployment.said == "pii: queue logins: there is none of that name in this account and region\n"
    deployment.pii("drain", "webshop", code=2)
    assert "write `source: {sqs: NAME}` in its stream.yaml" in deployment.said
    Queue(aws)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del deployment.environment[name]
    deployment.environment["HOME"] = str(deployment.folder)
    deployment.pii("drain", "logins", code=2)
    assert deployment.said.startswith("pii: queue logins: GetQueueUrl: no AWS credentials can be had")


def test_nothing_of_aws_is_imported_where_no_queue_is_used(deployment: Deployment) -> None:
    program = "import sys; from pii_pipeline.cli import cli; cli(['status'], standalone_mode=False)"
    program += "; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], env=deployment.environment, cwd=deployment.folder)
    assert done.returncode == 0
