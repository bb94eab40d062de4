"""Where a client connects to, and what is wrong with that."""

from __future__ import annotations

from pathlib import Path

import pytest

from pii_pipeline.vault.errors import VaultSettingError
from pii_pipeline.vault_client import Connection, VaultClient
from pii_pipeline_tests.certificates import Authority


def test_it_comes_from_the_environment(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text("of-the-file\n")
    read = Connection.from_environment
    assert read({"PII_VAULT_ADDRESS": "127.0.0.1:1", "PII_VAULT_TOKEN": "t"}).token == "t"
    assert read({"PII_VAULT_ADDRESS": "127.0.0.1:1", "PII_VAULT_TOKEN": ""}).token is None
    named = {"PII_VAULT_ADDRESS": "127.0.0.1:1", "PII_VAULT_TOKEN_FILE": str(file)}
    assert read(named).token == "of-the-file"
    assert read(named | {"PII_VAULT_TOKEN": "t"}).token == "t"
    assert "of-the-file" not in repr(read(named))
    certificates = {
        "PII_VAULT_TLS_CA": "ca.pem",
        "PII_VAULT_TLS_CLIENT_CERTIFICATE": "c.pem",
        "PII_VAULT_TLS_CLIENT_KEY": "k.pem",
    }
    connection = read({"PII_VAULT_ADDRESS": "vault.example.com:443", **certificates})
    assert (connection.authority, connection.certificate, connection.key) == (
        Path("ca.pem"),
        Path("c.pem"),
        Path("k.pem"),
    )


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "PII_VAULT_ADDRESS: not set"),
        ({"PII_VAULT_ADDRESS": "vault.example.com"}, "PII_VAULT_ADDRESS: no address"),
        ({"PII_VAULT_ADDRESS": "vault.example.com:99999"}, "PII_VAULT_ADDRESS: no address"),
        ({"PII_VAULT_ADDRESS": "https://vault:443"}, "PII_VAULT_ADDRESS: no address"),
        ({"PII_VAULT_ADDRESS": "unix:vault.sock"}, "PII_VAULT_ADDRESS: no address"),
        ({"PII_VAULT_ADDRESS": "unix:///a%20b"}, "PII_VAULT_ADDRESS: no address"),
        ({"PII_VAULT_ADDRESS": "unix:///a", "PII_VAULT_TLS_CA": "{}/text"}, "a socket .* has no TLS"),
        ({"PII_VAULT_ADDRESS": "127.0.0.1:1", "PII_VAULT_TOKEN": "two words"}, "PII_VAULT_TOKEN: no token"),
        (
            {"PII_VAULT_ADDRESS": "127.0.0.1:1", "PII_VAULT_TOKEN_FILE": "{}/none"},
            "PII_VAULT_TOKEN_FILE: .*No such",
        ),
        ({"PII_VAULT_ADDRESS": "127.0.0.1:1", "PII_VAULT_TLS_CA": "{}/none"}, "PII_VAULT_TLS_CA: .*No such"),
        ({"PII_VAULT_ADDRESS": "127.0.0.1:1", "PII_VAULT_TLS_CA": "{}/text"}, "PII_VAULT_TLS_CA: .*no PEM"),
        (
            {"PII_VAULT_ADDRESS": "127.0.0.1:1", "PII_VAULT_TLS_CLIENT_KEY": "{}/text"},
            "one without the other",
        ),
    ],
)
def test_what_cannot_be_meant_is_told_with_the_variable(tmp_path: Path, variables: dict[str, str], told: str):
    (tmp_path / "text").write_text("no certificate")
    environment = {name: value.format(tmp_path) for name, value in variables.items()}
    with pytest.raises(VaultSettingError, match=told) as wrong:
        VaultClient(Connection.from_environment(environment)).close()
    assert "two words" not in str(wrong.value)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.8.9.1:1"])
def test_without_tls_it_speaks_to_this_machine(address: str, tmp_path: Path):
    assert Connection(address).credentials() is None
    authority = tmp_path / "ca.pem"
    authority.write_bytes(Authority().certificate)
    assert Connection(address, authority=authority).credentials() is not None


@pytest.mark.parametrize(
    "address", ["192.0.2.1:1", "vault.example.com:443", "[2001:db8::1]:1", "localhost.example.com:1"]
)
def test_to_any_other_machine_it_speaks_tls(address: str):
    assert Connection(address).credentials() is not None
