"""What every call goes through: is there room, who asks, is there time left, and what is said if it fails.

The event loop reads and writes; the vault is asked in threads, one job of a call at a time. A call whose time
is over, or that nobody waits for any more, begins no further job.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import grpc

from pii_pipeline.vault.audit import UNKNOWN, Action
from pii_pipeline.vault.errors import VaultRefused, VaultUnavailable
from pii_pipeline.vault.policy import PIINGUIN
from pii_pipeline.vault_service.arrivals import Arrivals
from pii_pipeline.vault_service.authentication import identify
from pii_pipeline.vault_service.backend import Backend, Caller
from pii_pipeline.vault_service.errors import Busy, Ending, TimeIsOver
from pii_pipeline.vault_service.methods import Each, Method, Unary
from pii_pipeline.vault_service.statuses import for_the_log, status_of

MOST_CALLS = 128
"""At once, over all connections. Who comes then is told to try again."""
MOST_OF_ONE = MOST_CALLS // 2
"""Of these, by one principal, who must not be able to keep all others out. Callers who are nobody share those
of `piinguin`, who shows no token either."""

THREADS = 32
"""That ask the vault: so many calls can be in one transaction of its database, for which most wait."""
THREADS_OF_ONE = THREADS // 2
"""Of these, for one principal: large batches of one do not hold up what another asks for."""

Context = grpc.aio.ServicerContext[bytes, bytes]
Result = TypeVar("Result")

_log = logging.getLogger(__name__)


class Calls:
    """The calls of a service over `backend`, which is asked in the threads of `executor`."""

    def __init__(self, backend: Backend, executor: Executor, nobody_is_piinguin: bool) -> None:
        self._backend = backend
        self._executor = executor
        self._nobody_is_piinguin = nobody_is_piinguin
        self._at_work: set[asyncio.Task[Any]] = set()
        self._places: Counter[str] = Counter()
        self._turns = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(THREADS_OF_ONE))
        self._ending = False
        self._streams: set[Arrivals] = set()

    def handler(self, method: Method, is_piinguin: bool) -> grpc.RpcMethodHandler[bytes, bytes]:
        """What gRPC calls for a method."""
        identified = partial(self._caller, method.action, is_piinguin and self._nobody_is_piinguin)
        if isinstance(method, Unary):

            async def unary(request: bytes, context: Context) -> bytes:
                return await self._guarded(context, identified, partial(self._one, method, request))

            return grpc.unary_unary_rpc_method_handler(unary)  # pyright: ignore[reportArgumentType]

        async def stream(_: object, context: Context) -> None:
            await self._guarded(context, identified, partial(self._each, method))

        return grpc.stream_stream_rpc_method_handler(stream)  # pyright: ignore[reportArgumentType]

    async def end(self, seconds: float) -> None:
        """Takes no more calls, reads no more of streams, and waits for those at work. After so long they are
        told that the service ends."""
        self._ending = True
        for arrivals in self._streams:
            arrivals.stop()
        if at_work := tuple(self._at_work):
            _, late = await asyncio.wait(at_work, timeout=seconds)
            for task in late:
                task.cancel()

    async def _one(self, method: Unary, request: bytes, context: Context, caller: Caller) -> bytes:
        answer = partial(method.answer, self._backend, caller, request)
        return await self._asked(context, caller.principal, answer)

    async def _each(self, method: Each, context: Context, caller: Caller) -> None:
        arrivals = Arrivals(context.read)
        self._streams.add(arrivals)
        if self._ending:
            arrivals.stop()
        try:
            done = 0
            while requests := await arrivals.take():
                answer = partial(method.answer, self._backend, caller, requests, done)
                for reply in await self._asked(context, caller.principal, answer):
                    await context.write(reply)
                done += len(requests)
            if arrivals.stopped:
                raise Ending
        finally:
            self._streams.discard(arrivals)
            arrivals.stop()

    async def _guarded(
        self,
        context: Context,
        identified: Callable[[Context], Awaitable[Caller]],
        work: Callable[[Context, Caller], Awaitable[Result]],
    ) -> Result:
        """`work`, if it may be done; whatever is raised becomes a status."""
        task = asyncio.current_task()
        assert task is not None
        self._at_work.add(task)
        try:
            if self._ending:
                raise Ending
            if len(self._at_work) > MOST_CALLS:
                raise Busy
            caller = await identified(context)
            with self._place(caller.principal):
                return await work(context, caller)
        except grpc.aio.AbortError:
            raise
        except asyncio.CancelledError:  # by its caller, or by `end`
            if not self._ending:
                raise
            status = status_of(Ending())
        except Exception as error:  # noqa: BLE001 the last line of defence against texts that quote data
            status = status_of(error)
            if status[0] == grpc.StatusCode.INTERNAL or isinstance(error, VaultUnavailable):
                _log.error("a call failed: %s", for_the_log(error))
        finally:
            self._at_work.discard(task)
        await context.abort(*status)

    @contextmanager
    def _place(self, principal: str) -> Iterator[None]:
        """One of the calls that a principal may have at once. Raises `Busy`."""
        if self._places[principal] >= MOST_OF_ONE:
            raise Busy
        self._places[principal] += 1
        try:
            yield
        finally:
            self._places[principal] -= 1

    async def _caller(self, action: Action, nobody_is_piinguin: bool, context: Context) -> Caller:
        headers = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        try:
            return identify(self._backend, headers, context.auth_context(), nobody_is_piinguin)
        except VaultRefused as refused:
            problem = str(refused)

        def refuse() -> Caller:
            self._backend.vault().refuse(UNKNOWN, action, "unauthenticated", problem)

        with self._place(PIINGUIN):
            return await self._asked(context, PIINGUIN, refuse)

    async def _asked(self, context: Context, principal: str, job: Callable[[], Result]) -> Result:
        """`job` in one of the principal's threads, unless the call's time is over when its turn comes."""
        left = context.time_remaining()
        over = None if left is None else time.monotonic() + left
        waiting = [job]

        def in_time() -> Any:
            if not waiting or (over is not None and time.monotonic() >= over):
                raise TimeIsOver
            return waiting.pop()()

        loop, turns = asyncio.get_running_loop(), self._turns[principal]
        await turns.acquire()
        asked = self._executor.submit(in_time)
        # When the thread is free, which may be long after nobody waits for it any more.
        asked.add_done_callback(lambda _: loop.call_soon_threadsafe(turns.release))
        try:
            return await asyncio.wrap_future(asked)
        finally:
            # The executor keeps what was cancelled until its turn comes, which may take minutes where the
            # database is away: the request, of up to 4 MiB, does not stay with it.
            waiting.clear()
