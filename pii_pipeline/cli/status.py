"""``pii status``: the ledger as a table."""

from __future__ import annotations

import click

from pii_pipeline.cli.common import Hour, console, installation, json_option, print_json, streams_named
from pii_pipeline.cli.report import hour_reports, print_reports


@click.command()
@click.argument("streams", metavar="[STREAM]...", nargs=-1)
@click.option("--hour", type=Hour(), help="Only this hour of arrival (UTC).")
@json_option
def command(streams: tuple[str, ...], hour: str | None, as_json: bool) -> None:
    """Show what came and what was made of it, per stream and hour, and where the files are.

    \b
    Example:
      pii status webshop --hour 2026-11-22T10
    """
    with installation() as opened:
        reports = hour_reports(opened, streams_named(opened, streams), {hour} if hour else None)
        if as_json:
            print_json([report.as_json() for report in reports])
        elif reports:
            print_reports(console(), opened, reports)
        else:
            click.echo("Nothing was processed yet. See `pii land --help` and `pii run --help`.")
