"""``pii sample``: invented events, the same ones for the same arguments."""

from __future__ import annotations

import gzip
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

import click
import zstandard

from pii_pipeline.cli.common import installation, json_option, plural, print_json, stream_named
from pii_pipeline.cli.errors import Failure
from pii_pipeline.cli.land import IN_MEMORY
from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.source import suggestion
from pii_pipeline.hours import hour_of
from pii_pipeline.pipeline.landing import land
from pii_pipeline.samples.errors import UnsatisfiableError
from pii_pipeline.samples.generate import generate
from pii_pipeline.samples.planted import Planted
from pii_pipeline.streams.model import Avro, Stream


class Moment(click.ParamType):
    """A moment in ISO 8601; without a zone it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        except ValueError:
            self.fail("a moment is written 2026-11-22T11:00, in UTC unless it says otherwise", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.command()
@click.argument("stream")
@click.option("--events", type=click.IntRange(min=0), default=100, show_default=True, help="How many.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Another one, other events."
)
@click.option("--contract", "version", help="A version of its contract. Default: the newest active one.")
@click.option("--end", type=Moment(), help="When they arrive, after at most an hour. Default: now.")
@click.option("--output", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default=Path("-"),
              help="A file (.gz and .zst compress), or - for standard output, the default.")  # fmt: skip
@click.option("--land", "into_landing", is_flag=True, help="Land them, in the hour in which they arrive.")
@json_option
def command(
    stream: str,
    events: int,
    seed: int,
    version: str | None,
    end: datetime | None,
    output: Path,
    into_landing: bool,
    as_json: bool,
) -> None:
    """Generate believable events of STREAM in its own format, about one in a hundred of them bad.

    Bad in the ways that its contract and format allow; how many is counted, with --json by kind and by the
    failure type that they are to be found under.

    \b
    Example:
      pii sample webshop --events 20000 --seed 7 --output clicks.jsonl.gz
      pii sample retail --land
    """
    to_stdout = str(output) == "-" and not into_landing
    if into_landing and str(output) != "-":
        raise click.UsageError("either --output or --land", click.get_current_context())
    if as_json and to_stdout:
        raise click.UsageError(
            "--json tells about a file: add --output FILE or --land", click.get_current_context()
        )
    moment = (end or datetime.now(UTC)).replace(microsecond=0)
    planted = Planted()
    with installation() as opened:
        chosen = stream_named(opened.streams, stream)
        contract, form = _version(chosen, version), chosen.format.form
        most, follows = chosen.max_record_bytes, chosen.contract_field
        blocks = _generated(generate(contract, events, seed, moment, planted, most, form, follows))
        if to_stdout:
            for block in blocks:
                sys.stdout.buffer.write(block)
            sys.stdout.buffer.flush()
            return
        if into_landing:
            hour = hour_of(moment - timedelta(microseconds=1))
            name = f"sample-{events}-{seed}-{moment:%Y%m%dT%H%M%S}{_suffixes(chosen)}"
            with tempfile.SpooledTemporaryFile(IN_MEMORY) as kept:
                spooled = cast(BinaryIO, kept)
                _write(blocks, name, spooled)
                landed = land(opened.zones.landing, chosen.name, hour, name, spooled)
            where, note = landed.uri, "" if landed.new else " (already there)"
        else:
            with output.open("wb") as file:
                _write(blocks, output.name, file)
            where, note = str(output), ""
    if as_json:
        counts = {
            "duplicates": planted.duplicates,
            "reused_ids": planted.reused_ids,
            "bad": dict(planted.bad),
            "failure_types": dict(planted.failure_types),
        }
        print_json({"stream": stream, "records": planted.records, **counts, "output": where})
        return
    bad, again = planted.bad.total(), plural(planted.duplicates, "duplicate")
    click.echo(f"{stream}: {plural(planted.records, 'event')}, {bad:,} of them bad, {again}: {where}{note}")


def _suffixes(stream: Stream) -> str:
    """Of a landed sample's name; what the format does not compress itself is compressed."""
    suffix = stream.format.suffix
    return suffix if isinstance(stream.format, Avro) else f"{suffix}.gz"


def _version(stream: Stream, name: str | None) -> Contract:
    """The version of the stream's contract that is called so; a usage error if there is none."""
    if name is None:
        return stream.contract
    versions = {contract.contract: contract for contract in stream.versions}
    if name not in versions:
        problem = f"{stream.name} has no contract `{name}`; {suggestion(name, versions)}"
        raise click.UsageError(problem, click.get_current_context())
    return versions[name]


def _generated(blocks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from blocks
    except UnsatisfiableError as error:
        raise Failure(str(error)) from None


def _write(blocks: Iterator[bytes], name: str, file: BinaryIO) -> None:
    with _compressed(name, file) as out:
        for block in blocks:
            out.write(block)


@contextmanager
def _compressed(name: str, file: BinaryIO) -> Iterator[Any]:
    """Compresses as the name's suffix says; the same bytes for the same events, so no time of writing."""
    if name.endswith(".gz"):
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as out:
            yield out
    elif name.endswith(".zst"):
        with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as out:
            yield out
    else:
        yield file
