"""Two versions of a contract: what changed, for whom that matters, and which fields are protected less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Literal

import pyarrow as pa
import yaml

from pii_pipeline.contracts.columns import differences
from pii_pipeline.contracts.digest import meaning
from pii_pipeline.contracts.model import ARRIVAL, Contract
from pii_pipeline.contracts.protection import Direction, consent_direction
from pii_pipeline.contracts.schema_changes import schema_changes
from pii_pipeline.contracts.treatment_changes import treatment_changes
from pii_pipeline.contracts.treatments import Treatment

Step = Literal["major", "minor", "patch"]
"""Which number of a version is raised."""

_NAMES = ("contract", "state", "schema_file")
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_STEPS: tuple[Step, ...] = ("major", "minor", "patch")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: where in the contract, what it is about, and what stood there and stands there now.

    `protection`: what becomes of it. `refuses_old`: events of the old version may break the new one;
    `refuses_new`: the other way round. `breaks_readers`: a column of the lake is gone, or has another type.
    """

    place: str
    about: str
    before: str | None
    after: str | None
    protection: Direction | None = None
    refuses_old: bool = False
    refuses_new: bool = False
    breaks_readers: bool = False


@dataclass(frozen=True)
class Comparison:
    """What became of `old` in `new` (``handle/name/version``)."""

    old: Contract
    new: Contract
    changes: tuple[Change, ...]

    @property
    def weaker(self) -> tuple[Change, ...]:
        """Where less is protected than before."""
        return tuple(change for change in self.changes if change.protection == "weaker")

    @property
    def accepts_old_events(self) -> bool:
        """Whether every event that the old version accepts is valid under the new one, as far as can be told
        from what it declares."""
        return not any(change.refuses_old for change in self.changes)

    @property
    def accepts_new_events(self) -> bool:
        """Whether every event that the new version accepts is valid under the old one."""
        return not any(change.refuses_new for change in self.changes)

    @property
    def keeps_columns(self) -> bool:
        """Whether readers of the old table find their columns, with their types, in the new one."""
        return not any(change.breaks_readers for change in self.changes)

    @property
    def asked(self) -> Step | None:
        """The step between versions that the changes ask for: major if events are refused or columns break,
        minor for anything else that has to do with events, patch for the rest. None if all is the same."""
        if not self.accepts_old_events or not self.keeps_columns:
            return "major"
        return "minor" if self.changes else None if _content(self.old) == _content(self.new) else "patch"

    @property
    def made(self) -> Step | None:
        """The step that the version numbers make; None if the new one is no later version of the old one."""
        if self.old.identity != self.new.identity or self.new.version <= self.old.version:
            return None
        pairs = zip(_STEPS, self.old.version, self.new.version, strict=True)
        return next(step for step, before, after in pairs if before != after)

    @property
    def says_so(self) -> bool:
        """Whether the step that is made is at least the one that is asked for."""
        if self.asked is None:
            return True
        return self.made is not None and _STEPS.index(self.made) <= _STEPS.index(self.asked)

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "old": self.old.contract,
            "new": self.new.contract,
            "changes": [asdict(change) for change in self.changes],
            "weaker": [change.place for change in self.weaker],
            "accepts_old_events": self.accepts_old_events,
            "accepts_new_events": self.accepts_new_events,
            "keeps_columns": self.keeps_columns,
            "step_asked": self.asked,
            "step_made": self.made,
            "version_says_so": self.says_so,
        }


def compare(old: Contract, new: Contract, old_lake: pa.Schema, new_lake: pa.Schema) -> Comparison:
    """Every change from `old` to `new`, whose events the lake has in these columns. The version itself and
    the state are none, nor is what the schema says without effect (titles, examples, formats)."""
    changes = (
        *_settings(old, new),
        *_schema(old, new),
        *_treatments(old, new),
        *_rules(old, new),
        *_columns(old_lake, new_lake),
    )
    return Comparison(old, new, changes)


def _content(contract: Contract) -> tuple[Any, ...]:
    """What the contract says, whatever its version and state."""
    said = {key: value for key, value in meaning(contract).items() if key not in _NAMES}
    return said, contract.json_schema, contract.record


def _settings(old: Contract, new: Contract) -> Iterator[Change]:
    if old.identity != new.identity:
        yield Change("contract", "setting", old.identity, new.identity, "other")
    if old.time_field != new.time_field:
        yield Change(
            "time_field",
            "setting",
            old.time_field,
            new.time_field,
            refuses_old=new.time_field != ARRIVAL,
            refuses_new=old.time_field != ARRIVAL,
        )
    if old.time_format != new.time_format:
        before, after = old.time_format, new.time_format
        yield Change("time_format", "setting", before, after, refuses_old=True, refuses_new=True)
    if old.max_age != new.max_age:
        yield Change(
            "max_age",
            "setting",
            _said(old.max_age),
            _said(new.max_age),
            refuses_old=new.max_age < old.max_age,
            refuses_new=old.max_age < new.max_age,
        )
    if old.key_field != new.key_field:
        # What is in it so far may be empty, and an empty key is refused.
        before, after = old.key_field, new.key_field
        yield Change("key_field", "setting", before, after, "other", refuses_old=True, refuses_new=True)
    for name in ("time_zone", "event_id_field"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield Change(name, "setting", before, after)
    if old.consent != new.consent:
        before, after = old.consent, new.consent
        protection = consent_direction(before, after) if before and after else "other"
        yield Change("consent", "setting", _said(before), _said(after), protection)
    if old.data_subject != new.data_subject:
        # An erasure finds whom the contract names.
        protection = "weaker" if not new.data_subject else "other" if old.data_subject else "stronger"
        before, after = _said(old.data_subject), _said(new.data_subject)
        yield Change("data_subject", "setting", before, after, protection)


def _said(value: Any) -> str | None:
    """`value` as it is written in a contract, on one line."""
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, Treatment):
        said = meaning(value)
        name = said.pop("name")
        value = {name: said} if said else name
    elif value is not None:
        value = meaning(value)
    if value is None or isinstance(value, str):
        return value
    written = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return written.removesuffix("\n...\n").strip()


def _duration(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"


def _schema(old: Contract, new: Contract) -> Iterator[Change]:
    for found in schema_changes(old.json_schema, new.json_schema):
        before, after = found.before, found.after
        if found.about == "added":
            after = f"{after}, {_said(new.treatment(found.path))}"
        elif found.about == "removed":
            before = f"{before}, {_said(old.treatment(found.path))}"
        yield Change(
            f"schema.{found.path}" if found.path else "schema",
            found.about,
            before,
            after,
            refuses_old=found.narrower,
            refuses_new=found.wider,
        )


def _columns(old: pa.Schema, new: pa.Schema) -> Iterator[Change]:
    for path, before, after in differences(old, new):
        if before is not None:
            says = None if after is None else str(after)
            yield Change(f"lake.{path}", "column", str(before), says, breaks_readers=True)


def _treatments(old: Contract, new: Contract) -> Iterator[Change]:
    for found in treatment_changes(old, new):
        before, after = (f"{_said(treatment)}{whole}" for treatment, whole in (found.before, found.after))
        yield Change(found.place, "treatment", before, after, found.protection)


def _rules(old: Contract, new: Contract) -> Iterator[Change]:
    rules = (*old.validations, *new.validations)
    for field, kind in dict.fromkeys((rule.field, rule.kind) for rule in rules):
        before, after = _values(old, field, kind), _values(new, field, kind)
        gone = [value for value in before if value not in after]
        come = [value for value in after if value not in before]
        place = f"validations.{field}.{kind}"
        if len(gone) == len(come) == 1:
            narrower, wider = _TIGHTER[kind](gone[0], come[0])
            said = _said(gone[0]), _said(come[0])
            yield Change(place, "rule", *said, refuses_old=narrower, refuses_new=wider)
            continue
        for value in gone:
            yield Change(place, "rule", _said(value), None, refuses_new=True)
        for value in come:
            yield Change(place, "rule", None, _said(value), refuses_old=True)


def _values(contract: Contract, field: str, kind: str) -> list[Any]:
    """What the contract's rules of that kind on that field ask for."""
    mine = [rule for rule in contract.validations if (rule.field, rule.kind) == (field, kind)]
    return [getattr(rule, kind) for rule in mine]


def _least(before: Any, after: Any) -> tuple[bool, bool]:
    return after > before, after < before


def _most(before: Any, after: Any) -> tuple[bool, bool]:
    return after < before, after > before


_TIGHTER: dict[str, Callable[[Any, Any], tuple[bool, bool]]] = {
    "regex": lambda before, after: (True, True),
    "min": _least,
    "max": _most,
    "min_length": _least,
    "max_length": _most,
    "enum": lambda before, after: (not set(before) <= set(after), not set(after) <= set(before)),
}
"""Of a rule's check before and after: may it refuse what it let pass, and the other way round?"""
