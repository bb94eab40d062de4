"""A server that behaves as Piinguin does, holes included, made from the facts of its protocol alone."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from pii_pipeline_tests.vault_server import PIINGUIN_PROTO, PIINGUIN_SERVICE, Protocol


@dataclass
class OldPiinguin:
    """What it has, by modified value. It keeps one original of each, and tells the one before.

    refuses: modified values that it does not keep. loses: how many replies of a stream never come. seconds:
    that a create takes it. calls: the methods that were called.
    """

    records: dict[str, str] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)
    loses: int = 0
    seconds: float = 0.0
    calls: list[str] = field(default_factory=list)
    address: str = ""

    def create(self, request: Any) -> tuple[str, bool]:
        """Its status: message and success."""
        time.sleep(self.seconds)
        modified, original = request.piiRecord.modifiedValue, request.piiRecord.originalValue
        if modified in self.refuses:
            return f"Could not write PiiRecord({modified},{original})", False
        before = self.records.get(modified)
        self.records[modified] = original
        return ("OK" if before is None else f"Replaces PiiRecord({modified},{before})"), True


@contextmanager
def old_piinguin(port: int = 0) -> Iterator[OldPiinguin]:
    """One that listens on loopback, without TLS."""
    protocol, piinguin = Protocol(PIINGUIN_PROTO, PIINGUIN_SERVICE), OldPiinguin()

    def reply(status: tuple[str, bool]) -> Any:
        message, success = status
        return protocol.ChangeRecordResponse(status=protocol.Status(message=message, isSuccess=success))

    def one(request: Any, _: grpc.ServicerContext) -> Any:
        piinguin.calls.append("CreatePiiRecord")
        return reply(piinguin.create(request))

    def many(requests: Iterator[Any], _: grpc.ServicerContext) -> Iterator[Any]:
        piinguin.calls.append("CreatePiiRecords")
        replies = [reply(piinguin.create(request)) for request in requests]
        random.Random(7).shuffle(replies)
        yield from replies[: len(replies) - piinguin.loses]

    codec = {
        "request_deserializer": GetMessageClass(protocol.CreatePiiRecordRequest.DESCRIPTOR).FromString,
        "response_serializer": lambda message: message.SerializeToString(),
    }
    methods = {
        "CreatePiiRecord": grpc.unary_unary_rpc_method_handler(one, **codec),
        "CreatePiiRecords": grpc.stream_stream_rpc_method_handler(many, **codec),
    }
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(PIINGUIN_SERVICE, methods)])
    piinguin.address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    server.start()
    try:
        yield piinguin
    finally:
        server.stop(None).wait()
