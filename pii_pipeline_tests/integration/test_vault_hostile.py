"""What the vault's service does with what no client should send, too many clients, and too little time."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2

from pii_pipeline_tests.vault_client import Client, code_of, entries
from pii_pipeline_tests.vault_server import Piinguin, VaultServer, health_of, vault_server

OTHER, THIRD = "a token of another", "a token of a third"
POLICY = f"""
ticket: "[A-Z]{{2,10}}-[0-9]{{1,9}}"
purposes:
  fraud: {{description: Who is behind it., ticket: optional}}
principals:
  operator:
    read: [{{streams: [logins], fields: [ip], bases: [legal_obligation], purposes: [fraud]}}]
    create: [{{streams: [logins], fields: [ip]}}]
    delete: [{{streams: [logins], fields: [ip]}}]
    erase: true
  other:
    token_sha256: {hashlib.sha256(OTHER.encode()).hexdigest()}
    create: [{{streams: [logins], fields: [ip]}}]
  third:
    token_sha256: {hashlib.sha256(THIRD.encode()).hexdigest()}
    create: [{{streams: [logins], fields: [ip]}}]
"""
REQUESTS = {
    "CreateRecord": "CreateRecordRequest",
    "CreateRecords": "CreateRecordsRequest",
    "ReadRecord": "ReadRecordRequest",
    "ReadRecords": "ReadRecordsRequest",
    "DeleteRecord": "DeleteRecordRequest",
    "DeleteRecords": "DeleteRecordsRequest",
    "EraseSubject": "EraseSubjectRequest",
}
EXPECTED = {"OK", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "PERMISSION_DENIED"}
MOST_CALLS = 128
THREADS = 32
MOST_OF_ONE = 64
MOST_WATCHERS = 32
MOST_CONNECTIONS = 512


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with vault_server(tmp_path_factory.mktemp("vault"), POLICY) as running:
        yield running
        assert running.end() == 0
        assert "ERROR" not in running.log and "Traceback" not in running.log
        assert "planted" not in running.log


@pytest.fixture
def channel(server: VaultServer):
    with grpc.insecure_channel(server.address) as opened:
        yield opened


@pytest.fixture
def client(server: VaultServer, channel: grpc.Channel) -> Client:
    return Client(channel, server.token)


@contextmanager
def busy_database(server: VaultServer) -> Iterator[None]:
    """Nobody else writes to the vault's database meanwhile."""
    database = sqlite3.connect(server.folder / "vault.db", timeout=60, isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")
    finally:
        database.close()


def outcome(call) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name  # pyright: ignore[reportAttributeAccessIssue]
    return "OK"


def test_random_bytes_are_answered_with_a_status(client: Client):
    chance = random.Random(5)
    outcomes = Counter()
    for method in REQUESTS:
        for _ in range(100):
            outcomes[outcome(lambda: client(method, chance.randbytes(chance.randrange(60))))] += 1  # noqa: B023
    assert outcomes["INVALID_ARGUMENT"] > 500 and set(outcomes) <= EXPECTED, outcomes


def test_altered_messages_are_answered_with_a_status(client: Client):
    chance = random.Random(6)
    key = client.key("fuzz")
    good = [
        ("CreateRecord", client.creation("fuzz", "planted.example", subject=("customer", "planted"))),
        ("ReadRecord", client.look("fuzz")),
        ("DeleteRecord", client.protocol.DeleteRecordRequest(key=key)),
    ]
    outcomes = Counter()
    for method, message in good:
        data = message.SerializeToString()
        for _ in range(200):
            altered = bytearray(data)
            for _ in range(chance.randrange(1, 4)):
                altered[chance.randrange(len(altered))] = chance.randrange(256)
            cut = chance.choice([len(altered), len(altered), chance.randrange(len(altered))])
            outcomes[outcome(lambda: client(method, bytes(altered[:cut])))] += 1  # noqa: B023
    assert len(outcomes) > 1 and set(outcomes) <= EXPECTED, outcomes


def test_random_bytes_in_streams_get_a_reply_each(client: Client, channel: grpc.Channel):
    chance = random.Random(7)
    noise = [chance.randbytes(chance.randrange(40)) for _ in range(500)]
    for method in ("StreamCreates", "StreamReads", "StreamDeletes"):
        replies = list(client(method, iter(noise)))
        assert [reply.position for reply in replies] == list(range(len(noise)))
    piinguin = Piinguin(channel)
    for method in ("CreatePiiRecords", "ReadPiiRecords", "DeletePiiRecords"):
        assert len(list(getattr(piinguin.calls, method)(iter(noise)))) == len(noise)


@pytest.mark.parametrize(
    "text", [b"\xed\xa0\x80", b"\xff\xfe", b"\xc0\x80"], ids=["surrogate", "bytes", "overlong"]
)
def test_text_that_is_no_utf8_is_invalid(client: Client, text: bytes):
    key = b"\x0a\x06logins\x12\x02ip\x1a\x40" + b"a" * 64
    record = b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(text)]) + text
    request = b"\x0a" + bytes([len(record)]) + record
    assert code_of(lambda: client("CreateRecord", request))[0] == "INVALID_ARGUMENT"
    good = request.replace(
        b"\x12" + bytes([len(text)]) + text, b"\x12" + bytes([len(text)]) + b"x" * len(text)
    )
    client("CreateRecord", good)


@pytest.mark.parametrize(
    "original", ["", "\0", "a\0b\0", "🐧 ünï 漢字", "\u202eplanted", "x" * 65_536, "é" * 32_768]
)
def test_any_text_comes_back_as_it_went_in(client: Client, original: str):
    client.create(("text", original), original)
    assert client.read(("text", original)) == [original]


@pytest.mark.parametrize("original", ["x" * 65_537, "é" * 32_769, "x" * 3_000_000])
def test_longer_originals_are_refused(client: Client, original: str):
    code, details = code_of(lambda: client.create("long", original))
    assert code == "INVALID_ARGUMENT" and original[:4] not in details


@pytest.mark.parametrize(
    ("part", "bad"),
    [
        *(("pseudonym", bad) for bad in ("", "A" * 64, "a" * 31, "a" * 129, "planted", "a" * 64 + "\n")),
        *(("stream", bad) for bad in ("", "../x", "jane@planted.example", "Logins", "x" * 256, "logins\0")),
        *(("field", bad) for bad in ("", "ip\0planted", "planted\n", "x" * 256)),
    ],
)
def test_pseudonyms_streams_and_fields_are_written_as_such(client: Client, part: str, bad: str):
    key = client.key("x")
    setattr(key, part, bad)
    code, details = code_of(lambda: client("DeleteRecord", client.protocol.DeleteRecordRequest(key=key)))
    assert code == "INVALID_ARGUMENT" and "planted" not in details


def test_noise_on_the_port_ends_nothing(server: VaultServer, client: Client):
    host, port = server.address.split(":")
    chance = random.Random(8)
    for start in (b"", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01"):
        with socket.create_connection((host, int(port)), 10) as connection:
            connection.sendall(start + chance.randbytes(2_000))
    client.create("after noise", "o")
    assert client.read("after noise") == ["o"]


def test_methods_and_services_that_are_not_there_are_unimplemented(channel: grpc.Channel):
    for path in ("/pii.vault.v1.Vault/DropRecords", "/pii.vault.v2.Vault/CreateRecord"):
        call = channel.unary_unary(path)
        assert code_of(lambda: call(b""))[0] == "UNIMPLEMENTED"  # noqa: B023


def test_metadata_that_is_no_text_or_too_long_is_refused(client: Client, server: VaultServer):
    long = (*client.metadata, ("x-long", "x" * 100_000))
    assert (
        code_of(lambda: client.calls.ReadRecord(client.look("x"), metadata=long))[0] == "RESOURCE_EXHAUSTED"
    )
    binary = (("authorization-bin", f"Bearer {server.token}".encode()),)
    assert code_of(lambda: client.calls.ReadRecord(client.look("x"), metadata=binary))[0] == "UNAUTHENTICATED"


def test_two_hundred_callers_on_one_connection_are_all_served(server: VaultServer):
    """Those beyond the bound wait at their end. gRPC may refuse some that come while others are going."""
    again = {
        "maxAttempts": 5,
        "initialBackoff": "0.05s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": again}]})
    with (
        grpc.insecure_channel(server.address, options=[("grpc.service_config", config)]) as channel,
        ThreadPoolExecutor(200) as callers,
    ):
        client = Client(channel, server.token)
        list(callers.map(lambda number: client.create(("caller", number), f"{number}"), range(200)))
        read = callers.map(lambda number: client.read(("caller", number)), range(200))
        assert list(read) == [[f"{number}"] for number in range(200)]


def test_callers_beyond_their_share_are_told_to_try_again_and_nothing_accepted_is_lost(server: VaultServer):
    """Two principals have all that there is, and none of them more than half."""
    many = 100
    with ExitStack() as stack, ThreadPoolExecutor(2 * many + 1) as callers:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            stack.enter_context(grpc.insecure_channel(server.address, options=options)) for _ in range(6)
        ]
        clients = [Client(channel, token) for channel in channels for token in (server.token, OTHER, THIRD)]

        def create(who: int, number: int) -> str:
            client = clients[3 * (number % len(channels)) + who]
            return outcome(lambda: client.create(("crowd", who, number), f"{number}"))

        with busy_database(server):
            answers: list[list[Future[str]]] = []
            for who in (0, 1):
                answers.append([callers.submit(create, who, number) for number in range(many)])
                end = time.monotonic() + 30
                while sum(map(Future.done, answers[who])) < many - MOST_OF_ONE and time.monotonic() < end:
                    time.sleep(0.05)
            assert create(2, 0) == "UNAVAILABLE"
            health = health_of(channels[0]).Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert health.status == health_pb2.HealthCheckResponse.SERVING
        for who, some in enumerate(answers):
            outcomes = [answer.result() for answer in some]
            assert Counter(outcomes) == {"OK": MOST_OF_ONE, "UNAVAILABLE": many - MOST_OF_ONE}
            for number, answer in enumerate(outcomes):
                assert clients[0].read(("crowd", who, number)) == ([f"{number}"] if answer == "OK" else [])
        assert create(2, 0) == "OK"


def test_who_watches_health_is_one_of_a_number_and_takes_nobodys_place(
    server: VaultServer, channel: grpc.Channel, client: Client
):
    with ExitStack() as opened:
        watches = []
        for _ in range(MOST_WATCHERS + 8):
            own = [("grpc.use_local_subchannel_pool", 1)]
            one = opened.enter_context(grpc.insecure_channel(server.address, own))
            watches.append(health_of(one).Watch(health_pb2.HealthCheckRequest()))
        first = Counter(outcome(lambda watch=watch: next(watch)) for watch in watches)
        assert first == {"OK": MOST_WATCHERS, "UNAVAILABLE": 8}
        client.create("watched", "o")
        assert health_of(channel).Check(health_pb2.HealthCheckRequest()).status
        for watch in watches:
            watch.cancel()
        end = time.monotonic() + 10
        while outcome(lambda: next(health_of(channel).Watch(health_pb2.HealthCheckRequest()))) != "OK":
            assert time.monotonic() < end
            time.sleep(0.1)


def test_more_connections_than_there_may_be_are_not_let_in_and_the_others_go_on(
    server: VaultServer, client: Client
):
    client.create("connected", "o")
    host, port = server.address.split(":")
    with ExitStack() as opened:
        sockets = []
        for _ in range(MOST_CONNECTIONS + 20):
            sockets.append(opened.enter_context(socket.create_connection((host, int(port)), 10)))
        let_in = sum(map(_is_let_in, sockets))
        assert MOST_CONNECTIONS - 20 <= let_in <= MOST_CONNECTIONS
        assert client.read("connected") == ["o"]
        own = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(server.address, own) as channel:
            another = Client(channel, server.token)
            assert outcome(lambda: another.read("connected", timeout=5)) == "UNAVAILABLE"
    end = time.monotonic() + 20
    while True:
        with grpc.insecure_channel(server.address, own) as channel:
            if outcome(lambda: Client(channel, server.token).read("connected")) == "OK":
                return
        assert time.monotonic() < end
        time.sleep(0.1)


def _is_let_in(connection: socket.socket) -> bool:
    """Who is, is sent settings; who is not, nothing."""
    connection.settimeout(10)
    try:
        return bool(connection.recv(1))
    except ConnectionResetError:
        return False


def test_a_call_whose_time_is_over_does_nothing_more(server: VaultServer, client: Client):
    with ThreadPoolExecutor(64) as callers:
        before = len(entries(server))
        with busy_database(server):
            waiting = [callers.submit(client.create, ("in time", number), "o") for number in range(THREADS)]
            time.sleep(0.5)  # they have all the threads by now
            late = [
                callers.submit(outcome, lambda n=number: client.create(("late", n), "o", timeout=0.5))
                for number in range(20)
            ]
            assert {one.result() for one in late} == {"DEADLINE_EXCEEDED"}
        for one in waiting:
            one.result()
        time.sleep(0.5)
        assert len(entries(server)) - before == THREADS
        assert all(client.read(("late", number)) == [] for number in range(20))


def test_a_stream_that_nobody_reads_is_not_read_on(server: VaultServer, client: Client):
    """Back-pressure: the service holds no more of a stream than it has room for."""
    sent = 0

    def requests():
        nonlocal sent
        for number in range(5_000):
            sent = number
            yield client.creation(("slow", number % 100), "x" * 10_000)

    replies = client("StreamCreates", requests())
    with busy_database(server):
        next_sent = -1
        while sent != next_sent:  # until nothing moves any more
            next_sent = sent
            time.sleep(0.5)
        assert sent < 2_000  # of which each is 10 kB
    assert sum(reply.status.code == 0 for reply in replies) == 5_000


def test_a_client_that_leaves_amid_a_stream_leaves_nothing_behind(server: VaultServer, client: Client):
    for _ in range(MOST_CALLS + 20):  # more than there may be at once
        replies = client("StreamReads", iter([client.look("x")] * 3))
        next(replies)
        replies.cancel()
    end = time.monotonic() + 10
    while outcome(lambda: client.read("x")) != "OK" and time.monotonic() < end:
        time.sleep(0.1)
    assert client.read("x") == []


def test_who_shows_no_token_cannot_keep_the_others_out(
    server: VaultServer, channel: grpc.Channel, client: Client
):
    done = threading.Event()

    def idle(piinguin: Piinguin) -> Iterator[object]:
        yield piinguin.look("x")
        done.wait()

    client.create("kept", "203.0.113.1")
    with ExitStack() as opened:
        streams = []
        for _ in range(2):  # a connection has as many calls as there may be at once
            own = [("grpc.use_local_subchannel_pool", 1)]
            one = opened.enter_context(grpc.insecure_channel(server.address, own))
            piinguin = Piinguin(one)
            streams += [piinguin.calls.ReadPiiRecords(idle(piinguin)) for _ in range(MOST_CALLS // 2)]
        first = Counter(outcome(lambda stream=stream: next(stream)) for stream in streams)
        assert first == {"OK": MOST_CALLS // 2, "UNAVAILABLE": MOST_CALLS // 2}
        assert client.read("kept") == ["203.0.113.1"]
        stranger = Client(channel, "nobody's")
        assert outcome(lambda: stranger.read("kept")) == "UNAVAILABLE", "they have piinguin's places"
        done.set()
