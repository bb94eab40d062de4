"""``pii contract``: are the contracts right, which are there, and what is done to each field?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from rich.table import Table

from pii_pipeline.cli import contract_export, contract_import
from pii_pipeline.cli.common import console, json_option, plural, print_json, say_broken, stream_named
from pii_pipeline.cli.contract_versions import (
    contract_named,
    diff,
    known_contracts,
    new_version,
    promote,
)
from pii_pipeline.cli.loading import error_entry, known_streams, warning_entry
from pii_pipeline.contracts.errors import ConfigurationError, Problem
from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import ListOf, Node, Scalar
from pii_pipeline.contracts.treatments import (
    Drop,
    Encrypt,
    Keep,
    Pseudonymize,
    SelfDescribing,
    Treatment,
    Url,
)
from pii_pipeline.ledger import ActiveContract
from pii_pipeline.pipeline.contract_lock import SHOWN_DIGITS, changes, steps_back
from pii_pipeline.privacy.plan import UNLISTED
from pii_pipeline.streams.model import Stream

_AS_REMEMBERED = {True: "as it was", False: "changed", None: ""}


@click.group()
def command() -> None:
    """Check, list, show and compare the streams' contracts, move their versions on, import and export them.

    \b
    Example:
      pii contract check
      pii contract show webshop
    """


command.add_command(contract_import.command, "import")
command.add_command(contract_export.command, "export")
command.add_command(diff)
command.add_command(promote)
command.add_command(new_version)


@command.command()
@click.argument("names", metavar="[STREAM]...", nargs=-1)
@json_option
def check(names: tuple[str, ...], as_json: bool) -> None:
    """Load every stream and say what is wrong or risky, where, and the mend.

    Where there is a ledger, also whether a contract that was active has changed since. Exit code 1 if
    something is wrong; risks are only shown.

    \b
    Example:
      pii contract check webshop
    """
    streams: list[Stream] = []
    problems: tuple[Problem, ...] = ()
    try:
        loaded = known_streams()
        asked = dict.fromkeys(names) or [*loaded, *loaded.broken]
        streams = [stream_named(loaded, name) for name in asked if name not in loaded.broken]
        problems = (*loaded.problems_of(asked), *_against_the_ledger(streams, known_contracts()))
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
    """List the streams with all versions of their contracts: since when each has been active, as far as there
    is a ledger, and whether its file is still what it was then; and the derived datasets.

    What is wrong with streams that do not load is on standard error; with --json they have a name and errors.

    \b
    Example:
      pii contract list --json
    """
    streams = known_streams()
    say_broken(streams)
    known = known_contracts()
    if as_json:
        print_json(
            [
                {
                    "stream": stream.name,
                    "contract": stream.contract.contract,
                    "state": stream.contract.state,
                    "versions": [_version(contract, known) for contract in stream.versions],
                    "derived": list(stream.derived),
                    "tables": list(stream.warehouse),
                    "folder": str(stream.folder),
                    "description": stream.description,
                    "errors": [],
                }
                for stream in streams.values()
            ]
            + [
                {"stream": name, "errors": list(map(error_entry, problems))}
                for name, problems in streams.broken.items()
            ]
        )
        return
    table = Table(
        "Stream",
        "Contract",
        "State",
        "Digest",
        "Active since",
        "File",
        "Derived datasets",
        "Tables",
        "Description",
    )
    for stream in streams.values():
        for contract in stream.versions:
            version = _version(contract, known)
            first = contract is stream.versions[0]
            table.add_row(
                stream.name if first else "",
                contract.contract,
                contract.state,
                contract.digest[:SHOWN_DIGITS],
                (version["active_since"] or "")[:16].replace("T", " "),
                _AS_REMEMBERED[version["as_remembered"]],
                "\n".join(stream.derived) if first else "",
                "\n".join(stream.warehouse) if first else "",
                stream.description if first else "",
            )
    console().print(table)


@command.command()
@click.argument("name", metavar="STREAM|CONTRACT")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show every field of a stream's newest active contract, or of any version (handle/name/version): its
    type, what is done to it, and what an erasure leaves of it.

    \b
    Example:
      pii contract show webshop
      pii contract show acme/webshop-click/1.0.0
    """
    listed = contract_named(name) if "/" in name else None
    stream = stream_named(known_streams(), listed.stream.name if listed else name)
    contract = next(
        (version for version in stream.versions if listed and version.contract == listed.contract),
        stream.contract,
    )
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


def _against_the_ledger(streams: Sequence[Stream], known: Mapping[str, ActiveContract]) -> Iterator[Problem]:
    for contract in (contract for stream in streams for contract in stream.versions):
        yield from changes(contract, known)
        yield from steps_back(contract, known)


def _version(contract: Contract, known: Mapping[str, ActiveContract]) -> dict[str, Any]:
    before = known.get(contract.contract)
    return {
        "contract": contract.contract,
        "state": contract.state,
        "digest": contract.digest,
        "file": str(contract.file),
        "active_since": before.active_since.isoformat() if before else None,
        "as_remembered": before.digest == contract.digest if before else None,
    }


def _fields(contract: Contract) -> Iterator[dict[str, Any]]:
    """Every place that is treated by itself; of documents what is listed in them, the schemas that a
    criterion leaves readable, and for the rest the default."""
    for path, node, treatment in contract.treated():
        if not isinstance(treatment, SelfDescribing):
            yield _field(path, _type_text(node), treatment)
            continue
        default = contract.default
        yield _field(path, "documents", default) | {
            "treatment": treatment.name,
            "settings": {"unlisted": default.name},
        }
        for criterion, places in treatment.entities.items():
            yield _field(f"{path} {criterion}", "schema", Keep())
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
