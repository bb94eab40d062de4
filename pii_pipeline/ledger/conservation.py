"""The laws of conservation: every record that went into a layer is accounted for once in what came out.

Counts of a layer map names to whole numbers, or to a mapping of further names (bad records by reason). A
whole object that could not be read is one record and one bad one, so that the laws hold for it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

Counts: TypeAlias = Mapping[str, int | Mapping[str, int]]

_ORIGINALS = "originals"

_LAWS = {
    "validated_events": ("records", ("validated", "bad", "duplicate")),
    "pseudonymized_events": ("validated", ("pseudonymized", "erased", "expired")),
    "vault_records": (_ORIGINALS, ("new", "known", "forgotten")),
    "relayed_originals": ("validated", ("relayed", "other")),
}
_SECOND_LAWS = {"relayed_originals": (_ORIGINALS, ("new", "known"))}
"""Of what is inside the records: nothing above has counted it."""
_DERIVED = ("pseudonymized", ("admitted", "withheld"))
_ROWS = {"pseudonymized_events": "pseudonymized"}
_ROWS_OF_DERIVED = "admitted"

BAD_BY_REASON = "bad_by_reason"

WITHOUT_ORIGINALS = "without_originals"
"""Counts the events of a batch that came into the lake before their originals were kept, and whose landing
objects are gone."""


def violations(layer: str, counts: Counts, upstream: Counts | None = None) -> list[str]:
    """What is wrong with a layer's counts, as texts with the numbers; empty if the law holds.

    A layer whose name is not one of the fixed ones is a derived dataset, or a warehouse table: of that, the
    rows of its dataset are those loaded. With `upstream`, the counts of the layer above for the same batches,
    what went in must be what came out there; where originals were not counted yet, none came out. A count
    that the law names and that is missing or negative is a violation; a missing ``bad_by_reason`` means no
    bad records.
    """
    total, parts = _law(layer)
    laws = [(total, parts), *([_SECOND_LAWS[layer]] if layer in _SECOND_LAWS else [])]
    wrong = [
        f"{layer}: count of {name} is {'missing' if number is None else number}"
        for whole, names in laws
        for name in (whole, *names)
        if (number := _number(counts, name)) is None or number < 0
    ]
    if wrong:
        return wrong
    for whole, names in laws:
        found = [(name, _number(counts, name)) for name in names]
        if _number(counts, whole) != sum(number or 0 for _, number in found):
            came_out = " + ".join(f"{number} {name}" for name, number in found)
            wrong.append(f"{layer}: {_number(counts, whole)} {whole} ≠ {came_out}")
    went_in = _number(counts, total)
    if "bad" in parts:
        reasons = counts.get(BAD_BY_REASON, {})
        by_reason = sum(reasons.values()) if isinstance(reasons, Mapping) else None
        if by_reason != _number(counts, "bad"):
            wrong.append(f"{layer}: {_number(counts, 'bad')} bad ≠ {by_reason} bad by reason")
    if upstream is not None:
        above = _number({_ORIGINALS: 0, **upstream}, total)
        if went_in != above:
            wrong.append(f"{layer}: {went_in} {total} went in, {above} came out upstream")
    return wrong


def rows_count(dataset: str) -> str:
    """The name under which the layer of `dataset` counts the dataset's rows."""
    return _ROWS.get(dataset, _ROWS_OF_DERIVED)


def _law(layer: str) -> tuple[str, tuple[str, ...]]:
    dataset, of_table, _ = layer.partition("/")
    return (rows_count(dataset), ("loaded",)) if of_table else _LAWS.get(layer, _DERIVED)


def add_counts(many: Iterable[Counts]) -> dict[str, int | dict[str, int]]:
    """The sum of counts, name by name, nested ones too; names that only some have count as 0 elsewhere."""
    total: dict[str, int | dict[str, int]] = {}
    for counts in many:
        for name, value in counts.items():
            before = total.get(name)
            if isinstance(value, Mapping):
                inner = before if isinstance(before, dict) else {}
                for key, number in value.items():
                    inner[key] = inner.get(key, 0) + number
                total[name] = inner
            else:
                total[name] = value + (before if isinstance(before, int) else 0)
    return total


def _number(counts: Counts, name: str) -> int | None:
    value = counts.get(name)
    return value if isinstance(value, int) else None
