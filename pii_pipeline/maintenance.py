"""Jobs beside the main one: what has to be done to what is there, and not for what comes."""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from pii_pipeline.keys.ages import EPOCH_DAYS, KeyAge, key_ages
from pii_pipeline.pipeline.compaction import CompactedHour, compact_hours, hours_to_compact
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.retention import Retained
from pii_pipeline.pipeline.retention import apply_retention as retain
from pii_pipeline.steps import guarded

APPLY_RETENTION = "apply_retention"
COMPACT_FILES = "compact_files"
REPORT_KEY_AGES = "report_key_ages"

_AMOUNT = "number", "bytes"
_AGE = "keys", "destroyed", "oldest_days", "newest_days"


@dg.op(name="retain", description="Deletes what is older than its stream keeps it; the lake is not touched.")
def _retain(context: dg.OpExecutionContext, installation: dg.ResourceParam[Installation]) -> None:
    at = datetime.now(UTC)
    done: list[Retained] = []
    problems: list[str] = []
    for stream in installation.streams.values():
        try:
            done.append(guarded(lambda stream=stream: retain(installation, stream, at)))
        except dg.Failure as failure:  # no stream keeps for longer because another cannot be looked at
            problems.append(f"{stream.name}: {failure.description}")
    busy = sorted(f"{item.stream} {hour}" for item in done for hour in item.busy)
    context.add_output_metadata(
        {"deleted": _deleted(done), "kept": _kept(done), "busy": ", ".join(busy) or "no hour"}
    )
    if problems:
        raise dg.Failure("; ".join(problems), allow_retries=False)


def apply_retention() -> dg.JobDefinition:
    """Retention of all streams."""

    @dg.job(
        name=APPLY_RETENTION,
        description="Landing objects, validated events and event digests that are older than their stream "
        "keeps them are deleted, if all that is made of them is committed.",
    )
    def job() -> None:
        _retain()

    return job


def _deleted(done: Sequence[Retained]) -> dg.TableMetadataValue:
    return _table(
        [
            {"stream": item.stream, "dataset": dataset, "number": amount.number, "bytes": amount.bytes}
            for item in done
            for dataset, amount in sorted(item.deleted.items())
        ],
        ["stream", "dataset"],
    )


def _kept(done: Sequence[Retained]) -> dg.TableMetadataValue:
    """What would be old enough, and is not made to its end."""
    return _table(
        [
            {
                "stream": item.stream,
                "hour": hour,
                "dataset": dataset,
                "number": amount.number,
                "bytes": amount.bytes,
            }
            for item in done
            for (hour, dataset), amount in sorted(item.kept.items())
        ],
        ["stream", "hour", "dataset"],
    )


def _table(
    rows: Sequence[dict[str, str | int | None]], texts: Sequence[str], numbers: Sequence[str] = _AMOUNT
) -> dg.TableMetadataValue:
    columns = [dg.TableColumn(name, "string") for name in texts]
    columns += [dg.TableColumn(name, "int") for name in numbers]
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], dg.TableSchema(columns))


@dg.op(name="compact", description="Small files of hours that are over → few; readers read on.")
def _compact(context: dg.OpExecutionContext, installation: dg.ResourceParam[Installation]) -> None:
    def work() -> list[CompactedHour]:
        due = hours_to_compact(installation, list(installation.streams.values()))
        return list(compact_hours(installation, due))

    hours = guarded(work)
    context.add_output_metadata(
        {
            "hours": len(hours),
            "hours_busy": sum(hour.busy for hour in hours),
            "files_before": sum(hour.before for hour in hours),
            "files_after": sum(hour.after for hour in hours),
            "files_deleted": sum(hour.deleted for hour in hours),
            "bytes_before": sum(hour.bytes_before for hour in hours),
            "bytes_after": sum(hour.bytes_after for hour in hours),
        }
    )
    problems = [f"{hour.stream} {hour.hour}: {hour.problem}" for hour in hours if hour.problem]
    if problems:
        raise dg.Failure("; ".join(problems), allow_retries=False)


def compact_files() -> dg.JobDefinition:
    """Compacts the files of all streams."""

    @dg.job(
        name=COMPACT_FILES,
        description="Small files of every stream's hours that are over → few; readers read on.",
    )
    def job() -> None:
        _compact()

    return job


@dg.op(name="report", description="How many keys there are of each kind, and how old. Opens none of them.")
def _report(context: dg.OpExecutionContext, installation: dg.ResourceParam[Installation]) -> None:
    at = datetime.now(UTC)
    ages = guarded(lambda: key_ages(installation.engine))
    rows = [_age(age, at) for age in ages]
    overdue = [age for age in ages if age.overdue(at)]
    context.add_output_metadata(
        {
            "overdue": len(overdue),
            "key_ages": _table(rows, ["kind", "stream", "first", "last"], _AGE),
        }
    )
    for age in overdue:
        context.log.warning(f"the {age.kind} key is {age.oldest_days(at)} days old, of {EPOCH_DAYS} at most")


def _age(age: KeyAge, at: datetime) -> dict[str, str | int | None]:
    return {
        "kind": age.kind,
        "stream": age.stream or "",
        "first": age.first or "",
        "last": age.last or "",
        "keys": age.keys,
        "destroyed": age.destroyed,
        "oldest_days": age.oldest_days(at),
        "newest_days": age.newest_days(at),
    }


def report_key_ages() -> dg.JobDefinition:
    """The ages of all stored keys, as `pii keys` shows them."""

    @dg.job(
        name=REPORT_KEY_AGES,
        description="How old the keys of the key store are; each run's step shows the table.",
    )
    def job() -> None:
        _report()

    return job
