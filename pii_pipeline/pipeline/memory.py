"""What a process that makes batches asks of the allocator."""

from __future__ import annotations

import ctypes
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt`` (glibc's malloc.h)."""
_KEPT = 1 << 30


@cache
def keep_freed_memory() -> None:
    """Lets the C library keep what is freed, for the next column.

    It would give every large column back to the system and be handed fresh pages, zeroed, for the next one,
    of the same size: a twentieth of the time of a batch. The peak stays what it is. Does nothing where the C
    library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(parameter, _KEPT)
