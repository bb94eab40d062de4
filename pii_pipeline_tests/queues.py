"""A queue in the account of the tests, and what in moto's is not as in SQS."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3

_POLL_SECONDS = 0.05


class Queue:
    """A queue of the account, and who sends to it."""

    def __init__(self, aws: boto3.Session, name: str = "logins", **attributes: str) -> None:
        self.sqs = aws.client("sqs")
        self.url = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def send_many(self, bodies: list[str]) -> None:
        """The same as `send`, while nobody asks how many there are: for every message that it is sent, moto's
        server, in this process, counts all that there are."""
        from moto.sqs.models import Queue as MotoQueue

        told = MotoQueue.BASE_ATTRIBUTES
        MotoQueue.BASE_ATTRIBUTES = [name for name in told if not name.startswith("Approximate")]
        try:
            self.send(bodies)
        finally:
            MotoQueue.BASE_ATTRIBUTES = told

    def send(self, bodies: list[str], group: str | None = None) -> None:
        """Sends them in order, ten at a time."""
        for start in range(0, len(bodies), 10):
            entries: list[dict[str, Any]] = []
            for number, body in enumerate(bodies[start : start + 10], start):
                entry = {"Id": str(number), "MessageBody": body}
                if group:
                    entry |= {"MessageGroupId": group, "MessageDeduplicationId": f"{group}-{number}"}
                entries.append(entry)
            answer = self.sqs.send_message_batch(QueueUrl=self.url, Entries=entries)
            assert len(answer["Successful"]) == len(entries)

    def left(self) -> int:
        """Messages that wait or are being worked on."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)


@contextmanager
def one_call_at_a_time() -> Iterator[None]:
    """moto's server, in this process, handles a queue's calls one after the other, as SQS seems to.

    Its threads use the lists of messages without a lock: two that receive get the same message, and what one
    deletes another brings back. For every message it gives it counts all that there are, ten times over, to
    see how long it is kept: it is kept here.
    """
    from moto.sqs.models import Queue as MotoQueue
    from moto.sqs.models import SQSBackend

    lock = threading.RLock()
    receive, delete = SQSBackend.receive_message, MotoQueue.delete_message
    change, is_kept = (
        SQSBackend.change_message_visibility,
        SQSBackend.is_message_valid_based_on_retention_period,
    )

    def receive_in_turn(self: Any, queue_name: str, count: int, wait: int, *settings: Any) -> Any:
        deadline = time.monotonic() + wait
        while True:
            with lock:
                found = receive(self, queue_name, count, 0, *settings)
            if found or time.monotonic() >= deadline:
                return found
            time.sleep(_POLL_SECONDS)

    def in_turn(function: Any) -> Any:
        def call(*arguments: Any, **settings: Any) -> Any:
            with lock:
                return function(*arguments, **settings)

        return call

    SQSBackend.receive_message = receive_in_turn  # type: ignore[method-assign]
    SQSBackend.change_message_visibility = in_turn(change)  # type: ignore[method-assign]
    SQSBackend.is_message_valid_based_on_retention_period = lambda *_: True  # type: ignore[method-assign]
    MotoQueue.delete_message = in_turn(delete)  # type: ignore[method-assign]
    try:
        yield
    finally:
        SQSBackend.receive_message = receive  # type: ignore[method-assign]
        SQSBackend.change_message_visibility = change  # type: ignore[method-assign]
        SQSBackend.is_message_valid_based_on_retention_period = is_kept  # type: ignore[method-assign]
        MotoQueue.delete_message = delete  # type: ignore[method-assign]
