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
from functools import partial

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.record_type import Scalar
from pii_pipeline.contracts.treatments import (
    UNLISTED_VALUES,
    Drop,
    Encrypt,
    Generalize,
    Keep,
    Mask,
    Pseudonymize,
    Url,
)
from pii_pipeline.privacy.canonical import LONG_NUMBER, TELLING_NUMBER, whole_texts
from pii_pipeline.privacy.detectors import detect
from pii_pipeline.privacy.documents import Look, as_treated, to_search
from pii_pipeline.privacy.encodings import HEX_DIGITS, flat, hex_digits
from pii_pipeline.privacy.nested import leaves, plain
from pii_pipeline.privacy.plan import UNLISTED, Leaf, Plan
from pii_pipeline.privacy.sealer import Index

# Tink's prefix byte 0x01 makes every ciphertext begin with "A"; 5 + 16 bytes are the shortest there is.
_TINK = r"^A[Q-Za-f][A-Za-z0-9+/]{26,}={0,2}$"
_NO_ORIGINAL_URL = r"^[^@#]*$"
_SHORTEST_ORIGINAL = 4
_SHORTEST_NUMBER = 6
_WHOLE_WORD_BELOW = 8
_NEVER = np.iinfo(np.int64).max
_MEND = "treat it, or say keep: {allow: "
_ORIGINAL = f"contains the original ({_MEND}[original]}})"

# Cursors of one in-memory database, one per search: opening a database costs far more than a search.
_DUCKDB = duckdb.connect(config={"threads": 1, "temp_directory": ""})


_Column = tuple[Leaf, pa.Array, Index]
"""A leaf, its values, the row of each of them."""


@dataclass(frozen=True, slots=True)
class Leak:
    """`count` values of `column` break `rule`; `other` is the identifying field whose original was found."""

    column: str
    rule: str
    count: int
    other: str = ""

    def __str__(self) -> str:
        about = f" of {self.other}" if self.other else ""
        values = "value" if self.count == 1 else "values"
        return f"{self.place}: {self.rule}{about} ({self.count} {values})"

    @property
    def place(self) -> str:
        """The column, in words where it is what nobody listed inside documents."""
        field, unlisted, _ = self.column.partition(UNLISTED_VALUES)
        return f"{field}, what the contract does not list (default)" if unlisted else self.column

    @property
    def mended_in_contract(self) -> bool:
        """Whether what the rule advises is a change of the contract."""
        return _MEND in self.rule


class LeakError(Exception):
    """Something that looks like personal data was about to be written; nothing was."""

    def __init__(self, leaks: list[Leak]) -> None:
        self.leaks = leaks
        super().__init__("leak gate: " + "; ".join(map(str, leaks)))

    def __reduce__(self) -> tuple[type[LeakError], tuple[list[Leak]]]:
        return LeakError, (self.leaks,)  # comes out of worker processes


def _digits(treatment: Pseudonymize, rekeyed: bool) -> int:
    return HEX_DIGITS if rekeyed else 2 * treatment.digest_bytes


def _pattern(leaf: Leaf, rekeyed: bool = False) -> str | None:
    treatment = leaf.treatment
    if isinstance(treatment, Pseudonymize):
        return rf"^[0-9a-f]{{{_digits(treatment, rekeyed)}}}$"
    if isinstance(treatment, Encrypt):
        return _TINK
    if isinstance(treatment, Url):
        return _NO_ORIGINAL_URL
    if isinstance(treatment, Mask):
        return rf"(?s)^.{{0,{treatment.keep_first}}}\*+.{{0,{treatment.keep_last}}}$|^$"
    if leaf.inside and leaf.node in (Scalar("integer"), Scalar("number")):
        return r"^-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?$"
    if isinstance(treatment, Generalize) and (treatment.ipv4_prefix, treatment.ipv6_prefix) != (None, None):
        return r"^[0-9a-f.:]+/[0-9]{1,3}$"
    if isinstance(treatment, Generalize) and treatment.date is not None:
        return r"^[0-9]{4}(-[0-9]{2}){0,2}(T[0-9]{2}Z)?$"
    return None


def inspect(original: pa.Table, treated: dict[str, pa.Array], plan: Plan) -> list[Leak]:
    """What is wrong with the `treated` columns of the rows in `original`; empty if nothing is."""
    found: list[Leak] = []
    rows = np.arange(original.num_rows)
    kept: list[_Column] = []
    identifying: list[_Column] = []
    before = Look(to_search, partial(_identifies, plan), every_row=partial(_identifies, plan))
    after = Look(as_treated, every_row=partial(_searched, plan))
    for name, step in plan.root.fields:
        identifying += leaves(plain(original[name]), step, rows, before)
        for leaf, values, at in leaves(treated[name], step, rows, after):
            found += treated_leaks(leaf, values, plan)
            if _searched(plan, leaf):
                kept.append((leaf, values, at))
    found += _unlisted_leaks(treated[UNLISTED])
    return summed(found) + _same_row_leaks(_joined(kept), _joined(identifying), rows)


def summed(leaks: list[Leak]) -> list[Leak]:
    """One leak for those that say the same of several pieces of a column."""
    counts: dict[tuple[str, str, str], int] = {}
    for leak in leaks:
        about = (leak.column, leak.rule, leak.other)
        counts[about] = counts.get(about, 0) + leak.count
    return [Leak(column, rule, count, other) for (column, rule, other), count in counts.items()]


def treated_leaks(leaf: Leaf, values: pa.Array, plan: Plan, rekeyed: bool = False) -> list[Leak]:
    """What is wrong with the values of one leaf as they are about to be committed; `rekeyed`: to a derived
    dataset, under its own pseudonyms."""
    if not isinstance(leaf.treatment, Keep):
        return form_leaks(leaf, values, rekeyed)
    return [] if leaf.path in plan.prescribed else detector_leaks(leaf, values)


def form_leaks(leaf: Leaf, output: pa.Array, rekeyed: bool = False) -> list[Leak]:
    """Whether the treated values of `leaf` look like its treatment's output."""
    if isinstance(leaf.treatment, Drop):
        there = len(output) - output.null_count
        return [Leak(leaf.path, "is there, and should have been dropped", there)] if there else []
    pattern = _pattern(leaf, rekeyed)
    encoded = isinstance(output, pa.DictionaryArray)
    if pattern is None or not pa.types.is_string(output.type.value_type if encoded else output.type):
        return []
    values = output.dictionary if encoded else pc.unique(output).drop_null()
    if _surely_treated(leaf, values, rekeyed):
        return []
    wrong = len(values) - (pc.sum(pc.match_substring_regex(values, pattern)).as_py() or 0) - values.null_count
    return [Leak(leaf.path, f"not in the form of {leaf.treatment.name}", wrong)] if wrong else []


def _surely_treated(leaf: Leaf, values: pa.Array, rekeyed: bool) -> bool:
    """Whether one look over all bytes of a column shows that its pattern would find nothing wrong: a tenth of
    the time that the pattern takes."""
    if values.null_count or not isinstance(leaf.treatment, Pseudonymize | Url):
        return False
    offsets, data = flat(values)
    if isinstance(leaf.treatment, Url):
        return not ((data == ord("@")) | (data == ord("#"))).any()
    return bool((np.diff(offsets) == _digits(leaf.treatment, rekeyed)).all() and hex_digits(data).all())


def detector_leaks(leaf: Leaf, values: pa.Array) -> list[Leak]:
    """Personal data by its looks in a column that is kept."""
    assert isinstance(leaf.treatment, Keep)
    texts = values.dictionary if isinstance(values, pa.DictionaryArray) else values
    if pa.types.is_integer(texts.type) or pa.types.is_floating(texts.type):
        texts = whole_texts(texts, LONG_NUMBER)
    if not pa.types.is_string(texts.type):
        return []
    return [
        Leak(leaf.path, f"looks like {name}; {_MEND}[{name}]}}", count)
        for name, count in detect(texts, leaf.treatment.allow).items()
    ]


def _identifies(plan: Plan, leaf: Leaf) -> bool:
    if isinstance(leaf.treatment, Keep | Drop):
        return False
    subject = plan.contract.data_subject
    named = {plan.contract.key_field, subject.field if subject else None}
    return leaf.explicit or leaf.path in named


def _searched(plan: Plan, leaf: Leaf) -> bool:
    """Whether originals of other fields are looked for in this one."""
    kept = isinstance(leaf.treatment, Keep) and "original" not in leaf.treatment.allow
    return kept and leaf.path not in plan.prescribed


def _joined(columns: list[_Column]) -> list[_Column]:
    """Every leaf once, rows ascending; those inside documents came in pieces."""
    pieces: dict[Leaf, list[_Column]] = {}
    for column in columns:
        pieces.setdefault(column[0], []).append(column)
    joined = [of_one[0] for of_one in pieces.values()]
    for number, of_one in enumerate(pieces.values()):
        if len(of_one) > 1:
            at = np.concatenate([at for _, _, at in of_one])
            order = np.argsort(at, kind="stable")
            values = pa.concat_arrays([values for _, values, _ in of_one]).take(pa.array(order))
            joined[number] = (of_one[0][0], values, at[order])
    return joined


def _unlisted_leaks(texts: pa.Array) -> list[Leak]:
    present = texts.drop_null()
    if not len(present):
        return []
    # What is not a 64-digit pseudonym, null or punctuation is something that was let through.
    rest = pc.replace_substring_regex(present, r'"[0-9a-f]{64}"|null|[{}\[\]:,]', "")
    wrong = pc.sum(pc.not_equal(rest, "")).as_py()
    return [Leak(UNLISTED, "holds more than pseudonyms", wrong)] if wrong else []


@dataclass(frozen=True, slots=True)
class _Texts:
    """A column of texts: `values` themselves, or `values[code[i]]`, null where that is -1."""

    values: pa.Array
    code: Index | None = None

    @classmethod
    def of(cls, column: pa.Array) -> _Texts | None:
        """Of a column of texts or numbers, of doubles the whole ones from 6 digits on; None of any other."""
        code = None
        if isinstance(column, pa.DictionaryArray):
            code = column.indices.fill_null(-1).to_numpy().astype(np.int64)
            column = column.dictionary
        if pa.types.is_integer(column.type):
            column = whole_texts(column)
        elif pa.types.is_floating(column.type):
            column = whole_texts(column, TELLING_NUMBER)
        return cls(column, code) if pa.types.is_string(column.type) else None

    def trimmed(self) -> _Texts:
        """Without white space at either end, which hardly any text has: their first and last bytes tell."""
        offsets, data = flat(self.values)
        there = np.diff(offsets) > 0
        ends = data[offsets[:-1][there]], data[offsets[1:][there] - 1]
        if not any((end <= ord(" ")).any() for end in ends):
            return self
        return _Texts(pc.ascii_trim_whitespace(self.values), self.code)

    def unsigned(self) -> _Texts:
        """Of numbers: a text that has the digits has the number, whatever stands before them."""
        return _Texts(pc.ascii_ltrim(self.values, "-"), self.code)

    def sizes(self) -> Index:
        """In bytes, because counting characters would cost as much as all the rest of the gate; 0 of null."""
        sizes = np.diff(flat(self.values)[0]).astype(np.int64)
        return sizes if self.code is None else np.append(sizes, 0)[self.code]

    def lowered(self, positions: Index) -> pa.Array:
        """The texts at `positions`, ASCII letters in lower case."""
        if self.code is not None:
            positions = self.code[positions]
            return pc.ascii_lower(self.values.take(pa.array(positions, mask=positions < 0)))
        everything = len(positions) == len(self.values) and bool((np.diff(positions) == 1).all())
        return pc.ascii_lower(self.values if everything else self.values.take(pa.array(positions)))


def _holds_numbers(column: pa.Array) -> bool:
    kind = column.type.value_type if isinstance(column, pa.DictionaryArray) else column.type
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _few_digits(values: pa.Array) -> bool:
    """Whether these are whole numbers shorter, as text, than any original that is looked for."""
    if not pa.types.is_integer(values.type):
        return False
    span = pc.min_max(values).as_py()
    return span["min"] is None or (span["min"] > -100 and span["max"] < 1000)


def _one_per_row(at: Index, rows: Index) -> bool:
    return at is rows or (len(at) == len(rows) and bool((at == rows).all()))


def _same_row_leaks(kept: list[_Column], identifying: list[_Column], rows: Index) -> list[Leak]:
    texts = [
        (leaf, text, at)
        for leaf, values, at in kept
        if not _few_digits(values) and (text := _Texts.of(values)) is not None
    ]
    needles = [
        (leaf, text.unsigned() if _holds_numbers(values) else text.trimmed(), at)
        for leaf, values, at in identifying
        if (text := _Texts.of(values)) is not None
    ]
    # As they are reported: those that go with the rows one to one, then those in lists.
    needles.sort(key=lambda column: not _one_per_row(column[2], rows))
    found: list[Leak] = []
    for leaf, suspects in _containing([(text, at) for _, text, at in texts], needles, rows):
        for other, text, other_at in texts:
            count = sum(
                _contains(hay, needle)
                for row, needle in suspects
                for hay in text.lowered(np.flatnonzero(other_at == row)).to_pylist()
                if hay is not None
            )
            if count:
                found.append(Leak(other.path, _ORIGINAL, count, leaf.path))
    return found


def _containing(
    haystacks: list[tuple[_Texts, Index]], needles: list[tuple[Leaf, _Texts, Index]], rows: Index
) -> Iterator[tuple[Leaf, list[tuple[int, str]]]]:
    """For each leaf the (row, needle) pairs where a text of the row contains the needle; few leaves have any.

    Most needles are longer than the texts they would have to be in, and so cost no search.
    """
    found = [np.empty(0, np.int64) for _ in needles]
    searches: list[tuple[int, Index, pa.Array, pa.Array]] = []
    sizes = [hay.sizes() for hay, _ in haystacks]
    for number, (leaf, needle, at) in enumerate(needles):
        size = needle.sizes()
        size[size < _shortest(leaf)] = _NEVER
        for (hay, hay_at), hay_size in zip(haystacks, sizes, strict=True):
            if size.min(initial=_NEVER) > hay_size.max(initial=0):
                continue
            mine, other = _in_same_row(at, hay_at, rows)
            room = hay_size[other] - size[mine]
            fitting = np.flatnonzero(room >= 0)
            mine, other = np.arange(len(size))[mine][fitting], np.arange(len(hay_size))[other][fitting]
            texts, originals = hay.lowered(other), needle.lowered(mine)
            if room[fitting].any():
                searches.append((number, mine, texts, originals))
            else:  # of the same size
                equal = pc.fill_null(pc.equal(texts, originals), False).to_numpy(zero_copy_only=False)
                found[number] = np.union1d(found[number], mine[equal])
    hit = _search([(texts, originals) for _, _, texts, originals in searches])
    start = 0
    for number, mine, _, _ in searches:
        here = hit[(hit >= start) & (hit < start + len(mine))] - start
        found[number] = np.union1d(found[number], mine[here])
        start += len(mine)
    for (leaf, needle, at), chosen in zip(needles, found, strict=True):
        if len(chosen):
            yield leaf, list(zip(at[chosen].tolist(), needle.lowered(chosen).to_pylist(), strict=True))


def _in_same_row(at: Index, other: Index, rows: Index) -> tuple[Index | slice, Index | slice]:
    """The positions, in two columns with these rows, of every two values that share a row."""
    all_of_them = slice(None)
    if _one_per_row(other, rows):
        return all_of_them, (all_of_them if _one_per_row(at, rows) else at)
    if _one_per_row(at, rows):
        return other, all_of_them
    first, last = np.searchsorted(other, at), np.searchsorted(other, at, side="right")
    count = last - first
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(np.arange(len(at)), count), np.repeat(first, count) + number


def _shortest(leaf: Leaf) -> int:
    whole_number = isinstance(leaf.node, Scalar) and leaf.node.kind == "integer"
    return _SHORTEST_NUMBER if whole_number else _SHORTEST_ORIGINAL


def _search(pairs: list[tuple[pa.Array, pa.Array]]) -> Index:
    """Where, in all of these columns one after the other, the first text contains the second."""
    if not pairs:
        return np.empty(0, np.int64)
    hay, needle = (pa.chunked_array(columns) for columns in zip(*pairs, strict=True))
    table = pa.table({"hay": hay, "needle": needle, "at": np.arange(len(hay))})
    with _DUCKDB.cursor() as cursor:
        return cursor.from_arrow(table).filter("contains(hay, needle)").to_arrow_table()["at"].to_numpy()


def _contains(hay: str, needle: str) -> bool:
    """Short originals count only as whole words: ``1001`` is not in ``210015``."""
    if len(needle) >= _WHOLE_WORD_BELOW:
        return needle in hay
    return re.search(rf"(?<![^\W_]){re.escape(needle)}(?![^\W_])", hay) is not None
