"""``make live``: PostgreSQL, an AWS emulator, Dagster's UI and daemon, and a shop in which something happens.

Everything is as deploy/compose.yaml has it, with processes instead of containers. All of it ends with
Ctrl-C, or with this process, and is forgotten then.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any, TextIO

from examples.live.processes import Ended, Processes, guarded_processes
from examples.live.services import database_folder, start_dagster, start_storage
from examples.live.trickle import Trickle, aws_session
from examples.live.watching import Latency, Seen, Watcher
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.settings import project_root, read_settings

LOOK_SECONDS = 5
LATE_SECONDS = 120
"""For how long what was sent is waited for after `--seconds`."""
_LINES = 20
_COLUMNS = (
    ("seconds", 7),
    ("clicks", 8),
    ("log-ins", 8),
    ("ticks", 6),
    ("runs ok", 8),
    ("failed", 7),
    ("at work", 8),
    ("lake rows", 10),
    ("user_logins", 12),
    ("put to lake", 13),
    ("sent to table", 14),
)


class Stopped(Exception):
    """Somebody has had enough."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.live", description=__doc__)
    parser.add_argument("--seconds", type=float, help="send for so long, and end when all has arrived")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON in the end")
    asked = parser.parse_args()
    _on_signals(_stop)
    folder = project_root() / "var" / "live" / str(os.getpid())
    folder.mkdir(parents=True, mode=0o700)
    out = sys.stderr if asked.json else sys.stdout
    try:
        with guarded_processes(folder, database := database_folder(folder)) as processes:
            print("Starting PostgreSQL, an AWS emulator and Dagster ...", file=out, flush=True)
            figures = _show(processes, database, asked.seconds, out)
    except Stopped:
        return 0
    except Ended as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(figures, indent=2) if asked.json else _summary(figures))
    return 0


def _on_signals(handler: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handler)


def _stop(_number: int, _frame: object) -> None:
    _on_signals(signal.SIG_IGN)  # to be impatient does not help: everything is being ended
    raise Stopped


def _show(processes: Processes, database: Path, seconds: float | None, out: TextIO) -> dict[str, Any]:
    """Until it is over; the figures."""
    started = time.monotonic()
    live = start_storage(processes, database)
    session = aws_session()
    streams = Installation(read_settings({})).streams
    trickle = Trickle(session, live.aws, streams["webshop"], streams["logins"])
    trickle.start()  # before anybody watches: then there is something to see at once
    address = start_dagster(processes, live)
    print(f"{address} is the UI; Ctrl-C ends it all.", file=out, flush=True)
    watcher = Watcher(live, session, trickle)
    seen = watcher.look()
    until = float("inf") if seconds is None else time.monotonic() + seconds
    try:
        for line in count():
            if line % _LINES == 0:
                print("".join(f"{name:>{width}}" for name, width in _COLUMNS), file=out)
            print(_line(time.monotonic() - started, seen, watcher), file=out, flush=True)
            time.sleep(LOOK_SECONDS)
            processes.check()
            trickle.check()
            if time.monotonic() > until:
                trickle.stop()
            seen = watcher.look()
            late = time.monotonic() - until
            if late > LATE_SECONDS or (late > 0 and watcher.has_all()):
                break
    except Stopped:
        print(file=out)
    first = watcher.first_row
    return {
        "seconds_to_first_row_of_user_logins": None if first is None else round(first - started, 1),
        "put_to_lake": asdict(watcher.clicks),
        "sent_to_user_logins": asdict(watcher.log_ins),
        "complete": watcher.has_all(),
        **asdict(seen),
    }


def _line(seconds: float, seen: Seen, watcher: Watcher) -> str:
    values = (
        f"{seconds:.0f}",
        f"{seen.clicks_sent:,}",
        f"{seen.log_ins_sent:,}",
        f"{seen.ticks:,}",
        f"{seen.runs_done:,}",
        f"{seen.runs_failed:,}",
        f"{seen.runs_at_work:,}",
        f"{seen.lake_rows:,}",
        f"{seen.table_rows:,}",
        _latency(watcher.clicks),
        _latency(watcher.log_ins),
    )
    return "".join(f"{value:>{width}}" for value, (_, width) in zip(values, _COLUMNS, strict=True))


def _latency(latency: Latency) -> str:
    return "-" if latency.median is None else f"{latency.median:.1f}/{latency.p99:.1f} s"


def _summary(figures: dict[str, Any]) -> str:
    lake, table = figures["put_to_lake"], figures["sent_to_user_logins"]
    lines = [
        line.format(**figures)
        for line in (
            "sent {clicks_sent:,} clicks and {log_ins_sent:,} log-ins; {runs_done:,} runs, "
            "{runs_failed:,} more failed",
            "read {clicks_read:,} clicks: {lake_rows:,} rows in the lake, {clicks_bad:,} bad events, "
            "{clicks_duplicate:,} duplicates",
            "read {log_ins_read:,} log-ins: {table_rows:,} rows in user_logins, {log_ins_bad:,} bad events, "
            "{log_ins_duplicate:,} duplicates",
        )
    ]
    for what, unit, latency in (
        ("PUT to the lake", "objects", lake),
        ("SQS to user_logins", "log-ins", table),
    ):
        if latency["number"]:
            lines.append("{}: median {median} s, p99 {p99} s ({number:,} {})".format(what, unit, **latency))
    if not figures["complete"]:
        lines.append("without what was still on its way")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
