"""The command line over an installation of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pii_pipeline.cli import cli

STREAMS = Path(__file__).parents[3] / "streams"

Pii = Callable[..., Result]


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the zones are; the environment points there, and the working directory is an empty one."""
    folder = tmp_path / "storage"
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name, value in {
        "PII_STORAGE_URI": str(folder),
        "PII_DATABASE_URL": f"sqlite:///{tmp_path / 'pii.db'}",
        "PII_VAULT_ANCHORS": (tmp_path / "vault-anchors").as_uri(),
        "PII_VAULT_URL": f"sqlite:///{tmp_path / 'vault.db'}",
        "PII_KEY_ENCRYPTION_KEY": f"file:{tmp_path / 'kek'}",
        "PII_WAREHOUSE_URL": f"duckdb:///{tmp_path / 'warehouse.duckdb'}",
        "PII_STREAMS_DIR": str(STREAMS),
        "PII_WORKERS": "1",
        "DAGSTER_HOME": str(tmp_path / "dagster"),
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("LANDING_URI", "RESTRICTED_URI", "LAKE_URI", "CONSENTED_URI", "PSEUDONYM_SECRET"):
        monkeypatch.delenv(f"PII_{name}", raising=False)
    return folder


@pytest.fixture
def pii(storage: Path) -> Pii:
    """``pii("land", "logins", file)``: calls the command line in this process."""

    def call(*arguments: object, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(cli, [str(item) for item in arguments], input=stdin, prog_name="pii")

    return call


@pytest.fixture
def own_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pii: Pii) -> Path:
    """The folder of streams, empty."""
    folder = tmp_path / "streams"
    folder.mkdir()
    monkeypatch.setenv("PII_STREAMS_DIR", str(folder))
    return folder
