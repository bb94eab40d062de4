"""``pii query``: SQL over what is committed."""

from __future__ import annotations

import json

import click
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pii_pipeline.cli.common import (
    console,
    installation,
    json_option,
    plural,
    print_json,
    say_broken,
    say_moved,
)
from pii_pipeline.cli.errors import Failure
from pii_pipeline.pipeline.query import QueryError, QueryResult, query

SHOWN = 100
"""Rows shown to people who do not say how many they want."""


@click.command()
@click.argument("sql")
@click.option("--limit", type=click.IntRange(min=1), help=f"Rows at most; {SHOWN} unless --json.")
@json_option
def command(sql: str, limit: int | None, as_json: bool) -> None:
    """Ask in SQL (DuckDB's); schemas are streams, tables are their datasets.

    To be read are bad_events, pseudonymized_events and the derived datasets, as far as they are committed.
    The column _hour is the hour of arrival. `pii contract list` names the datasets, "describe
    webshop.bad_events" the columns of one.

    \b
    Example:
      pii query "select failure_type, count(*) from webshop.bad_events group by all"
    """
    with installation() as opened:
        say_broken(opened.streams)
        say_moved(opened)
        try:
            result = query(opened, sql, limit if limit or as_json else SHOWN)
        except QueryError as error:
            raise Failure(str(error), 2) from None
    if as_json:
        print_json([dict(zip(result.names, row, strict=True)) for row in result.rows])
        return
    _print(result)
    more = ", and more: see --limit" if result.more else ""
    click.echo(f"{plural(len(result.rows), 'row')}{more}")


def _print(result: QueryResult) -> None:
    """A table, or a table per row where the columns do not fit beside one another."""
    out = console()
    table = Table()
    for name in result.names:
        table.add_column(Text(name))
    for row in result.rows:
        table.add_row(*(_text(value) for value in row))
    if Measurement.get(out, out.options.update(width=10_000), table).maximum <= out.width:
        out.print(table)
        return
    for row in result.rows:
        upright = Table(show_header=False)
        upright.add_column()
        upright.add_column(overflow="fold")
        for name, value in zip(result.names, row, strict=True):
            upright.add_row(Text(name), _text(value))
        out.print(upright)


def _text(value: object) -> Text:
    if value is None:
        return Text("null", style="dim")
    return Text(json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value))
