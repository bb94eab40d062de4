"""What both clients do with a service that fails, is slow, or ends early."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from pii_pipeline.vault.errors import VaultError, VaultRefused, VaultUnavailable
from pii_pipeline.vault.model import DataSubject, Found
from pii_pipeline.vault_client import (
    AsyncVaultClient,
    Connection,
    VaultCallFailed,
    VaultClient,
    VaultDeadlineExceeded,
)
from pii_pipeline.vault_client.attempts import STRANGER_SECONDS
from pii_pipeline.vault_client.flight import MOST_BYTES, MOST_REQUESTS
from pii_pipeline_tests.unit.vault_client.clients import BOTH, WHY, Client, key, record
from pii_pipeline_tests.unit.vault_client.stub import Stub, serving

UNAVAILABLE, CANCELLED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
def address(stub: Stub) -> Iterator[str]:
    with serving(stub) as address:
        yield address


@pytest.fixture(params=BOTH, ids=lambda kind: kind.__name__.lower())
def client(request: pytest.FixtureRequest, address: str) -> Client:
    return request.param(Connection(address, "token", seconds=10))


CALLS: dict[str, tuple[Any, ...]] = {
    "create": (record(1),),
    "create_batch": ([record(1), record(2)],),
    "read": (WHY, key(1)),
    "read_batch": (WHY, [key(1), key(2)]),
    "delete": (key(1),),
    "delete_batch": ([key(1), key(2)],),
    "erase": (DataSubject("customer", "u-1"), ["ann@example.com"]),
}


@pytest.mark.parametrize("method", sorted(CALLS.keys() - {"erase"}))
def test_what_may_be_done_twice_is_tried_again_while_the_service_is_not_there(
    client: Client, stub: Stub, method: str
):
    stub.failures = [(UNAVAILABLE, "the service ends"), (CANCELLED, "CANCELLED")]
    client.ask(method, *CALLS[method])
    assert len(stub.calls) == 3


def test_what_is_large_is_tried_again_too(client: Client, stub: Stub):
    stub.failures = [(UNAVAILABLE, "the service ends")]
    records = [record(number, "o" * 60_000) for number in range(60)]
    assert client.ask("create_batch", records).new == 60
    assert stub.calls == ["CreateRecords"] * 2


def test_who_was_never_answered_is_told_soon(client: Client, stub: Stub):
    stub.failures = [(UNAVAILABLE, "the service ends")] * 99
    start = time.monotonic()
    with pytest.raises(VaultUnavailable, match="the service ends"):
        client.ask("read", WHY, key(1))
    assert STRANGER_SECONDS / 2 < time.monotonic() - start < STRANGER_SECONDS + 3


def test_who_was_answered_is_patient_until_the_calls_time_is_over(stub: Stub, address: str):
    seconds = STRANGER_SECONDS + 5

    async def asked_by_tasks() -> float:
        async with AsyncVaultClient(Connection(address, seconds=seconds)) as client:
            await client.read(WHY, key(1))
            stub.failures = [(UNAVAILABLE, "the service ends")] * 99
            start = time.monotonic()
            with pytest.raises(VaultUnavailable, match="the service ends"):
                await client.read(WHY, key(1))
            return time.monotonic() - start

    def asked_by_threads() -> float:
        with VaultClient(Connection(address, seconds=seconds)) as client:
            client.read(WHY, key(1))
            stub.failures = [(UNAVAILABLE, "the service ends")] * 99
            start = time.monotonic()
            with pytest.raises(VaultUnavailable, match="the service ends"):
                client.read(WHY, key(1))
            return time.monotonic() - start

    for ask in (lambda: asyncio.run(asked_by_tasks()), asked_by_threads):
        stub.failures.clear()
        stub.calls.clear()
        assert STRANGER_SECONDS + 1 < ask() < seconds + 1
        assert len(stub.calls) > 5


def test_a_client_that_is_closed_tries_no_more(stub: Stub, address: str):
    client = VaultClient(Connection(address))
    client.read(WHY, key(1))
    stub.failures = [(UNAVAILABLE, "the service ends")] * 99
    threading.Timer(0.5, client.close).start()
    start = time.monotonic()
    with pytest.raises(VaultUnavailable):
        client.read(WHY, key(1))
    assert time.monotonic() - start < 5


def test_an_erasure_and_what_is_refused_is_not_tried_again(client: Client, stub: Stub):
    for code in (UNAVAILABLE, CANCELLED):
        stub.failures = [(code, "the service ends")]
        with pytest.raises(VaultUnavailable):
            client.ask("erase", *CALLS["erase"])
    stub.failures = [(grpc.StatusCode.INTERNAL, "")]
    with pytest.raises(VaultCallFailed):
        client.ask("create", record(1))
    stub.failures = [(grpc.StatusCode.PERMISSION_DENIED, "the policy does not")]
    with pytest.raises(VaultRefused):
        client.ask("create", record(1))
    assert stub.calls == ["EraseSubject", "EraseSubject", "CreateRecord", "CreateRecord"]


def test_a_stream_is_not_tried_again(client: Client, stub: Stub):
    stub.failures = [(UNAVAILABLE, "the service ends")]
    with pytest.raises(VaultUnavailable):
        client.each("read_stream", WHY, items=[key(1)], take=lambda _: None)
    assert stub.calls == ["StreamReads"]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("UNAUTHENTICATED", "unauthenticated"),
        ("PERMISSION_DENIED", "denied"),
        ("FAILED_PRECONDITION", "no basis"),
        ("INVALID_ARGUMENT", "invalid"),
        ("RESOURCE_EXHAUSTED", "limit"),
    ],
)
def test_refusals_say_why(client: Client, stub: Stub, code: str, why: str):
    stub.failures = [(grpc.StatusCode[code], "the rule")]
    with pytest.raises(VaultRefused, match=r"^the rule$") as refused:
        client.ask("read", WHY, key(1))
    assert refused.value.why == why


@pytest.mark.parametrize("code", ["UNKNOWN", "INTERNAL", "ABORTED", "DATA_LOSS", "UNIMPLEMENTED"])
def test_what_somebody_says_who_is_no_vault_is_not_repeated(client: Client, stub: Stub, code: str):
    stub.failures = [(grpc.StatusCode[code], "could not store ann@example.com")]
    with pytest.raises(VaultCallFailed, match=code) as failed:
        client.ask("create", record(1))
    assert "ann" not in str(failed.value)


def test_every_call_has_a_deadline(stub: Stub, address: str):
    for kind in BOTH:
        client = kind(Connection(address, "token", seconds=0.3, stream_seconds=0.4))
        stub.seconds = 1.0
        start = time.monotonic()
        for method, arguments in CALLS.items():
            with pytest.raises(VaultDeadlineExceeded):
                client.ask(method, *arguments)
        with pytest.raises(VaultDeadlineExceeded):
            client.each("read_stream", WHY, items=map(key, range(5)), take=lambda _: None)
        assert time.monotonic() - start < 0.4 * (len(CALLS) + 1) + 3


def test_results_are_in_the_order_of_the_items(client: Client):
    results: list[Found] = []
    client.each("read_stream", WHY, items=map(key, range(5_000)), take=results.append)
    assert [(told.key, told.originals) for told in results] == [
        (key(number), (f"{number:032x}",)) for number in range(5_000)
    ]


def test_what_cannot_be_sent_is_refused_by_itself(client: Client, stub: Stub):
    originals = ["a", "jane\ud800doe", "b", "c" * (5 * 1024 * 1024), "d"]
    results: list[VaultError | None] = []
    records = (record(number, original) for number, original in enumerate(originals))
    client.each("create_stream", items=records, take=results.append)
    assert [isinstance(result, VaultRefused) for result in results] == [False, True, False, True, False]
    assert stub.received == 3
    assert not any("jane" in str(result) for result in results)
    with pytest.raises(VaultRefused) as refused:
        client.ask("create", record(1, originals[1]))
    assert refused.value.why == "invalid" and "jane" not in repr(refused.value)


def test_what_the_iterable_raises_is_raised_after_the_results_before_it_and_not_logged(
    client: Client, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)

    def items() -> Iterator[Any]:
        yield from map(key, range(100))
        raise KeyError("ann@example.com")

    results: list[Found] = []
    with pytest.raises(KeyError):
        client.each("read_stream", WHY, items=items(), take=results.append)
    assert len(results) == 100
    assert "ann@" not in caplog.text and "Traceback" not in caplog.text


def test_a_stream_that_the_service_ends_early_did_not_succeed(client: Client, stub: Stub):
    stub.most = 10
    results: list[Found] = []
    with pytest.raises(VaultCallFailed, match="before its last reply"):
        client.each("read_stream", WHY, items=map(key, range(50)), take=results.append)
    assert len(results) == 10


def test_it_is_noticed_that_the_call_is_over_while_items_are_waited_for(client: Client, stub: Stub):
    stub.failures = [(grpc.StatusCode.UNAUTHENTICATED, "nobody")]

    def slow() -> Iterator[Any]:
        time.sleep(3)
        yield key(1)

    with pytest.raises(VaultRefused):
        client.each("read_stream", WHY, items=slow(), take=lambda _: None)
    assert stub.received == 0


def test_who_takes_no_results_holds_up_who_makes_items(client: Client):
    made = 0
    furthest: list[int] = []
    taken = 0

    def items() -> Iterator[Any]:
        nonlocal made
        for number in range(20_000):
            made += 1
            yield key(number)

    def take(_: Any) -> bool:
        nonlocal taken
        taken += 1
        if taken in (1, 5_000):
            time.sleep(0.7)  # far more than making all of them takes
        furthest.append(made - taken)
        return taken == 6_000

    client.each("read_stream", WHY, items=items(), take=take)
    assert MOST_REQUESTS / 2 < max(furthest) <= MOST_REQUESTS + 2


def test_large_items_are_held_up_by_their_size(client: Client):
    made = taken = 0
    most = 0
    original = "x" * 65_000

    def items() -> Iterator[Any]:
        nonlocal made
        for number in range(400):
            made += 1
            yield record(number, original)

    def take(_: Any) -> bool:
        nonlocal taken, most
        taken += 1
        if taken == 1:
            time.sleep(0.7)
        most = max(most, made - taken)
        return False

    client.each("create_stream", items=items(), take=take)
    assert taken == 400
    assert most <= MOST_BYTES / 65_000 + 2


def test_a_stream_that_is_left_leaves_no_thread(address: str, stub: Stub):
    with VaultClient(Connection(address, "token")) as client:
        before = set(threading.enumerate())
        endless = (key(number % 1000) for number in range(10**12))
        closed = client.read_stream(WHY, endless)
        assert next(closed)
        closed.close()  # pyright: ignore[reportAttributeAccessIssue]
        dropped = client.read_stream(WHY, (key(number % 1000) for number in range(10**12)))
        assert next(dropped)
        del dropped
        gc.collect()
        stub.failures = [(UNAVAILABLE, "the service ends")]
        with pytest.raises(VaultUnavailable):
            list(client.read_stream(WHY, (key(number % 1000) for number in range(10**12))))
        deadline = time.monotonic() + 10
        while ours := _ours(before):
            assert time.monotonic() < deadline, ours
            time.sleep(0.05)


def _ours(before: set[threading.Thread]) -> list[threading.Thread]:
    """Threads since then, but for those of the stub's pool."""
    return [one for one in threading.enumerate() if one not in before and "ThreadPool" not in one.name]


def test_a_stream_begins_when_it_is_asked_for(address: str, stub: Stub):
    with VaultClient(Connection(address, "token")) as client:
        client.read_stream(WHY, [key(1)])
        time.sleep(0.2)
        assert stub.calls == []
        assert list(client.read_stream(WHY, [])) == []
