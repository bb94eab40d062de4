"""The group of commands. Only the one that is called gets imported, so that all of them start fast."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from pii_pipeline.cli.errors import as_failures
from pii_pipeline.cli.starting import starting
from pii_pipeline.process import ENVIRONMENT

COMMANDS = {
    "land": "Put files of events where the pipeline finds them.",
    "drain": "Land the messages of a stream's queue.",
    "run": "Process what has landed.",
    "status": "Show what came and what was made of it.",
    "retain": "Delete landing objects and validated events that are older than their stream keeps them.",
    "query": "Ask the lake in SQL.",
    "files": "Name the committed files of a dataset, for other tools.",
    "compact": "Put small files of hours that are over together.",
    "sample": "Generate invented events for a stream.",
    "contract": "Check, list and show the streams' contracts; import and export them.",
    "init": "Start a new stream.",
    "keys": "Show how old keys are; bring them under another key-encryption key.",
    "vault": "Tell originals by pseudonym, to whom the policy allows it; all of it is on record.",
    "db": "Bring the databases' tables up to date; show where the zones are.",
}


class Commands(click.Group):
    """The modules of this package as commands: `command` in module ``name``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        with starting():
            return import_module(f"pii_pipeline.cli.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with as_failures():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with as_failures():
            return super().invoke(ctx)


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command explains itself with an example: pii land --help",
)
@click.version_option(None, package_name="pii_pipeline", prog_name="pii")
def cli() -> None:
    """Events become a lake without personal data.

    Where things are is told by environment variables (PII_STORAGE_URI, PII_DATABASE_URL …); without any,
    everything is below var/ of the project.
    """


def main() -> None:
    """The entry point of ``pii``: whatever it writes is for its user alone."""
    os.umask(0o077)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        cli()
    except SystemExit as ended:
        code = ended.code or 0
        if isinstance(code, int) and _flushed():
            # Taking a million objects apart before they are gone anyway takes half a second. What has to be
            # closed was closed by its `with`.
            os._exit(code)
        raise


def _flushed() -> bool:
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):  # nobody reads it any more: Python's own way out says what there is to say
        return False
    return True
