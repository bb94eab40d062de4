"""Bytes as text and back, whole columns at a time: hexadecimal pseudonyms, base64 ciphertexts.

A pseudonym has 32 bytes, unless it is one of Snowplow's hashes.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DIGEST = 32
"""Bytes of a pseudonym."""
HEX_DIGITS = 2 * DIGEST

_UUID_GROUPS = ((0, 8, 0), (8, 12, 9), (12, 16, 14), (16, 20, 19), (20, 32, 24))
"""First and last digit of each group, and where it stands in the text."""


def hex_array(digests: list[bytes], size: int = DIGEST) -> pa.Array:
    """Pseudonyms of `size` bytes as lowercase hex text."""
    texts = b"".join(digests).hex().encode()
    if len(texts) != 2 * size * len(digests):
        raise ValueError(f"a pseudonym has {size} bytes")
    return _texts_of_width(2 * size, texts, len(digests))


def from_hex(texts: pa.Array, size: int = DIGEST) -> list[bytes]:
    """The reverse, of a string column without nulls."""
    if len(texts) == 0:
        return []
    lengths = pc.min_max(pc.binary_length(texts)).as_py()
    joined = bytes.fromhex("".join(texts.to_pylist()))
    if lengths != {"min": 2 * size, "max": 2 * size} or len(joined) != size * len(texts):
        raise ValueError(f"a pseudonym has {2 * size} hexadecimal digits")
    return _split(joined, size)


def split_digests(joined: bytes) -> list[bytes]:
    """Pseudonyms that come one after the other."""
    return _split(joined, DIGEST)


def uuid_array(links: list[bytes]) -> pa.Array:
    """UUIDs (16 bytes each) in their usual form, 36 characters."""
    digits = np.frombuffer(b"".join(links).hex().encode(), np.uint8).reshape(-1, 32)
    texts = np.full((len(links), 36), ord("-"), np.uint8)
    for start, end, at in _UUID_GROUPS:
        texts[:, at : at + end - start] = digits[:, start:end]
    return _texts_of_width(36, texts, len(links))


def from_uuid(texts: pa.Array) -> list[bytes]:
    """The reverse, of a string column without nulls."""
    if len(texts) == 0:
        return []
    joined = bytes.fromhex("".join(texts.to_pylist()).replace("-", ""))
    if len(joined) != 16 * len(texts):
        raise ValueError("a UUID has 32 hexadecimal digits")
    return _split(joined, 16)


def base64_array(ciphertexts: list[bytes]) -> pa.Array:
    """Ciphertexts as padded standard base64 text."""
    texts = [b2a_base64(text, newline=False) for text in ciphertexts]
    return pa.array(texts, pa.binary()).cast(pa.string())


def from_base64(texts: pa.Array) -> list[bytes]:
    """The reverse, of a string column without nulls."""
    return [a2b_base64(text) for text in texts.to_pylist()]


def _split(joined: bytes, size: int) -> list[bytes]:
    return [joined[at : at + size] for at in range(0, len(joined), size)]


def _texts_of_width(width: int, data: bytes | np.ndarray, count: int) -> pa.Array:
    ends = np.arange(count + 1, dtype=np.int32) * width
    return pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(ends), pa.py_buffer(data)])


def flat(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Where each text of a column begins and the last ends, and their bytes, one text after the other."""
    if len(texts) == 0:
        return np.zeros(1, np.int32), np.empty(0, np.uint8)
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32, len(texts) + 1, 4 * texts.offset)
    start = int(ends[0])
    if ends[-1] == start:
        return ends - start, np.empty(0, np.uint8)
    return ends - start, np.frombuffer(data, np.uint8, int(ends[-1]) - start, start)


def hex_digits(data: np.ndarray) -> np.ndarray:
    """Which bytes are lowercase hexadecimal digits."""
    # Unsigned: what lies before "0" or "a" wraps around to something large.
    return (data - ord("0") < 10) | (data - ord("a") < 6)
