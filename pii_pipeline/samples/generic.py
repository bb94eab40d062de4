"""Events for any contract, made from its JSON Schema and rules: to start a new stream with."""

from __future__ import annotations

import math
import re
import string
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import groupby
from random import Random
from typing import Any

import numpy as np

from pii_pipeline.contracts.model import Contract, Rule
from pii_pipeline.contracts.record_type import join
from pii_pipeline.contracts.schema import VALIDATORS, dialect, resolve
from pii_pipeline.contracts.treatments import Keep
from pii_pipeline.formats.kinds import Format
from pii_pipeline.samples.errors import UnsatisfiableError
from pii_pipeline.samples.generic_bad import Breaker
from pii_pipeline.samples.patterns import TooHardError, compile_pattern
from pii_pipeline.samples.people import USER_AGENTS, addresses, people, user_ids
from pii_pipeline.samples.planted import Planted
from pii_pipeline.samples.planting import BAD
from pii_pipeline.samples.times import written
from pii_pipeline.samples.writing import Event, Writer, writer_of

SLICE = 5_000
_TRIES = 50
_DEEPEST = 8  # optional parts of a schema that contains itself end here
_PEOPLE = 50
_NONE_LEFT = "what else is asked of it leaves none"
_SHORT = 8  # letters of a text that is no word
_WORDS = ("amber", "birch", "cobalt", "dune", "ember", "fjord", "grove", "harbour", "indigo", "juniper")
_PRIVATE_WORDS = ("anchor", "beacon", "castle", "dragon", "falcon", "garnet", "hazel", "ivory", "jasper")


def generate_generic(
    contract: Contract,
    events: int,
    seed: int,
    end: datetime,
    planted: Planted,
    format: Format,
    contract_field: str | None = None,
    bad: float = BAD,
) -> Iterator[bytes]:
    """Blocks of an object in `format`, `events` records in all; the same for the same arguments.

    `contract_field`: where the records say which contract they follow. `bad`: the share of bad records, as
    far as contract and format allow any. Times of the good ones lie in the hour before `end`, in order, and
    none is older than the contract allows. Raises UnsatisfiableError.
    """
    writer = writer_of(contract, format)
    random = Random(f"{seed} {events} {end.timestamp()}")
    maker = _Maker(contract, random, max(1, events // 8), writer, contract_field)
    schema = contract.json_schema
    valid = VALIDATORS[dialect(schema)](schema, validate_formats=False, offline=True)
    spoils = Random(f"bad {seed} {events} {end.timestamp()}")  # the good ones are the same without them
    breaker = Breaker(contract, writer, valid.is_valid, end, contract_field, spoils, planted)
    span = min(timedelta(hours=1), contract.max_age)
    yield writer.begin()
    for first in range(0, events, SLICE):
        count = min(SLICE, events - first)
        records: list[Event | bytes] = []
        for number in range(first, first + count):
            record = maker.event(end - span * (1 - number / events))
            for error in valid.iter_errors(writer.as_read(record)):
                # The schema asks for something that this module does not know: the place says what.
                path, demand = "/".join(map(str, error.instance_path)), str(error.schema_path[-1])
                if demand in ("enum", "const"):
                    raise UnsatisfiableError(path, f"`{demand}`", _NONE_LEFT)
                raise UnsatisfiableError(path, f"`{demand}`")
            broken = breaker.broken(record) if spoils.random() < bad else None
            records.append(record if broken is None else broken)
        planted.records += count
        yield _written(records, writer)


def _written(records: Sequence[Event | bytes], writer: Writer) -> bytes:
    """The records in their order; some are bytes already."""
    blocks: list[bytes] = []
    for is_event, group in groupby(records, lambda record: isinstance(record, dict)):
        alike = list(group)
        blocks += [writer.write(alike)] if is_event else alike  # type: ignore[arg-type, list-item]
    return b"".join(blocks)


class _Maker:
    def __init__(
        self, contract: Contract, random: Random, keys: int, writer: Writer, contract_field: str | None
    ) -> None:
        self.contract = contract
        self.writer = writer
        self.contract_field = contract_field
        self.schema = contract.json_schema
        self.random = random
        self.rules: dict[str, list[Rule]] = {}
        for rule in contract.validations:
            self.rules.setdefault(rule.field, []).append(rule)
        self.time_field = contract.time_field
        self.id_field = contract.event_id_field
        self.key_field = contract.key_field
        self.keys = keys
        self.consent = contract.consent.field if contract.consent else None
        self.words_of_consent = tuple((contract.consent and contract.consent.values) or ())
        self.needed = {
            path
            for path in (contract.time_field, contract.key_field, contract.event_id_field, contract_field)
            if path
        }
        self.needed |= {rule.field for rule in contract.validations if rule.not_empty}
        self.moment = datetime.min.replace(tzinfo=UTC)

    def event(self, moment: datetime) -> Any:
        """One event that happened at `moment`."""
        self.moment = moment
        return self._value(self.schema, "", 0)

    def _is_needed(self, path: str) -> bool:
        return any(field == path or field.startswith((f"{path}/", f"{path}[]")) for field in self.needed)

    def _value(self, schema: Any, path: str, depth: int) -> Any:
        schema = self._flat(schema)
        special = self._special(schema, path)
        if special is not None:
            return special
        allowed = [schema["const"]] if "const" in schema else schema.get("enum") or schema.get("examples")
        for listed in _all(self.rules.get(path, []), "enum"):
            allowed = [value for value in allowed if value in listed] if allowed else list(listed)
        if allowed:
            return self._first_fit((self.random.choice(allowed) for _ in range(_TRIES)), schema, path)
        kind = self._kind(schema, path)
        if kind == "object":
            return self._record(schema, path, depth)
        if kind == "array":
            return self._list(schema, path, depth)
        if kind == "string":
            return self._text(schema, path)
        if kind in ("integer", "number"):
            return self._number(schema, path, whole=kind == "integer")
        return self.random.random() < 0.5 if kind == "boolean" else None

    def _flat(self, schema: Any) -> dict[str, Any]:
        """`schema` with references followed, its `allOf` and one of `anyOf` or `oneOf` laid over."""
        found = resolve(schema, self.schema)
        if not isinstance(found, dict):
            return {}
        parts = list(found.get("allOf", []))
        parts += [self.random.choice(found[word]) for word in ("anyOf", "oneOf") if found.get(word)]
        for part in map(self._flat, parts):
            properties = found.get("properties", {}) | part.get("properties", {})
            required = [*found.get("required", []), *part.get("required", [])]
            found = found | part | {"properties": properties, "required": required}
        return found

    def _kind(self, schema: dict[str, Any], path: str) -> str:
        types = schema.get("type") or ("object" if schema.get("properties") or path == "" else "string")
        types = [types] if isinstance(types, str) else list(types)
        kinds = [kind for kind in types if kind != "null"]
        optional = "null" in types and not self._is_needed(path)
        return "null" if not kinds or (optional and self.random.random() < 0.2) else self.random.choice(kinds)

    def _special(self, schema: dict[str, Any], path: str) -> Any:
        """The value of a field with a part to play, or None."""
        types = schema.get("type", "string")
        text = types == "string" or "string" in types
        if path and path == self.contract_field:
            return self.contract.contract
        if path == self.time_field:
            return written(self.moment, self.contract, text)
        if path == self.id_field:
            if not text:
                return self._fitting([self.random.getrandbits(52)], schema, path)
            unique = uuid.UUID(int=self.random.getrandbits(128), version=4)
            return self._fitting([str(unique), self._cut(unique.hex, schema, path)], schema, path)
        if path == self.key_field and text:
            key = self.random.randrange(self.keys)
            return self._fitting([f"key-{key}", self._cut(str(key), schema, path)], schema, path)
        if path == self.consent and self.words_of_consent and text:
            word = self.random.choice(self.words_of_consent)
            return word if self._fits(word, schema, path) else None
        if path == self.consent and "array" in types:
            return self.random.choice(([], [1], [1, 2], [1, 2, 3]))
        return None

    def _record(self, schema: dict[str, Any], path: str, depth: int) -> dict[str, Any]:
        required = schema.get("required", [])
        record: dict[str, Any] = {}
        for name, part in schema.get("properties", {}).items():
            inside = join(path, name)
            wanted = depth < _DEEPEST and self.random.random() < 0.85
            if not path and name in required:
                record[name] = self._lasting(name, part)
            elif name in required or self._is_needed(inside) or wanted or inside in self.writer.whole:
                record[name] = self._value(part, inside, depth + 1)
        return record

    def _lasting(self, name: str, schema: Any) -> Any:
        """A value of the event's field `name` that is still there when the event is read."""
        for _ in range(_TRIES):
            value = self._value(schema, join("", name), 1)
            if self.writer.as_read({name: value}):
                return value
        raise UnsatisfiableError(join("", name), "a required field that cannot be empty")

    def _list(self, schema: dict[str, Any], path: str, depth: int) -> list[Any]:
        rules = self.rules.get(path, [])
        low = max([schema.get("minItems", 0), int(self._is_needed(path)), *_all(rules, "min_length")])
        high = min([schema.get("maxItems", math.inf), *_all(rules, "max_length")])
        size = low if depth >= _DEEPEST else self.random.randint(low, max(low, min(high, low + 3)))
        items = schema.get("items", {})
        fixed = schema.get("prefixItems", items if isinstance(items, list) else [])
        rest = schema.get("additionalItems", {}) if isinstance(items, list) else items
        values: list[Any] = []
        for _ in range(_TRIES * (size + 1)):
            if len(values) == size:
                break
            part = fixed[len(values)] if len(values) < len(fixed) else rest
            value = self._value(part, f"{path}[]", depth + 1)
            if not schema.get("uniqueItems") or value not in values:
                values.append(value)
        return values

    def _number(self, schema: dict[str, Any], path: str, whole: bool) -> int | float:
        rules = self.rules.get(path, [])
        step = schema.get("multipleOf", 1 if whole else 0.01)
        nudge = 1 if whole else step
        low = _limit(schema, "minimum", "exclusiveMinimum", nudge, max, _all(rules, "min"))
        high = _limit(schema, "maximum", "exclusiveMaximum", -nudge, min, _all(rules, "max"))
        low = (0 if high is None else min(0, high - 100 * step)) if low is None else low
        high = low + 1000 * step if high is None else high
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if first > last:
            raise UnsatisfiableError(path, "its least and greatest value")
        value = self.random.randint(first, last) * step
        return round(value) if whole else round(value, 9)

    def _text(self, schema: dict[str, Any], path: str) -> str:
        return self._first_fit(self._texts(schema, path), schema, path)

    def _texts(self, schema: dict[str, Any], path: str) -> Iterator[str]:
        """Texts that may do, the likeliest first."""
        named = self._named.get(schema.get("format", "")) or self._named.get(path.rpartition("/")[2].lower())
        if named is not None:
            yield named()
        # What is kept and what is treated never say the same by accident: the leak gate would wonder.
        if not isinstance(self.contract.treatment(path), Keep):
            yield f"{self.random.choice(_PRIVATE_WORDS)}-{self.random.randrange(1000, 10_000)}"
            yield self.random.choice(_PRIVATE_WORDS)
        else:
            yield f"{self.random.choice(_WORDS)} {self.random.choice(_WORDS)}"
            yield self.random.choice(_WORDS)
        low, high = self._lengths(schema, path)
        for size in (max(low, min(high, _SHORT)), low):
            if size < 100_000:
                yield "".join(self.random.choices(string.ascii_lowercase, k=int(size)))
        for pattern in self._patterns(schema, path):
            try:
                make = compile_pattern(pattern)
            except TooHardError:
                continue
            for _ in range(_TRIES):
                yield make(self.random)

    @cached_property
    def _named(self) -> dict[str, Callable[[], str]]:
        """Believable texts by a field's name or format."""
        random, who, ids = self.random, people(np.arange(_PEOPLE)), user_ids(np.arange(_PEOPLE))
        networks = addresses(200)
        ipv4 = [address for address in networks if "." in address]
        ipv6 = [address for address in networks if ":" in address]
        return {
            "email": lambda: random.choice(who).email,
            "phone": lambda: random.choice(who).phone,
            "city": lambda: random.choice(who).city,
            "street": lambda: random.choice(who).street,
            "user_id": lambda: random.choice(ids),
            "user_agent": lambda: random.choice(USER_AGENTS),
            "ip": lambda: random.choice(networks),
            "ipv4": lambda: random.choice(ipv4),
            "ipv6": lambda: random.choice(ipv6),
            "uuid": lambda: str(uuid.UUID(int=random.getrandbits(128), version=4)),
            "uri": lambda: f"https://www.example.com/{random.choice(_WORDS)}?page={random.randint(1, 9)}",
            "page_url": lambda: f"https://www.example.com/{random.choice(_WORDS)}?utm_source=newsletter",
            "date": lambda: self.moment.date().isoformat(),
            "time": lambda: f"{self.moment:%H:%M:%S}Z",
            "date-time": lambda: self.moment.astimezone(UTC).isoformat(timespec="seconds"),
            "hostname": lambda: "www.example.com",
        }

    def _patterns(self, schema: dict[str, Any], path: str) -> list[str]:
        return [
            *([schema["pattern"]] if "pattern" in schema else []),
            *_all(self.rules.get(path, []), "regex"),
        ]

    def _fits(self, value: Any, schema: dict[str, Any], path: str) -> bool:
        listed = [schema["enum"]] if "enum" in schema else []
        listed += [[schema["const"]]] if "const" in schema else []
        if any(value not in allowed for allowed in (*listed, *_all(self.rules.get(path, []), "enum"))):
            return False
        if not isinstance(value, str):
            return True
        low, high = self._lengths(schema, path)
        if not self.writer.can_hold(value) or not low <= len(value) <= high:
            return False
        return all(re.search(pattern, value) for pattern in self._patterns(schema, path))

    def _lengths(self, schema: dict[str, Any], path: str) -> tuple[int, float]:
        """The least and the greatest length of a text."""
        rules = self.rules.get(path, [])
        low = max([schema.get("minLength", 0), int(self._is_needed(path)), *_all(rules, "min_length")])
        return int(low), min([schema.get("maxLength", math.inf), *_all(rules, "max_length")])

    def _cut(self, text: str, schema: dict[str, Any], path: str) -> str:
        """The end of `text`, with zeros before it where it is too short."""
        low, high = self._lengths(schema, path)
        return text.zfill(low)[-int(min(high, low + len(text))) :]

    def _fitting(self, values: Sequence[Any], schema: dict[str, Any], path: str) -> Any:
        """The first of `values` that fits, or None."""
        return next((value for value in values if self._fits(value, schema, path)), None)

    def _first_fit(self, values: Any, schema: dict[str, Any], path: str) -> Any:
        for value in values:
            if self._fits(value, schema, path):
                return value
        if "enum" in schema or "const" in schema:
            raise UnsatisfiableError(path, "`enum` or `const`", _NONE_LEFT)
        raise UnsatisfiableError(path, "its pattern, length and characters together")


def _all(rules: list[Rule], kind: str) -> list[Any]:
    return [getattr(rule, kind) for rule in rules if rule.kind == kind]


def _limit(
    schema: dict[str, Any],
    inclusive: str,
    exclusive: str,
    nudge: float,
    strictest: Callable[[list[float]], float],
    of_rules: list[float],
) -> float | None:
    """The strictest of a number's lower (or upper) bounds; None if there is none. `exclusive` is a bound of
    its own in 2020-12 and a flag of the other in draft-04; what it excludes is passed by `nudge`."""
    bounds = list(of_rules)
    strict = schema.get(exclusive, False)
    if inclusive in schema:
        bounds.append(schema[inclusive] + (nudge if strict is True else 0))
    if not isinstance(strict, bool):
        bounds.append(strict + nudge)
    return strictest(bounds) if bounds else None
