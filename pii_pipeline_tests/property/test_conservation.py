"""Whatever is landed, every record is accounted for once, and what is made twice is made alike."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pii_pipeline.lake import landing_path, put
from pii_pipeline.ledger import hour_start
from pii_pipeline.pipeline.derive import derive_hour
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.settings import project_root, read_settings

HOUR = "2026-11-22T10"
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ANY = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
GOOD = {
    "event_id": "00000000-0000-4000-8000-000000000001",
    "ts": "2026-11-22T10:05:00Z",
    "event": "page_view",
    "session_id": "s-1",
    "user_id": "u-1",
    "email": "someone@example.com",
    "ip": "203.0.113.9",
    "device_id": "d-1",
    "user_agent": "agent",
    "page_url": "https://shop.example.com/?q=x",
    "consent_levels": [1, 2],
}
NEARLY = st.builds(
    lambda changes, gone: {key: value for key, value in {**GOOD, **changes}.items() if key not in gone},
    st.dictionaries(st.sampled_from([*GOOD, "product", "items", "order", "more"]), ANY, max_size=2),
    st.sets(st.sampled_from(list(GOOD)), max_size=1),
)
LINES = st.lists(
    (NEARLY | ANY).map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=40)
    | st.just(json.dumps(GOOD).encode()),
    max_size=12,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(LINES, min_size=1, max_size=3))
def test_every_record_is_accounted_for_once(tmp_path_factory, objects):
    folder = tmp_path_factory.mktemp("installation", numbered=True)
    environment = {
        "PII_STORAGE_URI": str(folder / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{folder / 'pii.db'}",
        "PII_VAULT_URL": f"sqlite:///{folder / 'vault.db'}",
        "PII_VAULT_ANCHORS": (folder / "vault-anchors").as_uri(),
        "PII_KEY_ENCRYPTION_KEY": f"file:{folder / 'kek'}",
        "PII_STREAMS_DIR": str(project_root() / "streams"),
        "PII_WORKERS": "1",
    }
    installation = Installation(read_settings(environment))
    try:
        stream = installation.streams["webshop"]
        expected = 0
        for number, lines in enumerate(objects):
            content = b"\n".join(lines)
            put(
                installation.zones.landing,
                landing_path("webshop", hour_start(HOUR), f"{number}.jsonl"),
                content,
            )
            blank = b" \t\r"
            expected += (
                sum(1 for line in content.split(b"\n") if line.strip(blank)) if not is_array(content) else 0
            )
        seal_hour(installation, stream, HOUR)
        validated = validate_hour(installation, stream, HOUR)
        counts: dict[str, Any] = validated.counts
        faults = counts["bad_by_reason"].get("object_empty", 0) + counts["bad_by_reason"].get(
            "object_truncated", 0
        )
        faults += counts["bad_by_reason"].get("object_malformed", 0)
        if not any(is_array(b"\n".join(lines)) for lines in objects):
            assert counts["records"] - faults == expected
        assert counts["records"] == counts["validated"] + counts["bad"] + counts["duplicate"]
        lake: dict[str, Any] = pseudonymize_hour(installation, stream, HOUR).counts
        assert lake["pseudonymized"] == counts["validated"]
        for dataset in stream.derived:
            derived: dict[str, Any] = derive_hour(installation, stream, dataset, HOUR).counts
            assert derived["admitted"] + derived["withheld"] == lake["pseudonymized"]
        files = {file: file.read_bytes() for file in (folder / "storage" / "lake").rglob("*.parquet")}
        assert validate_hour(installation, stream, HOUR, force=True).counts == counts
        pseudonymize_hour(installation, stream, HOUR, force=True)
        assert {file: file.read_bytes() for file in files} == files
    finally:
        installation.close()


def is_array(content: bytes) -> bool:
    """Whether the object is read as one JSON array, or has a compressed form's first bytes."""
    text = content.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    return text.startswith(b"[") or content.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"))
