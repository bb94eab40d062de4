"""Ways to compress an object: names and functions that belong together."""

import gzip
import random

import zstandard


def one_gzip_member(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=1, mtime=0)


def gzip_members(content: bytes) -> bytes:
    return b"".join(one_gzip_member(part) for part in _parts(content))


def one_zstd_frame(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


def zstd_frames(content: bytes) -> bytes:
    skippable = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"aside"
    return skippable + b"".join(one_zstd_frame(part) + skippable for part in _parts(content))


def streamed_zstd_frame(content: bytes) -> bytes:
    """No content size in its header, and many blocks."""
    stream = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    out = b""
    for part in _parts(content):
        out += stream.compress(part) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    return out + stream.flush()


def _parts(content: bytes) -> list[bytes]:
    at = sorted(random.Random(len(content)).sample(range(len(content) + 1), min(3, len(content) + 1)))
    return [content[a:b] for a, b in zip([0, *at], [*at, len(content)], strict=True)]


COMPRESSIONS = {
    "plain.json": bytes,
    "one.json.gz": one_gzip_member,
    "members.GZ": gzip_members,
    "one.json.zst": one_zstd_frame,
    "frames.zstd": zstd_frames,
    "streamed.zst": streamed_zstd_frame,
}
