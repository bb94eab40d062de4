"""Arrow and numpy helpers of the generators: hashing, and texts made from numbers, a column at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Numbers = npt.NDArray[np.uint64]
Index = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

_HEX = np.frombuffer(b"".join(b"%02x" % value for value in range(256)), np.uint8).reshape(256, 2)
_DASHES = (8, 13, 18, 23)
_UUID_DIGITS = np.setdiff1d(np.arange(36), _DASHES)


def mix(values: npt.NDArray[np.integer], salt: int) -> Numbers:
    """A well-spread 64-bit hash of each number: the finalizer of splitmix64 (Steele et al. 2014).

    It lets attributes of a person or session be looked up anywhere without being carried along.
    """
    hashed = values.astype(np.uint64) + np.uint64((salt + 1) * 0x9E3779B97F4A7C15 % 2**64)
    hashed = (hashed ^ (hashed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashed = (hashed ^ (hashed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashed ^ (hashed >> np.uint64(31))


def choose(values: npt.NDArray[np.integer], salt: int, size: int) -> Index:
    """For each number a place in [0, `size`), always the same one for the same number and salt."""
    return (mix(values, salt) % np.uint64(size)).astype(np.int64)


def share(values: npt.NDArray[np.integer], salt: int) -> npt.NDArray[np.float64]:
    """For each number a fraction in [0, 1), always the same one for the same number and salt."""
    return (mix(values, salt) >> np.uint64(11)) / 2**53


def _texts(characters: Bytes) -> pa.StringArray:
    """An array of shape (n, width), ASCII, as n texts."""
    count, width = characters.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(characters.tobytes()))


def hex_texts(values: Numbers) -> pa.StringArray:
    """Sixteen lowercase hex digits for each number."""
    return _texts(_HEX[values.astype(">u8").view(np.uint8).reshape(-1, 8)].reshape(-1, 16))


def uuid_texts(randoms: Bytes) -> pa.StringArray:
    """UUIDs of version 4 from random bytes of shape (n, 16)."""
    octets = randoms.copy()
    octets[:, 6] = octets[:, 6] & 0x0F | 0x40
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    texts = np.full((len(octets), 36), ord("-"), np.uint8)
    texts[:, _UUID_DIGITS] = _HEX[octets].reshape(-1, 32)
    return _texts(texts)


def hashed_uuids(values: npt.NDArray[np.integer], salt: int) -> pa.StringArray:
    """For each number a UUID, always the same one for the same number and salt."""
    halves = np.stack([mix(values, salt), mix(values, salt + 1)], axis=1)
    return uuid_texts(halves.view(np.uint8).reshape(-1, 16))


def zipf(random: npt.NDArray[np.float64], size: int, head: float, exponent: float) -> Index:
    """Ranks in [0, `size`) with probability ∝ 1 / (rank + `head`) ** `exponent` (Zipf-Mandelbrot), from
    uniform random numbers in [0, 1)."""
    weights = np.cumsum(1.0 / (np.arange(size) + head) ** exponent)
    return np.searchsorted(weights, random * weights[-1], side="right").astype(np.int64)


def spliced(lines: pa.StringArray, changed: Mapping[int, bytes]) -> bytes:
    """The joined lines, each with its line feed, but those in `changed`, by row, given there without one."""
    _, offsets, data = lines.buffers()
    starts = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1].tolist()
    block = memoryview(data)
    pieces: list[bytes | memoryview] = []
    at = starts[0]
    for row in sorted(changed):
        pieces += (block[at : starts[row]], changed[row], b"\n")
        at = starts[row + 1]
    pieces.append(block[at : starts[-1]])
    return b"".join(pieces)
