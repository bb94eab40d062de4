"""Both clients behind one face, so that what is said of one is tested of the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Any

from pii_pipeline.vault.model import LawfulBasis, Reason, Record, RecordKey
from pii_pipeline.vault_client import AsyncVaultClient, Connection, VaultClient

WHY = Reason(LawfulBasis.LEGAL_OBLIGATION, "fraud", "FR-1")


def key(number: int) -> RecordKey:
    return RecordKey("logins", "ip", f"{number:032x}")


def record(number: int, original: str = "192.0.2.1") -> Record:
    return Record(key(number), original)


class Threads:
    """`VaultClient`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, method: str, *arguments: Any) -> Any:
        """One call."""
        with VaultClient(self._connection) as client:
            return getattr(client, method)(*arguments)

    def each(
        self, method: str, *arguments: Any, items: Iterable[Any], take: Callable[[Any], bool | None]
    ) -> None:
        """A stream; `take` is given its results, and ends it if it returns True."""
        with VaultClient(self._connection) as client:
            results = getattr(client, method)(*arguments, items)
            for result in results:
                if take(result):
                    results.close()


class Asyncio:
    """`AsyncVaultClient`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, method: str, *arguments: Any) -> Any:
        async def ask() -> Any:
            async with AsyncVaultClient(self._connection) as client:
                return await getattr(client, method)(*arguments)

        return asyncio.run(ask())

    def each(
        self, method: str, *arguments: Any, items: Iterable[Any], take: Callable[[Any], bool | None]
    ) -> None:
        async def given() -> Any:
            for item in items:
                yield item
                await asyncio.sleep(0)

        async def each() -> None:
            async with (
                AsyncVaultClient(self._connection) as client,
                aclosing(getattr(client, method)(*arguments, given())) as results,
            ):
                async for result in results:
                    if take(result):
                        break
            deadline = time.monotonic() + 10
            while left := asyncio.all_tasks() - {asyncio.current_task()}:
                assert time.monotonic() < deadline, f"tasks of the stream go on: {left}"
                await asyncio.sleep(0.02)

        asyncio.run(each())


BOTH = (Threads, Asyncio)
Client = Threads | Asyncio
