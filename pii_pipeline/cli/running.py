"""The work of ``pii run``: the main job in this process, hour by hour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from pii_pipeline.cli.common import console, installation, plural, print_json, streams_named
from pii_pipeline.cli.errors import Failure, failure_of
from pii_pipeline.cli.landed import Succeeded, landed_objects
from pii_pipeline.cli.progress import Display, HourProgress
from pii_pipeline.cli.report import hour_reports, print_reports
from pii_pipeline.cli.starting import starting
from pii_pipeline.keys.errors import KeysError
from pii_pipeline.pipeline.arrivals import enter, is_stray
from pii_pipeline.pipeline.contract_lock import ContractChanged
from pii_pipeline.pipeline.known_vault import AnotherVault, hold_to_vault, uses_vault
from pii_pipeline.pipeline.places import hold_to_places
from pii_pipeline.vault.errors import VaultError

if TYPE_CHECKING:
    from pii_pipeline.lake import ObjectInfo
    from pii_pipeline.pipeline.installation import Installation
    from pii_pipeline.pipeline.workers import Crew
    from pii_pipeline.runs import HourRun, Runner
    from pii_pipeline.streams.model import Stream

Work = dict[str, list[tuple["Stream", list["ObjectInfo"]]]]

_INTERRUPTED = "DagsterExecutionInterruptedError"
"""How Dagster reports Ctrl-C while a step is at work."""


@dataclass(frozen=True)
class Trouble:
    """One thing that failed: in which hour, or before any; where (``stream``, ``stream/dataset`` or several
    streams, ``one, other``), and why."""

    hour: str | None
    where: str
    reason: str

    @property
    def streams(self) -> list[str]:
        """The names of the streams that it is about."""
        return [place.partition("/")[0] for place in self.where.split(", ")]

    def __str__(self) -> str:
        where = self.where if self.hour is None else f"{self.hour} {self.where}"
        return f"{where}: {self.reason}"


def run(streams: Sequence[str], hour: str | None, force: bool, as_json: bool, crew: Crew) -> None:
    """Runs what the user asked for; `crew`: processes that are there for it already."""
    with installation() as opened:
        opened.processes.adopt(crew)
        hold_to_places(opened)
        chosen = streams_named(opened.streams, streams)
        refused = _without_salt(opened, chosen, named=bool(streams))
        for refuse in _refused, _without_vault:
            refused |= refuse(opened, [stream for stream in chosen if stream.name not in refused])
        work = _work(opened, [stream for stream in chosen if stream.name not in refused], hour)
        trouble, idle = _run(opened, work, force)
        trouble = [*(() if streams else _broken(opened)), *dict.fromkeys(refused.values()), *trouble]
        reports = hour_reports(opened, chosen, set(work))
        if as_json:
            failed = [{"hour": item.hour, "asset": item.where, "reason": item.reason} for item in trouble]
            print_json(
                {"hours": [report.as_json() for report in reports], "up_to_date": idle, "failed": failed}
            )
        elif reports:
            print_reports(console(), opened, reports)
    for item in trouble:
        click.echo(f"pii: {item}", err=True)
    if not as_json:
        click.echo(_summary(work, idle, trouble))
    if trouble:
        click.get_current_context().exit(1)


def _broken(opened: Installation) -> Iterator[Trouble]:
    """What is wrong with the files of streams that a run of all of them has to leave out."""
    for name, problems in opened.streams.broken.items():
        for problem in problems:
            yield Trouble(None, name, str(problem))


def _without_salt(opened: Installation, streams: Sequence[Stream], named: bool) -> dict[str, Trouble]:
    """Streams whose hashes lack their salt, by name, and why: a Failure where the user `named` them.

    Raises what is wrong with the key-encryption key or the pseudonym secret, which are everybody's.
    """
    missing = {}
    if streams:
        opened.secret  # noqa: B018 a wrong key file or secret is a wrong setting, not a failed step
    for stream in streams:
        try:
            opened.secret_version(stream)
        except KeysError as error:
            missing[stream.name] = Trouble(None, stream.name, str(error))
            if named:
                raise Failure(str(missing[stream.name]), failure_of(error).exit_code) from None
    return missing


def _refused(opened: Installation, streams: Sequence[Stream]) -> dict[str, Trouble]:
    """Streams of which nothing is run, by name, and why: once, and not again for every hour."""
    refused = {}
    for stream in streams:
        try:
            opened.hold_to_contracts(stream, using=False)
        except ContractChanged as changed:
            refused[stream.name] = Trouble(None, stream.name, str(changed))
    return refused


def _without_vault(opened: Installation, streams: Sequence[Stream]) -> dict[str, Trouble]:
    """The streams that are loaded into the vault, by name, where it is another one than before, and why. One
    that cannot be asked now stops nobody: the step that loads will say so."""
    using = [stream.name for stream in streams if uses_vault(stream)]
    if not using:
        return {}
    try:
        with suppress(VaultError):
            hold_to_vault(opened)
    except AnotherVault as another:
        return dict.fromkeys(using, Trouble(None, ", ".join(using), str(another)))
    return {}


def _work(opened: Installation, streams: Sequence[Stream], hour: str | None) -> Work:
    """The hours to look at, oldest first, and the streams that have something in each, with their objects."""
    work: Work = {}
    for stream in streams:
        landed = landed_objects(opened, stream)
        # Also hours whose objects have expired: a new dataset is made of what is in the lake.
        for known in {*landed, *opened.ledger.hours(stream.name)}:
            if hour is None or known == hour:
                objects = landed.get(known, [])
                enter(opened, stream, [info for info in objects if is_stray(info, stream.name)])
                work.setdefault(known, []).append((stream, objects))
    return dict(sorted(work.items()))


def _run(opened: Installation, work: Work, force: bool) -> tuple[list[Trouble], list[str]]:
    """What failed, and the hours in which there was nothing to do."""
    if not work:
        return [], []
    trouble: list[Trouble] = []
    idle: list[str] = []
    succeeded = Succeeded(opened)
    with Display(len(work)) as display, ExitStack() as stack:
        runner: Runner | None = None
        for hour, landed in work.items():
            counted = display.hour(hour)
            changed = [
                (stream, objects)
                for stream, objects in landed
                if force or not succeeded.covers(stream, hour, objects)
            ]
            found: list[Trouble] = []
            if changed:
                for stream, _ in changed:  # before anything is written that a kill would leave
                    succeeded.forget(stream, hour)
                if opened.worth_workers([item.size for _, objects in changed for item in objects]):
                    opened.processes.start()
                    if runner is None:
                        _begin(opened, changed, hour, force)
                runner = runner or stack.enter_context(_runner(opened))
                names = [stream.name for stream, _ in changed]
                found = list(_run_hour(runner, names, hour, force, counted))
                for stream, _ in changed if not found else ():
                    succeeded.remember(stream, hour)
            trouble += found
            if not counted.records and not found:
                idle.append(hour)
            display.done()
    return trouble, idle


def _begin(
    opened: Installation, changed: list[tuple[Stream, list[ObjectInfo]]], hour: str, force: bool
) -> None:
    """Work for the worker processes while this one gets Dagster ready."""
    from pii_pipeline.pipeline.seal import begin_hour

    for stream, _ in changed:
        begin_hour(opened, stream, hour, force)


def _runner(opened: Installation) -> Runner:
    with starting():
        from pii_pipeline.runs import Runner  # Dagster: takes most of a second to import
    return Runner(opened)


def _run_hour(
    runner: Runner, names: list[str], hour: str, force: bool, counted: HourProgress
) -> Iterator[Trouble]:
    """What failed in the hour. Raises `click.Abort` if that is because the user interrupted it."""
    from pii_pipeline.runs import CannotRun

    try:
        run = runner.run_hour(names, hour, force, counted)
    except CannotRun as refused:  # an object lies in a folder of no hour that can be: the others go on
        yield Trouble(hour, ", ".join(names), str(refused))
    else:
        yield from _trouble(run, names)


def _trouble(run: HourRun, names: list[str]) -> Iterator[Trouble]:
    """What failed in a run. Raises `click.Abort` if that is because the user interrupted it."""
    if any(step.reason == _INTERRUPTED for step in run.failed_steps):
        raise click.Abort()
    for check in run.failed_checks:
        yield Trouble(run.hour, check.asset, f"check {check.check} failed: {check.reason}")
    for step in run.failed_steps:
        yield Trouble(run.hour, step.step.replace("__", "/", 1), step.reason)
    if not run.success and not run.failed_checks and not run.failed_steps:
        yield Trouble(run.hour, ", ".join(names), "the run failed")


def _summary(work: Work, idle: list[str], trouble: list[Trouble]) -> str:
    if not work and not trouble:
        return "Nothing has landed there. See `pii land --help` and `pii sample --help`."
    parts = [plural(len(work), "hour"), f"{len(idle):,} of them up to date already"]
    failed = {name for item in trouble for name in item.streams}
    return ", ".join([*parts, f"{plural(len(failed), 'stream')} failed"] if trouble else parts)
