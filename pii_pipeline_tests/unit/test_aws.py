"""Answers of AWS: those that break off, which are never taken for whole ones, and what refusals mean."""

from typing import Any

import boto3
import pytest

from pii_pipeline import aws as aws_module
from pii_pipeline.aws import refusal, typed_errors
from pii_pipeline.lake import StorageUnavailable, Zone, list_objects
from pii_pipeline.lake import put as put_object
from pii_pipeline.queues import QueueRefused, QueueUnavailable, open_queue
from pii_pipeline_tests.aws import make_bucket
from pii_pipeline_tests.faulty_proxy import FaultyProxy
from pii_pipeline_tests.queues import Queue


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_module, "_PAUSE", 0)
    monkeypatch.setattr(aws_module, "ATTEMPTS", 3)


def test_half_an_answer_is_no_empty_queue(aws: boto3.Session, faulty_aws: FaultyProxy) -> None:
    sent = Queue(aws)
    sent.send(["a", "b"])
    broken = faulty_aws.fail("truncated", times=2)
    queue = open_queue("logins", connections=1, longest_wait=0)
    assert broken.met == 2
    broken = faulty_aws.fail("truncated", times=2)
    assert (queue.waiting(), broken.met) == (2, 2)
    (message,) = queue.receive(1, 0, 30)
    broken = faulty_aws.fail("truncated", times=2)
    assert (queue.delete([message]), broken.met) == ([], 2)
    broken = faulty_aws.fail("truncated")
    with pytest.raises(QueueUnavailable) as caught:
        queue.receive(1, 0, 30)
    assert str(caught.value) == (
        "queue logins: ReceiveMessage: AWS does not answer (IncompleteReadError) — run it again later"
    )
    assert broken.met == 3


def test_half_a_listing_is_no_listing(aws: boto3.Session, faulty_aws: FaultyProxy) -> None:
    zone = Zone.at("landing", make_bucket(aws, "acme"))
    for number in range(3):
        put_object(zone, f"alpha/{number}.json", b"{}")
    listing: dict[str, Any] = {"method": "GET", "path": "list-type=2"}
    broken = faulty_aws.fail("truncated", times=2, **listing)
    assert (len(list_objects(zone, "alpha")), broken.met) == (3, 2)
    broken = faulty_aws.fail("truncated", **listing)
    with pytest.raises(StorageUnavailable, match="s3://acme: ListObjectsV2: AWS does not answer"):
        list_objects(zone, "alpha")
    assert broken.met == 3


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("AccessDenied", 403, "denied"),
        ("WordOfAGateway", 403, "denied"),
        ("", 401, "denied"),
        ("ExpiredToken", 400, "credentials"),
        ("RequestExpired", 403, "credentials"),
        ("RequestTimeTooSkewed", 403, "credentials"),
        ("SignatureDoesNotMatch", 403, "credentials"),
        ("InvalidSignatureException", 400, "credentials"),
        ("UnrecognizedClientException", 400, "credentials"),
        ("OverLimit", 403, "unavailable"),
        ("ThrottlingException", 400, "unavailable"),
        ("KeyUnavailableException", 500, "unavailable"),
        ("WordOfAGateway", 502, "unavailable"),
        ("", 429, "unavailable"),
        ("NoSuchBucket", 404, "refused"),
        ("KMSInvalidStateException", 400, "refused"),
        ("InvalidCiphertextException", 400, "refused"),
    ],
)
def test_what_an_answer_means(code: str, status: int, kind: str) -> None:
    error = refusal(code, status, "canary of AWS")
    assert (error.kind, error.code, error.status, error.permission) == (kind, code, status, "")
    assert "canary" not in str(error)


def test_of_what_aws_says_the_permission_is_kept_and_nothing_else() -> None:
    said = "User: arn:aws:iam::1:user/canary is not authorized to perform: kms:GenerateDataKey on resource: x"
    error = refusal("AccessDenied", 403, said)
    assert (error.permission, str(error)) == ("kms:GenerateDataKey", "AWS does not allow it (AccessDenied)")


def test_an_endpoint_that_is_found_out_to_be_none_when_it_is_asked(
    aws: boto3.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://canary:x@host:notaport")
    said = "boto3 does not take its settings — look at AWS_…"
    for work, where in (
        (lambda: open_queue("logins", connections=1, longest_wait=0), "queue logins: GetQueueUrl: "),
        (lambda: list_objects(Zone.at("landing", "s3://acme"), "alpha"), "s3://acme: ListObjectsV2: "),
    ):
        with pytest.raises((QueueRefused, StorageUnavailable)) as caught:
            work()
        assert str(caught.value) == where + said


def test_what_cannot_be_written_is_no_matter_of_settings() -> None:
    with pytest.raises(UnicodeEncodeError), typed_errors():
        "\ud800".encode()
