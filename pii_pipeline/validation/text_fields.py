"""Delimited records (CSV, TSV): fields of text to the typed values that the contract's schema declares.

As elsewhere there are two ways to one result: `to_values` makes a parsed record of one row's texts, for the
strict path; `TextScreen` types whole columns and accepts the rows it is sure of. A field without text is not
there at all. Lists and records stand in a field as JSON text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jsonschema_rs
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import Node, Record, Scalar, arrow_type, escape
from pii_pipeline.contracts.schema import VALIDATORS, dialect
from pii_pipeline.validation.checks import Check, as_mask
from pii_pipeline.validation.failures import Rejected
from pii_pipeline.validation.parsing import MAX_DEPTH, parse_text
from pii_pipeline.validation.plan import field_checks
from pii_pipeline.validation.rows import Undeclared, canonical, converter

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
_LONGEST_INTEGER = 4000
"""Digits: Python reads no more than some 4,300."""

_SURE_INTEGER = r"\A-?[0-9]{1,18}\z"
_SURE_NUMBER = r"\A-?[0-9]{1,15}(?:\.[0-9]{1,15})?\z"
_NEEDS_ESCAPE = r'["\\\x00-\x1f]'


class Fault(Protocol):
    """A record that could not be taken apart; `rule` is ``encoding``, ``columns`` or ``quoting``."""

    @property
    def row(self) -> int: ...
    @property
    def rule(self) -> str: ...
    @property
    def message(self) -> str: ...


class TextFields(Protocol):
    """Records taken apart: for every column's name the texts (string, null where empty or at fault)."""

    @property
    def columns(self) -> Mapping[str, pa.Array]: ...
    @property
    def faults(self) -> Sequence[Fault]: ...


def to_values(texts: Mapping[str, str | None], record: Record) -> dict[str, Any]:
    """The JSON values that a record's texts stand for. A text that is none of its declared type stays text,
    for the schema to refuse. Raises Rejected where what should be JSON text is none."""
    nodes = dict(record.fields)
    return {name: _value(name, text, nodes.get(name)) for name, text in texts.items() if text is not None}


def _value(name: str, text: str, node: Node | None) -> Any:
    if node is None or node == Scalar("string"):
        return text
    if not isinstance(node, Scalar) or node.kind == "json":
        try:
            return parse_text(text)
        except Rejected as rejected:
            raise Rejected(rejected.type, escape(name), rejected.rule, rejected.message) from None
    if node.kind == "boolean":
        return _BOOLEANS.get(text.lower(), text)
    if node.kind == "integer":
        return int(text) if _INTEGER.fullmatch(text) and len(text) <= _LONGEST_INTEGER else text
    return float(text) if _NUMBER.fullmatch(text) and abs(float(text)) != float("inf") else text


@dataclass(frozen=True)
class ScreenedTexts:
    """Typed rows, those accepted (bool), and their undeclared fields (canonical JSON text, or null). A row
    that is not accepted means nothing."""

    values: pa.StructArray
    accepted: np.ndarray
    unlisted: pa.Array


_Typed = tuple[pa.Array, np.ndarray]
"""Values of the column's type, and which of them are certain (bool), nulls too."""


class TextScreen:
    """The screen for one contract. Usable from several threads at once."""

    def __init__(self, contract: Contract) -> None:
        self._record = contract.record
        found = field_checks(contract.record, contract.json_schema, dialect(contract.json_schema))
        self._checks: dict[str, tuple[Check, ...] | None] = found[0] if found else {}
        self._required = found[1] if found else ()
        self._closed = found is None
        """Whether the schema says more about a record as a whole than can be judged by columns."""
        self._nested = {
            name: _Nested(contract.json_schema, name, node)
            for name, node in contract.record.fields
            if not isinstance(node, Scalar) or node.kind == "json"
        }

    def run(self, columns: Mapping[str, pa.Array], size: int) -> ScreenedTexts | None:
        """Screens rows of `size` texts a column. None if the screen could accept no row."""
        if self._closed:
            return None
        accepted = np.ones(size, bool)
        typed: list[pa.Array] = []
        for name, node in self._record.fields:
            texts = columns.get(name)
            if texts is None or texts.null_count == size:
                typed.append(pa.nulls(size, arrow_type(node)))
                if name in self._required:
                    accepted[:] = False
                continue
            values, sure = self._typed(name, node, texts)
            accepted &= sure
            if name in self._required:
                accepted &= as_mask(pc.is_valid(texts), False)
            checks = self._checks.get(name)
            if checks is None and name not in self._nested:
                accepted &= as_mask(pc.is_null(texts), False)
            for check in checks or ():
                accepted &= check(values)
            typed.append(values)
        declared = {name for name, _ in self._record.fields}
        others = {name: texts for name, texts in columns.items() if name not in declared}
        unlisted, sure = _unlisted(others, size)
        struct = pa.StructArray.from_arrays(typed, [name for name, _ in self._record.fields])
        return ScreenedTexts(struct, accepted & sure, unlisted)

    def _typed(self, name: str, node: Node, texts: pa.Array) -> _Typed:
        nested = self._nested.get(name)
        if nested is not None:
            return nested.typed(texts)
        assert isinstance(node, Scalar)
        return _READERS[node.kind](texts)


def _strings(texts: pa.Array) -> _Typed:
    return texts, np.ones(len(texts), bool)


def _booleans(texts: pa.Array) -> _Typed:
    lower = pc.ascii_lower(texts)
    true = pc.is_in(lower, pa.array(["true", "1"]))
    known = pc.is_in(lower, pa.array([*_BOOLEANS, None], pa.string()))
    return pc.if_else(pc.is_valid(texts), true, None), as_mask(known, False)


def _cast(pattern: str, type: pa.DataType) -> Callable[[pa.Array], _Typed]:
    def read(texts: pa.Array) -> _Typed:
        matches = pc.match_substring_regex(texts, pattern)
        sure = as_mask(matches, True)
        wanted = texts if sure.all() else pc.if_else(matches, texts, None)
        return wanted.cast(type), sure

    return read


_READERS: dict[str, Callable[[pa.Array], _Typed]] = {
    "string": _strings,
    "boolean": _booleans,
    "integer": _cast(_SURE_INTEGER, pa.int64()),
    "number": _cast(_SURE_NUMBER, pa.float64()),
}


class _Nested:
    """A column of JSON texts, judged text by text, each distinct one once."""

    def __init__(self, schema: dict[str, Any], name: str, node: Node) -> None:
        self._type = arrow_type(node)
        known = dialect(schema)
        # By a reference from outside, so that references inside the schema still start at its root.
        registry = jsonschema_rs.Registry([("urn:contract", schema)], draft=_DRAFTS[known])
        pointer = escape(name).replace("%", "%25").replace('"', "%22").replace(" ", "%20")
        self._is_valid = VALIDATORS[known](
            {"$ref": f"urn:contract#/properties/{pointer}"}, registry=registry, validate_formats=False
        ).is_valid
        self._convert = converter(node, escape(name))

    def typed(self, texts: pa.Array) -> _Typed:
        encoded = texts.dictionary_encode()
        values: list[Any] = []
        sure: list[bool] = []
        for text in encoded.dictionary.to_pylist():
            value, certain = self._judge(text)
            values.append(value)
            sure.append(certain)
        typed = pa.array(values, self._type).take(encoded.indices)
        return typed, as_mask(pc.take(pa.array(sure, pa.bool_()), encoded.indices), True)

    def _judge(self, text: str) -> tuple[Any, bool]:
        undeclared: Undeclared = {}
        try:
            parsed = _parsed(text)
            if self._is_valid(parsed):
                value = self._convert(parsed, "", undeclared)
                return (None, False) if undeclared else (value, True)
        except Rejected:
            pass
        return None, False


_DRAFTS = {"2020-12": jsonschema_rs.Draft202012, "draft-04": jsonschema_rs.Draft4}


def _parsed(text: str) -> Any:
    """The value of a JSON text, as `parse_text` has it. Raises Rejected.

    What comes out of the fast parser as it went in has no key twice, no number that it reads otherwise, and
    no half of a surrogate pair: none of what it is more lenient about.
    """
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        try:
            value = orjson.loads(text)
            if orjson.dumps(value).decode() == text:
                return value
        except (orjson.JSONDecodeError, TypeError):
            pass
    return parse_text(text)


def _unlisted(others: Mapping[str, pa.Array], size: int) -> _Typed:
    """The undeclared fields of each row as a canonical JSON object; null where it has none."""
    sure = np.ones(size, bool)
    members: list[pa.Array] = []
    for name in sorted(others, key=escape):
        texts = others[name]
        if texts.null_count == size:
            continue
        sure &= ~as_mask(pc.match_substring_regex(texts, _NEEDS_ESCAPE), False)
        key = f',{canonical(escape(name))}:"'
        member = pc.binary_join_element_wise(pa.scalar(key), texts, pa.scalar('"'), "")
        members.append(pc.fill_null(member, ""))  # `null_handling="skip"` of pyarrow 26 skips whole rows
    if not members:
        return pa.nulls(size, pa.string()), sure
    joined = pc.binary_join_element_wise(*members, "")
    objects = pc.binary_join_element_wise(
        pa.scalar("{"), pc.utf8_slice_codeunits(joined, 1), pa.scalar("}"), ""
    )
    return pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), objects), sure
