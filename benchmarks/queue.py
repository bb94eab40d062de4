"""`pii drain` beside a plain boto3 loop, on the same queue in the same run: ``python -m benchmarks.queue``.

The queue is a server of this module's own, in a process of its own, that answers as SQS does after
`--latency` milliseconds: an emulator such as moto looks through all messages at every call, and would be what
is measured. The plain loop is what one writes first: receive ten with long polling, write them to a file that
is synchronised, delete them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measuring import print_figures

_BODY = json.dumps(
    {
        "user_id": "424cdd21-063a-43a7-b91b-7ca1a833afae",
        "app_version": "2.3.0",
        "device_type": "android",
        "ip": "199.172.111.135",
        "locale": "RU",
        "device_id": "593-47-5928",
    }
)
_REGION = "eu-west-1"


def serve(messages: int, latency: float) -> None:
    """A queue of so many messages, until the process is killed; says its port on standard output."""
    waiting = deque(range(messages))  # a message that was received is gone: nobody here lets one time out

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(latency)
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            answer = json.dumps(getattr(self, operation)(asked)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def GetQueueUrl(self, asked: Any) -> Any:
            return {"QueueUrl": f"http://{self.headers['Host']}/1/logins"}

        def GetQueueAttributes(self, asked: Any) -> Any:
            return {"Attributes": {"ApproximateNumberOfMessages": str(len(waiting))}}

        def ReceiveMessage(self, asked: Any) -> Any:
            found = []
            while len(found) < asked["MaxNumberOfMessages"]:
                try:
                    waiting.popleft()
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
                    {"MessageId": name, "ReceiptHandle": name * 5, "Attributes": attributes, "Body": _BODY}
                )
            return {"Messages": found} if found else {}

        def DeleteMessageBatch(self, asked: Any) -> Any:
            return {"Successful": [{"Id": entry["Id"]} for entry in asked["Entries"]]}

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def plain_loop(file: Path) -> int:
    """What one writes first; how many messages it took."""
    import boto3

    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName="logins")["QueueUrl"]
    taken = 0
    with file.open("a") as out:
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
    from pii_pipeline.pipeline.installation import Installation
    from pii_pipeline.settings import read_settings

    settings = {"PII_STORAGE_URI": str(folder), "PII_DATABASE_URL": f"sqlite:///{folder / 'pii.db'}"}
    installation = Installation(read_settings(settings))
    try:
        return drain(installation, installation.streams["logins"]).messages
    finally:
        installation.close()


def rate(program: str, messages: int, latency: float) -> float:
    """Messages per second, of a fresh queue and process, with the start of neither."""
    command = [sys.executable, "-m", "benchmarks.queue"]
    server = subprocess.Popen(
        [*command, "--serve", str(messages), "--latency", str(latency)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        environment = {
            **os.environ,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.stdout.readline().strip()}",
            "AWS_DEFAULT_REGION": _REGION,
            "AWS_ACCESS_KEY_ID": "measuring",
            "AWS_SECRET_ACCESS_KEY": "measuring",
        }
        done = subprocess.run(
            [*command, "--only", program], env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
    finally:
        server.kill()
        server.wait()
    taken, seconds = done.stdout.split()
    assert int(taken) == messages, f"{program} took {taken} of {messages} messages"
    return messages / float(seconds)


def _only(program: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        taken = plain_loop(Path(folder) / "out") if program == "plain" else drain_all(Path(folder))
        print(taken, time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=5_000)
    parser.add_argument("--latency", type=float, default=10.0, help="milliseconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=("plain", "drain"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        serve(asked.serve, asked.latency / 1000)
    elif asked.only:
        _only(asked.only)
    else:
        rates = {"plain": [], "drain": []}
        for _ in range(asked.rounds):
            for program, found in rates.items():
                found.append(rate(program, asked.messages, asked.latency))
        plain, drain = median(rates["plain"]), median(rates["drain"])
        print_figures(
            {
                "plain loop, messages/s": round(plain),
                "pii drain, messages/s": round(drain),
                "times as many": round(drain / plain, 2),
            }
        )


if __name__ == "__main__":
    main()
