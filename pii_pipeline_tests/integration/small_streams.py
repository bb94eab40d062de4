"""Two small streams, `alpha` and `beta`, alike but for their names, in an installation of their own."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.landing import land
from pii_pipeline.settings import project_root, read_settings

HOUR = "2026-11-22T10"
PARTITION = "2026-11-22-10:00"
STREAMS = ("alpha", "beta")
LAYERS = ("raw_events", "validated_events", "bad_events", "pseudonymized_events", "report")

_STREAM = """\
description: A small stream.
owners: [team:tests]
bad_event_threshold: 0.25
derived:
  report:
    description: Who reads what.
    consent: {purposes: [1]}
"""

_CONTRACT = """\
contract: tests/NAME/1.0.0
state: active
schema: event.schema.json
time_field: $arrival
key_field: user
data_subject: {field: user, namespace: customer}
consent: {field: consent, type: granular}
fields:
  consent: keep
  page: keep
  email: {encrypt: {level: 1}}
"""

_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["user", "page"],
    "properties": {
        "user": {"type": "string", "minLength": 1},
        "page": {"type": "string"},
        "email": {"type": "string"},
        "consent": {"type": "array", "items": {"type": "integer"}},
    },
}

GOOD = [
    {"user": f"user-{n}", "page": "home", "email": f"user{n}@example.org", "consent": [1] if n % 2 else []}
    for n in range(10)
]
BAD = [{"user": f"user-{n}", "page": n, "email": f"user{n}@example.org"} for n in range(10)]
LEAKING = [
    {"user": f"user-{n}", "page": f"about/user{n}@example.org", "email": "x@example.org"} for n in range(10)
]


def environment(folder: Path) -> dict[str, str]:
    """The environment of an installation in `folder`, whose streams are made there if they are not yet."""
    for name in STREAMS:
        stream = folder / "streams" / name
        if stream.exists():
            continue
        stream.mkdir(parents=True)
        (stream / "stream.yaml").write_text(_STREAM)
        (stream / "contract.yaml").write_text(_CONTRACT.replace("NAME", name))
        (stream / "event.schema.json").write_text(json.dumps(_SCHEMA))
    return {
        "PII_STREAMS_DIR": str(folder / "streams"),
        "PII_STORAGE_URI": str(folder / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{folder / 'pii.db'}",
        "PII_VAULT_URL": f"sqlite:///{folder / 'vault.db'}",
        "PII_VAULT_ANCHORS": (folder / "vault-anchors").as_uri(),
        "PII_KEY_ENCRYPTION_KEY": f"file:{folder / 'key'}",
        "PII_WAREHOUSE_URL": f"duckdb:///{folder / 'warehouse.duckdb'}",
        "PII_WORKERS": "1",
        "DAGSTER_HOME": str(folder / "dagster"),
    }


def install(folder: Path) -> Installation:
    """An installation in `folder`, with the project's ``dagster.yaml``."""
    return Installation(read_settings(environment(folder), project=project_root()))


def land_events(
    installation: Installation, stream: str, events: Sequence[object], name: str = "a.json"
) -> None:
    """Lands `events` as JSON lines in `HOUR`."""
    data = "".join(json.dumps(event) + "\n" for event in events).encode()
    land(installation.zones.landing, stream, HOUR, name, io.BytesIO(data))


def assets_of(stream: str, *layers: str) -> set[str]:
    """``stream/layer`` of these layers, or of all."""
    return {f"{stream}/{layer}" for layer in layers or LAYERS}
