"""The vault's service beyond loopback: TLS, mutual TLS, and who is known by which certificate or token."""

from __future__ import annotations

import hashlib
from pathlib import Path

import grpc
import pytest

from pii_pipeline_tests.certificates import Authority, Pem
from pii_pipeline_tests.vault_client import Client, code_of, entries
from pii_pipeline_tests.vault_server import Piinguin, VaultServer, vault_server

READ = "[{streams: [logins], fields: [ip], bases: [legal_obligation], purposes: [fraud]}]"
POLICY = f"""
ticket: "[A-Z]{{2,10}}-[0-9]{{1,9}}"
purposes:
  fraud: {{description: Who is behind it., ticket: optional}}
principals:
  operator:
    create: [{{streams: [logins, piinguin], fields: [ip, value]}}]
  desk:
    certificate: desk.example.com
    read: {READ}
  robot:
    certificate: spiffe://example.com/robot
    read: {READ}
  sidecar:
    token_sha256: {hashlib.sha256(b"sidecar-token").hexdigest()}
    create: [{{streams: [piinguin], fields: [value]}}]
    read: [{{streams: [piinguin], fields: [value], bases: [contract], purposes: [piinguin]}}]
"""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def tls_variables(folder: Path, authority: Authority, mutual: bool) -> dict[str, str]:
    """The settings of a service that everybody reaches, and its PEM files."""
    own = authority.signed("vault.example.com", "vault.example.com", "127.0.0.1")
    for name, data in (("certificate", own.certificate), ("key", own.key), ("ca", authority.certificate)):
        (folder / f"{name}.pem").write_bytes(data)
    variables = {
        "PII_VAULT_HOST": "0.0.0.0",
        "PII_VAULT_TLS_CERTIFICATE": str(folder / "certificate.pem"),
        "PII_VAULT_TLS_KEY": str(folder / "key.pem"),
    }
    return variables | ({"PII_VAULT_TLS_CLIENT_CA": str(folder / "ca.pem")} if mutual else {})


@pytest.fixture(scope="module")
def server(tmp_path_factory, authority: Authority):
    folder = tmp_path_factory.mktemp("tls")
    with vault_server(folder, POLICY, tls_variables(folder, authority, mutual=False)) as running:
        yield running
        assert running.end() == 0


@pytest.fixture(scope="module")
def mutual(tmp_path_factory, authority: Authority):
    folder = tmp_path_factory.mktemp("mtls")
    with vault_server(folder, POLICY, tls_variables(folder, authority, mutual=True)) as running:
        with secure(running, authority, authority.signed("operator's host")) as channel:
            Client(channel, running.token).create("one", "o")
        yield running
        assert running.end() == 0


def secure(server: VaultServer, authority: Authority, own: Pem | None = None) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(
        authority.certificate, own and own.key, own and own.certificate
    )
    return grpc.secure_channel(server.address.replace("0.0.0.0", "127.0.0.1"), credentials)


def test_a_token_opens_the_service_over_tls(server: VaultServer, authority: Authority):
    with secure(server, authority) as channel:
        assert Client(channel, server.token).create("one", "o").stored.new == 1
        assert code_of(lambda: Client(channel, "wrong").create("one", "o"))[0] == "UNAUTHENTICATED"
        assert code_of(lambda: Client(channel, None).create("one", "o"))[0] == "UNAUTHENTICATED"


def test_piinguins_wire_wants_a_principal_as_well(server: VaultServer, authority: Authority):
    with secure(server, authority) as channel:
        client = Piinguin(channel)
        for call in (
            lambda: client.create(client.creation("m", "o")),
            lambda: client.read(client.look("m")),
            lambda: list(client.calls.ReadPiiRecords(iter([client.look("m")]))),
        ):
            assert code_of(call)[0] == "UNAUTHENTICATED"
        metadata = (("authorization", "Bearer sidecar-token"),)
        assert client.create(client.creation("m", "o"), metadata=metadata).status.isSuccess
        assert client.read(client.look("m", 1), metadata=metadata).piiRecord.originalValue == "o"
        assert not client.read(client.look("m", 2), metadata=metadata).status.isSuccess


def test_without_tls_or_with_another_authority_nobody_gets_in(server: VaultServer, authority: Authority):
    address = server.address.replace("0.0.0.0", "127.0.0.1")
    with grpc.insecure_channel(address) as channel:
        client = Client(channel, server.token)
        assert code_of(lambda: client.create("two", "o", timeout=10))[0] == "UNAVAILABLE"
    with secure(server, Authority()) as channel:
        client = Client(channel, server.token)
        assert code_of(lambda: client.create("two", "o", timeout=10))[0] == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("names", "principal"),
    [
        (("desk.example.com",), "desk"),
        (("some host", "desk.example.com"), "desk"),
        (("some host", "spiffe://example.com/robot"), "robot"),
    ],
)
def test_a_certificate_names_the_principal(mutual: VaultServer, authority: Authority, names, principal):
    with secure(mutual, authority, authority.signed(*names)) as channel:
        assert Client(channel, None).read("one") == ["o"]
    assert entries(mutual)[-1]["principal"] == principal


def test_a_token_counts_before_a_certificate(mutual: VaultServer, authority: Authority):
    with secure(mutual, authority, authority.signed("desk.example.com")) as channel:
        assert code_of(lambda: Client(channel, "wrong").read("one"))[0] == "UNAUTHENTICATED"
        assert code_of(lambda: Client(channel, mutual.token).read("one"))[0] == "PERMISSION_DENIED"


def test_certificates_that_the_policy_does_not_know_are_nobodys(mutual: VaultServer, authority: Authority):
    for names in (("stranger.example.com",), ("desk.example.com", "spiffe://example.com/robot")):
        with secure(mutual, authority, authority.signed(*names)) as channel:
            assert code_of(lambda: Client(channel, None).read("one"))[0] == "UNAUTHENTICATED"
            piinguin = Piinguin(channel)
            assert code_of(lambda: piinguin.read(piinguin.look("m")))[0] == "UNAUTHENTICATED"  # noqa: B023


def test_mutual_tls_wants_a_certificate_of_its_authority(mutual: VaultServer, authority: Authority):
    for own in (None, Authority().signed("desk.example.com")):
        with secure(mutual, authority, own) as channel:
            client = Client(channel, mutual.token)
            assert code_of(lambda: client.read("one", timeout=10))[0] == "UNAVAILABLE"  # noqa: B023
