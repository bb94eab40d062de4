"""The client for programs on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from grpc.aio import EOF  # pyright: ignore[reportAttributeAccessIssue] its stubs lack it

from pii_pipeline.vault.errors import VaultError
from pii_pipeline.vault.model import DataSubject, Found, Reason, Record, RecordKey, Stored
from pii_pipeline.vault_client import messages
from pii_pipeline.vault_client.attempts import Attempts
from pii_pipeline.vault_client.connection import Connection
from pii_pipeline.vault_client.errors import ended_early, error_of, error_of_call
from pii_pipeline.vault_client.flight import Flight
from pii_pipeline.vault_client.messages import Call, Stream
from pii_pipeline.vault_wire.vault_pb2_grpc import VaultStub

Item = TypeVar("Item")
Result = TypeVar("Result")

_NOT_WRITTEN = "Internal error from Core"
_STATUS_SECONDS = 2.0


class AsyncVaultClient:
    """As `VaultClient`, of which all that is said holds: its methods are awaited, and its streams are async
    iterators of async iterables. To be made in the event loop that uses it.

    A stream that is left before its end is closed by `aclose` (or `contextlib.aclosing`).
    """

    def __init__(self, connection: Connection) -> None:
        credentials = connection.credentials()
        self._metadata = connection.metadata
        self._seconds, self._stream_seconds = connection.seconds, connection.stream_seconds
        address, options = connection.address, connection.options
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, options)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, options)
        self._stub = VaultStub(self._channel)
        self._known = self._closed = False

    @classmethod
    def from_environment(cls) -> Self:
        """As `Connection.from_environment`."""
        return cls(Connection.from_environment())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all calls that are at work."""
        self._closed = True
        await self._channel.close()

    async def create(self, record: Record) -> Stored:
        """See `VaultClient`, as for the rest."""
        return await self._ask(messages.create(record))

    async def create_batch(self, records: Sequence[Record]) -> Stored:
        """Up to 10,000, all or none."""
        return await self._ask(messages.create_batch(records))

    def create_stream(self, records: AsyncIterable[Record]) -> AsyncIterator[VaultError | None]:
        """As many as there are; None for each that is kept."""
        return self._each(messages.CREATES, records)

    async def read(self, reason: Reason, key: RecordKey) -> Found:
        """The originals of a pseudonym."""
        return await self._ask(messages.read(reason, key))

    async def read_batch(self, reason: Reason, keys: Sequence[RecordKey]) -> list[Found]:
        """Of up to 10,000, in order, if they fit into 4 MiB."""
        return await self._ask(messages.read_batch(reason, keys))

    def read_stream(
        self, reason: Reason, keys: AsyncIterable[RecordKey]
    ) -> AsyncIterator[Found | VaultError]:
        """Of as many as there are."""
        return self._each(messages.reads(reason), keys)

    async def delete(self, key: RecordKey) -> int:
        """Deletes all originals of a pseudonym; how many there were."""
        return await self._ask(messages.delete(key))

    async def delete_batch(self, keys: Sequence[RecordKey]) -> int:
        """Of up to 10,000."""
        return await self._ask(messages.delete_batch(keys))

    def delete_stream(self, keys: AsyncIterable[RecordKey]) -> AsyncIterator[VaultError | None]:
        """Of as many as there are; None for each that is done."""
        return self._each(messages.DELETES, keys)

    async def erase(self, subject: DataSubject, originals: Sequence[str] = ()) -> int:
        """Deletes all records of a person."""
        return await self._ask(messages.erase(subject, originals))

    async def _ask(self, call: Call[Result]) -> Result:
        attempts = Attempts(self._seconds, call.again, self._known)
        while True:
            method = self._method(call)
            try:
                reply = await method(call.request, timeout=attempts.left, metadata=self._metadata)
            except grpc.RpcError as error:
                raised = error_of_call(error)
            else:
                self._known = True
                return call.result(reply)
            if (pause := attempts.pause(raised)) is not None:
                await asyncio.sleep(pause)
            if pause is None or self._closed:
                raise raised

    async def _each(
        self, stream: Stream[Item, Result], items: AsyncIterable[Item]
    ) -> AsyncIterator[Result | VaultError]:
        flight = _TaskFlight(stream)
        replies = self._method(stream)(timeout=self._stream_seconds, metadata=self._metadata)
        replies.add_done_callback(flight.over)
        feeding = asyncio.create_task(flight.feed(replies, items))
        try:
            while (pending := await flight.wait_for_first()) is not None:
                if pending.refused is not None:
                    yield pending.refused
                elif (reply := await replies.read()) is not EOF:
                    yield stream.result(pending.item, reply)
                else:
                    raised = ended_early()
                    break
            else:
                await replies.read()  # raises if the call failed
                raised = flight.error if flight.ended else ended_early()
        except grpc.RpcError:
            raised = await flight.why()
        finally:
            replies.cancel()
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        if raised is not None:
            raise raised

    def _method(self, what: Call[Any] | Stream[Any, Any]) -> Any:
        return getattr(self._stub, what.method)


def _known(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What it returns, which it need not wait for."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


class _TaskFlight(Flight[Item]):
    """Filled by a task, emptied by another."""

    def __init__(self, stream: Stream[Item, Any]) -> None:
        super().__init__(stream)
        self._changed = asyncio.Event()
        self._status: VaultError | None = None

    async def feed(self, call: Any, items: AsyncIterable[Item]) -> None:
        """Sends the requests of the items. Of a call that is over it says nothing."""
        try:
            try:
                async for item in items:
                    await self._wait_for(lambda: self.room)
                    if self.closed:
                        return
                    message = self.add(item)
                    self._changed.set()
                    if message is not None:
                        await call.write(message)
            except (grpc.RpcError, asyncio.InvalidStateError):
                return  # told where the results are taken
            except Exception as error:  # noqa: BLE001 raised where the results are taken
                self.error = error
            self.ended = True
            self._changed.set()
            await call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            return

    async def wait_for_first(self) -> Any:
        """`first`, as soon as there is one or can be none any more."""
        await self._wait_for(lambda: self.news)
        pending = self.first()
        self._changed.set()
        return pending

    def over(self, call: Any) -> None:
        """To be called whenever the call gets a status. Where a request cannot be written any more, gRPC puts
        INTERNAL before, or over, that of the service."""
        code, details = _known(call.code()), _known(call.details())
        if details != _NOT_WRITTEN:
            self._status = ended_early() if code == grpc.StatusCode.OK else error_of(code, details)
        self.closed = True
        self._changed.set()

    async def why(self) -> VaultError:
        """Why the call failed, as the service says if it does so soon."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wait_for(lambda: self._status is not None), _STATUS_SECONDS)
        return self._status or error_of(grpc.StatusCode.UNAVAILABLE, "the call was broken off")

    async def _wait_for(self, told: Callable[[], bool]) -> None:
        while not told():
            self._changed.clear()
            await self._changed.wait()
