"""What S3 says was created: the examples of its user guide, in each envelope, and what is none of S3's."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pii_pipeline.pipeline.notifications import Created, created


def of_s3(
    name: str = "ObjectCreated:Put",
    at: str = "1970-01-01T00:00:00.000Z",
    bucket: str = "amzn-s3-demo-bucket",
    **changed: Any,
) -> dict[str, Any]:
    """As S3 sends it to a queue: "Event message structure" in the user guide."""
    made = {
        "key": "HappyFace.jpg",
        "size": 1024,
        "eTag": "d41d8cd98f00b204e9800998ecf8427e",
        "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
        "sequencer": "0055AED6DCD90281E5",
    }
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-west-2",
        "eventTime": at,
        "eventName": name,
        "userIdentity": {"principalId": "AIDAJDPLRKLG7UEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {
            "x-amz-request-id": "C3D13FE58DE4C810",
            "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG4V5Wp6S7S/JRWeUWerMUE5JgHvANOjpD",
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "testConfigRule",
            "bucket": {
                "name": bucket,
                "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                "arn": f"arn:aws:s3:::{bucket}",
            },
            "object": made | changed,
        },
    }


def records(*items: dict[str, Any]) -> str:
    return json.dumps({"Records": items})


def through_sns(message: str) -> str:
    """As SNS wraps it: "HTTP/HTTPS notification JSON format" in its developer guide, which queues get too."""
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "dc1e94d9-56c5-5e96-808d-cc7f68faa162",
            "TopicArn": "arn:aws:sns:us-east-2:111122223333:ExampleTopic1",
            "Subject": "Amazon S3 Notification",
            "Message": message,
            "Timestamp": "2021-02-16T21:41:19.978Z",
            "SignatureVersion": "1",
            "Signature": "FMG5tlZhJNHLHUXvZgtZzlk24FzVa7oX0T4P03neeXw8ZEXZx6z35j2FOTuNYShn2h0bKNC",
            "SigningCertURL": "https://sns.us-east-2.amazonaws.com/SimpleNotificationService-0.pem",
            "UnsubscribeURL": "https://sns.us-east-2.amazonaws.com/?Action=Unsubscribe",
        }
    )


def of_event_bridge(
    kind: str = "Object Created",
    at: str = "2021-11-12T00:00:00Z",
    bucket: str = "amzn-s3-demo-bucket1",
    **changed: Any,
) -> dict[str, Any]:
    """As S3 tells EventBridge: "EventBridge event message structure" in the user guide."""
    made = {
        "key": "example-key",
        "size": 5,
        "etag": "b1946ac92492d2347c6235b4d2611184",
        "version-id": "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
        "sequencer": "617f08299329d189",
    }
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": kind,
        "source": "aws.s3",
        "account": "111122223333",
        "time": at,
        "region": "ca-central-1",
        "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": bucket},
            "object": made | changed,
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "1.2.3.4",
            "reason": "PutObject",
        },
    }


TEST_EVENT = json.dumps(
    {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": "2014-10-13T15:57:02.089Z",
        "Bucket": "amzn-s3-demo-bucket",
        "RequestId": "5582815E1AEA5ADF",
        "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE",
    }
)
PUT = Created(
    "s3://amzn-s3-demo-bucket/HappyFace.jpg",
    1024,
    "d41d8cd98f00b204e9800998ecf8427e",
    datetime(1970, 1, 1, tzinfo=UTC),
)
TOLD = Created(
    "s3://amzn-s3-demo-bucket1/example-key",
    5,
    "b1946ac92492d2347c6235b4d2611184",
    datetime(2021, 11, 12, tzinfo=UTC),
)


@pytest.mark.parametrize("wrap", [str, through_sns], ids=["to the queue", "through SNS"])
@pytest.mark.parametrize(
    ("message", "told"),
    [
        (records(of_s3()), [PUT]),
        (records(of_s3(), of_s3()), [PUT, PUT]),
        (records(of_s3("ObjectRemoved:Delete"), of_s3()), [PUT]),
        (records(of_s3("ObjectCreated:CompleteMultipartUpload")), [PUT]),
        (json.dumps(of_event_bridge()), [TOLD]),
        (json.dumps(of_event_bridge("Object Deleted")), []),
        (json.dumps(of_event_bridge("Object Tags Added")), []),
        (TEST_EVENT, []),
    ],
)
def test_the_three_forms(wrap: Any, message: str, told: list[Created]) -> None:
    assert created(wrap(message)) == told


def test_a_key_that_no_database_takes_is_told_as_listing_tells_it() -> None:
    for message in (records(of_s3(key="a%00b")), json.dumps(of_event_bridge(key="a\0b"))):
        assert [told.uri.rpartition("/")[2] for told in created(message) or ()] == ["a␀0b"]


def test_keys_are_escaped_in_notifications_and_not_in_event_bridge() -> None:
    [made] = created(records(of_s3(key="in/red+flower%2B1%C3%A9.jpg"))) or []
    assert made.uri == "s3://amzn-s3-demo-bucket/in/red flower+1é.jpg"
    [made] = created(json.dumps(of_event_bridge(key="in/red flower+1%C3é.jpg"))) or []
    assert made.uri == "s3://amzn-s3-demo-bucket1/in/red flower+1%C3é.jpg"


@pytest.mark.parametrize(
    "message",
    [
        "",
        "no json",
        "17",
        "null",
        '"text"',
        "[]",
        "{}",
        "[" * 100_000,
        '{"a":' * 100_000,
        json.dumps({"Message": "no json"}),
        json.dumps({"Message": "[]"}),
        json.dumps({"Message": {"Records": []}}),
        json.dumps({"Records": None}),
        json.dumps({"Records": [None]}),
        json.dumps({"Records": [{"eventName": "ObjectCreated:Put"}]}),
        json.dumps({"Records": [{"eventName": 1}]}),
        json.dumps({"source": "aws.s3"}),
        json.dumps({"user_id": "a", "ip": "192.0.2.1"}),
        records(of_s3(size="1e3")),
        records(of_s3(size=float("inf"))),
        records(of_s3(size=-1)),
        records(of_s3(size=2**63)),
        records(of_s3(size=None)),
        records(of_s3(eTag=None)),
        records(of_s3(eTag=["a"])),
        records(of_s3(key=None)),
        records(of_s3(key="a%FFb")),
        records(of_s3(at="today")),
        records(of_s3(at="2026-11-22T10:00:00")),
        json.dumps(of_event_bridge(key="a\ud800b")),
        json.dumps(of_event_bridge(etag="a\0b")),
        json.dumps(of_event_bridge(key=["a"])),
    ],
    ids=lambda message: message[:40],
)
def test_what_is_none_of_s3s(message: str) -> None:
    assert created(message) is None
