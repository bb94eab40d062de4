"""The main job run in this process, against Dagster's instance, so that the UI knows of it too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from pii_pipeline.database import private_files
from pii_pipeline.definitions import build
from pii_pipeline.jobs import PROCESS_EVENTS
from pii_pipeline.partitions import HOURS, partition_of_hour
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.landing import FIRST_HOUR
from pii_pipeline.pipeline.layer import Progress, silent
from pii_pipeline.pipeline.seal import sweep_hour
from pii_pipeline.runs.instance import answering, open_instance, prepare_dagster_home
from pii_pipeline.steps import FORCE_TAG

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


class Runner:
    """Runs hours of an installation, one after the other, with one set of definitions and one instance.

    Writes nothing to the console. When it is entered it raises `ConfigurationError`, `SettingError` and
    `InstanceUnavailable`.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._progress: Progress = silent

    def __enter__(self) -> Runner:
        self._job = build(self._installation, self._told).resolve_job_def(PROCESS_EVENTS)
        self._home = prepare_dagster_home(self._installation.settings)
        with private_files():
            self._instance = open_instance(self._home)
        return self

    def __exit__(self, *_: object) -> None:
        self._instance.dispose()

    def run_hour(
        self, streams: Sequence[str] | None, hour: str, force: bool = False, progress: Progress = silent
    ) -> HourRun:
        """Runs `process_events` for `hour` ("2026-11-22T10") and these streams (None: all of them).

        Raises `CannotRun`, and `InstanceUnavailable` if Dagster's storage fails; whatever fails in a step is
        in the result.
        """
        partition = _partition(hour)
        everything = self._job.asset_layer.executable_asset_keys
        unknown = sorted(set(streams or ()) - {key.path[0] for key in everything})
        if unknown:
            raise CannotRun(f"no such stream: {', '.join(unknown)}")
        keys = [key for key in everything if streams is None or key.path[0] in streams]
        self._progress = progress
        try:
            with private_files(), answering(self._home):
                result = self._job.execute_in_process(
                    instance=self._instance,
                    partition_key=partition,
                    asset_selection=None if streams is None else keys,
                    tags={FORCE_TAG: "true"} if force else None,
                    run_config=_QUIET,
                    raise_on_error=False,
                )
        finally:
            self._installation.forget_early_work()
        for name in sorted({key.path[0] for key in keys}.intersection(self._installation.streams)):
            sweep_hour(self._installation, self._installation.streams[name], hour)
        return _summary(result, hour, keys)

    def _told(self, layer: str, records: int, bytes: int) -> None:
        self._progress(layer, records, bytes)


def run_hour(
    installation: Installation,
    streams: Sequence[str] | None,
    hour: str,
    force: bool = False,
    progress: Progress = silent,
) -> HourRun:
    """One hour, with a `Runner` of its own."""
    with Runner(installation) as runner:
        return runner.run_hour(streams, hour, force, progress)


def _partition(hour: str) -> str:
    try:
        partition = partition_of_hour(hour)
        known = HOURS.has_partition_key(partition)
    except ValueError:
        raise CannotRun("an hour is written YYYY-MM-DDTHH, in UTC: 2026-11-22T10") from None
    if not known:
        raise CannotRun(f"{hour} cannot be run: hours go from {FIRST_HOUR} to the one that is open now (UTC)")
    return partition


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
