"""The strict path: one record, judged by the parser, the JSON Schema and the contract's rules in full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pii_pipeline.contracts.model import ARRIVAL, Contract
from pii_pipeline.contracts.record_type import Node
from pii_pipeline.validation.columns import Steps, split, value_at
from pii_pipeline.validation.failures import Rejected, and_more
from pii_pipeline.validation.parsing import parse_record
from pii_pipeline.validation.rows import RowMaker
from pii_pipeline.validation.rules import ValueRule
from pii_pipeline.validation.schema_check import SchemaCheck
from pii_pipeline.validation.text_fields import to_values
from pii_pipeline.validation.times import Times


@dataclass(frozen=True, slots=True, repr=False)
class Judged:
    """A valid record: its typed row, what was undeclared in it, and its event time (µs since 1970, UTC)."""

    row: dict[str, Any]
    unlisted: str | None
    time: int


class StrictPath:
    """Gives the verdict on one record, and the reason."""

    def __init__(
        self,
        contract: Contract,
        contract_field: str | None,
        fields: dict[str, tuple[Steps, Node]],
        rules: list[ValueRule],
    ) -> None:
        self._contract = contract
        self._contract_field = contract_field
        self._contract_steps = split(contract_field) if contract_field else None
        subject = contract.data_subject
        self._subject_steps = split(subject.field) if subject else None
        self._key_steps = fields[contract.key_field][0]
        self._time_steps = None if contract.time_field == ARRIVAL else fields[contract.time_field][0]
        self._times = Times(contract.time_format, contract.time_zone)
        self._schema = SchemaCheck(contract.json_schema, contract.record)
        self._rows = RowMaker(contract.record)
        self._rules = rules

    def judge(self, raw: bytes, arrival: int, earliest: int, latest: int) -> Judged:
        """A JSON record as a row; times are µs since 1970 (UTC). Raises Rejected with the first reason."""
        return self._judge(parse_record(raw), len(raw), arrival, earliest, latest)

    def judge_texts(
        self, texts: Mapping[str, str | None], size: int, arrival: int, earliest: int, latest: int
    ) -> Judged:
        """The same of a delimited record of `size` bytes, by the texts of its fields."""
        try:
            record = to_values(texts, self._contract.record)
        except Rejected as rejected:
            rejected.subject = self._subject(texts)
            raise
        return self._judge(record, size, arrival, earliest, latest)

    def _judge(self, record: dict[str, Any], size: int, arrival: int, earliest: int, latest: int) -> Judged:
        try:
            self._check_contract(record)
            self._schema.check(record, size)
            row, unlisted = self._rows.make(record)
            if value_at(record, self._key_steps) in (None, ""):
                raise Rejected("empty_key", self._contract.key_field, "key_field", "the key field is empty")
            return Judged(row, unlisted, self._check_rules(record, arrival, earliest, latest))
        except Rejected as rejected:
            rejected.subject = self._subject(record)
            raise

    def _check_contract(self, record: dict[str, Any]) -> None:
        if self._contract_field is None or self._contract_steps is None:
            return
        if value_at(record, self._contract_steps) != self._contract.contract:
            message = f"the record does not say that it follows {self._contract.contract}"
            raise Rejected("unknown_contract", self._contract_field, "contract", message)

    def _check_rules(self, record: dict[str, Any], arrival: int, earliest: int, latest: int) -> int:
        """The event time of a record that keeps every rule of the contract."""
        broken = [(rule.path, rule.kind, rule.message) for rule in self._rules if not rule.holds(record)]
        time: int | None = arrival
        if self._time_steps is not None:
            time = self._times.parse(value_at(record, self._time_steps))
            if time is None:
                message = self._times.expected
                broken.append((self._contract.time_field, "time_format", message))
            elif not earliest <= time <= latest:
                message = "too long before its arrival" if time < earliest else "after its arrival"
                broken.append((self._contract.time_field, "time_bounds", message))
        if broken or time is None:
            path, rule, message = broken[0]
            raise Rejected("rule_violation", path, rule, and_more(message, len(broken) - 1))
        return time

    def _subject(self, record: Mapping[str, Any]) -> str | None:
        value = value_at(record, self._subject_steps) if self._subject_steps else None
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            return None
        return str(value)
