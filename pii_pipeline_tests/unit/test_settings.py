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


def test_the_warehouse_is_a_file_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    assert read_settings({}, tmp_path).warehouse_url == f"duckdb:///{tmp_path}/var/warehouse.duckdb"
    url = "postgresql://ann:s3cret@host/shop"
    settings = read_settings({"PII_WAREHOUSE_URL": url}, tmp_path)
    assert settings.warehouse_url == url
    assert "s3cret" not in repr(settings)


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
