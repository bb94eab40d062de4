"""DynamoDB: tables that are made, others that are refused, and its bad days: moto over HTTP."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from pii_pipeline import aws as aws_module
from pii_pipeline.vault.errors import TamperedRow, VaultSettingError, VaultUnavailable
from pii_pipeline.vault.model import PIINGUIN_FIELD, PIINGUIN_STREAM, RecordKey, Stored
from pii_pipeline.vault.stores import Allowance, VaultStore, dynamodb_calls, dynamodb_tables, open_store
from pii_pipeline_tests.faulty_proxy import NOT_TO_BE_QUOTED, FaultyProxy
from pii_pipeline_tests.unit.vault.stores.examples import (
    NOW,
    consent,
    entries,
    entry,
    key,
    record,
    seen,
    subject,
    unbound,
)

URL = "dynamodb://vault"


@pytest.fixture
def opened(faulty_aws: FaultyProxy) -> Iterator[VaultStore]:
    store = open_store(URL)
    faulty_aws.heal()
    yield store
    store.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a minute."""
    monkeypatch.setattr(aws_module, "ATTEMPTS", 2)
    monkeypatch.setattr(dynamodb_calls, "PATIENCE", 0.2)


def described(aws: boto3.Session, table: str) -> dict[str, Any]:
    return aws.client("dynamodb").describe_table(TableName=table)["Table"]


def make_table(aws: boto3.Session, name: str, *keys: str, kind: str = "S") -> None:
    aws.client("dynamodb").create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": kind} for key in keys],
        KeySchema=[
            {"AttributeName": key, "KeyType": role}
            for key, role in zip(keys, ("HASH", "RANGE"), strict=False)
        ],
        BillingMode="PAY_PER_REQUEST",
    )


def test_three_tables_are_made_on_first_use_and_found_again(aws: boto3.Session, opened: VaultStore) -> None:
    assert aws.client("dynamodb").list_tables()["TableNames"] == ["vault", "vault-audit", "vault-state"]
    for name in "vault", "vault-audit", "vault-state":
        table = described(aws, name)
        assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
        assert table["DeletionProtectionEnabled"] is True
    indexes = described(aws, "vault")["GlobalSecondaryIndexes"]
    assert {index["IndexName"]: index["Projection"]["ProjectionType"] for index in indexes} == {
        "by_subject": "KEYS_ONLY",
        "by_mark": "KEYS_ONLY",
    }
    expiry = aws.client("dynamodb").describe_time_to_live(TableName="vault-state")["TimeToLiveDescription"]
    assert (expiry["TimeToLiveStatus"], expiry["AttributeName"]) == ("ENABLED", "expires")
    opened.put([record(1)])
    again = open_store(URL)
    assert again.find([key(1)]) == [[record(1)]]
    again.close()


@pytest.mark.parametrize("made_before", [0, 1, 2])
def test_a_table_that_somebody_else_made_meanwhile_is_used(
    opened: VaultStore, faulty_aws: FaultyProxy, made_before: int
) -> None:
    opened.put([record(1)])
    faulty_aws.fail("ResourceNotFoundException", operation="DescribeTable", after=made_before, times=1)
    again = open_store(URL)
    assert faulty_aws.count("CreateTable") == 1
    assert again.find([key(1)]) == [[record(1)]]
    again.close()


def test_a_table_that_is_being_made_is_waited_for(
    opened: VaultStore, faulty_aws: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto makes tables at once: that it takes time is put into its first answers."""
    monkeypatch.setattr(dynamodb_tables, "_PAUSE", 0.01)
    ask, answers = dynamodb_calls.DynamoDb.ask, []

    def in_time(self: Any, operation: str, *arguments: Any, **named: Any) -> Any:
        answer = ask(self, operation, *arguments, **named)
        answers.append(operation)
        if len(answers) <= 4:
            answer["Table"]["TableStatus"] = "CREATING"
        return answer

    monkeypatch.setattr(dynamodb_calls.DynamoDb, "ask", in_time)
    open_store(URL).close()
    assert answers == ["describe_table"] * 7
    monkeypatch.setattr(dynamodb_tables, "_PATIENCE", 0)
    answers.clear()
    with pytest.raises(VaultUnavailable, match=r"table vault is still being made — try again later"):
        open_store(URL)


def test_a_window_is_to_be_forgotten_after_two_days(aws: boto3.Session, opened: VaultStore) -> None:
    opened.spend([Allowance("ann", "2026-11-26", 5)], 1)
    opened.spend([Allowance("ann", "2026-11-26", 5)], 1)
    (item,) = aws.client("dynamodb").scan(TableName="vault-state")["Items"]
    left = int(item["expires"]["N"]) - datetime.now(UTC).timestamp()
    assert 2 * 86_400 - 120 < left <= 2 * 86_400
    assert item["spent"] == {"N": "2"}


def test_piinguins_own_table_is_refused(aws: boto3.Session, faulty_aws: FaultyProxy) -> None:
    make_table(aws, "piinguin", "modifiedValue")
    with pytest.raises(VaultSettingError) as refused:
        open_store("dynamodb://piinguin")
    assert str(refused.value) == (
        "PII_VAULT_URL: DynamoDB table piinguin is Piinguin's own, with originals in clear — name another "
        "table, and bring them there with `pii vault import`"
    )
    assert aws.client("dynamodb").list_tables()["TableNames"] == ["piinguin"], "nothing was made beside it"


@pytest.mark.parametrize(
    ("name", "keys", "kind"),
    [
        ("vault", ["record"], "B"),
        ("vault", ["record", "part"], "S"),
        ("vault", ["record", "part"], "B"),  # without indexes
        ("vault-audit", ["id"], "S"),
        ("vault-state", ["of", "name"], "S"),
    ],
)
def test_somebody_elses_table_is_refused(
    aws: boto3.Session, faulty_aws: FaultyProxy, name: str, keys: list[str], kind: str
) -> None:
    make_table(aws, name, *keys, kind=kind)
    with pytest.raises(VaultSettingError) as refused:
        open_store(URL)
    assert str(refused.value) == (
        f"PII_VAULT_URL: DynamoDB table {name} has not the vault's keys and indexes — name another table"
    )


@pytest.mark.parametrize("name", ["", "ab", "a/b", "x" * 250, "vault?x=1"])
def test_what_is_no_name_of_a_table(name: str) -> None:
    with pytest.raises(VaultSettingError, match=r"^PII_VAULT_URL: no name of a DynamoDB table"):
        open_store(f"dynamodb://{name}")


def test_no_region_is_a_setting_that_is_missing(aws: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "AWS_REGION", "AWS_DEFAULT_REGION":
        monkeypatch.delenv(name)
    with pytest.raises(VaultSettingError, match=r"^PII_VAULT_URL: no AWS region is known — set AWS_DEFAULT"):
        open_store(URL)


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "ThrottlingException"])
def test_throttled_calls_are_made_again(opened: VaultStore, faulty_aws: FaultyProxy, code: str) -> None:
    faulty_aws.fail(code, times=3)
    some = [record(number) for number in range(10)]
    assert opened.put(some) == Stored(10, 0)
    faulty_aws.fail(code, times=3)
    assert opened.find([that.key for that in some]) == [[that] for that in some]
    faulty_aws.fail(code, times=3)
    assert opened.append([entry(1)])


def test_who_meets_a_transaction_tries_again(opened: VaultStore, faulty_aws: FaultyProxy) -> None:
    faulty_aws.fail("TransactionConflictException", operation="PutItem", times=2)
    opened.put_consents([consent(1, 1)])
    faulty_aws.fail("TransactionInProgressException", operation="TransactWriteItems", times=2)
    assert opened.append([entry(1)])
    assert opened.consents("logins", [subject(1)]) == {subject(1): consent(1, 1)}


CALLS = [
    ("PutItem", "vault", lambda store: store.put([unbound(1, CANARY)])),
    ("Query", "vault", lambda store: store.find([CANARY])),
    ("Query", "vault", lambda store: store.delete([CANARY])),
    ("Query", "vault-state", lambda store: store.delete_subjects([subject(1)])),
    ("PutItem", "vault-state", lambda store: store.put_consents([consent(1, 1)])),
    ("BatchGetItem", "vault-state", lambda store: store.consents("logins", [subject(1)])),
    ("DescribeTable", "vault", lambda store: store.records()),
    ("TransactWriteItems", "vault-state", lambda store: store.spend([Allowance("ann", "2026", 5)], 1)),
    ("TransactWriteItems", "vault-audit", lambda store: store.append([entry(1, "canary")])),
    ("Query", "vault-audit", lambda store: store.last_entry()),
    ("Query", "vault-audit", lambda store: list(store.entries())),
    ("GetItem", "vault-state", lambda store: store.anchored()),
]
CANARY = RecordKey(PIINGUIN_STREAM, PIINGUIN_FIELD, "canary@example.com")


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException", "ValidationException"])
def test_what_dynamodb_does_not_do_is_told_with_table_and_permission_and_no_value(
    opened: VaultStore, faulty_aws: FaultyProxy, code: str
) -> None:
    for operation, table, asked in CALLS:
        faulty_aws.heal()
        faulty_aws.fail(code, operation=operation)
        with pytest.raises(VaultUnavailable) as told:
            asked(opened)
        # A transaction needs the permissions of what is in it.
        permission = "PutItem, UpdateItem or ConditionCheckItem" if "Transact" in operation else operation
        said = {
            "AccessDeniedException": (
                f"dynamodb:{permission} is not allowed — allow it, on the table and its indexes"
            ),
            "ThrottlingException": (
                f"AWS does not answer, however often it is asked ({code}) — run it again later"
            ),
            "ValidationException": f"AWS refuses it ({code})",
        }[code]
        assert str(told.value) == f"PII_VAULT_URL: DynamoDB table {table}: {said}"
        shown = f"{told.value!r} {told.value.__cause__!r}"
        assert "canary" not in shown and NOT_TO_BE_QUOTED not in shown
        assert told.value.__suppress_context__


@pytest.mark.usefixtures("hasty")
def test_nobody_answers(opened: VaultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(VaultUnavailable, match=r"^PII_VAULT_URL: DynamoDB table vault: AWS does not answer"):
        open_store(URL)


def test_items_that_are_left_are_asked_for_again(opened: VaultStore, faulty_aws: FaultyProxy) -> None:
    some = [record(number) for number in range(60)]
    said = [consent(number, 1) for number in range(60)]
    opened.put(some)
    opened.put_consents(said)
    faulty_aws.fail("half_done", operation="BatchGetItem", times=4)
    assert opened.consents("logins", [one.subject for one in said]) == {one.subject: one for one in said}
    faulty_aws.fail("half_done", operation="BatchWriteItem", times=7)
    assert opened.delete([that.key for that in some]) == 60
    assert opened.records() == 0


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("operation", ["BatchGetItem", "BatchWriteItem"])
def test_items_that_are_left_for_ever(opened: VaultStore, faulty_aws: FaultyProxy, operation: str) -> None:
    opened.put([record(1)])
    faulty_aws.fail("half_done", operation=operation)
    with pytest.raises(
        VaultUnavailable, match=r"table vault.*: it is asked for too much at once — try again later"
    ):
        opened.consents("logins", [subject(1)]) if operation == "BatchGetItem" else opened.delete([key(1)])


def test_changes_whose_answers_break_off(opened: VaultStore, faulty_aws: FaultyProxy) -> None:
    faulty_aws.fail("truncated", operation="PutItem", times=1)
    assert opened.put([record(1)]) == Stored(new=0, known=1)
    faulty_aws.fail("truncated", operation="UpdateItem", times=1)
    assert opened.put([seen(record(1), -1, 1)]) == Stored(0, 1)
    assert opened.find([key(1)]) == [[seen(record(1), -1, 1)]]
    for first, last in (1, 1), (2, 3):
        faulty_aws.fail("truncated", operation="TransactWriteItems", times=1)
        assert opened.append(entries(first, last)), "it is his own that he finds"
    assert list(opened.entries()) == entries(1, 3)
    tokens = [
        request.asked["ClientRequestToken"]
        for request in faulty_aws.requests
        if request.operation == "TransactWriteItems"
    ]
    assert len(tokens) == 4
    assert len(set(tokens)) == 2, "DynamoDB itself knows them again"


def test_answers_that_break_off_are_asked_for_again(opened: VaultStore, faulty_aws: FaultyProxy) -> None:
    opened.put([record(1)])
    opened.append(entries(1, 2))
    faulty_aws.fail("truncated", operation="Query", times=3)
    assert opened.find([key(1)]) == [[record(1)]]
    assert list(opened.entries()) == entries(1, 2)
    assert opened.last_entry() == entry(2)


def test_who_asks_for_few_does_not_wait_for_the_thousands_of_another(opened: VaultStore) -> None:
    dynamodb = opened._dynamodb  # pyright: ignore[reportAttributeAccessIssue]
    done: list[str] = []
    gate = threading.Event()

    def work(who: str) -> None:
        gate.wait(60)
        done.append(who)

    with ThreadPoolExecutor(3) as callers:
        asked = [callers.submit(dynamodb.each, work, ["many"] * 3_000)]
        time.sleep(0.5)  # all that it queues
        asked.append(callers.submit(dynamodb.each, work, ["few"] * 5))
        time.sleep(0.5)
        try:
            callers.submit(dynamodb.each, done.append, ["one"]).result(10)  # though every thread waits
        finally:
            gate.set()
        for call in asked:
            call.result()
    assert done[0] == "one"
    assert max(number for number, who in enumerate(done) if who == "few") < 500
    assert Counter(done) == {"many": 3_000, "few": 5, "one": 1}


def test_after_an_error_the_others_are_not_asked_for(opened: VaultStore) -> None:
    dynamodb = opened._dynamodb  # pyright: ignore[reportAttributeAccessIssue]
    done: list[int] = []

    def work(number: int) -> None:
        time.sleep(0.001)
        if number == 20:
            raise VaultUnavailable("no more")
        done.append(number)

    with pytest.raises(VaultUnavailable, match="no more"):
        dynamodb.each(work, range(3_000))
    dynamodb.each(work, [1, 2])
    assert len(done) < 500


def test_pages_are_read_to_their_end(opened: VaultStore, faulty_aws: FaultyProxy) -> None:
    """DynamoDB's pages end after a megabyte."""
    of, long = key(1), b"\x01" + b"x" * 60_000
    some = [record(number, of, long + bytes([number])) for number in range(40)]
    opened.put(some)
    faulty_aws.heal()
    assert opened.find([of]) == [some]
    assert faulty_aws.count("Query") > 1
    faulty_aws.heal()
    log = [entry(number, "x" * 60_000) for number in range(1, 41)]
    for start in range(0, 40, 10):
        assert opened.append(log[start : start + 10])
    faulty_aws.heal()
    assert list(opened.entries()) == log
    assert faulty_aws.count("Query") > 1


def test_what_is_missing_from_the_log_is_missing(aws: boto3.Session, opened: VaultStore) -> None:
    opened.append(entries(1, 5))
    for number in "1", "3", "5":
        where = {"log": {"S": "audit"}, "sequence": {"N": number}}
        aws.client("dynamodb").delete_item(TableName="vault-audit", Key=where)
    assert list(opened.entries()) == [entry(2), entry(4)]
    assert opened.last_entry() == entry(4)
    assert not opened.append([entry(6)]), "the log was cut"


ODD: list[Any] = [None, {"S": "odd"}, {"N": "1.5"}, {"B": b"odd"}, {"NULL": True}, {"L": []}, {"BOOL": True}]
"""What an attribute may be: absent, or of any type."""


def attributes(aws: boto3.Session, table: str, odd: Any, *names: str) -> None:
    """Gives these attributes of the table's first item another value."""
    dynamodb = aws.client("dynamodb")
    item = min(dynamodb.scan(TableName=table)["Items"], key=lambda item: str(sorted(item.items())))
    item = {name: odd if name in names else value for name, value in item.items()}
    dynamodb.put_item(
        TableName=table, Item={name: value for name, value in item.items() if value is not None}
    )


@pytest.mark.parametrize("odd", ODD, ids=[str(odd and next(iter(odd))) for odd in ODD])
def test_an_item_that_no_vault_wrote_is_tampered_with_and_keeps_nobody_from_another(
    aws: boto3.Session, opened: VaultStore, odd: Any
) -> None:
    def write() -> None:
        opened.put([record(1), unbound(1)])
        opened.put_consents([consent(1, 1)])

    for name, kind in ("sealed", "B"), ("first_seen", "S"), ("last_seen", "S"):
        if odd is None or kind not in odd or name != "sealed":
            write()
            attributes(aws, "vault", odd, name)
            sealed = [that.sealed for that in opened.find([key(1)])[0]]
            assert len(sealed) == 2 and sealed.count(b"") == 1, name
            opened.put([record(1), unbound(1), seen(record(1), -1, 1), seen(unbound(1), -1, 1)])
            opened.delete([key(1)])
    for name in "levels", "cumulative", "at", "rank", "seal":
        opened.delete_subjects([subject(1)])
        write()
        attributes(aws, "vault-state", odd, name)
        said = opened.consents("logins", [subject(1)])[subject(1)]
        assert said.seal != consent(1, 1).seal, name
    opened.delete_subjects([subject(1)])
    opened.remember_anchor(1, NOW)
    attributes(aws, "vault-state", odd, "at")
    with pytest.raises(TamperedRow):
        opened.anchored()


@pytest.mark.parametrize("odd", ODD, ids=[str(odd and next(iter(odd))) for odd in ODD])
def test_an_entry_that_no_vault_wrote_is_empty_where_it_is_odd(
    aws: boto3.Session, opened: VaultStore, odd: Any
) -> None:
    assert opened.append([entry(1)])
    attributes(aws, "vault-audit", odd, "text", "hash", "seal", "writer")
    (found,) = opened.entries()
    assert found == opened.last_entry()
    assert found.sequence == 1 and b"" in (found.hash, found.text.encode())
    assert not opened.append([entry(1)])


def test_a_number_that_is_none_is_zero(aws: boto3.Session, opened: VaultStore) -> None:
    assert opened.append(entries(1, 2))
    dynamodb = aws.client("dynamodb")
    (item, _) = dynamodb.scan(TableName="vault-audit")["Items"]
    dynamodb.put_item(TableName="vault-audit", Item=item | {"sequence": {"N": "1.5"}})
    assert [found.sequence for found in opened.entries()] == [1, 0, 2]
