"""Between the product and the AWS server: what was asked, and answers as AWS gives them on bad days.

moto lets a disabled key decrypt, throttles nobody and never has a fault: errors are put in here, in the form
of the services' JSON protocol. Nor does it do a write as a whole when there are many at once, as DynamoDB
does: here one request after the other gets through.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

NOT_TO_BE_QUOTED = "arn:aws:iam::111122223333:user/canary is told so"
"""Part of every error's text, as AWS names who asked."""
HALF = "half of the answer, then the end"
LEFT = "half of what was asked for, and the rest is left"


@dataclass
class _Fault:
    operation: str
    code: str
    status: int
    spared: int
    times: float
    seconds: float


class AwsProxy:
    """At `url`. `asked`: operation and body of every request, of all processes, answered well or not."""

    def __init__(self, endpoint: str) -> None:
        self._server = urlsplit(endpoint).netloc
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()
        self.one_by_one = threading.Lock()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.url = ""

    def fail(
        self,
        operation: str,
        code: str,
        *,
        status: int = 400,
        spared: int = 0,
        times: float = float("inf"),
        seconds: float = 0,
    ) -> None:
        """From now on: requests of `operation` ("" for any), but for the first `spared`, get error `code`,
        `times` of them, after `seconds`. No errors are `HALF`, half of the right answer, and `LEFT`: half of
        the items that DynamoDB was asked for."""
        self._faults = [_Fault(operation, code, status, spared, times, seconds)]

    def heal(self) -> None:
        """No more faults, and nothing was asked yet."""
        self._faults = []
        self.asked.clear()

    def count(self, operation: str = "") -> int:
        """Requests of `operation`, or all."""
        return sum(operation in ("", name) for name, _ in self.asked)

    def fault_for(self, operation: str, body: bytes) -> _Fault | None:
        """Notes the request; the fault that is its answer, if any."""
        with self._lock:
            self.asked.append((operation, json.loads(body or b"{}")))
            for fault in self._faults:
                if fault.operation not in ("", operation):
                    continue
                if fault.spared > 0:
                    fault.spared -= 1
                elif fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    @contextmanager
    def serving(self) -> Iterator[AwsProxy]:
        """The proxy at work."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, self._server))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


def _handler(proxy: AwsProxy, address: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
            fault = proxy.fault_for(operation, body)
            if fault is not None and fault.code == LEFT:
                self._answer(200, self._half_done(operation, json.loads(body)))
                return
            if fault is None or fault.code == HALF:
                self._answer(*self._forwarded(body), half=fault is not None)
                return
            time.sleep(fault.seconds)
            said = {"__type": fault.code, "message": NOT_TO_BE_QUOTED}
            self._answer(fault.status, json.dumps(said).encode())

        def _half_done(self, operation: str, asked: dict[str, Any]) -> bytes:
            """BatchGetItem or BatchWriteItem, for one table."""
            ((table, requests),) = asked["RequestItems"].items()
            reads = operation == "BatchGetItem"
            items = requests["Keys"] if reads else requests
            half = len(items) // 2
            done, left = (
                requests | {"Keys": some} if reads else some for some in (items[:half], items[half:])
            )
            answer: dict[str, Any] = {"Responses": {}} if reads else {}
            if half:
                answer = json.loads(self._forwarded(json.dumps({"RequestItems": {table: done}}).encode())[1])
            answer["UnprocessedKeys" if reads else "UnprocessedItems"] = {table: left}
            return json.dumps(answer).encode()

        def _forwarded(self, body: bytes) -> tuple[int, bytes]:
            headers = dict(self.headers.items()) | {"Content-Length": str(len(body))}
            with proxy.one_by_one:
                connection = http.client.HTTPConnection(address)
                connection.request("POST", self.path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
                connection.close()
            return answer.status, content

        def _answer(self, status: int, content: bytes, half: bool = False) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if half else content)
            self.close_connection |= half

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    return Handler


@pytest.fixture
def aws_proxy(aws: Any, aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsProxy]:
    """The account of `aws` through a proxy that counts requests and can fail them, of any process."""
    with AwsProxy(aws_endpoint).serving() as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy
