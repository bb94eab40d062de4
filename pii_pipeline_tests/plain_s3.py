"""A bucket that takes any key S3 takes: moto's server fails over NULs and newlines in keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import parse_qs, quote, unquote, urlsplit

MODIFIED = "Tue, 10 Nov 2026 10:30:00 GMT"
_MODIFIED_IN_LISTINGS = "2026-11-10T10:30:00.000Z"
_PAGE = 5


@contextmanager
def plain_bucket(objects: dict[str, bytes]) -> Iterator[str]:
    """The endpoint of an S3 of one bucket, of whatever name, with these objects: they are listed, read and
    deleted, and `objects` is what is left."""
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            key = self._key()
            if not key:
                self._list()
            elif (body := self._found(key)) is not None:
                start, end, status = 0, len(body), 200
                if asked := self.headers.get("Range"):
                    first, _, last = asked.removeprefix("bytes=").partition("-")
                    start = int(first) if first else max(0, len(body) - int(last))
                    end, status = min(end, int(last) + 1) if first and last else end, 206
                told = {"Content-Range": f"bytes {start}-{end - 1}/{len(body)}"} if asked else {}
                self._answer(status, body[start:end], **told, **self._version(body))

        do_HEAD = do_GET

        def do_DELETE(self) -> None:
            key = self._key()
            with lock:
                if self._found(key) is not None:
                    del objects[key]
                    self._answer(204)

        def _found(self, key: str) -> bytes | None:
            body = objects.get(key)
            if body is None:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            elif self.headers.get("If-Match", _etag(body)) != _etag(body):
                self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            else:
                return body
            return None

        def _list(self) -> None:
            asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            token = asked.get("continuation-token")
            after = bytes.fromhex(token) if token else asked.get("start-after", "").encode()
            chosen = sorted(
                (key for key in list(objects) if key.startswith(asked.get("prefix", ""))), key=str.encode
            )
            left = [key for key in chosen if key.encode() > after]
            listed = "".join(
                f"<Contents><Key>{quote(key, safe='/')}</Key>"
                f"<LastModified>{_MODIFIED_IN_LISTINGS}</LastModified><ETag>{_etag(objects[key])}</ETag><Size>{len(objects[key])}</Size></Contents>"
                for key in left[:_PAGE]
            )
            more = len(left) > _PAGE
            last = left[_PAGE - 1].encode().hex() if more else ""
            self._answer(
                200,
                f"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
                f"<NextContinuationToken>{last}</NextContinuationToken>{listed}</ListBucketResult>".encode(),
            )

        def _key(self) -> str:
            return unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]

        def _version(self, body: bytes) -> dict[str, str]:
            return {"ETag": _etag(body), "Last-Modified": MODIFIED}

        def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
