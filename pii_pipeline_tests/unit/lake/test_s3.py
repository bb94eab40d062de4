"""What only a bucket has: keys that are no paths, encryption with a key of KMS, copies of what is large."""

from __future__ import annotations

import time
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig

from pii_pipeline.lake import (
    Version,
    Zone,
    delete,
    delete_versions,
    list_objects,
    open_versions,
    publish,
    put,
    s3,
    tag_of,
    walk_objects,
)
from pii_pipeline.lake.files import hidden_output
from pii_pipeline_tests.aws import make_bucket
from pii_pipeline_tests.plain_s3 import plain_bucket

BUCKET = "only-s3"


@pytest.fixture
def client(aws: boto3.Session):
    make_bucket(aws, BUCKET)
    return aws.client("s3")


def test_a_key_that_no_database_takes_has_a_path_that_one_takes(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["\0", "s/\0a", "s/␀0a", "s/␀1a", "s/␀\0", "s/␀", "s/\n\r\t"]
    with plain_bucket({f"of/{key}": key.encode() for key in keys}) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        zone = Zone.at("landing", f"s3://{BUCKET}/of")
        found = list_objects(zone)
        assert len({info.path for info in found}) == len(keys) and "\0" not in "".join(map(str, found))
        for number, info in enumerate(found):
            assert list(walk_objects(zone, after=info.path)) == found[number + 1 :]
        wanted = [Version(info.path, info.size, tag_of(zone, info)) for info in found]
        versions = open_versions(zone, wanted)
        read = [bytes(versions.open(number).read(9)).decode() for number in range(len(keys))]
        assert sorted(read) == sorted(keys)
        assert delete_versions(zone, wanted) == []
        assert list_objects(zone) == []


@pytest.mark.parametrize(
    "key",
    [
        "s//a.json",
        "/s/a.json",
        "s/./a",
        "s/../a",
        "s/a\x07",
        "s/ü %41#?+&.json",
        "s/a/",
        "s/%00",
        "s/␀0",
        "s/␀",
    ],
)
def test_whatever_a_producer_calls_an_object_it_is_listed_read_and_deleted(client, key):
    zone = Zone.at("landing", f"s3://{BUCKET}/of")
    client.put_object(Bucket=BUCKET, Key=f"of/{key}", Body=b"0123456789")
    client.put_object(Bucket=BUCKET, Key="of/s/folder/", Body=b"")  # as consoles mark one
    (info,) = list_objects(zone)
    assert (info.path, info.size) == (key.replace("␀", "␀1"), 10)
    wanted = [Version(info.path, 10, tag_of(zone, info)), Version("gone", 1, "0")]
    if not key.startswith("/") and ".." not in key:
        versions = open_versions(zone, wanted)
        assert versions.open(0).read(100) == b"0123456789"
        with pytest.raises(FileNotFoundError):
            versions.open(1)
        delete(zone, info.path)
        assert list_objects(zone) == []


def test_what_is_written_is_encrypted_with_the_key_of_the_settings(aws, client, monkeypatch):
    monkeypatch.setattr(s3, "PART_BYTES", 5 << 20)
    key = aws.client("kms").create_key()["KeyMetadata"]["KeyId"]
    zone = Zone.at("lake", f"s3://{BUCKET}", key)
    put(zone, "put", b"1")
    for name, size in (("small", 10), ("parts", 6 << 20)):
        with hidden_output(zone, name) as (sink, hidden):
            sink.write(b"x" * size)
        publish(zone, hidden, name)
    put(Zone.at("lake", f"s3://{BUCKET}"), "by the bucket's own", b"1")
    found = {
        info.path: client.head_object(Bucket=BUCKET, Key=info.path).get("SSEKMSKeyId")
        for info in list_objects(zone)
    }
    assert found == {"put": key, "small": key, "parts": key, "by the bucket's own": None}


def test_what_is_too_large_for_one_copy_is_copied_in_parts(client, monkeypatch):
    smaller = TransferConfig(multipart_threshold=6 << 20, multipart_chunksize=5 << 20)
    monkeypatch.setattr(s3, "_COPIED_AT_ONCE", smaller)
    zone = Zone.at("lake", f"s3://{BUCKET}")
    data = bytes(range(256)) * (12 << 12)
    with hidden_output(zone, "a") as (sink, hidden):
        sink.write(data)
    publish(zone, hidden, "a")
    assert client.head_object(Bucket=BUCKET, Key="a")["ETag"].endswith('-3"')
    assert client.get_object(Bucket=BUCKET, Key="a")["Body"].read() == data


def test_what_follows_is_asked_for_while_one_is_read(client, faulty_aws):
    zone = Zone.at("landing", f"s3://{BUCKET}")
    for number in range(40):
        put(zone, f"{number:02}", b"x" * 100)
    wanted = [Version(info.path, info.size, tag_of(zone, info)) for info in list_objects(zone)]
    faulty_aws.requests.clear()
    versions = open_versions(zone, wanted)
    assert versions.open(0).read(1000) == b"x" * 100
    deadline = time.monotonic() + 30
    while len(faulty_aws.requests) < 17 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    asked = sorted(request.path for request in faulty_aws.requests)
    assert asked == [f"/{BUCKET}/{number:02}" for number in range(17)], (
        "as many as there are threads, no more"
    )
    for number in range(1, 40):
        assert versions.open(number).read(1000) == b"x" * 100
    assert len(faulty_aws.requests) == 40, "each once"
