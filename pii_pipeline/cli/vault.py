"""``pii vault``: originals by pseudonym, for who has a lawful basis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pii_pipeline.cli.common import installation, say_broken

if TYPE_CHECKING:
    from pii_pipeline.vault_service.listening import Listen


@click.group()
def command() -> None:
    """Serve the vault: originals by pseudonym, for who has a lawful basis.

    Who may do what says the policy, vault-policy.yaml of the project. Each look is on record.

    \b
    Example:
      pii vault serve
    """


@command.command()
@click.option("--reflection", is_flag=True, help="Tell callers the services and their messages.")
def serve(reflection: bool) -> None:
    """Serve it over gRPC until SIGTERM or Ctrl-C.

    Piinguin's protocol and pii.vault.v1 on one port, with health checking. It listens on this machine alone,
    unless PII_VAULT_HOST says otherwise: then it needs TLS (PII_VAULT_TLS_CERTIFICATE, PII_VAULT_TLS_KEY),
    and each caller a token or, with PII_VAULT_TLS_CLIENT_CA, a certificate. A token for the principal
    `operator` is made on the first start, in PII_VAULT_TOKEN_FILE (var/keys/vault-token).

    \b
    Example:
      pii vault serve
      PII_VAULT_PORT=9090 pii vault serve --reflection
    """
    from pii_pipeline.vault.policy import OPERATOR, token_sha256
    from pii_pipeline.vault_service.backend import Backend
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
            opened.vault_audit.tick()

        backend = Backend(
            vault=lambda: opened.vault,
            policy=opened.vault_policy,
            subjects=opened.vault_subjects,
            tokens={OPERATOR: token_sha256(first_token(settings.vault_token_file))},
            tick=tick,
        )
        backend.vault()
        log_to_stderr()

        def say(address: str) -> None:
            click.echo(f"The vault serves at {address} ({_protection(listen)}).")
            click.echo(f"The token of {OPERATOR} is in {settings.vault_token_file}.")

        serve_until_told(backend, listen, reflection, say)


def _protection(listen: Listen) -> str:
    if listen.tls is None:
        return "this machine alone, no TLS"
    return "mutual TLS" if listen.tls.client_ca else "TLS"
