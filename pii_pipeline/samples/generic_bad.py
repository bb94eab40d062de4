"""Bad events for any contract: each kind takes a good event and breaks one thing, if contract and format have
it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from pii_pipeline.contracts.model import ARRIVAL, Contract, Rule
from pii_pipeline.contracts.record_type import join
from pii_pipeline.samples.planted import Planted
from pii_pipeline.samples.times import written
from pii_pipeline.samples.writing import Event, Writer

_LONGEST = 10_000
_EXACT = 2**53
_OLDEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Years of two digits go back about as far."""

Break = Callable[[Event, int], Iterator[Event]]
"""(copy of a good event, random number) → events in which something else is, one of which may be bad."""


class Breaker:
    """Breaks events that `writer` is to write, by kinds in turn, so that small samples have many kinds.

    `is_valid`: what the contract's schema says of an event as it will be read. `end`: when it arrives.
    """

    def __init__(
        self,
        contract: Contract,
        writer: Writer,
        is_valid: Callable[[Event], bool],
        end: datetime,
        contract_field: str | None,
        random: Random,
        planted: Planted,
    ) -> None:
        self._contract = contract
        self._writer = writer
        self._is_valid = is_valid
        self._end = end
        self._contract_field = contract_field
        self._random = random
        self._planted = planted
        # Without its reference a record is bad for that, whatever else it lacks.
        self._spared = contract_field.partition("/")[0] if contract_field else None
        self._rules = [rule for rule in contract.validations if rule.field != contract_field]
        self._kinds: list[tuple[str, str, Break | None]] = [
            ("torn", writer.torn_is, None),
            ("missing_field", "schema_violation", self._missing),
            ("wrong_value", "schema_violation", self._wrong),
            ("broken_rule", "rule_violation", self._against_a_rule),
            ("empty_key", "empty_key", self._keyless),
            ("too_old", "rule_violation", lambda event, number: self._at(event, -2 - number % 300)),
            ("in_future", "rule_violation", lambda event, number: self._at(event, 2 + number % 300)),
        ]
        self._next = 0

    def broken(self, event: Event) -> Event | bytes | None:
        """The event as a bad one, or as the bytes of one, and counted; None if it cannot be broken."""
        for turn in range(len(self._kinds)):
            kind, failure_type, make = self._kinds[(self._next + turn) % len(self._kinds)]
            number = self._random.getrandbits(31)
            made = self._writer.torn(event) if make is None else self._made(make, failure_type, event, number)
            if made is not None:
                self._next += turn + 1
                self._planted.add_bad(kind, failure_type)
                return made
        return None

    def _made(self, make: Break, failure_type: str, event: Event, number: int) -> Event | None:
        """What `make` makes of the event, if it is bad for that reason and no earlier one."""
        for changed in make(deepcopy(event), number):
            if self._is_valid(self._writer.as_read(changed)) == (failure_type != "schema_violation"):
                return changed
        return None

    def _missing(self, event: Event, number: int) -> Iterator[Event]:
        for name in _from(list(event), number):
            if name == self._spared:
                continue
            if join("", name) in self._writer.whole:
                yield event | {name: None}
            else:
                yield {key: value for key, value in event.items() if key != name}

    def _wrong(self, event: Event, number: int) -> Iterator[Event]:
        for name in _from(list(event), number):
            if name != self._spared:
                for other in self._writer.instead_of(event[name]):
                    yield event | {name: other}

    def _against_a_rule(self, event: Event, number: int) -> Iterator[Event]:
        for rule in _from(self._rules, number):
            found = _place(event, rule.field)
            if found is None:
                continue
            within, name = found
            before = within[name]
            for value in _against(rule, before):
                no_key = value == "" and rule.field == self._contract.key_field
                if not no_key and (not isinstance(value, str) or self._writer.can_hold(value)):
                    within[name] = value
                    yield event
            within[name] = before

    def _keyless(self, event: Event, _: int) -> Iterator[Event]:
        yield from self._with(event, self._contract.key_field, lambda before: "")

    def _at(self, event: Event, days: int) -> Iterator[Event]:
        """Longer before its arrival than may be, or as many days after it."""
        contract = self._contract
        try:
            moment = self._end + timedelta(days) - (contract.max_age if days < 0 else timedelta(0))
        except OverflowError:
            return
        if contract.time_field != ARRIVAL and moment > _OLDEST:
            yield from self._with(
                event, contract.time_field, lambda before: written(moment, contract, isinstance(before, str))
            )

    def _with(self, event: Event, path: str, change: Callable[[Any], Any]) -> Iterator[Event]:
        found = _place(event, path)
        if found is not None and found[0][found[1]] is not None:
            within, name = found
            value = change(within[name])
            if isinstance(value, type(within[name])):
                within[name] = value
                yield event


def _from(items: Sequence[Any], number: int) -> list[Any]:
    """All of them, beginning at any one."""
    start = number % len(items) if items else 0
    return [*items[start:], *items[:start]]


def _place(event: Event, path: str, above: str = "") -> tuple[Event, str] | None:
    """The record that has the field `path` in it, and the field's name there; None inside lists, or if it is
    not there."""
    for name, value in event.items():
        here = join(above, name)
        if here == path:
            return event, name
        if isinstance(value, dict) and path.startswith(f"{here}/"):
            return _place(value, path, here)
    return None


def _against(rule: Rule, value: Any) -> Iterator[Any]:
    """Values of the type of `value` that break the rule."""
    others: list[Any] = []
    if rule.not_empty and isinstance(value, str | list):
        others = [type(value)()]
    elif isinstance(value, str):
        low, high = rule.min_length or 0, rule.max_length or 0
        others = ["?", f"{value}?", "x" * min(high + 1, _LONGEST), "x" * min(low - 1, _LONGEST)]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        limits = [rule.min, rule.max, *(rule.enum or ())]
        known = [limit for limit in limits if isinstance(limit, int | float) and abs(limit) < _EXACT]
        others = [type(value)(limit + more) for limit in known for more in (-1, 1)]
    yield from (other for other in others if _breaks(rule, other))


def _breaks(rule: Rule, value: Any) -> bool:
    return (
        bool(rule.not_empty)
        or (rule.regex is not None and re.search(rule.regex, value) is None)
        or (rule.min is not None and value < rule.min)
        or (rule.max is not None and value > rule.max)
        or (rule.enum is not None and value not in rule.enum)
        or (rule.min_length is not None and 0 < len(value) < rule.min_length)
        or (rule.max_length is not None and len(value) > rule.max_length)
    )
