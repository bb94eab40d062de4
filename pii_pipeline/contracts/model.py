"""The data contract: what a stream's events look like and what is done to each of their fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pii_pipeline.contracts.record_type import Node, Record, Scalar, parent, walk
from pii_pipeline.contracts.time_format import TimeFormat
from pii_pipeline.contracts.treatments import (
    AnyTreatment,
    Encrypt,
    Pseudonymize,
    SelfDescribing,
    Treatment,
)

ARRIVAL = "$arrival"
"""As `time_field`: the moment the landing object arrived, as the ledger knows it."""

LONGEST = timedelta(days=365_000)
"""A thousand years: dates that far back can still be written."""

_DURATION = re.compile(r"(\d+)\s*(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(value: Any) -> Any:
    """``7d``, ``36h``, ``15m``, ``30s`` as a timedelta; a timedelta passes."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    try:
        duration = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta(0)
    except (OverflowError, ValueError):  # more than a timedelta, or than int() reads
        duration = timedelta.max
    if not duration:
        raise ValueError("not a duration; write a whole number above 0 and a unit: 30s, 15m, 36h, 7d")
    if duration > LONGEST:
        raise ValueError(f"longer than {LONGEST.days} days; write {LONGEST.days}d if it has no end")
    return duration


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


def _time_format(text: str) -> str:
    TimeFormat.parse(text)
    return text


def known_time_zone(name: str) -> str:
    """`name` if it is an IANA name of a time zone. Raises ValueError, problem and mend, for others."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: the name of a folder of zones
        near = get_close_matches(name, available_timezones(), n=1)
        mend = f"did you mean `{near[0]}`?" if near else "write its IANA name: Europe/Amsterdam"
        raise ValueError(f"unknown time zone `{name}`; {mend}") from None
    return name


class Model(BaseModel):
    """Base of everything read from YAML: frozen, and a misspelt key is an error.

    What stands below a field is its meaning, for the reader here and in docs/contract-reference.md.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DataSubject(Model):
    """Whom an erasure names. The same id in another namespace is another person."""

    field: str
    """Path of a text or whole number outside lists. `42` and `"42"` are one id."""
    namespace: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Whose ids these are. One id in one namespace is one person, in all streams."""


Level = Annotated[int, Field(ge=0, le=1_000_000)]


class Consent(Model):
    """What the data subject of an event agreed to: levels of one scale, or purposes. What is malformed is no
    consent."""

    type: Literal["cumulative", "granular"]
    """`granular`: each number is a purpose agreed to. `cumulative`: the highest number is a level, and holds
    for all below it."""
    field: str | None = None
    """Path, outside lists, of where the event says so: in a list of whole numbers, a whole number, or text
    such as `[1,2]` or `1`; with `values`, in words. Without it `default` holds for all events."""
    values: dict[str, tuple[Level, ...]] | None = Field(default=None, min_length=1)
    """Word → the numbers that it means: `{marketing: [1, 2], 'no': []}`. A word that is not listed is no
    consent."""
    default: tuple[Level, ...] | None = Field(default=None, min_length=1)
    """What holds for an event that says nothing (null or absent). Without it, that is no consent."""

    @model_validator(mode="after")
    def _says_something(self) -> Consent:
        if self.field is None and self.values is not None:
            raise ValueError("`values` are of no field; add `field:`, the events' own field of consent")
        if self.field is None and self.default is None:
            raise ValueError(
                "says nobody's consent; add `field:`, or `default: [1]` for consent of all events"
            )
        return self


class Rule(Model):
    """A value rule beyond the schema: exactly one of the checks, on one field. Null passes every rule but
    `not_empty`, which wants a value that is neither null nor "" nor []."""

    field: str
    """Path of the field that is looked at."""
    regex: str | None = None
    """For text: found anywhere in it, as by Python's `re.search`."""
    min: float | None = Field(default=None, allow_inf_nan=False)
    """For numbers: the least allowed."""
    max: float | None = Field(default=None, allow_inf_nan=False)
    """For numbers: the greatest allowed."""
    enum: tuple[str | int | float | bool, ...] | None = None
    """For text, numbers and booleans: the values allowed."""
    min_length: int | None = Field(default=None, ge=0)
    """For text (characters) and lists (elements)."""
    max_length: int | None = Field(default=None, ge=0)
    """For text (characters) and lists (elements)."""
    not_empty: bool | None = None
    """`true`: neither null nor `""` nor `[]`."""

    @model_validator(mode="after")
    def _one_check(self) -> Rule:
        given = [name for name in _RULES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"not exactly one check; write one rule each for {', '.join(_RULES)}")
        if self.not_empty is False:
            raise ValueError("`not_empty: false` checks nothing; remove the rule")
        if self.regex is not None:
            try:
                re.compile(self.regex)
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f"not a regular expression ({error}); mend the regex") from None
        return self

    @property
    def kind(self) -> str:
        """The name of the rule's check: regex, min, max, enum, min_length, max_length or not_empty."""
        return next(name for name in _RULES if getattr(self, name) is not None)


_RULES = ("regex", "min", "max", "enum", "min_length", "max_length", "not_empty")


class Contract(Model):
    """One version of a data contract, with its schema loaded and its digest taken.

    `record` is the type compiled from the schema, `descriptions` what the schema says of the field at a path;
    `digest` changes when anything that matters to the output does; `file` is where the contract stands.
    """

    contract: str = Field(pattern=r"^[a-z0-9_-]+/[a-z0-9_-]+/\d+\.\d+\.\d+$")
    """handle/name/version: `acme/webshop-click/1.0.0`."""
    state: Literal["draft", "in_review", "approved", "active", "archived"]
    """Where the contract is in its life. Only active ones are used, and their files do not change."""
    schema_file: str = Field(alias="schema")
    """The schema's file, beside the contract: JSON Schema (`.json`), Avro (`.avsc`) or Simple Schema
    (`.yaml`)."""
    time_field: str
    """Path of the event's time, a text or whole number; or `$arrival`: the moment its landing object was
    last modified, clamped into the hour of arrival."""
    time_format: Annotated[str, AfterValidator(_time_format)] | None = None
    """How the time is written: with `%Y %m %d %H %M %S %f %z %%`, the rest standing for itself
    (`%d/%m/%Y %H:%M`), or `epoch_s`, `epoch_ms`, `epoch_us` for whole numbers since 1970. Without it: RFC
    3339 text, or milliseconds since 1970."""
    time_zone: Annotated[str, AfterValidator(known_time_zone)] = "UTC"
    """IANA name of the time zone of text that says no offset from UTC: `Europe/Amsterdam`."""
    max_age: Duration = timedelta(days=7)
    """The oldest an event may be on arrival; older ones are bad events."""
    key_field: str
    """Path. Events that share its value share a data key within one UTC day of event time, per person. Empty
    or missing: a bad event (`empty_key`)."""
    data_subject: DataSubject | None = None
    """Whom an erasure names."""
    event_id_field: str | None = None
    """Path. By this a redelivered event is recognised; without it no duplicate is looked for."""
    consent: Consent | None = None
    """Where an event says what its person agreed to. Without it no derived dataset can be made."""
    default: AnyTreatment = Pseudonymize()
    """What is done to fields that are not listed: `pseudonymize`, `encrypt`, `drop` or `keep`."""
    fields: dict[str, AnyTreatment] = {}
    """Path → what is done to the field, and to everything below it that is not listed itself."""
    validations: tuple[Rule, ...] = ()
    """Rules beyond the schema. An event that breaks one is bad (`rule_violation`)."""

    # Filled by the loader, never written in YAML.
    json_schema: dict[str, Any] = Field(default={}, exclude=True, repr=False)
    record: Record = Field(default=Record(()), exclude=True, repr=False)
    descriptions: dict[str, str] = Field(default={}, exclude=True, repr=False)
    digest: str = Field(default="", exclude=True)
    file: Path = Field(default=Path(), exclude=True, repr=False)

    @property
    def identity(self) -> str:
        """``handle/name``: what all versions of the contract share."""
        return self.contract.rpartition("/")[0]

    @property
    def version(self) -> tuple[int, int, int]:
        """Major, minor and patch, in the order in which versions follow one another."""
        major, minor, patch = self.contract.rpartition("/")[2].split(".")
        return int(major), int(minor), int(patch)

    def treatments(self) -> Iterator[Treatment]:
        """Every treatment it names, those inside documents too; the default first."""
        for treatment in (self.default, *self.fields.values()):
            yield treatment
            if isinstance(treatment, SelfDescribing):
                yield from (place for _, _, place in treatment.places())

    @property
    def hashes(self) -> bool:
        """Whether any pseudonym has the form of Snowplow's, and so needs its salt."""
        return any(isinstance(item, Pseudonymize) and item.hash is not None for item in self.treatments())

    @property
    def reversible(self) -> bool:
        """Whether any original is to be kept in the vault."""
        return any(isinstance(item, Pseudonymize) and item.reversible for item in self.treatments())

    def treatment(self, path: str) -> Treatment:
        """The treatment of the field at `path`: its own, that of the nearest listed parent, the default."""
        return self.fields[listed] if (listed := self.listed(path)) else self.default

    def listed(self, path: str) -> str:
        """The path that the field at `path` is listed under: its own or a parent's; "" for neither."""
        while path and path not in self.fields:
            path = parent(path)
        return path

    def treated(self) -> Iterator[tuple[str, Node, Treatment]]:
        """Every place that is treated by itself, with its type and treatment: the leaves, and what is
        encrypted as one value."""
        sealed: list[str] = []
        for path, node in walk(self.record):
            if any(path.startswith((f"{whole}/", f"{whole}[]")) for whole in sealed):
                continue
            treatment = self.treatment(path)
            if isinstance(treatment, Encrypt) and path in self.fields:
                sealed.append(path)
            elif not isinstance(node, Scalar):
                continue
            yield path, node, treatment
