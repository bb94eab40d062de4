"""``pii contract export``: a stream's contract in another platform's form."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from pii_pipeline.cli.common import json_option, print_json, stream_named
from pii_pipeline.cli.errors import Failure
from pii_pipeline.cli.loading import error_entry, known_streams
from pii_pipeline.contracts.errors import ConfigurationError, Problem
from pii_pipeline.contracts.source import Source, read_yaml
from pii_pipeline.streams.model import Stream
from pii_pipeline.streams.strm_export import Exported, export_stream


@click.command()
@click.option("--to", "platform", type=click.Choice(["strm"]), required=True, help="STRM Privacy.")
@click.argument("name", metavar="STREAM")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def command(platform: str, name: str, folder: Path, as_json: bool) -> None:
    """Write STREAM's contract, its schema, and the batch job of a CSV stream into the new FOLDER.

    That platform encrypts fields or leaves them readable. A contract that does anything else with one is not
    written (exit code 1): it would be readable there. What else is lost is said.

    \b
    Example:
      pii contract export clicks --to strm exported
    """
    stream = stream_named(known_streams(), name)
    problems: tuple[Problem, ...] = ()
    exported = Exported({}, ())
    try:
        exported = export_stream(stream, _contract_file(stream))
    except ConfigurationError as error:
        problems = error.problems
    files = [] if problems else _write(folder, exported)
    if as_json:
        print_json(
            {
                "stream": name,
                "files": [str(file) for file in files],
                "notes": [asdict(note) for note in exported.notes],
                "errors": [error_entry(problem) for problem in problems],
            }
        )
    for line in (
        ()
        if as_json
        else (
            *(str(file) for file in files),
            *(f"note: {note}" for note in exported.notes),
            *(f"error: {problem}" for problem in problems),
        )
    ):
        click.echo(line)
    if problems:
        click.get_current_context().exit(1)


def _contract_file(stream: Stream) -> Source:
    """The file of the stream's contract."""
    sources = (read_yaml(stream.folder / name) for name in stream.contracts)
    return next(source for source in sources if source.data["contract"] == stream.contract.contract)


def _write(folder: Path, exported: Exported) -> list[Path]:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise Failure(f"{folder}: exists already; name another folder", 2) from None
    files = [folder / name for name in exported.files]
    for file, text in zip(files, exported.files.values(), strict=True):
        file.write_text(text, encoding="utf-8")
    return files
