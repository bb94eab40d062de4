"""Enriched events of Snowplow's as tests need them: invented, and put together column by column."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = 131
VERSION = "1-0-0"
TRANSFORMATION = "iglu:com.snowplowanalytics.snowplow/pii_transformation/jsonschema"
CANARY = "canary.q7z@planted.example"
"""Stands in originals, and nowhere else."""


def line(unstruct_event: str = "", **columns: str) -> bytes:
    """An enriched event; `columns` by their number, from 0: ``c6="…"``."""
    found = [""] * COLUMNS
    for name, value in columns.items():
        found[int(name.removeprefix("c"))] = value
    found[58] = unstruct_event
    return "\t".join(found).encode()


def self_describing(schema: str, data: Any) -> str:
    """What the column `unstruct_event` holds."""
    outer = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"
    return json.dumps({"schema": outer, "data": {"schema": schema, "data": data}})


def pojo(modified: str, original: str) -> dict[str, str]:
    """What replaced a column."""
    return {"fieldName": "user_id", "originalValue": original, "modifiedValue": modified}


def in_json(modified: str, original: str) -> dict[str, str]:
    """What replaced a value in JSON, as the enrichment writes it."""
    place = {"fieldName": "contexts", "jsonPath": "$.email", "schema": "iglu:acme/user/jsonschema/1-0-0"}
    return {**place, "originalValue": original, "modifiedValue": modified}


def mapped(modified: str, original: str) -> dict[str, Any]:
    """The same in the other shape that the schema allows."""
    return {"fieldMapping": in_json(modified, original)}


def transformation(pii: Mapping[str, Sequence[Any]], version: str = VERSION) -> str:
    """The column of an event of the PII enrichment."""
    strategy = {"pseudonymize": {"hashFunction": "SHA-256"}}
    return self_describing(f"{TRANSFORMATION}/{version}", {"pii": pii, "strategy": strategy})


def other_event() -> bytes:
    """A click."""
    return line(self_describing("iglu:acme/click/jsonschema/1-0-0", {"target": CANARY}))


def pii_event(*pairs: tuple[str, str]) -> bytes:
    """One whose columns were replaced, (modified value, original) each."""
    return line(transformation({"pojo": [pojo(*pair) for pair in pairs]}))
