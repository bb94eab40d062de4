"""Records into the vault over Piinguin's protocol, which our service and a Piinguin both speak.

A reply does not say which request it is to, and a Piinguin gives them in any order and may lose the last
ones. So a stream tells whether all of its records are kept; where they are not, each is asked for by a call
of its own. What a Piinguin says in a status may hold an original: nobody looks at it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import grpc

from pii_pipeline.relay.transformations import Replaced
from pii_pipeline.vault_client.connection import Connection
from pii_pipeline.vault_wire import piinguin_pb2 as wire
from pii_pipeline.vault_wire.piinguin_pb2_grpc import PiinguinStub

RECORDS_AT_ONCE = 500
"""In a stream. What was kept of earlier ones stays kept, however the next one fails."""
BYTES_AT_ONCE = 2 * 1024 * 1024


class Sent(NamedTuple):
    """So many records, from the first, are kept; of the next one `problem` says why it is not."""

    kept: int
    problem: str | None = None


class Piinguin:
    """A connection that is made when it is first used, and made anew once a call has failed."""

    def __init__(self, connection: Connection, tls: bool, seconds: float) -> None:
        self._connection = connection
        self._credentials = connection.credentials() if tls else None
        self._metadata = connection.metadata
        self._seconds = seconds
        self._channel: grpc.Channel | None = None

    def create(self, records: Sequence[Replaced], over: float) -> Sent:
        """Keeps them, until the time (`time.monotonic`) is `over`. What is there already is kept once, so it
        may be done again."""
        kept = 0
        for part in _parts(records):
            requests = [_request(record) for record in part]
            try:
                if not self._stream(requests, over):
                    done = self._one_by_one(requests, over)
                    if done < len(part):
                        return Sent(kept + done, "refused")
            except TimeoutError:
                return Sent(kept, "out of time")
            except grpc.RpcError as error:
                self.close()
                return Sent(kept, _code(error))
            kept += len(part)
        return Sent(kept)

    def close(self) -> None:
        """Ends the connection; the next call makes another."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _stream(self, requests: Sequence[wire.CreatePiiRecordRequest], over: float) -> bool:
        """Whether all are kept."""
        replies = self._stub.CreatePiiRecords(
            iter(requests), timeout=self._left(over), metadata=self._metadata
        )
        return sum(reply.status.isSuccess for reply in replies) == len(requests)

    def _one_by_one(self, requests: Sequence[wire.CreatePiiRecordRequest], over: float) -> int:
        """How many from the first are kept."""
        create = self._stub.CreatePiiRecord
        for number, request in enumerate(requests):
            if not create(request, timeout=self._left(over), metadata=self._metadata).status.isSuccess:
                return number
        return len(requests)

    def _left(self, over: float) -> float:
        left = min(self._seconds, over - time.monotonic())
        if left <= 0:
            raise TimeoutError
        return left

    @property
    def _stub(self) -> Any:
        if self._channel is None:
            address, options = self._connection.address, self._connection.options
            if self._credentials is None:
                self._channel = grpc.insecure_channel(address, options)
            else:
                self._channel = grpc.secure_channel(address, self._credentials, options)
        return PiinguinStub(self._channel)


def _parts(records: Sequence[Replaced]) -> Iterator[Sequence[Replaced]]:
    """In order, each for one stream."""
    start = size = 0
    for number, record in enumerate(records):
        bytes_of = len(record.pseudonym.encode()) + len(record.original.encode())
        if number > start and (number - start >= RECORDS_AT_ONCE or size + bytes_of > BYTES_AT_ONCE):
            yield records[start:number]
            start, size = number, 0
        size += bytes_of
    if start < len(records):
        yield records[start:]


def _request(record: Replaced) -> wire.CreatePiiRecordRequest:
    pair = wire.PiiRecord(modifiedValue=record.pseudonym, originalValue=record.original)
    return wire.CreatePiiRecordRequest(piiRecord=pair)


def _code(error: grpc.RpcError) -> str:
    """Its status, and not what else it says: a Piinguin's may quote."""
    code = error.code() if isinstance(error, grpc.Call) else None
    return code.name if code else "UNKNOWN"
