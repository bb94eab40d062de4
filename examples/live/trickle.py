"""A web shop and its apps, of which something happens every second: clicks to S3, log-ins to SQS."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count, islice

import boto3

from examples.live.services import AWS, BUCKETS, REGION
from pii_pipeline.samples.generate import generate
from pii_pipeline.streams.model import Stream

CLICKS = 50
LOG_INS = 10
"""Each second; as many log-ins as SQS takes at once."""
BLOCK = 100
"""Log-ins that are made at once: one of these is bad."""


class Trickle(threading.Thread):
    """Sends until it is told to stop. `put_at`: key of each object of clicks → when its PUT began."""

    def __init__(self, session: boto3.Session, endpoint: str, webshop: Stream, logins: Stream) -> None:
        super().__init__(name="trickle", daemon=True)
        self.put_at: dict[str, datetime] = {}
        self.clicks = self.log_ins = 0
        self._error: Exception | None = None
        self._s3, self._sqs = (session.client(name, endpoint_url=endpoint) for name in ("s3", "sqs"))
        self._webshop, self._logins = webshop, logins
        self._stopped = threading.Event()

    def stop(self) -> None:
        """What is being sent still is."""
        self._stopped.set()
        self.join()

    def check(self) -> None:
        """Raises what has kept it from sending."""
        if self._error is not None:
            raise self._error

    def run(self) -> None:
        try:
            self._send()
        except Exception as error:  # noqa: BLE001 - raised by `check`
            self._error = error

    def _send(self) -> None:
        queue = self._sqs.get_queue_url(QueueName="logins")["QueueUrl"]
        messages = self._messages()
        due = time.monotonic()
        for number in count():
            now = datetime.now(UTC)
            body = b"".join(generate(self._webshop.contract, CLICKS, number, now))
            key = f"webshop/{now:%Y/%m/%d/%H}/clicks-{number:06}.jsonl"
            self.put_at[key] = datetime.now(UTC)
            self._s3.put_object(Bucket=BUCKETS["landing"], Key=key, Body=body)
            self.clicks += body.count(b"\n")
            entries = [
                {"Id": str(place), "MessageBody": text}
                for place, text in enumerate(islice(messages, LOG_INS))
            ]
            self._sqs.send_message_batch(QueueUrl=queue, Entries=entries)
            self.log_ins += len(entries)
            due += 1
            if self._stopped.wait(max(0.0, due - time.monotonic())):
                return

    def _messages(self) -> Iterator[str]:
        for seed in count():
            for block in generate(self._logins.contract, BLOCK, seed, datetime.now(UTC)):
                yield from block.decode().splitlines()


def aws_session() -> boto3.Session:
    """Of the emulated account."""
    return boto3.Session(AWS["AWS_ACCESS_KEY_ID"], AWS["AWS_SECRET_ACCESS_KEY"], region_name=REGION)
