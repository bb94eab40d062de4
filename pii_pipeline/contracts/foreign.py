"""What importers and exporters of other platforms' contracts share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pii_pipeline.contracts.source import Location, Source, field_name

Value = TypeVar("Value")

_KINDS = {str: "text", int: "a whole number", bool: "true or false", dict: "an object", list: "a list"}


@dataclass(frozen=True, slots=True)
class Note:
    """Something that one form of contract can say and the other cannot, or says otherwise."""

    field: str
    what: str
    why: str
    mend: str

    def __str__(self) -> str:
        return f"{self.field}: {self.what} — {self.why}; {self.mend}"


class Notes(list[Note]):
    """The notes of one import or export, in the order in which they came up."""

    def say(self, field: str, what: str, why: str, mend: str) -> None:
        self.append(Note(field, what, why, mend))

    def not_here(self, fields: Iterable[str]) -> None:
        """Says of each that nothing was made of it."""
        for field in fields:
            why, mend = "nothing here corresponds to it", "nothing to do, unless you rely on it"
            self.say(field, "not carried over", why, mend)


@dataclass(frozen=True, slots=True)
class Imported:
    """A stream made from another platform's files: what its own files are to say.

    `stream` and `contract` are the keys of ``stream.yaml`` and ``contract.yaml``; `schema` is the text of the
    file that the contract names.
    """

    stream: dict[str, Any]
    contract: dict[str, Any]
    schema: str
    notes: tuple[Note, ...]


class Message:
    """One object of another platform's JSON, whose keys are written in camelCase or in snake_case.

    Remembers what was taken, so that the rest can be said. What has another type than expected is noted as a
    problem of the file, and counts as absent.
    """

    def __init__(self, source: Source, data: dict[str, Any], location: Location = ()) -> None:
        self.source = source
        self.location = location
        self._data = data
        self._taken: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._data)

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def key(self, name: str) -> str:
        """The key as the file writes it; `name` is in snake_case."""
        camel = re.sub(r"_(.)", lambda match: match[1].upper(), name)
        return camel if camel in self._data and name not in self._data else name

    def place(self, name: str) -> Location:
        return (*self.location, self.key(name))

    def take(self, name: str, kind: type[Value], default: Value) -> Value:
        """The value of `name`, or `default` where it is absent, null or of another type."""
        key = self.key(name)
        self._taken.add(key)
        value = self._data.get(key)
        if value is None:
            return default
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
        self.add(name, f"is not {_KINDS[kind]}", "mend the file")
        return default

    def message(self, name: str) -> Message:
        """The object `name`; an empty one where there is none."""
        return Message(self.source, self.take(name, dict, {}), self.place(name))

    def messages(self, name: str) -> Iterator[Message]:
        """The objects in the list `name`."""
        for number, value in enumerate(self.take(name, list, [])):
            here = (*self.place(name), number)
            if isinstance(value, dict):
                yield Message(self.source, value, here)
            else:
                self.source.add(here, "is not an object", "mend the file")

    def levels(self, name: str) -> list[int]:
        """The consent levels in the list `name`."""
        levels = self.take(name, list, [])
        if all(isinstance(level, int) and not isinstance(level, bool) and level >= 0 for level in levels):
            return list(dict.fromkeys(levels))
        self.add(name, "are not levels of consent", "a list of whole numbers from 0 on: [1, 2]")
        return []

    def add(self, name: str, problem: str, mend: str) -> None:
        """Notes a problem with what `name` says."""
        self.source.add(self.place(name), problem, mend)

    def rest(self) -> Iterator[str]:
        """The keys that say something and that nobody took, with the way to them."""
        for key, value in self._data.items():
            if key not in self._taken and value not in (None, "", [], {}, False):
                yield field_name((*self.location, key))
