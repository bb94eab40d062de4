"""What SQS may answer: batches of which some fail, refusals, and none at all."""

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore import exceptions

from pii_pipeline import aws as aws_module
from pii_pipeline.queues import (
    NAME_OR_URL,
    Queue,
    QueueError,
    QueueRefused,
    QueueUnavailable,
    open_queue,
    sqs,
)
from pii_pipeline.queues.errors import typed_errors
from pii_pipeline.queues.sqs import Received


def message(number: int) -> Received:
    return Received(f"id-{number}", f"receipt-{number}", datetime(2026, 11, 22, tzinfo=UTC), {}, {}, "body")


class Client:
    """Answers batch calls: of which receipts it fails, how, and how often."""

    def __init__(self, failing: dict[str, tuple[bool, int]]) -> None:
        self.failing = failing
        self.calls: list[list[dict[str, Any]]] = []

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self.calls.append(Entries)
        failed = []
        for entry in Entries:
            theirs, times = self.failing.get(entry["ReceiptHandle"], (False, 0))
            if times:
                self.failing[entry["ReceiptHandle"]] = theirs, times - 1
                failed.append({"Id": entry["Id"], "SenderFault": theirs, "Code": "InternalError"})
        return {"Failed": failed} if failed else {}

    change_message_visibility_batch = delete_message_batch


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqs, "_PAUSE", 0)


def test_of_a_batch_only_what_failed_is_tried_again():
    client = Client({"receipt-1": (False, 1), "receipt-3": (False, 2), "receipt-4": (True, 99)})
    queue = Queue("q", "http://q", client)
    given_up = queue.delete([message(number) for number in range(5)])
    assert [item.id for item in given_up] == ["id-4"], "it is the sender's fault: the same again fails again"
    tried = [[entry["ReceiptHandle"] for entry in call] for call in client.calls]
    assert tried == [
        ["receipt-0", "receipt-1", "receipt-2", "receipt-3", "receipt-4"],
        ["receipt-1", "receipt-3"],
        ["receipt-3"],
    ]


def test_what_never_succeeds_is_given_up_and_named():
    client = Client({"receipt-1": (False, 99)})
    given_up = Queue("q", "http://q", client).extend([message(0), message(1)], 30)
    assert [item.id for item in given_up] == ["id-1"]
    assert all(entry["VisibilityTimeout"] == 30 for call in client.calls for entry in call)
    assert len(client.calls) == 4


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", QueueRefused, "there is none of that name"),
        ("QueueDoesNotExist", QueueRefused, "there is none of that name"),
        ("AccessDenied", QueueRefused, "is denied ({code}) — it needs sqs:ReceiveMessage"),
        ("AccessDeniedException", QueueRefused, "is denied ({code}) — it needs sqs:ReceiveMessage"),
        ("KmsAccessDenied", QueueRefused, "is refused (KmsAccessDenied) — it needs kms:Decrypt"),
        ("ExpiredToken", QueueRefused, "ReceiveMessage: the AWS credentials have expired — renew them"),
        (
            "InvalidClientTokenId",
            QueueRefused,
            "AWS does not accept the credentials (InvalidClientTokenId) — look at",
        ),
        ("KmsThrottled", QueueUnavailable, "ReceiveMessage: AWS does not answer, however often"),
        ("OverLimit", QueueUnavailable, "ReceiveMessage: AWS does not answer, however often"),
        ("SomethingNew", QueueRefused, "ReceiveMessage: AWS refuses it (SomethingNew)"),
        ("ServiceUnavailable", QueueUnavailable, "ReceiveMessage: AWS does not answer, however often"),
    ],
)
def test_a_refusal_is_told_with_its_mend_and_without_the_words_of_aws(
    code: str, kind: type[QueueError], said: str
):
    error = exceptions.ClientError({"Error": {"Code": code, "Message": "arn:secret"}}, "ReceiveMessage")
    with pytest.raises(kind) as caught, typed_errors("logins", "ReceiveMessage"):
        raise error
    assert said.format(code=code) in str(caught.value) and str(caught.value).startswith("queue logins: ")
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_queue_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch, aws: boto3.Session):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(aws_module, "ATTEMPTS", 1)
    with pytest.raises(QueueUnavailable, match="queue logins: GetQueueUrl: AWS does not answer"):
        open_queue("logins", 1, 1)


def test_a_queue_is_opened_by_its_name_or_its_url(aws: boto3.Session):
    url = aws.client("sqs").create_queue(QueueName="logins")["QueueUrl"]
    for place in ("logins", url):
        queue = open_queue(place, 1, 1)
        assert (queue.name, queue.is_fifo, queue.waiting()) == ("logins", False, 0)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("logins", True),
        ("Log_ins-2.fifo", True),
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/logins", True),
        ("http://localhost:5000/1/logins.fifo", True),
        ("log ins", False),
        ("logins.fif", False),
        ("x" * 81, False),
        ("arn:aws:sqs:eu-west-1:1:logins", False),
        ("https://sqs.eu-west-1.amazonaws.com/", False),
    ],
)
def test_names_and_urls(text: str, is_one: bool):
    assert bool(NAME_OR_URL.fullmatch(text)) is is_one
