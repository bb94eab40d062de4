"""``pii retain``: what is too old goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from pii_pipeline.cli.common import (
    console,
    installation,
    json_option,
    plural,
    print_json,
    size_text,
    streams_named,
)
from pii_pipeline.cli.progress import Counting

if TYPE_CHECKING:
    from pii_pipeline.ledger import Deletion
    from pii_pipeline.pipeline.retention import Amount, Retained


@click.command()
@click.argument("streams", metavar="[STREAM]...", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Tell what would be deleted, and delete nothing.")
@click.option("--history", is_flag=True, help="Show what was deleted so far, and delete nothing.")
@json_option
def command(streams: tuple[str, ...], dry_run: bool, history: bool, as_json: bool) -> None:
    """Delete landing objects and validated events that are older than their stream keeps them.

    How long that is, `retention` in stream.yaml says. Nothing goes before all that is made of it is
    committed: what would be old enough and is not made to its end stays, and is listed. Also event digests go
    with which no event will be compared. The lake and consented datasets are not touched.

    \b
    Example:
      pii retain --dry-run
    """
    with installation() as opened:
        chosen = streams_named(opened.streams, streams)
        if history:
            _show([item for stream in chosen for item in opened.ledger.deletions(stream.name)], as_json)
            return
        from pii_pipeline.pipeline.places import hold_to_places
        from pii_pipeline.pipeline.retention import apply_retention

        hold_to_places(opened)
        at = datetime.now(UTC)
        with Counting("objects looked at") as progress:
            done = [apply_retention(opened, stream, at, dry_run, progress) for stream in chosen]
    if as_json:
        print_json({"at": _text(at), "dry_run": dry_run, "streams": [_entry(item) for item in done]})
        return
    for item in done:
        _report(item, dry_run)


def _report(item: Retained, dry_run: bool) -> None:
    amounts = [
        f"{_amount(dataset, amount)} ({size_text(amount.bytes)})"
        for dataset, amount in sorted(item.deleted.items())
    ]
    verb = "would be deleted" if dry_run else "deleted"
    click.echo(f"{item.stream}: {', '.join(amounts) or 'nothing'} {verb}")
    for (hour, dataset), amount in sorted(item.kept.items()):
        stay = "stays" if amount.number == 1 else "stay"
        why = "not all that is made of it is committed"
        click.echo(f"{item.stream} {hour}: {_amount(dataset, amount)} {stay}: {why}")
    for hour in sorted(item.busy):
        click.echo(f"{item.stream} {hour}: left for the next time, a run is at work on it")


def _amount(dataset: str, amount: Amount) -> str:
    if dataset == "raw_events":
        return plural(amount.number, "landing object")
    return f"{plural(amount.number, 'file')} of {dataset}"


def _entry(item: Retained) -> dict[str, Any]:
    return {
        "stream": item.stream,
        "deleted": {dataset: asdict(amount) for dataset, amount in sorted(item.deleted.items())},
        "kept": [
            {"hour": hour, "dataset": dataset, **asdict(amount)}
            for (hour, dataset), amount in sorted(item.kept.items())
        ],
        "busy": sorted(item.busy),
    }


def _show(found: Sequence[Deletion], as_json: bool) -> None:
    if as_json:
        print_json([{**asdict(item), "deleted_at": _text(item.deleted_at)} for item in found])
        return
    if not found:
        click.echo("Nothing was deleted yet.")
        return
    from rich.box import HORIZONTALS
    from rich.table import Table

    table = Table(box=HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0))
    for title in ("Deleted (UTC)", "Stream", "Hour", "Dataset"):
        table.add_column(title)
    for title in ("Number", "Size"):
        table.add_column(title, justify="right")
    for item in found:
        moment = f"{item.deleted_at:%Y-%m-%d %H:%M:%S}"
        number = f"{item.number:,}"
        table.add_row(moment, item.stream, item.hour, item.dataset, number, size_text(item.bytes))
    console().print(table)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
