"""What has arrived in a stream and waits to be done: read while a batch is at work, and not far ahead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from grpc.aio import EOF  # pyright: ignore[reportAttributeAccessIssue] its stubs lack it

MOST_REQUESTS = 1_000
MOST_BYTES = 1024 * 1024
"""A stream with either of these waiting is not read on: its sender is held up by HTTP/2's flow control."""


class Arrivals:
    """The requests of one stream that were read and not taken yet."""

    def __init__(self, read: Callable[[], Awaitable[Any]]) -> None:
        self._waiting: list[bytes] = []
        self._size = 0
        self._ended = False
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._reader = asyncio.create_task(self._fill(read))
        self.stopped = False
        """Whether it was ended before its sender ended it."""

    async def take(self) -> list[bytes]:
        """All that wait, as soon as there are any; nothing once the stream has ended. Raises what reading
        raised, after what was read before."""
        await self._news.wait()
        taken, self._waiting, self._size = self._waiting, [], 0
        self._room.set()
        if not self._ended:
            self._news.clear()
        if not taken and not self.stopped:
            await self._reader
        return taken

    def stop(self) -> None:
        """Reads no more. What was read can still be taken."""
        self.stopped = self._reader.cancel()

    async def _fill(self, read: Callable[[], Awaitable[Any]]) -> None:
        try:
            while (request := await read()) is not EOF:
                self._waiting.append(request)
                self._size += len(request)
                self._news.set()
                if len(self._waiting) >= MOST_REQUESTS or self._size >= MOST_BYTES:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._ended = True
            self._news.set()
