"""Where the service listens, and with what certificate: checked before it does, with the mend."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc

from pii_pipeline.database import make_private_directories
from pii_pipeline.settings import VaultTls
from pii_pipeline.vault_service.errors import CannotServe

_UNIX = re.compile(r"unix://(/[^%?#]{1,106})")
"""gRPC takes the others for parts of a URI; and the kernel no longer ones."""


@dataclass(frozen=True, slots=True)
class Listen:
    """An address (`port` 0: any that is free), and TLS for it. `host`: or a socket, ``unix:///PATH``."""

    host: str
    port: int
    tls: VaultTls | None = None

    @property
    def is_socket(self) -> bool:
        """Whether it is a socket of this machine's file system, which has no port."""
        return self.host.startswith("unix:")

    @property
    def loopback(self) -> bool:
        """Whether nobody but this machine gets there."""
        if self.is_socket:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def at(self, port: int) -> str:
        """The address with that port, as it is written."""
        if self.is_socket:
            return self.host
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


def bind(server: grpc.aio.Server, listen: Listen) -> int:
    """Has `server` listen; the port. Raises `CannotServe`."""
    if not listen.loopback and listen.tls is None:
        raise CannotServe(
            f"PII_VAULT_HOST: {listen.host} can be reached from other machines, and there is no TLS — set "
            "PII_VAULT_TLS_CERTIFICATE and PII_VAULT_TLS_KEY, or leave it at 127.0.0.1"
        )
    credentials = _credentials(listen.tls) if listen.tls else None
    if listen.is_socket:
        _look_at_socket(listen)
    else:
        _look(listen)
    address = listen.at(listen.port)
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError:
        raise CannotServe(f"PII_VAULT_HOST, PII_VAULT_PORT: cannot listen at {address}") from None


def _look(listen: Listen) -> None:
    """Binds the address and lets it go: gRPC does not say why it cannot."""
    try:
        found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise CannotServe(
            "PII_VAULT_HOST: no address of this machine — write one, such as 127.0.0.1"
        ) from None
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                problem = os.strerror(error.errno) if error.errno else "it cannot be bound"
                raise CannotServe(
                    f"PII_VAULT_HOST, PII_VAULT_PORT: cannot listen at {listen.at(listen.port)}: {problem} — "
                    "end what listens there, or set PII_VAULT_PORT to a port that is free"
                ) from None


def _look_at_socket(listen: Listen) -> None:
    """Whether only its owner can get there, and nobody is there already. What a killed service left goes."""
    found = _UNIX.fullmatch(listen.host)
    if found is None:
        raise CannotServe("PII_VAULT_HOST: no socket — write unix:///PATH, of no more than 107 bytes")
    if listen.tls is not None:
        raise CannotServe(
            "PII_VAULT_TLS_CERTIFICATE: a socket of this machine has no TLS — unset PII_VAULT_TLS_…, or "
            "set PII_VAULT_HOST to an address"
        )
    path = Path(found[1])
    try:
        make_private_directories(path.parent)
        folder = path.parent.stat()
        if folder.st_uid != os.geteuid() or folder.st_mode & 0o077:
            raise CannotServe(
                f"PII_VAULT_HOST: others can use {path.parent} — name a socket in a folder of mode 0700"
            )
        if not path.exists():
            return
        if not path.is_socket():
            raise CannotServe(f"PII_VAULT_HOST: {path} is there and is no socket — name another")
        with socket.socket(socket.AF_UNIX) as probe, suppress(ConnectionRefusedError):
            probe.connect(str(path))
            raise CannotServe(
                f"PII_VAULT_HOST: at {path} another service listens — end that, or name another"
            )
    except OSError as error:
        problem = os.strerror(error.errno) if error.errno else "it cannot be used"
        raise CannotServe(f"PII_VAULT_HOST: {path}: {problem} — name a socket in a folder of yours") from None


def _credentials(tls: VaultTls) -> grpc.ServerCredentials:
    certificate = _read("PII_VAULT_TLS_CERTIFICATE", tls.certificate)
    key = _read("PII_VAULT_TLS_KEY", tls.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
    except (ssl.SSLError, ValueError):
        raise CannotServe(
            f"PII_VAULT_TLS_CERTIFICATE, PII_VAULT_TLS_KEY: {tls.certificate} and {tls.key} are no "
            "certificate and its key — name two PEM files, the key without a password"
        ) from None
    if tls.client_ca is None:
        return grpc.ssl_server_credentials([(key, certificate)])
    authorities = _read("PII_VAULT_TLS_CLIENT_CA", tls.client_ca)
    try:
        context.load_verify_locations(tls.client_ca)
    except ssl.SSLError:
        raise CannotServe(
            f"PII_VAULT_TLS_CLIENT_CA: {tls.client_ca} holds no certificate — name a PEM file of those by "
            "whom client certificates are signed"
        ) from None
    return grpc.ssl_server_credentials([(key, certificate)], authorities, require_client_auth=True)


def _no_password() -> str:
    """Instead of asking at the terminal, as OpenSSL would."""
    return ""


def _read(variable: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        problem = os.strerror(error.errno) if error.errno else "it cannot be read"
        raise CannotServe(f"{variable}: {path}: {problem} — name a PEM file that can be read") from None
