"""Whatever the vault's service refuses is in its audit log: each method of both protocols, each bad input."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from pii_pipeline_tests.vault_client import PROTO, Client, code_of, entries
from pii_pipeline_tests.vault_server import Piinguin, Protocol, VaultServer, vault_server

MOST_A_MINUTE = 60
OWN = {
    "CreateRecord": "create",
    "CreateRecords": "create",
    "StreamCreates": "create",
    "ReadRecord": "read",
    "ReadRecords": "read",
    "StreamReads": "read",
    "DeleteRecord": "delete",
    "DeleteRecords": "delete",
    "StreamDeletes": "delete",
    "EraseSubject": "erase",
}
PIINGUINS = {
    "CreatePiiRecord": "create",
    "CreatePiiRecords": "create",
    "ReadPiiRecord": "read",
    "ReadPiiRecords": "read",
    "DeletePiiRecord": "delete",
    "DeletePiiRecords": "delete",
}
METHODS = {**OWN, **PIINGUINS}
PLANTED = "jane@planted.example"


def token(method: str) -> str:
    """Of the principal that has this method to itself: what one does counts for nobody else."""
    return f"the token of who asks for {method}"


def principal(method: str) -> str:
    return method.lower()


def _said(method: str) -> str:
    return f"""
  {principal(method)}:
    token_sha256: {hashlib.sha256(token(method).encode()).hexdigest()}
    read:
      - {{streams: [logins], fields: [ip], bases: [legal_obligation], purposes: [fraud]}}
      - {{streams: [piinguin], fields: [value], bases: [legal_obligation], purposes: [piinguin]}}
    create: [{{streams: [logins, piinguin], fields: [ip, value]}}]
    delete: [{{streams: [logins], fields: [ip]}}]
    erase: {"false" if method == "EraseSubject" else "true"}
    limits: {{records_per_day: 2}}"""


POLICY = f"""
ticket: "[A-Z]{{2,10}}-[0-9]{{1,9}}"
purposes:
  fraud: {{description: Who is behind it., ticket: required}}
principals:{"".join(map(_said, METHODS))}
  operator: {{erase: true}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    with vault_server(tmp_path_factory.mktemp("vault"), POLICY) as running:
        yield running
        assert running.end() == 0
        assert "planted" not in running.log and "Traceback" not in running.log


@pytest.fixture(scope="module")
def channel(server: VaultServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as opened:
        yield opened


class Requests:
    """Of one method, by what is wrong with them: the request, its metadata and why it is refused."""

    def __init__(self, method: str, client: Client, piinguin: Piinguin) -> None:
        self.method = method
        self._own = client
        self._piinguin = piinguin
        self._action = METHODS[method]
        self._in_batches = method in ("CreateRecords", "ReadRecords", "DeleteRecords")

    def all(self) -> Iterator[tuple[str, Any, tuple[tuple[str, str], ...], str]]:
        yield "noise", b"\xff\xff\xff", (), "invalid"
        yield "no UTF-8", b"\x0a\x05\x0a\x03\xff\xfe\xfd", (), "invalid"
        if self.method == "EraseSubject":
            yield from self._erasures()
        elif self.method in OWN:
            yield from self._own_requests()
        else:
            yield from self._piinguins()

    def _erasures(self) -> Iterator[tuple[str, Any, tuple[tuple[str, str], ...], str]]:
        make = self._own.protocol
        yield "nobody", make.EraseSubjectRequest(originals=[PLANTED]), (), "invalid"
        person = make.DataSubject(namespace="customer", id=PLANTED)
        yield "not granted", make.EraseSubjectRequest(subject=person), (), "denied"

    def _own_requests(self) -> Iterator[tuple[str, Any, tuple[tuple[str, str], ...], str]]:
        yield "not granted", self._one("a", field="device_id"), (), "denied"
        yield "a stream of nobody's", self._one("a", stream="planted"), (), "denied"
        yield "no pseudonym", self._one("a", pseudonym=PLANTED), (), "invalid"
        yield "no stream", self._one("a", stream=PLANTED), (), "invalid"
        if self._action == "read":
            yield "no basis", self._one("a", basis=0), (), "no basis"
            yield "another basis", self._one("a", basis=2), (), "denied"
            yield "another purpose", self._one("a", purpose=PLANTED), (), "denied"
            yield "no ticket", self._one("a", ticket=""), (), "denied"
            yield "another ticket", self._one("a", ticket=PLANTED), (), "denied"
            yield "good", self._one("a"), (), ""
            yield "good again", self._one("a"), (), ""
            yield "too many a day", self._one("a"), (), "limit"
        if self._action == "create":
            yield "too long", self._one("a", original=PLANTED * 5_000), (), "invalid"
            yield "nobody's", self._one("a", subject=("planted", "x")), (), "invalid"
            yield "no id", self._one("a", subject=("customer", "")), (), "invalid"
        yield "empty", b"", (), "invalid"
        if self._in_batches:
            yield "too many", self._many(10_001), (), "invalid"

    def _piinguins(self) -> Iterator[tuple[str, Any, tuple[tuple[str, str], ...], str]]:
        long = "x" * 1_025
        if self._action == "create":
            yield "no record", b"", (), "invalid"
            yield "no value", self._piinguin.creation("", "o"), (), "invalid"
            yield "a long value", self._piinguin.creation(long, "o"), (), "invalid"
            yield "too long", self._piinguin.creation("a", PLANTED * 5_000), (), "invalid"
        elif self._action == "delete":
            yield "no value", b"", (), "invalid"
            yield "a long value", self._piinguin.deletion(long), (), "invalid"
            yield "not granted", self._piinguin.deletion(PLANTED), (), "denied"
        else:
            consent = self._piinguin.look(PLANTED, basis=0)
            yield "no value", self._piinguin.look("", basis=2), (), "invalid"
            yield "a long value", self._piinguin.look(long), (), "invalid"
            yield "no basis", consent, (), "no basis"
            yield "a basis that is none", consent, (("x-lawful-basis", PLANTED),), "invalid"
            yield "another basis", self._piinguin.look(PLANTED, basis=1), (), "denied"
            yield "another purpose", self._piinguin.look(PLANTED), (("x-purpose", PLANTED),), "denied"
            yield "a ticket that is none", self._piinguin.look(PLANTED), (("x-ticket", PLANTED),), "denied"
            yield "good", self._piinguin.look("a"), (), ""
            yield "good again", self._piinguin.look("a"), (), ""
            yield "too many a day", self._piinguin.look("a"), (), "limit"

    def _one(self, of: str, **said: Any) -> Any:
        make = self._own.protocol
        key = self._own.key(of)
        for part in ("stream", "field", "pseudonym"):
            setattr(key, part, said.get(part, getattr(key, part)))
        if self._action == "delete":
            if self._in_batches:
                return make.DeleteRecordsRequest(keys=[key])
            return make.DeleteRecordRequest(key=key)
        if self._action == "read":
            chosen = {name: said[name] for name in ("basis", "purpose", "ticket") if name in said}
            reason = self._own.reason(**chosen)
            if self._in_batches:
                return make.ReadRecordsRequest(reason=reason, keys=[key])
            return make.ReadRecordRequest(reason=reason, key=key)
        record = make.Record(key=key, original=said.get("original", "o"))
        if "subject" in said:
            record.subject.namespace, record.subject.id = said["subject"]
        if self._in_batches:
            return make.CreateRecordsRequest(records=[record])
        return make.CreateRecordRequest(record=record)

    def _many(self, number: int) -> Any:
        """A batch of as many."""
        request = self._one("a")
        parts = request.records if self._action == "create" else request.keys
        parts.extend([parts[0]] * (number - 1))
        return request


def call_of(method: str, client: Client, piinguin: Piinguin) -> Callable[..., Any]:
    return getattr(client.calls if method in OWN else piinguin.calls, method)


def since(server: VaultServer, number: int) -> list[dict[str, Any]]:
    """The entries after the first so many, but for the one that says under which policy they are."""
    return [entry for entry in entries(server)[number:] if entry["action"] != "policy"]


def ask(call: Callable[..., Any], request: Any, metadata: Any) -> None:
    """As one that may be refused."""
    streamed = isinstance(call, grpc.StreamStreamMultiCallable)
    try:
        if streamed:
            list(call(iter([request]), metadata=metadata))  # pyright: ignore
        else:
            call(request, metadata=metadata)
    except grpc.RpcError:
        pass


@pytest.mark.parametrize("method", METHODS)
def test_each_refusal_is_an_entry_without_what_the_caller_wrote(
    server: VaultServer, channel: grpc.Channel, method: str
):
    client, piinguin = Client(channel, token(method)), Piinguin(channel)
    call = call_of(method, client, piinguin)
    missing, kinds = [], 0
    for kind, request, metadata, why in Requests(method, client, piinguin).all():
        before = len(entries(server))
        ask(call, request, (*client.metadata, *metadata))
        new = since(server, before)
        assert len(new) == 1, (kind, new)
        entry = new[0]
        said = (entry["principal"], entry["action"], entry.get("refused"), entry.get("why", ""))
        action = "refused" if why else METHODS[method]
        if said != (principal(method), action, METHODS[method] if why else None, why):
            missing.append((kind, said))
        kinds += 1
    assert missing == [] and kinds >= 4
    assert "planted" not in json.dumps(entries(server))


@pytest.mark.parametrize("shown", ["Bearer nobody's", "Basic planted", ""])
def test_who_is_nobody_is_an_entry(server: VaultServer, channel: grpc.Channel, shown: str):
    for method in METHODS:
        call = call_of(method, Client(channel, None), Piinguin(channel))
        before = len(entries(server))
        ask(call, b"", (("authorization", shown),))
        (entry,) = since(server, before)
        assert (entry["principal"], entry["refused"], entry["why"]) == (
            "unknown",
            METHODS[method],
            "unauthenticated",
        )


def test_what_of_a_stream_is_no_message_is_one_entry_for_all_that_came_at_once(
    server: VaultServer, channel: grpc.Channel
):
    """And the rest of the stream is done."""
    client = Client(channel, token("StreamCreates"))
    before = len(entries(server))
    noise = [b"\xff\xff", client.creation("among noise", "o"), client.protocol.CreateRecordRequest()] * 200
    replies = list(client("StreamCreates", iter(noise)))
    assert Counter(reply.status.code for reply in replies) == {0: 200, 3: 400}
    new = entries(server)[before:]
    refused = [entry for entry in new if entry["action"] == "refused"]
    assert sum(entry["counts"]["asked"] for entry in refused) == 400
    assert sum(entry["counts"]["asked"] for entry in new if entry["action"] == "create") == 200
    assert len(new) < 100


def test_a_flood_of_refusals_is_counted_and_the_count_is_there_after_the_end(tmp_path: Path):
    with vault_server(tmp_path, POLICY) as server, grpc.insecure_channel(server.address) as channel:
        piinguin, nobody = Piinguin(channel), Client(channel, "nobody's")
        owner = Client(channel, token("StreamReads"))
        for number in range(5 * MOST_A_MINUTE):
            status = piinguin.read(piinguin.look(f"planted-{number}", basis=0)).status
            assert not status.isSuccess
            assert code_of(lambda: nobody.read("x"))[0] == "UNAUTHENTICATED"
        owner.read("somebody", timeout=20)
        assert server.end() == 0
    all_of_it = entries(server)
    for who, what in (("piinguin", "read no basis"), ("unknown", "read unauthenticated")):
        mine = [entry for entry in all_of_it if entry["principal"] == who]
        counts = [entry["counts"] for entry in mine if "refused" not in entry]
        assert sum(count[what] for count in counts) == 5 * MOST_A_MINUTE - (len(mine) - len(counts))
        minutes = {entry["at"][:16] for entry in mine}
        assert MOST_A_MINUTE <= len(mine) <= (MOST_A_MINUTE + 1) * len(minutes)
    assert [entry["action"] for entry in all_of_it if entry["principal"] == "streamreads"] == ["read"]
    assert "planted" not in json.dumps(all_of_it) and "planted" not in server.log


def test_the_methods_are_all_there_are():
    """Of the texts of both protos, so that a new method is not forgotten here."""
    own = Protocol(PROTO, "pii.vault.v1.Vault")
    assert {method.name for method in own._service.methods} == OWN.keys()
