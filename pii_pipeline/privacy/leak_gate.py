"""The leak gate: what is about to be committed is looked at once more, by other means than made it.

1. Every treated column has the form of its treatment (hex, base64, prefix …).
2. In the same row no ``keep`` column contains the original of an identifying field.
3. Detectors (e-mail, IP, phone, card, IBAN) run over the distinct values of ``keep`` columns.

A finding names the column, the rule and a count, never a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.record_type import Scalar
from pii_pipeline.contracts.treatments import Encrypt, Generalize, Keep, Mask, Pseudonymize, Url
from pii_pipeline.privacy.detectors import detect
from pii_pipeline.privacy.nested import leaves, plain
from pii_pipeline.privacy.plan import UNLISTED, Leaf, Plan
from pii_pipeline.privacy.sealer import Index

_HEX = r"^[0-9a-f]{64}$"
# Tink's prefix byte 0x01 makes every ciphertext begin with "A"; 5 + 16 bytes are the shortest there is.
_TINK = r"^A[Q-Za-f][A-Za-z0-9+/]{26,}={0,2}$"
_NO_ORIGINAL_URL = r"^[^@#]*$"
_SHORTEST_ORIGINAL = 4
_SHORTEST_NUMBER = 6
_WHOLE_WORD_BELOW = 8
_ORIGINAL = "contains the original (treat it, or say keep: {allow: [original]})"

# Cursors of one in-memory database, one per search: opening a database costs far more than a search.
_DUCKDB = duckdb.connect(config={"threads": 1, "temp_directory": ""})


@dataclass(frozen=True, slots=True)
class Leak:
    """`count` values of `column` break `rule`; `other` is the identifying field whose original was found."""

    column: str
    rule: str
    count: int
    other: str = ""

    def __str__(self) -> str:
        about = f" of {self.other}" if self.other else ""
        return f"{self.column}: {self.rule}{about} ({self.count} values)"


class LeakError(Exception):
    """Something that looks like personal data was about to be written; nothing was."""

    def __init__(self, leaks: list[Leak]) -> None:
        self.leaks = leaks
        super().__init__("leak gate: " + "; ".join(map(str, leaks)))

    def __reduce__(self) -> tuple[type[LeakError], tuple[list[Leak]]]:
        return LeakError, (self.leaks,)  # comes out of worker processes


def _pattern(leaf: Leaf) -> str | None:
    treatment = leaf.treatment
    if isinstance(treatment, Pseudonymize):
        return _HEX
    if isinstance(treatment, Encrypt):
        return _TINK
    if isinstance(treatment, Url):
        return _NO_ORIGINAL_URL
    if isinstance(treatment, Mask):
        return rf"(?s)^.{{0,{treatment.keep_first}}}\*+.{{0,{treatment.keep_last}}}$|^$"
    if isinstance(treatment, Generalize) and (treatment.ipv4_prefix, treatment.ipv6_prefix) != (None, None):
        return r"^[0-9a-f.:]+/[0-9]{1,3}$"
    if isinstance(treatment, Generalize) and treatment.date is not None:
        return r"^[0-9]{4}(-[0-9]{2}){0,2}(T[0-9]{2}Z)?$"
    return None


def _distinct(values: pa.Array) -> pa.Array:
    return values.dictionary if isinstance(values, pa.DictionaryArray) else pc.unique(values).drop_null()


def inspect(original: pa.Table, treated: dict[str, pa.Array], plan: Plan) -> list[Leak]:
    """What is wrong with the `treated` columns of the rows in `original`; empty if nothing is."""
    found: list[Leak] = []
    rows = np.arange(original.num_rows)
    kept: list[tuple[Leaf, pa.Array, Index]] = []
    identifying: list[tuple[Leaf, pa.Array, Index]] = []
    for name, step in plan.root.fields:
        before = leaves(plain(original[name]), step, rows)
        for (leaf, values, at), (_, output, _) in zip(before, leaves(treated[name], step, rows), strict=True):
            found += form_leaks(leaf, output)
            if isinstance(leaf.treatment, Keep):
                if leaf.path not in plan.prescribed:
                    if "original" not in leaf.treatment.allow:
                        kept.append((leaf, values, at))
                    found += detector_leaks(leaf, values)
            elif _identifies(leaf, plan):
                identifying.append((leaf, values, at))
    found += _unlisted_leaks(treated[UNLISTED])
    return found + _same_row_leaks(kept, identifying, original.num_rows)


def form_leaks(leaf: Leaf, output: pa.Array) -> list[Leak]:
    """Whether the treated values of `leaf` look like its treatment's output."""
    pattern = _pattern(leaf)
    values = _distinct(output)
    if pattern is None or not (pa.types.is_string(values.type)):
        return []
    wrong = len(values) - (pc.sum(pc.match_substring_regex(values, pattern)).as_py() or 0) - values.null_count
    return [Leak(leaf.path, f"not in the form of {leaf.treatment.name}", wrong)] if wrong else []


def detector_leaks(leaf: Leaf, values: pa.Array) -> list[Leak]:
    """Personal data by its looks in a column that is kept."""
    assert isinstance(leaf.treatment, Keep)
    distinct = _distinct(values)
    if pa.types.is_integer(distinct.type):
        distinct = pc.filter(distinct, pc.greater_equal(pc.abs_checked(distinct), 10**12)).cast(pa.string())
    if not pa.types.is_string(distinct.type):
        return []
    return [
        Leak(leaf.path, f"looks like {name}; treat it, or say keep: {{allow: [{name}]}}", count)
        for name, count in detect(distinct, leaf.treatment.allow).items()
    ]


def _identifies(leaf: Leaf, plan: Plan) -> bool:
    subject = plan.contract.data_subject
    named = {plan.contract.key_field, subject.field if subject else None}
    return leaf.explicit or leaf.path in named


def _unlisted_leaks(texts: pa.Array) -> list[Leak]:
    present = texts.drop_null()
    if not len(present):
        return []
    # What is not a 64-digit pseudonym, null or punctuation is something that was let through.
    rest = pc.replace_substring_regex(present, r'"[0-9a-f]{64}"|null|[{}\[\]:,]', "")
    wrong = pc.sum(pc.not_equal(rest, "")).as_py()
    return [Leak(UNLISTED, "holds more than pseudonyms", wrong)] if wrong else []


def _as_text(values: pa.Array) -> pa.Array | None:
    if pa.types.is_string(values.type):
        return values
    return values.cast(pa.string()) if pa.types.is_integer(values.type) else None


def _one_per_row(at: Index, rows: int) -> bool:
    return len(at) == rows and bool((at == np.arange(rows)).all())


def _per_row(values: pa.Array, at: Index, rows: int) -> pa.Array:
    """Several values per row joined into one text per row; `at` is ascending."""
    if _one_per_row(at, rows):
        return values
    offsets = np.searchsorted(at, np.arange(rows + 1)).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), values.fill_null(""))
    return pc.binary_join(lists, "\n")


def _same_row_leaks(
    kept: list[tuple[Leaf, pa.Array, Index]], identifying: list[tuple[Leaf, pa.Array, Index]], rows: int
) -> list[Leak]:
    texts = [(leaf, text, at) for leaf, values, at in kept if (text := _as_text(values)) is not None]
    if not texts or not identifying:
        return []
    columns = [_per_row(text, at, rows) for _, text, at in texts]
    everything = pc.ascii_lower(
        pc.binary_join_element_wise(*columns, "\n", null_handling="replace", null_replacement="")
    )
    needles = [
        (leaf, pc.ascii_trim_whitespace(pc.ascii_lower(text)), at)
        for leaf, values, at in identifying
        if (text := _as_text(values)) is not None
    ]
    found: list[Leak] = []
    for leaf, suspects in _containing(everything, needles):
        for other, text, other_at in texts:
            count = sum(
                _contains(hay, needle)
                for row, needle in suspects
                for hay in text.take(pa.array(np.flatnonzero(other_at == row))).to_pylist()
                if hay is not None
            )
            if count:
                found.append(Leak(other.path, _ORIGINAL, count, leaf.path))
    return found


def _containing(
    haystacks: pa.Array, needles: list[tuple[Leaf, pa.Array, Index]]
) -> Iterator[tuple[Leaf, list[tuple[int, str]]]]:
    """For each leaf the (row, needle) pairs in which the row's text contains the needle; few leaves have any.

    Columns that go with the rows one to one are searched in one query; elements of lists in one each.
    """
    rows = len(haystacks)
    aligned = [(leaf, values) for leaf, values, at in needles if _one_per_row(at, rows)]
    names = [f"needle_{number}" for number in range(len(aligned))]
    table = pa.table(
        {"hay": haystacks, "row": np.arange(rows)} | dict(zip(names, (v for _, v in aligned), strict=True))
    )
    if names:
        tests = [_inside(name, leaf) for (leaf, _), name in zip(aligned, names, strict=True)]
        hit = _search(table, " OR ".join(tests))
        for (leaf, _), name in zip(aligned, names, strict=True):
            pairs = zip(hit["row"].to_pylist(), hit["hay"].to_pylist(), hit[name].to_pylist(), strict=True)
            suspects = [
                (row, needle)
                for row, hay, needle in pairs
                if needle is not None and len(needle.encode()) >= _shortest(leaf) and needle in hay
            ]
            if suspects:
                yield leaf, suspects
    for leaf, values, at in needles:
        if not _one_per_row(at, rows):
            table = pa.table({"hay": haystacks.take(pa.array(at)), "row": at, "needle": values})
            hit = _search(table, _inside("needle", leaf))
            if hit.num_rows:
                yield leaf, list(zip(hit["row"].to_pylist(), hit["needle"].to_pylist(), strict=True))


def _inside(name: str, leaf: Leaf) -> str:
    """SQL: the original is long enough to mean something and is in the text. Bytes, because counting
    characters would cost as much as all the rest of the gate."""
    return f"(strlen({name}) >= {_shortest(leaf)} AND contains(hay, {name}))"


def _shortest(leaf: Leaf) -> int:
    whole_number = isinstance(leaf.node, Scalar) and leaf.node.kind == "integer"
    return _SHORTEST_NUMBER if whole_number else _SHORTEST_ORIGINAL


def _search(table: pa.Table, where: str) -> pa.Table:
    with _DUCKDB.cursor() as cursor:
        return cursor.from_arrow(table).filter(where).to_arrow_table()


def _contains(hay: str, needle: str) -> bool:
    """Short originals count only as whole words: ``1001`` is not in ``210015``."""
    hay = hay.encode().lower().decode()  # ASCII alone, as the needle was made
    if len(needle) >= _WHOLE_WORD_BELOW:
        return needle in hay
    return re.search(rf"(?<![^\W_]){re.escape(needle)}(?![^\W_])", hay) is not None
