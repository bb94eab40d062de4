"""The bearer token of the first start: for who may read a file of this machine's, and nobody else."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from pii_pipeline.database import make_private_file
from pii_pipeline.vault_service.errors import CannotServe

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
"""256 random bits."""


def first_token(path: Path) -> str:
    """The token in `path`, which is made, for its owner alone, if it is not there. Raises `CannotServe`."""
    try:
        if not path.exists():
            make_private_file(path, f"{secrets.token_urlsafe(32)}\n")
        if not path.is_file():
            raise CannotServe(
                f"PII_VAULT_TOKEN_FILE: {path} is no file — name one, which the next start makes"
            )
        if path.stat().st_mode & 0o077:
            raise CannotServe(f"{path} can be read by others; change that with: chmod 600 {path}")
        token = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        problem = os.strerror(error.errno) if error.errno else "it cannot be used"
        raise CannotServe(
            f"PII_VAULT_TOKEN_FILE: {path}: {problem} — name a file that can be read, or made"
        ) from None
    if not _TOKEN.fullmatch(token):
        raise CannotServe(f"{path} holds no token; remove it, and the next start makes another")
    return token
