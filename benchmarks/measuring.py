"""What the benchmarks share: rounds of the main job as a user starts it, floors in fresh processes, stand-ins
for AWS, figures.

Figures are ratios to a floor of the same run on the same machine; absolute times say little. A machine's
speed drifts, so the floors are timed before and after every job, and the median of several rounds is told.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

HOUR = "2026-11-22T10"
END = datetime(2026, 11, 22, 10, 59, 59, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Round:
    """One run of the main job: its seconds, peak memory (MiB) and answer.

    `floors` are the seconds of each floor, the mean of before and after the job.
    """

    seconds: float
    peak: int
    answer: dict[str, Any]
    floors: dict[str, float]


def rounds(
    number: int, stream: str, files: Sequence[Path], folder: Path, floors: Callable[[], dict[str, float]]
) -> Iterator[Round]:
    """So many rounds over the objects in `files`; `floors` times each floor once."""
    floors()  # not counted: the objects come into the page cache
    for current in range(number):
        before = floors()
        job = folder / f"job-{current}"
        job.mkdir()
        seconds, peak, answer = whole_job(stream, files, job)
        shutil.rmtree(job)
        after = floors()
        yield Round(seconds, peak, answer, {name: (before[name] + after[name]) / 2 for name in before})


def figures(found: Sequence[Round], unit: str, count: int, size: int) -> dict[str, Any]:
    """What is told of rounds over `count` records, each a `unit`, of `size` bytes together."""
    seconds = median(one.seconds for one in found)
    told: dict[str, Any] = {
        f"{unit}s": count,
        "rounds": len(found),
        f"bytes_per_{unit}": round(size / count),
        "job_seconds": round(seconds, 2),
        f"job_{unit}s_per_second": round(count / seconds),
        "peak_memory_mib": max(one.peak for one in found),
    }
    for name in found[0].floors:
        told[f"{name}_seconds"] = round(median(one.floors[name] for one in found), 2)
        told[f"times_{name}"] = round(median(one.seconds / one.floors[name] for one in found), 2)
    return told


def parser(description: str | None) -> argparse.ArgumentParser:
    """The command line, as far as all benchmarks have it."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--json", action="store_true")
    return made


def seconds_of(program: str) -> float:
    """Seconds that a fresh Python takes for `program`, like the job with its start."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    return time.perf_counter() - started


def whole_job(stream: str, files: Sequence[Path], folder: Path) -> tuple[float, int, dict[str, Any]]:
    """Seconds and peak memory (MiB, all processes together) of `pii run` on the landed objects, and its
    answer; everything is written below `folder`."""
    environment = {
        **os.environ,
        "PII_STORAGE_URI": str(folder / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{folder / 'pii.db'}",
        "PII_VAULT_URL": f"sqlite:///{folder / 'vault.db'}",
        "PII_VAULT_ANCHORS": (folder / "vault-anchors").as_uri(),
        "PII_KEY_ENCRYPTION_KEY": f"file:{folder / 'kek'}",
        "DAGSTER_HOME": str(folder / "dagster"),
    }
    pii = str(Path(sys.executable).parent / "pii")
    landed = [pii, "land", stream, "--hour", HOUR, *map(str, files)]
    subprocess.run(landed, env=environment, check=True, stdout=subprocess.DEVNULL)
    started = time.perf_counter()
    job = subprocess.Popen(
        [pii, "run", stream, "--hour", HOUR, "--json"], env=environment, stdout=subprocess.PIPE, text=True
    )
    peak = [0]
    watch = threading.Thread(target=_watch_memory, args=(job.pid, peak), daemon=True)
    watch.start()
    output, _ = job.communicate()
    seconds = time.perf_counter() - started
    if job.returncode:
        raise SystemExit(f"pii run failed with exit code {job.returncode}:\n{output}")
    return seconds, peak[0], json.loads(output)


def resident(process: int) -> int:
    """Bytes of memory that a process holds (Linux only). Raises OSError or IndexError of one that is gone."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _watch_memory(root: int, peak: list[int]) -> None:
    """Samples the resident memory of a process and its children (Linux only) until it ends."""
    while Path(f"/proc/{root}").exists():
        total = 0
        for process in _tree(root):
            try:
                total += resident(process)
            except (OSError, IndexError):
                continue
        peak[0] = max(peak[0], total >> 20)
        time.sleep(0.25)


def _tree(root: int) -> list[int]:
    found = [root]
    for process in found:
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                continue
    return found


class Answering(BaseHTTPRequestHandler):
    """A server that stands in for AWS: an emulator would be what is measured."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer

    def answer(self, content: str, kind: str, status: int = 200) -> None:
        """Sends it, of the content type `kind`."""
        body = content.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def serve(handler: type[Answering]) -> None:
    """Answers until the process is killed; says its port on standard output."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def with_stand_in(module: str, served: Sequence[str], program: Sequence[str]) -> str:
    """The last line that ``python -m module program…`` says, whose AWS is ``python -m module served…``."""
    command = [sys.executable, "-m", module]
    server = subprocess.Popen([*command, *served], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        environment = {
            **os.environ,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.stdout.readline().strip()}",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "measuring",
            "AWS_SECRET_ACCESS_KEY": "measuring",
        }
        done = subprocess.run(
            [*command, *program], env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
    finally:
        server.kill()
        server.wait()
    return done.stdout.splitlines()[-1]


def print_figures(figures: dict[str, Any]) -> None:
    """A table of names and numbers."""
    print("\n".join(f"{name:32}{value:>14,}" for name, value in figures.items()), end="\n\n", flush=True)
