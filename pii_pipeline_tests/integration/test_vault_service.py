"""Our own service over real channels: what is told, to whom, and with which status."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from pii_pipeline_tests.vault_client import CONSENT, Client, code_of, entries, pseudonym
from pii_pipeline_tests.vault_server import VaultServer, health_of, vault_server

LIMITED = "limited-token-for-tests"
NOBODY = "a token of somebody who may nothing"
POLICY = f"""
ticket: "[A-Z]{{2,10}}-[0-9]{{1,9}}"
purposes:
  fraud: {{description: Who is behind it., ticket: required}}
  support: {{description: Somebody asks., consent: 1}}
principals:
  operator:
    read:
      - {{streams: [logins], fields: [ip], bases: [legal_obligation, consent], purposes: [fraud, support]}}
    create: [{{streams: [logins], fields: [ip, device_id]}}]
    delete: [{{streams: [logins], fields: [ip]}}]
    erase: true
  nobody:
    token_sha256: {hashlib.sha256(NOBODY.encode()).hexdigest()}
  limited:
    token_sha256: {hashlib.sha256(LIMITED.encode()).hexdigest()}
    read: [{{streams: [logins], fields: [ip], bases: [legal_obligation], purposes: [fraud]}}]
    limits: {{records_per_day: 3}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with vault_server(tmp_path_factory.mktemp("vault"), POLICY) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: VaultServer):
    with grpc.insecure_channel(server.address) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(server: VaultServer, channel: grpc.Channel) -> Client:
    return Client(channel, server.token)


def test_a_record_is_created_read_and_deleted(client: Client):
    stored = client("CreateRecord", client.creation("one", "192.0.2.1")).stored
    assert (stored.new, stored.known) == (1, 0)
    stored = client("CreateRecord", client.creation("one", "192.0.2.1")).stored
    assert (stored.new, stored.known) == (0, 1)
    client("CreateRecord", client.creation("one", "192.0.2.2"))
    assert sorted(client.read("one")) == ["192.0.2.1", "192.0.2.2"]
    assert client("DeleteRecord", client.protocol.DeleteRecordRequest(key=client.key("one"))).deleted == 2
    assert client.read("one") == []
    assert client("DeleteRecord", client.protocol.DeleteRecordRequest(key=client.key("one"))).deleted == 0


def test_batches_are_one_entry_of_the_audit_log_and_keep_their_order(client: Client, server: VaultServer):
    records = [client.record(("batch", number), f"192.0.2.{number}") for number in range(200)]
    before = entries(server)
    stored = client("CreateRecords", client.protocol.CreateRecordsRequest(records=records)).stored
    assert (stored.new, stored.known) == (200, 0)
    keys = [client.key(("batch", number)) for number in reversed(range(-1, 200))]
    request = client.protocol.ReadRecordsRequest(reason=client.reason(), keys=keys)
    found = client("ReadRecords", request).found
    assert [list(one.originals) for one in found[:-1]] == [[f"192.0.2.{n}"] for n in reversed(range(200))]
    assert not found[-1].originals
    deletion = client.protocol.DeleteRecordsRequest(keys=keys)
    assert client("DeleteRecords", deletion).deleted == 200
    new = entries(server)[len(before) :]
    assert [(entry["action"], entry["principal"], entry["counts"]) for entry in new] == [
        ("create", "operator", {"asked": 200}),
        ("read", "operator", {"asked": 201, "found": 200, "withheld": 0}),
        ("delete", "operator", {"asked": 201}),
    ]
    assert new[1]["basis"] == "legal_obligation" and new[1]["ticket"] == "FR-1"


def test_streams_say_position_and_status_of_each_record(client: Client, server: VaultServer):
    count = 2_000
    before = len(entries(server))

    def creations():
        for number in range(count):
            if number % 100 == 7:
                yield client.creation(number, "x", stream="webshop", field="user_id")
            elif number % 100 == 8:
                yield client.protocol.CreateRecordRequest()
            else:
                yield client.creation(("s", number), f"s{number}.example")

    replies = list(client("StreamCreates", creations()))
    assert [reply.position for reply in replies] == list(range(count))
    expected = {7: grpc.StatusCode.PERMISSION_DENIED, 8: grpc.StatusCode.INVALID_ARGUMENT}
    for number, reply in enumerate(replies):
        assert reply.status.code == expected.get(number % 100, grpc.StatusCode.OK).value[0], number
    looks = (client.look(("s", number), basis=0 if number % 100 == 9 else 3) for number in range(count))
    for number, told in enumerate(client("StreamReads", looks)):
        assert told.position == number
        if number % 100 == 9:
            assert told.status.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
            assert not told.HasField("found")
        else:
            original = [] if number % 100 in expected else [f"s{number}.example"]
            assert (told.status.code, list(told.found.originals)) == (0, original)
    deletions = (
        client.protocol.DeleteRecordRequest(key=client.key(("s", number))) for number in range(count)
    )
    assert [reply.status.code for reply in client("StreamDeletes", deletions)] == [0] * count
    made = len(entries(server)) - before
    assert made < count / 4, f"{made} entries of the audit log for {3 * count} requests in streams"


@pytest.mark.parametrize("token", [None, "", "wrong"])
def test_without_a_token_that_is_known_nothing_is_told(channel: grpc.Channel, token: str | None):
    client = Client(channel, None)
    if token is not None:
        client.metadata = (("authorization", f"Bearer {token}"),)
    for method, request in [
        ("ReadRecord", client.look("one")),
        ("CreateRecord", client.creation("one", "x")),
        ("EraseSubject", client.protocol.EraseSubjectRequest()),
    ]:
        code, details = code_of(lambda method=method, request=request: client(method, request))
        assert code == "UNAUTHENTICATED"
        assert "token" in details
    code, _ = code_of(lambda: list(client("StreamReads", iter([client.look("one")]))))
    assert code == "UNAUTHENTICATED"


def test_another_scheme_is_no_token(channel: grpc.Channel, server: VaultServer):
    client = Client(channel, None)
    client.metadata = (("authorization", f"Basic {server.token}"),)
    assert code_of(lambda: client.read("one"))[0] == "UNAUTHENTICATED"


def test_unauthenticated_callers_are_in_the_audit_log_but_cannot_fill_it(
    channel: grpc.Channel, server: VaultServer
):
    client = Client(channel, "nobody's")
    for _ in range(200):
        assert code_of(lambda: client.read("one"))[0] == "UNAUTHENTICATED"
    made = [entry for entry in entries(server) if entry["principal"] == "unknown"]
    assert {entry["why"] for entry in made if "why" in entry} == {"unauthenticated"}
    by_minute = Counter(entry["at"][:16] for entry in made)
    assert made and max(by_minute.values()) <= 61


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ({"basis": 0}, "FAILED_PRECONDITION"),
        ({"basis": 99}, "FAILED_PRECONDITION"),
        ({"basis": 2}, "PERMISSION_DENIED"),
        ({"purpose": "curiosity"}, "PERMISSION_DENIED"),
        ({"ticket": ""}, "PERMISSION_DENIED"),
        ({"ticket": "jane@planted.example"}, "PERMISSION_DENIED"),
    ],
)
def test_a_read_that_is_not_reasoned_is_refused(client: Client, server: VaultServer, reason, code):
    told, details = code_of(lambda: client.read("one", **reason))
    assert told == code
    assert "planted" not in details
    assert "planted" not in json.dumps(entries(server))


def test_what_the_policy_does_not_grant_is_denied(client: Client):
    denied = client.creation("one", "x", stream="webshop", field="user_id")
    assert code_of(lambda: client("CreateRecord", denied))[0] == "PERMISSION_DENIED"
    key = client.key("one", field="device_id")
    request = client.protocol.ReadRecordRequest(reason=client.reason(), key=key)
    assert code_of(lambda: client("ReadRecord", request))[0] == "PERMISSION_DENIED"
    deletion = client.protocol.DeleteRecordRequest(key=key)
    assert code_of(lambda: client("DeleteRecord", deletion))[0] == "PERMISSION_DENIED"


def test_what_is_not_written_as_it_has_to_be_is_invalid(client: Client):
    bad = client.protocol.RecordKey(stream="logins", field="ip", pseudonym="jane@planted.example")
    request = client.protocol.ReadRecordRequest(reason=client.reason(), key=bad)
    code, details = code_of(lambda: client("ReadRecord", request))
    assert code == "INVALID_ARGUMENT" and "planted" not in details
    code, _ = code_of(lambda: client("CreateRecord", client.creation("one", "x" * 65_537)))
    assert code == "INVALID_ARGUMENT"
    code, details = code_of(lambda: client("CreateRecord", client.protocol.CreateRecordRequest()))
    assert (code, details) == ("INVALID_ARGUMENT", "no record in the request")
    many = client.protocol.ReadRecordsRequest(reason=client.reason(), keys=[client.key("one")] * 10_001)
    assert code_of(lambda: client("ReadRecords", many))[0] == "INVALID_ARGUMENT"
    assert code_of(lambda: client("ReadRecord", b"\xff\xff\xff"))[0] == "INVALID_ARGUMENT"
    assert (
        code_of(lambda: client("EraseSubject", client.protocol.EraseSubjectRequest()))[0]
        == "INVALID_ARGUMENT"
    )


def test_limits_of_the_policy_are_resource_exhausted(channel: grpc.Channel):
    client = Client(channel, LIMITED)
    for _ in range(3):
        client.read("one")
    code, details = code_of(lambda: client.read("one"))
    assert code == "RESOURCE_EXHAUSTED" and "no more than 3 records" in details


def test_a_reply_that_is_too_large_says_so(client: Client):
    originals = [f"{number:03}" * 20_000 for number in range(80)]
    for start in range(0, 80, 40):
        records = [client.record("large", original) for original in originals[start : start + 40]]
        client("CreateRecords", client.protocol.CreateRecordsRequest(records=records))
    code, details = code_of(lambda: client.read("large"))
    assert code == "RESOURCE_EXHAUSTED" and "larger than a message" in details
    (told,) = client("StreamReads", iter([client.look("large")]))
    assert told.status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0] and not told.found.originals


def test_a_request_that_is_too_large_is_refused(client: Client):
    records = [client.record(number, "x" * 60_000) for number in range(100)]
    request = client.protocol.CreateRecordsRequest(records=records)
    assert code_of(lambda: client("CreateRecords", request))[0] == "RESOURCE_EXHAUSTED"


def test_a_data_subject_is_erased_with_what_is_known_by_the_originals_alone(client: Client):
    person = ("customer", "jane-1")
    client("CreateRecord", client.creation("hers", "203.0.113.1", subject=person))
    client("CreateRecord", client.creation("shared", "203.0.113.1", subject=person))
    client("CreateRecord", client.creation("shared", "203.0.113.1", subject=("customer", "john-2")))
    client("CreateRecord", client.creation("unbound", "203.0.113.1"))
    client("CreateRecord", client.creation("unbound", "203.0.113.2"))
    request = client.protocol.EraseSubjectRequest(
        subject=client.protocol.DataSubject(namespace="customer", id="jane-1"), originals=["203.0.113.1"]
    )
    assert client("EraseSubject", request).deleted == 3
    assert client.read("hers") == []
    assert client.read("shared") == ["203.0.113.1"]  # it is somebody else's as well
    assert client.read("unbound") == ["203.0.113.2"]
    assert client("EraseSubject", request).deleted == 0


def test_who_may_not_erase_is_not_told_whose_records_there_are(channel: grpc.Channel, server: VaultServer):
    client = Client(channel, NOBODY)
    for namespace in ("customer", "planted"):
        subject = client.protocol.DataSubject(namespace=namespace, id="jane-1")
        request = client.protocol.EraseSubjectRequest(subject=subject)
        assert code_of(lambda request=request: client("EraseSubject", request))[0] == "PERMISSION_DENIED"
        last = entries(server)[-1]
        assert (last["principal"], last["refused"], last["why"]) == ("nobody", "erase", "denied")


def test_a_namespace_that_no_contract_has_is_nobodys(client: Client, server: VaultServer):
    before = len(entries(server))
    for method, request in [
        ("CreateRecord", client.creation("one", "x", subject=("planted", "jane"))),
        (
            "EraseSubject",
            client.protocol.EraseSubjectRequest(
                subject=client.protocol.DataSubject(namespace="planted", id="jane")
            ),
        ),
    ]:
        code, details = code_of(lambda method=method, request=request: client(method, request))
        assert code == "INVALID_ARGUMENT" and "planted" not in details and "jane" not in details
    new = entries(server)[before:]
    assert [(one["refused"], one["why"]) for one in new] == [("create", "invalid"), ("erase", "invalid")]
    replies = client(
        "StreamCreates",
        iter(
            [
                client.creation("a", "a.example"),
                client.creation("b", "b.example", subject=("planted", "jane")),
                client.creation("c", "c.example", subject=("customer", "jane-3")),
                client.creation("d", "d.example", subject=("customer", "")),
            ]
        ),
    )
    invalid = grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert [reply.status.code for reply in replies] == [0, invalid, 0, invalid]
    assert client.read("c") == ["c.example"]


def test_consent_that_nobody_gave_is_withheld_and_said_to_be(client: Client):
    client("CreateRecord", client.creation("hers", "203.0.113.9", subject=("customer", "jane-4")))
    found = client("ReadRecord", client.look("hers", basis=CONSENT, purpose="support", ticket="")).found
    assert (list(found.originals), found.withheld) == ([], 1)


def test_the_service_is_healthy_and_tells_nobody_what_it_is_made_of(channel: grpc.Channel):
    health = health_of(channel)
    for service in (
        "",
        "pii.vault.v1.Vault",
        "com.snowplowanalytics.piinguin.server.generated.protocols.Piinguin",
    ):
        reply = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    assert reflected(channel) is None


def test_reflection_is_there_when_it_is_asked_for(tmp_path):
    with vault_server(tmp_path, "{}", None, "--reflection") as server:
        with grpc.insecure_channel(server.address) as channel:
            assert "pii.vault.v1.Vault" in (reflected(channel) or [])
        assert server.end() == 0


def test_a_record_that_was_altered_is_told_as_such_beside_the_others_and_in_the_log(
    client: Client, server: VaultServer
):
    client(
        "CreateRecords",
        client.protocol.CreateRecordsRequest(
            records=[
                client.record("whole", "a.planted.example"),
                client.record("altered", "b.planted.example"),
            ]
        ),
    )
    with sqlite3.connect(server.folder / "vault.db", timeout=60) as database:
        change = "UPDATE vault_records SET pseudonym = ? WHERE CAST(pseudonym AS TEXT) = ?"
        changed = database.execute(change, (pseudonym("elsewhere").encode(), pseudonym("altered")))
        assert changed.rowcount == 1
    names = ["whole", "elsewhere", "altered"]
    tampered = 3  # WITHHELD_TAMPERED
    request = client.protocol.ReadRecordsRequest(reason=client.reason(), keys=map(client.key, names))
    told = [(list(one.originals), one.withheld) for one in client("ReadRecords", request).found]
    assert told == [(["a.planted.example"], 0), ([], tampered), ([], 0)]
    stream = list(client("StreamReads", map(client.look, names)))
    assert [one.status.code for one in stream] == [0, 0, 0]
    assert [(list(one.found.originals), one.found.withheld) for one in stream] == told
    read = entries(server)[-1]
    assert read["action"] == "read" and read["counts"]["tampered"] == 1
    assert "ERROR logins, ip: what the vault's database has of 1 pseudonyms was altered" in server.log
    assert "planted" not in server.log


def test_nothing_of_it_is_in_the_log_or_a_file(client: Client, server: VaultServer):
    client("CreateRecord", client.creation("planted", "needle.planted.example"))
    assert client.read("planted") == ["needle.planted.example"]
    for path in server.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"planted.example" not in data and b"203.0.113" not in data, path.name
    assert "Traceback" not in server.log


def reflected(channel: grpc.Channel) -> list[str] | None:
    """The services that it tells of; None if it does not tell."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests: Any = reflection_pb2
    request = requests.ServerReflectionRequest(list_services="")
    try:
        (reply,) = stub.ServerReflectionInfo(iter([request]))
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED  # pyright: ignore
        return None
    return [service.name for service in reply.list_services_response.service]
