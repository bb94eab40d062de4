"""A small contract that loads without problem or caution, for tests to change one thing in."""

import json
import textwrap
from pathlib import Path

import pytest

from pii_pipeline.contracts.errors import ConfigurationError, Problem
from pii_pipeline.contracts.loader import LoadedContract, load_contract

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


def write(
    folder: Path, contract: str = CONTRACT, schema: object = SCHEMA, schema_file: str = "event.schema.json"
) -> Path:
    """The contract file in `folder`, beside its schema."""
    folder.mkdir(parents=True, exist_ok=True)
    text = schema if isinstance(schema, str) else json.dumps(schema, indent=2)
    (folder / schema_file).write_text(text)
    file = folder / "contract.yaml"
    file.write_text(textwrap.dedent(contract))
    return file


def write_on(schema_file: str, folder: Path, schema: object, key_field: str) -> Path:
    """A contract with nothing but what it needs, in `folder`, on a schema of whatever kind the name says."""
    contract = f"""\
        contract: acme/shop/1.0.0
        state: active
        schema: {schema_file}
        time_field: $arrival
        key_field: {key_field}
        """
    return write(folder, contract, schema, schema_file)


def changed(old: str, new: str, text: str = CONTRACT) -> str:
    """The contract's text with one thing replaced."""
    assert text.count(old) == 1, old
    return text.replace(old, new)


def with_properties(**properties: object) -> dict[str, object]:
    """The schema with more, or other, top-level properties."""
    return {**SCHEMA, "properties": {**SCHEMA["properties"], **properties}}


USER = "iglu:com.acme/user/jsonschema/1-*-*"
INSIDE = f"""\
  premium: keep
  context:
    self_describing:
      {USER}:
        address: {{encrypt: {{level: 2}}}}
        plan: keep
"""
"""Replaces ``premium: keep``: what is listed starts in line 15."""


def inside(*lines: str) -> str:
    """The contract with these lines below the criterion instead."""
    text = INSIDE.partition("        address")[0] + "".join(f"        {line}\n" for line in lines)
    return changed("  premium: keep\n", text)


def load(folder: Path, contract: str = CONTRACT, schema: object = SCHEMA) -> LoadedContract:
    return load_contract(write(folder, contract, schema))


def refusal(file: Path) -> ConfigurationError:
    """Why the contract in `file` cannot be used."""
    with pytest.raises(ConfigurationError) as caught:
        load_contract(file)
    return caught.value


def problems_of(folder: Path, contract: str = CONTRACT, schema: object = SCHEMA) -> tuple[Problem, ...]:
    return refusal(write(folder, contract, schema)).problems


def problem_of(folder: Path, contract: str = CONTRACT, schema: object = SCHEMA) -> str:
    """The only problem, without the folder: ``file:line: field: problem — mend``."""
    (problem,) = problems_of(folder, contract, schema)
    return str(problem).removeprefix(f"{folder}/")
