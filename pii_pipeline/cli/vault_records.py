"""``pii vault read|create|delete|erase``: single records, and persons.

Originals and ids of persons are asked for, or come from standard input: arguments are in the list of
processes and in the shell's history. Originals leave by standard output alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from pii_pipeline.cli.common import json_option, plural, print_json
from pii_pipeline.cli.errors import Failure
from pii_pipeline.cli.vault_desk import address_option, desk, policy_of
from pii_pipeline.vault.errors import VaultError
from pii_pipeline.vault.model import (
    DataSubject,
    Found,
    LawfulBasis,
    Reason,
    Record,
    RecordKey,
    Withheld,
)

if TYPE_CHECKING:
    from pii_pipeline.vault.policy import Policy

Function = TypeVar("Function", bound=Callable[..., Any])

BASES = [basis.value for basis in LawfulBasis]

AT_ONCE = 50
"""Pseudonyms of one call, which is one entry of the audit log: their originals fit into a message."""


def _many(function: Function) -> Function:
    """``STREAM FIELD [PSEUDONYM]... --from FILE``."""
    for decorator in (
        click.option(
            "--from", "file", type=click.File(), help="A file of pseudonyms, one in a line; - is stdin."
        ),
        click.argument("pseudonyms", metavar="[PSEUDONYM]...", nargs=-1),
        click.argument("field"),
        click.argument("stream"),
    ):
        function = decorator(function)
    return function


@click.command()
@_many
@click.option("--basis", type=click.Choice(BASES), help="Article 6(1) of the GDPR, (a) to (f).")
@click.option("--purpose", metavar="CODE", help="A purpose of the policy.")
@click.option("--ticket", metavar="NUMBER", help="Where the purpose wants one.")
@address_option
@json_option
def read(
    stream: str,
    field: str,
    pseudonyms: tuple[str, ...],
    file: IO[str] | None,
    basis: str | None,
    purpose: str | None,
    ticket: str | None,
    address: str | None,
    as_json: bool,
) -> None:
    """Tell the originals of pseudonyms of a field.

    One line for each original: the pseudonym, a tab, the original (as JSON where not all of it can be
    printed). A pseudonym may have several. What is not known, or not told, is counted on standard error.
    On a terminal it asks for basis and purpose where they are not given. What is refused ends it, with exit
    code 1; with --json the pseudonyms that were refused have an `error`. It is 1, too, where the vault's
    database was tampered with, after the rest was told.

    \b
    Example:
      pii vault read logins ip PSEUDONYM --basis legal_obligation --purpose fraud --ticket FR-1
      pii vault read logins ip --from pseudonyms.txt --basis legal_obligation --purpose fraud --ticket FR-1
    """
    with desk(address) as asked:
        given = LawfulBasis(basis) if basis else None
        reason = _reason(policy_of(asked), stream, field, given, purpose, ticket)
        answers: list[Found] = []
        unanswered: list[dict[str, Any]] = []
        complete = False
        try:
            for keys in _batches(stream, field, pseudonyms, file):
                try:
                    found = asked.read_batch(reason, keys)
                except VaultError as error:
                    unanswered = [_entry(Found(key), str(error)) for key in keys]
                    raise
                if not as_json:
                    _tell(found, first=not any(answer.originals for answer in answers))
                answers += found
            complete = True
        finally:
            _say_untold(answers)
            if as_json and (complete or answers or unanswered):
                print_json([*map(_entry, answers), *unanswered])
    tampered = sum(answer.withheld is Withheld.TAMPERED for answer in answers)
    if tampered:
        what = plural(tampered, "pseudonym")
        raise Failure(f"what the vault has of {what} was altered in its database, or moved to another row")


@click.command()
@click.argument("stream")
@click.argument("field")
@click.argument("pseudonym")
@click.option("--of-person", is_flag=True, help="Ask whom it is about, too: NAMESPACE:ID.")
@address_option
@json_option
def create(
    stream: str, field: str, pseudonym: str, of_person: bool, address: str | None, as_json: bool
) -> None:
    """Keep an original, which is asked for, or read from standard input.

    With --of-person the first line says whom it is about, NAMESPACE:ID, as in `data_subject` of a contract;
    the rest is the original. What is there is kept once, and other originals stay beside it.

    \b
    Example:
      pii vault create piinguin value PSEUDONYM < original.txt
    """
    subject = None
    if sys.stdin.isatty():
        if of_person:
            subject = _subject(click.prompt("Person (NAMESPACE:ID)", err=True))
        original = click.prompt("Original", err=True)
    else:
        original = _from_stdin()
        if of_person:
            first, _, original = original.partition("\n")
            subject = _subject(first.removesuffix("\r"))
        if not original:
            raise Failure("standard input has no original", 2)
    with desk(address) as asked:
        stored = asked.create(Record(RecordKey(stream, field, pseudonym), original, subject))
    if as_json:
        print_json({"new": stored.new, "known": stored.known})
    else:
        click.echo("kept" if stored.new else "known already")


@click.command()
@_many
@click.option("--yes", is_flag=True, help="Do not ask.")
@address_option
@json_option
def delete(
    stream: str,
    field: str,
    pseudonyms: tuple[str, ...],
    file: IO[str] | None,
    yes: bool,
    address: str | None,
    as_json: bool,
) -> None:
    """Delete all originals of pseudonyms of a field. They cannot be had back.

    \b
    Example:
      pii vault delete logins ip PSEUDONYM
    """
    batches = list(_batches(stream, field, pseudonyms, file))
    number = sum(map(len, batches))
    _confirm(f"Delete the originals of {plural(number, 'pseudonym')}, which cannot be had back?", yes)
    deleted = 0
    with desk(address) as asked:
        try:
            for keys in batches:
                deleted += asked.delete_batch(keys)
        except VaultError as error:
            if deleted:
                _say_deleted(deleted, as_json, str(error))
            raise
    _say_deleted(deleted, as_json)


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@address_option
@json_option
def erase(yes: bool, address: str | None, as_json: bool) -> None:
    """Delete all records of a person, in all streams. They cannot be had back.

    The person is asked for, or the first line of standard input: NAMESPACE:ID, as in `data_subject` of a
    contract. Then originals that the person is known by, such as an e-mail address, one in a line: records of
    these that name nobody go too.

    \b
    Example:
      pii vault erase
      pii vault erase --yes < person.txt
    """
    if sys.stdin.isatty():
        subject = _subject(click.prompt("Person (NAMESPACE:ID)", err=True))
        ask = "Known by (nothing more: Enter)"
        originals = list(iter(lambda: click.prompt(ask, default="", show_default=False, err=True), ""))
    else:
        first, *rest = _from_stdin().splitlines() or [""]
        subject, originals = _subject(first), list(filter(None, rest))
    _confirm("Delete all records of this person, which cannot be had back?", yes)
    with desk(address) as asked:
        _say_deleted(asked.erase(subject, originals), as_json)


def _reason(
    policy: Policy | None,
    stream: str,
    field: str,
    basis: LawfulBasis | None,
    purpose: str | None,
    ticket: str | None,
) -> Reason:
    """Asks for what is missing, with the choices that there are. A usage error if nobody can be asked."""
    from pii_pipeline.vault.policy import OPERATOR

    choices = policy.reasons(OPERATOR, stream, field) if policy else {}
    complete = basis is not None and purpose is not None
    if not sys.stdin.isatty():
        missing = [name for name, value in (("--basis", basis), ("--purpose", purpose)) if not value]
        if missing:
            problem = f"{' and '.join(missing)} missing: nobody can be asked here"
            raise click.UsageError(f"{problem}{_said(choices)}", click.get_current_context())
    if basis is None:
        basis = LawfulBasis(_ask("Lawful basis", [basis.value for basis in choices] or BASES))
    if purpose is None:
        purpose = _ask("Purpose", choices.get(basis, ()))
    said = policy.purposes.get(purpose) if policy else None
    if ticket is None and said is not None and said.ticket == "required" and sys.stdin.isatty():
        ticket = click.prompt("Ticket", err=True)
    if ticket is None and policy is None and not complete:  # a service has the policy
        ticket = click.prompt("Ticket (none: Enter)", default="", show_default=False, err=True) or None
    return Reason(basis, purpose, ticket)


def _said(choices: dict[LawfulBasis, list[str]]) -> str:
    if not choices:
        return ""
    granted = (f"{basis} for {' or '.join(purposes)}" for basis, purposes in choices.items())
    return f"; there are: {', '.join(granted)}"


def _ask(what: str, choices: Collection[str]) -> str:
    return click.prompt(what, type=click.Choice(list(choices)) if choices else str, err=True)


def _batches(
    stream: str, field: str, pseudonyms: Sequence[str], file: IO[str] | None
) -> Iterator[list[RecordKey]]:
    """The pseudonyms, `AT_ONCE` at a time. A usage error if there are none, or two places to look."""
    if bool(pseudonyms) == (file is not None):
        problem = "name pseudonyms, or with --from a file of them"
        raise click.UsageError(problem, click.get_current_context())
    names = iter(pseudonyms) if file is None else _lines(file)
    keys = (RecordKey(stream, field, name) for name in names)
    while batch := list(islice(keys, AT_ONCE)):
        yield batch


def _lines(file: IO[str]) -> Iterator[str]:
    """What stands in the lines of a file; empty ones are passed over."""
    try:
        yield from filter(None, map(str.strip, file))
    except UnicodeDecodeError:
        raise Failure("the file of pseudonyms is no UTF-8", 2) from None


def _tell(found: Sequence[Found], first: bool) -> None:
    """Writes originals; before the first of them, what they are."""
    if first and any(answer.originals for answer in found):
        click.echo("pii: what follows is personal data, and that you read it is on record", err=True)
    for answer in found:
        for original in answer.originals:
            click.echo(f"{_printable(answer.key.pseudonym)}\t{_printable(original)}")


def _say_untold(answers: Sequence[Found]) -> None:
    unknown = sum(not answer.originals and answer.withheld is None for answer in answers)
    if unknown:
        click.echo(f"pii: {plural(unknown, 'pseudonym')} not in the vault", err=True)
    for why in Withheld.NO_CONSENT, Withheld.FORGOTTEN:
        number = sum(answer.withheld == why for answer in answers)
        if number:
            click.echo(f"pii: {plural(number, 'pseudonym')} withheld: {why}", err=True)


def _printable(text: str) -> str:
    """As it is, where a terminal takes it for text."""
    return text if text.isprintable() else json.dumps(text)


def _entry(answer: Found, error: str | None = None) -> dict[str, Any]:
    return {
        "pseudonym": answer.key.pseudonym,
        "originals": list(answer.originals),
        "withheld": answer.withheld,
        "error": error,
    }


def _say_deleted(number: int, as_json: bool, error: str | None = None) -> None:
    if as_json:
        print_json({"deleted": number, "error": error})
    else:
        click.echo(f"{plural(number, 'record')} deleted")


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("--yes missing: nobody can be asked here", click.get_current_context())
    click.confirm(question, abort=True, err=True)


def _from_stdin() -> str:
    """All of it, without the line's end behind it."""
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise Failure("standard input is no UTF-8", 2) from None
    return text.removesuffix("\n").removesuffix("\r")


def _subject(text: str) -> DataSubject:
    namespace, colon, name = text.partition(":")
    if not (namespace and colon and name):
        raise Failure("a person is written NAMESPACE:ID, such as customer:1234", 2)
    return DataSubject(namespace, name)
