"""``pii contract``: are the contracts right, which are there, and what is done to each field?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click
from rich.table import Table

from pii_pipeline.cli.common import console, json_option, plural, print_json, unknown_stream
from pii_pipeline.contracts.errors import Caution, ConfigurationError, Problem
from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import ListOf, Node, Scalar, walk
from pii_pipeline.contracts.treatments import Drop, Encrypt, Keep, Pseudonymize, Treatment, Url
from pii_pipeline.privacy.plan import UNLISTED
from pii_pipeline.settings import read_settings
from pii_pipeline.streams.loader import STREAM_FILE, load_stream, load_streams
from pii_pipeline.streams.model import Stream


@click.group()
def command() -> None:
    """Check, list and show the streams' contracts.

    \b
    Example:
      pii contract check
      pii contract show webshop
    """


@command.command()
@click.argument("names", metavar="[STREAM]...", nargs=-1)
@json_option
def check(names: tuple[str, ...], as_json: bool) -> None:
    """Load every stream and say what is wrong or risky, where, and the mend.

    Exit code 1 if something is wrong; risks are only shown.

    \b
    Example:
      pii contract check webshop
    """
    streams: list[Stream] = []
    problems: tuple[Problem, ...] = ()
    try:
        streams = _load(names)
    except ConfigurationError as error:
        problems = error.problems
    cautions = [caution for stream in streams for caution in stream.warnings]
    if as_json:
        print_json(
            {
                "errors": [_entry(problem, problem.problem) | {"mend": problem.mend} for problem in problems],
                "warnings": [_entry(caution, caution.message) for caution in cautions],
            }
        )
    else:
        for problem in problems:
            click.echo(f"error: {problem}")
        for caution in cautions:
            click.echo(f"warning: {caution}")
        if not problems:
            checked = ", ".join(stream.name for stream in streams) or "no streams"
            click.echo(f"{checked}: {plural(len(cautions), 'warning')}, no errors")
    if problems:
        click.get_current_context().exit(1)


@command.command("list")
@json_option
def list_contracts(as_json: bool) -> None:
    """List the streams with their contracts and derived datasets.

    \b
    Example:
      pii contract list --json
    """
    streams = _load(())
    if as_json:
        print_json(
            [
                {
                    "stream": stream.name,
                    "contract": stream.contract.contract,
                    "state": stream.contract.state,
                    "derived": list(stream.derived),
                    "tables": list(stream.warehouse),
                    "folder": str(stream.folder),
                    "description": stream.description,
                }
                for stream in streams
            ]
        )
        return
    table = Table("Stream", "Contract", "State", "Derived datasets", "Tables", "Description")
    for stream in streams:
        contract = stream.contract
        table.add_row(
            stream.name,
            contract.contract,
            contract.state,
            "\n".join(stream.derived),
            "\n".join(stream.warehouse),
            stream.description,
        )
    console().print(table)


@command.command()
@click.argument("name", metavar="STREAM")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show every field of a stream: its type, what is done to it, and what an erasure leaves of it.

    \b
    Example:
      pii contract show webshop
    """
    stream = _load((name,))[0]
    contract = stream.contract
    fields = list(_fields(contract))
    if as_json:
        subject = contract.data_subject
        print_json(
            {
                "stream": stream.name,
                "contract": contract.contract,
                "state": contract.state,
                "time_field": contract.time_field,
                "key_field": contract.key_field,
                "event_id_field": contract.event_id_field,
                "data_subject": None if subject is None else subject.model_dump(),
                "consent": None if contract.consent is None else contract.consent.model_dump(),
                "fields": fields,
            }
        )
        return
    table = Table("Field", "Type", "Treatment", "Settings", "After an erasure")
    for field in fields:
        settings = ", ".join(f"{key} {_text(value)}" for key, value in field["settings"].items())
        table.add_row(field["field"], field["type"], field["treatment"], settings, field["after_erasure"])
    console().print(f"{contract.contract} ({contract.state}), {stream.folder}")
    console().print(table)
    console().print(f"Undeclared keys: {_undeclared(contract)}")


def _load(names: Sequence[str]) -> list[Stream]:
    """All streams, or only those named: another one that is broken does not matter then."""
    folders = read_settings().streams
    if not names:
        return list(load_streams(folders).values())
    loaded = []
    for name in dict.fromkeys(names):
        found = [folder / name for folder in folders if (folder / name).is_dir()]
        if not found:
            known = [path.parent.name for folder in folders for path in folder.glob(f"*/{STREAM_FILE}")]
            raise unknown_stream(name, known)
        loaded.append(load_stream(found[0]))
    return loaded


def _entry(item: Problem | Caution, message: str) -> dict[str, Any]:
    return {"file": str(item.file), "line": item.line, "field": item.field, "message": message}


def _fields(contract: Contract) -> Iterator[dict[str, Any]]:
    """Every place that is treated by itself: the leaves, and what is sealed as a whole."""
    sealed: list[str] = []
    for path, node in walk(contract.record):
        if any(path.startswith((f"{whole}/", f"{whole}[]")) for whole in sealed):
            continue
        treatment = contract.treatment(path)
        if isinstance(treatment, Encrypt) and path in contract.fields:
            sealed.append(path)
        elif not isinstance(node, Scalar):
            continue
        settings = treatment.model_dump(exclude={"name"}, exclude_defaults=True)
        if isinstance(treatment, Encrypt):
            settings = {"level": treatment.level}
        yield {
            "field": path,
            "type": _type_text(node),
            "treatment": treatment.name,
            "settings": {
                key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()
            },
            "after_erasure": _after_erasure(treatment),
        }


def _type_text(node: Node) -> str:
    if isinstance(node, Scalar):
        return node.kind
    return f"list of {_type_text(node.element)}" if isinstance(node, ListOf) else "record"


def _after_erasure(treatment: Treatment) -> str:
    """What can still be done with the field's values in the lake once their person was forgotten."""
    if isinstance(treatment, Drop):
        return "never in the lake"
    if isinstance(treatment, Encrypt):
        return "can never be opened"
    if isinstance(treatment, Pseudonymize):
        return "still linkable: the same for other people" if treatment.outlives_erasure else "noise"
    if isinstance(treatment, Url):
        return (
            "path and kept parameters readable, the rest noise"
            if treatment.keep_path
            else "host readable, the rest noise"
        )
    return "still readable" if isinstance(treatment, Keep) else "still readable, as coarse as it is"


def _undeclared(contract: Contract) -> str:
    if isinstance(contract.default, Drop):
        return "dropped"
    return f"keys and values pseudonymized, as JSON text in the column {UNLISTED}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
