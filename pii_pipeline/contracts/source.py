"""Files of configuration read so that every complaint can name its line: YAML and JSON."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from pii_pipeline.contracts.errors import Caution, ConfigurationError, Problem
from pii_pipeline.contracts.named import Named

Location = tuple[str | int, ...]
"""The way to a place in a file: keys of mappings and positions in lists."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` is most likely a misspelling of."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """The mend for a word that is not one of `known`."""
    known = list(known)
    near = nearest(word, known)
    return f"did you mean `{near}`?" if near else f"one of {', '.join(known)}"


class Source:
    """One file's content, `data`, and the lines its parts stand on."""

    def __init__(self, file: Path, text: str, data: Any, problems: Sequence[Problem] = ()) -> None:
        self.file = file
        self.data = data
        self.problems = list(problems)
        self._text = text

    @cached_property
    def _root(self) -> yaml.Node | None:
        try:
            # JSON is YAML but for tabs between its parts; a tab inside a JSON string is not valid JSON.
            return yaml.compose(self._text.replace("\t", " "), _Loader)
        except yaml.YAMLError:
            return None

    def line(self, location: Location) -> int:
        """The line of the key or element at `location`, or of its nearest parent that is in the file."""
        node, line = self._root, 1
        for part in location:
            if isinstance(node, yaml.MappingNode):
                found = next((pair for pair in node.value if pair[0].value == str(part)), None)
                if found is None:
                    break
                line, node = found[0].start_mark.line + 1, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
            else:
                break
        return line

    def add(self, location: Location, problem: str, mend: str) -> None:
        """Notes a problem with the part at `location`."""
        found = Problem(self.file, self.line(location), field_name(location), problem, mend)
        if found not in self.problems:
            self.problems.append(found)

    def caution(self, location: Location, message: str) -> Caution:
        return Caution(self.file, self.line(location), field_name(location), message)

    def add_invalid(self, error: ValidationError, model: type[BaseModel]) -> list[Location]:
        """Notes every problem pydantic found in `data` when it was read as `model`; returns their places."""
        grouped: dict[Location, list[tuple[str, str]]] = {}
        for location, problem, mend in _explain(error, model, self.data):
            if problem not in ("is missing", "unknown key"):
                # pydantic goes on below what is in the file, with the branches of a union.
                location = self._existing(location)
            grouped.setdefault(location, []).append((problem, mend))
        for location, explained in grouped.items():
            problem = ", or ".join(dict.fromkeys(problem for problem, _ in explained))
            self.add(location, problem, explained[0][1])
        return list(grouped)

    def _existing(self, location: Location) -> Location:
        value: Any = self.data
        for depth, part in enumerate(location):
            inside = part in value if isinstance(value, dict) else isinstance(value, list)
            if not inside:
                return location[:depth]
            value = value[part]
        return location

    def raise_problems(self) -> None:
        if self.problems:
            raise ConfigurationError(sorted(self.problems, key=lambda problem: problem.line))


def field_name(location: Location) -> str:
    """``("validations", 0, "regex")`` as ``validations[0].regex``."""
    name = ""
    for part in location:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name


def read_yaml(file: Path) -> Source:
    """A YAML file whose root is a mapping.

    Raises ConfigurationError if it cannot be read or parsed; duplicate keys and keys that are not text are
    left in the source's `problems`, so that the rest of the file is looked at too.
    """
    text = _read(file)
    try:
        data = yaml.load(text, _Loader)
        root = yaml.compose(text, _Loader)
        textual = _with_text_keys(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: a scalar that looks like a date, and is none.
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        mend = "mend the YAML there; text with `[]`, `{`, `: `, `#`, `*` or `@` in it needs quotes"
        raise ConfigurationError([Problem(file, line, "", f"not YAML: {what}", mend)]) from None
    if not isinstance(data, dict):
        mend = "the file is one mapping of keys to values"
        raise ConfigurationError([Problem(file, 1, "", "not a mapping", mend)])
    return Source(file, text, textual, list(_key_problems(file, root, (), set())))


def read_json(file: Path) -> Source:
    """A JSON file. Raises ConfigurationError if it cannot be read or parsed, or repeats a key."""
    text = _read(file)
    repeated: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            repeated.append("")
        return value

    def no_constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        data = json.loads(text, object_pairs_hook=once, parse_constant=no_constant)
        json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair can be written, but not used
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise ConfigurationError(
            [Problem(file, line, "", f"not JSON: {what}", "mend the JSON there")]
        ) from None
    source = Source(file, text, data)
    if repeated:
        source.problems.extend(_key_problems(file, source._root, (), set()))
        source.raise_problems()
    return source


def _with_text_keys(data: Any) -> Any:
    """`data` without the keys that are not text, which `_key_problems` reports."""
    if isinstance(data, dict):
        return {key: _with_text_keys(value) for key, value in data.items() if isinstance(key, str)}
    return [_with_text_keys(value) for value in data] if isinstance(data, list) else data


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        what = (
            "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        )
        mend = "make the file, or mend the name that leads to it"
        raise ConfigurationError([Problem(file, 1, "", what, mend)]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigurationError([Problem(file, line, "", "not UTF-8", "save the file as UTF-8")]) from None


def _key_problems(
    file: Path, node: yaml.Node | None, location: Location, seen: set[int]
) -> Iterator[Problem]:
    """Keys that stand twice in one mapping (YAML and JSON would let the last one win) or are not text."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, element in enumerate(node.value):
            yield from _key_problems(file, element, (*location, number), seen)
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
        here = (*location, name)
        if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
            problem = "a key that YAML does not read as text"
            yield Problem(file, line, field_name(here), problem, f'put it in quotes: "{name}"')
        elif name in first:
            problem = f"stands twice (first in line {first[name]})"
            yield Problem(file, line, field_name(here), problem, "remove one of them")
        first.setdefault(name, line)
        yield from _key_problems(file, value, here, seen)


_MENDS = {
    "contract": "write it as handle/name/version in lower case: acme/webshop-click/1.0.0",
    "namespace": "a lower-case word: customer",
}

_NOT_WHOLE = ("is not a whole number", "write one without quotes or a fraction")
_NOT_A_NUMBER = ("is not a number", "write one without quotes")
_NUMBERS = {
    "greater_than_equal": ("is less than {}", "write at least {}"),
    "less_than_equal": ("is more than {}", "write at most {}"),
    "finite_number": ("is not a finite number", "write one that is"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), _NOT_WHOLE),
    **dict.fromkeys(("float_type", "float_parsing"), _NOT_A_NUMBER),
}
"""What pydantic calls a wrong number → problem and mend; {} is the bound that it passes."""


def _explain(
    error: ValidationError, model: type[BaseModel], data: Any
) -> Iterator[tuple[Location, str, str]]:
    """(place, problem, mend) for each of pydantic's complaints about `data` read as `model`."""
    for detail in error.errors(include_url=False):
        location, around = _place(detail["loc"], model, data)
        last = str(location[-1]) if location else ""
        if detail["type"] == "missing":
            yield location, "is missing", f"add `{last}:`"
        elif detail["type"] == "extra_forbidden":
            yield location, "unknown key", suggestion(last, _keys(around))
        elif detail["type"] in ("literal_error", "enum"):
            known = detail.get("ctx", {})["expected"].replace(" or ", ", ").replace("'", "").split(", ")
            yield location, f"unknown value {detail['input']!r}", suggestion(str(detail["input"]), known)
        elif detail["type"] == "value_error":
            problem, _, mend = str(detail.get("ctx", {})["error"]).partition("; ")
            yield location, problem, mend or "change it accordingly"
        elif detail["type"] in _NUMBERS:
            problem, mend = _NUMBERS[detail["type"]]
            bound = next(iter(detail.get("ctx", {}).values()), None)
            yield location, problem.format(bound), mend.format(bound)
        else:
            yield location, detail["msg"], _MENDS.get(last, "give it such a value")


def _place(loc: Sequence[str | int], model: type[BaseModel], data: Any) -> tuple[Location, type[BaseModel]]:
    """Where in the file pydantic's `loc` is, and the model its last part should be a key of.

    The two differ at treatments and formats: the name of one is a key in the file, and chooses the model. The
    entities of a self-describing field stand right below it.
    """
    location: list[str | int] = []
    around, mappings = model, 0
    for part in loc:
        if "choices" in vars(around) and issubclass(around, Named) and not mappings:
            family = around
            name, data = next(iter(data.items())) if isinstance(data, dict) else (data, None)
            location.append(name)
            around = family.choices[name]
            if part == "entities":
                around, mappings = family, 2
                continue
        location.append(part)
        if isinstance(data, dict):
            data = data.get(part)
        else:
            data = data[part] if isinstance(data, list) and isinstance(part, int) else None
        field = next((f for name, f in around.model_fields.items() if part == (f.alias or name)), None)
        if mappings or isinstance(part, int):
            mappings = max(mappings - 1, 0)
        elif field is not None and part != loc[-1]:
            around = next(_models(field.annotation), around)
            mappings = int(get_origin(field.annotation) is dict)
    return tuple(location), around


def _keys(model: type[BaseModel]) -> list[str]:
    """The keys of a model that are written in files."""
    return [
        field.alias or name
        for name, field in model.model_fields.items()
        if field.exclude is not True and not (name == "name" and issubclass(model, Named))
    ]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
