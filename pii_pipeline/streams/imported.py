"""Streams that importers made, as folders of files."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pii_pipeline.contracts.errors import Caution, ConfigurationError
from pii_pipeline.contracts.foreign import Imported, Note
from pii_pipeline.contracts.importers.snowplow import Stock
from pii_pipeline.contracts.loader import load_contract
from pii_pipeline.streams.loader import STREAM_FILE, load_stream
from pii_pipeline.streams.scaffold import STOCK, write_new

CONTRACT_FILE = "contract.yaml"
_WIDTH = 110


@dataclass(frozen=True, slots=True)
class Written:
    """A new stream's folder, its files, and what somebody should look at."""

    folder: Path
    files: tuple[Path, ...]
    warnings: tuple[Caution, ...]


def stock(name: str) -> Stock:
    """The stream `name` of those that come with the package."""
    folder = STOCK / name
    stream, contract = (
        yaml.safe_load((folder / file).read_text("utf-8")) for file in (STREAM_FILE, CONTRACT_FILE)
    )
    return Stock(stream, contract, (folder / contract["schema"]).read_text("utf-8"))


def write_stream(folder: Path, name: str, imported: Imported) -> Written:
    """Writes the stream `name` into a new folder below `folder`, and loads it.

    A stream whose contract is not active could not be loaded among the others: its folder is ``_name``, which
    is none. Raises ConfigurationError if there is such a folder, or if what was written does not load; then
    nothing is left of it.
    """
    active = imported.contract["state"] == "active"
    contents = {
        STREAM_FILE: yaml_text(imported.stream),
        CONTRACT_FILE: "".join(_comments(imported.notes)) + yaml_text(imported.contract),
        imported.contract["schema"]: imported.schema,
    }
    files = write_new(folder, name, contents, "" if active else "_")
    target = files[0].parent
    try:
        warnings = load_stream(target).warnings if active else load_contract(target / CONTRACT_FILE).warnings
    except ConfigurationError:
        shutil.rmtree(target)
        raise
    return Written(target, tuple(files), warnings)


def yaml_text(value: dict[str, Any]) -> str:
    """`value` as YAML: one line for each key, and for each inside where one line does not hold it."""
    return "".join(_lines(value, ""))


def _lines(value: dict[str, Any] | list[Any], indent: str) -> Iterator[str]:
    pairs = value.items() if isinstance(value, dict) else ((None, element) for element in value)
    for key, inner in pairs:
        start = f"{indent}- " if key is None else f"{indent}{_flow(key)}: "
        line = start + _flow(inner)
        block = len(line) > _WIDTH or (not indent and _depth(inner) > 1)
        if block and key is not None and _depth(inner):
            yield start.rstrip() + "\n"
            yield from _lines(inner, indent + "  ")
        else:
            yield line + "\n"


def _depth(value: Any) -> int:
    """How many collections lie within one another."""
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(
        (_depth(inner) for inner in (value.values() if isinstance(value, dict) else value)), default=0
    )


def _flow(value: Any) -> str:
    """`value` in YAML's flow style, on one line."""
    text = yaml.safe_dump([value], default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9)
    return text.strip()[1:-1]


def _comments(notes: Sequence[Note]) -> Iterator[str]:
    yield "# What the import had to say:\n"
    for note in notes:
        lines = textwrap.wrap(str(note), _WIDTH, initial_indent="# - ", subsequent_indent="#   ")
        yield from (f"{line}\n" for line in lines)
    yield "\n"
