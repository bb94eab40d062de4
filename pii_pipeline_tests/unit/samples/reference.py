"""A second, slow opinion about records: reference libraries and plain Python, nothing of the pipeline's."""

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema

from pii_pipeline.contracts.model import Contract, Rule
from pii_pipeline.streams.loader import load_stream

STREAMS = Path(__file__).parents[3] / "streams"


def contract_of(stream: str) -> Contract:
    return load_stream(STREAMS / stream).contract


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


def _constant(name: str) -> None:
    raise ValueError(name)


def _values(value: Any, path: str) -> list[Any]:
    """What is at `path`; absent is null."""
    if not path:
        return [value]
    part, _, rest = path.partition("/")
    name = part.removesuffix("[]")
    found = value.get(name) if isinstance(value, dict) else None
    elements = (found or []) if part.endswith("[]") else [found]
    return [inner for element in elements for inner in _values(element, rest)]


def _passes(value: Any, rule: Rule) -> bool:
    if rule.not_empty:
        return value not in (None, "", [])
    if value is None:
        return True
    return (
        (rule.regex is None or re.search(rule.regex, value) is not None)
        and (rule.min is None or value >= rule.min)
        and (rule.max is None or value <= rule.max)
        and (rule.enum is None or value in rule.enum)
        and (rule.min_length is None or len(value) >= rule.min_length)
        and (rule.max_length is None or len(value) <= rule.max_length)
    )


class Reference:
    """`judge` gives a record's failure type, or None for a good one."""

    def __init__(self, contract: Contract, arrival: datetime, max_record_bytes: int = 1_048_576) -> None:
        self.contract = contract
        self.schema = jsonschema.Draft202012Validator(contract.json_schema)
        self.arrival = arrival
        self.max_record_bytes = max_record_bytes

    def judge(self, record: bytes) -> str | None:
        if len(record) > self.max_record_bytes:
            return "too_large"
        try:
            text = record.decode()
        except UnicodeDecodeError:
            return "not_utf8"
        try:
            event = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
        except ValueError:
            return "not_json"
        if not self.schema.is_valid(event):
            return "schema_violation"
        if _values(event, self.contract.key_field)[0] in (None, ""):
            return "empty_key"
        if self.contract.time_field != "$arrival":
            moment = datetime.fromisoformat(event[self.contract.time_field])
            if not self.arrival - self.contract.max_age <= moment <= self.arrival + timedelta(hours=1):
                return "rule_violation"
        for rule in self.contract.validations:
            if not all(_passes(value, rule) for value in _values(event, rule.field)):
                return "rule_violation"
        if abs(event.get("loyalty_number") or 0) >= 2**63:
            return "unrepresentable"
        return None
