"""Whom the commands about single records ask: the installation's own vault, or a service."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from pii_pipeline.cli.common import installation
from pii_pipeline.settings import read_settings
from pii_pipeline.vault.model import DataSubject, Found, Reason, Record, RecordKey, Stored

if TYPE_CHECKING:
    from pii_pipeline.pipeline.installation import Installation
    from pii_pipeline.vault.policy import Policy
    from pii_pipeline.vault_client import VaultClient
    from pii_pipeline.vault_service.backend import Backend

Function = TypeVar("Function", bound=Callable[..., Any])


class Desk(Protocol):
    """What the commands ask for; `VaultClient` has it."""

    def create(self, record: Record) -> Stored: ...
    def read_batch(self, reason: Reason, keys: Sequence[RecordKey]) -> list[Found]: ...
    def delete_batch(self, keys: Sequence[RecordKey]) -> int: ...
    def erase(self, subject: DataSubject, originals: Sequence[str] = ()) -> int: ...


class OwnVault:
    """The installation's vault, asked as the principal `operator`."""

    def __init__(self, opened: Installation) -> None:
        from pii_pipeline.vault.policy import OPERATOR

        self.policy = opened.vault_policy
        self._backend = backend_of(opened)
        self._principal = OPERATOR

    def create(self, record: Record) -> Stored:
        from pii_pipeline.vault_service.records import create

        return create(self._backend, self._principal, [record])

    def read_batch(self, reason: Reason, keys: Sequence[RecordKey]) -> list[Found]:
        return self._backend.vault().read(self._principal, reason, keys)

    def delete_batch(self, keys: Sequence[RecordKey]) -> int:
        return self._backend.vault().delete(self._principal, keys)

    def erase(self, subject: DataSubject, originals: Sequence[str] = ()) -> int:
        from pii_pipeline.vault_service.records import erase

        return erase(self._backend, self._principal, subject, originals)


def address_option(function: Function) -> Function:
    """``--address``: of a service to ask, as the argument `address`."""
    return click.option(
        "--address",
        envvar="PII_VAULT_ADDRESS",
        metavar="ADDRESS",
        help="HOST:PORT or unix:///PATH of a service to ask in place of the installation's own vault "
        "(PII_VAULT_ADDRESS).",
    )(function)


@contextmanager
def desk(address: str | None) -> Iterator[Desk]:
    """The service at `address`, or the installation's own vault."""
    if address is not None:
        with client_at(address) as client:
            yield client
        return
    with installation() as opened:
        yield OwnVault(opened)


def client_at(address: str) -> VaultClient:
    """With token and certificates from the environment; on this machine, the token of the first start."""
    from pii_pipeline.vault_client import Connection, VaultClient

    environment = {**os.environ, "PII_VAULT_ADDRESS": address}
    first = read_settings().vault_token_file
    shows_another = {"PII_VAULT_TOKEN", "PII_VAULT_TLS_CLIENT_CERTIFICATE"} & set(environment)
    if Connection(address).loopback and first.exists() and not shows_another:
        environment["PII_VAULT_TOKEN_FILE"] = str(first)
    return VaultClient(Connection.from_environment(environment))


def backend_of(
    opened: Installation,
    tokens: Mapping[str, str] = MappingProxyType({}),
    tick: Callable[[], None] = lambda: None,
) -> Backend:
    """What answers requests, over an installation."""
    from pii_pipeline.vault_service.backend import Backend

    return Backend(
        vault=lambda: opened.vault,
        policy=opened.vault_policy,
        subjects=opened.vault_subjects,
        tokens=tokens,
        tick=tick,
    )


def policy_of(asked: Desk) -> Policy | None:
    """The policy that decides, where it is at hand."""
    return asked.policy if isinstance(asked, OwnVault) else None
