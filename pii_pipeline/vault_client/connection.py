"""Where the vault's service is, and what its client shows there.

| variable | meaning | default |
| --- | --- | --- |
| ``PII_VAULT_ADDRESS`` | ``HOST:PORT`` of the service, or ``unix:///PATH`` of its socket | – |
| ``PII_VAULT_TOKEN`` | the bearer token | that in ``PII_VAULT_TOKEN_FILE`` |
| ``PII_VAULT_TOKEN_FILE`` | a file that holds it | none: a certificate says who asks |
| ``PII_VAULT_TLS_CA`` | PEM file of who signs the service's certificate | the roots that gRPC comes with |
| ``PII_VAULT_TLS_CLIENT_CERTIFICATE``, ``…_KEY`` | PEM files of the client's own, for mutual TLS | none |

Without TLS it speaks to this machine alone: everybody on the way could read token and originals.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from pii_pipeline.vault.errors import VaultSettingError

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Of a request and of a reply."""

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A service that starts again is found again at once.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_SOCKET = re.compile(r"unix:///[^%?#]+")
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Connection:
    """Address (``HOST:PORT`` or ``unix:///PATH``), token and certificates (PEM files) of a client.

    seconds: until a call has to be answered, all attempts at it together
    stream_seconds: until a stream has to be at its end
    """

    address: str
    token: str | None = field(default=None, repr=False)
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    seconds: float = 30.0
    stream_seconds: float = 3600.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Connection:
        """As the variables above say (default: of the process). Raises `VaultSettingError`."""
        given = os.environ if environment is None else environment
        env = {name: value for name, value in given.items() if value}
        if "PII_VAULT_ADDRESS" not in env:
            raise VaultSettingError("PII_VAULT_ADDRESS: not set — write HOST:PORT of the vault's service")
        token = env.get("PII_VAULT_TOKEN")
        if token is None and "PII_VAULT_TOKEN_FILE" in env:
            token = read_token(Path(env["PII_VAULT_TOKEN_FILE"]))
        authority, certificate, key = (
            Path(env[name]) if name in env else None
            for name in (
                "PII_VAULT_TLS_CA",
                "PII_VAULT_TLS_CLIENT_CERTIFICATE",
                "PII_VAULT_TLS_CLIENT_KEY",
            )
        )
        return cls(env["PII_VAULT_ADDRESS"], token, authority, certificate, key)

    @property
    def loopback(self) -> bool:
        """Whether the address is of this machine."""
        if _SOCKET.fullmatch(self.address):
            return True
        host = self._host
        try:
            return ipaddress.ip_address(host.strip("[]")).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call says of who makes it. Raises `VaultSettingError`."""
        if self.token is None:
            return ()
        if not _TOKEN.fullmatch(self.token):
            raise VaultSettingError("PII_VAULT_TOKEN: no token — it is one word of ASCII")
        return (("authorization", f"Bearer {self.token}"),)

    @property
    def options(self) -> list[tuple[str, Any]]:
        """Of the channel."""
        return [*_OPTIONS, ("grpc.enable_http_proxy", 0)] if self.loopback else _OPTIONS

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Of the channel; None: without TLS, to this machine. Raises `VaultSettingError`."""
        if self.loopback and not (self.authority or self.certificate or self.key):
            return None
        if _SOCKET.fullmatch(self.address):
            raise VaultSettingError(
                "PII_VAULT_TLS_…: a socket of this machine has no TLS — unset them, or write HOST:PORT as "
                "PII_VAULT_ADDRESS"
            )
        if bool(self.certificate) != bool(self.key):
            raise VaultSettingError(
                "PII_VAULT_TLS_CLIENT_CERTIFICATE, PII_VAULT_TLS_CLIENT_KEY: one without the other — set both"
            )
        return grpc.ssl_channel_credentials(
            _pem("PII_VAULT_TLS_CA", self.authority),
            _pem("PII_VAULT_TLS_CLIENT_KEY", self.key),
            _pem("PII_VAULT_TLS_CLIENT_CERTIFICATE", self.certificate),
        )

    @property
    def _host(self) -> str:
        found = _ADDRESS.fullmatch(self.address)
        if found is None or int(found[2]) > 65_535:
            raise VaultSettingError(
                "PII_VAULT_ADDRESS: no address — write HOST:PORT, such as 127.0.0.1:8080, or unix:///PATH"
            )
        return found[1]


def read_token(file: Path) -> str:
    """The token in a file. Raises `VaultSettingError`."""
    return _read("PII_VAULT_TOKEN_FILE", file).decode(errors="replace").strip()


def _pem(variable: str, file: Path | None) -> bytes | None:
    if file is None:
        return None
    data = _read(variable, file)
    if b"-----BEGIN " not in data:
        raise VaultSettingError(f"{variable}: {file} is no PEM file — it begins with -----BEGIN")
    return data


def _read(variable: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        problem = os.strerror(error.errno) if error.errno else "it cannot be read"
        raise VaultSettingError(f"{variable}: {file}: {problem} — name a file that can be read") from None
