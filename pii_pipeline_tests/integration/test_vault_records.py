"""Originals of reversible fields, from landing into the vault and back."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pii_pipeline.keys.derivation import canonical_id, subject_tags
from pii_pipeline.lake import landing_path, put, read_parquet, walk_objects
from pii_pipeline.ledger import hour_start
from pii_pipeline.pipeline import vault_records, vault_sample
from pii_pipeline.pipeline.compaction import compact_hours, hours_to_compact
from pii_pipeline.pipeline.installation import LATEST_CONSENTS, REVERSIBLE_ORIGINALS, Installation
from pii_pipeline.pipeline.layer import InputsGone, LayerResult, silent
from pii_pipeline.pipeline.places import accept, moved_zones
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.retention import apply_retention
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.pipeline.vault_records import WrongRecord, load_hour
from pii_pipeline.pipeline.vault_sample import resolve_sample
from pii_pipeline.privacy.originals import Originals
from pii_pipeline.resources import resources
from pii_pipeline.resources.vault import VaultResource
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline.streams.model import Stream
from pii_pipeline.vault.model import LawfulBasis, Reason, RecordKey, Withheld

HOUR = "2026-11-22T10"
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
USER = "iglu:com.acme/user/jsonschema/1-0-0"
MAIL = "contexts iglu:com.acme/user/jsonschema/1-*-* mail"
VERIFY = Reason(LawfulBasis.LEGAL_OBLIGATION, "verification")

_STREAM = "description: Events with all sorts of reversible fields.\n"

_CONTRACT = """\
contract: tests/alpha/1.0.0
state: active
schema: event.schema.json
time_field: ts
key_field: session
data_subject: {field: user, namespace: customer}
consent: {field: consent, type: granular}
fields:
  ts: keep
  consent: keep
  user: {pseudonymize: {domain: user, reversible: true}}
  ip: {pseudonymize: {joinable: true, reversible: true}}
  plain: {pseudonymize: {domain: none, reversible: true}}
  hashed: {pseudonymize: {hash: SHA-1, reversible: true}}
  items[]/code: {pseudonymize: {reversible: true}}
  contexts:
    self_describing:
      iglu:com.acme/user/jsonschema/1-*-*:
        mail: {pseudonymize: {reversible: true}}
"""

_SCHEMA = {
    "type": "object",
    "required": ["session", "ts"],
    "properties": {
        "ts": {"type": "string"},
        "session": {"type": "string", "minLength": 1},
        "user": {"type": ["string", "null"]},
        "ip": {"type": "string"},
        "plain": {"type": "string"},
        "hashed": {"type": "string"},
        "items": {"type": "array", "items": {"type": "object", "properties": {"code": {"type": "integer"}}}},
        "contexts": {"type": "object"},
        "consent": {"type": ["array", "null"], "items": {"type": "integer"}},
    },
}

_POLICY = """\
purposes:
  support: {description: Somebody calls., consent: 2}
principals:
  desk:
    read: [{streams: [alpha], fields: ["*"], bases: [consent], purposes: [support]}]
"""


def event(number: int, **changes: Any) -> dict[str, Any]:
    person = number % 5
    return {
        "ts": f"2026-11-{21 + number % 2}T09:30:{number % 60:02}Z",
        "session": f"session-{number % 7}",
        "user": f"user-{person}",
        "ip": f"10.0.0.{number % 3}",
        "plain": f"plain {person}",
        "hashed": f"hashed {person}",
        "items": [{"code": number}, {"code": 7}],
        "contexts": {"schema": USER, "data": {"mail": f"user-{person}@example.org"}},
        "consent": [1, 2],
    } | changes


EVENTS = [event(number) for number in range(20)]
RECORDS = 5 + 15 + 5 + 5 + (20 + 5) + 5 - 1
"""Users, their IP addresses, plain and hashed texts, codes (7 is one of both kinds) and mails."""


def variables(folder: Path) -> dict[str, str]:
    stream = folder / "streams" / "alpha"
    if not stream.exists():
        stream.mkdir(parents=True)
        (stream / "stream.yaml").write_text(_STREAM)
        (stream / "contract.yaml").write_text(_CONTRACT)
        (stream / "event.schema.json").write_text(json.dumps(_SCHEMA))
        (folder / "policy.yaml").write_text(_POLICY)
    return {
        "PII_STREAMS_DIR": str(folder / "streams"),
        "PII_STORAGE_URI": str(folder / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{folder / 'pii.db'}",
        "PII_VAULT_URL": f"sqlite:///{folder / 'vault.db'}",
        "PII_VAULT_POLICY": str(folder / "policy.yaml"),
        "PII_VAULT_ANCHORS": (folder / "anchors").as_uri(),
        "PII_KEY_ENCRYPTION_KEY": f"file:{folder / 'key'}",
        "PII_SNOWPLOW_SALT": "pepper123",
        "PII_WORKERS": "1",
    }


Open = Callable[..., Installation]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens installations over the test's folder, with other settings where they are given."""
    all_of_them: list[Installation] = []

    def open_one(**changes: str) -> Installation:
        settings = read_settings(variables(tmp_path) | changes, project=project_root())
        all_of_them.append(Installation(settings))
        return all_of_them[-1]

    yield open_one
    for installation in all_of_them:
        installation.close()


@pytest.fixture
def installation(opened: Open) -> Installation:
    return opened()


@pytest.fixture
def stream(installation: Installation) -> Stream:
    return installation.streams["alpha"]


def land(installation: Installation, events: Sequence[dict[str, Any]], name: str = "a.jsonl") -> None:
    content = b"\n".join(json.dumps(item).encode() for item in events)
    put(installation.zones.landing, landing_path("alpha", hour_start(HOUR), name), content)


def into_lake(installation: Installation, stream: Stream, force: bool = False) -> LayerResult:
    seal_hour(installation, stream, HOUR)
    validate_hour(installation, stream, HOUR, force)
    return pseudonymize_hour(installation, stream, HOUR, force)


def load(installation: Installation, stream: Stream, force: bool = False) -> dict[str, Any]:
    return load_hour(installation, stream, HOUR, force).counts


def other_vault(folder: Path) -> dict[str, str]:
    """Settings of a second vault of the installation: a log of its own has anchors of its own."""
    return {
        "PII_VAULT_URL": f"sqlite:///{folder / 'other.db'}",
        "PII_VAULT_ANCHORS": (folder / "other-anchors").as_uri(),
    }


def rows(folder: Path, table: str = "vault_records", name: str = "vault.db") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / name)) as database:
        return sorted(database.execute(f"SELECT * FROM {table}").fetchall())


def lake(installation: Installation) -> list[dict[str, Any]]:
    files = installation.ledger.files("alpha", "pseudonymized_events")
    return [
        row
        for path in files
        for part in read_parquet(installation.zones.lake, path)
        for row in part.to_pylist()
    ]


def forget(installation: Installation, user: str) -> None:
    (tag,) = subject_tags(installation.index_key, "customer", [canonical_id(user)])
    assert installation.keys.forget(tag, erased_at=NOW, expires_at=NOW + timedelta(days=365))


def test_every_original_of_every_form_comes_back(
    installation: Installation, stream: Stream, tmp_path: Path
) -> None:
    land(installation, EVENTS)
    made = into_lake(installation, stream)
    assert made.counts["originals"] == RECORDS
    assert load(installation, stream) == {"originals": RECORDS, "new": RECORDS, "known": 0, "forgotten": 0}
    assert len(rows(tmp_path)) == RECORDS
    treated = lake(installation)
    for number, row in enumerate(treated):
        sent = EVENTS[number]
        mail = json.loads(row["contexts"])["data"]["mail"]
        expected = {
            "user": (row["user"], sent["user"]),
            "ip": (row["ip"], sent["ip"]),
            "plain": (row["plain"], sent["plain"]),
            "hashed": (row["hashed"], sent["hashed"]),
            "items[]/code": (row["items"][0]["code"], str(number)),
            MAIL: (mail, sent["contexts"]["data"]["mail"]),
        }
        keys = [RecordKey("alpha", field, pseudonym) for field, (pseudonym, _) in expected.items()]
        found = installation.vault.read("pipeline", VERIFY, keys)
        assert [answer.originals for answer in found] == [(original,) for _, original in expected.values()]
    seen = {(row[0], row[1], row[-2], row[-1]) for row in rows(tmp_path) if row[1] == "user"}
    assert seen == {("alpha", "user", "2026-11-21", "2026-11-22")}


def test_the_files_on_the_way_are_sealed_encrypted_and_their_owners(
    installation: Installation, stream: Stream
) -> None:
    land(installation, EVENTS)
    into_lake(installation, stream)
    key = installation.keys.restricted_key("alpha", date(2026, 11, 22))
    for dataset in (REVERSIBLE_ORIGINALS, LATEST_CONSENTS):
        (path,) = installation.ledger.files("alpha", dataset)
        file = Path(installation.settings.zones["restricted"]) / path
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.read_bytes()[:4] == b"PARE"
        text = repr([part.to_pylist() for part in read_parquet(installation.zones.restricted, path, key=key)])
        assert "user-" not in text and "10.0.0" not in text and "plain " not in text


def test_loaded_again_all_is_known_and_the_rows_stay(
    installation: Installation, stream: Stream, tmp_path: Path
) -> None:
    land(installation, EVENTS)
    into_lake(installation, stream)
    load(installation, stream)
    before, consents = rows(tmp_path), rows(tmp_path, "vault_consents")
    result = load_hour(installation, stream, HOUR)
    assert (result.made, result.skipped) == (0, 1)
    into_lake(installation, stream, force=True)
    counts = load(installation, stream, force=True)
    assert counts == {"originals": RECORDS, "new": 0, "known": RECORDS, "forgotten": 0}
    assert (rows(tmp_path), rows(tmp_path, "vault_consents")) == (before, consents)


def test_the_order_of_batches_and_chunks_leaves_no_trace(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened()
    stream = first.streams["alpha"]
    first.batch_bytes = 1
    said = [event(n, consent=[n % 3], ts=f"2026-11-22T09:00:{n % 4:02}Z") for n in range(20, 32)]
    for number, events in enumerate((EVENTS[:7], EVENTS[5:], said)):
        land(first, events, f"{number}.jsonl")
    assert into_lake(first, stream).made == 3
    counts = load(first, stream)
    other = opened(**other_vault(tmp_path))
    batches = other.ledger.batches
    monkeypatch.setattr(other.ledger, "batches", lambda *of: batches(*of)[::-1])
    monkeypatch.setattr(vault_records, "LOADED_AT_ONCE", 1)
    assert load(other, stream, force=True) == counts
    for table in ("vault_records", "vault_consents"):
        assert rows(tmp_path, table) == rows(tmp_path, table, "other.db")


_KILLED = """
import os, signal, sys
from pii_pipeline.ledger import Ledger
from pii_pipeline_tests.integration.test_vault_records import HOUR, variables, load
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.settings import read_settings
from pathlib import Path
commit = Ledger.commit
def dying(self, batch, layer, *rest, **named):
    if layer == "vault_records":
        os.kill(os.getpid(), signal.SIGKILL)
    return commit(self, batch, layer, *rest, **named)
Ledger.commit = dying
installation = Installation(read_settings(variables(Path(sys.argv[1]))))
load(installation, installation.streams["alpha"])
"""


def test_killed_between_the_vault_and_the_ledger(
    installation: Installation, stream: Stream, tmp_path: Path
) -> None:
    land(installation, EVENTS)
    into_lake(installation, stream)
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], cwd=project_root(), check=False)
    assert done.returncode == -signal.SIGKILL
    before = rows(tmp_path)
    assert len(before) == RECORDS
    assert load(installation, stream) == {"originals": RECORDS, "new": 0, "known": RECORDS, "forgotten": 0}
    assert rows(tmp_path) == before
    assert installation.vault_audit.verify().entries >= 4


def test_two_at_once_load_once(opened: Open, tmp_path: Path) -> None:
    one, other = opened(), opened()
    stream = one.streams["alpha"]
    land(one, EVENTS)
    into_lake(one, stream)
    results: list[LayerResult] = []
    threads = [
        threading.Thread(target=lambda of=of: results.append(load_hour(of, stream, HOUR)))
        for of in (one, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.made for result in results) == [0, 1]
    for result in results:
        assert result.counts == {"originals": RECORDS, "new": RECORDS, "known": 0, "forgotten": 0}
    assert len(rows(tmp_path)) == RECORDS


def test_the_records_of_the_forgotten_are_noise(installation: Installation, stream: Stream) -> None:
    land(installation, EVENTS)
    into_lake(installation, stream)
    load(installation, stream)
    row = lake(installation)[1]
    keys = [RecordKey("alpha", "user", row["user"]), RecordKey("alpha", "ip", row["ip"])]
    forget(installation, "user-1")
    bound, shared = installation.vault.read("pipeline", VERIFY, keys)
    assert (bound.originals, bound.withheld) == ((), Withheld.FORGOTTEN)
    assert (shared.originals, shared.withheld) == (("10.0.0.1",), None), "others have it as well"
    counts = load(installation, stream, force=True)
    mine = 1 + 3 + 1 + 1 + 5 + 1
    assert counts == {"originals": RECORDS, "new": 0, "known": RECORDS - mine, "forgotten": mine}
    assert resolve_sample(installation, stream, HOUR).problem is None


def test_what_rests_on_consent_follows_what_was_said_last(installation: Installation, stream: Stream) -> None:
    reason = Reason(LawfulBasis.CONSENT, "support")
    land(installation, [event(0), event(1)])
    into_lake(installation, stream)
    load(installation, stream)
    keys = [RecordKey("alpha", "user", row["user"]) for row in lake(installation)]
    found = installation.vault.read("desk", reason, keys)
    assert [answer.originals for answer in found] == [("user-0",), ("user-1",)]
    # Later, in an event without anything reversible but the name; and one that says nothing.
    land(installation, [event(0, ts="2026-11-22T09:45:00Z", consent=[1])], "b.jsonl")
    land(installation, [event(1, ts="2026-11-22T09:45:00Z", consent=None)], "c.jsonl")
    into_lake(installation, stream)
    load(installation, stream)
    found = installation.vault.read("desk", reason, keys)
    assert [answer.withheld for answer in found] == [Withheld.NO_CONSENT] * 2


def test_a_consent_that_somebody_wrote_into_the_database_is_none_and_loading_again_mends_it(
    installation: Installation, stream: Stream, tmp_path: Path
) -> None:
    reason = Reason(LawfulBasis.CONSENT, "support")
    land(installation, [event(0), event(1, consent=[1])])
    into_lake(installation, stream)
    load(installation, stream)
    keys = [RecordKey("alpha", "user", row["user"]) for row in lake(installation)]
    with closing(sqlite3.connect(tmp_path / "vault.db")) as database, database:
        database.execute("UPDATE vault_consents SET levels = CASE levels WHEN '1' THEN '1,2' ELSE '1' END")
    found = installation.vault.read("desk", reason, keys)
    assert [answer.withheld for answer in found] == [Withheld.NO_CONSENT] * 2
    *_, last = installation.vault_audit.entries()
    assert json.loads(last.text)["counts"]["tampered_consents"] == 2
    load(installation, stream, force=True)
    with closing(sqlite3.connect(tmp_path / "vault.db")) as database, database:
        assert {row[2] for row in database.execute("SELECT * FROM vault_consents")} == {"1", "1,2"}
    found = installation.vault.read("desk", reason, keys)
    assert [answer.originals for answer in found] == [("user-0",), ()]


def test_a_record_that_is_not_what_it_says_is_not_loaded(
    installation: Installation, stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Originals.add

    def shifted(self: Originals, path: str, pairs: Any, texts: Any, pseudonyms: Any, at: Any) -> None:
        moved = [*pseudonyms[1:], *pseudonyms[:1]] if path == "ip" else pseudonyms
        add(self, path, pairs, texts, moved, at)

    land(installation, EVENTS)
    monkeypatch.setattr(Originals, "add", shifted)
    into_lake(installation, stream)
    with pytest.raises(WrongRecord, match=r"ip, record .* its original has another pseudonym") as caught:
        load(installation, stream)
    assert "10.0.0" not in str(caught.value)
    assert rows(tmp_path) == []
    monkeypatch.undo()
    into_lake(installation, stream, force=True)

    unseal = vault_records.vault_records.unseal
    swapped = lambda key, whose, names, sealed: unseal(key, whose, names, [*sealed[1:], *sealed[:1]])  # noqa: E731
    monkeypatch.setattr(vault_records.vault_records, "unseal", swapped)
    with pytest.raises(WrongRecord, match="does not open"):
        load(installation, stream)
    assert rows(tmp_path) == []
    monkeypatch.undo()
    assert load(installation, stream)["new"] == RECORDS


def test_files_go_when_the_vault_has_them_and_are_made_again(
    installation: Installation, stream: Stream, tmp_path: Path
) -> None:
    land(installation, EVENTS)
    into_lake(installation, stream)
    soon = datetime.now(UTC) + timedelta(minutes=1)
    kept = apply_retention(installation, stream, soon)
    assert not {REVERSIBLE_ORIGINALS, LATEST_CONSENTS} & kept.deleted.keys()
    assert {dataset for _, dataset in kept.kept} >= {REVERSIBLE_ORIGINALS, LATEST_CONSENTS}
    load(installation, stream)
    before, treated = rows(tmp_path), lake(installation)
    gone = apply_retention(installation, stream, soon)
    assert {REVERSIBLE_ORIGINALS, LATEST_CONSENTS} <= gone.deleted.keys()
    left = {info.path.split("/")[1] for info in walk_objects(installation.zones.restricted, "alpha")}
    assert left <= {"event_digests"}
    assert (load_hour(installation, stream, HOUR).made, installation.ledger.status()[0].violations()) == (
        0,
        [],
    )

    # Validated events and originals are gone: both are made again from what has landed.
    assert load(installation, stream, force=True)["known"] == RECORDS
    assert (rows(tmp_path), lake(installation)) == (before, treated)

    apply_retention(installation, stream, soon)
    apply_retention(installation, stream, soon + timedelta(days=30))
    assert list(walk_objects(installation.zones.landing, "alpha")) == []
    with pytest.raises(InputsGone):
        load(installation, stream, force=True)
    assert rows(tmp_path) == before


def test_hours_of_before_there_was_a_vault(
    installation: Installation, stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(installation, EVENTS)
    monkeypatch.setattr(Stream, "reversible", False)
    assert "originals" not in into_lake(installation, stream).counts
    old = lake(installation)
    monkeypatch.undo()

    # As long as the objects are there, the hour is made again and nothing is missing.
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "storage", copy / "storage")
    with (
        closing(sqlite3.connect(tmp_path / "pii.db")) as database,
        closing(sqlite3.connect(copy / "pii.db")) as to,
    ):
        database.backup(to)
    assert into_lake(installation, stream).made == 1
    assert load(installation, stream)["new"] == RECORDS
    assert [row | {"contexts": None} for row in lake(installation)] == [
        row | {"contexts": None} for row in old
    ]

    elsewhere = variables(tmp_path) | {
        "PII_STORAGE_URI": str(copy / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{copy / 'pii.db'}",
        "PII_VAULT_URL": f"sqlite:///{copy / 'vault.db'}",
    }
    gone = Installation(read_settings(elsewhere))
    for moved in moved_zones(gone):
        accept(gone, moved)
    shutil.rmtree(copy / "storage" / "landing" / "alpha")
    shutil.rmtree(copy / "storage" / "restricted" / "alpha")
    assert pseudonymize_hour(gone, stream, HOUR).kept
    counts = load(gone, stream)
    assert counts == {"originals": 0, "new": 0, "known": 0, "forgotten": 0, "without_originals": 20}
    assert gone.ledger.status()[0].violations() == []
    assert load_hour(gone, stream, HOUR).made == 0
    assert resolve_sample(gone, stream, HOUR).asked == 0
    gone.close()


def test_an_original_that_is_too_long_is_left_out_and_counted(
    installation: Installation, stream: Stream
) -> None:
    land(installation, [event(0, plain="x" * 65_536), event(1, plain="x" * 65_537)])
    counts = into_lake(installation, stream).counts
    assert counts["originals_too_long"] == 1
    assert load(installation, stream)["new"] == counts["originals"]
    assert resolve_sample(installation, stream, HOUR).problem is None


def test_a_sample_of_an_hour_is_read_back_on_record(
    installation: Installation, stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(installation, EVENTS)
    into_lake(installation, stream)
    assert resolve_sample(installation, stream, HOUR).asked == 0, "not loaded yet"
    load(installation, stream)
    monkeypatch.setattr(vault_sample, "PSEUDONYMS", 10_000)
    found = resolve_sample(installation, stream, HOUR)
    assert (found.asked, found.told, found.problem) == (RECORDS, RECORDS, None)
    *_, last = installation.vault_audit.entries()
    entry = json.loads(last.text)
    assert (entry["principal"], entry["purpose"], entry["counts"]["asked"]) == (
        "pipeline",
        "verification",
        RECORDS,
    )

    with closing(sqlite3.connect(tmp_path / "vault.db")) as database, database:
        database.execute("DELETE FROM vault_records WHERE field = 'plain'")
    assert "5 of" in (resolve_sample(installation, stream, HOUR).problem or "")
    with closing(sqlite3.connect(tmp_path / "vault.db")) as database, database:
        database.execute("UPDATE vault_records SET sealed = x'01' WHERE field = 'hashed'")
    found = resolve_sample(installation, stream, HOUR)
    assert (found.tampered, found.problem) == (
        5,
        f"of 5 of {RECORDS} pseudonyms records were altered in the vault's database",
    )


def test_whom_nobody_names_has_no_consent_in_the_vault_where_he_has_no_original(
    opened: Open, tmp_path: Path
) -> None:
    file = tmp_path / "streams" / "alpha" / "contract.yaml"
    variables(tmp_path)
    text = (
        file.read_text()
        .replace(", reversible: true", "")
        .replace("{pseudonymize: {reversible: true}}", "pseudonymize")
    )
    file.write_text(text.replace("domain: user}", "domain: user, reversible: true}"))
    installation = opened()
    stream = installation.streams["alpha"]
    land(installation, [event(0), event(1, user=None)])
    assert into_lake(installation, stream).counts["originals"] == 1
    load(installation, stream)
    assert len(rows(tmp_path, "vault_consents")) == 1


def test_records_are_judged_by_the_version_that_they_were_made_under(opened: Open, tmp_path: Path) -> None:
    before = opened()
    stream = before.streams["alpha"]
    land(before, EVENTS)
    into_lake(before, stream)
    folder = tmp_path / "streams" / "alpha"
    old = (folder / "contract.yaml").read_text()
    (folder / "contract.yaml").write_text(old.replace("state: active", "state: archived"))
    new = (
        old.replace("1.0.0", "1.1.0").replace("domain: user", "domain: customer").replace("SHA-1", "SHA-256")
    )
    (folder / "next.yaml").write_text(new)
    (folder / "stream.yaml").write_text(_STREAM + "contracts: [contract.yaml, next.yaml]\n")
    after = opened()
    assert load(after, after.streams["alpha"])["new"] == RECORDS
    # Under the new version all is made again, and what has another pseudonym by now is new.
    assert into_lake(after, after.streams["alpha"]).made == 1
    counts = load(after, after.streams["alpha"])
    assert (counts["new"], counts["known"]) == (5 + 5, RECORDS - 10)

    (folder / "stream.yaml").write_text(_STREAM)
    (folder / "contract.yaml").write_text(new)
    other = opened(**other_vault(tmp_path))
    assert load(other, other.streams["alpha"], force=True)["new"] == RECORDS


@pytest.mark.parametrize("kind", ["postgresql", "dynamodb"])
def test_other_vaults(kind: str, opened: Open, request: pytest.FixtureRequest) -> None:
    url = "dynamodb://pii-vault"
    if kind == "postgresql":
        url = request.getfixturevalue("postgres_database_url")
        changes = {"PII_VAULT_URL": url, "PII_DATABASE_URL": url}
    else:
        request.getfixturevalue("aws")
        changes = {"PII_VAULT_URL": url}
    installation = opened(**changes)
    stream = installation.streams["alpha"]
    land(installation, EVENTS)
    into_lake(installation, stream)
    for known in (0, RECORDS):
        counts = load(installation, stream, force=True)
        assert counts == {"originals": RECORDS, "new": RECORDS - known, "known": known, "forgotten": 0}
    assert resolve_sample(installation, stream, HOUR).problem is None
    assert installation.vault_audit.verify().entries >= 5


def test_the_resource_tells_and_refuses_as_the_vault_does(installation: Installation, stream: Stream) -> None:
    land(installation, EVENTS[:1])
    into_lake(installation, stream)
    load(installation, stream)
    (row,) = lake(installation)
    key = RecordKey("alpha", "user", row["user"])

    @dg.asset
    def asked(vault: dg.ResourceParam[VaultResource]) -> None:
        assert vault.read("pipeline", VERIFY, [key])[0].originals == ("user-0",)

    assert dg.materialize([asked], resources=resources(installation, silent)).success
    with pytest.raises(dg.Failure, match="VaultRefused: the policy does not know this principal") as refused:
        VaultResource(installation).read("nobody", VERIFY, [key])
    assert row["user"] not in str(refused.value.description)


def test_compacted_files_are_sampled_and_taken_apart(
    installation: Installation, stream: Stream, tmp_path: Path
) -> None:
    installation.batch_bytes = 1
    for number in range(3):
        land(installation, EVENTS[number::3], f"{number}.jsonl")
    made = into_lake(installation, stream).counts
    counts = load(installation, stream)
    before, treated = rows(tmp_path), lake(installation)
    restricted = {info.path for info in walk_objects(installation.zones.restricted, "alpha")}
    (done,) = compact_hours(installation, hours_to_compact(installation, [stream]))
    assert (done.before, done.problem) == (6, None), "of bad events and the lake"
    assert {info.path for info in walk_objects(installation.zones.restricted, "alpha")} == restricted
    assert len(installation.ledger.files("alpha", "pseudonymized_events")) == 1
    for _ in range(5):
        found = resolve_sample(installation, stream, HOUR)
        assert (found.told, found.problem) == (found.asked, None)
    assert into_lake(installation, stream, force=True).counts == made
    assert load(installation, stream, force=True) == {**counts, "new": 0, "known": counts["originals"]}
    assert (rows(tmp_path), lake(installation)) == (before, treated)
