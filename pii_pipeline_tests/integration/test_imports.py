"""Imported contracts at work: their events go through all the layers as they were meant to."""

import json
from pathlib import Path
from typing import Any

import yaml

from pii_pipeline.cli import cli
from pii_pipeline.lake import landing_path, put, read_parquet
from pii_pipeline.ledger import hour_start
from pii_pipeline.pipeline.derive import derive_hour
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.settings import read_settings
from pii_pipeline_tests.shared_data import shared_data

HOUR = "2026-11-22T10"


def run(
    folder: Path, name: str, dataset: str, events: list[Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The counts of validation, and the rows of the derived dataset."""
    environment = {
        "PII_STORAGE_URI": str(folder / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{folder / 'pii.db'}",
        "PII_VAULT_URL": f"sqlite:///{folder / 'vault.db'}",
        "PII_VAULT_ANCHORS": (folder / "vault-anchors").as_uri(),
        "PII_KEY_ENCRYPTION_KEY": f"file:{folder / 'kek'}",
        "PII_STREAMS_DIR": str(folder / "streams"),
        "PII_WORKERS": "1",
    }
    opened = Installation(read_settings(environment))
    try:
        content = b"\n".join(json.dumps(event).encode() for event in events)
        put(opened.zones.landing, landing_path(name, hour_start(HOUR), "events.jsonl"), content)
        stream = opened.streams[name]
        seal_hour(opened, stream, HOUR)
        counts = validate_hour(opened, stream, HOUR).counts
        pseudonymize_hour(opened, stream, HOUR)
        derive_hour(opened, stream, dataset, HOUR)
        paths = opened.ledger.files(name, dataset, HOUR)
        batches = [batch for path in paths for batch in read_parquet(opened.zones.consented, path)]
        return counts, [row for batch in batches for row in batch.to_pylist()]
    finally:
        opened.close()


def change(file: Path, **values: Any) -> None:
    """Other values for keys of a YAML file."""
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | values, sort_keys=False))


def test_consent_in_words_and_by_default(tmp_path):
    folder = tmp_path / "streams" / "clicks"
    folder.mkdir(parents=True)
    names = ("id", "email", "agreed")
    properties = {name: {"type": ["string", "null"]} for name in names}
    (folder / "event.schema.json").write_text(json.dumps({"type": "object", "properties": properties}))
    contract = {
        "contract": "acme/clicks/1.0.0",
        "state": "active",
        "schema": "event.schema.json",
        "time_field": "$arrival",
        "key_field": "id",
        "consent": {
            "type": "granular",
            "field": "agreed",
            "values": {"marketing": [1, 2], "nothing": []},
            "default": [1],
        },
        "fields": {"email": {"encrypt": {"level": 1}}},
    }
    (folder / "contract.yaml").write_text(yaml.safe_dump(contract))
    derived = {"mail": {"description": "Mail.", "consent": {"purposes": [1]}}}
    (folder / "stream.yaml").write_text(yaml.safe_dump({"description": "Clicks.", "derived": derived}))
    said = ["marketing", "nothing", "Marketing", "[1]", "", None]
    events = [{"id": f"id-{n}", "email": f"{n}@example.org", "agreed": word} for n, word in enumerate(said)]
    events.append({"id": "id-6", "email": "6@example.org"})
    counts, rows = run(tmp_path, "clicks", "mail", events)
    assert counts["validated"] == 7
    assert sorted(row["email"] for row in rows) == ["0@example.org", "5@example.org", "6@example.org"]


def test_the_platform_s_own_events(tmp_path, monkeypatch):
    data = shared_data() / "strm"
    (tmp_path / "streams").mkdir()
    monkeypatch.setenv("PII_STREAMS_DIR", str(tmp_path / "streams"))
    files = [str(data / "contract-strmprivacy_example_1.3.0.json"), "--schema", str(data / "demo.avsc")]
    cli(["contract", "import", "--from", "strm", *files], standalone_mode=False)
    folder = tmp_path / "streams" / "example"
    change(folder / "contract.yaml", max_age="36500d")
    derived = {"three": {"description": "Three.", "consent": {"purposes": [3]}}}
    change(folder / "stream.yaml", derived=derived)
    events = [json.loads(line) for line in (data / "sample_events.jsonl").read_text().splitlines()]
    counts, rows = run(tmp_path, "example", "three", events)
    # Five of them are of this contract, and carry all consent levels.
    assert (counts["records"], counts["validated"], counts["bad"]) == (12, 5, 7)
    mine = [
        event for event in events if event["strmMeta"].get("eventContractRef") == "strmprivacy/example/1.3.0"
    ]
    assert sorted(row["someSensitiveValue"] for row in rows) == sorted(e["someSensitiveValue"] for e in mine)
