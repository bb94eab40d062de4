"""Starting fast."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Python's own way out takes everything apart, or DuckDB's binding complains of leaks.
atexit.register(gc.unfreeze)


@contextmanager
def starting() -> Iterator[None]:
    """For a block that imports much. No garbage is looked for in it, nor in what it made ever after.

    Modules are hundreds of thousands of objects that all stay; the collector would go through them again and
    again, for a third of the time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
