"""`pii drain` beside a plain boto3 loop, on the same queue in the same run: ``python -m benchmarks.queue``.

The queue is a server of this module's own, in a process of its own, that answers as SQS does after
`--latency` milliseconds: an emulator such as moto looks through all messages at every call, and would be what
is measured. The plain loop is what one writes first: receive ten with long polling, write them to a file that
is synchronised, delete them. Besides, S3's notifications are read from such a queue, each of another object,
and entered into the ledger (SQLite).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import Answering, print_figures, serve, with_stand_in

if TYPE_CHECKING:
    from pii_pipeline.pipeline.installation import Installation

_LOGIN = json.dumps(
    {
        "user_id": "424cdd21-063a-43a7-b91b-7ca1a833afae",
        "app_version": "2.3.0",
        "device_type": "android",
        "ip": "199.172.111.135",
        "locale": "RU",
        "device_id": "593-47-5928",
    }
)
_BUCKET = "acme-landing"


def notification(number: int) -> str:
    """What S3 tells of an object."""
    made = {"key": f"webshop/2026/11/22/10/{number}.jsonl.gz", "size": 1024, "eTag": f"{number:032x}"}
    where = {"bucket": {"name": _BUCKET}, "object": made}
    record = {"eventName": "ObjectCreated:Put", "eventTime": "2026-11-22T10:15:30.123Z", "s3": where}
    return json.dumps({"Records": [record]})


def queue_of(messages: int, latency: float, body: Callable[[int], str]) -> type[Answering]:
    """A queue of so many messages."""
    waiting = deque(range(messages))  # a message that was received is gone: nobody here lets one time out

    class Queue(Answering):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(latency)
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            self.answer(json.dumps(getattr(self, operation)(asked)), "application/x-amz-json-1.0")

        def GetQueueUrl(self, asked: Any) -> Any:
            return {"QueueUrl": f"http://{self.headers['Host']}/1/logins"}

        def GetQueueAttributes(self, asked: Any) -> Any:
            return {"Attributes": {"ApproximateNumberOfMessages": str(len(waiting))}}

        def ReceiveMessage(self, asked: Any) -> Any:
            found = []
            while len(found) < asked["MaxNumberOfMessages"]:
                try:
                    text = body(waiting.popleft())
                except IndexError:
                    break
                name = str(uuid.uuid4())
                attributes = {
                    "SenderId": "AIDAIT2UOQQY3AUEKVGXU",
                    "SentTimestamp": "1795651530123",
                    "ApproximateReceiveCount": "1",
                    "ApproximateFirstReceiveTimestamp": "1795651531123",
                }
                found.append(
                    {"MessageId": name, "ReceiptHandle": name * 5, "Attributes": attributes, "Body": text}
                )
            return {"Messages": found} if found else {}

        def DeleteMessageBatch(self, asked: Any) -> Any:
            return {"Successful": [{"Id": entry["Id"]} for entry in asked["Entries"]]}

    return Queue


def plain_loop(folder: Path) -> int:
    """What one writes first; how many messages it took."""
    import boto3

    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName="logins")["QueueUrl"]
    taken = 0
    with (folder / "out").open("a") as out:
        while True:
            found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=2).get(
                "Messages"
            )
            if not found:
                return taken
            out.writelines(f"{message['Body']}\n" for message in found)
            out.flush()
            os.fsync(out.fileno())
            entries = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(found)
            ]
            sqs.delete_message_batch(QueueUrl=url, Entries=entries)
            taken += len(found)


def drain_all(folder: Path) -> int:
    """The same by the product; how many messages it took."""
    from pii_pipeline.pipeline.drain import drain

    installation = installed(folder)
    return drain(installation, installation.streams["logins"]).messages


def read_notifications(folder: Path) -> int:
    """How many the landing sensor's reading took and entered."""
    from pii_pipeline.pipeline.notifications import enter_told, open_notifications

    installation = installed(folder, PII_LANDING_URI=f"s3://{_BUCKET}")
    told = enter_told(installation, open_notifications("told"), float("inf"))
    assert told.new == told.messages
    return told.messages


def installed(folder: Path, **settings: str) -> Installation:
    """The product, with what it writes below `folder`."""
    from pii_pipeline.pipeline.installation import Installation
    from pii_pipeline.settings import read_settings

    settings |= {"PII_STORAGE_URI": str(folder), "PII_DATABASE_URL": f"sqlite:///{folder / 'pii.db'}"}
    return Installation(read_settings(settings))


PROGRAMS = {"plain": plain_loop, "drain": drain_all, "notifications": read_notifications}


def rate(program: str, messages: int, latency: float) -> float:
    """Messages per second, of a fresh queue and process, with the start of neither."""
    served = ["--serve", str(messages), "--latency", str(latency), "--only", program]
    taken, seconds = with_stand_in("benchmarks.queue", served, ["--only", program]).split()
    assert int(taken) == messages, f"{program} took {taken} of {messages} messages"
    return messages / float(seconds)


def _only(program: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        taken = PROGRAMS[program](Path(folder))
        print(taken, time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=5_000)
    parser.add_argument("--latency", type=float, default=10.0, help="milliseconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=PROGRAMS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        body = notification if asked.only == "notifications" else lambda _: _LOGIN
        serve(queue_of(asked.serve, asked.latency / 1000, body))
    elif asked.only:
        _only(asked.only)
    else:
        rates: dict[str, list[float]] = {program: [] for program in PROGRAMS}
        for _ in range(asked.rounds):
            for program, found in rates.items():
                found.append(rate(program, asked.messages, asked.latency))
        plain, drain, told = (median(found) for found in rates.values())
        print_figures(
            {
                "plain loop, messages/s": round(plain),
                "pii drain, messages/s": round(drain),
                "times as many": round(drain / plain, 2),
                "notifications, messages/s": round(told),
            }
        )


if __name__ == "__main__":
    main()
