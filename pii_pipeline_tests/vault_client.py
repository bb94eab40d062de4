"""A client of ours for tests, made from the text of our proto alone."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import Any

import grpc
import pytest

from pii_pipeline_tests.vault_server import PROJECT, Calls, Protocol, VaultServer

PROTO = (PROJECT / "pii_pipeline" / "vault_wire" / "vault.proto").read_text()
CONSENT, OBLIGATION = 1, 3


def pseudonym(of: object) -> str:
    """What a contract might make of it."""
    return hashlib.sha256(str(of).encode()).hexdigest()


class Client:
    """Messages of our protocol, and its calls as some principal."""

    def __init__(self, channel: grpc.Channel, token: str | None) -> None:
        self.protocol = Protocol(PROTO, "pii.vault.v1.Vault")
        self.calls: Calls = self.protocol.calls(channel)
        self.metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()

    def __call__(self, method: str, request: Any, **options: Any) -> Any:
        return getattr(self.calls, method)(request, metadata=self.metadata, **options)

    def key(self, of: object, stream: str = "logins", field: str = "ip") -> Any:
        return self.protocol.RecordKey(stream=stream, field=field, pseudonym=pseudonym(of))

    def record(self, of: object, original: str, subject: tuple[str, str] | None = None, **place: str) -> Any:
        record = self.protocol.Record(key=self.key(of, **place), original=original)
        if subject:
            record.subject.namespace, record.subject.id = subject
        return record

    def creation(self, *arguments: Any, **options: Any) -> Any:
        return self.protocol.CreateRecordRequest(record=self.record(*arguments, **options))

    def reason(self, basis: int = OBLIGATION, purpose: str = "fraud", ticket: str = "FR-1") -> Any:
        return self.protocol.Reason(basis=basis, purpose=purpose, ticket=ticket)

    def look(self, of: object, **reason: Any) -> Any:
        return self.protocol.ReadRecordRequest(reason=self.reason(**reason), key=self.key(of))

    def read(self, of: object, timeout: float | None = None, **reason: Any) -> list[str]:
        return list(self("ReadRecord", self.look(of, **reason), timeout=timeout).found.originals)

    def create(self, of: object, original: str, **options: Any) -> Any:
        return self("CreateRecord", self.creation(of, original), **options)


def code_of(call: Any) -> tuple[str, str]:
    """Status code and message of a call that fails."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    error: Any = raised.value
    return error.code().name, error.details()


def entries(server: VaultServer) -> list[dict[str, Any]]:
    """Those of the audit log, as they are in the database."""
    with sqlite3.connect(server.folder / "vault.db", timeout=60) as database:
        rows = database.execute("SELECT text FROM vault_audit ORDER BY sequence").fetchall()
    return [json.loads(text) for (text,) in rows]
