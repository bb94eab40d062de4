"""What of a stream is on its way: requests that were sent, or are about to be, and have no reply yet.

Bounded, so that memory stays flat: whoever makes records waits for whoever takes replies. What of this has to
wait is in the two clients, which wait each in its own way.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from pii_pipeline.vault.errors import VaultRefused
from pii_pipeline.vault_client.messages import Stream

Item = TypeVar("Item")

MOST_REQUESTS = 2_000
"""Twice what the service does at once: it is at work on one half while the other is on its way."""
MOST_BYTES = 4 * 1024 * 1024
"""The most that all of these requests take, unless a single one does."""


@dataclass(frozen=True, slots=True)
class Pending(Generic[Item]):
    """An item that waits for its reply, or one that could not be sent at all (`refused`)."""

    item: Item
    size: int
    refused: VaultRefused | None = None


class Flight(Generic[Item]):
    """The requests of a stream, in order. `error`: what the source of the items raised."""

    def __init__(self, stream: Stream[Item, object]) -> None:
        self._stream = stream
        self._pending: deque[Pending[Item]] = deque()
        self._size = 0
        self.ended = False
        """Whether no more items come."""
        self.closed = False
        """Whether the call is over: nothing more can be sent."""
        self.error: BaseException | None = None

    @property
    def room(self) -> bool:
        """For one more, or for nobody any more."""
        return self.closed or (len(self._pending) < MOST_REQUESTS and self._size < MOST_BYTES)

    @property
    def news(self) -> bool:
        """Whether `first` has something to say."""
        return bool(self._pending) or self.ended or self.closed

    def add(self, item: Item) -> Message | None:
        """The item's request, which is pending from now on; None where it cannot be sent."""
        try:
            message = self._stream.message(item)
        except VaultRefused as refused:
            self._pending.append(Pending(item, 0, refused))
            return None
        pending = Pending(item, message.ByteSize())
        self._size += pending.size
        self._pending.append(pending)
        return message

    def first(self) -> Pending[Item] | None:
        """Takes the one whose reply is next; None: there is none."""
        if not self._pending:
            return None
        pending = self._pending.popleft()
        self._size -= pending.size
        return pending
