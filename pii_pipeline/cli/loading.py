"""What the commands about contracts share: the streams, and what is wrong with files as JSON."""

from __future__ import annotations

from typing import Any

from pii_pipeline.contracts.errors import Caution, Problem
from pii_pipeline.settings import read_settings
from pii_pipeline.streams.loader import Streams, load_streams


def known_streams() -> Streams:
    """The streams that the settings name."""
    return load_streams(read_settings().streams)


def error_entry(problem: Problem) -> dict[str, Any]:
    return _entry(problem, problem.problem) | {"mend": problem.mend}


def warning_entry(caution: Caution) -> dict[str, Any]:
    return _entry(caution, caution.message)


def _entry(item: Problem | Caution, message: str) -> dict[str, Any]:
    return {"file": str(item.file), "line": item.line, "field": item.field, "message": message}
