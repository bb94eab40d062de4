"""What a run is doing, shown on a terminal while it does it."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pii_pipeline.cli.common import plural

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class HourProgress:
    """Counts what the layers report of one hour; call it as `pipeline.layer.Progress`."""

    def __init__(self, shown: Progress | None) -> None:
        self.records = 0
        self._shown = shown
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, layer: str, records: int, bytes: int) -> None:
        self.records += records
        if self._shown is None:
            return
        if layer not in self._tasks:
            self._tasks[layer] = self._shown.add_task(layer, total=None, unit="records")
        self._shown.advance(self._tasks[layer], records)


class _Shown:
    """Something on the terminal while the block lasts; nothing if standard error is no terminal."""

    def __init__(self) -> None:
        self._progress = _terminal() if sys.stderr is not None and sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()


class Display(_Shown):
    """Hours and layers."""

    def __init__(self, hours: int) -> None:
        super().__init__()
        if self._progress is not None:
            unit = f"of {plural(hours, 'hour')} done"
            self._hours = self._progress.add_task("", total=hours, unit=unit)

    def hour(self, hour: str) -> HourProgress:
        """The progress of the next hour; the one before it is done."""
        if self._progress is not None:
            for task in self._progress.task_ids:
                if task != self._hours:
                    self._progress.remove_task(task)
            self._progress.update(self._hours, description=hour)
        return HourProgress(self._progress)

    def done(self) -> None:
        """The hour is done."""
        if self._progress is not None:
            self._progress.advance(self._hours)


class Counting(_Shown):
    """Counts `what`; call it as `pipeline.layer.Progress`."""

    def __init__(self, what: str) -> None:
        super().__init__()
        if self._progress is not None:
            self._task = self._progress.add_task("", total=None, unit=what)

    def __call__(self, layer: str, records: int, bytes: int) -> None:
        if self._progress is not None:
            self._progress.advance(self._task, records)


def _terminal() -> Progress:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:>12,.0f} {task.fields[unit]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
