"""A stream whose contract has two versions active side by side, in an installation of its own."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

from pii_pipeline.lake import landing_path, put
from pii_pipeline.ledger import hour_start
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.settings import project_root, read_settings

HOUR = "2026-11-22T10"
OLD, NEW = "acme/visit/1.9.0", "acme/visit/1.10.0"  # by number; as text the other way round
DATASETS = ("report", "linked")

STREAM = """\
description: Visits, from trackers of two releases.
contracts: [old.yaml, new.yaml]
contract_field: meta/contract
bad_event_threshold: 1
derived:
  report:
    description: For purpose 1.
    consent: {purposes: [1]}
  linked:
    description: For purpose 1, joinable.
    consent: {purposes: [1]}
    joinable_with_lake: {reason: tests}
warehouse:
  all_visits: {description: Everything of all versions.}
"""

OLD_CONTRACT = """\
contract: acme/visit/1.9.0
state: active
schema: old.schema.json
time_field: $arrival
key_field: session
data_subject: {field: user, namespace: customer}
event_id_field: id
consent: {field: consent, type: granular}
fields:
  id: keep
  consent: keep
  page: keep
  amount: keep
  meta: keep
  email: {encrypt: {level: 1}}
  address: {encrypt: {level: 1}}
  items[]/sku: keep
  coupon: {encrypt: {level: 2}}
validations:
  - {field: amount, min: 0}
"""

NEW_CONTRACT = """\
contract: acme/visit/1.10.0
state: active
schema: new.schema.json
time_field: ts
max_age: 2d
key_field: visit
data_subject: {field: customer/id, namespace: customer}
event_id_field: id
consent: {field: consent, type: granular}
default: drop
fields:
  id: keep
  ts: keep
  consent: keep
  page: {url: {}}
  amount: keep
  meta/contract: keep
  visit: {pseudonymize: {joinable: true}}
  customer/id: {pseudonymize: {domain: customer}}
  email: {pseudonymize: {domain: none}}
  address: {encrypt: {level: 1}}
  items[]/sku: keep
  items[]/name: keep
  user: pseudonymize
"""

_OLD_SCHEMA = """\
{"type": "object", "required": ["id", "session"], "properties": {
  "id": {"type": "string"}, "session": {"type": "string"}, "user": {"type": ["string", "null"]},
  "consent": {"type": "array", "items": {"type": "integer"}}, "page": {"type": "string"},
  "amount": {"type": "integer"}, "coupon": {"type": "string"}, "email": {"type": "string"},
  "meta": {"type": "object", "properties": {"contract": {"type": "string"}, "sdk": {"type": "string"}}},
  "address": {"type": "object", "properties": {"city": {"type": "string"}, "zip": {"type": "string"}}},
  "items": {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}}}}
}}
"""

_NEW_SCHEMA = """\
{"type": "object", "required": ["id", "visit", "ts", "customer"], "properties": {
  "visit": {"type": "string"}, "id": {"type": "string"}, "ts": {"type": "string"},
  "customer": {"type": "object", "properties": {"id": {"type": "integer"}, "tier": {"type": "string"}}},
  "user": {"type": ["string", "null"]},
  "consent": {"type": "array", "items": {"type": "integer"}}, "page": {"type": "string"},
  "amount": {"type": "integer"}, "email": {"type": "string"},
  "meta": {"type": "object", "properties": {"contract": {"type": "string"}, "build": {"type": "integer"}}},
  "address": {"type": "object", "properties": {
    "city": {"type": "string"}, "country": {"type": "string"}, "zip": {"type": "string"}}},
  "items": {"type": "array", "items": {"type": "object", "properties": {
    "name": {"type": "string"}, "sku": {"type": "string"}}}}
}}
"""


def write_streams(folder: Path, old: str = OLD_CONTRACT, new: str = NEW_CONTRACT) -> Path:
    """The folder of streams in `folder`, with the stream ``visits``; returns the stream's own."""
    visits = folder / "streams" / "visits"
    visits.mkdir(parents=True, exist_ok=True)
    for name, text in {
        "stream.yaml": STREAM,
        "old.yaml": old,
        "new.yaml": new,
        "old.schema.json": _OLD_SCHEMA,
        "new.schema.json": _NEW_SCHEMA,
    }.items():
        (visits / name).write_text(textwrap.dedent(text))
    return visits


def environment(folder: Path, workers: int = 1) -> dict[str, str]:
    """That of an installation in `folder`."""
    return {
        "PII_STREAMS_DIR": str(folder / "streams"),
        "PII_STORAGE_URI": str(folder / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{folder / 'pii.db'}",
        "PII_VAULT_URL": f"sqlite:///{folder / 'vault.db'}",
        "PII_VAULT_ANCHORS": (folder / "vault-anchors").as_uri(),
        "PII_KEY_ENCRYPTION_KEY": f"file:{folder / 'key'}",
        "PII_WORKERS": str(workers),
        "PII_WAREHOUSE_URL": f"duckdb:///{folder / 'warehouse.duckdb'}",
        "DAGSTER_HOME": str(folder / "dagster"),
    }


def install(folder: Path, workers: int = 1, batch_bytes: int = 1 << 30) -> Installation:
    """The installation in `folder`; to be closed."""
    return Installation(read_settings(environment(folder, workers), project=project_root()), batch_bytes)


def old_event(number: int, **changes: object) -> dict[str, object]:
    """A valid event of `OLD`."""
    return {
        "meta": {"contract": OLD, "sdk": "js"},
        "id": f"old-{number}",
        "session": f"session {number % 3}",
        "user": f"{4000 + number % 5}" if number % 4 else None,
        "consent": [1] if number % 2 else [],
        "page": f"page {number % 7}",
        "amount": number,
        "email": f"old{number % 5}@example.com",
        "coupon": f"coupon {number}",
        "address": {"city": f"city {number}", "zip": "1000"},
        "items": [{"sku": f"sku {number}"}, {"sku": "other"}],
    } | changes


def new_event(number: int, **changes: object) -> dict[str, object]:
    """A valid event of `NEW`."""
    return {
        "ts": f"2026-11-22T09:{number % 60:02}:00Z",
        "id": f"new-{number}",
        "visit": f"visit {number % 4}",
        "customer": {"id": 4000 + number % 5, "tier": "gold"},
        "user": f"user {number}",
        "consent": [1, 2] if number % 3 else [2],
        "page": f"https://shop.example/p/{number}?q=blue shoes",
        "amount": number,
        "email": f"new{number % 5}@example.com",
        "address": {"city": f"city {number}", "zip": "2000", "country": "NL"},
        "items": [{"sku": f"sku {number}", "name": "a name"}],
        "meta": {"build": number, "contract": NEW},
    } | changes


def interleaved(count: int) -> list[dict[str, object]]:
    """`count` valid events of each version, by turns."""
    return [event for number in range(count) for event in (old_event(number), new_event(number))]


def land(
    installation: Installation, events: Sequence[object], name: str = "a.jsonl", hour: str = HOUR
) -> None:
    """Lands `events` as JSON lines; bytes are a line as they are."""
    lines = [event if isinstance(event, bytes) else json.dumps(event).encode() for event in events]
    put(installation.zones.landing, landing_path("visits", hour_start(hour), name), b"\n".join(lines))
