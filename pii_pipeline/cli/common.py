"""What several commands need: the installation, names that exist, and output for people and programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pii_pipeline.cli.errors import Failure
from pii_pipeline.cli.starting import starting
from pii_pipeline.hours import hour_start
from pii_pipeline.settings import read_settings

if TYPE_CHECKING:
    from rich.console import Console

    from pii_pipeline.pipeline.installation import Installation
    from pii_pipeline.streams.loader import Streams
    from pii_pipeline.streams.model import Stream

Function = TypeVar("Function", bound=Callable[..., Any])

PLAIN_WIDTH = 160
"""Columns of a table that does not go to a terminal."""


def json_option(function: Function) -> Function:
    """``--json``: the answer for programs, as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(function)


class Hour(click.ParamType):
    """An hour as the ledger writes it."""

    name = "hour"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            hour_start(value)
        except ValueError:
            self.fail("an hour is written 2026-11-22T10, in UTC", param, ctx)
        return value


@contextmanager
def installation() -> Iterator[Installation]:
    """The installation that the environment describes."""
    with starting():
        from pii_pipeline.pipeline.installation import Installation  # takes time to import

    opened = Installation(read_settings())
    try:
        try:
            opened.zones  # noqa: B018 opened here, where what is wrong with them is known to be the settings
        except ValueError as error:
            raise Failure(str(error), 2) from None
        yield opened
    finally:
        opened.close()


def unknown(what: str, name: str, known: Collection[str]) -> click.UsageError:
    """The usage error for a stream or dataset that is not there."""
    near = get_close_matches(name, known, 1)
    mend = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(sorted(known)) or 'none'}"
    return click.UsageError(f"no {what} is called `{name}`; {mend}", click.get_current_context())


def stream_named(streams: Streams, name: str) -> Stream:
    """The stream of that name; a usage error if there is none. Raises what is wrong with a broken one."""
    try:
        return streams[name]
    except KeyError:
        raise unknown("stream", name, [*streams, *streams.broken]) from None


def streams_named(streams: Streams, names: Sequence[str]) -> list[Stream]:
    """The streams of those names; without any all that load."""
    return [stream_named(streams, name) for name in dict.fromkeys(names)] or list(streams.values())


def say_broken(streams: Streams) -> None:
    """Says on standard error what is wrong with the streams that an answer about all of them lacks."""
    for problem in streams.problems_of(streams.broken):
        click.echo(f"pii: {problem}", err=True)


def say_moved(opened: Installation) -> None:
    """Says on standard error which zones are not where their files are, as far as the ledger knows."""
    from pii_pipeline.pipeline.places import moved_zones

    for item in moved_zones(opened):
        if item.needed:
            click.echo(f"pii: {item}", err=True)


def print_json(value: Any) -> None:
    """`value` as JSON on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def console() -> Console:
    """Where text for people goes. Not wrapped to some width where no terminal asks for it."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False, soft_wrap=False)


def plural(number: int, one: str, many: str | None = None) -> str:
    """``1 object``, ``2,000 objects``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size_text(size: int) -> str:
    """A number of bytes for people."""
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
