"""A key-encryption key in AWS KMS, over HTTP. What moto does not do as KMS does, the proxy answers."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pii_pipeline import aws as aws_module
from pii_pipeline.keys import kms
from pii_pipeline.keys.derivation import decode, encode
from pii_pipeline.keys.errors import KeyEncryptionKeyError, KeysError, KeyServiceUnavailable, UnwrapFailed
from pii_pipeline.keys.key_encryption import FileKey, open_key_encryption_key
from pii_pipeline.keys.kms import HELD_SECONDS, KmsKey, wrapped_under
from pii_pipeline.keys.secret_values import secret_value
from pii_pipeline_tests.aws import REGION
from pii_pipeline_tests.faulty_proxy import NOT_TO_BE_QUOTED, FaultyProxy
from pii_pipeline_tests.unit.keys.conftest import opened

CONTEXT = {"purpose": "window", "stream": "webshop", "day": "2026-11-22"}
KEY = b"k" * 32


class Clock:
    """Goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def new_key(aws: Any, alias: str = "") -> dict[str, str]:
    """Id and ARN of a new KMS key, which `alias` leads to."""
    client = aws.client("kms")
    made = client.create_key()["KeyMetadata"]
    if alias:
        client.create_alias(AliasName=alias, TargetKeyId=made["KeyId"])
    return {"id": made["KeyId"], "arn": made["Arn"]}


@pytest.fixture
def key(aws: Any) -> dict[str, str]:
    return new_key(aws, "alias/pii")


@pytest.fixture
def kek(key: dict[str, str], faulty_aws: FaultyProxy) -> KmsKey:
    """Asked through the proxy."""
    return KmsKey("alias/pii")


def test_wrapped_keys_open_in_their_context_only(kek: KmsKey, key: dict[str, str]) -> None:
    wrapped = kek.wrap(KEY, CONTEXT)
    assert KEY not in wrapped
    for again in (kek, KmsKey(key["id"]), KmsKey(key["arn"])):
        assert again.unwrap(wrapped, dict(reversed(CONTEXT.items()))) == KEY
    for fresh in (kek, KmsKey("alias/pii")):  # the one holds the data key, the other one asks KMS
        for context in ({}, {**CONTEXT, "stream": "logins"}):
            with pytest.raises(UnwrapFailed):
                fresh.unwrap(wrapped, context)


def test_any_length_is_wrapped(kek: KmsKey) -> None:
    """An imported secret has whatever length it has; KMS's own Encrypt ends at 4,096 bytes."""
    for length in (0, 10_000):
        assert KmsKey("alias/pii").unwrap(kek.wrap(b"s" * length, CONTEXT), CONTEXT) == b"s" * length


def test_every_key_has_a_data_key_of_its_own(kek: KmsKey) -> None:
    assert kek.wrap(KEY, CONTEXT) != kek.wrap(KEY, CONTEXT)


def test_altered_bytes_do_not_open(kek: KmsKey, key: dict[str, str]) -> None:
    wrapped = kek.wrap(KEY, CONTEXT)
    other = wrapped.replace(key["arn"].encode(), b"A" + key["arn"].encode()[1:])
    damaged = [b"", b"\x02", b"\x02\x01", wrapped[:40], wrapped[:-1], wrapped + b"\0", other]
    damaged += [
        wrapped[:at] + bytes((wrapped[at] ^ 1,)) + wrapped[at + 1 :] for at in range(0, len(wrapped), 7)
    ]
    for bytes_ in damaged:
        with pytest.raises(KeysError):
            kek.unwrap(bytes_, CONTEXT)


def test_kms_is_told_what_a_key_is_for_and_nothing_else(kek: KmsKey, faulty_aws: FaultyProxy) -> None:
    faulty_aws.heal()
    KmsKey("alias/pii").unwrap(kek.wrap(KEY, CONTEXT), CONTEXT)
    (made, asked), (opened, again) = [(item.operation, item.asked) for item in faulty_aws.requests]
    assert (made, opened) == ("GenerateDataKey", "Decrypt")
    assert asked == {"KeyId": "alias/pii", "NumberOfBytes": 64, "EncryptionContext": CONTEXT}
    assert set(again) == {"CiphertextBlob", "EncryptionContext"}  # no key id: see the test of aliases
    assert again["EncryptionContext"] == CONTEXT


def test_no_log_has_an_opened_key(kek: KmsKey, aws: Any, caplog: pytest.LogCaptureFixture) -> None:
    """botocore at DEBUG logs every answer, and an answer of KMS holds the data key."""
    aws.client("secretsmanager").create_secret(Name="s", SecretString="canary_secret")
    caplog.set_level(logging.DEBUG)
    for _ in range(2):
        fresh = KmsKey("alias/pii")
        fresh.unwrap(kek.wrap(KEY, CONTEXT), CONTEXT)
        secret_value("PII_PSEUDONYM_SECRET", "aws-secretsmanager://s")
        opened = list(fresh._held._keys.values())
        assert opened and "botocore" in caplog.text
        assert all(base64.b64encode(data_key).decode() not in caplog.text for _, data_key in opened)
        assert all(repr(data_key)[2:-1] not in caplog.text for _, data_key in opened)
        assert "canary_secret" not in caplog.text
        caplog.set_level(logging.DEBUG, "botocore")


# What is held


def test_kms_is_asked_again_after_the_time_and_not_before(
    key: dict[str, str], faulty_aws: FaultyProxy
) -> None:
    clock = Clock()
    kek = KmsKey("alias/pii", clock)
    wrapped = kek.wrap(KEY, CONTEXT)
    for later, asked in [(0, 0), (HELD_SECONDS - 1, 0), (1, 1), (HELD_SECONDS - 1, 1), (1, 2)]:
        clock.now += later
        assert kek.unwrap(wrapped, CONTEXT) == KEY
        assert faulty_aws.count("Decrypt") == asked


def test_use_does_not_make_it_held_for_longer(key: dict[str, str], faulty_aws: FaultyProxy) -> None:
    clock = Clock()
    kek = KmsKey("alias/pii", clock)
    wrapped = kek.wrap(KEY, CONTEXT)
    for _ in range(HELD_SECONDS + 1):
        clock.now += 1
        kek.unwrap(wrapped, CONTEXT)
    assert faulty_aws.count("Decrypt") == 1


def test_what_is_not_used_any_more_leaves_memory(key: dict[str, str], faulty_aws: FaultyProxy) -> None:
    clock = Clock()
    kek = KmsKey("alias/pii", clock)
    kek.wrap(KEY, CONTEXT)
    clock.now += HELD_SECONDS
    kek.wrap(KEY, CONTEXT)
    assert len(kek._held._keys) == 1


def test_so_many_are_held_and_no_more(
    kek: KmsKey, faulty_aws: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kms, "HELD_KEYS", 3)
    wrapped = [kek.wrap(KEY, CONTEXT) for _ in range(4)]
    assert len(kek._held._keys) == 3
    for item in reversed(wrapped):
        kek.unwrap(item, CONTEXT)
    assert faulty_aws.count("Decrypt") == 1


def test_threads_share_it(kek: KmsKey) -> None:
    with ThreadPoolExecutor(8) as threads:
        wrapped = list(threads.map(lambda _: kek.wrap(KEY, CONTEXT), range(40)))
        assert set(threads.map(lambda item: kek.unwrap(item, CONTEXT), wrapped * 2)) == {KEY}


# Rotation


def test_material_that_kms_rotated_opens_what_it_wrapped(kek: KmsKey, aws: Any, key: dict[str, str]) -> None:
    before = kek.wrap(KEY, CONTEXT)
    aws.client("kms").enable_key_rotation(KeyId=key["id"])
    aws.client("kms").rotate_key_on_demand(KeyId=key["id"])
    after = kek.wrap(KEY, CONTEXT)
    fresh = KmsKey("alias/pii")
    assert fresh.unwrap(before, CONTEXT) == fresh.unwrap(after, CONTEXT) == KEY
    assert wrapped_under(before) == wrapped_under(after) == key["arn"]


def test_an_alias_that_moved_leaves_old_windows_readable(kek: KmsKey, aws: Any, key: dict[str, str]) -> None:
    before = kek.wrap(KEY, CONTEXT)
    newer = new_key(aws)
    aws.client("kms").update_alias(AliasName="alias/pii", TargetKeyId=newer["id"])
    after = kek.wrap(KEY, CONTEXT)
    for fresh in (KmsKey("alias/pii"), KmsKey(newer["arn"])):
        assert fresh.unwrap(before, CONTEXT) == fresh.unwrap(after, CONTEXT) == KEY
    assert (wrapped_under(before), wrapped_under(after)) == (key["arn"], newer["arn"])


def test_an_arn_is_asked_for_in_its_own_region(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = aws.client("kms", region_name="us-west-2").create_key()["KeyMetadata"]
    assert REGION != "us-west-2"
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION")
    wrapped = KmsKey(made["Arn"]).wrap(KEY, CONTEXT)
    assert KmsKey(made["Arn"]).unwrap(wrapped, CONTEXT) == KEY


# Bad days


def message(error: pytest.ExceptionInfo[Exception]) -> str:
    """Whole, not quoting AWS, and the same after a pipe."""
    text = str(error.value)
    assert NOT_TO_BE_QUOTED not in text and "canary" not in text
    assert error.value.__cause__ is None
    assert error.value.__context__ is None or error.value.__suppress_context__
    assert str(pickle.loads(pickle.dumps(error.value))) == text
    return text


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("AccessDeniedException", "kms:GenerateDataKey is not allowed — allow it"),
        ("NotFoundException", "there is no such key — name"),
        ("DisabledException", "the key is disabled — enable it (kms:EnableKey)"),
        ("KMSInvalidStateException", "the key is pending deletion, or not in a state to be used — cancel"),
        ("InvalidKeyUsageException", "the key is not for encryption — name a symmetric"),
        ("ValidationException", "no name of a key — use a key id"),
        ("ExpiredTokenException", "kms:GenerateDataKey: the AWS credentials have expired — renew them"),
        ("UnrecognizedClientException", "kms:GenerateDataKey: AWS does not accept the credentials"),
        ("SomethingNewException", "kms:GenerateDataKey: AWS refuses it (SomethingNewException)"),
    ],
)
def test_what_kms_refuses_to_wrap(kek: KmsKey, faulty_aws: FaultyProxy, code: str, said: str) -> None:
    faulty_aws.heal()
    faulty_aws.fail(code, operation="GenerateDataKey")
    with pytest.raises(KeyEncryptionKeyError) as caught:
        kek.wrap(KEY, CONTEXT)
    assert message(caught).startswith(f"PII_KEY_ENCRYPTION_KEY: AWS KMS, key alias/pii: {said}")
    assert faulty_aws.count() == 1  # not tried again


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("AccessDeniedException", "kms:Decrypt is not allowed, or the key is not there any more — allow it"),
        ("DisabledException", "the key is disabled — enable it"),
        ("KMSInvalidStateException", "the key is pending deletion"),
        ("ExpiredTokenException", "kms:Decrypt: the AWS credentials have expired — renew them"),
    ],
)
def test_what_kms_refuses_to_open_names_the_key_that_wrapped_it(
    kek: KmsKey, key: dict[str, str], faulty_aws: FaultyProxy, code: str, said: str
) -> None:
    wrapped = kek.wrap(KEY, CONTEXT)
    faulty_aws.fail(code, operation="Decrypt")
    with pytest.raises(KeyEncryptionKeyError) as caught:
        KmsKey("alias/elsewhere").unwrap(wrapped, CONTEXT)
    assert message(caught).startswith(f"PII_KEY_ENCRYPTION_KEY: AWS KMS, key {key['arn']}: {said}")


def test_a_role_without_decrypt_is_told_so(
    aws: Any, aws_endpoint: str, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the IAM policy of a real user, not by the proxy."""
    wrapped = KmsKey("alias/pii").wrap(KEY, CONTEXT)
    iam = aws.client("iam")
    iam.create_user(UserName="loader")
    policy = {"Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [policy]})
    iam.put_user_policy(UserName="loader", PolicyName="wrap", PolicyDocument=document)
    issued = iam.create_access_key(UserName="loader")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", issued["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", issued["SecretAccessKey"])

    def enforce(after: str) -> None:
        url, plain = f"{aws_endpoint}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, after.encode(), plain, method="POST")).close()

    enforce("0")
    try:
        kek = KmsKey("alias/pii")
        kek.unwrap(kek.wrap(KEY, CONTEXT), CONTEXT)  # of its own making: held
        with pytest.raises(KeyEncryptionKeyError, match=f"{key['arn']}: kms:Decrypt is not allowed"):
            kek.unwrap(wrapped, CONTEXT)
    finally:
        enforce("inf")


@pytest.mark.parametrize(
    ("code", "status"),
    [("ThrottlingException", 400), ("KMSInternalException", 500), ("DependencyTimeoutException", 503)],
)
def test_what_passes_is_tried_again(kek: KmsKey, faulty_aws: FaultyProxy, code: str, status: int) -> None:
    faulty_aws.fail(code, operation="GenerateDataKey", status=status, times=2)
    wrapped = kek.wrap(KEY, CONTEXT)
    assert faulty_aws.count("GenerateDataKey") == 3
    faulty_aws.fail(code, operation="Decrypt", status=status, times=2)
    assert KmsKey("alias/pii").unwrap(wrapped, CONTEXT) == KEY


def test_what_does_not_pass_ends(
    key: dict[str, str], faulty_aws: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_module, "ATTEMPTS", 2)
    faulty_aws.fail("ThrottlingException", operation="GenerateDataKey")
    with pytest.raises(KeyServiceUnavailable) as caught:
        KmsKey("alias/pii").wrap(KEY, CONTEXT)
    assert "AWS does not answer, however often it is asked (ThrottlingException)" in message(caught)
    assert faulty_aws.count("GenerateDataKey") == 2


def test_half_an_answer_is_none(
    kek: KmsKey, faulty_aws: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty_aws.fail("truncated", operation="GenerateDataKey", times=2)
    wrapped = kek.wrap(KEY, CONTEXT)
    assert faulty_aws.count("GenerateDataKey") == 3
    monkeypatch.setattr(aws_module, "ATTEMPTS", 3)
    broken = faulty_aws.fail("truncated", operation="Decrypt")
    with pytest.raises(KeyServiceUnavailable) as caught:
        KmsKey("alias/pii").unwrap(wrapped, CONTEXT)
    assert "AWS does not answer (IncompleteReadError)" in message(caught)
    assert broken.met == 3


def test_no_answer_ends_too(
    key: dict[str, str], faulty_aws: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_module, "ATTEMPTS", 2)
    monkeypatch.setattr(aws_module, "READ_SECONDS", 0.2)
    faulty_aws.fail("silence", operation="GenerateDataKey")
    with pytest.raises(KeyServiceUnavailable, match=r"AWS does not answer \(ReadTimeoutError\)"):
        KmsKey("alias/pii").wrap(KEY, CONTEXT)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(KeyServiceUnavailable, match=r"alias/pii: AWS does not answer"):
        KmsKey("alias/pii").wrap(KEY, CONTEXT)


def test_an_endpoint_that_is_no_url(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "canary")
    with pytest.raises(KeyEncryptionKeyError, match="boto3 does not take its settings") as caught:
        KmsKey("alias/pii")
    assert "canary" not in message(caught)


def test_an_endpoint_that_is_found_out_to_be_none_when_it_is_asked(
    aws: Any, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapped = KmsKey("alias/pii").wrap(KEY, CONTEXT)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://canary:x@host:notaport")
    for work in (
        lambda: KmsKey("alias/pii").unwrap(wrapped, CONTEXT),
        lambda: KmsKey("a").wrap(KEY, CONTEXT),
    ):
        with pytest.raises(KeyEncryptionKeyError, match="boto3 does not take its settings") as caught:
            work()
        assert "canary" not in message(caught)


def test_a_data_key_of_another_length_is_not_ours(kek: KmsKey, aws: Any, key: dict[str, str]) -> None:
    wrapped = kek.wrap(KEY, CONTEXT)
    arn, _, sealed = decode(wrapped[1:], 3)
    made = aws.client("kms").generate_data_key(KeyId="alias/pii", NumberOfBytes=16, EncryptionContext=CONTEXT)
    with pytest.raises(UnwrapFailed, match="its row was altered"):
        kek.unwrap(b"\x02" + encode(arn, made["CiphertextBlob"], sealed), CONTEXT)


def test_no_region_no_credentials_no_profile(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(KeyEncryptionKeyError, match=r"no AWS credentials can be had"):
        KmsKey("alias/pii").wrap(KEY, CONTEXT)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(KeyEncryptionKeyError, match="no AWS region is known — set AWS_DEFAULT_REGION"):
        KmsKey("alias/pii")
    monkeypatch.setenv("AWS_PROFILE", "nobodys")
    with pytest.raises(KeyEncryptionKeyError, match=r"no AWS credentials can be had \(ProfileNotFound\)"):
        KmsKey("alias/pii")


@pytest.mark.parametrize("uri", ["aws-kms://", "aws-kms:", "aws-kms:alias/pii", "aws-kms", "gcp-kms://x"])
def test_half_a_uri_is_refused(uri: str) -> None:
    with pytest.raises(KeyEncryptionKeyError, match=r"PII_KEY_ENCRYPTION_KEY: .* aws-kms://KEY"):
        open_key_encryption_key(uri)


# The key store on it


def test_keys_of_the_other_kind_say_what_to_do(kek: KmsKey, tmp_path: Path, database_url: str) -> None:
    file = FileKey(tmp_path / "kek")
    with pytest.raises(UnwrapFailed, match="pii keys rewrap --from file:PATH"):
        kek.unwrap(file.wrap(KEY, CONTEXT), CONTEXT)
    with pytest.raises(UnwrapFailed, match="PII_KEY_ENCRYPTION_KEY to aws-kms://arn:aws:kms:"):
        file.unwrap(kek.wrap(KEY, CONTEXT), CONTEXT)


def test_a_store_opens_with_few_requests(kek: KmsKey, faulty_aws: FaultyProxy, database_url: str) -> None:
    """As many as it has keys to open: none per person."""
    days = [date(2026, 11, day) for day in range(16, 23)]
    tags = [number.to_bytes(32, "big") for number in range(1_000)]
    first = opened(database_url, kek)
    faulty_aws.heal()
    before = first.window_keys("webshop", days), first.subjects(tags), first.pseudonym_secret()
    assert (faulty_aws.count("GenerateDataKey"), faulty_aws.count("Decrypt")) == (len(days) + 2, 0)

    faulty_aws.heal()
    again = opened(database_url, KmsKey("alias/pii"))
    assert (again.window_keys("webshop", days), again.subjects(tags), again.pseudonym_secret()) == before
    assert again.index_key() == first.index_key()
    assert (faulty_aws.count("GenerateDataKey"), faulty_aws.count("Decrypt")) == (0, len(days) + 3)
    contexts = [request.asked["EncryptionContext"] for request in faulty_aws.requests]
    assert {"purpose": "window", "stream": "webshop", "day": "2026-11-16"} in contexts
    assert {"purpose": "salts", "epoch": "1"} in contexts


def test_a_row_that_was_altered_is_told(kek: KmsKey) -> None:
    wrapped = kek.wrap(KEY, CONTEXT)
    assert wrapped_under(b"\x01" + wrapped[1:]) is None
    with pytest.raises(UnwrapFailed, match="its row was altered"):
        wrapped_under(wrapped[:30])


def test_kms_that_fails_leaves_the_store_as_it_was(
    kek: KmsKey, faulty_aws: FaultyProxy, database_url: str
) -> None:
    store = opened(database_url, kek)
    faulty_aws.fail("ExpiredTokenException", operation="GenerateDataKey", after=1)
    with pytest.raises(KeyEncryptionKeyError):
        store.window_keys("webshop", [date(2026, 11, 22), date(2026, 11, 23)])
    with pytest.raises(KeyEncryptionKeyError):
        store.subjects([b"t" * 32])
    faulty_aws.heal()
    kept = store.window_keys("webshop", [date(2026, 11, 22)]), store.subjects([b"t" * 32])
    again = opened(database_url, KmsKey("alias/pii"))
    assert (again.window_keys("webshop", [date(2026, 11, 22)]), again.subjects([b"t" * 32])) == kept
