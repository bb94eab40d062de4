"""``url``: scheme, host and path stay, what identifies goes.

User info and fragment are removed. Query values are pseudonymized unless their parameter is listed; so are
parameter names that do not look like names, text that is no URL, and what would stay but looks like personal
data (an ``@``, an address, a phone, card or account number), also when it is encoded.
"""

from __future__ import annotations

import re
from typing import cast
from urllib.parse import unquote_plus

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.treatments import Url
from pii_pipeline.privacy.detectors import DETECTORS, WORTH_A_LOOK
from pii_pipeline.privacy.distinct import distinct
from pii_pipeline.privacy.sealer import Index, Sealer

_AT = re.compile("[@\uff20\ufe6b]")
"""The sign and its full-width and small forms."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-\[\]]{0,39}")
_SPLIT = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*:)?(?://(?P<authority>[^/?#]*))?(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?(?:#.*)?",
    re.DOTALL,
)
_HOST = re.compile(r"(?:[A-Za-z0-9.\-_]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")

Parts = list[str | bytes]
"""A URL cut up: text that stays at even places and, at odd ones, originals to be pseudonymized."""


def harmless(text: str) -> bool:
    """Whether a part that may stay has nothing of a person's by its looks, however often it was encoded."""
    for _ in range(4):
        if _AT.search(text) or any(test(text) for test in DETECTORS.values()):
            return False
        decoded = unquote_plus(text)
        if decoded == text:
            return True
        text = decoded
    return False


def split_url(text: str, treatment: Url) -> Parts:
    """The parts of one URL; see `Parts`."""
    match = _SPLIT.fullmatch(text)
    if match is None:
        return ["", text.encode(), ""]
    scheme, authority, path, query = match.groups()
    if authority is None and (scheme is not None or not path.startswith("/")):
        return ["", text.encode(), ""]
    parts: Parts = []
    shown = scheme or ""
    if authority is not None:
        host = authority.rpartition("@")[2]
        shown += "//"
        if host and not _HOST.fullmatch(host):
            parts += [shown, host.encode()]
            shown = ""
        else:
            shown += host
    for i, segment in enumerate(path.split("/")):
        shown += "/" if i else ""
        segment = segment.partition(";")[0]
        if segment and not (treatment.keep_path and harmless(segment)):
            parts += [shown, unquote_plus(segment).encode()]
            shown = ""
        else:
            shown += segment
    if query:
        mark = "?"
        for pair in query.split("&"):
            shown += mark
            mark = "&"
            name, equals, value = pair.partition("=")
            if name in treatment.keep_query and harmless(value):
                shown += pair
                continue
            if equals and _NAME.fullmatch(name):
                shown += name
            elif name:
                # Also a bare word, which is a value without a name: `?john.doe`.
                parts += [shown, unquote_plus(name).encode()]
                shown = ""
            shown += equals
            if value:
                parts += [shown, unquote_plus(value).encode()]
                shown = ""
    parts.append(shown)
    return parts


def treat_urls(values: pa.Array, treatment: Url, domain: str, subjects: Index, sealer: Sealer) -> pa.Array:
    """A string column of URLs, treated; the pseudonyms inside are bound to the row's data subject.

    `subjects` is the subject of each value. URLs without anything to hide are worked on once for all people.
    """
    plain = distinct(values)
    # Most URLs have nothing to hide, and one regular expression over the column says so.
    looks_public = pc.match_substring_regex(plain.dictionary, _public(treatment))
    suspect = pc.match_substring_regex(plain.dictionary, WORTH_A_LOOK)
    public = pc.and_not(looks_public, suspect).to_numpy(zero_copy_only=False)
    if public.all():
        return plain.spread(plain.dictionary)
    # Owner 0 stands for everybody where nothing is hidden; subjects count from 1.
    pairs = distinct(values, np.where(public[plain.pair], 0, subjects + 1))
    assert pairs.owner is not None
    outputs = pairs.dictionary.take(pa.array(pairs.value)).to_pylist()
    treated = np.flatnonzero(pairs.owner)
    cut: dict[int, Parts] = {}
    hidden: list[bytes] = []
    owners: list[int] = []
    work: list[tuple[int, Parts]] = []
    for pair, value, who in zip(
        treated.tolist(), pairs.value[treated].tolist(), (pairs.owner[treated] - 1).tolist(), strict=True
    ):
        parts = cut.get(value)
        if parts is None:
            parts = cut[value] = split_url(outputs[pair], treatment)
        found = cast("list[bytes]", parts[1::2])
        hidden += found
        owners += [who] * len(found)
        work.append((pair, parts))
    pseudonyms = sealer.pseudonyms(domain, hidden, np.array(owners, np.int64))
    at = 0
    for pair, parts in work:
        count = len(parts) // 2
        whole = parts.copy()
        whole[1::2] = [pseudonym.hex() for pseudonym in pseudonyms[at : at + count]]
        at += count
        outputs[pair] = "".join(cast("list[str]", whole))
    return pairs.spread(pa.array(outputs, pa.string()))


def _public(treatment: Url) -> str:
    """RE2 for URLs that `split_url` leaves as they are, or the greater part of them."""
    kept = "|".join(map(re.escape, treatment.keep_query))
    query = rf"(\?(({kept})=[^&#%@]*)(&({kept})=[^&#%@]*)*)?" if kept else ""
    # Encoded letters beyond ASCII are fine; anything else encoded might spell what is looked for.
    path = r"(/([^?#;@%]|%[C-Fc-f][0-9A-Fa-f](%[89ABab][0-9A-Fa-f])+)*)?" if treatment.keep_path else "/?"
    return rf"^https?://[A-Za-z0-9.\-_]+(:[0-9]{{1,5}})?{path}{query}$"
