"""Names of what is written and not published yet: hidden, beside what they will be."""

from __future__ import annotations

import re
import secrets
from pathlib import PurePosixPath

_HIDDEN = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def hidden_name(path: str) -> str:
    """A new hidden path in the folder of `path`."""
    place = PurePosixPath(path)
    return str(place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp"))


def is_hidden_name(name: str) -> bool:
    """Whether the last part of a path is one of `hidden_name`."""
    return _HIDDEN.fullmatch(name) is not None
