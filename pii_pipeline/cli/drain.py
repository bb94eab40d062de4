"""``pii drain``: messages of a queue into the landing zone."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pii_pipeline.cli.common import installation, json_option, plural, print_json, size_text, stream_named
from pii_pipeline.cli.progress import Counting

if TYPE_CHECKING:
    from pii_pipeline.pipeline.drain import Drained


@click.command()
@click.argument("stream")
@click.option("--messages", type=click.IntRange(min=1), help="Take no more messages than these.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Take none after so long.")
@json_option
def command(stream: str, messages: int | None, seconds: float | None, as_json: bool) -> None:
    """Land what waits in the queue of STREAM, where the next run finds it, and delete it from the queue.

    Which queue that is, `source` in stream.yaml says; AWS is found as by any AWS tool. A message is deleted
    once it is durable in the landing zone. Ends with as many as were waiting when it began.

    \b
    Example:
      pii drain logins
    """
    with installation() as opened:
        chosen = stream_named(opened.streams, stream)
        from pii_pipeline.pipeline.drain import drain

        with Counting("messages") as progress:
            drained = drain(opened, chosen, messages, seconds, progress)
    _report(drained, as_json)


def _report(drained: Drained, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(drained), "messages": drained.messages, "hours": drained.hours})
        return
    for item in drained.objects:
        click.echo(item.uri)
    objects = (
        f"{plural(len(drained.objects), 'new object')}, {size_text(sum(o.bytes for o in drained.objects))}"
    )
    left = f", about {drained.waiting:,} left" if drained.waiting else ""
    click.echo(
        f"{drained.stream}: {plural(drained.messages, 'message')} from {drained.queue}{left}; {objects}"
    )
    if drained.undeleted:
        again = "could not be deleted: they come again, and are told as duplicates then"
        click.echo(f"pii: {plural(drained.undeleted, 'message')} {again}", err=True)
