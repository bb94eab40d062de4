"""A process that asks a vault's service until it ends, and prints what was answered.

``python -m pii_pipeline_tests.vault_caller ADDRESS TOKEN NAME THREADS``

Each thread creates a record and reads it, again and again; another one creates in a stream. A line for each
answer, written at once and as a whole: "created" or "read", and the record.
"""

from __future__ import annotations

import os
import sys
import threading

import grpc

from pii_pipeline_tests.vault_client import Client


def main() -> None:
    address, token, name, threads = sys.argv[1:]

    def say(what: str, record: str) -> None:
        os.write(1, f"{what} {record}\n".encode())

    def one_by_one(client: Client, thread: int) -> None:
        number = 0
        while True:
            record = f"{name}/{thread}/{number}"
            client.create(record, original_of(record))
            say("created", record)
            assert client.read(record) == [original_of(record)]
            say("read", record)
            number += 1

    def streamed(client: Client, thread: int) -> None:
        sent: list[str] = []

        def creations():
            while True:
                sent.append(f"{name}/{thread}/{len(sent)}")
                yield client.creation(sent[-1], original_of(sent[-1]))

        for position, reply in enumerate(client("StreamCreates", creations())):
            assert (reply.position, reply.status.code) == (position, 0)
            say("created", sent[position])

    def until_it_ends(work, thread: int) -> None:
        with grpc.insecure_channel(address) as channel:
            try:
                work(Client(channel, token), thread)
            except grpc.RpcError as error:
                assert error.code() in (  # pyright: ignore[reportAttributeAccessIssue]
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.CANCELLED,
                ), error.code()  # pyright: ignore[reportAttributeAccessIssue]
                return
        raise AssertionError

    work = [one_by_one] * int(threads) + [streamed]
    running = [threading.Thread(target=until_it_ends, args=(what, n)) for n, what in enumerate(work)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def original_of(record: str) -> str:
    return f"{record}.planted.example"


if __name__ == "__main__":
    main()
