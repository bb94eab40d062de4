"""The main job run in this process, against Dagster's instance, so that the UI knows of it too."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from pii_pipeline.database import make_private_directories
from pii_pipeline.definitions import build
from pii_pipeline.jobs import PROCESS_EVENTS
from pii_pipeline.partitions import HOURS, partition_of_hour
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.landing import FIRST_HOUR
from pii_pipeline.pipeline.layer import Progress, silent
from pii_pipeline.settings import SettingError, Settings
from pii_pipeline.steps import FORCE_TAG

_CONFIG = "dagster.yaml"

# The CLI shows progress and outcome itself, on the terminal that capturing would take away; and capturing
# starts two `tail` processes per run. The event log has everything else.
_NO_CAPTURE = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class CannotRun(Exception):
    """What was asked for cannot be run at all: no such stream or hour."""


@dataclass(frozen=True)
class FailedCheck:
    """A check that failed: `asset` as ``stream/dataset``, and why; never a value from the data."""

    asset: str
    check: str
    reason: str


@dataclass(frozen=True)
class FailedStep:
    """A step that failed for another reason than a failed check; `step` as ``stream__dataset``."""

    step: str
    reason: str


@dataclass(frozen=True)
class HourRun:
    """What came of a run. `not_made`: the assets (``stream/dataset``) that were asked for and not made."""

    run_id: str
    hour: str
    success: bool
    failed_checks: tuple[FailedCheck, ...]
    failed_steps: tuple[FailedStep, ...]
    not_made: tuple[str, ...]


def run_hour(
    installation: Installation,
    streams: Sequence[str] | None,
    hour: str,
    force: bool = False,
    progress: Progress = silent,
) -> HourRun:
    """Runs `process_events` for `hour` ("2026-11-22T10") and these streams (None: all of them).

    Writes nothing to the console. Raises `CannotRun`, `ConfigurationError` and `SettingError`; whatever fails
    in a step is in the result.
    """
    partition = _partition(hour)
    definitions = build(installation, progress)
    unknown = sorted(set(streams or ()) - set(installation.streams))
    if unknown:
        raise CannotRun(f"no such stream: {', '.join(unknown)}")
    job = definitions.resolve_job_def(PROCESS_EVENTS)
    keys = [key for key in job.asset_layer.executable_asset_keys if streams is None or key.path[0] in streams]
    home = prepare_dagster_home(installation.settings)
    with _private_files(), _instance(home) as instance:
        result = job.execute_in_process(
            instance=instance,
            partition_key=partition,
            asset_selection=None if streams is None else keys,
            tags={FORCE_TAG: "true"} if force else None,
            run_config=_QUIET,
            raise_on_error=False,
        )
    return _summary(result, hour, keys)


def _instance(home: Path) -> dg.DagsterInstance:
    """The instance in `home`. One process after the other: Dagster's SQLite storages make their tables when
    they are first opened, and of two that do so at once one fails."""
    with (home / ".opening").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        instance = dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=_NO_CAPTURE))
        _ = instance.run_storage, instance.event_log_storage, instance.schedule_storage
        return instance


def prepare_dagster_home(settings: Settings) -> Path:
    """DAGSTER_HOME, made with mode 0700 where it is missing, with the project's ``dagster.yaml`` in it.

    In the default place the copy follows the project's file; elsewhere a file that is there is somebody's own
    and stays. Raises `SettingError` if there is none to copy.
    """
    home = settings.dagster_home.absolute()
    make_private_directories(home)
    source, copy = settings.project / _CONFIG, home / _CONFIG
    ours = home == (settings.project / "var" / "dagster").absolute()
    if copy.exists() and not ours:
        return home
    if not source.exists():
        raise SettingError("DAGSTER_HOME", f"no {_CONFIG} in {home}", f"copy the project's {_CONFIG} there")
    wanted = source.read_bytes()
    if not copy.exists() or copy.read_bytes() != wanted:
        # Renamed into place: another run may be reading it.
        with tempfile.NamedTemporaryFile(dir=home, prefix=f".{_CONFIG}", delete=False) as file:
            file.write(wanted)
        Path(file.name).replace(copy)
    return home


def _partition(hour: str) -> str:
    try:
        partition = partition_of_hour(hour)
        known = HOURS.has_partition_key(partition)
    except ValueError:
        raise CannotRun("an hour is written YYYY-MM-DDTHH, in UTC: 2026-11-22T10") from None
    if not known:
        raise CannotRun(f"{hour} cannot be run: hours go from {FIRST_HOUR} to the one that is open now (UTC)")
    return partition


@contextmanager
def _private_files() -> Iterator[None]:
    """Dagster's own files are 0600 and its directories 0700."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _summary(result: dg.ExecuteInProcessResult, hour: str, asked: Sequence[dg.AssetKey]) -> HourRun:
    checks = [check for check in result.get_asset_check_evaluations() if not check.passed]
    blamed = {
        event.step_key
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        and not event.asset_check_evaluation_data.passed
    }
    steps = [
        FailedStep(event.step_key or "", _reason(event))
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.STEP_FAILURE and event.step_key not in blamed
    ]
    if not result.success and not steps and not checks:
        failures = [
            event for event in result.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE
        ]
        steps = [FailedStep(PROCESS_EVENTS, event.message or "the run failed") for event in failures]
    made = {event.asset_key for event in result.get_asset_materialization_events()}
    return HourRun(
        run_id=result.run_id,
        hour=hour,
        success=result.success,
        failed_checks=tuple(
            FailedCheck(check.asset_key.to_user_string(), check.check_name, check.description or "")
            for check in checks
        ),
        failed_steps=tuple(steps),
        not_made=tuple(sorted(key.to_user_string() for key in asked if key not in made)),
    )


def _reason(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data is not None:
        return data.user_failure_data.description or ""
    return data.error.cls_name or "" if data.error else ""
