import asyncio
import socket
import stat
from pathlib import Path

import grpc
import pytest

from pii_pipeline.settings import VaultTls
from pii_pipeline.vault_service.errors import CannotServe
from pii_pipeline.vault_service.listening import Listen, bind
from pii_pipeline_tests.certificates import Authority


def bound(listen: Listen) -> int:
    """The port of a server that was bound, and is not any more."""

    async def run() -> int:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        try:
            return bind(server, listen)
        finally:
            await server.stop(None)

    return asyncio.run(run())


def problem(listen: Listen) -> str:
    with pytest.raises(CannotServe) as refused:
        bound(listen)
    return str(refused.value)


@pytest.fixture
def tls(tmp_path: Path) -> VaultTls:
    authority = Authority()
    own = authority.signed("localhost")
    for name, data in (("certificate", own.certificate), ("key", own.key), ("ca", authority.certificate)):
        (tmp_path / name).write_bytes(data)
    return VaultTls(tmp_path / "certificate", tmp_path / "key", tmp_path / "ca")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "localhost", "::1"])
def test_loopback_needs_no_tls(host: str):
    if host == "::1" and not _has_ipv6():
        pytest.skip("no IPv6 here")
    assert bound(Listen(host, 0)) > 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "vault.example.com", "10.0.0.1", "::ffff:10.0.0.1"])
def test_elsewhere_needs_it(host: str, tls: VaultTls):
    assert not Listen(host, 0).loopback
    assert problem(Listen(host, 0)).startswith(
        f"PII_VAULT_HOST: {host} can be reached from other machines, and there is no TLS — set "
    )
    if host == "0.0.0.0":
        assert bound(Listen(host, 0, tls)) > 0


def test_a_port_that_is_taken_is_said_to_be():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert problem(Listen("127.0.0.1", port)) == (
            f"PII_VAULT_HOST, PII_VAULT_PORT: cannot listen at 127.0.0.1:{port}: Address already in use — "
            "end what listens there, or set PII_VAULT_PORT to a port that is free"
        )


def test_an_address_that_is_not_ours_is_said_to_be(tls: VaultTls):
    assert "cannot listen at 192.0.2.1:0: Cannot assign" in problem(Listen("192.0.2.1", 0, tls))
    assert "PII_VAULT_HOST: no address of this machine" in problem(Listen("no such host", 0, tls))


def test_files_that_are_no_certificates_are_said_to_be(tls: VaultTls, tmp_path: Path):
    missing = tmp_path / "missing"
    wrong = tmp_path / "wrong"
    wrong.write_text("jane@planted.example")
    other = tmp_path / "other"
    other.write_bytes(Authority().signed("other").key)
    assert tls.client_ca
    for files, said in {
        (
            missing,
            tls.key,
            None,
        ): f"PII_VAULT_TLS_CERTIFICATE: {missing}: No such file or directory — name",
        (
            tls.certificate,
            missing,
            None,
        ): f"PII_VAULT_TLS_KEY: {missing}: No such file or directory — name",
        (wrong, tls.key, None): "are no certificate and its key — name two PEM files",
        (tls.certificate, wrong, None): "are no certificate and its key — name two PEM files",
        (tls.certificate, other, None): "are no certificate and its key — name two PEM files",
        (tls.certificate, tls.key, missing): f"PII_VAULT_TLS_CLIENT_CA: {missing}: No such file or directory",
        (
            tls.certificate,
            tls.key,
            wrong,
        ): f"PII_VAULT_TLS_CLIENT_CA: {wrong} holds no certificate — name",
    }.items():
        message = problem(Listen("127.0.0.1", 0, VaultTls(*files)))
        assert said in message and "planted" not in message


def test_a_socket_is_for_its_user_alone_and_for_one_service(tmp_path: Path):
    path = tmp_path / "run" / "vault.sock"
    listen = Listen(f"unix://{path}", 8080)

    async def run() -> None:
        server, other = grpc.aio.server(), grpc.aio.server()
        bind(server, listen)
        await server.start()
        assert path.is_socket() and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        with pytest.raises(CannotServe, match="another service listens"):
            bind(other, listen)
        assert path.is_socket()
        await other.stop(None)
        await server.stop(None)

    assert listen.loopback and listen.at(8080) == f"unix://{path}"
    asyncio.run(run())


def test_what_a_killed_service_left_is_no_obstacle_and_nothing_else_is_replaced(tmp_path: Path):
    tmp_path.chmod(0o700)
    path = tmp_path / "vault.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert path.is_socket()
    bound(Listen(f"unix://{path}", 0))
    path.unlink(missing_ok=True)
    path.write_text("kept")
    assert f"{path} is there and is no socket" in problem(Listen(f"unix://{path}", 0))
    assert path.read_text() == "kept"


def test_a_socket_that_others_could_get_at_is_refused(tmp_path: Path, tls: VaultTls):
    tmp_path.chmod(0o755)
    others = problem(Listen(f"unix://{tmp_path}/vault.sock", 0))
    assert others == f"PII_VAULT_HOST: others can use {tmp_path} — name a socket in a folder of mode 0700"
    tmp_path.chmod(0o700)
    assert "has no TLS — unset PII_VAULT_TLS_" in problem(Listen(f"unix://{tmp_path}/vault.sock", 0, tls))
    (tmp_path / "file").touch()
    assert "File exists" in problem(Listen(f"unix://{tmp_path}/file/vault.sock", 0))
    for host in ("unix:vault.sock", "unix://", f"unix://{tmp_path}/%41", f"unix:///{'x' * 107}", "unix:///"):
        assert "PII_VAULT_HOST" in problem(Listen(host, 0))


def test_addresses_are_written_as_they_are():
    assert Listen("::1", 0).at(8080) == "[::1]:8080"
    assert Listen("127.0.0.1", 0).at(8080) == "127.0.0.1:8080"


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
