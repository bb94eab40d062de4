"""Ends every process of its process group, and removes their folders, as soon as who started it is gone.

That one holds the other end of standard input. However it ends, killed or not, that end is closed then.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable

import psutil

STEPS = ((signal.SIGTERM, 6.0), (signal.SIGINT, 3.0), (signal.SIGKILL, 3.0))
"""Signals, and the seconds to end in after each. By SIGINT PostgreSQL waits for its clients no longer."""


def alive(group: int) -> list[int]:
    """The processes of a group, but for this one and those that have ended and nobody has asked about."""
    return [pid for pid in psutil.pids() if pid != os.getpid() and _is_alive(pid, group)]


def _is_alive(pid: int, group: int) -> bool:
    try:
        return os.getpgid(pid) == group and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, PermissionError, psutil.Error):
        return False


def end(find: Callable[[], list[int]]) -> None:
    """Ends the processes that `find` finds, also those that they start meanwhile."""
    for number, seconds in STEPS:
        for pid in find():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        until = time.monotonic() + seconds
        while find() and time.monotonic() < until:
            time.sleep(0.05)
    # Nothing is left but what was started in the very last moment.
    for pid in find():
        os.kill(pid, signal.SIGKILL)


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.setpgid(0, 0)  # a group of its own: what a terminal sends does not come here
    print(os.getpgrp(), flush=True)
    sys.stdin.read()
    end(lambda: alive(os.getpgrp()))
    for folder in sys.argv[1:]:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
