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
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal[
    "slow_down",  # 503, as S3 says it
    "internal_error",  # 500
    "expired",  # 400, the credentials have expired
    "denied",  # 403
    "truncated",  # half of the body, then the connection ends
    "reset",  # the connection ends, nothing was done
    "lost_answer",  # it is done, and the connection ends before the answer
    "silence",  # nothing is done, and nothing said for `SILENT_SECONDS`
]

SILENT_SECONDS = 20.0

_REFUSALS = {
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "internal_error": (500, "InternalError", "We encountered an internal error. Please try again."),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
    "denied": (403, "AccessDenied", "Access Denied"),
}
_OF_THE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Rule:
    """Which requests fail, and how: the next `times` whose method and path (with its query) match."""

    fault: Fault
    times: int
    method: str
    path: re.Pattern[str]
    after: int
    """So many that match are let through before."""
    met: int = 0
    """How many it was applied to."""


@dataclass
class Request:
    """A request that came, and what was done to it."""

    method: str
    path: str
    fault: Fault | None


@dataclass
class FaultyProxy:
    """Before the server at `upstream`; `url` is what clients talk to."""

    upstream: str
    requests: list[Request] = field(default_factory=list)
    before: Callable[[Request], None] | None = None
    """Called with every request before it is passed on, by the thread that does so."""

    def __post_init__(self) -> None:
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(
        self, fault: Fault, *, times: int = 1_000_000, method: str = ".*", path: str = "", after: int = 0
    ) -> Rule:
        """Has the next `times` matching requests fail, `after` so many; `method` and `path` are regular
        expressions, of a whole method and any part of a path."""
        rule = Rule(fault, times, method, re.compile(path), after)
        with self._lock:
            self._rules.append(rule)
        return rule

    def heal(self) -> None:
        """Nothing fails from now on."""
        with self._lock:
            self._rules.clear()

    def close(self) -> None:
        """Ends the proxy; requests that wait in silence end too."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def decide(self, method: str, path: str) -> Request:
        """What is done to a request."""
        with self._lock:
            request = Request(method, path, None)
            self.requests.append(request)
            for rule in self._rules:
                if rule.met < rule.times and re.fullmatch(rule.method, method) and rule.path.search(path):
                    if rule.after:
                        rule.after -= 1
                        continue
                    rule.met += 1
                    request.fault = rule.fault
                    break
        return request

    def wait(self) -> None:
        """Says nothing for a while."""
        self._closing.wait(SILENT_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FaultyProxy

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = self.owner.decide(self.command, self.path)
        match request.fault:
            case "reset":
                self._hang_up()
            case "silence":
                self.owner.wait()
                self._hang_up()
            case "slow_down" | "internal_error" | "expired" | "denied":
                self._refuse(*_REFUSALS[request.fault])
            case _:
                if self.owner.before:
                    self.owner.before(request)
                self._pass_on(body, request.fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def _pass_on(self, body: bytes, fault: Fault | None) -> None:
        connection = http.client.HTTPConnection(urlsplit(self.owner.upstream).netloc)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if fault == "lost_answer":
            self._hang_up()
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_THE_CONNECTION:
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

    def _refuse(self, status: int, code: str, message: str) -> None:
        if "X-Amz-Target" in self.headers:  # services that speak JSON
            content, kind = json.dumps({"__type": code, "message": message}), "application/x-amz-json-1.0"
        else:
            content = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
            kind = "application/xml"
        self.send_response_only(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content.encode())

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        with suppress(OSError):  # the client was tired of waiting
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""
