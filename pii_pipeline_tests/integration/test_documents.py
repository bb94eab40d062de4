"""Self-describing documents and Snowplow's hashes, through the layers: landing to a derived dataset."""

import hashlib
import json
import shutil
import subprocess
import sys
from os import environ
from pathlib import Path

import pyarrow as pa
import pytest

from pii_pipeline.keys.errors import SaltMissing, SecretChanged
from pii_pipeline.lake import landing_path, put, read_parquet
from pii_pipeline.ledger import hour_start
from pii_pipeline.pipeline import pseudonymize
from pii_pipeline.pipeline.derive import derive_hour
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.privacy import documents
from pii_pipeline.settings import project_root, read_settings

HOUR = "2026-11-22T10"
USER = "iglu:com.acme/user/jsonschema/1-0-0"
CONTEXTS = "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-1"

_STREAM = """\
description: Page views with their contexts.
derived:
  report:
    description: Who lives where.
    consent: {purposes: [1]}
"""

_CONTRACT = """\
contract: tests/web/1.0.0
state: active
schema: event.schema.json
time_field: $arrival
key_field: session
data_subject: {field: user, namespace: customer}
consent: {field: consent, type: granular}
fields:
  consent: keep
  user: {pseudonymize: {hash: SHA-256}}
  contexts:
    self_describing:
      iglu:com.acme/user/jsonschema/1-*-*:
        plan: keep
        address: {encrypt: {level: 1}}
        mail: {pseudonymize: {hash: SHA-256}}
        birth: {encrypt: {level: 2}}
"""

_SCHEMA = {
    "type": "object",
    "required": ["session"],
    "properties": {
        "session": {"type": "string", "minLength": 1},
        "user": {"type": "string"},
        "consent": {"type": "array", "items": {"type": "integer"}},
        "contexts": {"type": "object"},
    },
}


def contexts(number: int) -> dict[str, object]:
    data = {
        "plan": "free" if number % 2 else "paid",
        "address": {"city": f"City of {number}", "no": number, "flat": None},
        "mail": f"user{number % 5}@example.org",
        "birth": 1950 + number,
        "nickname": [f"nick-{number}", {"since": number * 1.5}],
    }
    return {"schema": CONTEXTS, "data": [{"schema": USER, "data": data}]}


EVENTS = [
    {
        "session": f"session-{number // 3}",
        "user": f"user{number % 5}@example.org",
        "consent": [1] if number % 2 else [],
        "contexts": contexts(number),
    }
    for number in range(30)
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of an installation with the stream, without a salt."""
    folder = tmp_path / "streams" / "web"
    folder.mkdir(parents=True)
    (folder / "stream.yaml").write_text(_STREAM)
    (folder / "contract.yaml").write_text(_CONTRACT)
    (folder / "event.schema.json").write_text(json.dumps(_SCHEMA))
    return {
        "PII_STREAMS_DIR": str(tmp_path / "streams"),
        "PII_STORAGE_URI": str(tmp_path / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{tmp_path / 'pii.db'}",
        "PII_VAULT_URL": f"sqlite:///{tmp_path / 'vault.db'}",
        "PII_VAULT_ANCHORS": (tmp_path / "vault-anchors").as_uri(),
        "PII_KEY_ENCRYPTION_KEY": f"file:{tmp_path / 'key'}",
        "PII_WORKERS": "1",
        "DAGSTER_HOME": str(tmp_path / "dagster"),
    }


def opened(environment: dict[str, str], salt: str | None = None) -> Installation:
    given = environment if salt is None else environment | {"PII_SNOWPLOW_SALT": salt}
    return Installation(read_settings(given, project=project_root()))


def land(installation: Installation) -> None:
    data = b"".join(json.dumps(event).encode() + b"\n" for event in EVENTS)
    put(installation.zones.landing, landing_path("web", hour_start(HOUR), "a.jsonl"), data)


def process(
    installation: Installation, force: bool = False, ahead: tuple[str, ...] = ()
) -> tuple[pa.Table, pa.Table]:
    """What the lake and the report have for the hour then."""
    stream = installation.streams["web"]
    seal_hour(installation, stream, HOUR)
    validate_hour(installation, stream, HOUR, force)
    pseudonymize_hour(installation, stream, HOUR, force, ahead=ahead)
    assert len(installation.ahead) == len(ahead)
    derive_hour(installation, stream, "report", HOUR, force)
    return (
        rows(installation, installation.zones.lake, "pseudonymized_events"),
        rows(installation, installation.zones.consented, "report"),
    )


def rows(installation: Installation, zone, dataset: str) -> pa.Table:
    (path,) = installation.ledger.files("web", dataset, HOUR)
    return pa.Table.from_batches(read_parquet(zone, path))


def data_of(text: str) -> dict[str, object]:
    return json.loads(text)["data"][0]["data"]


def snowplows(value: str) -> str:
    return hashlib.sha256(f"{value}pepper123".encode()).hexdigest()


def test_documents_go_all_the_way(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    installation = opened(environment, "pepper123")
    land(installation)
    lake, report = process(installation)
    assert lake.num_rows == 30
    assert lake["user"].to_pylist() == [snowplows(str(event["user"])) for event in EVENTS]
    for number, text in enumerate(lake["contexts"].to_pylist()):
        data = data_of(text)
        assert data["plan"] == ("free" if number % 2 else "paid")
        assert data["mail"] == snowplows(f"user{number % 5}@example.org"), "it joins with the column"
        assert str(data["address"])[0] == str(data["birth"])[0] == "A"
        assert not any(word in text for word in ("City", "nick", "since", "example.org", '"no"'))
        assert len(data) == 5

    assert report.num_rows == 15
    in_lake = {str(value) for text in lake["contexts"].to_pylist() for value in data_of(text).values()}
    admitted = [number for number in range(30) if number % 2]
    for number, text in zip(admitted, report["contexts"].to_pylist(), strict=True):
        data = data_of(text)
        assert data["address"] == {"city": f"City of {number}", "no": number, "flat": None}
        assert str(data["birth"])[0] == "A", "nobody asked for purpose 2"
        assert data["plan"] == "free"
        assert len(str(data["mail"])) == 64
        assert not {str(data["mail"]), str(data["birth"])} & in_lake

    for module, name, size in ((pseudonymize, "DOCUMENT_BYTES", 2000), (documents, "BLOCK_BYTES", 600)):
        monkeypatch.setattr(module, name, size)
        again = process(installation, force=True)
        assert [table.to_pylist() for table in again] == [lake.to_pylist(), report.to_pylist()]
    # What is opened from memory comes in pieces too.
    again = process(installation, force=True, ahead=("report",))
    assert [table.to_pylist() for table in again] == [lake.to_pylist(), report.to_pylist()]
    installation.close()


def test_without_a_salt_nothing_is_begun(environment: dict[str, str]) -> None:
    installation = opened(environment)
    land(installation)
    with pytest.raises(SaltMissing, match="PII_SNOWPLOW_SALT"):
        seal_hour(installation, installation.streams["web"], HOUR)
    assert installation.ledger.hours("web") == []
    installation.close()


def test_a_salt_is_remembered_and_another_one_refused(environment: dict[str, str]) -> None:
    first = opened(environment, "pepper123")
    land(first)
    lake, _ = process(first)
    first.close()
    later = opened(environment)
    assert process(later, force=True)[0].to_pylist() == lake.to_pylist()
    later.close()
    changed = opened(environment, "pepper124")
    with pytest.raises(SecretChanged, match="PII_SNOWPLOW_SALT"):
        seal_hour(changed, changed.streams["web"], HOUR)
    changed.close()


def test_the_fingerprint_has_the_salt_only_where_it_is_used(
    environment: dict[str, str], tmp_path: Path
) -> None:
    installation = opened(environment, "pepper123")
    stream = installation.streams["web"]
    assert installation.secret_version(stream) == f"1 {installation.snowplow_salt.mark}"
    contract = tmp_path / "streams" / "web" / "contract.yaml"
    contract.write_text(contract.read_text().replace("{pseudonymize: {hash: SHA-256}}", "pseudonymize"))
    without = opened(environment)
    assert without.secret_version(without.streams["web"]) == 1
    installation.close()
    without.close()


def run_of(
    environment: dict[str, str], salt: str | None, *arguments: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in environ.items() if not name.startswith(("PII_", "DAGSTER"))}
    given = {"PYTHONPATH": str(project_root())} | ({"PII_SNOWPLOW_SALT": salt} if salt else {})
    program = "from pii_pipeline.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "run", *arguments],
        env=kept | environment | given,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_stream_that_is_named_is_refused_without_its_salt(environment: dict[str, str]) -> None:
    installation = opened(environment)
    land(installation)
    installation.close()
    refused = run_of(environment, None, "web")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(
        "pii: web: a contract has `hash`, and no salt is known: set PII_SNOWPLOW_SALT"
    )
    assert run_of(environment, "pepper123", "web").returncode == 0
    refused = run_of(environment, "pepper124", "web")
    assert refused.returncode == 2
    assert refused.stderr.startswith("pii: web: PII_SNOWPLOW_SALT is not the salt")
    assert "pepper" not in refused.stderr


def test_a_salt_that_one_stream_lacks_keeps_no_other_from_being_run(
    environment: dict[str, str], tmp_path: Path
) -> None:
    other = tmp_path / "streams" / "other"
    shutil.copytree(tmp_path / "streams" / "web", other)
    contract = (
        (other / "contract.yaml").read_text().replace("{pseudonymize: {hash: SHA-256}}", "pseudonymize")
    )
    (other / "contract.yaml").write_text(contract.replace("tests/web/", "tests/other/"))
    broken = tmp_path / "streams" / "broken"
    shutil.copytree(tmp_path / "streams" / "web", broken)
    (broken / "stream.yaml").write_text("description: Two mistakes.\nowner: x\ncontract: y\n")
    installation = opened(environment)
    land(installation)
    data = b"".join(json.dumps(event).encode() + b"\n" for event in EVENTS)
    put(installation.zones.landing, landing_path("other", hour_start(HOUR), "a.jsonl"), data)

    done = run_of(environment, None)
    assert done.returncode == 1
    assert [line.partition(": ")[2].partition(":")[0] for line in done.stderr.splitlines()] == [
        "broken",
        "broken",
        "web",
    ]
    assert "\npii: web: a contract has `hash`, and no salt is known" in done.stderr
    assert done.stdout.splitlines()[-1] == "1 hour, 0 of them up to date already, 2 streams failed"
    assert installation.ledger.hours("web") == []
    made = installation.ledger.contents("other", HOUR).sealed
    assert len(made) == 1
    installation.close()


def test_a_wrong_secret_is_everybodys(environment: dict[str, str]) -> None:
    installation = opened(environment)
    land(installation)
    assert installation.secret.version == 1
    installation.close()
    refused = run_of(environment | {"PII_PSEUDONYM_SECRET": "another one"}, "pepper123")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("pii: the imported pseudonym secret")
    assert "another one" not in refused.stderr
