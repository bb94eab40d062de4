"""A process that asks a vault's service until it ends, and prints what was answered.

``python -m pii_pipeline_tests.vault_caller ADDRESS TOKEN NAME AT_ONCE``

Each of `KINDS` has threads of its own: they create records and read those that were acknowledged, singly, in
batches or in streams, over our protocol or Piinguin's. AT_ONCE records are in a batch, or on their way in a
stream: up to 20, for an entry of the audit log names as many one by one. A line for each record that was
answered, written at once and as a whole: "created" or "read", and the record, which is NAME/KIND/NUMBER.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import grpc

from pii_pipeline_tests.vault_client import Client, pseudonym
from pii_pipeline_tests.vault_server import Piinguin

KINDS = ("single", "batch", "stream", "piinguin-single", "piinguin-stream")
"""How records are asked for."""


def original_of(record: str) -> str:
    """What is kept for it."""
    return f"{record}.planted.example"


def main() -> None:
    """Ends when all threads have been told that the service does, and at once when an answer is not right."""
    address, token, name, at_once = sys.argv[1:]
    threading.excepthook = _give_up

    def until_it_ends(kind: str) -> None:
        with grpc.insecure_channel(address) as channel:
            try:
                work_of(kind, channel, token, int(at_once))(f"{name}/{kind}")
            except grpc.RpcError as error:
                assert error.code() in (  # pyright: ignore[reportAttributeAccessIssue]
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.CANCELLED,
                ), error.code()  # pyright: ignore[reportAttributeAccessIssue]
                return
        raise AssertionError(kind)

    running = [threading.Thread(target=until_it_ends, args=(kind,)) for kind in KINDS]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    # Not as Python ends: what gRPC has of a stream may then wait for ever, for a thread that was stopped.
    os._exit(0)


def _give_up(raised: threading.ExceptHookArgs) -> None:
    threading.__excepthook__(raised)
    os._exit(1)


def work_of(kind: str, channel: grpc.Channel, token: str, at_once: int) -> Callable[[str], None]:
    """What a thread does; it is given how its records begin."""
    if kind == "single":
        return lambda name: _singly(Client(channel, token), name)
    if kind == "batch":
        return lambda name: _in_batches(Client(channel, token), name, at_once)
    if kind == "stream":
        return lambda name: _in_streams(Client(channel, token), name, at_once)
    if kind == "piinguin-single":
        return lambda name: _singly_as_piinguin(Piinguin(channel), name)
    return lambda name: _in_streams_as_piinguin(Piinguin(channel), name, at_once)


def _say(what: str, *records: str) -> None:
    os.write(1, "".join(f"{what} {record}\n" for record in records).encode())


def _numbered(name: str) -> Iterator[str]:
    number = 0
    while True:
        yield f"{name}/{number}"
        number += 1


def _singly(client: Client, name: str) -> None:
    for record in _numbered(name):
        client.create(record, original_of(record))
        _say("created", record)
        assert client.read(record) == [original_of(record)]
        _say("read", record)


def _singly_as_piinguin(client: Piinguin, name: str) -> None:
    for record in _numbered(name):
        assert client.create(client.creation(pseudonym(record), original_of(record))).status.isSuccess
        _say("created", record)
        told = client.read(client.look(pseudonym(record)))
        assert told.piiRecord.originalValue == original_of(record)
        _say("read", record)


def _in_batches(client: Client, name: str, at_once: int) -> None:
    numbered = _numbered(name)
    while True:
        batch = [next(numbered) for _ in range(at_once)]
        records = [client.record(record, original_of(record)) for record in batch]
        stored = client("CreateRecords", client.protocol.CreateRecordsRequest(records=records)).stored
        assert (stored.new, stored.known) == (at_once, 0)
        _say("created", *batch)
        looks = client.protocol.ReadRecordsRequest(reason=client.reason(), keys=map(client.key, batch))
        told = client("ReadRecords", looks).found
        assert [list(found.originals) for found in told] == [[original_of(record)] for record in batch]
        _say("read", *batch)


def _in_streams(client: Client, name: str, at_once: int) -> None:
    def create(records: Iterator[str]) -> Iterator[Any]:
        return client("StreamCreates", (client.creation(record, original_of(record)) for record in records))

    def read(records: Iterator[str]) -> Iterator[Any]:
        return client("StreamReads", map(client.look, records))

    def is_told(record: str, reply: Any) -> bool:
        return list(reply.found.originals) == [original_of(record)]

    _in_two_streams(name, create, lambda _, reply: reply.status.code == 0, read, is_told, at_once)


def _in_streams_as_piinguin(client: Piinguin, name: str, at_once: int) -> None:
    def create(records: Iterator[str]) -> Iterator[Any]:
        return client.calls.CreatePiiRecords(
            client.creation(pseudonym(record), original_of(record)) for record in records
        )

    def read(records: Iterator[str]) -> Iterator[Any]:
        return client.calls.ReadPiiRecords(client.look(pseudonym(record)) for record in records)

    def is_told(record: str, reply: Any) -> bool:
        return reply.piiRecord.originalValue == original_of(record)

    _in_two_streams(name, create, lambda _, reply: reply.status.isSuccess, read, is_told, at_once)


Call = Callable[[Iterator[str]], Iterator[Any]]
Check = Callable[[str, Any], bool]


def _in_two_streams(
    name: str, create: Call, is_done: Check, read: Call, is_told: Check, at_once: int
) -> None:
    """One creates, and the other reads what that one had acknowledged, in a thread of its own. They end
    together."""
    created: SimpleQueue[str] = SimpleQueue()

    def reads() -> None:
        with suppress(grpc.RpcError):  # as the other stream is told
            for record in _streamed(iter(created.get, ""), read, is_told, at_once):
                _say("read", record)

    reader = threading.Thread(target=reads)
    reader.start()
    try:
        for record in _streamed(_numbered(name), create, is_done, at_once):
            _say("created", record)
            created.put(record)
    finally:
        created.put("")
        reader.join()


def _streamed(records: Iterator[str], call: Call, is_right: Check, at_once: int) -> Iterator[str]:
    """Records as they are answered; `at_once` are on their way."""
    on_their_way = threading.Semaphore(at_once)
    sent: SimpleQueue[str] = SimpleQueue()

    def paced() -> Iterator[str]:
        for record in records:
            on_their_way.acquire()
            sent.put(record)
            yield record

    for reply in call(paced()):
        record = sent.get()
        assert is_right(record, reply), record
        yield record
        on_their_way.release()


if __name__ == "__main__":
    main()
