"""``url``: scheme, host and path stay, what identifies goes.

User info and fragment are removed. Query values are pseudonymized unless their parameter is listed; so are
parameter names that do not look like names, path segments that hold an ``@``, and text that is no URL.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

import numpy as np
import pyarrow as pa

from pii_pipeline.contracts.treatments import Url
from pii_pipeline.privacy.distinct import distinct
from pii_pipeline.privacy.sealer import Index, Sealer

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-\[\]]{0,39}")
_SPLIT = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*:)?(?://(?P<authority>[^/?#]*))?(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?(?:#.*)?",
    re.DOTALL,
)
_HOST = re.compile(r"(?:[A-Za-z0-9.\-_]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")

Parts = list[str | bytes]
"""A URL cut up: text that stays, and (as bytes) originals to be pseudonymized, in order."""


def split_url(text: str, treatment: Url) -> Parts:
    """The parts of one URL; see `Parts`."""
    match = _SPLIT.fullmatch(text)
    scheme, authority, path, query = (
        match.group("scheme", "authority", "path", "query") if match else [None] * 4
    )
    if match is None or (
        authority is None and not (scheme is None and path is not None and path.startswith("/"))
    ):
        return [text.encode()]
    parts: Parts = [scheme or ""]
    if authority is not None:
        host = authority.rpartition("@")[2]
        parts.append("//")
        parts.append(host if _HOST.fullmatch(host) or host == "" else host.encode())
    for i, segment in enumerate((path or "").split("/")):
        parts.append("/" if i else "")
        segment = segment.partition(";")[0]
        shown = segment == "" or (treatment.keep_path and "@" not in unquote_plus(segment))
        parts.append(segment if shown else unquote_plus(segment).encode())
    if query:
        parts.append("?")
        for i, pair in enumerate(query.split("&")):
            parts.append("&" if i else "")
            parts.extend(_query_pair(pair, treatment))
    return parts


def _query_pair(pair: str, treatment: Url) -> Parts:
    name, equals, value = pair.partition("=")
    if name in treatment.keep_query:
        return [pair]
    # A bare word is a value without a name: `?john.doe`.
    named: Parts = [name if equals and _NAME.fullmatch(name) else unquote_plus(name).encode()] if name else []
    return [*named, equals, unquote_plus(value).encode()] if value else [*named, equals]


def treat_urls(values: pa.Array, treatment: Url, domain: str, subjects: Index, sealer: Sealer) -> pa.Array:
    """A string column of URLs, treated; the pseudonyms inside are bound to the row's data subject.

    `subjects` is the subject of each value. URLs without anything to hide are worked on once for all people.
    """
    plain = distinct(values)
    cut = [split_url(text, treatment) for text in plain.dictionary.to_pylist()]
    private = np.fromiter((any(isinstance(part, bytes) for part in parts) for parts in cut), bool, len(cut))
    if not private.any():
        return plain.spread(pa.array(["".join(map(str, parts)) for parts in cut], pa.string()))
    # Owner 0 stands for everybody where nothing is hidden; subjects count from 1.
    owner = np.where(private[plain.pair], subjects + 1, 0) if len(cut) else subjects
    pairs = distinct(values, owner)
    assert pairs.owner is not None
    hidden: list[bytes] = []
    owners: list[int] = []
    for value, who in zip(pairs.value.tolist(), pairs.owner.tolist(), strict=True):
        for part in cut[value]:
            if isinstance(part, bytes):
                hidden.append(part)
                owners.append(who - 1)
    pseudonyms = iter(sealer.pseudonyms(domain, hidden, np.array(owners, np.int64)))
    outputs = [
        "".join(next(pseudonyms).hex() if isinstance(part, bytes) else part for part in cut[value])
        for value in pairs.value.tolist()
    ]
    return pairs.spread(pa.array(outputs, pa.string()))
