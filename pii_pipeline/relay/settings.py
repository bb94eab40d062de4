"""What the environment of the relay says.

| variable | meaning | default |
| --- | --- | --- |
| ``PIINGUIN_HOST`` | where the vault, or a Piinguin, is | – |
| ``PIINGUIN_PORT`` | its port | 8080 |
| ``PIINGUIN_TIMEOUT_SEC`` | seconds until a call has to be answered | 10 |
| ``PII_RELAY_QUARANTINE`` | for what cannot be read: ``s3://BUCKET/PREFIX`` or ``file:///FOLDER`` | none |
| ``PII_RELAY_TLS`` | ``off`` for a Piinguin, which has none | ``on`` |

What is shown there, and who is believed, say the variables of `vault_client`: ``PII_VAULT_TOKEN``, which here
may be ``aws-secretsmanager://NAME``, ``PII_VAULT_TLS_CA``, ``PII_VAULT_TLS_CLIENT_CERTIFICATE`` and so on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pii_pipeline.keys.secret_values import secret_value
from pii_pipeline.vault_client.connection import Connection

_HOST = re.compile(r"[A-Za-z0-9.-]+|[0-9A-Fa-f:.]+")


class RelaySettingError(Exception):
    """A variable cannot be meant; names it and the mend."""


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """Where to, and how. seconds: of a call. quarantine: a URI; None: there is none."""

    connection: Connection
    tls: bool
    seconds: float
    quarantine: str | None


def read_relay_settings(environment: Mapping[str, str] | None = None) -> RelaySettings:
    """As the variables say (default: of the process). Raises `RelaySettingError`, `VaultSettingError`, and
    what `secret_value` does."""
    given = os.environ if environment is None else environment
    env = {name: value for name, value in given.items() if value}
    host, port = env.get("PIINGUIN_HOST", ""), env.get("PIINGUIN_PORT", "8080")
    if not _HOST.fullmatch(host):
        raise RelaySettingError(
            "PIINGUIN_HOST: no host — write the name or the address of the vault's service"
        )
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
        raise RelaySettingError("PIINGUIN_PORT: no port — write a number, such as 8080")
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if token := env.get("PII_VAULT_TOKEN"):
        env["PII_VAULT_TOKEN"] = secret_value("PII_VAULT_TOKEN", token)
    connection = Connection.from_environment({**env, "PII_VAULT_ADDRESS": address})
    return RelaySettings(connection, _tls(env, connection), _seconds(env), env.get("PII_RELAY_QUARANTINE"))


def _tls(env: Mapping[str, str], connection: Connection) -> bool:
    said = env.get("PII_RELAY_TLS", "on")
    if said not in ("on", "off"):
        raise RelaySettingError("PII_RELAY_TLS: neither `on` nor `off`")
    if said == "off" and (connection.token or connection.certificate):
        raise RelaySettingError(
            "PII_RELAY_TLS: `off`, and there is a token or a certificate — a Piinguin wants neither, and the "
            "vault wants TLS"
        )
    return said == "on"


def _seconds(env: Mapping[str, str]) -> float:
    said = env.get("PIINGUIN_TIMEOUT_SEC", "10")
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 900:
        raise RelaySettingError("PIINGUIN_TIMEOUT_SEC: no time — write seconds, up to 900, such as 10")
    return seconds
