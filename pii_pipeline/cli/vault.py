"""``pii vault``: originals by pseudonym, for who has a lawful basis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pii_pipeline.cli import vault_audit, vault_policy, vault_records
from pii_pipeline.cli.common import console, installation, json_option, plural, print_json, say_broken
from pii_pipeline.cli.progress import Counting
from pii_pipeline.cli.vault_desk import backend_of

if TYPE_CHECKING:
    from pii_pipeline.vault.vault import Vault
    from pii_pipeline.vault_service.listening import Listen


@click.group()
def command() -> None:
    """Read originals back, and all else that the vault is asked: originals by pseudonym, for who has a lawful
    basis.

    Who may do what says the policy, vault-policy.yaml of the project. Each look is on record.

    \b
    Example:
      pii vault read logins ip PSEUDONYM --basis legal_obligation --purpose fraud --ticket FR-1
    """


command.add_command(vault_records.read)
command.add_command(vault_records.create)
command.add_command(vault_records.delete)
command.add_command(vault_records.erase)


@command.command(name="import")
@click.argument("table", metavar="dynamodb://TABLE")
@json_option
def import_command(table: str, as_json: bool) -> None:
    """Bring the records of a Piinguin into the vault of this installation, as stream `piinguin`.

    From its table in DynamoDB, which stays as it is. It may be done again: what is there is known, and not
    entered twice. Every 1,000 records are an entry in the audit log. Exit code 1 if items were passed over.

    \b
    Example:
      pii vault import dynamodb://piinguin
    """
    from datetime import UTC, datetime

    from pii_pipeline.vault.piinguin_import import import_piinguin
    from pii_pipeline.vault.policy import OPERATOR
    from pii_pipeline.vault.stores import DYNAMODB
    from pii_pipeline.vault.stores.piinguin import PiinguinTable

    if not table.startswith(DYNAMODB) or table == DYNAMODB:
        raise click.UsageError(
            "only Piinguin's table can be imported: write dynamodb://TABLE", click.get_current_context()
        )
    records = PiinguinTable(table.removeprefix(DYNAMODB))
    with installation() as opened, Counting("records") as shown:
        today = datetime.now(UTC).date()
        done = import_piinguin(
            opened.vault, OPERATOR, records, today, lambda count: shown("import", count, 0)
        )
    malformed = records.malformed + done.unfit
    if as_json:
        print_json({"imported": done.new, "known": done.known, "malformed": malformed})
    else:
        click.echo(f"{plural(done.new, 'record')} imported, {done.known:,} known already")
    if malformed:
        click.echo(
            f"pii: {plural(malformed, 'item')} passed over: no original in it, or one that is too long",
            err=True,
        )
        click.get_current_context().exit(1)


command.add_command(vault_audit.command, "audit")
command.add_command(vault_policy.policy)
command.add_command(vault_policy.token)


@command.command()
@json_option
def status(as_json: bool) -> None:
    """Show how much the vault of this installation holds, and how far its audit log is anchored.

    In DynamoDB the number of records may be hours behind.

    \b
    Example:
      pii vault status
    """
    with installation() as opened:
        store = opened.vault_store
        records, last, anchored = store.records(), store.last_entry(), store.anchored()
    entries = last.sequence if last else 0
    number, at = anchored if anchored else (0, None)
    if as_json:
        anchor: dict[str, Any] | None = at and {"number": number, "at": at.isoformat(timespec="seconds")}
        print_json({"records": records, "audit_entries": entries, "last_anchor": anchor})
        return
    out = console()
    out.print(f"{plural(records, 'record')}")
    out.print(f"{plural(entries, 'entry', 'entries')} in the audit log")
    said = f"{at:%Y-%m-%d %H:%M:%S} UTC, of entry {number:,}" if at else "none yet"
    out.print(f"last anchor: {said}")


@command.command()
@click.option("--reflection", is_flag=True, help="Tell callers the services and their messages.")
def serve(reflection: bool) -> None:
    """Serve it over gRPC until SIGTERM or Ctrl-C.

    Piinguin's protocol and pii.vault.v1 on one port, with health checking. It listens on this machine alone,
    unless PII_VAULT_HOST says otherwise: then it needs TLS (PII_VAULT_TLS_CERTIFICATE, PII_VAULT_TLS_KEY),
    and each caller a token or, with PII_VAULT_TLS_CLIENT_CA, a certificate. A token for the principal
    `operator` is made on the first start, in PII_VAULT_TOKEN_FILE (var/keys/vault-token). unix:///PATH as
    PII_VAULT_HOST is a socket that this user alone can reach.

    \b
    Example:
      pii vault serve
      PII_VAULT_PORT=9090 pii vault serve --reflection
    """
    from dataclasses import replace

    from pii_pipeline.pipeline.vault import keys_at_hand
    from pii_pipeline.vault.policy import OPERATOR, token_sha256
    from pii_pipeline.vault_service.first_token import first_token
    from pii_pipeline.vault_service.listening import Listen
    from pii_pipeline.vault_service.logs import log_to_stderr
    from pii_pipeline.vault_service.server import serve as serve_until_told

    with installation() as opened:
        settings = opened.settings
        listen = Listen(settings.vault_host, settings.vault_port, settings.vault_tls)
        say_broken(opened.streams)

        def tick() -> None:
            opened.renew_keys()
            with keys_at_hand():
                opened.vault_audit.tick()

        def vault() -> Vault:
            with keys_at_hand():
                return opened.vault

        tokens = {OPERATOR: token_sha256(first_token(settings.vault_token_file))}
        backend = replace(backend_of(opened, tokens, tick), vault=vault)
        _ = opened.vault  # what is wrong with it is told now
        log_to_stderr()

        def say(address: str) -> None:
            click.echo(f"The vault serves at {address} ({_protection(listen)}).")
            click.echo(f"The token of {OPERATOR} is in {settings.vault_token_file}.")

        serve_until_told(backend, listen, reflection, say)


def _protection(listen: Listen) -> str:
    if listen.tls is None:
        return f"this {'user' if listen.is_socket else 'machine'} alone, no TLS"
    return "mutual TLS" if listen.tls.client_ca else "TLS"
