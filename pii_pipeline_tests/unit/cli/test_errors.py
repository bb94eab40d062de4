"""Whatever goes wrong: one line, the right exit code, and no text that might quote data."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pii_pipeline.cli import land
from pii_pipeline.cli.errors import failure_of
from pii_pipeline.cli.group import cli
from pii_pipeline.ledger import LeaseLost
from pii_pipeline.settings import SettingError
from pii_pipeline_tests.unit.cli.conftest import Pii

SECRET = "anna@example.com"


def test_texts_of_other_libraries_are_not_shown(pii: Pii, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise ValueError(f"could not convert {SECRET!r}")

    monkeypatch.setattr(land, "land", fail)
    file = tmp_path / "x.jsonl"
    file.write_bytes(b"1\n")
    result = pii("land", "logins", file)
    assert result.exit_code == 1
    assert SECRET not in result.output
    assert "unexpected ValueError at pii_pipeline/cli/land.py:" in result.stderr
    assert result.stderr.count("\n") == 1


def test_ours_are_shown_with_their_exit_code():
    assert failure_of(SettingError("PII_WORKERS", "not a number", "unset it")).exit_code == 2
    lost = failure_of(LeaseLost("the lease is lost"))
    assert (lost.exit_code, lost.message) == (1, "the lease is lost")


def test_an_oserror_names_file_and_reason_only():
    failure = failure_of(PermissionError(13, "Permission denied", "/landing/x"))
    assert failure.message == "/landing/x: Permission denied"
    assert SECRET not in failure_of(OSError(f"parse error near {SECRET}")).message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PII_WORKERS", "many"),
        ("PII_STREAMS_DIR", "/no/such/folder"),
        ("PII_STREAMS_DIR", ":"),
        ("PII_STORAGE_URI", "ftp://example.com/lake"),
        ("PII_DATABASE_URL", "mysql://localhost/x"),
        ("PII_DATABASE_URL", "sqlite://bob:secret@/x"),
        ("PII_DATABASE_URL", f"sqlite:///{Path(__file__)}"),
        ("PII_DATABASE_URL", "sqlite:////dev/null/pii.db"),
        ("PII_LAKE_URI", "storage/landing/inside"),
    ],
)
def test_wrong_settings_are_exit_code_2(
    pii: Pii, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
):
    monkeypatch.setenv("PII_LANDING_URI", str(Path("storage/landing").absolute()))
    monkeypatch.setenv(variable, value)
    result = pii("status")
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("pii: ")
    assert result.stderr.count("\n") == 1


def test_a_database_that_is_down_is_a_failure_that_names_the_setting(
    pii: Pii, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PII_DATABASE_URL", "postgresql://anna:hunter2@127.0.0.1:1/pii")
    for command in ("status", "run"):
        result = pii(command)
        assert result.exit_code == 1
        assert result.stderr.startswith(
            "pii: PII_DATABASE_URL: postgresql://anna:***@127.0.0.1:1/pii: cannot"
        )
        assert result.stderr.count("\n") == 1


def every_command(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words behind ``pii`` of every command, groups too."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


@pytest.mark.parametrize("command", list(every_command()), ids=" ".join)
def test_every_command_has_help_with_an_example(pii: Pii, command: tuple[str, ...]):
    result = pii(*command, "--help")
    assert result.exit_code == 0
    assert f"    pii {' '.join(command)}" in result.output.partition("\n  Example:\n")[2]
    assert "\\" not in result.output
    assert "\b" not in result.output


def test_unknown_commands_and_options(pii: Pii):
    for arguments in (("rum",), ("--nonsense",), ("status", "--nonsense")):
        result = pii(*arguments)
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1


def test_a_reader_who_has_seen_enough_is_no_error():
    pii = [sys.executable, "-m", "pii_pipeline.cli", "contract", "list", "--json"]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as unread:
        ended = subprocess.run(pii, stdout=unread, stderr=subprocess.PIPE, check=False)
    assert ended.stderr == b""
    assert ended.returncode == 1
