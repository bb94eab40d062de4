"""A parsed record to a typed row, equal to what the vectorised screen makes of the same record."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson

from pii_pipeline.contracts.record_type import ListOf, Node, Record, Scalar, escape, join
from pii_pipeline.validation.failures import Rejected

Undeclared = dict[str, Any]
"""Values of keys that no schema declares, by their place: ``path/to/key``, ``items[2]/key``."""

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)

Convert = Callable[[Any, str, Undeclared], Any]


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values: sorted keys, no spaces, no escapes but the necessary."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # a whole number beyond 64 bits, or nested deeper than that one goes
        return _ENCODER.encode(value)


class RowMaker:
    """Makes rows of one record type."""

    def __init__(self, record: Record) -> None:
        self._convert = converter(record, "")

    def make(self, record: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        """The row and, as canonical JSON text, what the schema does not declare (None: nothing).

        Raises Rejected (unrepresentable) for a value that is valid but that its column cannot hold.
        """
        undeclared: Undeclared = {}
        row = self._convert(record, "", undeclared)
        return row, canonical(undeclared) if undeclared else None


def converter(node: Node, path: str) -> Convert:
    """Converts values of `node`, at the schema's `path`; its second argument is the place in the record."""
    if isinstance(node, Record):
        return _record(node, path)
    if isinstance(node, ListOf):
        return _list(node, path)
    return _scalar(node, path)


def _record(node: Record, path: str) -> Convert:
    fields = [(name, escape(name), converter(child, join(path, name))) for name, child in node.fields]
    declared = {name for name, _ in node.fields}

    def convert(value: Any, place: str, undeclared: Undeclared) -> Any:
        if value is None:
            return None
        if not isinstance(value, dict):
            raise _misfit(path, "not an object")
        prefix = place + "/" if place else ""
        if not value.keys() <= declared:
            for key in value.keys() - declared:
                undeclared[prefix + escape(key)] = value[key]
        return {
            name: None if (inner := value.get(name)) is None else child(inner, prefix + part, undeclared)
            for name, part, child in fields
        }

    return convert


def _list(node: ListOf, path: str) -> Convert:
    element = converter(node.element, path + "[]")

    def convert(value: Any, place: str, undeclared: Undeclared) -> Any:
        if value is None:
            return None
        if not isinstance(value, list):
            raise _misfit(path, "not a list")
        return [element(inner, f"{place}[{number}]", undeclared) for number, inner in enumerate(value)]

    return convert


def _scalar(node: Scalar, path: str) -> Convert:
    store = _STORE[node.kind]

    def convert(value: Any, place: str, undeclared: Undeclared) -> Any:
        try:
            return None if value is None else store(value)
        except (ValueError, OverflowError) as error:
            raise _misfit(
                path, str(error) if isinstance(error, _Unfit) else "a number out of range"
            ) from None

    return convert


class _Unfit(ValueError):
    """A value of another type than the column's; the message is ours and quotes nothing."""


def _integer(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Unfit("not an integer")
    if not -(2**63) <= value < 2**63:
        raise OverflowError
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _Unfit("not a number")
    return float(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise _Unfit("not a text")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Unfit("not a boolean")
    return value


_STORE: dict[str, Callable[[Any], Any]] = {
    "integer": _integer,
    "number": _number,
    "string": _string,
    "boolean": _boolean,
    "json": canonical,
}


def _misfit(path: str, why: str) -> Rejected:
    return Rejected("unrepresentable", path, "type", f"valid, but its column cannot hold it: {why}")
