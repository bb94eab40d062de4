"""A run whose process went with the code location's server does not count as under way for long."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from pii_pipeline.settings import project_root

CODE = """
import time
import dagster as dg

@dg.op
def wait():
    time.sleep(600)

@dg.job(executor_def=dg.in_process_executor)
def waiting():
    wait()

defs = dg.Definitions(jobs=[waiting])
"""
SETTINGS = """
run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
run_launcher: {module: pii_pipeline.launcher, class: CodeServerLauncher}
run_monitoring: {enabled: true}
telemetry: {enabled: false}
"""
_PATIENCE = 120.0


def wait_for(found: Callable[[], object]) -> None:
    give_up = time.monotonic() + _PATIENCE
    while not found():
        assert time.monotonic() < give_up
        time.sleep(0.2)


class Place:
    """A folder with a code location, and an instance whose runs are started in its server."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.folder = folder
        (folder / "here.py").write_text(CODE)
        (folder / "dagster.yaml").write_text(SETTINGS)
        (folder / "workspace.yaml").write_text(
            f"load_from: [{{grpc_server: {{host: 127.0.0.1, port: {port}, location_name: here}}}}]\n"
        )
        self.environment = {**os.environ, "DAGSTER_HOME": str(folder), "PYTHONPATH": str(project_root())}

    @contextmanager
    def server(self) -> Iterator[None]:
        """Killed in the end, with the runs in it."""
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--python-file", "here.py"]
        process = self._dagster("api", "grpc", *where)
        try:
            wait_for(self._listens)
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def launch(self) -> None:
        """A run of the job that waits."""
        assert self._dagster("job", "launch", "-w", "workspace.yaml", "-j", "waiting").wait(_PATIENCE) == 0

    def _dagster(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "dagster", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def place(tmp_path: Path) -> Place:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    return Place(tmp_path, port)


def test_what_ended_with_the_server_has_failed_when_there_is_another(place: Place) -> None:
    with dg.DagsterInstance.from_config(str(place.folder)) as instance:

        def looked_at() -> dg.DagsterRunStatus:
            """By the daemon's run monitoring."""
            (record,) = instance.get_run_records()
            monitor_started_run(instance, cast("Any", None), record, logging.getLogger("monitoring"))
            return instance.get_run_records()[0].dagster_run.status

        with place.server():
            place.launch()
            wait_for(lambda: instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])))
            assert looked_at() == dg.DagsterRunStatus.STARTED
        assert looked_at() == dg.DagsterRunStatus.STARTED, "nobody answers: nothing is known"
        with place.server():
            assert looked_at() == dg.DagsterRunStatus.FAILURE


def test_a_run_that_no_server_started_is_let_be(place: Place) -> None:
    with dg.DagsterInstance.from_config(str(place.folder)) as instance:
        run = instance.create_run_for_job(
            dg.GraphDefinition(name="here").to_job(), status=dg.DagsterRunStatus.STARTED
        )
        assert instance.run_launcher.check_run_worker_health(run).status.value == "RUNNING"
