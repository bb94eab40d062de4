"""What the environment says, and how a wrong value is told."""

import os
import pickle
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pii_pipeline.contracts.model import LONGEST
from pii_pipeline.ledger import hour_of
from pii_pipeline.pipeline.landing import FIRST_HOUR
from pii_pipeline.settings import SettingError, read_settings


@pytest.mark.parametrize("value", [os.pathsep, os.pathsep * 3])
def test_a_list_of_no_folders_is_not_no_streams(value: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="PII_STREAMS_DIR: names no folder — name folders"):
        read_settings({"PII_STREAMS_DIR": value}, tmp_path)


def test_empty_parts_between_folders_are_passed_over(tmp_path: Path) -> None:
    value = os.pathsep.join(["", str(tmp_path), ""])
    assert read_settings({"PII_STREAMS_DIR": value}, tmp_path).streams == (tmp_path,)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("mysql://ann:s3cret@host/shop", "no warehouse that is supported"),
        ("postgresql+psycopg2://ann:s3cret@host/shop", "no warehouse that is supported"),
        ("postgresql://", "no warehouse that is supported"),
        ("duckdb://warehouse.duckdb", "no warehouse that is supported"),
        ("duckdb:///", "no warehouse that is supported"),
        ("var/s3cret.duckdb", "no warehouse that is supported"),
        ("postgresql://ann:s3cret@host:port/shop", "no URL"),
        ("postgresql://ann:s3cret@[::/shop", "no URL"),
    ],
)
def test_a_warehouse_that_cannot_be_meant(value: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        read_settings({"PII_WAREHOUSE_URL": value}, tmp_path)
    assert str(caught.value) == (
        f"PII_WAREHOUSE_URL: {problem} — use duckdb:///PATH (a file) or postgresql://…"
    )


@pytest.mark.parametrize(
    "url", ["postgresql://ann:s3@cret@host/shop", "postgresql://ann:1/s3@cret@host/shop"]
)
def test_a_password_that_ends_too_early_is_not_taken_for_a_host(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        read_settings({"PII_WAREHOUSE_URL": url}, tmp_path)
    assert str(caught.value) == "PII_WAREHOUSE_URL: more than one @ — write an @ of the password as %40"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PII_LANDNG_URI", "PII_LANDING_URI"),
        ("PII_LAKE_URL", "PII_LAKE_URI"),
        ("PII_KEY_ENCRYPTON_KEY", "PII_KEY_ENCRYPTION_KEY"),
        ("PII_DATABASE_URI", "PII_DATABASE_URL"),
        ("PII_STREAM_DIR", "PII_STREAMS_DIR"),
    ],
)
def test_a_misspelt_name_is_not_a_setting_left_out(name: str, meant: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        read_settings({name: "s3cret"}, tmp_path)
    assert str(caught.value) == f"{name}: no setting has this name — write {meant}, or unset it"


def test_names_that_others_gave_are_left_alone(tmp_path: Path) -> None:
    others = {
        "PII_SERVICE_HOST": "10.0.0.1",
        "PII_TEST_POSTGRES_URL": "postgresql://host",
        "pii_lake_url": "x",
    }
    assert read_settings(others, tmp_path) == read_settings({}, tmp_path)


def test_the_warehouse_is_a_file_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    assert read_settings({}, tmp_path).warehouse_url == f"duckdb:///{tmp_path}/var/warehouse.duckdb"
    url = "postgresql://ann:s3cret@host/shop"
    settings = read_settings({"PII_WAREHOUSE_URL": url}, tmp_path)
    assert settings.warehouse_url == url
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "sqlite:///{root}/var/vault.db"),
        ({"PII_VAULT_URL": "postgresql://ann:s3cret@host/pii"}, "postgresql://ann:s3cret@host/pii"),
        ({"PIINGUIN_DYNAMODB_TABLE": "originals"}, "dynamodb://originals"),
        ({"PIINGUIN_DYNAMODB_TABLE": "originals", "PII_VAULT_URL": "dynamodb://vault"}, "dynamodb://vault"),
    ],
)
def test_where_the_vault_is(environment: dict[str, str], url: str, tmp_path: Path) -> None:
    settings = read_settings(environment, tmp_path)
    assert settings.vault_url == url.format(root=tmp_path)
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    "value", ["mysql://ann:s3cret@host/x", "s3cret", "dynamodb://", "dynamodb://a/b", "sqlite:///"]
)
def test_a_vault_that_cannot_be_meant(value: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        read_settings({"PII_VAULT_URL": value}, tmp_path)
    assert str(caught.value) == (
        "PII_VAULT_URL: no store that is supported — "
        "use sqlite:///PATH (a file), postgresql://… or dynamodb://TABLE"
    )


def test_a_piinguin_table_that_cannot_be_meant(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="PIINGUIN_DYNAMODB_TABLE: no name of a table — write its name"):
        read_settings({"PIINGUIN_DYNAMODB_TABLE": "a/b"}, tmp_path)


@pytest.mark.parametrize("key", ["my key", "alias/", "arn:aws:s3:::bucket", "s3://bucket"])
def test_a_key_of_kms_that_cannot_be_meant(key: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="PII_S3_SSE_KMS_KEY_ID: no key of AWS KMS — use the id or ARN"):
        read_settings({"PII_S3_SSE_KMS_KEY_ID": key}, tmp_path)


@pytest.mark.parametrize(
    "key",
    [
        "1234abcd-12ab-34cd-56ef-1234567890ab",
        "mrk-1234abcd12ab34cd56ef1234567890ab",
        "alias/acme/lake",
        "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    ],
)
def test_zones_are_where_they_are_said_to_be(key: str, tmp_path: Path) -> None:
    given = {
        "PII_STORAGE_URI": "s3://acme/pii/",
        "PII_LAKE_URI": "s3://acme-lake",
        "PII_S3_SSE_KMS_KEY_ID": key,
    }
    settings = read_settings(given, tmp_path)
    assert (settings.zones["landing"], settings.zones["lake"]) == ("s3://acme/pii/landing", "s3://acme-lake")
    assert settings.s3_sse_kms_key_id == key


@pytest.mark.parametrize(
    "queue", ["acme-landing_1", "https://sqs.eu-central-1.amazonaws.com/111122223333/acme-landing"]
)
def test_notifications_of_what_lands_take_the_place_of_listing(queue: str, tmp_path: Path) -> None:
    given = {"PII_LANDING_URI": "s3://acme-landing", "PII_LANDING_NOTIFICATIONS": queue}
    assert read_settings(given, tmp_path).landing_notifications == queue
    for none in ({}, {"PII_LANDING_NOTIFICATIONS": ""}):
        assert read_settings(none, tmp_path).landing_notifications is None


@pytest.mark.parametrize(
    "queue",
    ["acme.fifo", "a b", "a" * 81, "sqs://acme", "https://", "https://acme", "arn:aws:sqs:eu-west-1:1:acme"],
)
def test_a_queue_of_notifications_that_cannot_be_meant(queue: str, tmp_path: Path) -> None:
    given = {"PII_STORAGE_URI": "s3://acme/pii", "PII_LANDING_NOTIFICATIONS": queue}
    with pytest.raises(SettingError) as caught:
        read_settings(given, tmp_path)
    assert str(caught.value) == (
        "PII_LANDING_NOTIFICATIONS: no queue's name or URL"
        " — write the name of a standard queue, or its https://… URL"
    )


def test_a_folder_sends_no_notifications(tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        read_settings({"PII_LANDING_NOTIFICATIONS": "acme-landing"}, tmp_path)
    assert str(caught.value) == (
        "PII_LANDING_NOTIFICATIONS: there are no notifications of a landing zone that is not on S3"
        " — unset it, or set PII_LANDING_URI to s3://…"
    )


def test_an_error_survives_pickling() -> None:
    error = SettingError("PII_WORKERS", "not a number", "unset it")
    assert str(error) == "PII_WORKERS: not a number — unset it"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_secrets_are_read_and_never_shown(tmp_path: Path) -> None:
    given = {"PII_SNOWPLOW_SALT": "pepper123", "PII_PSEUDONYM_SECRET": "canary_secret"}
    settings = read_settings(given, tmp_path)
    assert (settings.snowplow_salt, settings.pseudonym_secret) == ("pepper123", "canary_secret")
    assert not any(secret in repr(settings) for secret in given.values())
    assert read_settings({"PII_SNOWPLOW_SALT": ""}, tmp_path).snowplow_salt is None


def test_the_longest_duration_can_be_counted_back_from_the_first_hour() -> None:
    first = datetime.fromisoformat(f"{FIRST_HOUR}:00+00:00")
    assert hour_of(first - LONGEST) < hour_of(first - timedelta(days=1)) < FIRST_HOUR


@pytest.mark.parametrize("variable", ["PII_WORKERS", "PII_SENSOR_SECONDS"])
@pytest.mark.parametrize("value", ["0", "-1", "2.5", "many", "²"])
def test_a_number_is_whole_and_above_zero(variable: str, value: str) -> None:
    with pytest.raises(
        SettingError, match=f"{variable}: not a whole number above zero — say .*, or unset it"
    ):
        read_settings({variable: value})


def test_sensors_look_every_half_minute_unless_told_otherwise() -> None:
    assert read_settings({}).sensor_seconds == 30
    assert read_settings({"PII_SENSOR_SECONDS": "5"}).sensor_seconds == 5


def test_the_vaults_policy_and_anchors_are_the_projects_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    settings = read_settings({}, tmp_path)
    assert settings.vault_policy == tmp_path / "vault-policy.yaml"
    assert settings.vault_anchors == f"file://{tmp_path}/var/vault-anchors"
    policy = tmp_path / "mine.yaml"
    policy.touch()
    environment = {"PII_VAULT_POLICY": str(policy), "PII_VAULT_ANCHORS": "s3://anchors/vault"}
    settings = read_settings(environment, tmp_path)
    assert (settings.vault_policy, settings.vault_anchors) == (policy, "s3://anchors/vault")


def test_a_policy_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"PII_VAULT_POLICY: .* is no file — name the policy"):
        read_settings({"PII_VAULT_POLICY": str(tmp_path / "none.yaml")}, tmp_path)


@pytest.mark.parametrize("value", ["s3://", "s3://B", "var/anchors", "file://anchors", "https://x/y"])
def test_a_place_for_anchors_that_cannot_be_meant(value: str, tmp_path: Path) -> None:
    with pytest.raises(
        SettingError, match="PII_VAULT_ANCHORS: no place for anchors — use s3://BUCKET/PREFIX"
    ):
        read_settings({"PII_VAULT_ANCHORS": value}, tmp_path)


@pytest.mark.parametrize(
    ("variables", "port"),
    [
        ({}, 8080),
        ({"PIINGUIN_PORT": "9090"}, 9090),
        ({"PIINGUIN_PORT": "9090", "PII_VAULT_PORT": "0"}, 0),
    ],
)
def test_the_vault_listens_where_piinguin_did_unless_it_is_said_otherwise(variables, port, tmp_path: Path):
    settings = read_settings(variables, tmp_path)
    assert (settings.vault_host, settings.vault_port, settings.vault_tls) == ("127.0.0.1", port, None)


@pytest.mark.parametrize("variable", ["PII_VAULT_PORT", "PIINGUIN_PORT"])
@pytest.mark.parametrize("value", ["-1", "65536", "http", "8_080", "٨٠٨٠", "123456"])
def test_a_port_that_is_none(variable: str, value: str, tmp_path: Path):
    with pytest.raises(SettingError, match=f"{variable}: no port — write a number from 1 to 65535, or unset"):
        read_settings({variable: value}, tmp_path)


def test_the_vaults_tls_is_a_certificate_and_its_key(tmp_path: Path):
    files = {"PII_VAULT_TLS_CERTIFICATE": "c.pem", "PII_VAULT_TLS_KEY": "k.pem"}
    tls = read_settings(files, tmp_path).vault_tls
    assert tls and (tls.certificate, tls.key, tls.client_ca) == (Path("c.pem"), Path("k.pem"), None)
    tls = read_settings({**files, "PII_VAULT_TLS_CLIENT_CA": "a.pem"}, tmp_path).vault_tls
    assert tls and tls.client_ca == Path("a.pem")


@pytest.mark.parametrize("alone", ["CERTIFICATE", "KEY", "CLIENT_CA"])
def test_half_of_tls_is_refused(alone: str, tmp_path: Path):
    with pytest.raises(SettingError, match=f"PII_VAULT_TLS_{alone}: is no TLS by itself — set PII_VAULT"):
        read_settings({f"PII_VAULT_TLS_{alone}": "x.pem"}, tmp_path)
