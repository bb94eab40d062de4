"""The vault's service as a process of its own, `pii vault serve`, and clients that share no code with it.

Clients know the protocols from texts of protos that stand in the tests, compiled when they run into a pool of
their own: the product's stubs have no part in it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2_grpc
from grpc_tools import protoc

PROJECT = Path(__file__).parents[1]
START_SECONDS = 60


@dataclass
class VaultServer:
    """A running service. Everything it writes is below `folder`; `log` is its output and its error output."""

    folder: Path
    process: subprocess.Popen[bytes]
    address: str

    @property
    def token(self) -> str:
        """Of the principal `operator`."""
        return (self.folder / "token").read_text().strip()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def end(self) -> int:
        """Tells it to end, and waits for that; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def environment(folder: Path, policy: str) -> dict[str, str]:
    """That of a service whose files are all below `folder`."""
    (folder / "policy.yaml").write_text(policy)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PII_", "PIINGUIN_"))}
    return kept | {
        "PYTHONPATH": str(PROJECT),
        "PII_STORAGE_URI": str(folder / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{folder / 'pii.db'}",
        "PII_KEY_ENCRYPTION_KEY": f"file:{folder / 'kek'}",
        "PII_STREAMS_DIR": str(PROJECT / "streams"),
        "PII_VAULT_URL": f"sqlite:///{folder / 'vault.db'}",
        "PII_VAULT_ANCHORS": (folder / "anchors").as_uri(),
        "PII_VAULT_POLICY": str(folder / "policy.yaml"),
        "PII_VAULT_TOKEN_FILE": str(folder / "token"),
        "PII_VAULT_PORT": "0",
    }


def command(*arguments: str, module: str = "pii_pipeline.cli") -> list[str]:
    """`pii vault serve` with arguments. `module`: what is `pii`."""
    return [sys.executable, "-m", module, "vault", "serve", *arguments]


@contextmanager
def vault_server(
    folder: Path,
    policy: str,
    variables: Mapping[str, str] | None = None,
    *arguments: str,
    module: str = "pii_pipeline.cli",
) -> Iterator[VaultServer]:
    """Starts it, and ends it if it did not end before."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command(*arguments, module=module),
            env=environment(folder, policy) | dict(variables or {}),
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield VaultServer(folder, process, _address(folder / "log", process))
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"serves at (\S+) ", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"the service did not start:\n{log.read_text(errors='replace')}")


def health_of(channel: grpc.Channel) -> Any:
    """The calls of gRPC's health checking."""
    return health_pb2_grpc.HealthStub(channel)


class Protocol:
    """Messages and methods of a service, from the text of its proto alone."""

    def __init__(self, proto: str, service: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            source, compiled = Path(folder) / "facts.proto", Path(folder) / "facts.bin"
            source.write_text(proto)
            assert (
                protoc.main(["protoc", f"-I{folder}", f"--descriptor_set_out={compiled}", str(source)]) == 0
            )
            files = FileDescriptorSet.FromString(compiled.read_bytes())
        self._pool = DescriptorPool()
        for file in files.file:
            self._pool.Add(file)  # pyright: ignore[reportAttributeAccessIssue]
        self._service = self._pool.FindServiceByName(service)
        self._package = service.rpartition(".")[0]

    def __getattr__(self, name: str) -> Any:
        """The class of a message."""
        return GetMessageClass(self._pool.FindMessageTypeByName(f"{self._package}.{name}"))

    def calls(self, channel: grpc.Channel) -> Calls:
        """The service's methods over a channel."""
        return Calls(self._service, channel)


class Calls:
    """Each method of a service as a callable."""

    def __init__(self, service: Any, channel: grpc.Channel) -> None:
        self._service = service
        self._channel = channel

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = self._service.methods_by_name[name]
        streams = (method.client_streaming, method.server_streaming)
        make = {
            (False, False): self._channel.unary_unary,
            (True, True): self._channel.stream_stream,
        }[streams]
        reply = GetMessageClass(method.output_type)
        return make(
            f"/{self._service.full_name}/{name}",
            request_serializer=_serialized,
            response_deserializer=reply.FromString,
        )


def _serialized(request: Any) -> bytes:
    """Bytes go as they are."""
    return request if isinstance(request, bytes) else request.SerializeToString()


PIINGUIN_PROTO = """
syntax = "proto3";
package com.snowplowanalytics.piinguin.server.generated.protocols;
message PiiRecord { string modifiedValue = 1; string originalValue = 2; }
message CreatePiiRecordRequest { PiiRecord piiRecord = 1; }
message DeletePiiRecordRequest { string modifiedValue = 1; }
message ReadPiiRecordRequest {
  enum LawfulBasisForProcessing {
    CONSENT = 0; CONTRACT = 1; LEGAL_OBLIGATION = 2; VITAL_INTERESTS = 3; PUBLIC_TASK = 4;
    LEGITIMATE_INTERESTS = 5;
  }
  string modifiedValue = 1;
  LawfulBasisForProcessing processingBasis = 2;
}
message Status { string message = 1; bool isSuccess = 2; }
message ChangeRecordResponse { Status status = 1; }
message ReadPiiRecordResponse { PiiRecord piiRecord = 1; Status status = 2; }
service Piinguin {
  rpc CreatePiiRecord(CreatePiiRecordRequest) returns (ChangeRecordResponse);
  rpc ReadPiiRecord(ReadPiiRecordRequest) returns (ReadPiiRecordResponse);
  rpc DeletePiiRecord(DeletePiiRecordRequest) returns (ChangeRecordResponse);
  rpc CreatePiiRecords(stream CreatePiiRecordRequest) returns (stream ChangeRecordResponse);
  rpc ReadPiiRecords(stream ReadPiiRecordRequest) returns (stream ReadPiiRecordResponse);
  rpc DeletePiiRecords(stream DeletePiiRecordRequest) returns (stream ChangeRecordResponse);
}
"""
PIINGUIN_SERVICE = "com.snowplowanalytics.piinguin.server.generated.protocols.Piinguin"


class Piinguin:
    """What a client of Piinguin's does, written from the facts of its protocol."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.protocol = Protocol(PIINGUIN_PROTO, PIINGUIN_SERVICE)
        self.calls = self.protocol.calls(channel)

    def creation(self, modified: str, original: str) -> Any:
        record = self.protocol.PiiRecord(modifiedValue=modified, originalValue=original)
        return self.protocol.CreatePiiRecordRequest(piiRecord=record)

    def look(self, modified: str, basis: int = 2) -> Any:
        return self.protocol.ReadPiiRecordRequest(modifiedValue=modified, processingBasis=basis)

    def deletion(self, modified: str) -> Any:
        return self.protocol.DeletePiiRecordRequest(modifiedValue=modified)

    @cached_property
    def create(self) -> Callable[..., Any]:
        return self.calls.CreatePiiRecord

    @cached_property
    def read(self) -> Callable[..., Any]:
        return self.calls.ReadPiiRecord

    @cached_property
    def delete(self) -> Callable[..., Any]:
        return self.calls.DeletePiiRecord
