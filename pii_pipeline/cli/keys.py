"""``pii keys``: how old keys are, and the way to another key-encryption key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.box import HORIZONTALS
from rich.table import Table

from pii_pipeline.cli.common import console, installation, json_option, plural, print_json
from pii_pipeline.keys.ages import KeyAge, key_ages, key_encryption_keys
from pii_pipeline.keys.key_encryption import open_earlier_key, open_key_encryption_key
from pii_pipeline.keys.rewrap import rewrap


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Show how many keys there are, how old they are, and which key-encryption key they are under.

    First and last are days (of event time for windows, of arrival for quarantine and restricted keys), or
    numbers of epochs and of versions of the secret. No key is opened for it.

    \b
    Example:
      pii keys
    """
    if context.invoked_subcommand is not None:
        return
    with installation() as opened:
        at = datetime.now(UTC)
        ages, under = key_ages(opened.engine), key_encryption_keys(opened.engine)
    if as_json:
        print_json({"keys": [_entry(age, at) for age in ages], "key_encryption_keys": under})
    elif ages:
        _print(ages, under, at)
    else:
        click.echo("No key was made yet. See `pii run --help`.")


@command.command("rewrap", short_help="Bring them under another key-encryption key.")
@click.option("--from", "earlier", metavar="URI", help="What they are under so far, unless that is KMS too.")
@json_option
def rewrap_command(earlier: str | None, as_json: bool) -> None:
    """Bring all stored keys under the key-encryption key that PII_KEY_ENCRYPTION_KEY names.

    The keys themselves stay, so nothing that was written changes. All or none of them; every one is opened
    again before the old form goes. To be done with no run at work: one that began before goes on making keys
    under the earlier key, which then have to be brought over once more. Keep the earlier key for as long as
    there are backups of the database from before.

    \b
    Example:
      export PII_KEY_ENCRYPTION_KEY=aws-kms://alias/pii
      pii keys rewrap --from file:var/keys/key-encryption-key
    """
    with installation() as opened:
        uri = opened.settings.key_encryption_key
        under = open_earlier_key(uri if earlier is None else earlier)
        new, proof = open_key_encryption_key(uri), open_key_encryption_key(uri)
        count = rewrap(opened.engine, under, new, proof)
    if as_json:
        print_json({"rewrapped": count, "key_encryption_key": uri})
    else:
        click.echo(f"{plural(count, 'key')} wrapped under {uri}")


def _entry(age: KeyAge, at: datetime) -> dict[str, Any]:
    return {
        "kind": age.kind,
        "stream": age.stream,
        "keys": age.keys,
        "destroyed": age.destroyed,
        "first": age.first,
        "last": age.last,
        "oldest": age.oldest and age.oldest.isoformat(timespec="seconds"),
        "newest": age.newest and age.newest.isoformat(timespec="seconds"),
        "oldest_days": age.oldest_days(at),
        "newest_days": age.newest_days(at),
    }


def _print(ages: Sequence[KeyAge], under: Mapping[str, int], at: datetime) -> None:
    table = Table(box=HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0))
    for title in ("Key", "Stream", "First", "Last"):
        table.add_column(title)
    for title in ("Keys", "Destroyed", "Oldest, days", "Newest, days"):
        table.add_column(title, justify="right")
    for age in ages:
        names = (age.kind, age.stream, age.first, age.last)
        numbers = (age.keys, age.destroyed, age.oldest_days(at), age.newest_days(at))
        table.add_row(
            *(name or "" for name in names),
            *("-" if number is None else f"{number:,}" for number in numbers),
        )
    out = console()
    out.print(table)
    for name, count in under.items():
        out.print(f"{plural(count, 'key')} wrapped under {name}", markup=False, soft_wrap=True)
