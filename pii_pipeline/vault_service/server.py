"""The server: both services and health checking on one port, from start to an end that loses nothing."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from pii_pipeline.vault_service import piinguin, vault_v1
from pii_pipeline.vault_service.backend import Backend
from pii_pipeline.vault_service.calls import MOST_OF_ONE, THREADS, Calls
from pii_pipeline.vault_service.health import Health
from pii_pipeline.vault_service.listening import Listen, bind
from pii_pipeline.vault_service.methods import MAX_MESSAGE_BYTES
from pii_pipeline.vault_service.statuses import for_the_log

GRACE_SECONDS = 20.0
"""For calls that were accepted before the service was told to end."""
TICK_SECONDS = 10.0
MOST_CONNECTIONS = 512
"""Each is an open file, of which a process has 1,024 as a rule. Who comes then is not let in, so that those
who are there can go on, and the database can be asked."""
_LAST_SECONDS = 1.0
"""After these, to tell those who are still there that the service ends, which gRPC would not."""

SERVICES = {piinguin.SERVICE: piinguin.METHODS, vault_v1.SERVICE: vault_v1.METHODS}

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Of one connection. Who has more waits at its own end.
    ("grpc.max_concurrent_streams", MOST_OF_ONE),
    ("grpc.max_allowed_incoming_connections", MOST_CONNECTIONS),
    ("grpc.max_connection_idle_ms", 300_000),  # whoever holds one and asks nothing
    ("grpc.so_reuseport", 0),  # a second server would share the port and half of the calls
    # The streams of a client whose host is gone end after that long.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]

_log = logging.getLogger(__name__)


def serve(
    backend: Backend, listen: Listen, with_reflection: bool, ready: Callable[[str], None] = lambda _: None
) -> None:
    """Serves until SIGTERM or SIGINT, to be called in the main thread. `ready` is told the address.

    Raises `CannotServe`. When it returns, all calls that were accepted are answered, or their grace is over;
    no thread is at work.
    """
    asyncio.run(_serve(backend, listen, with_reflection, ready))


async def _serve(
    backend: Backend, listen: Listen, with_reflection: bool, ready: Callable[[str], None]
) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_type)
    with ThreadPoolExecutor(THREADS, "vault") as executor:
        calls, health = Calls(backend, executor, listen.loopback), Health()
        server = grpc.aio.server(options=_OPTIONS)
        port = bind(server, listen)
        await _add_services(server, calls, health, with_reflection)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        await server.start()
        ticker = asyncio.create_task(_tick(backend, executor))
        ready(listen.at(port))
        await told.wait()
        _log.info("ending: no more calls, and those that were accepted have %.0f s", GRACE_SECONDS)
        await health.end()
        # Clients are to go elsewhere at once: what gRPC has received and not handed over by then, it cancels.
        stopping = asyncio.create_task(server.stop(GRACE_SECONDS + _LAST_SECONDS))
        await calls.end(GRACE_SECONDS)
        await stopping
        ticker.cancel()


async def _add_services(server: grpc.aio.Server, calls: Calls, health: Health, with_reflection: bool) -> None:
    for service, methods in SERVICES.items():
        handlers = {
            name: calls.handler(method, service == piinguin.SERVICE) for name, method in methods.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        await health.set(service, HealthCheckResponse.SERVING)
    add_HealthServicer_to_server(health, server)
    if with_reflection:
        reflection.enable_server_reflection((*SERVICES, HEALTH, reflection.SERVICE_NAME), server)


async def _tick(backend: Backend, executor: ThreadPoolExecutor) -> None:
    """What is to be done by the clock. If it fails, it is tried again the next time."""
    while True:
        await asyncio.sleep(TICK_SECONDS)
        try:
            await asyncio.get_running_loop().run_in_executor(executor, backend.tick)
        except Exception as error:  # noqa: BLE001 texts of libraries may quote data
            _log.error("what is done by the clock failed: %s", for_the_log(error))


def _log_type(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """In place of asyncio's own, which writes texts and tracebacks of exceptions."""
    error = context.get("exception")
    _log.error("the event loop met an unexpected %s", type(error).__name__ if error else "condition")
