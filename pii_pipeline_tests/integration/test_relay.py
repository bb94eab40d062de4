"""The Lambda: batches of Kinesis to a running vault, and to what behaves as a Piinguin does."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import grpc
import pytest

from pii_pipeline.relay import handler as module
from pii_pipeline.relay.handler import NotKinesis, handler
from pii_pipeline.relay.settings import RelaySettingError
from pii_pipeline_tests.aws import make_bucket
from pii_pipeline_tests.deploy.compose import free_port
from pii_pipeline_tests.kpl import aggregate
from pii_pipeline_tests.old_piinguin import OldPiinguin, old_piinguin
from pii_pipeline_tests.pii_events import CANARY, in_json, line, other_event, pii_event, transformation
from pii_pipeline_tests.vault_client import entries
from pii_pipeline_tests.vault_server import Piinguin, VaultServer, vault_server

SOURCE = "arn:aws:kinesis:eu-central-1:123456789012:stream/pii-events"
SHARD = "shardId-000000000003"
POLICY = """
principals:
  relay-desk: {token_sha256: %s, create: [{streams: [piinguin], fields: [value]}]}
  nobody-much: {token_sha256: %s, erase: true}
"""


@dataclass
class Context:
    """What Lambda tells."""

    seconds: float = 30.0

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


def batch(*lines: bytes, first: int = 1) -> dict[str, Any]:
    """An event of the event source mapping."""
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": CANARY,
                    "sequenceNumber": str(number),
                    "data": base64.b64encode(each).decode(),
                    "approximateArrivalTimestamp": 1545084650.987,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"{SHARD}:{number}",
                "eventName": "aws:kinesis:record",
                "eventSourceARN": SOURCE,
            }
            for number, each in enumerate(lines, start=first)
        ]
    }


def failures(answer: dict[str, Any]) -> list[str]:
    """What Lambda makes of the answer, which has no other key."""
    assert answer.keys() == {"batchItemFailures"}
    assert all(item.keys() == {"itemIdentifier"} for item in answer["batchItemFailures"])
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


Invoke = Callable[..., tuple[list[str], dict[str, Any]]]


@pytest.fixture
def point(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets the function's environment as `point(address, NAME="…")`, as for a function that starts anew."""

    def set_all(address: str, **variables: str) -> None:
        host, _, port = address.rpartition(":")
        for name, value in {"PIINGUIN_HOST": host, "PIINGUIN_PORT": port, **variables}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(module, "_relay", None)

    for name in ("PIINGUIN_TIMEOUT_SEC", "PII_RELAY_QUARANTINE", "PII_RELAY_TLS", "PII_VAULT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "_relay", None)
    yield set_all
    if module._relay is not None:
        module._relay._piinguin.close()


@pytest.fixture
def invoke(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Invoke:
    """Calls the handler; gives what failed and the counts, which are all that it prints."""

    def call(event: dict[str, Any], seconds: float = 30.0) -> tuple[list[str], dict[str, Any]]:
        capfd.readouterr()
        caplog.clear()
        answer = handler(event, Context(seconds))
        printed = capfd.readouterr()
        assert CANARY not in f"{printed.out}{printed.err}{caplog.text}{json.dumps(answer)}"
        (counts,) = printed.out.splitlines()
        found = json.loads(counts)
        fates = (found["relayed"], found["other"], sum(found["quarantined"].values()), found["failed"])
        assert sum(fates) == found["records"] == len(event["Records"])
        return failures(answer), found

    return call


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    import hashlib

    digests = tuple(hashlib.sha256(token.encode()).hexdigest() for token in ("relays", "erases"))
    with vault_server(tmp_path_factory.mktemp("vault"), POLICY % digests) as running:
        yield running


@pytest.fixture
def old() -> Iterator[OldPiinguin]:
    with old_piinguin() as running:
        yield running


def told(server: VaultServer, modified: str) -> str:
    """The original, as a client of Piinguin's reads it."""
    with grpc.insecure_channel(server.address) as channel:
        client = Piinguin(channel)
        return client.read(client.look(modified)).piiRecord.originalValue


def test_a_batch_is_in_the_vault(server: VaultServer, point: Any, invoke: Invoke):
    point(server.address)
    both = line(transformation({"pojo": [], "json": [in_json("b-2", f"Zoë {CANARY}")]}))
    failed, counts = invoke(batch(pii_event(("b-1", CANARY), ("b-0", "\x00")), other_event(), both))
    assert failed == []
    assert counts == {
        "records": 3,
        "events": 3,
        "relayed": 2,
        "other": 1,
        "quarantined": {},
        "failed": 0,
        "unreadable": 0,
        "originals": 3,
        "problem": None,
    }
    originals = [told(server, modified) for modified in ("b-1", "b-0", "b-2")]
    assert originals == [CANARY, "\x00", f"Zoë {CANARY}"]
    assert CANARY not in server.log


def test_the_same_batch_may_come_again_and_the_connection_stays(
    server: VaultServer, point: Any, invoke: Invoke
):
    point(server.address)
    event = batch(pii_event(("again", CANARY)))
    assert invoke(event)[0] == []
    relay = module._relay
    assert relay is not None and (channel := relay._piinguin._channel) is not None
    assert invoke(event)[0] == []
    assert module._relay is relay and relay._piinguin._channel is channel
    assert told(server, "again") == CANARY


def test_records_of_the_kpl_are_those_in_them(server: VaultServer, point: Any, invoke: Invoke):
    point(server.address)
    events = [pii_event((f"kpl-{number}", f"{CANARY} {number}")) for number in range(30)]
    mixed = aggregate([events[0], other_event(), *events[1:20]], ["a", "b"])
    event = batch(mixed, events[20], aggregate([other_event()] * 3), aggregate(events[21:], tagged=True))
    failed, counts = invoke(event)
    assert (failed, counts["relayed"], counts["other"]) == ([], 3, 1)
    assert (counts["events"], counts["originals"]) == (34, 30)
    assert [told(server, f"kpl-{number}") for number in (0, 19, 20, 29)] == [
        f"{CANARY} {number}" for number in (0, 19, 20, 29)
    ]


def test_a_record_of_the_kpl_comes_again_as_a_whole(old: OldPiinguin, point: Any, invoke: Invoke):
    """Of what is in it, Kinesis knows nothing."""
    point(old.address)
    events = [pii_event((f"m-{number}", CANARY)) for number in range(9)]
    old.refuses = {"m-5"}
    event = batch(
        aggregate(events[:3]), aggregate([*events[3:6], other_event()]), aggregate(events[6:]), first=7
    )
    failed, counts = invoke(event)
    assert (failed, counts["problem"]) == (["8"], "refused")
    assert (counts["relayed"], counts["failed"], counts["originals"]) == (1, 2, 5)
    old.refuses = set()
    assert invoke({"Records": event["Records"][1:]})[0] == []
    assert old.records == {f"m-{number}": CANARY for number in range(9)}


def test_of_a_record_of_the_kpl_with_bad_events_the_good_are_relayed_and_all_is_in_quarantine(
    server: VaultServer, point: Any, invoke: Invoke, tmp_path: Path
):
    broken = aggregate([pii_event(("in-broken", CANARY))])[:-1]
    half = aggregate([pii_event(("beside", CANARY)), line("{"), b"no event", pii_event(("behind", CANARY))])
    event = batch(broken, half, aggregate([pii_event(("whole", CANARY))]))
    point(server.address)
    failed, counts = invoke(event)  # there is no quarantine
    assert (failed, counts["failed"], counts["relayed"], counts["unreadable"]) == (["1"], 2, 1, 2)
    point(server.address, PII_RELAY_QUARANTINE=tmp_path.as_uri())
    failed, counts = invoke(event)
    assert (failed, counts["quarantined"]) == ([], {"bad_aggregate": 1, "not_json": 1})
    assert (counts["events"], counts["originals"]) == (5, 3)
    kept = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("[0-9]")}
    place = f"pii-events/{SHARD}"
    assert kept == {f"bad_aggregate/{place}/1": broken, f"not_json/{place}/2": half}
    assert [told(server, modified) for modified in ("beside", "behind", "in-broken")] == [CANARY, CANARY, ""]


def test_many_originals_are_streams_and_one_entry_of_the_log_each_at_most(
    server: VaultServer, point: Any, invoke: Invoke
):
    point(server.address)
    before = len(entries(server))
    lines = [pii_event(*((f"many-{n}-{k}", f"{CANARY} {n} {k}") for k in range(5))) for n in range(400)]
    failed, counts = invoke(batch(*lines))
    assert (failed, counts["originals"], counts["relayed"]) == ([], 2_000, 400)
    assert told(server, "many-399-4") == f"{CANARY} 399 4"
    assert len(entries(server)) - before < 100


def test_a_token_says_who_relays_and_who_may_not_is_told_so(server: VaultServer, point: Any, invoke: Invoke):
    point(server.address, PII_VAULT_TOKEN="relays")
    assert invoke(batch(pii_event(("by-token", "o"))))[0] == []
    assert [entry["principal"] for entry in entries(server) if entry["action"] == "create"][
        -1
    ] == "relay-desk"
    event = batch(other_event(), pii_event(("denied", CANARY)), other_event())
    point(server.address, PII_VAULT_TOKEN="erases")
    failed, counts = invoke(event)
    assert (failed, counts["problem"], counts["failed"]) == (["2"], "refused", 1)
    point(server.address, PII_VAULT_TOKEN="of-nobody")
    failed, counts = invoke(event)
    assert (failed, counts["problem"], counts["originals"]) == (["2"], "UNAUTHENTICATED", 0)


UNREADABLE: list[tuple[str, bytes]] = [
    ("not_utf8", b"\xff" + pii_event(("m", CANARY))),
    ("not_enriched", pii_event(("m", CANARY)) + b"\t"),
    ("not_json", line(f'{{"schema": "{CANARY}')),
    ("schema_violation", line(transformation({"pojo": [{"originalValue": CANARY}]}))),
    ("unfit", pii_event(("m", CANARY * 10_000))),
]


def test_what_cannot_be_read_is_in_a_folder_as_it_came(
    server: VaultServer, point: Any, invoke: Invoke, tmp_path: Path
):
    point(server.address, PII_RELAY_QUARANTINE=tmp_path.as_uri())
    event = batch(*(raw for _, raw in UNREADABLE), pii_event(("after", "kept")))
    event["Records"][0]["kinesis"]["data"] = f"no base64 {CANARY}"
    failed, counts = invoke(event)
    reasons = ["not_base64", *(reason for reason, _ in UNREADABLE[1:])]
    assert failed == [] and counts["quarantined"] == dict.fromkeys(reasons, 1)
    assert (counts["unreadable"], counts["relayed"]) == (5, 1)
    for number, (reason, (_, raw)) in enumerate(zip(reasons, UNREADABLE, strict=True), start=1):
        kept = (tmp_path / reason / "pii-events" / SHARD / str(number)).read_bytes()
        assert kept == (raw if number > 1 else f"no base64 {CANARY}".encode())
    assert told(server, "after") == "kept" and told(server, "m") == ""


def test_what_cannot_be_read_is_in_a_bucket_as_it_came(
    server: VaultServer, point: Any, invoke: Invoke, aws: boto3.Session
):
    point(server.address, PII_RELAY_QUARANTINE=f"{make_bucket(aws, 'quarantine')}/relay")
    event = batch(*(raw for _, raw in UNREADABLE))
    for _ in range(2):  # and once, however often it comes
        failed, counts = invoke(event)
        assert failed == [] and sum(counts["quarantined"].values()) == 5
    s3 = aws.client("s3")
    found = {
        item["Key"]: s3.get_object(Bucket="quarantine", Key=item["Key"])["Body"].read()
        for item in s3.list_objects_v2(Bucket="quarantine")["Contents"]
    }
    assert found == {
        f"relay/{reason}/pii-events/{SHARD}/{number}": raw
        for number, (reason, raw) in enumerate(UNREADABLE, start=1)
    }


@pytest.mark.parametrize("place", ["", "s3://there-is-none/relay"])
def test_what_cannot_be_read_and_cannot_be_put_away_comes_again(
    server: VaultServer, point: Any, invoke: Invoke, aws: boto3.Session, place: str
):
    point(server.address, PII_RELAY_QUARANTINE=place)
    good = pii_event(("beside-bad", "kept"))
    failed, counts = invoke(batch(good, line("{"), good, line("{")))
    assert (failed, counts["failed"], counts["unreadable"], counts["relayed"]) == (["2"], 2, 2, 2)
    assert counts["quarantined"] == {} and told(server, "beside-bad") == "kept"


def test_names_of_the_quarantine_cannot_lead_out_of_it(
    server: VaultServer, point: Any, invoke: Invoke, tmp_path: Path
):
    point(server.address, PII_RELAY_QUARANTINE=(tmp_path / "q").as_uri())
    event = batch(line("{"))
    event["Records"][0].update(eventSourceARN="..", eventID="../../x:1")
    assert invoke(event)[0] == []
    (kept,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept.relative_to(tmp_path).as_posix() == "q/not_json/_/_.._x/1"


def test_nothing_is_lost_while_the_vault_is_away(point: Any, invoke: Invoke):
    port = free_port()
    point(f"127.0.0.1:{port}")
    event = batch(other_event(), pii_event(("away", CANARY)), pii_event(("away-2", CANARY)))
    failed, counts = invoke(event)
    assert (failed, counts["problem"], counts["failed"], counts["other"]) == (["2"], "UNAVAILABLE", 2, 1)
    with old_piinguin(port) as back:  # the same function, without a new start
        assert invoke(event)[0] == []
    assert back.records == {"away": CANARY, "away-2": CANARY}


def test_a_piinguin_tells_the_original_before_and_nobody_repeats_it(
    old: OldPiinguin, point: Any, invoke: Invoke
):
    point(old.address, PII_RELAY_TLS="off")
    for original in (CANARY, f"another {CANARY}"):
        failed, counts = invoke(batch(pii_event(("m", original), ("n", "o"))))
        assert (failed, counts["originals"]) == ([], 2)
    assert old.records == {"m": f"another {CANARY}", "n": "o"} and set(old.calls) == {"CreatePiiRecords"}


def test_half_of_a_batch_fails_and_the_first_of_it_is_told(old: OldPiinguin, point: Any, invoke: Invoke):
    """Replies come in any order, and none says which record it is of."""
    point(old.address)
    lines = [pii_event((f"m-{number}", CANARY), (f"n-{number}", CANARY)) for number in range(20)]
    old.refuses = {f"n-{number}" for number in range(10, 20)}
    failed, counts = invoke(batch(*lines, first=100))
    assert (failed, counts["problem"]) == (["110"], "refused")
    assert (counts["relayed"], counts["failed"], counts["originals"]) == (10, 10, 21)
    old.refuses = set()
    assert invoke(batch(*lines[10:], first=110))[0] == []
    assert len(old.records) == 40


def test_replies_that_never_come_are_asked_for(old: OldPiinguin, point: Any, invoke: Invoke):
    point(old.address)
    old.loses = 2
    assert invoke(batch(*(pii_event((f"m-{number}", "o")) for number in range(5))))[0] == []
    assert old.calls == ["CreatePiiRecords", *["CreatePiiRecord"] * 5]


def test_a_slow_one_is_given_its_time_and_no_more(old: OldPiinguin, point: Any, invoke: Invoke):
    point(old.address, PIINGUIN_TIMEOUT_SEC="0.3")
    old.seconds = 1.0
    failed, counts = invoke(batch(pii_event(("m", CANARY))))
    assert (failed, counts["problem"]) == (["1"], "DEADLINE_EXCEEDED")
    old.seconds = 0.0
    assert invoke(batch(pii_event(("m", CANARY))))[0] == []


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_nothing_is_begun_when_the_functions_time_is_over(
    old: OldPiinguin, point: Any, invoke: Invoke, tmp_path: Path, aws: boto3.Session, kind: str
):
    bucket = make_bucket(aws, "quarantine")
    point(old.address, PII_RELAY_QUARANTINE=tmp_path.as_uri() if kind == "folder" else bucket)
    event = batch(line("{"), pii_event(("m", CANARY)))
    failed, counts = invoke(event, seconds=1.0)
    assert (failed, counts["problem"], counts["failed"]) == (["1"], "out of time", 2)
    assert old.calls == [] and not list(tmp_path.iterdir())
    assert "Contents" not in aws.client("s3").list_objects_v2(Bucket="quarantine")
    assert invoke(event)[0] == []


def test_what_was_kept_of_a_large_batch_stays_kept_when_the_rest_fails(
    old: OldPiinguin, point: Any, invoke: Invoke
):
    """So that a batch which is too large for the time is smaller when it comes again."""
    point(old.address)
    old.refuses = {"m-1200"}
    failed, counts = invoke(batch(*(pii_event((f"m-{number}", "o")) for number in range(1_500))))
    assert (failed, counts["originals"], counts["relayed"]) == (["1201"], 1_200, 1_200)
    assert old.calls.count("CreatePiiRecords") == 3


def test_large_originals_go_in_messages_that_are_taken(server: VaultServer, point: Any, invoke: Invoke):
    point(server.address)
    lines = [pii_event((f"large-{number}", "x" * 65_536)) for number in range(100)]
    assert invoke(batch(*lines))[0] == []
    assert told(server, "large-99") == "x" * 65_536


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"Records": None},
        {"Records": [{"Sns": {"Message": CANARY}}]},
        {"Records": [{**batch(b"")["Records"][0], "kinesis": {"sequenceNumber": "", "data": ""}}]},
    ],
)
def test_what_is_no_batch_of_kinesis_is_no_success(event: dict[str, Any], point: Any):
    """An answer without failures would have Lambda go on behind it."""
    point("127.0.0.1:1")
    with pytest.raises(NotKinesis) as raised:
        handler(event, Context())
    assert CANARY not in str(raised.value)


def test_an_empty_batch_asks_nobody(point: Any, invoke: Invoke):
    point("127.0.0.1:1")
    assert invoke(batch())[0] == [] and invoke(batch(other_event()))[0] == []


def test_without_settings_the_function_fails(point: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PIINGUIN_HOST", raising=False)
    with pytest.raises(RelaySettingError, match="PIINGUIN_HOST"):
        handler(batch(pii_event(("m", CANARY))), Context())


def test_records_of_a_stream_arrive(server: VaultServer, point: Any, invoke: Invoke, aws: boto3.Session):
    """Read with boto3, and given to the function as Lambda does."""
    kinesis = aws.client("kinesis")
    kinesis.create_stream(StreamName="pii-events", ShardCount=1)
    kinesis.get_waiter("stream_exists").wait(StreamName="pii-events")
    lines = [pii_event(("of-stream", CANARY)), other_event(), line("{"), pii_event(("of-stream-2", CANARY))]
    kinesis.put_records(
        StreamName="pii-events", Records=[{"Data": each, "PartitionKey": "p"} for each in lines]
    )
    point(server.address)
    failed, counts = invoke(_as_lambda(kinesis))
    assert counts["relayed"] == 2 and len(failed) == 1
    again = _as_lambda(kinesis, failed[0])
    point(server.address, PII_RELAY_QUARANTINE=make_bucket(aws, "quarantine"))
    failed, counts = invoke(again)
    assert (failed, counts["relayed"], counts["quarantined"]) == ([], 1, {"not_json": 1})
    assert told(server, "of-stream") == told(server, "of-stream-2") == CANARY


def _as_lambda(kinesis: Any, since: str | None = None) -> dict[str, Any]:
    """The records of the stream's shard, from a sequence number on."""
    shard = kinesis.describe_stream(StreamName="pii-events")["StreamDescription"]["Shards"][0]["ShardId"]
    start: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
    if since is not None:
        start = {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": since}
    iterator = kinesis.get_shard_iterator(StreamName="pii-events", ShardId=shard, **start)["ShardIterator"]
    records: Sequence[Any] = kinesis.get_records(ShardIterator=iterator)["Records"]
    event = batch(*(record["Data"] for record in records))
    for item, record in zip(event["Records"], records, strict=True):
        item["kinesis"]["sequenceNumber"] = record["SequenceNumber"]
        item["eventID"] = f"{shard}:{record['SequenceNumber']}"
    return event
