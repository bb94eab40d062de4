"""What the commands about contracts share: streams by their names, and what is wrong with files as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pii_pipeline.cli.common import unknown
from pii_pipeline.contracts.errors import Caution, Problem
from pii_pipeline.settings import read_settings
from pii_pipeline.streams.loader import STREAM_FILE, load_stream, load_streams
from pii_pipeline.streams.model import Stream


def load_named(names: Sequence[str]) -> list[Stream]:
    """All streams, or only those named: another one that is broken does not matter then."""
    folders = read_settings().streams
    if not names:
        return list(load_streams(folders).values())
    loaded = []
    for name in dict.fromkeys(names):
        found = [folder / name for folder in folders if (folder / name).is_dir()]
        if not found:
            known = [path.parent.name for folder in folders for path in folder.glob(f"*/{STREAM_FILE}")]
            raise unknown("stream", name, known)
        loaded.append(load_stream(found[0]))
    return loaded


def error_entry(problem: Problem) -> dict[str, Any]:
    return _entry(problem, problem.problem) | {"mend": problem.mend}


def warning_entry(caution: Caution) -> dict[str, Any]:
    return _entry(caution, caution.message)


def _entry(item: Problem | Caution, message: str) -> dict[str, Any]:
    return {"file": str(item.file), "line": item.line, "field": item.field, "message": message}
