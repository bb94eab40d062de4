"""The tables of docs/treatments.md: what the kernels make of the values that the page gives.

A table whose header has "in the lake" is one of examples. Its other columns say what is done (as in
contract.yaml), with which value (as JSON), of which person and in which session; where nothing stands, that
of the row above holds, or the usual one. Keys are fixed, so that the page is the same whenever it is made.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import arrow_type
from pii_pipeline.contracts.schema import compile_schema
from pii_pipeline.contracts.treatments import TREATMENTS, Encrypt
from pii_pipeline.keys.keyring import DataKeys, Keyring
from pii_pipeline.pipeline.sealing import ChunkOpener, ChunkSealer
from pii_pipeline.privacy.consent import ConsentRequest
from pii_pipeline.privacy.derive import DerivedPlan, derive_columns
from pii_pipeline.privacy.leak_gate import inspect
from pii_pipeline.privacy.plan import (
    CONSENT,
    CONTRACT,
    EVENT_TIME,
    ID_REUSED,
    KEY_LINK,
    SUBJECT_TOKEN,
    UNLISTED,
    compile_plan,
)
from pii_pipeline.privacy.pseudonymize import pseudonymize_columns
from pii_pipeline.privacy.sealer import RowKeys

SECRET = b"test_secret"
"""GitLab's, of whose vector one example is."""
SALT = b"pepper123"
"""Snowplow's, of whose vector one example is."""
DAY = date(2026, 11, 22)
UNDECLARED = "not declared"

_TABLE = re.compile(r"^\|(.*in the lake.*)\|\n\|[ |:-]+\|\n((?:\|.*\|\n)+)", re.MULTILINE)
_CELL = re.compile(r"(?<!\\)\|")
_FIELD = "value"


@dataclass(frozen=True)
class Example:
    """What is done to a value: `contract` as in YAML, `event` as in JSON."""

    contract: str
    event: str
    person: str = "ann"
    session: str = "s-1"


def filled(text: str) -> str:
    """The page with its examples made again."""
    return _TABLE.sub(_filled_table, text)


def lake_value(example: Example) -> tuple[str, str]:
    """What the lake has for it, and what a derived dataset of its level has, as JSON or in words."""
    value = json.loads(example.event)
    if example.contract == UNDECLARED:
        return _run("keep", {_FIELD: "", UNLISTED: json.dumps(value)}, example, UNLISTED)
    said = yaml.safe_load(example.contract)
    name = _FIELD
    if isinstance(said, dict) and next(iter(said)) not in TREATMENTS:
        ((name, said),) = said.items()
    if isinstance(said, dict) and "self_describing" in said:
        value = json.dumps(value)  # trackers send it as text
    return _run(said, {name: value}, example, name)


def _run(treatment: Any, row: dict[str, Any], example: Example, shown: str) -> tuple[str, str]:
    schema = {"properties": {name: _schema(value) for name, value in row.items() if name != UNLISTED}}
    schema = {"type": "object", **schema}
    schema["properties"]["session"] = {"type": "string"}
    contract = Contract.model_validate(
        {
            "contract": "acme/example/1.0.0",
            "state": "active",
            "schema": "",
            "time_field": "$arrival",
            "key_field": "session",
            "fields": {name: treatment for name in row if name != UNLISTED},
            "json_schema": schema,
            "record": compile_schema(schema).record,
        }
    )
    plan = compile_plan(contract)
    types = {name: arrow_type(node) for name, node in contract.record.fields} | {UNLISTED: pa.string()}
    values = {"session": example.session, UNLISTED: None, **row}
    table = pa.table({name: pa.array([values[name]], kind) for name, kind in types.items()})
    rows = np.zeros(1, np.int64)
    sealer, opener = _keys(example)
    columns = pseudonymize_columns(table, plan, RowKeys(rows, rows), sealer)
    assert not inspect(table, columns, plan), f"the leak gate would refuse {example}"
    if shown not in columns:
        return "no column", "no column"
    lake = pa.table(columns | _system_columns())
    levels = {leaf.level for leaf in contract.fields.values() if isinstance(leaf, Encrypt)} or {0}
    derived = DerivedPlan(plan, ConsentRequest(purposes=frozenset(levels)))
    opened, _ = derive_columns(lake, derived, rows, opener)
    return _shown(columns[shown]), _shown(opened.get(shown, pa.array([None])))


def _schema(value: Any) -> dict[str, Any]:
    """The JSON Schema of values like this one."""
    if isinstance(value, dict):
        return {"type": "object", "properties": {name: _schema(inner) for name, inner in value.items()}}
    if isinstance(value, list):
        return {"type": "array", "items": _schema(value[0])}
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "string"}
    return {"type": kinds[type(value)]}


def _keys(example: Example) -> tuple[ChunkSealer, ChunkOpener]:
    """What seals and opens the fields of one person and session; the keys are made of their names."""
    salt, ref = _key(f"salt of {example.person}"), _key(f"ref of {example.person}")[:16]
    keyring = Keyring("example", SECRET, {DAY: _key("window")}, SALT)
    links = keyring.key_links(DAY, [example.session.encode()], [ref])
    data_keys = DataKeys([DAY], [salt], links)
    return ChunkSealer(keyring, [salt], data_keys), ChunkOpener(keyring, "example", data_keys)


def _key(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _system_columns() -> dict[str, pa.Array]:
    now = datetime.combine(DAY, datetime.min.time(), UTC)
    return {
        EVENT_TIME: pa.array([now], pa.timestamp("us", "UTC")),
        CONTRACT: pa.array([""]),
        KEY_LINK: pa.array([""]),
        SUBJECT_TOKEN: pa.array([""]),
        CONSENT: pa.array([[0]], pa.list_(pa.int32())),
        ID_REUSED: pa.array([False]),
    }


def _shown(column: pa.Array) -> str:
    """The value as JSON, with the long ones cut."""
    value = column.to_pylist()[0]
    if isinstance(value, str) and value.startswith("{"):
        value = json.loads(value)
    text = json.dumps(value, ensure_ascii=False)
    text = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b", r"\1…", text)
    return re.sub(r'"(A[Q-Za-f][A-Za-z0-9+/]{14})[A-Za-z0-9+/]+={0,2}"', r'"\1…"', text)


def _filled_table(found: re.Match[str]) -> str:
    header = [cell.strip() for cell in found[1].split("|")]
    lines = [f"|{found[1]}|", f"|{' --- |' * len(header)}"]
    before = Example("keep", "null")
    for line in found[2].splitlines():
        cells = dict(zip(header, (cell.strip() for cell in _CELL.split(line)[1:-1]), strict=True))
        said = {name: re.sub(r"^`|`$", "", cell).replace("\\|", "|") for name, cell in cells.items()}
        example = Example(
            said.get("contract") or before.contract,
            said["event"],
            said.get("person") or before.person,
            said.get("session") or before.session,
        )
        before = example
        cells["in the lake"], opened = (_code(text) for text in lake_value(example))
        if "opened" in cells:
            cells["opened"] = opened
        lines.append(f"| {' | '.join(cells.values())} |")
    return "\n".join(lines).replace("|  |", "| |") + "\n"


def _code(text: str) -> str:
    return text if text == "no column" else f"`{text}`".replace("|", "\\|")
