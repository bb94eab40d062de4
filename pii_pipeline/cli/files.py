"""``pii files``: the committed files of a dataset, for other tools to read."""

from __future__ import annotations

import click

from pii_pipeline.cli.common import (
    Hour,
    installation,
    json_option,
    print_json,
    say_moved,
    stream_named,
    unknown,
)
from pii_pipeline.pipeline.query import datasets


@click.command()
@click.argument("stream")
@click.argument("dataset")
@click.option("--hour", type=Hour(), help="Only this hour of arrival (UTC).")
@json_option
def command(stream: str, dataset: str, hour: str | None, as_json: bool) -> None:
    """Print the paths of the committed Parquet files of DATASET, one per line, by hour of arrival.

    To be read are bad_events, pseudonymized_events and the derived datasets. Their folders may also hold
    files that are not committed, or not any more.

    \b
    Example:
      pii files webshop marketing --hour 2026-11-22T10
    """
    with installation() as opened:
        chosen = stream_named(opened.streams, stream)
        known = datasets(chosen)
        if dataset not in known:
            raise unknown(f"dataset of {stream} that may be read", dataset, known)
        say_moved(opened)
        zone = opened.zone_holding(dataset)
        found = [
            {"hour": of_hour, "path": zone.path(path)}
            for of_hour, paths in opened.ledger.files_of_stream(stream).get(dataset, {}).items()
            if hour in (None, of_hour)
            for path in paths
        ]
    if as_json:
        print_json(found)
        return
    for file in found:
        click.echo(file["path"])
