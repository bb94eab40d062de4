"""The schema of a data contract of STRM Privacy (Avro, JSON Schema, Simple Schema), and the fields in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml

from pii_pipeline.contracts import avro, simple_schema
from pii_pipeline.contracts.foreign import Message
from pii_pipeline.contracts.record_type import Node, Record, Scalar, walk
from pii_pipeline.contracts.schema import SchemaError, compile_schema
from pii_pipeline.contracts.source import nearest

META = "strmMeta"
"""What every event of that platform has beside its own fields."""

META_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "eventContractRef": {"type": "string"},
        "nonce": avro.nullable(avro.INT),
        "timestamp": avro.nullable(avro.LONG),
        "keyLink": {"type": ["string", "null"]},
        "billingId": {"type": ["string", "null"]},
        "consentLevels": {"type": "array", "items": avro.INT},
    },
    "required": ["eventContractRef", "consentLevels"],
}
FILES = {".avsc": "event.avsc", ".yaml": "event.schema.yaml", ".json": "event.schema.json"}
"""What the schema's file is called in a stream, by its kind."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema: suffix and text of its file, and the same as JSON Schema."""

    suffix: str
    text: str
    json: dict[str, Any]

    @classmethod
    def of(cls, schema: dict[str, Any]) -> Schema:
        """A JSON Schema that no file holds yet."""
        return cls(".json", _json_text(schema), schema)


class Fields:
    """The scalars of an event, by their paths as that platform writes them: without ``[]``."""

    def __init__(self, schema: Schema) -> None:
        self.nodes: dict[str, Node] = dict(walk(compile_schema(schema.json).record))
        leaves = [path for path, node in self.nodes.items() if isinstance(node, Scalar)]
        self.paths = {path.replace("[]", ""): path for path in leaves}

    def find(self, message: Message, key: str, name: str) -> str | None:
        """The path of the scalar, or scalars, called `name`; notes at `key` that there is none."""
        if name in self.paths:
            return self.paths[name]
        problem = f"the schema declares no field `{name}`"
        if isinstance(self.nodes.get(name), Record):
            problem = f"`{name}` is a record; that platform encrypts texts and lists of texts"
        near = nearest(name, self.paths)
        message.add(key, problem, f"did you mean `{near}`?" if near else "mend it, or give another schema")
        return None


def embedded_schema(contract: Message) -> Schema | None:
    """The schema inside the contract's own file, as the platform answers when asked for a contract.

    Raises ConfigurationError if there is one that cannot be used.
    """
    message = contract.message("schema")
    definition = message.take("definition", str, "")
    simple = message.take("simple_schema", dict, {})
    key = "definition" if definition else "simple_schema"
    try:
        if definition:
            given = json.loads(definition)
            if message.message("ref").take("schema_type", str, "AVRO") == "JSONSCHEMA":
                schema = Schema.of(given)
            else:
                schema = Schema(".avsc", _json_text(given), avro.json_schema(given))
        elif simple:
            text = yaml.safe_dump(simple, sort_keys=False, allow_unicode=True)
            schema = Schema(".yaml", text, simple_schema.json_schema(simple))
        else:
            return None
        compile_schema(schema.json)
        return schema
    except json.JSONDecodeError as error:
        message.add(key, f"not JSON: {error.msg}", "give the schema as a file, with --schema")
    except SchemaError as error:
        for found in error.problems:
            message.add(key, f"{'/'.join(map(str, found.location))}: {found.problem}", found.mend)
    contract.source.raise_problems()
    return None


def _json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
