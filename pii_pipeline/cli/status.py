"""``pii status``: the ledger as a table."""

from __future__ import annotations

import click

from pii_pipeline.cli.common import (
    Hour,
    console,
    installation,
    json_option,
    print_json,
    say_broken,
    say_moved,
    streams_named,
)
from pii_pipeline.cli.landed import unknown_objects
from pii_pipeline.cli.report import Waiting, broken_as_json, hour_reports, print_reports


@click.command()
@click.argument("streams", metavar="[STREAM]...", nargs=-1)
@click.option("--hour", type=Hour(), help="Only this hour of arrival (UTC).")
@json_option
def command(streams: tuple[str, ...], hour: str | None, as_json: bool) -> None:
    """Show what came and what was made of it, per stream and hour, and where the files are.

    Also how many landing objects wait for a run, and what is wrong with the files of a stream that is left
    out. With --json these are entries whose hour is null.

    \b
    Example:
      pii status webshop --hour 2026-11-22T10
    """
    with installation() as opened:
        chosen = streams_named(opened.streams, streams)
        say_moved(opened)
        reports = hour_reports(opened, chosen, {hour} if hour else None)
        found = () if hour else [Waiting(stream.name, unknown_objects(opened, stream)) for stream in chosen]
        waiting = [item for item in found if item.objects]
        broken = () if streams else opened.streams.broken
        if broken:
            say_broken(opened.streams)
        if as_json:
            entries = [item.as_json() for item in (*reports, *waiting)]
            print_json([*entries, *(broken_as_json(name, opened.streams.broken[name]) for name in broken)])
            return
        if reports:
            print_reports(console(), opened, reports)
        elif not broken:
            click.echo("Nothing was processed yet. See `pii land --help` and `pii run --help`.")
        for item in waiting:
            click.echo(f"{item.stream}: {item.problem}")
