"""docs/contract-reference.md, made from the models that read contract.yaml and stream.yaml.

Type, default, allowed values and meaning of a key stand in the models and nowhere else: a meaning is the
docstring below a field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.named import Named
from pii_pipeline.contracts.treatments import TREATMENTS, Treatment
from pii_pipeline.streams.model import StreamFormat, StreamSettings
from pii_pipeline_tests.documentation.markdown import slug

_TITLE = """\
# Contract reference

<!-- Made by `make docs` from the models that read these files. Mend the models, not this page. -->

Every key of `contract.yaml` and `stream.yaml`. What they are about is told in
[Contract and stream](contract.md); [Treatments](treatments.md) shows each with examples.

A *path* names a field: `product/sku` goes into a record, `items[]/sku` into every element of a list; a `/` or
`~` in a name is written `~1`, `~0`. A *duration* is a whole number above 0 and a unit: `30s`, `15m`, `36h`,
`7d`. A key that is not listed here is an error.
"""
_TREATMENTS = """\
## Treatments

In YAML a treatment is its name, `keep`, or its name with settings, `{encrypt: {level: 2}}`.
"""
_FORMATS = """\
## Formats

In YAML a format is its name, `json`, or its name with settings, `{csv: {delimiter: ";"}}`.
"""
_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "boolean"}


def reference() -> str:
    """The page."""
    parts = [_TITLE]
    parts += _file("contract.yaml", Contract)
    parts += [_TREATMENTS, *(_section(f"`{name}`", model) for name, model in TREATMENTS.items())]
    parts += _file("stream.yaml", StreamSettings)
    parts += [_FORMATS, *(_section(f"`{name}`", model) for name, model in StreamFormat.choices.items())]
    return "\n".join(parts)


def keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a model that are written in files."""
    return {
        field.alias or name: field
        for name, field in model.model_fields.items()
        if not field.exclude and not (name == "name" and _chosen_by_name(model))
    }


def models() -> Iterator[type[BaseModel]]:
    """Every model that reads a part of the two files."""
    yield from (Contract, *TREATMENTS.values(), StreamSettings, *StreamFormat.choices.values())
    for root in (Contract, StreamSettings):
        yield from _below(root, "").values()


def _chosen_by_name(model: type[BaseModel]) -> bool:
    """Whether `model` is a treatment or a format, whose name in YAML says which it is."""
    return issubclass(model, Named)


def _file(name: str, root: type[BaseModel]) -> list[str]:
    sections = _below(root, "").items()
    return [f"## {name}\n", _table(root), *(_section(f"`{path}`", model, path) for path, model in sections)]


def _below(model: type[BaseModel], path: str) -> dict[str, type[BaseModel]]:
    """The models of nested mappings, by where they stand: ``validations[]``, ``derived.NAME.consent``."""
    found: dict[str, type[BaseModel]] = {}
    for key, field in keys(model).items():
        for inner, nested in _nested(field.annotation, f"{path}.{key}".lstrip(".")):
            if not _chosen_by_name(nested):
                found |= {inner: nested, **_below(nested, inner)}
    return found


def _nested(annotation: Any, path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield path, annotation
    many = {tuple: "[]", list: "[]", dict: ".NAME"}.get(get_origin(annotation), "")
    for argument in get_args(annotation):
        yield from _nested(argument, path + many)


def _section(title: str, model: type[BaseModel], path: str = "") -> str:
    text = f"### {title}\n\n{_paragraphs(model.__doc__ or '')}\n"
    return f"{text}\n{_table(model, path)}" if keys(model) else text


def _table(model: type[BaseModel], path: str = "") -> str:
    """The keys of `model`, which stands at `path` of its file."""
    schemas = model.model_json_schema()["properties"]
    rows = [("key", "value", "default", "meaning"), ("---",) * 4]
    for key, field in keys(model).items():
        nested = _nested(field.annotation, f"{path}.{key}".lstrip("."))
        places = {each.__name__: place for place, each in nested if not _chosen_by_name(each)}
        rows.append((f"`{key}`", _value(schemas[key], places), _default(field), _meaning(field)))
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)


def _meaning(field: FieldInfo) -> str:
    return _paragraphs(field.description or "").replace("\n\n", "<br>")


def _paragraphs(text: str) -> str:
    """A docstring as Markdown: its paragraphs on one line each, code in single backticks."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(" ".join(part.split()).replace("``", "`") for part in paragraphs)


def _value(schema: dict[str, Any], places: dict[str, str], many: bool = False) -> str:
    """What may be written there; `many`: several of it."""
    if "anyOf" in schema:
        branches = [branch for branch in schema["anyOf"] if branch.get("type") != "null"]
        return " or ".join(dict.fromkeys(_value(branch, places, many) for branch in branches))
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2], places)
    if "enum" in schema or "const" in schema:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        return ", ".join(f"`{_yaml(value)}`" for value in values)
    if schema.get("type") == "array":
        least = f", at least {schema['minItems']}" if "minItems" in schema else ""
        return f"list of {_value(schema['items'], places, many=True)}{least}"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"name → {_value(inner, places) if isinstance(inner, dict) else 'anything'}"
    if schema.get("format") == "duration":
        return "durations" if many else "duration"
    word = _WORDS.get(schema.get("type", ""))
    return f"{word}{'s' * many}{_limits(schema)}" if word else "anything"


def _limits(schema: dict[str, Any]) -> str:
    if "pattern" in schema:
        return f", `{schema['pattern']}`"
    if schema.get("minLength") == schema.get("maxLength") == 1:
        return ", one character"
    if schema.get("minLength"):
        return ", not empty"
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None:
        return f", {_number(least)} or more" if most is None else f", {_number(least)} to {_number(most)}"
    if "exclusiveMinimum" in schema:
        return f", above {_number(schema['exclusiveMinimum'])}"
    return "" if most is None else f", {_number(most)} or less"


def _number(value: float) -> str:
    return f"{value:,g}" if value % 1 else f"{int(value):,}"


def _link(name: str, places: dict[str, str]) -> str:
    if name in places:
        path = places[name]
        return f"[`{path}`](#{slug(path)})"
    return "[treatment](#treatments)" if name == Treatment.__name__ else "[format](#formats)"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "none" if value is None or value in ((), [], {}) else f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    """`value` as it is written in YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        unit, length = next((unit, length) for unit, length in _UNITS.items() if not value % length)
        return f"{value // length}{unit}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, BaseModel):
        said = ", ".join(f"{key}: {_yaml(item)}" for key, item in value if item is not None)
        return str(getattr(value, "name", f"{{{said}}}"))
    return str(value)
