"""Simple Schemas (YAML), as Stream Machine's platform (STRM Privacy) has them, into JSON Schema 2020-12.

Their names are free text, and events carry the names that platform makes of them for Avro: `avro_name`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from pii_pipeline.contracts.avro import INT, LONG, NAME, nullable
from pii_pipeline.contracts.schema import DIALECT, Location, SchemaError, SchemaProblem, reserved
from pii_pipeline.contracts.source import suggestion

_SCALARS: dict[str, dict[str, Any]] = {
    "STRING": {"type": "string"},
    "BOOLEAN": {"type": "boolean"},
    "FLOAT": {"type": "number"},
    "DOUBLE": {"type": "number"},
    "INTEGER": INT,
    "LONG": LONG,
}
_TYPES = (*_SCALARS, "NODE")
_ROOT_KEYS = ("name", "avro_name", "avroName", "namespace", "doc", "nodes")
_NODE_KEYS = ("name", "type", "avro_name", "avroName", "repeated", "required", "doc", "nodes")


def avro_name(name: str) -> str:
    """The name of a field called `name`: as it is where Avro allows it, else its words run together, each
    with one capital (``Prijs in GB£`` → ``PrijsInGb``). May still be none that Avro allows."""
    if NAME.fullmatch(name):
        return name
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return "".join(word.capitalize() for word in re.findall(r"[A-Za-z0-9]+", plain))


def json_schema(schema: Any) -> dict[str, Any]:
    """The JSON Schema of the events of a Simple Schema; a node that is not `required` may be absent or null.

    Raises SchemaError with every problem found.
    """
    converter = _Converter()
    converter.keys(schema, (), _ROOT_KEYS)
    converted = converter.record(schema, ())
    if converter.problems:
        raise SchemaError(*converter.problems)
    return {"$schema": DIALECT, **converted}


class _Converter:
    def __init__(self) -> None:
        self.problems: list[SchemaProblem] = []

    def add(self, location: Location, problem: str, mend: str) -> None:
        self.problems.append(SchemaProblem(location, problem, mend))

    def keys(self, value: dict[str, Any], location: Location, known: tuple[str, ...]) -> None:
        for key in value:
            if key not in known:
                self.add((*location, key), "unknown key", suggestion(key, known))

    def record(self, value: dict[str, Any], location: Location) -> dict[str, Any]:
        """The JSON Schema of the object that `nodes` of `value` describe."""
        nodes = value.get("nodes")
        if not isinstance(nodes, list) or not nodes:
            self.add((*location, "nodes"), "is no list of nodes", "write one node for each field")
            return {}
        properties: dict[str, Any] = {}
        required: list[str] = []
        first: dict[str, str] = {}
        for number, node in enumerate(nodes):
            here = (*location, "nodes", number)
            if not isinstance(node, dict):
                self.add(here, "is no node", "write `name:` and `type:`")
                continue
            self.keys(node, here, _NODE_KEYS)
            name, field = self._names(node, here, top=not location)
            if field in properties:
                problem = f"`{first[field]}` and `{name}` both become `{field}`"
                self.add((*here, "name"), problem, "give one of them an `avro_name` of its own")
            elif field:
                first[field] = name
                properties[field] = self._node(node, here, "" if name == field else name)
                required += [field] if node.get("required") is True else []
        return {"type": "object", "properties": properties, **({"required": required} if required else {})}

    def _names(self, node: dict[str, Any], here: Location, top: bool) -> tuple[str, str]:
        """A node's own name, and the name of its field; "" where there is none."""
        name = node.get("name")
        key = next((key for key in ("avro_name", "avroName") if key in node), "name")
        if not isinstance(name, str) or not name:
            mend = 'write `name:` and text; YAML reads y, n, yes, no and numbers otherwise: "y"'
            self.add((*here, "name") if "name" in node else here, "its name is not text", mend)
            return "", ""
        field = avro_name(name) if key == "name" else node[key]
        place = (*here, key)
        if not isinstance(field, str) or not NAME.fullmatch(field):
            problem = f"`{node[key]}` makes no name for Avro"
            self.add(place, problem, "give it an `avro_name` of letters, digits and _, the first no digit")
            return name, ""
        if top and (wrong := reserved(field)):
            self.add(place, *wrong)
            return name, ""
        return name, field

    def _node(self, node: dict[str, Any], here: Location, name: str) -> dict[str, Any]:
        """The JSON Schema of a field; `name` is its original name, where that differs."""
        kind = str(node.get("type", "")).upper()
        for flag in ("repeated", "required"):
            if not isinstance(node.get(flag, False), bool):
                self.add((*here, flag), "is neither true nor false", f"write `{flag}: true`, or remove it")
        if kind not in _TYPES:
            problem = f"unknown type {node['type']!r}" if "type" in node else "has no type"
            self.add((*here, "type") if "type" in node else here, problem, suggestion(kind, _TYPES))
            return {}
        if kind == "NODE":
            converted = self.record(node, here)
        else:
            converted = _SCALARS[kind]
            if "nodes" in node:
                self.add((*here, "nodes"), f"a {kind} has no nodes", "write `type: NODE`, or remove them")
        if node.get("repeated") is True:
            converted = {"type": "array", "items": converted}
        if node.get("required") is not True:
            converted = nullable(converted)
        text = ": ".join(part for part in (name, node.get("doc")) if isinstance(part, str) and part)
        return {**converted, "description": text} if text else converted
