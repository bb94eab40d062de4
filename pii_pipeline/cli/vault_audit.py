"""``pii vault audit``: who looked at what, and whether the log of it is as it was written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import click

from pii_pipeline.cli.common import console, installation, json_option, plural, print_json
from pii_pipeline.cli.errors import Failure
from pii_pipeline.vault.errors import AuditBroken

if TYPE_CHECKING:
    from pii_pipeline.vault.verify import Verification

_NUMBER = click.IntRange(1, 2**63 - 1)
"""Of an entry, as databases have it."""


@click.group()
def command() -> None:
    """Look at the vault's audit log, verify it, export it.

    \b
    Example:
      pii vault audit verify
    """


@command.command(name="list")
@click.option("--last", default=20, show_default=True, type=click.IntRange(1), help="How many entries.")
@json_option
def list_command(last: int, as_json: bool) -> None:
    """Show the last entries: who asked for what, why, and what came of it.

    It holds pseudonyms and no originals. The policy has to grant the principal `operator` `audit`.

    \b
    Example:
      pii vault audit list --last 5
    """
    from pii_pipeline.vault.audit import Action
    from pii_pipeline.vault.policy import OPERATOR

    with installation() as opened:
        problem = opened.vault_policy.refusal(OPERATOR, Action.EXPORT, (), None)
        if problem is not None:
            opened.vault.refuse(OPERATOR, Action.EXPORT, "denied", problem)
        end = opened.vault_store.last_entry()
        first = max(1, end.sequence - last + 1) if end else 1
        entries = [_content(entry.text) for entry in opened.vault_audit.entries(first)]
    if as_json:
        print_json(entries)
    elif entries:
        _print(entries)
    else:
        click.echo("Nothing is on record yet.")


@command.command()
@click.argument("export", metavar="[EXPORT]", type=click.File(), required=False)
@json_option
def verify(export: IO[str] | None, as_json: bool) -> None:
    """Follow the log from its first entry to the last: its chain of hashes, its seals, its anchors.

    What is behind the last anchor could be cut off, and nobody would see it: it says how much that is. Of an
    EXPORT, which may begin anywhere, it follows the chain alone, without keys or database. Exit code 1 if an
    entry is not as it was written; it says which is the first.

    \b
    Example:
      pii vault audit verify
      pii vault audit verify audit.jsonl
    """
    if export is not None:
        _verify_export(export, as_json)
        return
    with installation() as opened:
        found = opened.vault_audit.verify()
    if as_json:
        print_json(_verified(found))
    else:
        click.echo(f"{plural(found.entries, 'entry', 'entries')} as written")
        held = found.anchored
        anchored = f"entry {held[0]:,}, {held[1]:%Y-%m-%d %H:%M:%S} UTC" if held else "none"
        gap = plural(found.unanchored, "entry", "entries")
        click.echo(f"last anchor: {anchored}; behind it {gap} could be cut off unseen")
    if found.broken is not None:
        raise Failure(str(found.broken))


@command.command(name="export")
@click.option("--first", default=1, show_default=True, type=_NUMBER, help="Number of an entry.")
@click.option("--last", type=_NUMBER, help="Number of an entry; the last one if not given.")
def export_command(first: int, last: int | None) -> None:
    """Write entries as JSON lines, which anybody can verify: each with its hash and that of the one before.

    The export is an entry itself. The policy has to grant the principal `operator` `audit`.

    \b
    Example:
      pii vault audit export > audit.jsonl
    """
    from pii_pipeline.vault.policy import OPERATOR

    with installation() as opened:
        for line in opened.vault.export_audit(OPERATOR, first, last):
            click.echo(line)


def _verify_export(export: IO[str], as_json: bool) -> None:
    from pii_pipeline.vault.chain import verify_export

    try:
        count = verify_export(export)
    except UnicodeDecodeError:
        raise Failure("the export is no UTF-8, so it is none") from None
    except AuditBroken as broken:
        if as_json:
            print_json({"entries": None, "broken": _broken(broken)})
        raise
    if as_json:
        print_json({"entries": count, "broken": None})
    else:
        click.echo(f"{plural(count, 'entry', 'entries')}, each behind the one before")


def _verified(found: Verification) -> dict[str, Any]:
    broken, held = found.broken, found.anchored
    return {
        "entries": found.entries,
        "broken": broken and _broken(broken),
        "last_anchor": held and {"number": held[0], "at": held[1].isoformat(timespec="seconds")},
        "unanchored": found.unanchored,
    }


def _broken(broken: AuditBroken) -> dict[str, Any]:
    return {"entry": broken.sequence, "problem": str(broken)}


def _content(text: str) -> dict[str, Any]:
    """Of an entry; one that was edited may be anything."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    return content if isinstance(content, dict) else {"action": "not an entry: see `pii vault audit verify`"}


def _print(entries: Sequence[Mapping[str, Any]]) -> None:
    from rich.box import HORIZONTALS
    from rich.table import Table

    table = Table(box=HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Entry", justify="right")
    for title in ("Time (UTC)", "Principal", "Action", "Why", "Of what", "Counts"):
        table.add_column(title)
    for entry in entries:
        table.add_row(
            str(entry.get("number", "")),
            str(entry.get("at", ""))[:19].replace("T", " "),
            str(entry.get("principal", "")),
            _action(entry),
            " ".join(str(entry[name]) for name in ("basis", "purpose", "ticket") if entry.get(name)),
            ", ".join(".".join(place) for place in entry.get("places", ())),
            ", ".join(f"{word} {count:,}" for word, count in entry.get("counts", {}).items()),
        )
    console().print(table, markup=False)


def _action(entry: Mapping[str, Any]) -> str:
    action = str(entry.get("action", ""))
    return f"{action}: {entry['refused']} ({entry.get('why')})" if "refused" in entry else action
