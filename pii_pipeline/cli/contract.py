"""``pii contract``: are the contracts right, which are there, and what is done to each field?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from rich.table import Table

from pii_pipeline.cli import contract_export, contract_import
from pii_pipeline.cli.common import console, json_option, plural, print_json
from pii_pipeline.cli.loading import error_entry, load_named, warning_entry
from pii_pipeline.contracts.errors import ConfigurationError, Problem
from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import ListOf, Node, Scalar, walk
from pii_pipeline.contracts.treatments import (
    Drop,
    Encrypt,
    Keep,
    Pseudonymize,
    SelfDescribing,
    Treatment,
    Url,
)
from pii_pipeline.privacy.plan import UNLISTED
from pii_pipeline.streams.model import Stream


@click.group()
def command() -> None:
    """Check, list and show the streams' contracts; import and export them.

    \b
    Example:
      pii contract check
      pii contract show webshop
    """


command.add_command(contract_import.command, "import")
command.add_command(contract_export.command, "export")


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
        streams = load_named(names)
    except ConfigurationError as error:
        problems = error.problems
    cautions = [caution for stream in streams for caution in stream.warnings]
    if as_json:
        print_json(
            {
                "errors": [error_entry(problem) for problem in problems],
                "warnings": [warning_entry(caution) for caution in cautions],
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
    streams = load_named(())
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
    stream = load_named((name,))[0]
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


def _fields(contract: Contract) -> Iterator[dict[str, Any]]:
    """Every place that is treated by itself: the leaves, what is listed inside documents (and for the rest of
    these the default), and what is sealed as a whole."""
    sealed: list[str] = []
    for path, node in walk(contract.record):
        if any(path.startswith((f"{whole}/", f"{whole}[]")) for whole in sealed):
            continue
        treatment = contract.treatment(path)
        if isinstance(treatment, Encrypt) and path in contract.fields:
            sealed.append(path)
        elif not isinstance(node, Scalar):
            continue
        if not isinstance(treatment, SelfDescribing):
            yield _field(path, _type_text(node), treatment)
            continue
        default = contract.default
        yield _field(path, "documents", default) | {
            "treatment": treatment.name,
            "settings": {"unlisted": default.name},
        }
        for criterion, places in treatment.entities.items():
            for inner, place in places.items():
                yield _field(f"{path} {criterion} {inner}", "any", place)


def _field(name: str, kind: str, treatment: Treatment) -> dict[str, Any]:
    settings = treatment.model_dump(exclude={"name"}, exclude_defaults=True)
    if isinstance(treatment, Encrypt):
        settings = {"level": treatment.level}
    return {
        "field": name,
        "type": kind,
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
