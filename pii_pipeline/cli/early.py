"""Worker processes from the first moment on: they take as long to get ready as this process does."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from pii_pipeline.pipeline.workers import Crew, start_processes, stop, worth_workers
from pii_pipeline.settings import Settings, read_settings


def succeeded_file(settings: Settings, stream: str, hour: str) -> Path:
    """Is there after a run of the hour that succeeded, and tells what it was a run of."""
    return settings.dagster_home.absolute() / "succeeded" / stream / hour


@contextmanager
def early_workers(streams: Collection[str], hour: str | None, force: bool) -> Iterator[Crew]:
    """Worker processes, if it looks as if they were needed; `streams`: all of them if empty.

    A guess from names and sizes alone. Where it is wrong they are started later, or in vain.
    """
    settings = read_settings()
    crew = start_processes(settings.workers) if _much_is_new(settings, streams, hour, force) else {}
    try:
        yield crew
    finally:
        stop(crew)


def _much_is_new(settings: Settings, streams: Collection[str], hour: str | None, force: bool) -> bool:
    landing = Path(settings.zones["landing"].removeprefix("file://"))  # of s3://… nothing is found
    hours = "*/*/*/*" if hour is None else hour.replace("-", "/").replace("T", "/")
    try:
        return any(
            worth_workers(settings.workers, [file.stat().st_size for file in folder.iterdir()])
            for stream in landing.iterdir()
            if not streams or stream.name in streams
            for folder in stream.glob(hours)
            if force or not succeeded_file(settings, stream.name, _hour(folder)).exists()
        )
    except OSError:  # no such folder, for one; what is wrong there is said by whoever needs it
        return False


def _hour(folder: Path) -> str:
    year, month, day, hour = folder.parts[-4:]
    return f"{year}-{month}-{day}T{hour}"
