"""What a method of a service is made of: messages in, messages out, and nothing of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from pii_pipeline.vault.audit import Action
from pii_pipeline.vault.errors import VaultRefused
from pii_pipeline.vault_service.backend import Backend, Caller
from pii_pipeline.vault_service.errors import NotAsked, TooLarge

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Of a request and of a reply: what every gRPC client takes unless it is told otherwise."""

SomeMessage = TypeVar("SomeMessage", bound=Message)


@dataclass(frozen=True, slots=True)
class Unary:
    """A method of one request: `call` is its work, which raises `NotAsked` for one that means nothing."""

    action: Action
    request: type[Message]
    call: Callable[[Backend, Caller, Any], Message]

    def answer(self, backend: Backend, caller: Caller, request: bytes) -> bytes:
        """The reply. Raises what `status_of` knows."""
        try:
            message = self.call(backend, caller, parsed(self.request, request))
        except NotAsked as refused:
            backend.vault().refuse(caller.principal, self.action, refused.why, str(refused))
        reply = message.SerializeToString()
        if len(reply) > MAX_MESSAGE_BYTES:
            raise TooLarge
        return reply


@dataclass(frozen=True, slots=True)
class Each:
    """A method of many requests, one reply for each.

    item: what a request asks for, in terms of `records`; raises `NotAsked`
    work: what came of many items
    reply: a result as the message for the request at that position
    """

    action: Action
    request: type[Message]
    item: Callable[[Backend, Caller, Any], Any]
    work: Callable[[Backend, str, Sequence[Any]], Sequence[Any]]
    reply: Callable[[int, Any], Message]

    def answer(self, backend: Backend, caller: Caller, requests: Sequence[bytes], first: int) -> list[bytes]:
        """The replies to `requests`, the first of which is at position `first` of the stream."""
        items = [self._item(backend, caller, request) for request in requests]
        results = self._results(backend, caller, items)
        return [self._reply(first + number, result) for number, result in enumerate(results)]

    def one(self) -> Unary:
        """The method of a single request that says the same."""

        def call(backend: Backend, caller: Caller, message: Message) -> Message:
            try:
                item = self.item(backend, caller, message)
            except NotAsked as refused:
                item = refused
            return self.reply(0, self._results(backend, caller, [item])[0])

        return Unary(self.action, self.request, call)

    def _item(self, backend: Backend, caller: Caller, request: bytes) -> Any:
        try:
            return self.item(backend, caller, parsed(self.request, request))
        except NotAsked as refused:
            return refused

    def _results(self, backend: Backend, caller: Caller, items: Sequence[Any]) -> Sequence[Any]:
        """What came of `items`. Those that the vault cannot be asked are one entry of its audit log."""
        if not_asked := [item for item in items if isinstance(item, NotAsked)]:
            backend.vault().note_refused(caller.principal, self.action, not_asked[0].why, len(not_asked))
        return self.work(backend, caller.principal, items)

    def _reply(self, position: int, result: Any) -> bytes:
        reply = self.reply(position, result).SerializeToString()
        if len(reply) > MAX_MESSAGE_BYTES:
            refused = VaultRefused(
                "limit", "the originals of this pseudonym are more than a message may hold"
            )
            return self.reply(position, refused).SerializeToString()
        return reply


Method = Unary | Each


def parsed(kind: type[SomeMessage], data: bytes) -> SomeMessage:
    """The message in `data`. Raises `NotAsked` where there is none."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise NotAsked("this is no message of the protocol, or its text is no UTF-8") from None
