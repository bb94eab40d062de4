"""What is wrong, or risky, in a file of configuration: always with its file, line and field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a file cannot be used, and the mend. `field` is "" where the whole file is meant."""

    file: Path
    line: int
    field: str
    problem: str
    mend: str

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        return f"{self.file}:{self.line}: {field}{self.problem} — {self.mend}"


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that loads, but that somebody should look at."""

    file: Path
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        return f"{self.file}:{self.line}: {field}{self.message}"


class ConfigurationError(Exception):
    """Files of configuration that cannot be used: every problem found, in the order of files and lines.

    Its text quotes the configuration, which is never personal data.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(tuple(problems))

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.args[0]

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))
