"""The command line, ``pii …``: one module per command, imported when it is called."""

from pii_pipeline.cli.group import cli, main

__all__ = ["cli", "main"]
