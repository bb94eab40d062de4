"""From a queue to the landing zone: messages become landing objects, and are deleted once these are durable.

Killed at any moment, a drain has lost nothing: what it had taken and not deleted is delivered again when its
visibility times out, and what has landed twice then is told by its message id (`duplicates`).
"""

from __future__ import annotations

import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import zstandard

from pii_pipeline.formats import MESSAGES_SUFFIX, Message, message_line
from pii_pipeline.lake import landing_path, put
from pii_pipeline.ledger import hour_of, hour_start
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import Progress, silent
from pii_pipeline.pipeline.places import hold_to_places
from pii_pipeline.pipeline.receiving import CALLERS, Batch, by_ten, delete_all, gather
from pii_pipeline.queues import Queue, QueueError, Received, open_queue
from pii_pipeline.streams.model import QueueSource, Stream

DRAINED = "messages"
"""What `Progress` is told of."""

WAIT_SECONDS = 2
"""Of long polling. Any time above zero asks all of SQS's servers, so that no answer means no messages."""
SPARE_SECONDS = 60
"""For how long messages stay hidden beyond the time in which a batch is gathered."""


class NoQueue(ValueError):
    """The stream's events come from no queue."""


@dataclass(frozen=True)
class DrainedObject:
    """A landing object that was written: its hour, messages and bytes."""

    uri: str
    hour: str
    messages: int
    bytes: int


@dataclass
class Drained:
    """What a drain did. `undeleted`: messages that have landed and could not be deleted; they are delivered
    again, and told then. `waiting`: how many messages the queue had in the end, about."""

    stream: str
    queue: str
    objects: list[DrainedObject] = field(default_factory=list)
    undeleted: int = 0
    waiting: int = 0
    seconds: float = 0.0

    @property
    def messages(self) -> int:
        """How many have landed."""
        return sum(item.messages for item in self.objects)

    @property
    def hours(self) -> list[str]:
        """Those that something has landed in, the oldest first."""
        return sorted({item.hour for item in self.objects})


def messages_waiting(stream: Stream, seconds: float) -> int:
    """How many messages wait for the stream, about; asked for `seconds` at most, and the time that a last
    answer takes. Raises `NoQueue`, `QueueError`."""
    return open_queue(_source(stream).sqs, 1, 0, seconds).waiting()


def drain(
    installation: Installation,
    stream: Stream,
    most: int | None = None,
    seconds: float | None = None,
    progress: Progress = silent,
) -> Drained:
    """Lands what waits in the stream's queue, in the hour that it is now.

    Ends when the queue has nothing more; when as many have landed as were waiting when it began, however many
    keep coming; with `most` messages; after `seconds`. If a call fails, what others had received is landed
    and deleted before it is said. Raises `NoQueue`, `QueueError`, `ZoneMoved`, and `LeaseHeld` if the queue
    is being drained already.
    """
    source = _source(stream)
    hold_to_places(installation)
    started = time.monotonic()
    until = None if seconds is None else started + seconds
    with installation.ledger.named_lease(f"drain {stream.name}"):
        queue = _opened(source)
        drained = Drained(stream.name, queue.name)
        wanted = min(queue.waiting(), most or sys.maxsize)
        with _hidden(queue, source) as hidden, _landing(installation, drained, queue, hidden) as land:
            taken = 0
            while True:
                batch = _gather(
                    queue, source, hidden, None if most is None else most - taken, until, progress
                )
                landed = land(batch.messages)
                if queue.is_fifo or batch.error:
                    landed.result()
                if batch.error:
                    raise batch.error
                taken += len(batch.messages)
                # More of a FIFO queue's groups come once these are deleted.
                empty = batch.emptied and not queue.is_fifo
                if not batch.messages or empty or taken >= wanted or _over(until):
                    break
        drained.waiting = queue.waiting()
    drained.seconds = time.monotonic() - started
    return drained


def _source(stream: Stream) -> QueueSource:
    if stream.source is None:
        problem = f"stream {stream.name} names no queue that its events come from"
        raise NoQueue(f"{problem} — write `source: {{sqs: NAME}}` in its stream.yaml")
    return stream.source


def _opened(source: QueueSource) -> Queue:
    return open_queue(source.sqs, 2 * CALLERS + 2, WAIT_SECONDS)


def _over(until: float | None) -> bool:
    return until is not None and time.monotonic() >= until


# ── receiving ────────────────────────────────────────────────────────────────────────────────────────────


def _gather(
    queue: Queue,
    source: QueueSource,
    hidden: _Hidden,
    most: int | None,
    until: float | None,
    progress: Progress,
) -> Batch:
    """The next batch, as large and as late as the stream's `source` lets it be."""
    end = time.monotonic() + source.batch_time.total_seconds()

    def took(messages: Sequence[Received], size: int) -> None:
        if messages:
            hidden.add(messages)
            progress(DRAINED, len(messages), size)

    return gather(
        queue,
        most=source.batch_messages if most is None else min(most, source.batch_messages),
        most_bytes=source.batch_bytes,
        until=end if until is None else min(end, until),
        wait=WAIT_SECONDS,
        visibility=hidden.seconds,
        took=took,
    )


class _Hidden:
    """The messages that are being worked on; hidden from others for `seconds`, and again when half have
    passed."""

    def __init__(self, queue: Queue, seconds: int) -> None:
        self.seconds = seconds
        self._queue = queue
        self._held: dict[str, tuple[float, Received]] = {}
        self._lock = threading.Lock()

    def add(self, messages: Sequence[Received]) -> None:
        """These were just hidden."""
        now = time.monotonic()
        with self._lock:
            self._held |= {message.receipt: (now, message) for message in messages}

    def release(self, messages: Sequence[Received]) -> None:
        """These are done."""
        with self._lock:
            for message in messages:
                self._held.pop(message.receipt, None)

    def extend(self) -> None:
        """Hides those longer that half of the time has passed for."""
        due = time.monotonic() - self.seconds / 2
        with self._lock:
            late = [message for since, message in self._held.values() if since <= due]
        for messages in by_ten(late):
            now = time.monotonic()
            with suppress(QueueError):  # there is as much time again to try; what is too late comes once more
                self._queue.extend(messages, self.seconds)
                with self._lock:
                    for message in messages:
                        if message.receipt in self._held:
                            self._held[message.receipt] = now, message


@contextmanager
def _hidden(queue: Queue, source: QueueSource) -> Iterator[_Hidden]:
    """What keeps messages hidden while the block lasts."""
    hidden = _Hidden(queue, int(source.batch_time.total_seconds()) + SPARE_SECONDS)
    done = threading.Event()

    def beat() -> None:
        while not done.wait(hidden.seconds / 8):
            hidden.extend()

    beats = threading.Thread(target=beat, name=f"visibility {queue.name}", daemon=True)
    beats.start()
    try:
        yield hidden
    finally:
        done.set()
        beats.join()


# ── landing ──────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _landing(
    installation: Installation, drained: Drained, queue: Queue, hidden: _Hidden
) -> Iterator[Callable[[Sequence[Received]], Future[None]]]:
    """``land(messages)`` has them written and deleted while the next are received, one batch at a time."""
    zone = installation.zones.landing
    with ThreadPoolExecutor(1) as writer:

        def finish(messages: Sequence[Received]) -> None:
            if not messages:
                return
            now = datetime.now(UTC)
            hour = hour_of(now)
            name = f"{queue.name}-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(8)}{MESSAGES_SUFFIX}.zst"
            written = put(zone, landing_path(drained.stream, hour_start(hour), name), _content(messages))
            drained.objects.append(DrainedObject(written.uri, hour, len(messages), written.size))
            drained.undeleted += len(delete_all(queue, messages))
            hidden.release(messages)

        landing: Future[None] | None = None

        def land(messages: Sequence[Received]) -> Future[None]:
            nonlocal landing
            if landing is not None:
                landing.result()
            landing = writer.submit(finish, messages)
            return landing

        yield land
        if landing is not None:
            landing.result()


def _content(messages: Sequence[Received]) -> bytes:
    """The landing object of these messages."""
    lines = (
        message_line(Message(item.id, item.sent_at, item.attributes, item.message_attributes, item.body))
        for item in messages
    )
    return zstandard.ZstdCompressor().compress(b"".join(lines))
