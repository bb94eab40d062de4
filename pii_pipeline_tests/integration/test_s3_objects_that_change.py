"""Landing objects on S3 that are overwritten or deleted while a run reads them."""

import json
from datetime import UTC, datetime

import pytest

from pii_pipeline.lake import landing_path, put, read_parquet, s3_reading
from pii_pipeline.ledger import VALIDATED_EVENTS, hour_start
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import InputsGone
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline_tests.aws import make_bucket

HOUR = "2026-11-22T10"
BUCKET = "landing-that-changes"


def log_ins(first, count):
    """Different lengths, so that no two objects have equal ones."""
    moment = datetime(2026, 11, 22, 10, 5, tzinfo=UTC).isoformat().replace("+00:00", "Z")
    return b"".join(
        json.dumps(
            {
                "user_id": f"user-{first + n}",
                "app_version": "1.2.3",
                "device_type": "android",
                "ip": "192.0.2.1",
                "locale": "NL",
                "device_id": f"{first + n:064x}",
                "create_date": moment,
            }
        ).encode()
        + b"\n"
        for n in range(count)
    )


@pytest.fixture
def installation(tmp_path, aws, faulty_aws, monkeypatch):
    make_bucket(aws, BUCKET)
    monkeypatch.setattr(s3_reading, "BLOCK_BYTES", 16 << 10)
    monkeypatch.setattr(s3_reading, "AHEAD_BYTES", 32 << 10)
    environment = {
        "PII_STORAGE_URI": str(tmp_path / "storage"),
        "PII_LANDING_URI": f"s3://{BUCKET}",
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


def validated(installation, stream):
    """People whose log-ins are committed."""
    key = installation.keys.restricted_key("logins", hour_start(HOUR).date())
    return sorted(
        user
        for batch in installation.ledger.batches("logins", HOUR)
        for file in installation.ledger.commit_of(batch.id, VALIDATED_EVENTS).files
        if file.dataset == VALIDATED_EVENTS
        for rows in read_parquet(installation.zones.restricted, file.path, key=key)
        for user in rows["user_id"].to_pylist()
    )


def test_another_one_in_its_place_while_it_is_read(installation, aws, aws_endpoint, faulty_aws):
    stream, landing = installation.streams["logins"], installation.zones.landing
    changing = landing_path("logins", hour_start(HOUR), "a.jsonl")
    put(landing, landing_path("logins", hour_start(HOUR), "b.jsonl"), log_ins(5000, 3))
    put(landing, changing, log_ins(0, 1000))
    seal_hour(installation, stream, HOUR)
    direct = aws.client("s3", endpoint_url=aws_endpoint)
    reads = []

    def overwrite(request):
        if request.method == "GET" and request.path.endswith("/a.jsonl"):
            reads.append(request)
            if len(reads) == 5:
                direct.put_object(Bucket=BUCKET, Key=changing, Body=log_ins(2000, 1000))

    faulty_aws.before = overwrite
    counts = validate_hour(installation, stream, HOUR).counts
    assert len(reads) > 5, "its beginning had been read"
    assert (counts["records"], counts["validated"], counts["bad"]) == (4, 3, 1)
    assert counts["bad_by_reason"] == {"object_changed": 1}

    assert seal_hour(installation, stream, HOUR).new_objects == 1
    counts = validate_hour(installation, stream, HOUR).counts
    assert (counts["records"], counts["validated"], counts["bad"]) == (1004, 1003, 1)
    assert validated(installation, stream) == sorted(
        f"user-{n}" for n in [*range(2000, 3000), 5000, 5001, 5002]
    )


def test_none_in_its_place_while_it_is_read(installation, aws, aws_endpoint, faulty_aws):
    stream, landing = installation.streams["logins"], installation.zones.landing
    path = landing_path("logins", hour_start(HOUR), "a.jsonl")
    put(landing, path, log_ins(0, 1000))
    put(landing, landing_path("logins", hour_start(HOUR), "b.jsonl"), log_ins(5000, 3))
    seal_hour(installation, stream, HOUR)
    direct = aws.client("s3", endpoint_url=aws_endpoint)
    reads = []

    def remove(request):
        if request.method == "GET" and request.path.endswith("/a.jsonl"):
            reads.append(request)
            if len(reads) == 5:
                direct.delete_object(Bucket=BUCKET, Key=path)

    faulty_aws.before = remove
    counts = validate_hour(installation, stream, HOUR).counts
    assert counts["bad_by_reason"] == {"object_missing": 1}
    assert validated(installation, stream) == ["user-5000", "user-5001", "user-5002"]

    # After its commit, what was made of it is worth more than a bad event.
    direct.delete_object(Bucket=BUCKET, Key=landing_path("logins", hour_start(HOUR), "b.jsonl"))
    with pytest.raises(InputsGone):
        validate_hour(installation, stream, HOUR, force=True)
    assert validated(installation, stream) == ["user-5000", "user-5001", "user-5002"]


def test_sealing_downloads_nothing(installation, faulty_aws):
    stream = installation.streams["logins"]
    for part in range(3):
        put(
            installation.zones.landing,
            landing_path("logins", hour_start(HOUR), f"{part}.jsonl"),
            log_ins(part, 2),
        )
    faulty_aws.requests.clear()
    assert seal_hour(installation, stream, HOUR).new_objects == 3
    assert seal_hour(installation, stream, HOUR).new_objects == 0
    assert {request.path.partition("?")[0] for request in faulty_aws.requests} == {f"/{BUCKET}"}
