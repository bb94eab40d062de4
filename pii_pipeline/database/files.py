"""Files and folders that only their owner may read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def make_private_directories(path: Path) -> None:
    """`mkdir -p` with mode 0700 for every directory that is made (Path.mkdir gives it to the last alone)."""
    if path.is_dir():
        return
    make_private_directories(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def private_files() -> Iterator[None]:
    """Files that others make meanwhile, anywhere in this process, are 0600 and directories 0700."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
