"""Starts of `pii vault serve` that are refused, each with one clear line."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import grpc
import pytest

from pii_pipeline_tests.vault_server import Piinguin, command, environment, vault_server


def refused(folder: Path, **variables: str) -> str:
    """What it says when it does not start."""
    ended = subprocess.run(
        command(),
        env=environment(folder, "{}") | variables,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    return ended.stderr


def test_elsewhere_than_on_loopback_it_wants_tls(tmp_path: Path):
    assert refused(tmp_path, PII_VAULT_HOST="0.0.0.0") == (
        "pii: PII_VAULT_HOST: 0.0.0.0 can be reached from other machines, and there is no TLS — set "
        "PII_VAULT_TLS_CERTIFICATE and PII_VAULT_TLS_KEY, or leave it at 127.0.0.1\n"
    )


def test_a_second_one_on_the_same_port_does_not_start(tmp_path: Path):
    with vault_server(tmp_path, "{}") as server:
        port = server.address.rpartition(":")[2]
        (other := tmp_path / "other").mkdir()
        said = refused(other, PII_VAULT_PORT=port)
        assert said == (
            f"pii: PII_VAULT_HOST, PII_VAULT_PORT: cannot listen at 127.0.0.1:{port}: "
            "Address already in use — end what listens there, or set PII_VAULT_PORT to a port that is free\n"
        )
        assert server.end() == 0


def test_piinguins_own_port_variable_holds(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    variables = {"PII_VAULT_PORT": "", "PIINGUIN_PORT": str(port)}
    with vault_server(tmp_path, "{}", variables) as server:
        assert server.address == f"127.0.0.1:{port}"
        with grpc.insecure_channel(server.address) as channel:
            client = Piinguin(channel)
            assert client.create(client.creation("m", "o")).status.isSuccess
        assert server.end() == 0


def test_it_serves_on_ipv6(tmp_path: Path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with vault_server(tmp_path, "{}", {"PII_VAULT_HOST": "::1"}) as server:
        assert server.address.startswith("[::1]:")
        with grpc.insecure_channel(server.address) as channel:
            client = Piinguin(channel)
            assert client.create(client.creation("m", "o")).status.isSuccess
        assert server.end() == 0
