"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from examples.live.guard import alive, end

_GUARD = Path(__file__).with_name("guard.py")
_LINES = 30
"""Of a log, where its process has ended."""


class Ended(Exception):
    """A process ended that should go on, or failed; with the end of what it printed."""


class Processes:
    """Starts processes, all in the guard's process group; each has a log in `folder`."""

    def __init__(self, folder: Path, group: int) -> None:
        self.folder = folder
        self.group = group
        self._parent = os.getppid()
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], user: str | None = None
    ) -> None:
        """A process that goes on."""
        with self._log(name).open("wb") as log:
            self._started[name] = subprocess.Popen(
                command,
                env=environment,
                user=user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=self.group,
            )

    def run(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """A process to its end. Raises `Ended` if it fails."""
        self.start(name, command, environment)
        if self._started.pop(name).wait():
            raise Ended(self._said(name))

    def wait_for(self, name: str, is_ready: Callable[[], bool], seconds: float = 120.0) -> None:
        """Until it is ready. Raises `Ended`."""
        give_up = time.monotonic() + seconds
        while not is_ready():
            self.check()
            if time.monotonic() > give_up:
                raise Ended(f"{name} does not answer\n{self._said(name)}")
            time.sleep(0.1)

    def check(self) -> None:
        """Raises `Ended` if one has, or who started this process: make, killed, takes nobody with it."""
        if os.getppid() != self._parent:
            raise Ended("whoever started this has ended")
        for name, process in self._started.items():
            if process.poll() is not None:
                raise Ended(self._said(name))

    def reap(self) -> None:
        """Lets go of those that have ended: the guard would wait for them."""
        for process in self._started.values():
            process.poll()

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _said(self, name: str) -> str:
        lines = self._log(name).read_text("utf-8", "replace").splitlines()[-_LINES:]
        return "\n".join([f"{name} has ended:", *lines])


@contextmanager
def guarded_processes(folder: Path, *others: Path) -> Iterator[Processes]:
    """What is started in the block ends with it, and the folders go; also if this process is killed."""
    guard = subprocess.Popen(
        [sys.executable, str(_GUARD), str(folder), *map(str, others)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert guard.stdin is not None and guard.stdout is not None
    processes = Processes(folder, int(guard.stdout.readline()))
    try:
        yield processes
    finally:
        guard.stdin.close()
        while guard.poll() is None:
            processes.reap()
            time.sleep(0.05)
        if guard.returncode:  # it was killed
            end(lambda: alive(processes.group))
            for gone in (folder, *others):
                shutil.rmtree(gone, ignore_errors=True)


def free_port() -> int:
    """A TCP port that nobody has at the moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def own_environment() -> dict[str, str]:
    """This process's environment, without what it says of another installation or account."""
    others = ("PII_", "DAGSTER_", "AWS_", "PG")
    return {name: value for name, value in os.environ.items() if not name.startswith(others)}
