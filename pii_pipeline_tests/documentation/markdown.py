"""The little of Markdown that the tests of docs/ need: headings, links and fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pii_pipeline.settings import project_root

ROOT = project_root()
DOCS = ROOT / "docs"

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FILE = re.compile(r"(?:^|\n)`([\w./-]+)`:\n\n\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block: its first word after the fence, its text, the line it begins on, and the file that the
    paragraph before it names (`` `streams/x/contract.yaml`: ``), "" if there is none.

    `start` and `end`: where `text` stands in the page.
    """

    language: str
    text: str
    line: int
    file: str
    start: int
    end: int


def read(page: Path) -> str:
    """The page's text."""
    return page.read_text("utf-8")


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    for found in _FENCE.finditer(text):
        named = _FILE.search(text[: found.start()])
        yield Block(
            found["info"].strip(),
            found["text"],
            text.count("\n", 0, found.start()) + 1,
            named[1] if named else "",
            found.start("text"),
            found.end("text"),
        )


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    """The targets of its links and images."""
    return _LINK.findall(prose(text))


def slug(heading: str) -> str:
    """The fragment that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def anchors(text: str) -> set[str]:
    """The fragments of a page's headings; one that comes again is numbered."""
    seen: dict[str, int] = {}
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE):
        name = slug(heading)
        number = seen[name] = seen.get(name, -1) + 1
        found.add(f"{name}-{number}" if number else name)
    return found
