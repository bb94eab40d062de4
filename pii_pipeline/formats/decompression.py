"""Streaming decompression by the suffix of an object's name, in flat memory.

Whatever was decoded before a fault is delivered before the fault is raised, whatever the block size, so that
a truncated or corrupt object still gives all of its whole records.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import zstandard

from pii_pipeline.formats.problems import ObjectFault, UntilFault

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"  # after one byte 0x50 … 0x5f (RFC 8878, 3.1.2)
_ZSTD_MAX_HEADER = 18
_ZSTD_RAW, _ZSTD_RLE, _ZSTD_COMPRESSED = 0, 1, 2

_RAW_READ = 1 << 16


def decompressed(read: Callable[[int], bytes], name: str, block_size: int) -> Iterator[bytes]:
    """The content of an object called `name`, in blocks of roughly `block_size` bytes, none of them empty.

    `read(n)` gives at most n further raw bytes, none at the end. ``.gz`` is gzip (any number of members),
    ``.zst`` and ``.zstd`` are Zstandard (any number of frames), anything else is plain. Letter case of the
    suffix does not matter.

    Raises `ObjectFault` after the last good block: object_empty (not one raw byte), object_malformed (not
    what the name says, or corrupt), object_truncated (compressed data ends early).
    """
    raw = Raw(read, min(block_size, _RAW_READ))
    head = raw.peek(4)
    if not head:
        raise ObjectFault("object_empty", "the object has no records")
    suffix = name.lower().rpartition(".")[2]
    if suffix == "gz":
        if not _begins(head, _GZIP):
            raise ObjectFault("object_malformed", "the name says gzip, the content is something else")
        blocks = _gunzip(raw, block_size)
    elif suffix in ("zst", "zstd"):
        if not (_begins(head, _ZSTD) or _is_skippable(head)):
            raise ObjectFault("object_malformed", "the name says Zstandard, the content is something else")
        blocks = unzstd(raw)
    else:
        for magic, what in ((_GZIP, "gzip"), (_ZSTD, "Zstandard")):
            if head.startswith(magic):
                raise ObjectFault("object_malformed", f"the name says plain text, the content is {what}")
        yield from _plain(raw, read, block_size)
        return
    yield from _joined(blocks, block_size)


class Raw:
    """Exact reads from a source that may give fewer bytes than asked."""

    def __init__(self, read: Callable[[int], bytes], read_size: int) -> None:
        self._read = read
        self._read_size = read_size
        self._buffer = b""
        self._at = 0

    def peek(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end, without consuming them."""
        if len(self._buffer) - self._at < count:
            parts = [self._buffer[self._at :]]
            missing = count - len(parts[0])
            while missing > 0 and (part := self._read(max(self._read_size, missing))):
                parts.append(part)
                missing -= len(part)
            self._buffer, self._at = b"".join(parts), 0
        return self._buffer[self._at : self._at + count]

    def take(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end."""
        part = self.peek(count)
        self._at += len(part)
        return part

    def rest(self) -> bytes:
        """What is buffered, or else one more read; empty at the end."""
        if self._at == len(self._buffer):
            return self._read(self._read_size)
        part, self._buffer, self._at = self._buffer[self._at :], b"", 0
        return part


def _begins(head: bytes, magic: bytes) -> bool:
    """`head` begins with `magic`, or is too short to tell (then it is a truncated object)."""
    return head.startswith(magic) or magic.startswith(head)


def _is_skippable(head: bytes) -> bool:
    return 0x50 <= head[0] <= 0x5F and _begins(head[1:], _ZSTD_SKIPPABLE)


def _plain(raw: Raw, read: Callable[[int], bytes], block_size: int) -> Iterator[bytes]:
    yield raw.rest()
    while block := read(block_size):
        yield block


def _joined(blocks: Iterator[bytes], block_size: int) -> Iterator[bytes]:
    """`blocks` in portions of at least `block_size`; what came before a fault is delivered before it."""
    parts: list[bytes] = []
    size = 0
    whole = UntilFault(blocks)
    for block in whole:
        parts.append(block)
        size += len(block)
        if size >= block_size:
            yield b"".join(parts)
            parts, size = [], 0
    if size:
        yield b"".join(parts)
    whole.raise_fault()


_CORRUPT = "the compressed data is corrupt"
_TRUNCATED = "the compressed data ends early"


def _gunzip(raw: Raw, block_size: int) -> Iterator[bytes]:
    data = raw.rest()
    while True:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            if not data:
                data = raw.rest()
            at_end = not data
            before = member.copy()
            try:
                block = member.decompress(data, block_size)
            except zlib.error:
                yield from _gunzip_to_the_fault(before, data, block_size)
                raise ObjectFault("object_malformed", _CORRUPT) from None
            data = member.unconsumed_tail
            if block:
                yield block
            elif at_end and not member.eof:
                raise ObjectFault("object_truncated", _TRUNCATED)
        # Members may be padded with zeros up to a block of the medium (tar, tape): gzip(1) skips them too.
        data = member.unused_data.lstrip(b"\0")
        while not data:
            data = raw.rest()
            if not data:
                return
            data = data.lstrip(b"\0")
        if not _GZIP.startswith(data[:2]):
            raise ObjectFault("object_malformed", "something else follows the gzip data")


def _gunzip_to_the_fault(member: zlib._Decompress, data: bytes, block_size: int) -> Iterator[bytes]:
    """What `data` still gives up to its corrupt byte. zlib drops the output of the call that fails."""
    try:
        for at in range(len(data)):
            if block := member.decompress(data[at : at + 1]):
                yield block
    except zlib.error:
        return


def unzstd(raw: Raw) -> Iterator[bytes]:
    """Frames block by block, walking the container format of RFC 8878 ourselves.

    `zstandard` has neither a limit on a call's output (4 bytes can stand for 128 KiB) nor a way to keep what
    a failing call had decoded, and its stream reader takes a truncated frame for a whole one. Fed with one
    block per call it gives at most one block of output, and ends where the data ends.
    """
    while head := raw.peek(4):
        if _is_skippable(head):
            _skip(raw)
            continue
        if not _begins(head, _ZSTD):
            raise ObjectFault("object_malformed", "something else follows the Zstandard data")
        yield from _unzstd_frame(raw)


def _skip(raw: Raw) -> None:
    size = int.from_bytes(_exactly(raw, 8)[4:], "little")
    while size:
        size -= len(_exactly(raw, min(size, _RAW_READ)))


def _unzstd_frame(raw: Raw) -> Iterator[bytes]:
    try:
        header = raw.peek(_ZSTD_MAX_HEADER)
        if len(header) < 5 or len(header) < (size := zstandard.frame_header_size(header)):
            raise ObjectFault("object_truncated", _TRUNCATED)
        has_checksum = zstandard.get_frame_parameters(header).has_checksum
        frame = zstandard.ZstdDecompressor().decompressobj()
        frame.decompress(raw.take(size))
        last = False
        while not last:
            block_header = _exactly(raw, 3)
            bits = int.from_bytes(block_header, "little")
            last, kind, size = bool(bits & 1), bits >> 1 & 3, bits >> 3
            if kind not in (_ZSTD_RAW, _ZSTD_RLE, _ZSTD_COMPRESSED) or size > zstandard.BLOCKSIZE_MAX:
                raise ObjectFault("object_malformed", _CORRUPT)
            content = _exactly(raw, 1 if kind == _ZSTD_RLE else size)
            if block := frame.decompress(block_header + content):
                yield block
        if has_checksum:
            frame.decompress(_exactly(raw, 4))
    except zstandard.ZstdError:
        raise ObjectFault("object_malformed", _CORRUPT) from None


def _exactly(raw: Raw, count: int) -> bytes:
    part = raw.take(count)
    if len(part) < count:
        raise ObjectFault("object_truncated", _TRUNCATED)
    return part
