"""A bucket behind a proxy that fails: for a while, so that nobody notices; for good, so that it is said."""

from __future__ import annotations

import io
import re
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import boto3
import pyarrow as pa
import pytest
from botocore.exceptions import TokenRetrievalError

from pii_pipeline import aws as aws_module
from pii_pipeline.lake import (
    NoSuchBucket,
    StorageDenied,
    StorageUnavailable,
    Version,
    Zone,
    delete,
    list_objects,
    open_input,
    open_versions,
    publish,
    put,
    read_parquet,
    s3,
    s3_reading,
    tag_of,
    write_parquet,
)
from pii_pipeline.lake.files import hidden_output
from pii_pipeline_tests.aws import make_bucket
from pii_pipeline_tests.faulty_proxy import FaultyProxy

BUCKET = "faulty-bucket"
PART_BYTES = 5 << 20  # S3 takes no smaller ones
LARGE = bytes(range(256)) * ((PART_BYTES + 5120) // 256)
FAULTS = ["slow_down", "internal_error", "reset", "truncated", "lost_answer", "silence"]


@pytest.fixture
def zone(aws: boto3.Session, faulty_aws: FaultyProxy, monkeypatch) -> Iterator[Zone]:
    """Patience is shorter than in production, and requests are smaller, not other in kind."""
    monkeypatch.setattr(s3, "PART_BYTES", PART_BYTES)
    monkeypatch.setattr(s3_reading, "BLOCK_BYTES", 2 << 20)
    make_bucket(aws, BUCKET)
    retries = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
    monkeypatch.setattr(s3, "RETRIES", {**s3.RETRIES, **retries})
    monkeypatch.setattr(s3, "TIMEOUTS", {**s3.TIMEOUTS, "read_timeout": timedelta(milliseconds=500)})
    monkeypatch.setattr(aws_module, "ATTEMPTS", 4)
    monkeypatch.setattr(aws_module, "READ_SECONDS", 0.5)
    monkeypatch.setattr(s3, "_COPY_SECONDS", 0)
    s3._connection.cache_clear()
    yield Zone.at("landing", f"s3://{BUCKET}/landing")
    s3._connection.cache_clear()


def content(zone: Zone, path: str) -> bytes:
    with open_input(zone, path) as file:
        return file.read()


def sealed_content(zone: Zone, path: str) -> bytes:
    (info,) = [info for info in list_objects(zone) if info.path == path]
    file = open_versions(zone, [Version(path, info.size, tag_of(zone, info))]).open(0)
    parts = []
    while part := file.read(1 << 20):
        parts.append(part)
    return b"".join(parts)


def write(zone: Zone, path: str, data: bytes) -> None:
    with hidden_output(zone, path) as (sink, hidden):
        sink.write(data)
    publish(zone, hidden, path)


OPERATIONS: dict[str, tuple[str, Callable[[Zone], Any]]] = {
    "PutObject": ("PUT", lambda zone: put(zone, "new", b"new")),
    "PutObject of parts": ("PUT|POST", lambda zone: put(zone, "new", io.BytesIO(LARGE))),
    "PutObject while written": ("PUT|POST", lambda zone: write(zone, "new", LARGE)),
    "GetObject": ("GET", lambda zone: content(zone, "there")),
    "GetObject of a version": ("GET", lambda zone: sealed_content(zone, "there")),
    "ListObjectsV2": ("GET", lambda zone: list_objects(zone)),
    "HeadObject": ("HEAD", lambda zone: zone.storage.info("there")),
    "DeleteObject": ("DELETE", lambda zone: delete(zone, "there")),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_storage_that_fails_for_a_while_is_asked_again(zone, faulty_aws, operation, fault):
    put(zone, "there", LARGE)
    method, work = OPERATIONS[operation]
    # Of the beginning and the end of a multipart upload, obstore does not ask for an answer again: see below.
    rule = faulty_aws.fail(
        fault, times=2, method="PUT" if fault == "truncated" and "PUT" in method else method
    )
    work(zone)
    assert rule.met == 2 or fault == "truncated", "no body to be cut"
    faulty_aws.heal()
    contents = {info.path: content(zone, info.path) for info in list_objects(zone)}
    expected = {"there": LARGE}
    if method.startswith("PUT"):
        expected["new"] = b"new" if operation == "PutObject" else LARGE
    if method == "DELETE":
        expected = {}
    assert contents == expected
    assert zone.storage.sweep("") == 0


@pytest.mark.parametrize("operation", ["PutObject of parts", "PutObject while written"])
def test_an_upload_that_does_not_learn_its_number_fails_as_a_whole(zone, faulty_aws, operation):
    _, work = OPERATIONS[operation]
    faulty_aws.fail("truncated", times=1, method="POST")
    with pytest.raises(StorageUnavailable, match=f"s3://{BUCKET}: PutObject: AWS does not answer"):
        work(zone)
    assert list(zone.storage.list("")) == []
    work(zone)
    assert content(zone, "new") == LARGE


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_storage_that_fails_for_good_is_named(zone, faulty_aws, operation):
    put(zone, "there", LARGE)
    method, work = OPERATIONS[operation]
    faulty_aws.fail("slow_down", method=method)
    with pytest.raises(StorageUnavailable) as failure:
        work(zone)
    message = str(failure.value)
    assert re.match(
        rf"s3://{BUCKET}: \w+: AWS does not answer, however often it is asked \((503|SlowDown)\) — ", message
    )
    assert failure.value.__cause__ is None and failure.value.__suppress_context__


def test_parquet_of_a_storage_that_fails_is_not_called_damaged(zone, faulty_aws):
    table = pa.table({"x": range(100_000), "y": [secrets.token_hex(20) for _ in range(100_000)]})
    with write_parquet(zone, "a.parquet", table.schema) as out:
        out.write(table)
    publish(zone, out.hidden, "a.parquet")
    for after in (0, 1):
        faulty_aws.fail("internal_error", method="GET", after=after)
        with pytest.raises(StorageUnavailable, match=f"s3://{BUCKET}: GetObject: AWS does not answer"):
            list(read_parquet(zone, "a.parquet"))
        faulty_aws.heal()
    faulty_aws.fail("internal_error", method="PUT|POST")
    with (
        pytest.raises(StorageUnavailable, match=f"s3://{BUCKET}: PutObject: AWS does not answer"),
        write_parquet(zone, "b.parquet", table.schema) as out,
    ):
        for _ in range(4):
            out.write(table)
    faulty_aws.heal()
    assert [info.path for info in zone.storage.list("")] == ["a.parquet"]
    assert pa.Table.from_batches(list(read_parquet(zone, "a.parquet"))) == table


@pytest.mark.parametrize("operation", OPERATIONS)
def test_credentials_that_expire_are_named_at_once(zone, faulty_aws, operation):
    put(zone, "there", LARGE)
    method, work = OPERATIONS[operation]
    if method == "HEAD":
        pytest.skip("an answer to HEAD has no body to say why")
    rule = faulty_aws.fail("expired", method=method)
    with pytest.raises(StorageDenied, match=rf"s3://{BUCKET}: \w+: the AWS credentials have expired"):
        work(zone)
    assert rule.met <= 4, "what is refused is not asked for again and again"


@pytest.mark.parametrize("fault", ["expired", "denied"])
@pytest.mark.parametrize(
    ("data", "after"), [(b"1", 0), (LARGE, 0), (LARGE * 3, 1)], ids=["one", "parts", "last"]
)
def test_a_file_that_cannot_be_written_names_why(zone, faulty_aws, monkeypatch, fault, data, after):
    monkeypatch.setattr(s3, "PART_BYTES", PART_BYTES)
    faulty_aws.fail(fault, method="PUT", after=after)
    said = "PutObject: the AWS credentials have expired" if fault == "expired" else "PutObject is denied"
    with pytest.raises(StorageDenied, match=f"s3://{BUCKET}: {said}"), hidden_output(zone, "a") as (sink, _):
        sink.write(data)
    assert list(zone.storage.list("")) == []


@pytest.mark.parametrize(
    ("operation", "permission"),
    [
        ("PutObject", "s3:PutObject"),
        ("GetObject", "s3:GetObject"),
        ("ListObjectsV2", "s3:ListBucket"),
        ("HeadObject", "s3:GetObject"),
        ("DeleteObject", "s3:DeleteObject (and s3:GetObject, for a version)"),
    ],
)
def test_what_is_denied_names_the_permission(zone, faulty_aws, operation, permission):
    put(zone, "there", b"1")
    method, work = OPERATIONS[operation]
    faulty_aws.fail("denied", method=method)
    with pytest.raises(StorageDenied) as failure:
        work(zone)
    assert re.fullmatch(
        rf"s3://{BUCKET}: {operation} is denied \((AccessDenied|403)\) — it needs {re.escape(permission)}",
        str(failure.value),
    )


def test_credentials_that_cannot_be_had(zone, monkeypatch):
    def not_logged_in(session: boto3.Session) -> None:
        raise TokenRetrievalError(provider="sso", error_msg="a text that may hold anything")

    asks_again = Zone.at("landing", f"s3://{BUCKET}/landing")
    monkeypatch.setattr(s3, "_credentials", not_logged_in)
    with pytest.raises(
        StorageDenied, match=r"no AWS credentials can be had \(\w+\) — .* \(aws sso login\)"
    ) as failure:
        put(asks_again, "a", b"1")
    assert "anything" not in str(failure.value)

    monkeypatch.setenv("AWS_PROFILE", "of-nobody")
    with pytest.raises(StorageDenied, match=r"\(ProfileNotFound\) — set AWS_PROFILE"):
        list_objects(Zone.at("landing", f"s3://{BUCKET}/landing"))
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(StorageDenied, match=r"\(NoCredentialsError\) — set AWS_PROFILE"):
        list_objects(Zone.at("landing", f"s3://{BUCKET}/landing"))


def test_a_bucket_that_is_not_there(zone):
    elsewhere = Zone.at("lake", "s3://no-such-bucket")
    for work in (lambda: list_objects(elsewhere), lambda: put(elsewhere, "a", b"1")):
        with pytest.raises(NoSuchBucket, match="s3://no-such-bucket: there is no such bucket") as caught:
            work()
        assert str(caught.value).endswith("— make it, or mend PII_LAKE_URI or PII_STORAGE_URI")


def test_a_proxy_lets_through_what_comes_before(faulty_aws, zone):
    put(zone, "a", b"1")
    faulty_aws.fail("internal_error", times=1, method="GET", path="/a$", after=1)
    assert [content(zone, "a"), content(zone, "a"), content(zone, "a")] == [b"1"] * 3
    faults = [r.fault for r in faulty_aws.requests if r.method == "GET" and r.path.endswith("/a")]
    assert faults == [None, "internal_error", None, None]
