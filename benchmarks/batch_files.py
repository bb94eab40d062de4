"""The main job on Snowplow's enriched events (131 columns) and on CSV order lines, beside two floors.

    python -m benchmarks.batch_files snowplow retail --events 500000

floors     DuckDB `read_csv` and Polars `scan_csv`, all columns as text → zstd Parquet: reading and writing,
           no type, no check, no privacy work; each in a fresh process, like the job, its start included.
           Polars takes quotes for letters, since it refuses a file with a stray one
whole job  `pii run`: validation, quarantine, pseudonyms, encryption, self-describing JSON taken apart and
           treated leaf by leaf, leak gate, ledger, derived datasets, all of it on Dagster

How figures are taken is told in `benchmarks.measuring`.
"""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measuring import END, figures, parser, print_figures, rounds, seconds_of
from pii_pipeline.formats import DelimitedText
from pii_pipeline.samples.generate import generate
from pii_pipeline.settings import project_root
from pii_pipeline.streams.loader import load_streams
from pii_pipeline.streams.model import Stream

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
        "duckdb_floor": seconds_of(
            "import duckdb; duckdb.execute('SET enable_progress_bar = false'); duckdb.execute("
            + repr(
                f"COPY (SELECT * FROM read_csv({names!r}, {duckdb_options})) TO '{target}'"
                " (FORMAT parquet, COMPRESSION zstd)"
            )
            + ")"
        ),
        "polars_floor": seconds_of(
            f"import polars as pl; pl.scan_csv({names!r}, separator={form.delimiter!r}, has_header={header},"
            f" quote_char=None, infer_schema=False, truncate_ragged_lines=True,"
            f" encoding='utf8-lossy', ignore_errors=True).sink_parquet({str(target)!r}, compression='zstd')"
        ),
    }


def measure(stream: Stream, events: int, seed: int, number: int) -> dict[str, Any]:
    """What is told of so many events of the stream, after so many rounds."""
    with tempfile.TemporaryDirectory(prefix="pii-benchmark-") as temporary:
        folder = Path(temporary)
        files = write_objects(stream, events, seed, folder)
        size = sum(file.stat().st_size for file in files)
        found = list(rounds(number, stream.name, files, folder, partial(floors, stream, files, folder)))
    return figures(found, "record", found[0].answer["hours"][0]["records"], size)


def main() -> None:
    command = parser(__doc__)
    command.add_argument("streams", nargs="+", choices=("snowplow", "retail"))
    command.add_argument("--events", type=int, default=500_000)
    arguments = command.parse_args()
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
