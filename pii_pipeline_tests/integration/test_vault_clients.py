"""The vault's client library against `pii vault serve`, a process of its own, also ended and killed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from pii_pipeline.vault.errors import VaultRefused, VaultUnavailable
from pii_pipeline.vault.model import (
    DataSubject,
    Found,
    LawfulBasis,
    Reason,
    Record,
    RecordKey,
    Stored,
    Withheld,
)
from pii_pipeline.vault_client import AsyncVaultClient, Connection, VaultClient
from pii_pipeline_tests.certificates import Authority, Pem
from pii_pipeline_tests.integration.test_vault_tls import tls_variables
from pii_pipeline_tests.unit.vault_client.clients import BOTH, WHY, Client, key, record
from pii_pipeline_tests.vault_client import entries
from pii_pipeline_tests.vault_server import Piinguin, VaultServer, vault_server

LIMITED = "a-token-with-a-limit"
POLICY = f"""
ticket: "[A-Z]{{2,10}}-[0-9]{{1,9}}"
purposes:
  fraud: {{description: Who is behind it., ticket: required}}
  support: {{description: Somebody asks., consent: 1}}
principals:
  operator:
    read:
      - {{streams: [logins], fields: [ip], bases: [legal_obligation, consent], purposes: [fraud, support]}}
    create: [{{streams: [logins], fields: [ip]}}]
    delete: [{{streams: [logins], fields: [ip]}}]
    erase: true
  limited:
    token_sha256: {hashlib.sha256(LIMITED.encode()).hexdigest()}
    read: [{{streams: [logins], fields: [ip], bases: [legal_obligation], purposes: [fraud]}}]
    limits: {{records_per_day: 3}}
  desk:
    certificate: desk.example.com
    create: [{{streams: [logins], fields: [ip]}}]
    read: [{{streams: [logins], fields: [ip], bases: [legal_obligation], purposes: [fraud]}}]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    with vault_server(tmp_path_factory.mktemp("vault"), POLICY) as running:
        yield running


@pytest.fixture(params=BOTH, ids=lambda kind: kind.__name__.lower())
def client(request: pytest.FixtureRequest, server: VaultServer) -> Client:
    return request.param(Connection(server.address, server.token))


@pytest.fixture
def first(request: pytest.FixtureRequest) -> int:
    """A number from which on keys are this test's alone."""
    return int(hashlib.sha256(request.node.name.encode()).hexdigest()[:12], 16)


def test_records_are_created_read_and_deleted(client: Client, first: int):
    one, other = key(first), key(first + 1)
    assert client.ask("create", record(first, "192.0.2.1")) == Stored(1, 0)
    assert client.ask("create_batch", [record(first, "192.0.2.1"), record(first, "192.0.2.2")]) == Stored(
        1, 1
    )
    found = client.ask("read", WHY, one)
    assert found.key == one and sorted(found.originals) == ["192.0.2.1", "192.0.2.2"]
    assert client.ask("read_batch", WHY, [other, one]) == [Found(other), found]
    assert client.ask("delete", one) == 2
    client.ask("create_batch", [record(first, "a"), record(first + 1, "b")])
    assert client.ask("delete_batch", [one, other]) == 2
    assert client.ask("read", WHY, one) == Found(one)


def test_a_person_is_erased_and_what_they_are_known_by(client: Client, first: int):
    subject = DataSubject("customer", f"u-{first}")
    mail = f"{first}@planted.example"
    client.ask("create", Record(key(first), mail, subject))
    client.ask("create", Record(key(first + 1), mail))
    withheld = client.ask("read", Reason(LawfulBasis.CONSENT, "support"), key(first))
    assert (withheld.originals, withheld.withheld) == ((), Withheld.NO_CONSENT)
    assert client.ask("erase", subject, [mail]) == 2
    assert client.ask("read_batch", WHY, [key(first), key(first + 1)]) == [
        Found(key(first)),
        Found(key(first + 1)),
    ]


def test_streams_keep_their_order_and_refuse_one_by_one(client: Client, first: int):
    numbers = range(first, first + 3_000)
    odd = RecordKey("logins", "device_id", "0" * 32)
    records = [record(number, str(number)) for number in numbers]
    records[1_234] = Record(odd, "not granted")
    changes: list[Any] = []
    client.each("create_stream", items=records, take=changes.append)
    assert [change for change in changes if change is not None] == [changes[1_234]]
    assert (changes[1_234].why, len(changes)) == ("denied", 3_000)
    told: list[Any] = []
    keys = [record.key for record in records]
    client.each("read_stream", WHY, items=keys, take=told.append)
    assert told[1_234].why == "denied"
    del told[1_234], records[1_234]
    assert [found.originals for found in told] == [(one.original,) for one in records]
    gone: list[Any] = []
    client.each("delete_stream", items=[one.key for one in records], take=gone.append)
    assert set(gone) == {None}
    assert client.ask("read", WHY, key(first)) == Found(key(first))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("token", "reason", "why"),
    [
        (None, WHY, "unauthenticated"),
        ("nobody's", WHY, "unauthenticated"),
        ("operator", Reason(None, "fraud", "FR-1"), "no basis"),
        ("operator", Reason(LawfulBasis.CONTRACT, "fraud", "FR-1"), "denied"),
        ("operator", Reason(LawfulBasis.LEGAL_OBLIGATION, "fraud"), "denied"),
        (LIMITED, WHY, "limit"),
    ],
)
def test_what_is_refused_says_why(
    server: VaultServer, kind: Any, token: str | None, reason: Reason, why: str
):
    shown = server.token if token == "operator" else token
    client = kind(Connection(server.address, shown))
    with pytest.raises(VaultRefused) as refused:
        client.ask("read_batch", reason, [key(number) for number in range(4)])
    assert refused.value.why == why
    results: list[Any] = []
    with contextlib.suppress(VaultRefused):  # of nobody's whole stream
        client.each("read_stream", reason, items=map(key, range(4)), take=results.append)
        assert len(results) == 4 and results[-1].why == why  # of a limit, what was done first may be told


def test_no_original_is_in_log_or_audit(client: Client, server: VaultServer, first: int):
    client.ask("create", Record(key(first), "planted-by-a-client", DataSubject("customer", "planted-person")))
    assert client.ask("read", WHY, key(first)).originals == ("planted-by-a-client",)
    assert "planted" not in server.log and "planted" not in str(entries(server))
    assert key(first).pseudonym in str(entries(server))


def opened(server: VaultServer) -> VaultClient:
    return VaultClient(Connection(server.address, server.token))


def certified(folder: Path, address: str, own: Pem | None, token: str | None) -> Connection:
    """To a service with TLS, whose authority is in `folder`."""
    here = address.replace("0.0.0.0", "127.0.0.1")
    if own is None:
        return Connection(here, token, folder / "ca.pem")
    certificate, key = folder / "own.pem", folder / "own-key.pem"
    certificate.write_bytes(own.certificate)
    key.write_bytes(own.key)
    return Connection(here, token, folder / "ca.pem", certificate, key)


@pytest.mark.parametrize("mutual", [False, True])
def test_it_speaks_tls_and_shows_a_certificate(tmp_path: Path, mutual: bool):
    authority = Authority()
    with vault_server(tmp_path, POLICY, tls_variables(tmp_path, authority, mutual)) as server:
        for kind in BOTH:
            desk = authority.signed("desk.example.com") if mutual else None
            token = None if mutual else server.token
            client = kind(certified(tmp_path, server.address, desk, token))
            client.ask("create", record(1))
            assert client.ask("read", WHY, key(1)).originals == ("192.0.2.1",)
            stranger = authority.signed("stranger.example.com") if mutual else None
            with pytest.raises(VaultRefused) as refused:
                kind(certified(tmp_path, server.address, stranger, None)).ask("read", WHY, key(1))
            assert refused.value.why == "unauthenticated"
        (tmp_path / "ca.pem").write_bytes(Authority().certificate)
        for kind in BOTH:
            client = kind(certified(tmp_path, server.address, None, server.token))
            with pytest.raises(VaultUnavailable, match=r"(?i)handshake|certificate"):
                client.ask("create", record(1))


def test_they_meet_at_a_socket_of_this_machine_which_outlives_no_service(tmp_path: Path):
    path = tmp_path / "run" / "vault.sock"
    for number in range(2):
        with vault_server(tmp_path, POLICY, {"PII_VAULT_HOST": f"unix://{path}"}) as server:
            assert server.address == f"unix://{path}"
            for kind in BOTH:
                client = kind(Connection(server.address, server.token))
                client.ask("create", record(number))
                assert client.ask("read", WHY, key(number)).originals == ("192.0.2.1",)
                with pytest.raises(VaultRefused, match="no principal"):
                    kind(Connection(server.address)).ask("read", WHY, key(number))
            with grpc.insecure_channel(server.address) as channel:
                piinguin = Piinguin(channel)
                assert piinguin.create(piinguin.creation("m", "o")).status.isSuccess
            assert entries(server)[-1]["principal"] == "piinguin"
            if number == 0:
                server.process.kill()
                server.process.wait()
                assert path.is_socket(), "what it leaves is no obstacle"
    assert not path.exists()


def test_killed_amid_a_stream_it_keeps_what_it_acknowledged_and_the_rest_is_sent_again(tmp_path: Path):
    records = [record(number, f"{number}.planted.example") for number in range(20_000)]
    with (
        vault_server(tmp_path, POLICY) as server,
        opened(server) as client,
    ):
        acknowledged = 0
        with pytest.raises(VaultUnavailable) as told:
            for result in client.create_stream(records):
                assert result is None
                acknowledged += 1
                if acknowledged == 2_000:
                    server.process.kill()
        assert 2_000 <= acknowledged < len(records)
        assert "planted" not in str(told.value)
        port = server.address.rpartition(":")[2]
        # The same client, and a service that is not there yet when it is asked.
        restarted: list[VaultServer] = []
        with contextlib.ExitStack() as stack:
            stack.callback(server.process.wait)
            starting = threading.Timer(
                0.5,
                lambda: restarted.append(
                    stack.enter_context(vault_server(tmp_path, POLICY, {"PII_VAULT_PORT": port}))
                ),
            )
            starting.start()
            deadline = time.monotonic() + 60
            while True:
                try:
                    assert client.read(WHY, key(0)).originals == ("0.planted.example",)
                    break
                except VaultUnavailable:
                    assert time.monotonic() < deadline
            starting.join()
            keys = [one.key for one in records[:acknowledged]]
            told_again = list(client.read_stream(WHY, keys))
            assert [found.originals for found in told_again if isinstance(found, Found)] == [
                (one.original,) for one in records[:acknowledged]
            ]
            again = records[acknowledged : acknowledged + 3_000]
            assert set(client.create_stream(again)) == {None}
            assert "planted" not in restarted[0].log


def test_ended_under_load_it_loses_nothing_that_it_acknowledged(tmp_path: Path):
    acknowledged: list[int] = []

    async def load(connection: Connection, numbers: range) -> None:
        async with AsyncVaultClient(connection) as client:
            for number in numbers:
                await client.create(record(number, f"{number}.planted.example"))
                acknowledged.append(number)
                if len(acknowledged) == 300:
                    server.process.terminate()

    async def several(connection: Connection) -> list[Any]:
        tasks = [load(connection, range(start, start + 100_000)) for start in range(0, 1_600_000, 100_000)]
        return await asyncio.gather(*tasks, return_exceptions=True)

    with vault_server(tmp_path, POLICY) as server:
        ended = asyncio.run(several(Connection(server.address, server.token)))
        assert all(isinstance(error, VaultUnavailable) for error in ended), set(map(repr, ended))
        assert server.process.wait(60) == 0
    assert len(acknowledged) >= 300
    with (
        vault_server(tmp_path, POLICY) as server,
        opened(server) as client,
    ):
        found = client.read_stream(WHY, map(key, acknowledged))
        assert [one.originals for one in found if isinstance(one, Found)] == [
            (f"{number}.planted.example",) for number in acknowledged
        ]
