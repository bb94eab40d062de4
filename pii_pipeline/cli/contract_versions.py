"""``pii contract diff``, ``promote`` and ``new-version``: from one version of a contract to the next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from pii_pipeline.cli.common import console, json_option, plural, print_json, unknown
from pii_pipeline.contracts.compare import Change, Comparison, compare
from pii_pipeline.contracts.loader import load_contract
from pii_pipeline.contracts.source import suggestion
from pii_pipeline.database import connect_existing
from pii_pipeline.ledger import ActiveContract, Ledger
from pii_pipeline.pipeline.contract_lock import refuse_changed
from pii_pipeline.privacy.plan import compile_plan
from pii_pipeline.settings import read_settings
from pii_pipeline.streams import versions
from pii_pipeline.streams.loader import STREAM_FILE
from pii_pipeline.streams.versions import Listed, Part


def known_contracts() -> Mapping[str, ActiveContract]:
    """What the ledger knows of contracts that are or were active; nothing where there is no ledger. Makes
    none."""
    engine = connect_existing(read_settings().database_url)
    if engine is None:
        return {}
    try:
        return Ledger(engine).active_contracts()
    finally:
        engine.dispose()


def contract_named(reference: str) -> Listed:
    """The contract of that name (``handle/name/version``) that a stream lists; a usage error if none does."""
    listed: dict[str, Listed] = {}
    for item in versions.listed_contracts(read_settings().streams):
        listed.setdefault(item.contract, item)
    if reference not in listed:
        mend = suggestion(reference, sorted(listed)) if listed else "no stream lists any"
        problem = f"no stream lists a contract `{reference}`; {mend}"
        raise click.UsageError(problem, click.get_current_context())
    return listed[reference]


@click.command()
@click.argument("old")
@click.argument("new")
@json_option
def diff(old: str, new: str, as_json: bool) -> None:
    """Compare two versions of a contract, each named (handle/name/version) or by its file.

    Says what changed and which fields are protected less; whether old events are valid under the new version
    and new ones under the old; whether readers of the lake still find their columns; and which part of the
    version has to be raised for that. Exit code 1 if a treatment got weaker or a column is gone or of another
    type.

    \b
    Example:
      pii contract diff acme/webshop-click/1.0.0 acme/webshop-click/1.1.0
      pii contract diff streams/webshop/contract.yaml streams/webshop/contract-1.1.0.yaml --json
    """
    before, after = (load_contract(_file(item)).contract for item in (old, new))
    lakes = (compile_plan(contract).lake_schema() for contract in (before, after))
    comparison = compare(before, after, *lakes)
    if as_json:
        print_json(comparison.as_json())
    else:
        _print(comparison)
    if comparison.weaker or not comparison.keeps_columns:
        click.get_current_context().exit(1)


@click.command()
@click.argument("contract")
@json_option
def promote(contract: str, as_json: bool) -> None:
    """Move a version (handle/name/version) on: draft, in_review, approved, active, archived.

    Edits the word behind `state:` in its file, if the checks for the next state pass. Where a stream has no
    `contract_field`, the version that was active until then is archived in the same step.

    \b
    Example:
      pii contract promote acme/webshop-click/1.1.0
    """
    listed = contract_named(contract)
    folders = read_settings().streams
    with versions.turn(listed.stream, listed.file.parent):
        beside = [item for item in versions.listed_contracts(folders) if item.stream == listed.stream]
        moves = versions.promotion(listed, beside)
        if moves[0].after == "active":
            refuse_changed([load_contract(listed.file).contract], known_contracts())
        versions.carry_out(moves)
    if as_json:
        print_json(
            [
                {
                    "contract": move.contract,
                    "file": str(move.file),
                    "before": move.before,
                    "after": move.after,
                }
                for move in moves
            ]
        )
        return
    for move in moves:
        click.echo(f"{move.contract}: {move.before} → {move.after} ({move.file})")


@click.command("new-version")
@click.argument("stream")
@click.option(
    "--raise",
    "part",
    type=click.Choice(["major", "minor", "patch"]),
    default="minor",
    show_default=True,
    help="Which number of the version.",
)
@json_option
def new_version(stream: str, part: Part, as_json: bool) -> None:
    """Copy STREAM's newest active contract and its schema to a draft with the next version, to be edited.

    \b
    Example:
      pii contract new-version webshop --raise major
    """
    folders = read_settings().streams
    found = [folder / stream for folder in folders if (folder / stream).is_dir()]
    if not found:
        known = [path.parent.name for folder in folders for path in folder.glob(f"*/{STREAM_FILE}")]
        raise unknown("stream", stream, known)
    with versions.turn(found[0]):
        files = versions.new_version(found[0], part)
    if as_json:
        print_json({"stream": stream, "files": [str(file) for file in files]})
        return
    for file in files:
        click.echo(str(file))


def _file(name: str) -> Path:
    """The file of a contract that is named as one or by its file."""
    return Path(name) if Path(name).is_file() else contract_named(name).file


def _print(comparison: Comparison) -> None:
    out = console()
    if comparison.changes:
        table = Table("Where", "What", "Before", "After", "That means")
        for change in comparison.changes:
            cells = (change.place, change.about, change.before or "", change.after or "", _meaning(change))
            table.add_row(*map(Text, cells))
        out.print(table)
    old, new = comparison.old, comparison.new
    lines = [
        f"{old.contract} → {new.contract}: {plural(len(comparison.changes), 'change')}",
        f"Protection: {plural(len(comparison.weaker), 'field or setting', 'fields or settings')} weaker"
        if comparison.weaker
        else "Protection: nothing is weaker",
        _verdict("Old events under the new version", comparison.accepts_old_events),
        _verdict("New events under the old version", comparison.accepts_new_events),
        "Readers of the lake: all columns are there, with their types"
        if comparison.keeps_columns
        else "Readers of the lake: columns are gone or of another type",
        _version_line(comparison),
    ]
    for line in lines:
        click.echo(line)


def _meaning(change: Change) -> str:
    said = {"weaker": "protected less", "stronger": "protected more", "other": "protected otherwise"}
    found = [said[change.protection]] if change.protection else []
    found += ["old events may be refused"] if change.refuses_old else []
    found += ["new events may be refused by the old version"] if change.refuses_new else []
    found += ["readers miss it"] if change.breaks_readers else []
    return ", ".join(found)


def _verdict(which: str, accepted: bool) -> str:
    return f"{which}: {'valid' if accepted else 'some may be refused'}"


def _version_line(comparison: Comparison) -> str:
    if comparison.asked is None:
        return "Version: the two say the same"
    if comparison.made is None:
        return f"Version: asks for a {comparison.asked} step, but is no later one"
    verdict = "and is" if comparison.says_so else "but is"
    return f"Version: asks for a {comparison.asked} step, {verdict} {comparison.made}"
