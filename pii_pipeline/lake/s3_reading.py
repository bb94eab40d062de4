"""Objects of S3 as files: read in large pieces, from one version from the beginning to the end."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple, Protocol

from pii_pipeline.lake.errors import VersionChanged
from pii_pipeline.lake.storage import Version

BLOCK_BYTES = 8 << 20
"""Of one request. Each can be tried again by itself, and finds out whether the version is still there."""
AHEAD_BYTES = 32 << 20
"""Asked for and not read yet, at most, besides the block in use."""
_REQUESTS = 16
_TAIL_BYTES = 64 << 10
"""What the first request of a file gets, from its end: of a Parquet file as a rule the whole footer."""
_LEAST_BYTES = 4 << 20
"""Of a request: the columns of a row group, which are asked for one by one, lie beside one another."""


class S3Block(NamedTuple):
    """`data` is what the object has from `start` on; `size` and `tag` are those of the whole object."""

    start: int
    size: int
    tag: str
    data: Any


Wanted = tuple[int, int] | int | None
"""From and to; or how many bytes at the end; or all."""

_Place = tuple[int, int]
"""The number of a version, and where in it a block starts."""


class Read(Protocol):
    """A ranged and conditional read of an object; see `S3Prefix.read`."""

    def __call__(self, path: str, tag: str | None, wanted: Wanted) -> S3Block: ...


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_REQUESTS, "s3-read")


class S3Versions:
    """Versions of objects, to be read in their order: while one is worked on, what follows is on its way.

    An hour may have thousands of small objects; one after the other, their answers would be waited for longer
    than they are worked on.
    """

    def __init__(self, read: Read, wanted: Sequence[Version]) -> None:
        self._read = read
        self._wanted = wanted
        self._requests = self._requests_from(0)
        self._pending: deque[tuple[_Place, int, Future[S3Block]]] = deque()
        self._pending_bytes = 0

    def open(self, index: int) -> S3Version:
        """The version of that number, its first block read. Those before it are given up."""
        return S3Version(self._wanted[index].size, lambda start: self._block((index, start)))

    def _block(self, place: _Place) -> memoryview:
        while self._pending and self._pending[0][0] < place:
            self._next()
        if not self._pending:
            self._requests = self._requests_from(*place)
            self._ask()
        answer = self._next()
        self._ask()
        block = answer.result()
        if block.size != self._wanted[place[0]].size:
            raise VersionChanged("the object has another size than when it was sealed")
        return memoryview(block.data)

    def _requests_from(self, index: int, start: int = 0) -> Iterator[tuple[_Place, int]]:
        """Where each block begins and ends."""
        for number in range(index, len(self._wanted)):
            size = self._wanted[number].size
            for at in range(start, max(size, 1), BLOCK_BYTES):
                yield (number, at), min(size, at + BLOCK_BYTES)
            start = 0

    def _ask(self) -> None:
        while len(self._pending) < _REQUESTS and self._pending_bytes < AHEAD_BYTES:
            request = next(self._requests, None)
            if request is None:
                return
            (index, start), stop = request
            path, size, tag = self._wanted[index]
            answer = _threads().submit(self._read, path, tag, (start, stop) if size else None)
            self._pending.append(((index, start), stop - start, answer))
            self._pending_bytes += stop - start

    def _next(self) -> Future[S3Block]:
        _, size, answer = self._pending.popleft()
        self._pending_bytes -= size
        return answer


class S3Version:
    """One version of `size` bytes; `block` gives its blocks by where they start, in order."""

    def __init__(self, size: int, block: Callable[[int], memoryview]) -> None:
        self._size = size
        self._get = block
        self._failure: Exception | None = None
        self._position = 0
        self._block = block(0)
        self._start = 0

    def read(self, size: int, /) -> bytes:
        """At most `size` further bytes. What is wrong once stays wrong."""
        if self._failure is not None:
            raise self._failure
        if self._position == self._start + len(self._block) < self._size:
            try:
                self._block, self._start = self._get(self._position), self._position
            except Exception as error:
                self._failure = error
                raise
        at = self._position - self._start
        part = bytes(self._block[at : at + size])
        self._position += len(part)
        return part

    def close(self) -> None:
        """Frees its block."""
        self._block = memoryview(b"")


class S3File:
    """An object with seeking, for `pa.PythonFile`: the version that its first request finds, all of it.

    Reads larger than a block are several requests at once.
    """

    closed = False

    def __init__(self, read: Callable[[str | None, Wanted], S3Block]) -> None:
        self._read = read
        self._position = 0
        self._held: list[S3Block] = []
        """The end of the object, and what was read last."""

    def begin(self) -> None:
        """Gets its end. Raises FileNotFoundError."""
        if not self._held:
            self._held = [self._read(None, _TAIL_BYTES)]

    def read(self, size: int = -1, /) -> bytes:
        """`size` further bytes, fewer only at the end; all of them if it is negative."""
        self.begin()
        stop = self._held[0].size if size < 0 else min(self._held[0].size, self._position + size)
        data = self._bytes(self._position, stop)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Sets the position, and gives it."""
        if whence == os.SEEK_END:
            self.begin()
            offset += self._held[0].size
        elif whence == os.SEEK_CUR:
            offset += self._position
        self._position = offset
        return offset

    def tell(self) -> int:
        """The position."""
        return self._position

    def close(self) -> None:
        """Frees what it holds."""
        self._held = []

    def _bytes(self, start: int, stop: int) -> bytes:
        if start >= stop:
            return b""
        for block in self._held:
            if block.start <= start and stop <= block.start + len(block.data):
                return bytes(memoryview(block.data)[start - block.start : stop - block.start])
        end, tag = self._held[0], self._held[0].tag
        if stop - start <= BLOCK_BYTES:
            wanted = (start, min(end.size, max(stop, start + _LEAST_BYTES)))
            self._held[1:] = [self._read(tag, wanted)]
            return bytes(memoryview(self._held[1].data)[: stop - start])
        parts = [(at, min(stop, at + BLOCK_BYTES)) for at in range(start, stop, BLOCK_BYTES)]
        return b"".join(block.data for block in _threads().map(lambda part: self._read(tag, part), parts))
