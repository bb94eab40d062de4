"""A second, slow opinion about records: reference libraries and plain Python, nothing of the pipeline's."""

import csv
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema

from pii_pipeline.contracts.model import Contract, Rule
from pii_pipeline.streams.loader import load_stream

STREAMS = Path(__file__).parents[3] / "streams"

csv.field_size_limit(1 << 22)


def contract_of(stream: str) -> Contract:
    return load_stream(STREAMS / stream).contract


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


def _constant(name: str) -> None:
    raise ValueError(name)


def _parsed(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)


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


def csv_records(content: bytes, delimiter: str = ",", encoding: str = "utf-8") -> list[str]:
    """The records of a CSV file as they stand there, the header too; Python's csv module says where they end.
    Bytes that cannot be decoded are halves of surrogate pairs."""
    lines = re.findall(r"[^\n]*\n", content.decode(encoding, "surrogateescape"))
    reader = csv.reader(lines, delimiter=delimiter)
    ends = [0, *(reader.line_num for _ in reader)]
    return ["".join(lines[begin:end]).rstrip("\r\n") for begin, end in pairwise(ends)]


def csv_fields(record: str, delimiter: str = ",") -> list[str] | None:
    """The fields of a record; None if it is not written as RFC 4180 says."""
    mark = re.escape(delimiter)
    field = rf'(?:"(?:[^"]|"")*"|[^"{mark}\r\n]*)'
    if not re.fullmatch(rf"{field}(?:{mark}{field})*", record):
        return None
    return next(csv.reader([record], delimiter=delimiter))


class Reference:
    """`judge` and its like give a record's failure type, or None for a good one."""

    def __init__(self, contract: Contract, arrival: datetime, max_record_bytes: int = 1_048_576) -> None:
        self.contract = contract
        self.schema = jsonschema.Draft202012Validator(contract.json_schema)
        self.arrival = arrival
        self.max_record_bytes = max_record_bytes

    def judge(self, record: bytes) -> str | None:
        """A JSON record."""
        if len(record) > self.max_record_bytes:
            return "too_large"
        try:
            text = record.decode()
        except UnicodeDecodeError:
            return "not_utf8"
        try:
            event = _parsed(text)
        except ValueError:
            return "not_json"
        return self.judge_event(event)

    def judge_event(self, event: Any) -> str | None:
        """An event as it was parsed."""
        if not self.schema.is_valid(event):
            return "schema_violation"
        if any(isinstance(value, int) and abs(value) >= 2**63 for value in event.values()):
            return "unrepresentable"
        if _values(event, self.contract.key_field)[0] in (None, ""):
            return "empty_key"
        if self.contract.time_field != "$arrival" and not self._in_time(event[self.contract.time_field]):
            return "rule_violation"
        for rule in self.contract.validations:
            if not all(_passes(value, rule) for value in _values(event, rule.field)):
                return "rule_violation"
        return None

    def judge_fields(self, record: str, columns: list[str], fields: list[str] | None) -> str | None:
        """A delimited record, its columns, and its fields if it has any."""
        raw = record.encode(errors="surrogateescape")
        if len(raw) > self.max_record_bytes:
            return "too_large"
        try:
            raw.decode()
        except UnicodeDecodeError:
            return "not_utf8"
        if fields is None or len(fields) != len(columns):
            return "malformed_record"
        try:
            return self.judge_event(self.event_of(dict(zip(columns, fields, strict=True))))
        except ValueError:
            return "not_json"

    def event_of(self, fields: dict[str, str]) -> dict[str, Any]:
        """What the fields' texts stand for; ValueError where JSON should be and is none."""
        return dict(self._values(fields))

    def _values(self, fields: dict[str, str]) -> Iterator[tuple[str, Any]]:
        for name, text in fields.items():
            if text:
                types = self.contract.json_schema["properties"][name].get("type", "json")
                kinds = {types} if isinstance(types, str) else set(types) - {"null"}
                yield name, _typed(text, kinds.pop() if len(kinds) == 1 else "json")

    def _in_time(self, value: str | int) -> bool:
        moment = self.moment(value)
        return (
            moment is not None
            and self.arrival - self.contract.max_age <= moment <= self.arrival + timedelta(hours=1)
        )

    def moment(self, value: str | int) -> datetime | None:
        """The time that a value names, if any."""
        if isinstance(value, int):
            per_second = {"epoch_s": 1, "epoch_us": 1_000_000}.get(self.contract.time_format or "", 1_000)
            return datetime.fromtimestamp(value / per_second, UTC)
        try:
            if self.contract.time_format is None:
                moment = datetime.fromisoformat(value)
            else:
                moment = datetime.strptime(value, self.contract.time_format)
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(self.contract.time_zone))


def _typed(text: str, kind: str) -> Any:
    if kind == "string":
        return text
    if kind == "boolean":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if kind == "integer":
        return int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else text
    if kind == "number":
        plain = re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?", text)
        return float(text) if plain and abs(float(text)) != float("inf") else text
    return _parsed(text)
