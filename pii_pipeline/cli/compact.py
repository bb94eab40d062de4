"""``pii compact``: few large files instead of many small ones."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pii_pipeline.cli.common import (
    installation,
    json_option,
    plural,
    print_json,
    say_broken,
    size_text,
    streams_named,
)
from pii_pipeline.cli.errors import Failure
from pii_pipeline.cli.progress import Display

if TYPE_CHECKING:
    from pii_pipeline.pipeline.compaction import CompactedHour


@click.command()
@click.argument("streams", metavar="[STREAM]...", nargs=-1)
@json_option
def command(streams: tuple[str, ...], as_json: bool) -> None:
    """Put together the small files of each dataset and hour that is over, in the lake and the consented zone.

    Runs and readers go on meanwhile. An hour that a run is at work on is left to the next time. The small
    files are deleted by the first `pii compact`, or `pii run` of their hour, that comes an hour later.
    Exit code 1 if an hour could not be done; the others are done all the same.

    \b
    Example:
      pii compact
      pii compact webshop --json
    """
    with installation() as opened:
        from pii_pipeline.pipeline.compaction import compact_hours, hours_to_compact
        from pii_pipeline.pipeline.places import hold_to_places

        hold_to_places(opened)
        due = hours_to_compact(opened, streams_named(opened.streams, streams))
        if not streams:
            say_broken(opened.streams)
        done: list[CompactedHour] = []
        with Display(len(due)) as display:
            for hour in compact_hours(opened, due, lambda _, hour: display.hour(hour)):
                done.append(hour)
                display.done()
    if as_json:
        print_json([asdict(hour) for hour in done])
    else:
        for hour in done:
            click.echo(f"{hour.stream} {hour.hour}: {_said(hour)}")
        if not done:
            click.echo("no small files to put together")
    if problems := [f"{hour.stream} {hour.hour}: {hour.problem}" for hour in done if hour.problem]:
        raise Failure("\n".join(problems))


def _said(hour: CompactedHour) -> str:
    if hour.problem:
        return "left as it is"
    if hour.busy:
        return "a run is at work there; left to the next time"
    told = []
    if hour.before:
        sizes = f"{size_text(hour.bytes_before)} to {size_text(hour.bytes_after)}"
        told.append(f"{plural(hour.before, 'file')} became {hour.after:,}, {sizes}")
    if hour.deleted:
        told.append(f"{plural(hour.deleted, 'old file')} deleted")
    return "; ".join(told) or "nothing to put together"
