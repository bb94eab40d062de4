"""The relay's environment: what is read, and what is said of what cannot be meant."""

from __future__ import annotations

import os
import subprocess
import sys
from math import inf
from pathlib import Path

import boto3
import pytest

from pii_pipeline.relay.quarantine import FolderQuarantine, S3Quarantine, open_quarantine
from pii_pipeline.relay.settings import RelaySettingError, read_relay_settings
from pii_pipeline.settings import project_root

HOST = {"PIINGUIN_HOST": "vault.example.com"}


def test_a_host_is_enough():
    settings = read_relay_settings(HOST)
    assert settings.connection.address == "vault.example.com:8080"
    assert (settings.tls, settings.seconds, settings.quarantine) == (True, 10.0, None)
    assert settings.connection.credentials() is not None


def test_all_of_it_is_read():
    settings = read_relay_settings(
        {
            "PIINGUIN_HOST": "::1",
            "PIINGUIN_PORT": "9000",
            "PIINGUIN_TIMEOUT_SEC": "2.5",
            "PII_RELAY_QUARANTINE": "s3://q",
            "PII_VAULT_TOKEN": "secret-token",
            "PII_VAULT_ADDRESS": "another:1",
        }
    )
    assert settings.connection.address == "[::1]:9000" and settings.connection.loopback
    assert settings.connection.metadata == (("authorization", "Bearer secret-token"),)
    assert (settings.seconds, settings.quarantine) == (2.5, "s3://q")
    assert "secret-token" not in repr(settings)


def test_a_token_may_be_named(aws: boto3.Session):
    aws.client("secretsmanager").create_secret(Name="pii/relay", SecretString="secret-token")
    settings = read_relay_settings({**HOST, "PII_VAULT_TOKEN": "aws-secretsmanager://pii/relay"})
    assert settings.connection.token == "secret-token"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PIINGUIN_HOST", ""),
        ("PIINGUIN_HOST", "http://vault"),
        ("PIINGUIN_PORT", "0"),
        ("PIINGUIN_PORT", "65536"),
        ("PIINGUIN_PORT", "http"),
        ("PIINGUIN_TIMEOUT_SEC", "0"),
        ("PIINGUIN_TIMEOUT_SEC", "soon"),
        ("PIINGUIN_TIMEOUT_SEC", "nan"),
        ("PIINGUIN_TIMEOUT_SEC", "901"),
        ("PII_RELAY_TLS", "no"),
    ],
)
def test_what_cannot_be_meant_is_named(name: str, value: str):
    with pytest.raises(RelaySettingError, match=f"^{name}: "):
        read_relay_settings({**HOST, name: value})


def test_no_token_goes_over_a_line_that_others_read():
    for name in ("PII_VAULT_TOKEN", "PII_VAULT_TLS_CLIENT_CERTIFICATE"):
        with pytest.raises(RelaySettingError, match=r"^PII_RELAY_TLS: .* there is a token") as raised:
            read_relay_settings({**HOST, "PII_RELAY_TLS": "off", name: "secret-token"})
        assert "secret-token" not in str(raised.value)
    assert not read_relay_settings({**HOST, "PII_RELAY_TLS": "off"}).tls


def test_a_quarantine_is_a_bucket_or_a_folder(tmp_path: Path):
    assert isinstance(open_quarantine("s3://bucket/prefix"), S3Quarantine)
    assert isinstance(open_quarantine(tmp_path.as_uri()), FolderQuarantine)
    for wrong in ("", "s3://", "file://host/x", "/tmp/x", "https://example.com"):
        with pytest.raises(RelaySettingError, match=r"^PII_RELAY_QUARANTINE: "):
            open_quarantine(wrong)


def test_records_in_a_folder_are_their_owners_alone(tmp_path: Path):
    quarantine = FolderQuarantine(tmp_path / "quarantine")
    for content in (b"first", b"again"):
        assert quarantine.put("not_json/stream/shard/1", content, inf)
    file = tmp_path / "quarantine" / "not_json" / "stream" / "shard" / "1"
    assert file.read_bytes() == b"again" and file.stat().st_mode & 0o777 == 0o600
    assert [path.stat().st_mode & 0o777 for path in list(file.parents)[:4]] == [0o700] * 4
    assert not [path for path in file.parent.iterdir() if path != file]
    (tmp_path / "a file").write_text("")
    assert not FolderQuarantine(tmp_path / "a file").put("not_json/1", b"x", inf)


def test_it_fits_into_a_lambda():
    """Nothing that takes seconds to load, or needs a wheel of 100 MB."""
    heavy = ("dagster", "pyarrow", "sqlalchemy", "duckdb", "numpy", "pydantic", "boto3", "cryptography")
    code = (
        "import sys, pii_pipeline.relay.handler\n"
        f"print(sorted(set({heavy}) & {{name.partition('.')[0] for name in sys.modules}}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(project_root())}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
