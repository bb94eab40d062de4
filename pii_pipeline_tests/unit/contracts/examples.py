"""A small contract that loads without problem or caution, for tests to change one thing in."""

import json
import textwrap
from pathlib import Path

SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "ts": {"type": "string"},
        "created_ms": {"type": "integer"},
        "session": {"type": "string"},
        "person": {"type": ["integer", "null"]},
        "levels": {"type": "array", "items": {"type": "integer"}},
        "email": {"type": ["string", "null"]},
        "price": {"type": "number"},
        "quantity": {"type": "integer"},
        "premium": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"sku": {"type": "string"}, "price": {"type": "number"}},
            },
        },
        "product": {
            "type": "object",
            "properties": {"sku": {"type": "string"}, "stock": {"type": "integer"}},
        },
        "context": {"type": "object"},
    },
}

CONTRACT = """\
contract: acme/shop/1.0.0
state: active
schema: event.schema.json
time_field: ts
key_field: session
event_id_field: id
data_subject: {field: person, namespace: customer}
consent: {field: levels, type: granular}
fields:
  email: {encrypt: {level: 2}}
  premium: keep
validations:
  - {field: price, min: 0}
"""


def write(folder: Path, contract: str = CONTRACT, schema: object = SCHEMA) -> Path:
    """The contract file in `folder`, beside its schema."""
    folder.mkdir(parents=True, exist_ok=True)
    text = schema if isinstance(schema, str) else json.dumps(schema, indent=2)
    (folder / "event.schema.json").write_text(text)
    file = folder / "contract.yaml"
    file.write_text(textwrap.dedent(contract))
    return file


def changed(old: str, new: str, text: str = CONTRACT) -> str:
    """The contract's text with one thing replaced."""
    assert text.count(old) == 1, old
    return text.replace(old, new)


def with_properties(**properties: object) -> dict[str, object]:
    """The schema with more, or other, top-level properties."""
    return {**SCHEMA, "properties": {**SCHEMA["properties"], **properties}}
