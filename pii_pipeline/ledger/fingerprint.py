"""What a batch's output depends on, as one short text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable


def fingerprint(
    etags: Iterable[str],
    contract_digest: str,
    code_version: str,
    secret_version: str | int | None,
    upstream: str | None = None,
) -> str:
    """16 hex characters that change when anything does that the output depends on.

    `etags`: the objects', in the order of the batch. `code_version`: the layer's, raised by whoever changes
    what it writes. `upstream`: the fingerprint of the layer it was made from, so that making that one again
    makes this one again. JSON keeps neighbouring texts apart and 1 from "1".
    """
    parts = [list(etags), contract_digest, code_version, secret_version, upstream]
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()[:16]
