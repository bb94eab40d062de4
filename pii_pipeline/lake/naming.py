"""Names of what is written and not published yet, hidden beside what they will be; and of what S3 calls as no
database takes it."""

from __future__ import annotations

import re
import secrets
from pathlib import PurePosixPath

_NUL, _MARK = "\0", "\N{SYMBOL FOR NULL}"
_HIDDEN = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def hidden_name(path: str) -> str:
    """A new hidden path in the folder of `path`."""
    place = PurePosixPath(path)
    return str(place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp"))


def is_hidden_name(name: str) -> bool:
    """Whether the last part of a path is one of `hidden_name`."""
    return _HIDDEN.fullmatch(name) is not None


def path_of_key(key: str) -> str:
    """The path that stands for a key of S3. A key may have NULs, which neither PostgreSQL nor any file name
    takes; the path has none, and all else as it is."""
    return key.replace(_MARK, f"{_MARK}1").replace(_NUL, f"{_MARK}0")


def key_of_path(path: str) -> str:
    """The key that `path_of_key` was given."""
    return path.replace(f"{_MARK}0", _NUL).replace(f"{_MARK}1", _MARK)
