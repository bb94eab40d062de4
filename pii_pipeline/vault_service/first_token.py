"""The bearer token of the first start: for who may read a file of this machine's, and nobody else."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from pii_pipeline.database import make_private_directories
from pii_pipeline.vault_service.errors import CannotServe

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
"""256 random bits."""


def first_token(path: Path) -> str:
    """The token in `path`, which is made, for its owner alone, if it is not there. Raises `CannotServe`."""
    if not path.exists():
        _make(path)
    if path.stat().st_mode & 0o077:
        raise CannotServe(f"{path} can be read by others; change that with: chmod 600 {path}")
    token = path.read_text(encoding="ascii", errors="replace").strip()
    if not _TOKEN.fullmatch(token):
        raise CannotServe(f"{path} holds no token; remove it, and the next start makes another")
    return token


def _make(path: Path) -> None:
    make_private_directories(path.absolute().parent)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # as exclusive as O_EXCL, and nobody ever sees a half-written token
        except FileExistsError:
            return  # another process was first: its token is the one
    finally:
        draft.unlink()
