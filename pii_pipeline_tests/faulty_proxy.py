"""An HTTP proxy before a server, which fails as real ones do: refusals, broken-off bodies, silence.

    proxy = FaultyProxy("http://127.0.0.1:5000")
    proxy.fail("slow_down", times=3, method="GET")   # the next three GETs
    ...                                              # talk to proxy.url
    proxy.close()

What it does to which request is decided when the request is there; what is not to fail is passed on as it is.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

OF_THE_CONNECTION = {
    "truncated",  # half of the body, then the connection ends
    "reset",  # the connection ends, nothing was done
    "lost_answer",  # it is done, and the connection ends before the answer
    "silence",  # nothing is done, and nothing said for `SILENT_SECONDS`
    "half_done",  # of the items that DynamoDB was asked for half are left for another time
}
"""Faults; any other name is that of a refusal below, or the code of one."""
SILENT_SECONDS = 20.0
NOT_TO_BE_QUOTED = "arn:aws:iam::111122223333:user/canary is told so"
"""The text of every refusal, as AWS names who asked."""

_REFUSALS = {
    "slow_down": (503, "SlowDown"),
    "internal_error": (500, "InternalError"),
    "expired": (400, "ExpiredToken"),
    "denied": (403, "AccessDenied"),
}
_NOT_PASSED_ON = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Rule:
    """Which requests fail, and how: the next `times` whose method, path (with query) and operation match."""

    fault: str
    status: int
    times: int
    method: str
    path: re.Pattern[str]
    operation: str
    after: int
    """So many that match are let through before."""
    met: int = 0
    """How many it was applied to."""

    def applies(self, request: Request) -> bool:
        """Whether this one is to fail."""
        if not (
            self.met < self.times
            and re.fullmatch(self.method, request.method)
            and self.path.search(request.path)
            and self.operation in ("", request.operation)
        ):
            return False
        if self.after:
            self.after -= 1
            return False
        self.met += 1
        return True


@dataclass
class Request:
    """A request that came. `operation` and what it `asked` are of services that speak JSON."""

    method: str
    path: str
    operation: str
    asked: dict[str, Any]
    fault: str | None = None


@dataclass
class FaultyProxy:
    """Before the server at `upstream`; `url` is what clients talk to."""

    upstream: str
    requests: list[Request] = field(default_factory=list)
    before: Callable[[Request], None] | None = None
    """Called with every request before it is passed on, by the thread that does so."""
    one_by_one: bool = False
    """Passes requests on one after the other: DynamoDB does each as a whole, and moto does not."""

    def __post_init__(self) -> None:
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._closing = threading.Event()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            args=(0.02,),  # so long, in seconds, takes its end; half a second would be most of a test
            daemon=True,
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(
        self,
        fault: str,
        *,
        status: int = 400,
        times: int = 1_000_000,
        method: str = ".*",
        path: str = "",
        operation: str = "",
        after: int = 0,
    ) -> Rule:
        """Has the next `times` matching requests fail, `after` so many; `method` and `path` are regular
        expressions, of a whole method and any part of a path; `status` is of a code that has no name here."""
        rule = Rule(fault, status, times, method, re.compile(path), operation, after)
        with self._lock:
            self._rules.append(rule)
        return rule

    def heal(self) -> None:
        """Nothing fails from now on, and nothing was asked yet."""
        with self._lock:
            self._rules.clear()
            self.requests.clear()

    def count(self, operation: str = "") -> int:
        """Requests of `operation`, or all, of all processes, answered well or not."""
        return sum(operation in ("", request.operation) for request in self.requests)

    def close(self) -> None:
        """Ends the proxy; requests that wait in silence end too."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def rule_for(self, request: Request) -> Rule | None:
        """Notes the request; what is done to it."""
        with self._lock:
            self.requests.append(request)
            rule = next((rule for rule in self._rules if rule.applies(request)), None)
        request.fault = rule and rule.fault
        return rule

    def turn(self) -> AbstractContextManager[object]:
        """In which a request is passed on."""
        return self._turn if self.one_by_one else nullcontext()

    def wait(self) -> None:
        """Says nothing for a while."""
        self._closing.wait(SILENT_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FaultyProxy

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        request = Request(self.command, self.path, operation, json.loads(body) if operation else {})
        rule = self.owner.rule_for(request)
        if rule and rule.fault not in OF_THE_CONNECTION:
            self._refuse(*_REFUSALS.get(rule.fault, (rule.status, rule.fault)))
        elif request.fault == "silence":
            self.owner.wait()
            self._hang_up()
        elif request.fault == "reset":
            self._hang_up()
        elif request.fault == "half_done":
            self._say(200, self._half_done(request))
        else:
            if self.owner.before:
                self.owner.before(request)
            self._pass_on(body, request.fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def _pass_on(self, body: bytes, fault: str | None) -> None:
        answer, content = self._answer_to(body)
        if fault == "lost_answer":
            self._hang_up()
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _NOT_PASSED_ON:
                self.send_header(name, value)
        size = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        if size is not None and answer.status != 204:
            self.send_header("Content-Length", size)
        self.end_headers()
        if fault == "truncated":
            self.wfile.write(content[: len(content) // 2])
            self._hang_up()
        else:
            self.wfile.write(content)

    def _answer_to(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        with self.owner.turn():
            connection = http.client.HTTPConnection(urlsplit(self.owner.upstream).netloc)
            connection.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
        return answer, content

    def _half_done(self, request: Request) -> bytes:
        """The answer to BatchGetItem or BatchWriteItem, for one table."""
        ((table, asked),) = request.asked["RequestItems"].items()
        reads = request.operation == "BatchGetItem"
        items = asked["Keys"] if reads else asked
        half = len(items) // 2
        done, left = (asked | {"Keys": some} if reads else some for some in (items[:half], items[half:]))
        answer: dict[str, Any] = {"Responses": {}} if reads else {}
        if half:
            answer = json.loads(self._answer_to(json.dumps({"RequestItems": {table: done}}).encode())[1])
        answer["UnprocessedKeys" if reads else "UnprocessedItems"] = {table: left}
        return json.dumps(answer).encode()

    def _refuse(self, status: int, code: str) -> None:
        if "X-Amz-Target" in self.headers:  # services that speak JSON
            content = json.dumps({"__type": code, "message": NOT_TO_BE_QUOTED})
        else:
            content = f"<Error><Code>{code}</Code><Message>{NOT_TO_BE_QUOTED}</Message></Error>"
        self._say(status, content.encode())

    def _say(self, status: int, content: bytes) -> None:
        self.send_response_only(status)
        kind = "application/x-amz-json-1.0" if "X-Amz-Target" in self.headers else "application/xml"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        with suppress(OSError):  # the client was tired of waiting
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""
