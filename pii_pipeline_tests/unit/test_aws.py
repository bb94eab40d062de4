"""Answers of AWS that break off: asked for again, and never taken for whole ones."""

from typing import Any

import boto3
import pytest

from pii_pipeline import aws as aws_module
from pii_pipeline.lake import StorageUnavailable, Zone, list_objects
from pii_pipeline.lake import put as put_object
from pii_pipeline.queues import QueueUnavailable, open_queue, sqs
from pii_pipeline_tests.aws import make_bucket
from pii_pipeline_tests.faulty_proxy import FaultyProxy
from pii_pipeline_tests.queues import Queue


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_module, "_PAUSE", 0)
    monkeypatch.setattr(sqs, "_TRIES", 3)


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
    assert str(caught.value) == "queue logins: ReceiveMessage got no answer (IncompleteReadError)"
    assert broken.met == 3


def test_half_a_listing_is_no_listing(aws: boto3.Session, faulty_aws: FaultyProxy) -> None:
    zone = Zone.at("landing", make_bucket(aws, "acme"))
    for number in range(3):
        put_object(zone, f"alpha/{number}.json", b"{}")
    listing: dict[str, Any] = {"method": "GET", "path": "list-type=2"}
    broken = faulty_aws.fail("truncated", times=2, **listing)
    assert (len(list_objects(zone, "alpha")), broken.met) == (3, 2)
    broken = faulty_aws.fail("truncated", **listing)
    with pytest.raises(StorageUnavailable, match="s3://acme: ListObjectsV2 failed"):
        list_objects(zone, "alpha")
    assert broken.met == 10
