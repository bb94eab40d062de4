"""``pii land``: files into the landing zone."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO, cast

import click

from pii_pipeline.cli.common import (
    Hour,
    installation,
    json_option,
    plural,
    print_json,
    size_text,
    stream_named,
)
from pii_pipeline.hours import hour_of
from pii_pipeline.pipeline.landing import Landed, land

IN_MEMORY = 64 << 20
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}


@click.command()
@click.argument("stream")
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
)
@click.option("--hour", type=Hour(), help="The hour of arrival (UTC) to land in; default: now.")
@json_option
def command(stream: str, files: tuple[Path, ...], hour: str | None, as_json: bool) -> None:
    """Copy each FILE of events (- is standard input) to where the next run finds it.

    In the format of the STREAM; plain, gzip or zstd. Landing the same file again changes nothing.

    \b
    Example:
      pii land logins queue-dump.jsonl.gz --hour 2026-11-22T10
    """
    into = hour or hour_of(datetime.now(UTC))
    landed = []
    with installation() as opened:
        zone = opened.zones.landing
        chosen = stream_named(opened.streams, stream)
        for file in files:
            with _opened(file, chosen.format.suffix) as (object_name, source):
                landed.append(land(zone, chosen.name, into, object_name, source))
    report(chosen.name, into, landed, as_json)


def report(stream: str, hour: str, landed: list[Landed], as_json: bool) -> None:
    """Says what has landed."""
    new = [item for item in landed if item.new]
    if as_json:
        objects = [{"uri": item.uri, "bytes": item.bytes, "new": item.new} for item in landed]
        print_json({"stream": stream, "hour": hour, "objects": objects})
        return
    for item in landed:
        click.echo(item.uri if item.new else f"{item.uri} (already there)")
    size = size_text(sum(item.bytes for item in new))
    click.echo(f"{stream} {hour}: {plural(len(new), 'new object')}, {size}")


@contextmanager
def _opened(file: Path, suffix: str) -> Iterator[tuple[str, BinaryIO]]:
    """The file, or standard input as a file, and what to call its object; `suffix` is that of its format."""
    if str(file) != "-":
        with file.open("rb") as source:
            yield file.name, source
        return
    # Read twice, therefore kept: the large ones in a file that never has a name and ends with the process.
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as kept:
        copyfileobj(sys.stdin.buffer, kept)
        kept.seek(0)
        start = kept.read(4)
        compressed = next((ending for magic, ending in _MAGIC.items() if start.startswith(magic)), "")
        yield f"stdin{suffix}{compressed}", cast(BinaryIO, kept)
