"""The client for programs with threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from pii_pipeline.vault.errors import VaultError
from pii_pipeline.vault.model import DataSubject, Found, Reason, Record, RecordKey, Stored
from pii_pipeline.vault_client import messages
from pii_pipeline.vault_client.attempts import Attempts
from pii_pipeline.vault_client.connection import Connection
from pii_pipeline.vault_client.errors import ended_early, error_of_call
from pii_pipeline.vault_client.flight import Flight
from pii_pipeline.vault_client.messages import Call, Stream
from pii_pipeline.vault_wire.vault_pb2_grpc import VaultStub

Item = TypeVar("Item")
Result = TypeVar("Result")


class VaultClient:
    """Asks the vault's service at `connection`; safe across threads. It connects when it is first used.

    All methods raise `VaultRefused` (`why` says what for), `VaultUnavailable`, `VaultDeadlineExceeded` and
    `VaultCallFailed`; making it raises `VaultSettingError`. Creates, reads and deletes are tried again while
    the service is not available, until the call's time is over, or for three seconds where it has never
    answered this client: they may be done twice. Then a read is two entries of the audit log, and a delete
    may say that there was nothing to delete.

    The methods `…_stream` take any iterable, in a thread of their own, and give one result for each item, in
    order. No more than 2,000 items, or 4 MiB, are on their way: who takes no results holds up who makes
    items. A result that is an error is of that item alone. A stream that fails raises: of the items that have
    no result yet nobody knows what came of them, and they may be sent once more. What the iterable raises is
    raised after the results of what it gave before. A stream begins when its first result is asked for, and
    ends when its iterator is closed.
    """

    def __init__(self, connection: Connection) -> None:
        credentials = connection.credentials()
        self._metadata = connection.metadata
        self._seconds, self._stream_seconds = connection.seconds, connection.stream_seconds
        address, options = connection.address, connection.options
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            self._channel = grpc.secure_channel(address, credentials, options)
        self._stub = VaultStub(self._channel)
        self._known = self._closed = False

    @classmethod
    def from_environment(cls) -> Self:
        """As `Connection.from_environment`."""
        return cls(Connection.from_environment())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all calls that are at work."""
        self._closed = True
        self._channel.close()

    def create(self, record: Record) -> Stored:
        """Keeps an original, durably when it returns; what is there already is kept once."""
        return self._ask(messages.create(record))

    def create_batch(self, records: Sequence[Record]) -> Stored:
        """Up to 10,000, all or none."""
        return self._ask(messages.create_batch(records))

    def create_stream(self, records: Iterable[Record]) -> Iterator[VaultError | None]:
        """As many as there are; None for each that is kept."""
        return self._each(messages.CREATES, records)

    def read(self, reason: Reason, key: RecordKey) -> Found:
        """The originals of a pseudonym; that there are none is no error."""
        return self._ask(messages.read(reason, key))

    def read_batch(self, reason: Reason, keys: Sequence[RecordKey]) -> list[Found]:
        """Of up to 10,000, in order, if they fit into 4 MiB: one entry of the audit log."""
        return self._ask(messages.read_batch(reason, keys))

    def read_stream(self, reason: Reason, keys: Iterable[RecordKey]) -> Iterator[Found | VaultError]:
        """Of as many as there are."""
        return self._each(messages.reads(reason), keys)

    def delete(self, key: RecordKey) -> int:
        """Deletes all originals of a pseudonym; how many there were."""
        return self._ask(messages.delete(key))

    def delete_batch(self, keys: Sequence[RecordKey]) -> int:
        """Of up to 10,000."""
        return self._ask(messages.delete_batch(keys))

    def delete_stream(self, keys: Iterable[RecordKey]) -> Iterator[VaultError | None]:
        """Of as many as there are; None for each that is done."""
        return self._each(messages.DELETES, keys)

    def erase(self, subject: DataSubject, originals: Sequence[str] = ()) -> int:
        """Deletes all records of a person, and those of `originals` (what the person is known by) that name
        nobody; how many there were. Never tried again by itself."""
        return self._ask(messages.erase(subject, originals))

    def _ask(self, call: Call[Result]) -> Result:
        attempts = Attempts(self._seconds, call.again, self._known)
        while True:
            try:
                reply = self._method(call)(call.request, timeout=attempts.left, metadata=self._metadata)
            except grpc.RpcError as error:
                raised = error_of_call(error)
            else:
                self._known = True
                return call.result(reply)
            if (pause := attempts.pause(raised)) is not None:
                time.sleep(pause)
            if pause is None or self._closed:
                raise raised

    def _each(self, stream: Stream[Item, Result], items: Iterable[Item]) -> Iterator[Result | VaultError]:
        flight = _ThreadFlight(stream)
        replies = self._method(stream)(
            flight.requests(items), timeout=self._stream_seconds, metadata=self._metadata
        )
        replies.add_callback(flight.close)  # whoever waits need not wait for a call that is over
        try:
            while (pending := flight.wait_for_first()) is not None:
                yield pending.refused or stream.result(pending.item, next(replies))
            next(replies, None)  # raises if the call failed
        except grpc.RpcError as error:
            raised = error_of_call(error)
        except StopIteration:
            raised = ended_early()
        else:
            raised = flight.error if flight.ended else ended_early()
        finally:
            flight.close()
            replies.cancel()
        if raised is not None:
            raise raised

    def _method(self, what: Call[Any] | Stream[Any, Any]) -> Any:
        return getattr(self._stub, what.method)


class _ThreadFlight(Flight[Item]):
    """Filled by a thread of gRPC's, which takes the requests; emptied by who takes the results."""

    def __init__(self, stream: Stream[Item, Any]) -> None:
        super().__init__(stream)
        self._changed = threading.Condition()

    def requests(self, items: Iterable[Item]) -> Iterator[Message]:
        """The requests of the items. Never raises: gRPC would log what was raised."""
        try:
            for item in items:
                with self._changed:
                    self._changed.wait_for(lambda: self.room)
                    if self.closed:
                        return
                    message = self.add(item)
                    self._changed.notify_all()
                if message is not None:
                    yield message
        except Exception as error:  # noqa: BLE001 raised where the results are taken
            self.error = error
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def wait_for_first(self) -> Any:
        """`first`, as soon as there is one or can be none any more."""
        with self._changed:
            self._changed.wait_for(lambda: self.news)
            pending = self.first()
            self._changed.notify_all()
            return pending

    def close(self) -> None:
        """Sends nothing more, and wakes who waits."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
