"""The bearer token of the first start: for who may read a file of this machine's, and nobody else."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from pii_pipeline.database import make_private_file
from pii_pipeline.vault_service.errors import CannotServe

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
"""256 random bits."""


def first_token(path: Path) -> str:
    """The token in `path`, which is made, for its owner alone, if it is not there. Raises `CannotServe`."""
    if not path.exists():
        make_private_file(path, f"{secrets.token_urlsafe(32)}\n")
    if path.stat().st_mode & 0o077:
        raise CannotServe(f"{path} can be read by others; change that with: chmod 600 {path}")
    token = path.read_text(encoding="ascii", errors="replace").strip()
    if not _TOKEN.fullmatch(token):
        raise CannotServe(f"{path} holds no token; remove it, and the next start makes another")
    return token
