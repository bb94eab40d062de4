"""``url``: scheme, host and path stay, what identifies goes.

User info and fragment are removed. Query values are pseudonymized unless their parameter is listed; so are
parameter names that do not look like names, text that is no URL, and what would stay but looks like personal
data (an ``@``, an address, a phone, card or account number), also when it is encoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import unquote_plus

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.treatments import Url
from pii_pipeline.privacy.detectors import WORTH_A_LOOK, finds_something
from pii_pipeline.privacy.distinct import distinct
from pii_pipeline.privacy.encodings import hex_array
from pii_pipeline.privacy.sealer import Index, Sealer

_AT = re.compile("[@\uff20\ufe6b]")
"""The sign and its full-width and small forms."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-\[\]]{0,39}")
_BASE = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*:)?(?://(?P<authority>[^/]*))?(?P<path>.*)", re.DOTALL
)
_HOST = re.compile(r"(?:[A-Za-z0-9.\-_]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")


@dataclass(slots=True)
class Parts:
    """A text cut up: `texts` stay; between each two of them was one of `originals`, to be pseudonymized."""

    texts: list[str] = field(default_factory=lambda: [""])
    originals: list[bytes] = field(default_factory=list, repr=False)

    def show(self, text: str) -> None:
        self.texts[-1] += text

    def hide(self, original: str) -> None:
        self.originals.append(original.encode())
        self.texts.append("")

    def add(self, more: Parts) -> None:
        self.texts[-1] += more.texts[0]
        if more.originals:
            self.texts += more.texts[1:]
            self.originals += more.originals


def harmless(text: str) -> bool:
    """Whether a part that may stay has nothing of a person's by its looks, however often it was encoded."""
    for _ in range(4):
        if _AT.search(text) or finds_something(text):
            return False
        decoded = unquote_plus(text)
        if decoded == text:
            return True
        text = decoded
    return False


def url_splitter(treatment: Url) -> Callable[[str], Parts]:
    """A function that cuts up one URL after the other.

    What stands before a query, and each part of a query, is worked on once: these repeat far more often than
    whole URLs do. The function remembers them, so it must not outlive the chunk.
    """
    keep_query = frozenset(treatment.keep_query)
    stays = cache(harmless)

    @cache
    def base(text: str) -> Parts | None:
        match = _BASE.fullmatch(text)
        assert match is not None, "it takes any text"
        scheme, authority, path = match.groups()
        if authority is None and (scheme is not None or not path.startswith("/")):
            return None
        parts = Parts()
        parts.show(scheme or "")
        if authority is not None:
            parts.show("//")
            host = authority.rpartition("@")[2]
            if host and not _HOST.fullmatch(host):
                parts.hide(host)
            else:
                parts.show(host)
        for i, segment in enumerate(path.split("/")):
            parts.show("/" if i else "")
            segment = segment.partition(";")[0]
            if segment and not (treatment.keep_path and stays(segment)):
                parts.hide(unquote_plus(segment))
            else:
                parts.show(segment)
        return parts

    @cache
    def query_part(text: str) -> Parts:
        parts = Parts()
        name, equals, value = text.partition("=")
        if name in keep_query and stays(value):
            parts.show(text)
            return parts
        if equals and _NAME.fullmatch(name):
            parts.show(name)
        elif name:
            # Also a bare word, which is a value without a name: `?john.doe`.
            parts.hide(unquote_plus(name))
        parts.show(equals)
        if value:
            parts.hide(unquote_plus(value))
        return parts

    def split(text: str) -> Parts:
        parts = Parts()
        before, _, query = text.partition("#")[0].partition("?")
        shown = base(before)
        if shown is None:
            parts.hide(text)
            return parts
        parts.add(shown)
        if query:
            mark = "?"
            for part in query.split("&"):
                parts.show(mark)
                parts.add(query_part(part))
                mark = "&"
        return parts

    return split


def treat_urls(values: pa.Array, treatment: Url, domain: str, subjects: Index, sealer: Sealer) -> pa.Array:
    """A string column of URLs, treated; the pseudonyms inside are bound to the row's data subject.

    `subjects` is the subject of each value. URLs without anything to hide are worked on once for all people.
    """
    urls = distinct(values)
    # Most URLs have nothing to hide, and one regular expression over the column says so.
    looks_public = pc.match_substring_regex(urls.dictionary, _public(treatment))
    suspect = pc.match_substring_regex(urls.dictionary, WORTH_A_LOOK)
    private = pc.or_(pc.invert(looks_public), suspect)
    if not pc.any(private).as_py():
        return urls.spread(urls.dictionary)
    split = url_splitter(treatment)
    cut = [split(text) for text in urls.dictionary.filter(private).to_pylist()]
    last = pc.replace_with_mask(urls.dictionary, private, pa.array([p.texts[-1] for p in cut], pa.string()))
    treated = private.to_numpy(zero_copy_only=False)
    hidden = np.zeros(len(last), np.int64)
    hidden[treated] = [len(parts.originals) for parts in cut]

    # Owner 0 stands for everybody where nothing is hidden; subjects count from 1.
    pairs = urls.owned_by(np.where(treated[urls.pair], subjects + 1, 0))
    assert pairs.owner is not None
    # The originals of all pairs, one after the other, and which of those in `cut` each of them is.
    count = hidden[pairs.value]
    ends = np.cumsum(count)
    first = np.cumsum(hidden) - hidden
    place = pa.array(np.repeat(first[pairs.value] - ends + count, count) + np.arange(count.sum()))
    originals = pa.array([text for parts in cut for text in parts.originals], pa.binary()).take(place)
    bound = distinct(originals, np.repeat(pairs.owner - 1, count))
    pseudonyms = hex_array(sealer.pseudonyms(domain, bound.of(bound.dictionary.to_pylist()), bound.owner))
    before = pa.array([text for parts in cut for text in parts.texts[:-1]], pa.string()).take(place)
    pieces = pc.binary_join_element_wise(before, pseudonyms.take(pa.array(bound.pair)), "")
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    fronts = pc.binary_join(pa.ListArray.from_arrays(offsets, pieces), "")
    return pairs.spread(pc.binary_join_element_wise(fronts, last.take(pa.array(pairs.value)), ""))


def _public(treatment: Url) -> str:
    """RE2 for URLs that `split_url` leaves as they are, or the greater part of them."""
    kept = "|".join(map(re.escape, treatment.keep_query))
    query = rf"(\?(({kept})=[^&#%@]*)(&({kept})=[^&#%@]*)*)?" if kept else ""
    # Encoded letters beyond ASCII are fine; anything else encoded might spell what is looked for.
    path = r"(/([^?#;@%]|%[C-Fc-f][0-9A-Fa-f](%[89ABab][0-9A-Fa-f])+)*)?" if treatment.keep_path else "/?"
    return rf"^https?://[A-Za-z0-9.\-_]+(:[0-9]{{1,5}})?{path}{query}$"
