"""``pii db``: the tables of ledger and key store."""

from __future__ import annotations

from collections.abc import Sequence

import click

from pii_pipeline.cli.common import json_option, plural, print_json
from pii_pipeline.database import connect, connect_existing
from pii_pipeline.database.schema import Migration, migrations, pending, upgrade
from pii_pipeline.settings import read_settings


@click.group(name="db")
def command() -> None:
    """Look at the version of the database's tables, and bring them up to date.

    Every command that uses ledger or key store does that by itself. Where its user may not change tables,
    `pii db upgrade` does it, as a user who may.

    \b
    Example:
      pii db status
    """


@command.command()
@json_option
def status(as_json: bool) -> None:
    """Show which version the tables have.

    And which migrations are still to be done: exit code 1 if there are any. Changes nothing.

    \b
    Example:
      pii db status
    """
    engine = connect_existing(read_settings().database_url)
    try:
        missing = pending(engine) if engine else migrations()
    finally:
        if engine:
            engine.dispose()
    done = [migration.number for migration in migrations()[: len(migrations()) - len(missing)]]
    version = done[-1] if done else None
    if as_json:
        print_json({"version": version, "pending": _as_json(missing)})
    else:
        click.echo(f"version {version}" if version else "no tables of a release that counts its versions yet")
        _print(missing, "to be done")
    click.get_current_context().exit(1 if missing else 0)


@command.command(name="upgrade")
@json_option
def upgrade_command(as_json: bool) -> None:
    """Do the migrations that are to be done.

    All of them in one transaction. Any number may do so at once.

    \b
    Example:
      pii db upgrade
    """
    engine = connect(read_settings().database_url)
    try:
        done = upgrade(engine)
    finally:
        engine.dispose()
    if as_json:
        print_json({"version": migrations()[-1].number, "done": _as_json(done)})
        return
    _print(done, "done")
    click.echo(f"version {migrations()[-1].number}, {plural(len(done), 'migration')} done")


def _as_json(some: Sequence[Migration]) -> list[dict[str, str]]:
    return [{"number": migration.number, "name": migration.name} for migration in some]


def _print(some: Sequence[Migration], state: str) -> None:
    for migration in some:
        click.echo(f"{migration.number} {migration.name}: {state}")
