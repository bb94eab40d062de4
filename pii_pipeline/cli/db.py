"""``pii db``: the tables of ledger and key store, and of the vault; where the ledger has the zones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

from pii_pipeline.cli.common import installation, json_option, plural, print_json
from pii_pipeline.cli.errors import Failure
from pii_pipeline.database import Schema, connect, connect_existing
from pii_pipeline.database.schema import LEDGER_AND_KEYS, Migration, migrations, pending, upgrade
from pii_pipeline.settings import ZONES, read_settings
from pii_pipeline.vault.stores import DYNAMODB
from pii_pipeline.vault.stores.tables import VAULT_SCHEMA


@dataclass(frozen=True)
class _Tables:
    """Tables with versions: what they are of, the database that they are in, and their migrations."""

    name: str
    url: str
    schema: Schema

    @property
    def newest(self) -> str:
        return migrations(self.schema)[-1].number

    def missing(self) -> tuple[Migration, ...]:
        """The migrations that are still to be done. Makes nothing."""
        engine = connect_existing(self.url, self.schema.setting)
        try:
            return pending(engine, self.schema) if engine else migrations(self.schema)
        finally:
            if engine:
                engine.dispose()

    def upgrade(self) -> tuple[Migration, ...]:
        """Does them, and returns them."""
        engine = connect(self.url, self.schema.setting)
        try:
            return upgrade(engine, self.schema)
        finally:
            engine.dispose()


@click.group(name="db")
def command() -> None:
    """Look at the version of the databases' tables, and bring them up to date; look where the zones are.

    The tables are those of ledger and key store, and those of the vault (unless that is in DynamoDB, where
    nothing has a version). Every command that uses them brings them up to date by itself. Where its user may
    not change tables, `pii db upgrade` does it, as a user who may.

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
    missing = {tables: tables.missing() for tables in _all_tables()}
    if as_json:
        print_json(
            {
                tables.name: {"version": _version(tables, some), "pending": _as_json(some)}
                for tables, some in missing.items()
            }
        )
    else:
        for tables, some in missing.items():
            version = _version(tables, some)
            said = f"version {version}" if version else "no tables of a release that counts its versions yet"
            click.echo(f"{tables.name}: {said}")
            _print(some, "to be done")
    click.get_current_context().exit(1 if any(missing.values()) else 0)


@command.command(name="upgrade")
@json_option
def upgrade_command(as_json: bool) -> None:
    """Do the migrations that are to be done.

    All of one database in one transaction. Any number may do so at once.

    \b
    Example:
      pii db upgrade
    """
    done = {tables: tables.upgrade() for tables in _all_tables()}
    if as_json:
        print_json(
            {tables.name: {"version": tables.newest, "done": _as_json(some)} for tables, some in done.items()}
        )
        return
    for tables, some in done.items():
        _print(some, "done")
        click.echo(f"{tables.name}: version {tables.newest}, {plural(len(some), 'migration')} done")


@command.command()
@click.option(
    "--moved",
    type=click.Choice(ZONES),
    multiple=True,
    help="All that lay in this zone was moved to where it is now; may be repeated.",
)
@json_option
def zones(moved: tuple[str, ...], as_json: bool) -> None:
    """Show where the zones were when hours were last worked on, and where the settings say that they are now.

    Exit code 1 if one was elsewhere and files of it are needed: nothing works on hours then. Move the files
    along, all of them, and say so with --moved; up to 20 of them are looked for where they should be.

    \b
    Example:
      pii db zones
      pii db zones --moved lake --moved restricted
    """
    with installation() as opened:
        from pii_pipeline.pipeline.places import NotThere, accept, moved_zones

        try:
            looked_for = {
                item.zone: accept(opened, item) for item in moved_zones(opened) if item.zone in moved
            }
        except NotThere as error:
            raise Failure(str(error)) from None
        known, elsewhere = opened.ledger.zones(), {item.zone: item for item in moved_zones(opened)}
        present = {zone: getattr(opened.zones, zone).uri for zone in ZONES}
    if as_json:
        print_json({zone: {"was": known.get(zone), "is": uri} for zone, uri in present.items()})
    else:
        for zone, uri in present.items():
            if zone in looked_for:
                click.echo(f"{zone}: {uri}, and {plural(looked_for[zone], 'file')} looked for are there")
            elif zone not in elsewhere:
                click.echo(f"{zone}: {uri}{'' if zone in known else ', not worked on yet'}")
            else:
                click.echo(f"{zone}: {uri}; before {known[zone]}")
    refused = [str(item) for item in elsewhere.values() if item.needed]
    if refused:
        raise Failure("\n".join(refused))


def _all_tables() -> list[_Tables]:
    settings = read_settings()
    tables = [_Tables("ledger and keys", settings.database_url, LEDGER_AND_KEYS)]
    if not settings.vault_url.startswith(DYNAMODB):
        tables.append(_Tables("vault", settings.vault_url, VAULT_SCHEMA))
    return tables


def _version(tables: _Tables, missing: Sequence[Migration]) -> str | None:
    known = migrations(tables.schema)
    done = known[: len(known) - len(missing)]
    return done[-1].number if done else None


def _as_json(some: Sequence[Migration]) -> list[dict[str, str]]:
    return [{"number": migration.number, "name": migration.name} for migration in some]


def _print(some: Sequence[Migration], state: str) -> None:
    for migration in some:
        click.echo(f"{migration.number} {migration.name}: {state}")
