"""What our processes are started with, so that libraries find it when they are loaded."""

from __future__ import annotations

ENVIRONMENT = {
    # numpy's linear algebra would start threads that spin for a while. Nothing here uses it.
    "OPENBLAS_NUM_THREADS": "1",
    # Arrow's allocator gives memory back when it is asked to (`batch_memory`), or after 100 s; left to itself
    # it never does.
    "MIMALLOC_PURGE_DELAY": "100000",
}
"""Where the user has set one of these, that holds."""
