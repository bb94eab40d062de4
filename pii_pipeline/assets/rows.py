"""The catalogue's rows, one for every column and every field inside a record: its name, its type in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, overload

import pyarrow as pa

from pii_pipeline.contracts.record_type import ListOf, Node, Record, Scalar, arrow_type, join
from pii_pipeline.privacy.plan import DocumentStep, Leaf, ListStep, RecordStep, Step, lake_type


@dataclass(frozen=True, slots=True)
class Column:
    """`name` is a path in the contract, or the name of a column that the pipeline adds.

    `says` is what its values mean, `done` what was done to them (Markdown; "" where there is nothing to
    say). `sources` are the columns that its values are made of, as (dataset of the stream, name).
    """

    name: str
    type: str
    says: str
    done: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[tuple[str, str], ...] = ()
    nullable: bool = True


def row(path: str) -> str:
    """The name of the row of a place: what is said of a list's elements stands with the list."""
    while path.endswith("[]"):
        path = path[:-2]
    return path


@overload
def rows_below(root: Record, parent: str = "") -> Iterator[tuple[str, Node]]: ...
@overload
def rows_below(root: RecordStep, parent: str = "") -> Iterator[tuple[str, Step]]: ...
def rows_below(root: Record | RecordStep, parent: str = "") -> Iterator[tuple[str, Any]]:
    """Every named field below `root`, with its path, parents before children."""
    for name, child in root.fields:
        path = deeper = join(parent, name)
        yield path, child
        inner = child
        while isinstance(inner, ListOf | ListStep):
            inner, deeper = inner.element, f"{deeper}[]"
        if isinstance(inner, Record | RecordStep):
            yield from rows_below(inner, deeper)


def treated_place(step: Step) -> Leaf | DocumentStep | None:
    """The treated place of a row; None for a record, whose fields have rows of their own."""
    while isinstance(step, ListStep):
        step = step.element
    return None if isinstance(step, RecordStep) else step


def step_type(step: Step, readable: Callable[[Leaf], bool]) -> str:
    """The type of what is there once treated, or decrypted where `readable` says so."""
    if isinstance(step, ListStep):
        return f"list of {step_type(step.element, readable)}"
    if isinstance(step, RecordStep):
        return "record"
    if isinstance(step, Leaf) and readable(step):
        return type_name(arrow_type(step.node))
    return type_name(lake_type(step))


def type_name(data_type: pa.DataType) -> str:
    """Arrow's name of the type; of the nested, ``list of …`` and ``record``."""
    if pa.types.is_list(data_type):
        return f"list of {type_name(data_type.value_type)}"
    return "record" if pa.types.is_struct(data_type) else str(data_type)


def json_type(node: Node) -> str:
    """The type that the schema declares."""
    if isinstance(node, ListOf):
        return f"list of {json_type(node.element)}"
    return node.kind if isinstance(node, Scalar) else "record"
