"""Files and folders that only their owner may read."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def make_private_directories(path: Path) -> None:
    """`mkdir -p` with mode 0700 for every directory that is made (Path.mkdir gives it to the last alone)."""
    if path.is_dir():
        return
    make_private_directories(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def make_private_file(path: Path, text: str) -> None:
    """A file of `text` (ASCII), mode 0600, durable when this returns; one that is there already stays.

    Of processes that make it at once the first one's is kept, and nobody ever sees it half-written.
    """
    folder = path.absolute().parent
    make_private_directories(folder)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)  # as exclusive as O_EXCL
    finally:
        draft.unlink()
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def private_files() -> Iterator[None]:
    """Files that others make meanwhile, anywhere in this process, are 0600 and directories 0700."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
