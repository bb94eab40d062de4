"""The verdict of the JSON Schema on one parsed record, and its reason in words that quote nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jsonschema_rs

from pii_pipeline.contracts.record_type import ListOf, Node, Record, join
from pii_pipeline.contracts.schema import VALIDATORS, dialect
from pii_pipeline.validation.failures import Rejected, and_more

ALL_REASONS_UP_TO = 64 * 1024
"""Bytes of a record up to which every reason is looked for: one costs some 10 µs, and a record can have
about as many as it has bytes. Of a larger one only the first is."""

_WORDS = {
    "required": "a required field is missing",
    "minimum": "below the minimum of {limit}",
    "exclusiveMinimum": "not above the limit of {limit}",
    "maximum": "above the maximum of {limit}",
    "exclusiveMaximum": "not below the limit of {limit}",
    "minLength": "shorter than {limit} characters",
    "maxLength": "longer than {limit} characters",
    "minItems": "fewer than {limit} elements",
    "maxItems": "more than {limit} elements",
    "minProperties": "fewer than {limit} keys",
    "maxProperties": "more than {limit} keys",
    "pattern": "does not match the schema's pattern",
    "enum": "none of the values that the schema lists",
    "const": "not the value that the schema demands",
    "additionalProperties": "has a key that the schema does not allow",
    "uniqueItems": "has an element twice",
}


class SchemaCheck:
    """A contract's JSON Schema, compiled. `format` is not asserted, as in the reference library."""

    def __init__(self, schema: dict[str, Any], record: Record) -> None:
        self._validator = VALIDATORS[dialect(schema)](schema, validate_formats=False, offline=True)
        self._record = record

    def check(self, record: dict[str, Any], size: int) -> None:
        """Raises Rejected (schema_violation) if `record`, of `size` bytes, is not valid."""
        if self._validator.is_valid(record):
            return
        errors = self._validator.iter_errors(record) if size <= ALL_REASONS_UP_TO else self._first(record)
        reasons = sorted(self._reason(error) for error in errors)
        path, rule, message = reasons[0]
        raise Rejected("schema_violation", path, rule, and_more(message, len(reasons) - 1))

    def _first(self, record: dict[str, Any]) -> list[jsonschema_rs.ValidationError]:
        try:
            self._validator.validate(record)
        except jsonschema_rs.ValidationError as error:
            return [error]
        return []

    def _reason(self, error: jsonschema_rs.ValidationError) -> tuple[str, str, str]:
        """(path, rule, message) of one error. Of the error's parts, only those that the schema's author
        wrote are used."""
        rule = error.kind.name
        last = error.schema_path[-1] if error.schema_path else ""
        path = declared_path(self._record, error.instance_path)
        if rule == "falseSchema":
            rule = "additionalProperties" if last == "additionalProperties" else "false"
        details = error.kind.as_dict()
        if rule == "required":
            path = join(path, details["property"])
        if rule == "type":
            return path, rule, f"not of type {' or '.join(details['types'])}"
        words = _WORDS.get(rule, f"breaks the schema's keyword {rule}")
        return path, rule, words.format(limit=details.get("limit"))


def declared_path(record: Record, instance_path: Iterable[str | int]) -> str:
    """The schema's path of the place that `instance_path` leads to, as far as its names are declared."""
    node: Node | None = record
    path = ""
    for step in instance_path:
        if isinstance(node, ListOf) and isinstance(step, int):
            node, path = node.element, path + "[]"
        elif isinstance(node, Record) and isinstance(step, str) and (child := node.get(step)) is not None:
            node, path = child, join(path, step)
        else:
            break
    return path
