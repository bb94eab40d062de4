"""One SQS queue: what a drain asks of it, in calls for up to ten messages."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pii_pipeline import aws
from pii_pipeline.queues.errors import typed_errors

AT_ONCE = 10
"""The most messages that a call takes or gives."""

NAME_OR_URL = re.compile(
    r"[A-Za-z0-9_-]{1,80}(\.fifo)?|https?://[^\s/]+(/[^\s/]+)*/[A-Za-z0-9_-]{1,80}(\.fifo)?"
)
"""What a queue is called."""

_FIFO = ".fifo"
_PARTIAL_TRIES = 4  # of those messages of a batch call that failed alone
_PAUSE = 0.1


@dataclass(frozen=True, slots=True, repr=False)
class Received:
    """A message that nobody else gets until its visibility times out. `receipt` is of this delivery;
    `attributes` are SQS's, `message_attributes` the sender's, binary ones in base64."""

    id: str
    receipt: str
    sent_at: datetime
    attributes: Mapping[str, str]
    message_attributes: Mapping[str, Mapping[str, str]]
    body: str


class Queue:
    """An open queue. `name` has no account and no region. Safe to use from several threads at once.

    All methods raise `QueueError`.
    """

    def __init__(self, name: str, url: str, client: Any) -> None:
        self.name = name
        self._url = url
        self._client = client

    @property
    def is_fifo(self) -> bool:
        """Whether messages of a group come in order, and no more of it while some are being worked on."""
        return self.name.endswith(_FIFO)

    def waiting(self) -> int:
        """How many messages wait, as far as SQS knows at the moment."""
        with typed_errors(self.name, "GetQueueAttributes"):
            names = ["ApproximateNumberOfMessages"]
            answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)
        return int(answer["Attributes"][names[0]])

    def receive(self, most: int, wait: int, visibility: int) -> list[Received]:
        """Up to `most` messages (at most `AT_ONCE`), hidden from others for `visibility` seconds.

        Waits up to `wait` seconds for the first; none means that there are none, if it waited at all.
        """
        with typed_errors(self.name, "ReceiveMessage"):
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=most,
                WaitTimeSeconds=wait,
                VisibilityTimeout=visibility,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        return [_received(message) for message in answer.get("Messages", ())]

    def delete(self, messages: Sequence[Received]) -> list[Received]:
        """Deletes up to `AT_ONCE` messages; gives those that could not be: they will be delivered again."""
        return self._each(messages, "DeleteMessageBatch", self._client.delete_message_batch, {})

    def extend(self, messages: Sequence[Received], visibility: int) -> list[Received]:
        """Hides up to `AT_ONCE` messages for `visibility` seconds from now; gives those for which it is too
        late."""
        change = self._client.change_message_visibility_batch
        timeout = {"VisibilityTimeout": visibility}
        return self._each(messages, "ChangeMessageVisibilityBatch", change, timeout)

    def _each(
        self, messages: Sequence[Received], operation: str, call: Any, settings: Mapping[str, int]
    ) -> list[Received]:
        """The messages of a batch call that failed, after some tries where these make sense."""
        hopeless: list[Received] = []
        left = list(messages)
        for tried in range(_PARTIAL_TRIES):
            if tried:
                time.sleep(_PAUSE * 2**tried)
            entries = [
                {"Id": str(number), "ReceiptHandle": message.receipt, **settings}
                for number, message in enumerate(left)
            ]
            with typed_errors(self.name, operation):
                answer = call(QueueUrl=self._url, Entries=entries)
            failed = answer.get("Failed", ())
            hopeless += [left[int(item["Id"])] for item in failed if item.get("SenderFault")]
            left = [left[int(item["Id"])] for item in failed if not item.get("SenderFault")]
            if not left:
                break
        return hopeless + left


def open_queue(place: str, connections: int, longest_wait: int, seconds: float | None = None) -> Queue:
    """The queue of that name, or at that URL. `connections`: how many threads use it at once; `longest_wait`:
    the seconds they wait for messages; `seconds`: for how long from now calls may begin, which have little
    patience then. Raises `QueueError`."""
    until = None if seconds is None else time.monotonic() + seconds
    name = place.rpartition("/")[2]
    with typed_errors(name, "GetQueueUrl"):
        client = aws.client(aws.session(), "sqs", connections, longest_wait, until)
        url = place if "/" in place else client.get_queue_url(QueueName=place)["QueueUrl"]
    return Queue(name, url, client)


def _received(message: Mapping[str, Any]) -> Received:
    attributes = message.get("Attributes", {})
    return Received(
        id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        sent_at=datetime.fromtimestamp(int(attributes["SentTimestamp"]) / 1000, UTC),
        attributes=attributes,
        message_attributes={
            name: dict(_texts(value)) for name, value in message.get("MessageAttributes", {}).items()
        },
        body=message["Body"],
    )


def _texts(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, item in value.items():
        if isinstance(item, bytes):
            yield name, base64.b64encode(item).decode()
        elif isinstance(item, str):
            yield name, item
