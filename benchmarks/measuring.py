"""What the benchmarks share: the main job as a user starts it, its memory, a baseline in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HOUR = "2026-11-22T10"


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


def _watch_memory(root: int, peak: list[int]) -> None:
    """Samples the resident memory of a process and its children (Linux only) until it ends."""
    while Path(f"/proc/{root}").exists():
        total = 0
        for process in _tree(root):
            try:
                pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
            except (OSError, IndexError):
                continue
            total += pages * os.sysconf("SC_PAGE_SIZE")
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


def print_figures(figures: dict[str, Any]) -> None:
    """A table of names and numbers."""
    print("\n".join(f"{name:32}{value:>14,}" for name, value in figures.items()), end="\n\n", flush=True)
