"""The codecs of Avro's blocks: their compressed content, piece by piece, in flat memory but for snappy."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from pii_pipeline.formats.decompression import Raw, unzstd
from pii_pipeline.formats.problems import ObjectFault

PIECE = 1 << 16
_MAX_SNAPPY = 64 << 20
_MAX_XZ_MEMORY = 128 << 20

Pieces = Iterator[bytes]
"""Content in parts of any size, none of them empty."""


def _corrupt() -> ObjectFault:
    return ObjectFault("object_malformed", "the compressed data of an Avro block is corrupt")


def _too_large() -> ObjectFault:
    return ObjectFault("object_malformed", f"a snappy block has more than {_MAX_SNAPPY >> 20} MiB")


def _decompressed(stream: Any, part: bytes) -> bytes:
    """What `stream` makes of `part`, `PIECE` bytes at most."""
    try:
        return stream.decompress(part, PIECE)
    except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError):
        raise _corrupt() from None


def _deflate(pieces: Pieces) -> Pieces:
    stream = zlib.decompressobj(wbits=-15)
    for part in pieces:
        block = b""
        while part or len(block) == PIECE:
            if block := _decompressed(stream, part):
                yield block
            part = stream.unconsumed_tail
    if not stream.eof:  # behind it, fastavro's writer leaves a part of zlib's checksum
        raise _corrupt()


def _streaming(stream: Any, pieces: Pieces) -> Pieces:
    for part in pieces:
        while part or not (stream.needs_input or stream.eof):
            if block := _decompressed(stream, part):
                yield block
            part = b""
    if not stream.eof or stream.unused_data:
        raise _corrupt()


def _bzip2(pieces: Pieces) -> Pieces:
    return _streaming(bz2.BZ2Decompressor(), pieces)


def _xz(pieces: Pieces) -> Pieces:
    return _streaming(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY), pieces)


def _zstandard(pieces: Pieces) -> Pieces:
    ended = False

    def read(_: int) -> bytes:
        nonlocal ended
        part = next(pieces, b"")
        ended = not part
        return part

    try:
        yield from unzstd(Raw(read, PIECE))
    except ObjectFault:
        if ended:  # the block's data, not those of the object
            raise _corrupt() from None
        raise


def _snappy(pieces: Pieces) -> Pieces:
    """Snappy has no stream: the block is held as a whole. Its length comes first, behind it a checksum."""
    data = bytearray()
    for part in pieces:
        data += part
        if len(data) > _MAX_SNAPPY:
            raise _too_large()
    compressed, checksum = bytes(data[:-4]), bytes(data[-4:])
    size = 0
    for place, byte in enumerate(compressed[:5]):
        size |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            break
    if size > _MAX_SNAPPY:
        raise _too_large()
    try:
        content = pa.decompress(compressed, decompressed_size=size, codec="snappy", asbytes=True)
    except (pa.ArrowException, OSError):
        raise _corrupt() from None
    if zlib.crc32(content).to_bytes(4, "big") != checksum:
        raise _corrupt()
    for at in range(0, size, PIECE):
        yield content[at : at + PIECE]


CODECS: dict[bytes, Callable[[Pieces], Pieces]] = {
    b"null": iter,
    b"deflate": _deflate,
    b"bzip2": _bzip2,
    b"snappy": _snappy,
    b"xz": _xz,
    b"zstandard": _zstandard,
}
