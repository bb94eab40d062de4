"""What became of an hour, in Markdown for the catalogue: counts, reasons, fields by treatment; never a value.

Each is shorter than the 1,000 characters up to which the UI shows Markdown in place; beyond, it shows a link.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from textwrap import shorten

from pii_pipeline.assets.rows import row
from pii_pipeline.contracts.treatments import Encrypt
from pii_pipeline.ledger import Counts, rows_count
from pii_pipeline.pipeline.seal import Sealed
from pii_pipeline.privacy.plan import column_leaves
from pii_pipeline.steps import numbers, reasons
from pii_pipeline.streams.datasets import derived_plan
from pii_pipeline.streams.model import Stream

_MOST_REASONS = 8
_CRITERION = re.compile(r" iglu:\S+ ")
_WIDTH = 60
"""Characters of a list of names."""


def landed(sealed: Sealed) -> str:
    """Of ``raw_events``."""
    header = ("objects", "of them new", "batches", "bytes")
    return _table(header, [(sealed.objects, sealed.new_objects, sealed.batches, sealed.bytes)])


def validated(counts: Counts) -> str:
    """Of ``validated_events``."""
    return "\n\n".join(
        [_parts(counts, "records", ("validated", "bad", "duplicate")), _reasons(counts)]
    ).strip()


def bad(counts: Counts) -> str:
    """Of ``bad_events``."""
    return "\n\n".join([_parts(counts, "records", ("bad",)), _reasons(counts)]).strip()


def pseudonymized(stream: Stream, counts: Counts) -> str:
    """Of ``pseudonymized_events``."""
    fields: dict[str, dict[str, None]] = {}
    for contract in stream.active:
        for path, _, treatment in contract.treated():
            fields.setdefault(treatment.name, {})[path] = None
    most = sorted(fields.items(), key=lambda item: -len(item[1]))
    counted = _parts(counts, "validated", ("pseudonymized", "erased", "expired"))
    return f"{counted}\n\n{_treated(most)}"


def derived(stream: Stream, dataset: str, counts: Counts) -> str:
    """Of a derived dataset."""
    fields: dict[str, dict[str, None]] = {"decrypted": {}, "still encrypted": {}}
    for contract in stream.active:
        plan = derived_plan(contract, stream.derived[dataset])
        for leaf in (leaf for _, step in plan.columns for leaf in column_leaves(step)):
            if isinstance(leaf.treatment, Encrypt):
                fields["decrypted" if plan.readable(leaf) else "still encrypted"][leaf.path] = None
    counted = _parts(counts, "pseudonymized", ("admitted", "withheld"))
    return f"{counted}\n\n{_treated(fields.items())}"


def loaded(dataset: str, counts: Counts) -> str:
    """Of a warehouse table that has the rows of `dataset`."""
    return _parts(counts, rows_count(dataset), ("loaded",))


def in_vault(counts: Counts) -> str:
    """Of ``vault_records``."""
    return _parts(counts, "originals", ("new", "known", "forgotten"))


def relayed(counts: Counts) -> str:
    """Of ``relayed_originals``."""
    parts = (("validated", ("relayed", "other")), ("originals", ("new", "known")))
    return "\n\n".join(_parts(counts, whole, names) for whole, names in parts)


def _parts(counts: Counts, whole: str, parts: Sequence[str]) -> str:
    known = numbers(counts)
    total = known.get(whole, 0)
    cells: list[str | int] = [total]
    for part in parts:
        number = known.get(part, 0)
        cells.append(f"{number:,} ({number / total:.1%})" if 0 < number < total else number)
    return _table((whole, *parts), [cells])


def _reasons(counts: Counts) -> str:
    found = reasons(counts)
    if not found:
        return ""
    rows, rest = found[:_MOST_REASONS], sum(number for _, number in found[_MOST_REASONS:])
    return _table(("bad because", "records"), [*rows, *([("other reasons", rest)] if rest else [])])


def _treated(fields: Iterable[tuple[str, Collection[str]]]) -> str:
    rows = [(name, len(paths), _names(paths)) for name, paths in fields]
    return _table(("treatment", "fields", "which"), rows)


def _names(paths: Iterable[str]) -> str:
    names = dict.fromkeys(_CRITERION.sub(" ", row(path)) for path in paths)
    return shorten(", ".join(names), _WIDTH, placeholder=" …")


def _table(header: Sequence[str], rows: Iterable[Sequence[str | int]]) -> str:
    lines = [[_cell(cell) for cell in row] for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else value.replace("|", "\\|")
