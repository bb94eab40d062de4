"""What two JSON Schemas say differently, and which of them accepts more, field by field."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pii_pipeline.contracts.record_type import ListOf, Node, Scalar, parent, walk
from pii_pipeline.contracts.schema import compile_schema, dialect, resolve

_TYPES = frozenset(("null", "boolean", "object", "array", "number", "integer", "string"))
_ANNOTATIONS = frozenset((
    "$schema", "$id", "id", "$comment", "self", "title", "description", "default", "examples", "format",
    "deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType", "contentSchema",
))  # fmt: skip
_DEFINITIONS = ("$defs", "definitions")
_COMPARED = frozenset((
    "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength",
    "maxLength", "minItems", "maxItems", "pattern", "required", "additionalProperties",
))  # fmt: skip
_STRUCTURE = frozenset(("properties", "items", *_DEFINITIONS))

_Verdict = tuple[bool, bool]
"""(something that was valid may not be so any more, something is valid that was not so before)"""


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """One difference at `path` ("" is the event), what it is about, and how either schema says it.

    `narrower`: some events that the old schema accepts, the new one may not; `wider`: the other way round.
    """

    path: str
    about: str
    before: str | None
    after: str | None
    narrower: bool
    wider: bool


def schema_changes(old: dict[str, Any], new: dict[str, Any]) -> Iterator[SchemaChange]:
    """Every difference that matters to whether an event is valid. Of what is added or removed with all that
    is inside, only the outermost. Where it takes more than a look to tell, both `narrower` and `wider`."""
    before, after = _Fields(old), _Fields(new)
    for path in dict.fromkeys([*before.nodes, *after.nodes]):
        if path and before.described(parent(path)) != after.described(parent(path)):
            continue  # told with what is around it
        if path in before.nodes and path in after.nodes:
            yield from _compared(path, before, after)
            continue
        needed, was_needed = after.requires(path), before.requires(path)
        narrower, wider = needed and not was_needed, was_needed and not needed
        if path in after.nodes:
            wider |= before.restricts(parent(path))
            yield SchemaChange(path, "added", None, after.described(path), narrower, wider)
        else:
            narrower |= after.restricts(parent(path))
            yield SchemaChange(path, "removed", before.described(path), None, narrower, wider)


class _Fields:
    """A schema's fields by path, the event itself at ""."""

    def __init__(self, schema: dict[str, Any]) -> None:
        compiled = compile_schema(schema)
        self.nodes: dict[str, Node] = {"": compiled.record, **dict(walk(compiled.record))}
        self.parts: Mapping[str, dict[str, Any]] = {"": resolve(schema, schema), **compiled.parts}
        self.definitions = {word: schema.get(word) for word in _DEFINITIONS}
        self.draft4 = dialect(schema) == "draft-04"

    def described(self, path: str) -> str | None:
        """The type in words; None where there is no such field."""
        node, lists = self.nodes.get(path), 0
        while isinstance(node, ListOf):
            node, lists = node.element, lists + 1
        if node is None:
            return None
        return "list of " * lists + (node.kind if isinstance(node, Scalar) else "record")

    def requires(self, path: str) -> bool:
        name = path.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        return not path.endswith("[]") and name in self.parts[parent(path)].get("required", [])

    def restricts(self, path: str) -> bool:
        """Whether some or all undeclared keys are refused there."""
        words = ("additionalProperties", "unevaluatedProperties")
        return any(self.parts[path].get(word, True) not in (True, {}) for word in words)

    def undeclared(self, path: str) -> set[str]:
        """The keys that are required there, though no property is declared for them."""
        part = self.parts[path]
        return set(part.get("required", [])) - part.get("properties", {}).keys()


def _compared(path: str, before: _Fields, after: _Fields) -> Iterator[SchemaChange]:
    old, new = before.nodes[path], after.nodes[path]
    if before.described(path) != after.described(path):
        said = before.described(path), after.described(path)
        widened = old == Scalar("integer") and new == Scalar("number")
        narrowed = old == Scalar("number") and new == Scalar("integer")
        yield SchemaChange(path, "type", *said, not widened, not narrowed)
        return
    if path and before.requires(path) != after.requires(path):
        needed = after.requires(path)
        said = ("optional", "required") if needed else ("required", "optional")
        yield SchemaChange(path, "required", *said, needed, not needed)
    ours, theirs = before.parts[path], after.parts[path]
    declared = {*ours.get("properties", {}), *theirs.get("properties", {})}
    first, second = (frozenset(fields.undeclared(path) - declared) for fields in (before, after))
    if first != second:
        yield SchemaChange(
            path, "required keys", _text(first), _text(second), not second <= first, not first <= second
        )
    for about, say, judge in _ASPECTS:
        first, second = say(ours, before.draft4), say(theirs, after.draft4)
        if first != second:
            yield SchemaChange(path, about, _text(first), _text(second), *judge(first, second))
    first, second = _rest(ours, old, before), _rest(theirs, new, after)
    if first != second:
        words = sorted(word for word in {*first, *second} if first.get(word) != second.get(word))
        yield SchemaChange(path, "keywords", ", ".join(words), ", ".join(words), True, True)


def _rest(part: dict[str, Any], node: Node, fields: _Fields) -> dict[str, Any]:
    """What else the schema says there, and what that refers to."""
    known = _ANNOTATIONS | _COMPARED
    # What is stored as JSON text has no fields of its own: all that is said of its inside is looked at here.
    known = known - {"required"} if node == Scalar("json") else known | _STRUCTURE
    rest = {word: value for word, value in part.items() if word not in known}
    return rest | (fields.definitions if '"$ref"' in json.dumps(rest) else {})


def _text(value: Any) -> str | None:
    if isinstance(value, frozenset):
        return ", ".join(sorted(value))
    if isinstance(value, list):
        of_texts = all(isinstance(item, str) for item in value)
        return ", ".join(value) if of_texts else " to ".join(map(_limit, value))
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _limit(limit: Any) -> str:
    if limit is None:
        return "any"
    value, excluded = limit if isinstance(limit, list) else (limit, False)
    return f"{value} (excluded)" if excluded else str(value)


def _types(part: dict[str, Any], draft4: bool) -> frozenset[str]:
    """The JSON types that are allowed."""
    said = part.get("type")
    found = _TYPES if said is None else frozenset([said] if isinstance(said, str) else said)
    return found | {"integer"} if "number" in found else found


def _sets(before: frozenset[str], after: frozenset[str]) -> _Verdict:
    return not before <= after, not after <= before


def _listed(part: dict[str, Any], draft4: bool) -> list[Any] | None:
    """The only values that are allowed, each as JSON text, in order."""
    listed = [part["const"]] if "const" in part and not draft4 else part.get("enum")
    return None if listed is None else sorted(json.dumps(value, sort_keys=True) for value in listed)


def _lists(before: list[Any] | None, after: list[Any] | None) -> _Verdict:
    if before is None or after is None:
        return before is None, after is None
    return _sets(frozenset(before), frozenset(after))


def _range(least: str, most: str) -> Callable[[dict[str, Any], bool], list[float | None] | None]:
    def say(part: dict[str, Any], draft4: bool) -> list[float | None] | None:
        # At least nothing is no limit.
        found = [part.get(least) or None, part.get(most)]
        return None if found == [None, None] else found

    return say


def _bounds(part: dict[str, Any], draft4: bool) -> list[Any] | None:
    """The least and the largest number, each with whether it is itself excluded."""
    found: list[Any] = []
    for word, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        limit, other = part.get(word), part.get(exclusive)
        if draft4:
            limits = [] if limit is None else [(limit, bool(other))]
        else:
            limits = [(value, out) for value, out in ((limit, False), (other, True)) if value is not None]
        sign = -1 if word == "maximum" else 1
        found.append(list(max(limits, key=lambda item: (sign * item[0], item[1]))) if limits else None)
    return None if found == [None, None] else found


def _limits(before: list[Any] | None, after: list[Any] | None) -> _Verdict:
    """Of (least, most), each a number, or one with whether it is excluded, or None."""
    narrower = wider = False
    for sign, old, new in zip((1, -1), before or [None, None], after or [None, None], strict=True):
        less, more = _tightness(old, sign), _tightness(new, sign)
        narrower |= more > less
        wider |= more < less
    return narrower, wider


def _tightness(limit: Any, sign: int) -> tuple[float, bool]:
    if limit is None:
        return float("-inf"), False
    value, excluded = limit if isinstance(limit, list) else (limit, False)
    return sign * value, excluded


def _pattern(part: dict[str, Any], draft4: bool) -> str | None:
    return part.get("pattern")


def _patterns(before: str | None, after: str | None) -> _Verdict:
    return after is not None, before is not None


def _undeclared(part: dict[str, Any], draft4: bool) -> Any:
    """What is said of undeclared keys; nothing is said by `true`."""
    said = part.get("additionalProperties")
    return None if said is True or said == {} else said


def _keys(before: Any, after: Any) -> _Verdict:
    return after is not None and before is not False, before is not None and after is not False


_ASPECTS: tuple[tuple[str, Callable[[dict[str, Any], bool], Any], Callable[[Any, Any], _Verdict]], ...] = (
    ("types", _types, _sets),
    ("values", _listed, _lists),
    ("numbers", _bounds, _limits),
    ("length", _range("minLength", "maxLength"), _limits),
    ("elements", _range("minItems", "maxItems"), _limits),
    ("pattern", _pattern, _patterns),
    ("undeclared keys", _undeclared, _keys),
)
