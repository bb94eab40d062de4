"""``pii run``: the command itself. What does its work takes time to import, and is imported last."""

from __future__ import annotations

import click

from pii_pipeline.cli.common import Hour, json_option
from pii_pipeline.cli.early import early_workers
from pii_pipeline.cli.starting import starting


@click.command()
@click.argument("streams", metavar="[STREAM]...", nargs=-1)
@click.option("--hour", type=Hour(), help="Only this hour of arrival (UTC); default: every one with objects.")
@click.option("--force", is_flag=True, help="Make everything again, also what is up to date.")
@json_option
def command(streams: tuple[str, ...], hour: str | None, force: bool, as_json: bool) -> None:
    """Process what has landed: validate, pseudonymize, derive, load. What is up to date is not made again.

    The oldest hour comes first. Exit code 1 if anything failed: a check, a stream, an hour; the others are
    processed all the same.

    \b
    Example:
      pii run
      pii run webshop --hour 2026-11-22T10 --force
    """
    with early_workers(streams, hour, force) as crew:
        with starting():
            from pii_pipeline.cli.running import run
        run(streams, hour, force, as_json, crew)
