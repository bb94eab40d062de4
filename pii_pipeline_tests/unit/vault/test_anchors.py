"""Anchors in a folder and in a bucket with Object Lock."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from pii_pipeline.vault.anchors import Anchor, open_anchors
from pii_pipeline.vault.audit import Action, Event
from pii_pipeline.vault.chain import AuditKey
from pii_pipeline.vault.errors import VaultSettingError, VaultUnavailable
from pii_pipeline.vault.stores import Entry
from pii_pipeline_tests.aws import REGION, make_bucket
from pii_pipeline_tests.faulty_proxy import NOT_TO_BE_QUOTED
from pii_pipeline_tests.unit.vault.examples import KEY, MONDAY, make

WEEK = timedelta(days=7)


def an_anchor(number: int, at: datetime = MONDAY) -> Anchor:
    return Anchor.of(Entry(number, "", bytes([number % 256]) * 32, b""), at, AuditKey(KEY))


def locked_bucket(session: boto3.Session) -> str:
    session.client("s3").create_bucket(
        Bucket="anchors",
        CreateBucketConfiguration={"LocationConstraint": REGION},  # type: ignore[typeddict-item]
        ObjectLockEnabledForBucket=True,
    )
    return "s3://anchors/vault"


@pytest.fixture(params=["file", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return locked_bucket(request.getfixturevalue("aws"))
    return (tmp_path / "far" / "anchors").as_uri()


def test_what_was_written_is_listed_by_number(uri):
    anchors = open_anchors(uri, WEEK)
    assert list(anchors.all()) == []
    written = [an_anchor(number) for number in (100_000, 9, 12)]
    for anchor in (*written, written[0]):
        anchors.write(anchor)
    assert list(open_anchors(uri, WEEK).all()) == sorted(written, key=lambda anchor: anchor.sequence)


def test_an_anchor_is_genuine_as_it_was_made_alone():
    anchor, key = an_anchor(5), AuditKey(KEY)
    assert anchor.is_genuine(key) and not anchor.is_genuine(AuditKey(bytes(32)))
    changes = [(6, anchor.at, anchor.hash), (5, anchor.at + WEEK, anchor.hash), (5, anchor.at, bytes(32))]
    assert not any(Anchor(*change, anchor.seal).is_genuine(key) for change in changes)


def test_files_are_for_their_owner_alone(tmp_path):
    folder = tmp_path / "far" / "anchors"
    open_anchors(folder.as_uri(), WEEK).write(an_anchor(1))
    (file,) = folder.iterdir()
    assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert an_anchor(1).hash.hex() in file.read_text()


def test_in_a_bucket_nobody_deletes_an_anchor_before_its_time(aws):
    uri = locked_bucket(aws)
    anchor = an_anchor(7, datetime.now(UTC))
    open_anchors(uri, WEEK).write(anchor)
    client = aws.client("s3")
    (version,) = client.list_object_versions(Bucket="anchors")["Versions"]
    assert version["Key"] == f"vault/{anchor.name}"
    held = client.head_object(Bucket="anchors", Key=version["Key"])
    assert held["ObjectLockMode"] == "COMPLIANCE"
    assert held["ObjectLockRetainUntilDate"] == anchor.at + WEEK
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(
            Bucket="anchors",
            Key=version["Key"],
            VersionId=version["VersionId"],
            BypassGovernanceRetention=True,
        )


def test_what_is_put_over_an_anchor_hides_it_from_nobody(aws):
    anchors = open_anchors(locked_bucket(aws), WEEK)
    written = [an_anchor(number, datetime.now(UTC)) for number in (1, 2, 3)]
    for anchor in written:
        anchors.write(anchor)
    client = aws.client("s3")
    client.delete_object(Bucket="anchors", Key=f"vault/{written[1].name}")  # a delete marker
    client.put_object(Bucket="anchors", Key=f"vault/{written[2].name}", Body=b"nothing")
    client.put_object(Bucket="anchors", Key="vault/something else", Body=b"nothing")
    client.put_object(Bucket="anchors", Key=f"other/{an_anchor(9).name}", Body=b"nothing")
    assert len(client.list_objects_v2(Bucket="anchors", Prefix="vault/")["Contents"]) == 3
    assert list(anchors.all()) == written


def test_a_log_is_verified_with_anchors_in_a_bucket(aws, tmp_path):
    parts = make(f"sqlite:///{tmp_path / 'vault.db'}", tmp_path, anchors=locked_bucket(aws))
    for _ in range(5):
        parts.audit.record(Event(Action.ERASE, "operator"))
    parts.clock.goes_on(301)
    parts.audit.tick()
    parts.audit.close()
    assert parts.audit.verify().unanchored == 0
    other = make(f"sqlite:///{tmp_path / 'new.db'}", tmp_path, anchors="s3://anchors/vault")
    broken = other.audit.verify().broken
    assert broken is not None and broken.sequence == 1
    assert "the log was cut" in str(broken)
    for made in (parts, other):
        made.store.close()


@pytest.mark.parametrize(
    "uri", ["s3://", "s3:///prefix", "file://host/folder", "var/anchors", "https://x/y", "file:anchors", ""]
)
def test_a_place_that_cannot_be_meant_is_refused(uri):
    with pytest.raises(
        VaultSettingError, match="PII_VAULT_ANCHORS: no place for anchors — write s3://BUCKET"
    ):
        open_anchors(uri, WEEK)


def test_a_bucket_without_object_lock_is_refused(aws):
    uri = make_bucket(aws, "plain")
    with pytest.raises(
        VaultSettingError, match="the bucket has no Object Lock — make a bucket with Object Lock"
    ):
        open_anchors(uri, WEEK).write(an_anchor(1))


def test_a_bucket_that_is_not_there_is_refused(aws):
    anchors = open_anchors("s3://nowhere/x", WEEK)
    with pytest.raises(VaultSettingError, match="there is no such bucket"):
        anchors.write(an_anchor(1))
    with pytest.raises(VaultSettingError, match="there is no such bucket"):
        list(anchors.all())


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    anchors = open_anchors((tmp_path / "file" / "anchors").as_uri(), WEEK)
    with pytest.raises(VaultUnavailable, match="PII_VAULT_ANCHORS: the folder cannot be written to"):
        anchors.write(an_anchor(1))


def test_what_s3_refuses_or_does_not_answer_is_told_in_our_words(aws, faulty_aws):
    uri = locked_bucket(aws)
    faulty_aws.fail("denied")
    with pytest.raises(VaultSettingError, match="PutObject is denied — allow s3:PutObject, ") as denied:
        open_anchors(uri, WEEK).write(an_anchor(1))
    faulty_aws.heal()
    faulty_aws.fail("expired")
    with pytest.raises(VaultSettingError, match="the AWS credentials have expired") as expired:
        list(open_anchors(uri, WEEK).all())
    assert NOT_TO_BE_QUOTED not in f"{denied.value}{expired.value}"
    faulty_aws.heal()
    faulty_aws.fail("slow_down", times=2)
    open_anchors(uri, WEEK).write(an_anchor(1))
    assert len(list(open_anchors(uri, WEEK).all())) == 1
