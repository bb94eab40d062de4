"""The vault's service is started again under load, and who asks what may be asked twice does not notice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from pii_pipeline.vault.model import Found
from pii_pipeline.vault_client import AsyncVaultClient, Connection, VaultClient
from pii_pipeline_tests.unit.vault_client.clients import WHY, key, record
from pii_pipeline_tests.vault_server import VaultServer, vault_server

POLICY = """
ticket: "[A-Z]{2,10}-[0-9]{1,9}"
purposes:
  fraud: {description: Who is behind it., ticket: required}
principals:
  operator:
    read: [{streams: [logins], fields: [ip], bases: [legal_obligation], purposes: [fraud]}]
    create: [{streams: [logins], fields: [ip]}]
    delete: [{streams: [logins], fields: [ip]}]
"""
RESTARTS = 5
CALLERS = 4
LARGE = "o" * 60_000  # ten in a batch are more than gRPC would keep to send once more


def original(number: int) -> str:
    return f"{number}.planted.example"


class Load:
    """What callers do until they are told to end, each with numbers of its own."""

    def __init__(self) -> None:
        self.kept: set[int] = set()
        self.gone: set[int] = set()
        self.calls = 0
        self.ended = False

    def numbers(self, caller: int) -> Iterator[int]:
        number = caller * 1_000_000
        while not self.ended:
            yield number
            number += 1

    def with_threads(self, connection: Connection, caller: int) -> None:
        with VaultClient(connection) as client:
            for number in self.numbers(caller):
                client.create(record(number, original(number)))
                assert client.read(WHY, key(number)).originals == (original(number),)
                self._done(number)
                if number % 4 == 0:
                    client.delete(key(number))
                    assert client.read_batch(WHY, [key(number)]) == [Found(key(number))]
                    self._deleted(number)
                if number % 10 == 0:
                    client.create_batch([record(10**9 + number % 3, LARGE)] * 10)

    async def with_tasks(self, connection: Connection, caller: int) -> None:
        async with AsyncVaultClient(connection) as client:
            for number in self.numbers(caller):
                await client.create(record(number, original(number)))
                assert (await client.read(WHY, key(number))).originals == (original(number),)
                self._done(number)
                if number % 4 == 0:
                    await client.delete(key(number))
                    assert await client.read_batch(WHY, [key(number)]) == [Found(key(number))]
                    self._deleted(number)

    def _done(self, number: int) -> None:
        self.kept.add(number)
        self.calls += 2

    def _deleted(self, number: int) -> None:
        self.kept.discard(number)
        self.gone.add(number)
        self.calls += 2


def test_no_call_that_may_be_done_twice_fails_and_nothing_is_lost(tmp_path: Path):
    load, failures = Load(), []

    def threads_and_tasks(connection: Connection) -> list[threading.Thread]:
        async def tasks() -> None:
            await asyncio.gather(*(load.with_tasks(connection, CALLERS + n) for n in range(CALLERS)))

        def watched(work, *arguments) -> None:
            try:
                work(*arguments)
            except BaseException as error:  # noqa: BLE001 looked at where the callers are waited for
                failures.append(error)

        work = [(load.with_threads, connection, number) for number in range(CALLERS)]
        callers = [threading.Thread(target=watched, args=one) for one in work]
        callers.append(threading.Thread(target=watched, args=(lambda: asyncio.run(tasks()),)))
        for caller in callers:
            caller.start()
        return callers

    with ExitStack() as services:
        server = services.enter_context(vault_server(tmp_path, POLICY))
        callers = threads_and_tasks(Connection(server.address, server.token, seconds=120))
        for turn in range(RESTARTS):
            done = load.calls
            wait_for_calls(load, failures, done + 40)
            if turn == 2:
                server.process.kill()
                server.process.wait()
            else:
                assert server.end() == 0
            server = services.enter_context(again(server, tmp_path))
        wait_for_calls(load, failures, load.calls + 40)
        load.ended = True
        for caller in callers:
            caller.join(60)
        assert failures == []
        assert len(load.kept) > 50 and load.gone
        with VaultClient(Connection(server.address, server.token)) as client:
            told = list(client.read_stream(WHY, map(key, sorted(load.kept | load.gone))))
        assert [found.originals for found in told if isinstance(found, Found)] == [
            (original(number),) if number in load.kept else () for number in sorted(load.kept | load.gone)
        ]
        assert "planted" not in server.log and "Traceback" not in server.log


def again(server: VaultServer, folder: Path):
    """A service where that one was."""
    return vault_server(folder, POLICY, {"PII_VAULT_PORT": server.address.rpartition(":")[2]})


def wait_for_calls(load: Load, failures: list[BaseException], number: int) -> None:
    deadline = time.monotonic() + 120
    while load.calls < number and not failures:
        assert time.monotonic() < deadline
        time.sleep(0.05)
