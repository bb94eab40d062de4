"""What came and what was made of it, per stream and hour, for people and for programs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pii_pipeline.cli.common import plural, size_text
from pii_pipeline.contracts.errors import Problem
from pii_pipeline.lake import ObjectInfo
from pii_pipeline.ledger import (
    PSEUDONYMIZED_EVENTS,
    RELAYED_ORIGINALS,
    VALIDATED_EVENTS,
    VAULT_RECORDS,
    WITHOUT_ORIGINALS,
    HourStatus,
    table_layer,
)
from pii_pipeline.pipeline.arrivals import layers_of
from pii_pipeline.pipeline.installation import Installation, zone_of
from pii_pipeline.streams.model import Stream

if TYPE_CHECKING:
    from rich.console import Console

_READABLE = ("bad_events", PSEUDONYMIZED_EVENTS)


@dataclass
class HourReport:
    """One stream and hour as the ledger knows it.

    `vault`: whether the stream keeps originals; `relay`: whether it is relayed. `derived`: its derived
    datasets, `tables`: the layers of its warehouse tables, by their names.
    `files`: uris of the committed files by dataset. `problems`: what failed, what breaks conservation, and
    what is not made yet. `outcome`: what a run that just ended did, None if there was none.
    """

    status: HourStatus
    vault: bool
    relay: bool
    derived: tuple[str, ...]
    tables: Mapping[str, str]
    files: dict[str, list[str]]
    problems: list[str] = field(default_factory=list)
    outcome: str | None = None

    def count(self, layer: str, name: str) -> int | None:
        """A count of a layer; None while the layer has no commit."""
        known = self.status.layers.get(layer)
        value = known.counts.get(name, 0) if known else None
        return value if isinstance(value, int) else None

    @property
    def bad_by_reason(self) -> dict[str, int]:
        """Bad records by failure type, the most frequent first."""
        known = self.status.layers.get(VALIDATED_EVENTS)
        reasons = known.counts.get("bad_by_reason", {}) if known else {}
        found = dict(reasons) if isinstance(reasons, Mapping) else {}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @property
    def in_vault(self) -> dict[str, int | None] | None:
        """The counts of originals; None in a stream that keeps none. Only where events came into the lake
        before originals were kept, and cannot be made again, there is a count of those."""
        if not self.vault:
            return None
        found = {name: self.count(VAULT_RECORDS, name) for name in ("new", "known", "forgotten")}
        without = self.count(VAULT_RECORDS, WITHOUT_ORIGINALS)
        return found | {WITHOUT_ORIGINALS: without} if without else found

    @property
    def relayed(self) -> dict[str, int | None] | None:
        """The counts of what is relayed; None in a stream that is not."""
        if not self.relay:
            return None
        return {name: self.count(RELAYED_ORIGINALS, name) for name in ("relayed", "other", "new", "known")}

    @property
    def seconds(self) -> float:
        """How long the committed work took, all layers together."""
        return sum(layer.seconds for layer in self.status.layers.values())

    @property
    def records_per_second(self) -> float | None:
        """Records of the hour by those seconds."""
        records = self.count(VALIDATED_EVENTS, "records")
        return records / self.seconds if records and self.seconds else None

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        rate = self.records_per_second
        validated, lake = VALIDATED_EVENTS, PSEUDONYMIZED_EVENTS
        report: dict[str, Any] = {
            "stream": self.status.stream,
            "hour": self.status.hour,
            "objects": self.status.objects,
            "bytes": self.status.bytes,
            "records": self.count(validated, "records"),
            "validated": self.count(validated, "validated"),
            "bad": self.count(validated, "bad"),
            "bad_by_reason": self.bad_by_reason,
            "duplicates": self.count(validated, "duplicate"),
            "pseudonymized": self.count(lake, "pseudonymized"),
            "erased": self.count(lake, "erased"),
            "expired": self.count(lake, "expired"),
            "vault": self.in_vault,
            "relayed": self.relayed,
            "derived": {
                name: {part: self.count(name, part) for part in ("admitted", "withheld")}
                for name in self.derived
            },
            "tables": {name: {"loaded": self.count(layer, "loaded")} for name, layer in self.tables.items()},
            "seconds": round(self.seconds, 3),
            "records_per_second": None if rate is None else round(rate, 1),
            "files": self.files,
            "problems": self.problems,
        }
        return report if self.outcome is None else report | {"outcome": self.outcome}


class Waiting:
    """The landing objects of a stream that no run has looked at; not by name, which may say anything."""

    def __init__(self, stream: str, waiting: Sequence[ObjectInfo]) -> None:
        self.stream = stream
        self.objects = len(waiting)
        self._bytes = sum(info.size for info in waiting)

    @property
    def problem(self) -> str:
        """That they wait, and for what."""
        wait = "waits" if self.objects == 1 else "wait"
        return f"{plural(self.objects, 'object')} in landing {wait} for `pii run`"

    def as_json(self) -> dict[str, Any]:
        """As the report of an hour that is none."""
        return _of_no_hour(HourStatus(self.stream, "", self.objects, 0, self._bytes, 0), [self.problem])


def broken_as_json(stream: str, problems: Sequence[Problem]) -> dict[str, Any]:
    """What is wrong with the files of a stream, as the report of an hour that is none."""
    return _of_no_hour(HourStatus(stream, "", 0, 0, 0, 0), list(map(str, problems)))


def _of_no_hour(status: HourStatus, problems: list[str]) -> dict[str, Any]:
    return HourReport(status, False, False, (), {}, {}, problems).as_json() | {"hour": None}


def hour_reports(
    installation: Installation, streams: Sequence[Stream], hours: Collection[str] | None = None
) -> list[HourReport]:
    """A report for each hour that the ledger knows of the streams, or for those of `hours`."""
    reports = []
    for stream in streams:
        only = next(iter(hours)) if hours is not None and len(hours) == 1 else None
        known = installation.ledger.status(stream.name, only)
        known = [status for status in known if hours is None or status.hour in hours]
        files = _files(installation, stream) if known else {}
        derived = tuple(stream.derived)
        tables = {name: table_layer(table.dataset, name) for name, table in stream.warehouse.items()}
        for status in known:
            mine = {name: found.get(status.hour, []) for name, found in files.items()}
            reports.append(
                HourReport(
                    status,
                    stream.reversible,
                    stream.relay is not None,
                    derived,
                    tables,
                    mine,
                    _problems(status, layers_of(stream)),
                )
            )
    return reports


def _files(installation: Installation, stream: Stream) -> dict[str, dict[str, list[str]]]:
    """Uris of the committed files by dataset and hour."""
    committed = installation.ledger.files_of_stream(stream.name)
    found: dict[str, dict[str, list[str]]] = {}
    for dataset in (VALIDATED_EVENTS, *_READABLE, *stream.derived):
        zone = installation.settings.zones[zone_of(dataset)]
        hours = committed.get(dataset, {})
        found[dataset] = {hour: [f"{zone}/{path}" for path in paths] for hour, paths in hours.items()}
    return found


def _problems(status: HourStatus, layers: Iterable[str]) -> list[str]:
    problems = status.violations()
    if status.unsealed:
        problems.append(f"{plural(status.unsealed, 'object')} not sealed yet")
    for layer in layers:
        if pending := status.pending(layer):
            name = layer.rpartition("/")[2]
            problems.append(f"{name}: {pending} of {plural(status.batches, 'batch', 'batches')} not made")
    return problems


def print_reports(out: Console, installation: Installation, reports: Sequence[HourReport]) -> None:
    """The table, what is wrong, and where the files are."""
    from rich.box import HORIZONTALS
    from rich.table import Table

    # 20,000 records an hour fit into 80 columns.
    table = Table(show_lines=True, box=HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0))
    for title in ("Stream and hour", "Records", "Bad, by reason", "Datasets, tables"):
        table.add_column(title, overflow="fold")
    for report in reports:
        table.add_row(_place_and_speed(report), _records(report), _bad(report), _derived(report))
    out.print(table)
    for report in reports:
        for problem in report.problems:
            out.print(f"{report.status.stream} {report.status.hour}: {problem}", markup=False, style="red")
    _print_places(out, installation, reports)


def _place_and_speed(report: HourReport) -> str:
    status = report.status
    rate = report.records_per_second
    lines = [
        f"[bold]{status.stream}[/bold]",
        status.hour,
        plural(status.objects, "object"),
        size_text(status.bytes),
        f"{report.seconds:.1f} s",
    ]
    return "\n".join([*lines, f"{rate:,.0f} records/s"] if rate else lines)


def _records(report: HourReport) -> str:
    validated, lake = VALIDATED_EVENTS, PSEUDONYMIZED_EVENTS
    records, duplicates = report.count(validated, "records"), report.count(validated, "duplicate")
    lines = [
        (records, "record" if records == 1 else "records"),
        (report.count(validated, "validated"), "validated"),
        (duplicates, "duplicate" if duplicates == 1 else "duplicates"),
        (report.count(lake, "pseudonymized"), "pseudonymized"),
    ]
    return _lines(
        lines + [(number, name) for name in ("erased", "expired") if (number := report.count(lake, name))]
    )


def _bad(report: HourReport) -> str:
    reasons = [(number, reason) for reason, number in report.bad_by_reason.items()]
    return _lines([(report.count(VALIDATED_EVENTS, "bad"), "bad:" if reasons else "bad"), *reasons])


def _derived(report: HourReport) -> str:
    counts = {name: [(name, part) for part in ("admitted", "withheld")] for name in report.derived}
    counts |= {name: [(layer, "loaded")] for name, layer in report.tables.items()}
    vault = [
        (number, name.replace("_", " "))
        for name, number in (report.in_vault or {}).items()
        if number != 0 or name in ("new", "known")
    ]
    texts = {VAULT_RECORDS: vault} if vault else {}
    if report.relayed:
        texts[RELAYED_ORIGINALS] = [(number, name) for name, number in report.relayed.items()]
    texts |= {
        name: [(report.count(layer, part), part) for layer, part in of_name]
        for name, of_name in counts.items()
    }
    return "\n".join(f"{name}:\n{_lines(numbers)}" for name, numbers in texts.items())


def _lines(numbers: Sequence[tuple[int | None, str]]) -> str:
    """One number and its name per line, numbers below one another; - for what is not known yet."""
    texts = [("-" if number is None else f"{number:,}", name) for number, name in numbers]
    width = max(len(number) for number, _ in texts)
    return "\n".join(f"{number:>{width}} {name}" for number, name in texts)


def _print_places(out: Console, installation: Installation, reports: Sequence[HourReport]) -> None:
    """The folders of the datasets that have files."""
    places: dict[str, None] = {}
    for report in reports:
        for dataset, files in report.files.items():
            if files:
                zone = installation.settings.zones[zone_of(dataset)]
                places[f"{zone}/{report.status.stream}/{dataset}/"] = None
    if any(report.tables for report in reports):
        out.print(f"Tables: {installation.warehouse.place}", markup=False, soft_wrap=True)
    if places:
        out.print("Files:")
        for place in places:
            note = (
                "  (personal data; the files are encrypted)"
                if place.endswith(f"/{VALIDATED_EVENTS}/")
                else ""
            )
            out.print(f"  {place}{note}", markup=False, soft_wrap=True)
