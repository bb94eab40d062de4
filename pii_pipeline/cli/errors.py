"""From whatever was raised to one clear line and an exit code.

Exit codes: 1, the work failed; 2, what was asked for, or the configuration, cannot be meant. Texts of our own
exceptions never hold a value from the data; those of other people's libraries may, and are not printed.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

# Ours that speak of the configuration. By name, so that a module that cannot even be imported is no obstacle
# to saying what is wrong.
_CONFIGURATION = (
    "pii_pipeline.contracts.errors.ConfigurationError",
    "pii_pipeline.database.errors.DatabaseError",
    "pii_pipeline.database.errors.SchemaError",
    "pii_pipeline.keys.errors.KeyEncryptionKeyError",
    "pii_pipeline.keys.errors.SaltMissing",
    "pii_pipeline.keys.errors.SecretChanged",
    "pii_pipeline.keys.errors.SecretUnreadable",
    "pii_pipeline.keys.errors.UnwrapFailed",
    "pii_pipeline.lake.errors.NoSuchBucket",
    "pii_pipeline.lake.errors.StorageDenied",
    "pii_pipeline.lake.errors.UnsupportedStorage",
    "pii_pipeline.pipeline.contract_lock.ContractChanged",
    "pii_pipeline.pipeline.drain.NoQueue",
    "pii_pipeline.pipeline.known_vault.AnotherVault",
    "pii_pipeline.pipeline.landing.NoSuchHour",
    "pii_pipeline.pipeline.places.ZoneMoved",
    "pii_pipeline.queues.errors.QueueRefused",
    "pii_pipeline.runs.CannotRun",
    "pii_pipeline.settings.SettingError",
    "pii_pipeline.vault.errors.VaultSettingError",
    "pii_pipeline.vault_service.errors.CannotServe",
)


class Failure(click.ClickException):
    """The work failed, or (exit code 2) could not be meant; the message says all there is to say."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        for line in self.message.splitlines():
            click.echo(f"pii: {line}", file=file, err=file is None)


@contextmanager
def as_failures() -> Iterator[None]:
    """Whatever is raised inside leaves as something that click can show in one line."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "pii"
        raise Failure(f"{error.format_message().rstrip('.')} (see `{path} --help`)", 2) from None
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise  # a pipe that nobody reads any more (`pii status | head`) is click's to end quietly
    except Exception as error:  # noqa: BLE001 the last line of defence against texts that quote data
        raise failure_of(error) from None


def failure_of(error: Exception) -> Failure:
    """What to say about `error`."""
    kind = type(error)
    if kind.__module__.startswith("pii_pipeline."):
        return Failure(str(error), 2 if f"{kind.__module__}.{kind.__qualname__}" in _CONFIGURATION else 1)
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, str):
        return Failure(f"{error.filename}: {error.strerror}")
    where = _place(error)
    return Failure(f"unexpected {kind.__name__} {where}; its text may hold data and is not shown")


def _place(error: Exception) -> str:
    """The innermost line of ours that `error` came through."""
    package = Path(__file__).parents[1]
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if package in Path(frame.filename).parents
    ]
    if not frames:
        return "outside the product"
    return f"at {Path(frames[-1].filename).relative_to(package.parent)}:{frames[-1].lineno}"
