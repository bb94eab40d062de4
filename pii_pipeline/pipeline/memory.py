"""What a process that makes batches asks of its allocators: keep what is freed, and give it back in time.

Both the C library and Arrow's allocator would hand every large column back to the system, and be handed fresh
pages, zeroed, for the next one of the same size: a tenth of the time of a batch. If they kept all for ever,
holes between what is in use would make the process grow by some MB with every batch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from typing import Any

import pyarrow as pa

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt`` (glibc's malloc.h)."""
_KEPT = 1 << 30
_GIVEN_BACK_AFTER = 4
"""Batches."""

_batches = count(1)


@contextmanager
def batch_memory() -> Iterator[None]:
    """For the making of one batch."""
    libc = _glibc()
    try:
        yield
    finally:
        if next(_batches) % _GIVEN_BACK_AFTER == 0:
            pa.default_memory_pool().release_unused()
            if libc is not None:
                libc.malloc_trim(0)


@cache
def _glibc() -> Any:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        return None
    for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        libc.mallopt(parameter, _KEPT)
    return libc
