"""``pii init``: a new stream to start from."""

from __future__ import annotations

import click

from pii_pipeline.cli.common import json_option, print_json
from pii_pipeline.settings import read_settings
from pii_pipeline.streams.scaffold import FORMATS, new_stream


@click.command()
@click.argument("stream")
@click.option("--format", type=click.Choice(FORMATS), default=FORMATS[0], show_default=True,
              help="What its records come as.")  # fmt: skip
@json_option
def command(stream: str, format: str, as_json: bool) -> None:
    """Write a small STREAM that works as it is into the first folder of streams, to be edited.

    \b
    Example:
      pii init newsletter
      pii init orders --format csv
    """
    files = new_stream(read_settings().streams[0], stream, format)
    if as_json:
        print_json({"stream": stream, "files": [str(file) for file in files]})
        return
    for file in files:
        click.echo(str(file))
    click.echo(
        f"Edit them, look with `pii contract check {stream}`, try with `pii sample {stream} --events 3`."
    )
