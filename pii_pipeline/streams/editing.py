"""A few words of a YAML file changed by program: all else in it, comments too, stays as it was written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from pii_pipeline.contracts.errors import ConfigurationError, Problem

_BY_HAND = "edit it by hand"


def with_values(file: Path, values: Mapping[str, str]) -> str:
    """The file's text with these words at its top-level keys, where it has other words now.

    Raises ConfigurationError where a key is not there, or has no word.
    """
    text, root = _read(file)
    places: list[tuple[int, int, str]] = []
    for key, value in values.items():
        node = _at(root, key)
        if not isinstance(node, yaml.ScalarNode):
            raise ConfigurationError([Problem(file, 1, key, "there is no word to be replaced", _BY_HAND)])
        places.append((node.start_mark.index, node.end_mark.index, value))
    for start, end, value in sorted(places, reverse=True):
        text = text[:start] + value + text[end:]
    return text


def with_element(file: Path, key: str, element: str, implied: str) -> str:
    """The file's text with one more element in the list at a top-level key; `implied`: what the list has
    where the file does not say."""
    text, root = _read(file)
    node = _at(root, key)
    if node is None:
        separator = "" if text.endswith("\n") else "\n"
        return f"{text}{separator}{key}: [{implied}, {element}]\n"
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise ConfigurationError([Problem(file, node.start_mark.line + 1, key, "not a list", _BY_HAND)])
    last = node.value[-1]
    end = last.end_mark.index
    if node.flow_style:
        return f"{text[:end]}, {element}{text[end:]}"
    line_end = text.find("\n", end) % (len(text) + 1)  # behind a comment, too
    indent = " " * node.start_mark.column
    return f"{text[:line_end]}\n{indent}- {element}{text[line_end:]}"


def _read(file: Path) -> tuple[str, yaml.Node | None]:
    # Not the parser in C: its marks do not count characters in all releases.
    text = file.read_bytes().decode("utf-8-sig")
    return text, yaml.compose(text, yaml.SafeLoader)


def _at(root: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)
