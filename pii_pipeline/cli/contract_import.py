"""``pii contract import``: a stream from what another platform calls a contract."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from pii_pipeline.cli.common import json_option, print_json
from pii_pipeline.cli.errors import Failure
from pii_pipeline.cli.loading import warning_entry
from pii_pipeline.contracts.foreign import Imported
from pii_pipeline.contracts.importers import snowplow, strm
from pii_pipeline.contracts.importers.strm_schema import Schema, embedded_schema
from pii_pipeline.contracts.loader import read_schema
from pii_pipeline.contracts.source import read_json
from pii_pipeline.settings import read_settings
from pii_pipeline.streams.imported import Written, stock, write_stream

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SUFFIXES = (".avsc", ".yaml", ".yml", ".json")


@click.command()
@click.option(
    "--from",
    "platform",
    type=click.Choice(["strm", "snowplow"]),
    required=True,
    help="strm: a data contract of STRM Privacy (JSON). snowplow: a PII enrichment's configuration.",
)
@click.argument("file", type=_FILE)
@click.option("--schema", type=_FILE, help="strm: the events' schema, unless in or beside FILE.")
@click.option("--batch-job", type=_FILE, help="strm: the configuration of the batch job that reads CSV.")
@click.option("--name", help="What the stream is to be called; by default like the contract, or snowplow.")
@json_option
def command(
    platform: str,
    file: Path,
    schema: Path | None,
    batch_job: Path | None,
    name: str | None,
    as_json: bool,
) -> None:
    """Write the stream that FILE describes into the first folder of streams, and say what that changes.

    Nothing is overwritten. Snowplow's salt is neither written nor shown.

    \b
    Example:
      pii contract import --from strm contract.json --schema clickstream.avsc
      pii contract import --from strm contract.json --schema retail.yaml --batch-job job.json
      pii contract import --from snowplow pii_enrichment_config.json --name web
    """
    if platform == "snowplow":
        for option, given in (("--schema", schema), ("--batch-job", batch_job)):
            if given is not None:
                raise click.UsageError(f"{option} is for --from strm", click.get_current_context())
        name = "snowplow" if name is None else name
        imported = snowplow.import_stream(name, read_json(file), stock("snowplow"))
    else:
        name, imported = _from_strm(file, schema, batch_job, name)
    written = write_stream(read_settings().streams[0], name, imported)
    _show(name, imported, written, as_json)


def _from_strm(
    file: Path, schema: Path | None, batch_job: Path | None, name: str | None
) -> tuple[str, Imported]:
    """The stream's name and what is to be written."""
    contract = strm.contract_of(read_json(file))
    contract_name, schema_name = strm.contract_name(contract)
    given = embedded_schema(contract) if schema is None else None
    given = given or _schema(schema or _beside(file, (schema_name, contract_name)))
    name = contract_name.lower().replace("-", "_") if name is None else name
    return name, strm.import_stream(name, contract, given, read_json(batch_job) if batch_job else None)


def _schema(file: Path) -> Schema:
    json, _ = read_schema(file)
    suffix = ".yaml" if file.suffix == ".yml" else file.suffix
    return Schema(suffix, file.read_text("utf-8-sig"), json)


def _beside(file: Path, names: tuple[str, ...]) -> Path:
    """The schema's file beside the contract's: it is called like the schema, or like the contract."""
    for name in names:
        for suffix in _SUFFIXES:
            found = file.with_name(name + suffix)
            if name and found != file and found.is_file():
                return found
    wanted = " or ".join(dict.fromkeys(f"{name}.avsc" for name in names if name))
    raise Failure(f"{file}: the schema is neither in it nor beside it ({wanted}); name it: --schema FILE", 2)


def _show(name: str, imported: Imported, written: Written, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "stream": name,
                "folder": str(written.folder),
                "files": [str(file) for file in written.files],
                "notes": [asdict(note) for note in imported.notes],
                "warnings": [warning_entry(caution) for caution in written.warnings],
            }
        )
        return
    for file in written.files:
        click.echo(str(file))
    for note in imported.notes:
        click.echo(f"note: {note}")
    for caution in written.warnings:
        click.echo(f"warning: {caution}")
    if written.folder.name == name:
        click.echo(f"Look at it with `pii contract show {name}`, try it with `pii sample {name} --events 3`.")
