"""The contract's own rules on values, one record at a time (decides) and a column at a time (accepts)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.model import Rule
from pii_pipeline.contracts.record_type import ListOf, Node, Scalar
from pii_pipeline.validation import checks
from pii_pipeline.validation.checks import Check, NotVectorisable
from pii_pipeline.validation.columns import Steps, column, value_at, values_at
from pii_pipeline.validation.patterns import to_re2

_WORDS = {
    "regex": "does not match the contract's regex",
    "min": "below the contract's minimum of {}",
    "max": "above the contract's maximum of {}",
    "enum": "none of the values that the contract lists",
    "min_length": "shorter than the contract's {}",
    "max_length": "longer than the contract's {}",
    "not_empty": "empty or missing",
}


class ValueRule:
    """One rule, compiled for the type of its field. Null passes every rule but `not_empty`."""

    def __init__(self, rule: Rule, steps: Steps, node: Node) -> None:
        self.path = rule.field
        self.kind = rule.kind
        self.message = _WORDS[rule.kind].format(getattr(rule, rule.kind))
        self._steps = steps
        self._passes = _predicate(rule)
        self._check = _vectorised(rule, node)

    def holds(self, record: dict[str, Any]) -> bool:
        """Do all values of the field in the parsed `record` pass?"""
        if None not in self._steps:
            return self._passes(value_at(record, self._steps))
        return all(self._passes(value) for value in values_at(record, self._steps))

    def accepts(self, rows: pa.StructArray) -> np.ndarray:
        """The typed rows in which all values of the field certainly pass (bool)."""
        values, owners = column(rows, self._steps)
        accepted = np.ones(len(rows), bool)
        accepted[owners[~self._check(values)]] = False
        return accepted


def _predicate(rule: Rule) -> Callable[[Any], bool]:
    limit: Any = getattr(rule, rule.kind)
    if rule.kind == "not_empty":
        return lambda value: value is not None and value != "" and value != []
    if rule.kind == "regex":
        search = re.compile(limit).search
        return lambda value: value is None or search(value) is not None
    if rule.kind == "min":
        return lambda value: value is None or value >= limit
    if rule.kind == "max":
        return lambda value: value is None or value <= limit
    if rule.kind == "min_length":
        return lambda value: value is None or len(value) >= limit
    if rule.kind == "max_length":
        return lambda value: value is None or len(value) <= limit
    allowed = {(isinstance(value, bool), value) for value in limit}  # True is not 1
    return lambda value: value is None or (isinstance(value, bool), value) in allowed


def _vectorised(rule: Rule, node: Node) -> Check:
    kind = node.kind if isinstance(node, Scalar) else "list" if isinstance(node, ListOf) else "record"
    try:
        if rule.not_empty:
            return checks.not_empty
        if rule.regex is not None:
            return _regex(rule.regex)
        if rule.min is not None or rule.max is not None:
            return checks.between(kind, rule.min, rule.max)
        if rule.enum is not None:
            return checks.one_of(kind, rule.enum)
        return checks.length(kind, rule.min_length or 0, rule.max_length)
    except NotVectorisable:
        return lambda values: np.zeros(len(values), bool)


def _regex(regex: str) -> Check:
    """RE2 over the column where it can say yes; Python's own `re.search` on what is left."""
    re2 = to_re2(regex, "python")
    search = re.compile(regex).search

    def check(values: pa.Array) -> np.ndarray:
        passed = np.zeros(len(values), bool) if re2 is None else checks.matches(re2)(values)
        if not passed.all():
            encoded = values.filter(pa.array(~passed)).dictionary_encode()
            found = pa.array(
                [search(text) is not None for text in encoded.dictionary.to_pylist()], pa.bool_()
            )
            passed[~passed] = checks.as_mask(pc.take(found, encoded.indices), True)
        return passed

    return check


def compile_rules(rules: tuple[Rule, ...], fields: dict[str, tuple[Steps, Node]]) -> list[ValueRule]:
    """The rules, in the contract's order; `fields` are those of `columns.steps_by_path`."""
    return [ValueRule(rule, *fields[rule.field]) for rule in rules]
