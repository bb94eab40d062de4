"""Health checking (``grpc.health.v1``) that does not outlast the service."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckRequest

MOST_WATCHERS = 32
"""At once, over all connections: they stay, need no token, and hold what they sent. Who comes then can still
`Check`."""


class Health(health.aio.HealthServicer):  # pyright: ignore[reportAttributeAccessIssue]
    """Its watchers are told that the service ends, and then let go: they would stay for ever."""

    def __init__(self) -> None:
        super().__init__()
        self._watchers: set[asyncio.Task[Any]] = set()

    async def Watch(self, request: HealthCheckRequest, context: Any) -> None:
        """Tells each change of status."""
        if len(self._watchers) >= MOST_WATCHERS:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the service has as many watchers as it takes")
        task = asyncio.current_task()
        assert task is not None
        self._watchers.add(task)
        try:
            await super().Watch(request, context)
        except asyncio.CancelledError:
            if not self._gracefully_shutting_down:
                raise
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the service ends")
        finally:
            self._watchers.discard(task)

    async def end(self) -> None:
        """Not serving, from now on."""
        await self.enter_graceful_shutdown()
        await asyncio.sleep(0.1)  # those who watch write it first
        for watcher in self._watchers:
            watcher.cancel()
