"""What every Dagster step does alike: call the pipeline, and let nothing out that quotes data.

Dagster writes an exception with its text, its causes and its context into the event log and the compute
logs. Ours carry no values; those of pyarrow, DuckDB or a database driver do.
"""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import dagster as dg

from pii_pipeline.ledger import Counts

R = TypeVar("R")

FORCE_TAG = "pii/force"
"""Run tag: ``true`` makes everything again, same fingerprint or not."""

_PACKAGE = Path(__file__).parent
_MOST_FRAMES = 20


def forced(run_tags: Mapping[str, str]) -> bool:
    """Whether the run was asked to make everything again."""
    return run_tags.get(FORCE_TAG, "").lower() == "true"


def numbers(counts: Counts) -> dict[str, int]:
    """The counts that are plain numbers, which the UI plots."""
    return {name: value for name, value in counts.items() if isinstance(value, int)}


def reasons(counts: Counts) -> list[tuple[str, int]]:
    """Why records were bad and how many for each reason, the most frequent first."""
    found = counts.get("bad_by_reason", {})
    assert not isinstance(found, int)
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def share(part: int, whole: int) -> float:
    """`part` of `whole`, to six digits; 0 of nothing."""
    return round(part / whole, 6) if whole else 0.0


def guarded(work: Callable[[], R]) -> R:
    """What `work` returns.

    An exception becomes a `dagster.Failure` that says its type and where it happened, with its text only if
    it is one of ours.
    """
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - whatever it is, Dagster would print it
        failure = _failure(error)
    # Raised out here: inside the handler the original would hang on it as context.
    raise failure


def _failure(error: Exception) -> dg.Failure:
    frames = [
        f"{_short(frame.filename)}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[1:]
    ]
    where = frames[-1] if frames else "unknown place"
    ours = next((frame for frame in reversed(frames) if frame.startswith(_PACKAGE.name)), where)
    listed = "\n".join(f"- `{frame}`" for frame in frames[-_MOST_FRAMES:])
    return dg.Failure(
        description=f"{_said(error)} (at {ours})",
        metadata={"frames": dg.MetadataValue.md(listed)},
        allow_retries=False,
    )


def _said(error: Exception) -> str:
    kind = type(error)
    if kind.__module__.partition(".")[0] == _PACKAGE.name:
        return f"{kind.__name__}: {error}"
    if isinstance(error, OSError) and error.errno is not None:
        # The system's words for the number; the text itself names files.
        return f"{kind.__name__} {errno.errorcode.get(error.errno, error.errno)}: {os.strerror(error.errno)}"
    return f"{kind.__module__}.{kind.__qualname__}, its text left out because it may quote data"


def _short(filename: str) -> str:
    path = Path(filename)
    for root in (_PACKAGE.parent, *(parent for parent in path.parents if parent.name == "site-packages")):
        if path.is_relative_to(root):
            return str(path.relative_to(root))
    return path.name
