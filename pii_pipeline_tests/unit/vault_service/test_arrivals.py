import asyncio
from collections.abc import Iterable

import pytest
from grpc.aio import EOF  # pyright: ignore[reportAttributeAccessIssue] its stubs lack it

from pii_pipeline.vault_service.arrivals import MOST_BYTES, MOST_REQUESTS, Arrivals


class Sender:
    """Sends `messages`, and then what ends the stream: EOF, an exception, or nothing ever."""

    def __init__(self, messages: Iterable[bytes], end: object = EOF) -> None:
        self._messages = iter(messages)
        self._end = end
        self.sent = 0

    async def read(self) -> object:
        await asyncio.sleep(0)
        if (message := next(self._messages, None)) is not None:
            self.sent += 1
            return message
        if isinstance(self._end, Exception):
            raise self._end
        if self._end is None:
            await asyncio.Event().wait()
        return self._end


async def all_of(arrivals: Arrivals) -> list[bytes]:
    taken = []
    while some := await arrivals.take():
        taken += some
        await asyncio.sleep(0)
    return taken


def test_all_that_was_sent_is_taken_in_its_order():
    async def run() -> None:
        messages = [str(number).encode() for number in range(5 * MOST_REQUESTS)]
        arrivals = Arrivals(Sender(messages).read)
        assert await all_of(arrivals) == messages
        assert not arrivals.stopped and await arrivals.take() == []

    asyncio.run(run())


@pytest.mark.parametrize(("size", "most"), [(1, MOST_REQUESTS), (MOST_BYTES // 4, 4), (MOST_BYTES * 2, 1)])
def test_no_more_is_read_than_there_is_room_for(size: int, most: int):
    async def run() -> None:
        sender = Sender([bytes(size)] * (2 * most))
        arrivals = Arrivals(sender.read)
        await asyncio.sleep(0.05)
        for _ in range(5 * most):
            await asyncio.sleep(0)
        assert sender.sent == most
        assert len(await arrivals.take()) == most
        assert len(await all_of(arrivals)) == most

    asyncio.run(run())


def test_what_was_read_before_a_stop_can_be_taken():
    async def run() -> None:
        arrivals = Arrivals(Sender([b"a", b"b"], end=None).read)
        await asyncio.sleep(0.01)
        arrivals.stop()
        assert await all_of(arrivals) == [b"a", b"b"]
        assert arrivals.stopped

    asyncio.run(run())


def test_a_stream_that_had_ended_was_not_stopped():
    async def run() -> None:
        arrivals = Arrivals(Sender([b"a"]).read)
        assert await all_of(arrivals) == [b"a"]
        arrivals.stop()
        assert not arrivals.stopped

    asyncio.run(run())


def test_what_reading_raised_is_raised_after_what_was_read():
    async def run() -> None:
        arrivals = Arrivals(Sender([b"a"], end=ConnectionError()).read)
        assert await arrivals.take() == [b"a"]
        with pytest.raises(ConnectionError):
            await arrivals.take()

    asyncio.run(run())
