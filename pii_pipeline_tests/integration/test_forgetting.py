"""Erased people and expired windows, through the layers: dropped, counted, and never readable."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from pii_pipeline.keys.derivation import canonical_id, subject_tags
from pii_pipeline.lake import landing_path, put, read_parquet
from pii_pipeline.ledger import hour_start
from pii_pipeline.pipeline.derive import derive_hour
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.settings import project_root, read_settings

HOUR = "2026-11-22T10"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def click(number, user, day=22, **changes):
    return {
        "event_id": f"00000000-0000-4000-8000-{number:012}",
        "ts": f"2026-11-{day}T10:05:00Z",
        "event": "page_view",
        "session_id": f"session of {user}",
        "user_id": user,
        "email": f"{user}@example.com",
        "ip": "203.0.113.9",
        "device_id": "a device",
        "user_agent": "an agent",
        "page_url": "https://shop.example.com/",
        "consent_levels": [1, 2],
    } | changes


@pytest.fixture
def installation(tmp_path):
    environment = {
        "PII_STORAGE_URI": str(tmp_path / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{tmp_path / 'pii.db'}",
        "PII_VAULT_URL": f"sqlite:///{tmp_path / 'vault.db'}",
        "PII_VAULT_ANCHORS": (tmp_path / "vault-anchors").as_uri(),
        "PII_KEY_ENCRYPTION_KEY": f"file:{tmp_path / 'kek'}",
        "PII_STREAMS_DIR": str(project_root() / "streams"),
        "PII_WORKERS": "1",
    }
    opened = Installation(read_settings(environment))
    yield opened
    opened.close()


@pytest.fixture
def stream(installation):
    return installation.streams["webshop"]


def land(installation, name, events, hour=HOUR):
    content = b"\n".join(json.dumps(event).encode() for event in events)
    put(installation.zones.landing, landing_path("webshop", hour_start(hour), name), content)


def process(installation, stream, hour=HOUR, force=False):
    """The counts of the lake and of the marketing dataset."""
    seal_hour(installation, stream, hour)
    validate_hour(installation, stream, hour, force)
    lake = pseudonymize_hour(installation, stream, hour, force).counts
    return lake, derive_hour(installation, stream, "marketing", hour, force).counts


def emails(installation, hour=HOUR):
    paths = installation.ledger.files("webshop", "marketing", hour)
    rows = (batch for path in paths for batch in read_parquet(installation.zones.consented, path))
    return sorted(email for batch in rows for email in batch["email"].to_pylist())


def tag(installation, user):
    (found,) = subject_tags(installation.index_key, "customer", [canonical_id(user)])
    return found


def test_a_forgotten_person_is_noise_in_the_lake_and_gone_from_what_is_made_of_it(installation, stream):
    land(installation, "a.jsonl", [click(1, "ann"), click(2, "bob")])
    process(installation, stream)
    assert emails(installation) == ["ann@example.com", "bob@example.com"]

    assert installation.keys.forget(
        tag(installation, "ann"), erased_at=NOW, expires_at=NOW + timedelta(days=365)
    )
    marketing = derive_hour(installation, stream, "marketing", HOUR, force=True).counts
    assert marketing == {"pseudonymized": 2, "admitted": 1, "withheld": 1}, (
        "her ciphertext does not open any more"
    )
    assert emails(installation) == ["bob@example.com"]

    lake, marketing = process(installation, stream, force=True)
    assert lake == {"validated": 2, "pseudonymized": 1, "erased": 1, "expired": 0, "originals": 1}
    assert marketing == {"pseudonymized": 1, "admitted": 1, "withheld": 0}


def test_replayed_events_of_an_erased_person_are_dropped_and_later_ones_are_somebody_new(
    installation, stream
):
    land(installation, "a.jsonl", [click(1, "ann")])
    process(installation, stream)
    (before,) = installation.keys.subjects([tag(installation, "ann")])
    installation.keys.forget(tag(installation, "ann"), erased_at=NOW, expires_at=NOW + timedelta(days=365))

    land(installation, "replay.jsonl", [click(3, "ann")], hour="2026-11-22T13")
    lake, _ = process(installation, stream, hour="2026-11-22T13")
    assert lake["erased"] == 1, "it happened before the erasure, whenever it arrives"

    later = click(4, "ann", ts="2026-11-22T13:30:00Z")
    land(installation, "later.jsonl", [later], hour="2026-11-22T13")
    lake, _ = process(installation, stream, hour="2026-11-22T13")
    assert (lake["erased"], lake["pseudonymized"]) == (1, 1)
    (after,) = installation.keys.subjects([tag(installation, "ann")])
    assert after.ref != before.ref


def test_an_expired_window_is_never_made_again(installation, stream):
    land(installation, "a.jsonl", [click(1, "ann", day=21), click(2, "ann", day=22)])
    process(installation, stream)
    assert len(emails(installation)) == 2
    installation.keys.expire_window("webshop", date(2026, 11, 21))

    fresh = Installation(installation.settings)
    lake, marketing = process(fresh, stream, force=True)
    fresh.close()
    assert lake == {"validated": 2, "pseudonymized": 1, "erased": 0, "expired": 1, "originals": 1}
    assert marketing == {"pseudonymized": 1, "admitted": 1, "withheld": 0}


def test_before_log_in_a_session_is_a_person_of_its_own(installation, stream):
    events = [click(1, None), click(2, None), click(3, None, session_id="another")]
    land(installation, "a.jsonl", [{**event, "email": None} for event in events])
    process(installation, stream)
    (path,) = installation.ledger.files("webshop", "pseudonymized_events", HOUR)
    (rows,) = read_parquet(installation.zones.lake, path)
    links = rows["_key_link"].to_pylist()
    assert links[0] == links[1] != links[2]
    assert rows["user_id"].to_pylist() == [None] * 3
