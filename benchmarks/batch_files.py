"""The main job on Snowplow's enriched events (131 columns) and on CSV order lines, beside two floors.

    python -m benchmarks.batch_files snowplow retail --events 500000

floors     DuckDB `read_csv` and Polars `scan_csv`, all columns as text → zstd Parquet: reading and writing,
           no type, no check, no privacy work; each in a fresh process, like the job, its start included.
           Polars takes quotes for letters, since it refuses a file with a stray one
whole job  `pii run`: validation, quarantine, pseudonyms, encryption, self-describing JSON taken apart and
           treated leaf by leaf, leak gate, ledger, derived datasets, all of it on Dagster

Figures are ratios to a floor of the same run on the same machine; absolute times say little. The floors are
timed before and after every job, and the median of several rounds is told.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measuring import print_figures, seconds_of, whole_job
from pii_pipeline.formats import DelimitedText
from pii_pipeline.samples.generate import generate
from pii_pipeline.settings import project_root
from pii_pipeline.streams.loader import load_streams
from pii_pipeline.streams.model import Stream

END = datetime(2026, 11, 22, 10, 59, 59, tzinfo=UTC)
OBJECTS = 16


def write_objects(stream: Stream, events: int, seed: int, folder: Path) -> list[Path]:
    """The events in objects of equal numbers of records, uncompressed."""
    files = []
    for number in range(OBJECTS):
        files.append(folder / f"part-{number:02}.{'tsv' if stream.name == 'snowplow' else 'csv'}")
        with files[-1].open("wb") as out:
            out.writelines(
                generate(stream.contract, events // OBJECTS, seed + number, END, format=stream.format.form)
            )
    return files


def floors(stream: Stream, files: list[Path], folder: Path) -> dict[str, float]:
    """Seconds of each floor."""
    form = stream.format.form
    assert isinstance(form, DelimitedText)
    names = [str(file) for file in files]
    header = form.columns is None
    quote = '"' if form.quoted else ""
    duckdb_options = (
        f"delim={form.delimiter!r}, quote={quote!r}, escape={quote!r}, header={header}, all_varchar=true,"
        " ignore_errors=true, strict_mode=false, max_line_size=4194304"
        + ("" if header else f", columns={dict.fromkeys(form.columns or (), 'VARCHAR')!r}, auto_detect=false")
    )
    target = folder / "floor.parquet"
    return {
        "duckdb": seconds_of(
            "import duckdb; duckdb.execute('SET enable_progress_bar = false'); duckdb.execute("
            + repr(
                f"COPY (SELECT * FROM read_csv({names!r}, {duckdb_options})) TO '{target}'"
                " (FORMAT parquet, COMPRESSION zstd)"
            )
            + ")"
        ),
        "polars": seconds_of(
            f"import polars as pl; pl.scan_csv({names!r}, separator={form.delimiter!r}, has_header={header},"
            f" quote_char=None, infer_schema=False, truncate_ragged_lines=True,"
            f" encoding='utf8-lossy', ignore_errors=True).sink_parquet({str(target)!r}, compression='zstd')"
        ),
    }


def measure(stream: Stream, events: int, seed: int, rounds: int) -> dict[str, Any]:
    """What is told of so many events of the stream."""
    found: list[dict[str, float]] = []
    jobs: list[float] = []
    peaks: list[int] = []
    answer: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="pii-benchmark-") as temporary:
        folder = Path(temporary)
        files = write_objects(stream, events, seed, folder)
        size = sum(file.stat().st_size for file in files)
        floors(stream, files, folder)  # not counted: the objects come into the page cache
        for number in range(rounds):
            before = floors(stream, files, folder)
            job = folder / f"job-{number}"
            job.mkdir()
            seconds, peak, answer = whole_job(stream.name, files, job)
            shutil.rmtree(job)
            after = floors(stream, files, folder)
            found.append({name: (before[name] + after[name]) / 2 for name in before})
            jobs.append(seconds)
            peaks.append(peak)
    records = answer["hours"][0]["records"]
    figures: dict[str, Any] = {
        "records": records,
        "rounds": rounds,
        "bytes_per_record": round(size / records),
        "job_seconds": round(median(jobs), 2),
        "job_records_per_second": round(records / median(jobs)),
    }
    for name in found[0]:
        figures[f"{name}_floor_seconds"] = round(median(floor[name] for floor in found), 2)
        ratios = (job / floor[name] for job, floor in zip(jobs, found, strict=True))
        figures[f"times_{name}_floor"] = round(median(ratios), 2)
    return figures | {"peak_memory_mib": max(peaks)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("streams", nargs="+", choices=("snowplow", "retail"))
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    known = load_streams((project_root() / "streams",))
    results = {}
    for name in arguments.streams:
        results[name] = measure(known[name], arguments.events, arguments.seed, arguments.rounds)
        if not arguments.json:
            print(name)
            print_figures(results[name])
    if arguments.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
