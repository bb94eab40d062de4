"""A service that behaves as it is told, over a real channel: what the vault's own seldom does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from pii_pipeline.vault_wire import vault_pb2 as wire
from pii_pipeline.vault_wire.vault_pb2_grpc import VaultServicer, add_VaultServicer_to_server


class Stub(VaultServicer):
    """Answers everything. The next `failures` are failures instead; `seconds`: before each answer.

    `calls`: the names of the methods that were called. `most`: a stream is ended after as many replies.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failures: list[tuple[grpc.StatusCode, str]] = []
        self.seconds = 0.0
        self.most: int | None = None
        self.received = 0

    def _met(self, name: str, context: Any) -> None:
        self.calls.append(name)
        time.sleep(self.seconds)
        if self.failures:
            context.abort(*self.failures.pop(0))

    def CreateRecord(self, request: Any, context: Any) -> Any:
        self._met("CreateRecord", context)
        return wire.CreateRecordResponse(stored=wire.Stored(new=1))

    def CreateRecords(self, request: Any, context: Any) -> Any:
        self._met("CreateRecords", context)
        return wire.CreateRecordsResponse(stored=wire.Stored(new=len(request.records)))

    def ReadRecord(self, request: Any, context: Any) -> Any:
        self._met("ReadRecord", context)
        return wire.ReadRecordResponse(found=wire.Found(originals=["o"]))

    def ReadRecords(self, request: Any, context: Any) -> Any:
        self._met("ReadRecords", context)
        return wire.ReadRecordsResponse(found=[wire.Found() for _ in request.keys])

    def DeleteRecord(self, request: Any, context: Any) -> Any:
        self._met("DeleteRecord", context)
        return wire.DeleteRecordResponse(deleted=1)

    def DeleteRecords(self, request: Any, context: Any) -> Any:
        self._met("DeleteRecords", context)
        return wire.DeleteRecordsResponse(deleted=len(request.keys))

    def EraseSubject(self, request: Any, context: Any) -> Any:
        self._met("EraseSubject", context)
        return wire.EraseSubjectResponse(deleted=1)

    def StreamReads(self, request_iterator: Iterator[Any], context: Any) -> Iterator[Any]:
        """Tells of each pseudonym the pseudonym itself."""
        self._met("StreamReads", context)
        for position, request in enumerate(request_iterator):
            if position == self.most:
                return
            self.received += 1
            time.sleep(self.seconds)
            yield wire.StreamedFound(position=position, found=wire.Found(originals=[request.key.pseudonym]))

    def StreamCreates(self, request_iterator: Iterator[Any], context: Any) -> Iterator[Any]:
        self._met("StreamCreates", context)
        for position, _ in enumerate(request_iterator):
            self.received += 1
            yield wire.StreamedChange(position=position)

    def StreamDeletes(self, request_iterator: Iterator[Any], context: Any) -> Iterator[Any]:
        self._met("StreamDeletes", context)
        for position, _ in enumerate(request_iterator):
            yield wire.StreamedChange(position=position)


@contextmanager
def serving(stub: Stub) -> Iterator[str]:
    """Its address."""
    server = grpc.server(ThreadPoolExecutor(8))
    add_VaultServicer_to_server(stub, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
