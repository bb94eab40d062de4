"""``pii vault policy|token``: who may do what at the vault, and by which token a principal is known."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import click

from pii_pipeline.cli.common import console, installation, json_option, plural, print_json
from pii_pipeline.cli.errors import Failure
from pii_pipeline.cli.loading import error_entry, warning_entry
from pii_pipeline.contracts.errors import Caution, ConfigurationError, Problem
from pii_pipeline.vault.policy import PIINGUIN, PIPELINE, Policy, token_sha256
from pii_pipeline.vault.policy_file import PRINCIPAL


@click.command()
@json_option
def policy(as_json: bool) -> None:
    """Check the policy, and show who may do what.

    What is wrong with the file, where, and the mend; what somebody should look at, such as a field that is
    not reversible. Exit code 1 if something is wrong. A service that runs has the policy of its start.

    \b
    Example:
      pii vault policy
    """
    problems: tuple[Problem, ...] = ()
    cautions: tuple[Caution, ...] = ()
    rights: list[dict[str, Any]] = []
    with installation() as opened:
        file = opened.settings.vault_policy
        try:
            loaded = opened.vault_policy
        except ConfigurationError as error:
            problems = error.problems
        else:
            cautions, rights = loaded.cautions, list(_rights(loaded))
    if as_json:
        print_json(
            {
                "errors": [error_entry(problem) for problem in problems],
                "warnings": [warning_entry(caution) for caution in cautions],
                "rights": rights,
            }
        )
    else:
        for problem in problems:
            click.echo(f"error: {problem}")
        for caution in cautions:
            click.echo(f"warning: {caution}")
        if not problems:
            said = f"{plural(len(cautions), 'warning')}, no errors"
            click.echo(f"{file}: {said if file.exists() else 'not there, what is built in holds'}")
            _print(rights)
    if problems:
        click.get_current_context().exit(1)


@click.command()
@click.argument("principal")
@json_option
def token(principal: str, as_json: bool) -> None:
    """Make a token for a principal, and print it this once.

    It is stored nowhere. Into the policy goes its SHA-256, which is printed with it; the token goes to the
    principal, as PII_VAULT_TOKEN or in a file that PII_VAULT_TOKEN_FILE names.

    \b
    Example:
      pii vault token fraud-desk
    """
    if not PRINCIPAL.fullmatch(principal):
        raise Failure("no name for a principal: use lower-case letters, digits, `-` and `_`", 2)
    if principal in (PIPELINE, PIINGUIN):
        raise Failure(f"`{principal}` shows no token: name a principal of your own", 2)
    made = secrets.token_hex(32)
    if as_json:
        print_json({"principal": principal, "token": made, "token_sha256": token_sha256(made)})
        return
    click.echo(f"For {principal}, shown this once:\n\n{made}\n")
    click.echo(f"For the policy, below `{principal}`:\n\n    token_sha256: {token_sha256(made)}")


def _rights(loaded: Policy) -> Iterator[dict[str, Any]]:
    """A line for each thing that a principal may do."""
    for name, rights in sorted(loaded.principals.items()):
        limits = rights.limits.model_dump(exclude_none=True) if rights.limits else {}
        for grant in rights.read:
            yield {
                "principal": name,
                "may": "read",
                "streams": list(grant.streams),
                "fields": list(grant.fields),
                "bases": list(grant.bases),
                "purposes": list(grant.purposes),
                "limits": limits,
            }
        for right in ("create", "delete"):
            for grant in getattr(rights, right):
                yield {
                    "principal": name,
                    "may": right,
                    "streams": list(grant.streams),
                    "fields": list(grant.fields),
                }
        for right in ("erase", "load", "audit"):
            if getattr(rights, right):
                yield {"principal": name, "may": right}


def _print(rights: list[dict[str, Any]]) -> None:
    from rich.box import HORIZONTALS
    from rich.table import Table

    table = Table(box=HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0))
    for title in ("Principal", "May", "Streams", "Fields", "Bases", "Purposes", "Limits"):
        table.add_column(title)
    before = None
    for line in rights:
        name = line["principal"]
        lists = ("\n".join(line.get(key, ())) for key in ("streams", "fields", "bases", "purposes"))
        said = ("", "") if name == before else (name, _limits(line.get("limits", {})))
        table.add_row(said[0], line["may"], *lists, said[1])
        before = name
    console().print(table, markup=False)


def _limits(limits: Mapping[str, int]) -> str:
    return "\n".join(f"{most:,} {name.replace('records_per_', 'a ')}" for name, most in limits.items())
