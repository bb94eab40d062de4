"""Pages of docs/ that are followed to the letter: their files written, their commands run, what they show
compared with what comes.

| in the page | is |
| --- | --- |
| a line with a file's name in backticks and a colon, then a block | a file to write |
| the same and a ``diff`` block | lines of that file to replace |
| a ``console`` block | commands behind ``$``, going on behind ``>``, each with what it prints |
| ``console fails`` | commands whose exit code is not 0 |
| a ``python`` block | a script; what it prints is the ``text`` block right behind it |

Where nothing is shown, nothing is compared. ``…`` stands for anything within a line, and alone on a line for
lines. Widths, durations and rates may differ; pseudonyms, ciphertexts and other keyed or random values too,
but two that are equal in the page have to be equal, and two that differ to differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from pii_pipeline_tests.documentation.markdown import Block, blocks
from pii_pipeline_tests.documentation.project import Project

_ON_THE_PATH = 'export PATH="$PWD/.venv/bin:$PATH"'
_SAMPLED = "make run EVENTS=5000"
FOLLOWED: dict[str, tuple[str, ...]] = {
    "getting-started.md": (),
    "adding-a-stream.md": (_ON_THE_PATH,),
    "bad-events.md": (_ON_THE_PATH, _SAMPLED),
    "contract.md": (_ON_THE_PATH,),
    "how-a-field-travels.md": (_ON_THE_PATH,),
    "querying.md": (_ON_THE_PATH, _SAMPLED),
    "vault.md": (_ON_THE_PATH, _SAMPLED),
    "warehouse.md": (_SAMPLED,),
}
"""The pages that are followed, and what their reader has done before."""

_COMMAND = re.compile(r"^\$ (.*\n(?:> .*\n)*)", re.MULTILINE)
_OPTIONAL = {"pyspark"}
"""Packages whose scripts are run where they are installed."""

_SPEED = re.compile(r"\b[\d.,]+ (?=s\b|records/s)")
_RULES = re.compile(r"([─━═])\1+")
# UUIDs, hex digits, Tink's ciphertexts in base64.
_KEYED = re.compile(
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{12,}\b|\bA[Q-Za-f][A-Za-z0-9+/]{14,}={0,2}"
)


@dataclass(frozen=True)
class Shown:
    """Something a page shows and what really comes: `start` and `end` say where it stands in the page."""

    command: str
    shown: str
    printed: str
    start: int
    end: int


def follow(text: str, project: Project) -> Iterator[Shown]:
    """Does what the page says, step by step."""
    steps = list(blocks(text))
    for number, block in enumerate(steps):
        if block.language == "diff":
            project.change(block.file, block.text)
        elif block.file:
            project.write(block.file, block.text)
        elif block.language.startswith("console"):
            yield from _console(block, project)
        elif block.language == "python" and not _lacking(block.text):
            printed, code = project.script(block.text)
            assert code == 0, f"line {block.line}: exit code {code}\n{printed}"
            after = steps[number + 1] if number + 1 < len(steps) else None
            if after and re.fullmatch(r"```\n+```text\n", text[block.end : after.start]):
                yield Shown(f"line {block.line}", after.text, printed, after.start, after.end)


def commands(block: Block) -> Iterator[tuple[str, re.Match[str]]]:
    """The commands of a console block, and where each stands in its text."""
    for found in _COMMAND.finditer(block.text):
        yield found[1].rstrip("\n").replace("\n> ", "\n"), found


def _console(block: Block, project: Project) -> Iterator[Shown]:
    found = list(commands(block))
    starts = [match.start() for _, match in found]
    for (command, match), end in zip(found, [*starts[1:], len(block.text)], strict=True):
        printed, code = project.run(command)
        fails = block.language == "console fails"
        assert (code != 0) == fails, f"line {block.line}: exit code {code}: {command}\n{printed}"
        shown = block.text[match.end() : end]
        if shown:
            yield Shown(command, shown, printed, block.start + match.end(), block.start + end)


def _lacking(code: str) -> bool:
    """Whether the script needs an optional package that is not installed."""
    return any(name in code and find_spec(name) is None for name in _OPTIONAL)


class Comparison:
    """Compares what a page shows with what came, from the first to the last, since values come again."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self._printed: dict[str, str] = {}

    def same(self, shown: Shown) -> bool:
        """Whether what came is what the page shows."""
        pattern = "".join(_pattern(_normal(line, self._shown)) for line in shown.shown.splitlines())
        printed = "".join(_normal(line, self._printed) + "\n" for line in shown.printed.splitlines())
        return re.fullmatch(pattern, printed) is not None


def renewed(text: str, shown: list[Shown]) -> str:
    """The page with what came where it shows something else; all keyed values, if not of one run."""
    wrong = [item for item in shown if not Comparison().same(item)]
    kept = [item for item in shown if item not in wrong]
    comparison = Comparison()
    if not all(comparison.same(item) for item in kept) or any(map(_keyed, wrong)):
        wrong += filter(_keyed, kept)
    for item in sorted(wrong, key=lambda item: item.start, reverse=True):
        printed = "".join(f"{line.rstrip()}\n" for line in item.printed.splitlines())
        text = text[: item.start] + printed + text[item.end :]
    return text


def _keyed(item: Shown) -> bool:
    return _KEYED.search(item.printed) is not None


def _normal(line: str, known: dict[str, str]) -> str:
    """A line without what may differ; `known`: keyed values by number, in the order in which they came."""
    line = _KEYED.sub(lambda found: known.setdefault(found[0], f"«{len(known)}»"), line)
    line = _SPEED.sub("# ", line)
    return " ".join(_RULES.sub(r"\1", line).split())


def _pattern(line: str) -> str:
    if line == "…":
        return r"(?:.*\n)*"
    return ".*".join(re.escape(part) for part in line.split("…")) + r"\n"
