"""Two real daemons of Dagster at once, on one instance on PostgreSQL, while objects keep landing.

Dagster does not support it; a rolling deployment does it all the same, for a while.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from examples.live.processes import free_port
from pii_pipeline.keys import tables as keys
from pii_pipeline.ledger import VALIDATED_EVENTS, add_counts
from pii_pipeline.ledger import tables as ledger
from pii_pipeline.pipeline.arrivals import layers_of
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.landing import land
from pii_pipeline.pipeline.query import query
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline_tests.aws import aws_environment
from pii_pipeline_tests.integration.small_streams import environment

STREAM = "alpha"
WHO = "Mustermann"
"""Whom the landing objects are called after."""
HOURS = ("2026-11-22T09", "2026-11-22T10")
OBJECTS, EVENTS = 8, 5
"""Of each hour; of each object."""
LOOKED = f"Checking for new runs for sensor: {STREAM}_landing_objects"
_PAUSE = 0.8
_PATIENCE = 300.0
"""Seconds."""


class Daemons:
    """A code location and two daemons, running; `said` is what each of the latter prints."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        home = Path(settings["DAGSTER_HOME"])
        home.mkdir()
        deployed = (project_root() / "deploy" / "dagster.yaml").read_text("utf-8")
        often = "dequeue_use_threads: true\n    dequeue_interval_seconds: 1"
        (home / "dagster.yaml").write_text(deployed.replace("dequeue_use_threads: true", often))
        port = free_port()
        workspace = home / "workspace.yaml"
        said = (project_root() / "deploy" / "workspace.yaml").read_text("utf-8")
        workspace.write_text(said.replace("host: code", "host: 127.0.0.1").replace("4000", str(port)))
        self._environment = {**os.environ, **settings}
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        definitions = ["--module-name", "pii_pipeline.definitions", "--attribute", "defs"]
        address = ["--host", "127.0.0.1", "--port", str(port)]
        code = self._start("code", "dagster", "api", "grpc", *address, *definitions)
        dg.DagsterInstance.from_config(str(home)).dispose()  # makes its tables, before two want to at once
        self._wait_for_port(port)
        self.said = [
            self._start(f"daemon-{number}", "dagster._daemon", "run", "--workspace", str(workspace))
            for number in (1, 2)
        ]
        self.logs = [code, *self.said]

    def _start(self, name: str, *command: str) -> Path:
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:
            self._started.append(
                subprocess.Popen(
                    [sys.executable, "-m", *command],
                    env=self._environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        return log

    def _wait_for_port(self, port: int) -> None:
        give_up = time.monotonic() + _PATIENCE
        while True:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    return
            assert self._started[0].poll() is None and time.monotonic() < give_up
            time.sleep(0.2)

    def check(self) -> None:
        """Fails if one has ended."""
        assert [process.poll() for process in self._started] == [None] * 3, self.said[0].read_text()[-2_000:]

    def wait_for(self, found: Callable[[], object]) -> None:
        """Until it is so, all being well with them."""
        give_up = time.monotonic() + _PATIENCE
        while not found():
            self.check()
            assert time.monotonic() < give_up, "".join(said.read_text()[-2_000:] for said in self.said)
            time.sleep(0.3)

    def stop(self) -> None:
        """Ends them, and the runs that they started."""
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def settings(tmp_path: Path, postgres_database_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_database_url)
    return {
        **environment(tmp_path),
        **aws_environment("http://127.0.0.1:9"),
        "PII_DATABASE_URL": postgres_database_url,
        "PII_SENSOR_SECONDS": "5",
        "DAGSTER_POSTGRES_URL": postgres_database_url,
        "DAGSTER_HOME": str(tmp_path / "dagster"),
        "PYTHONPATH": str(project_root()),
        "PYTHONWARNINGS": "ignore",
    }


@pytest.fixture
def daemons(tmp_path: Path, settings: dict[str, str]) -> Iterator[Daemons]:
    started = Daemons(tmp_path, settings)
    try:
        yield started
    finally:
        started.stop()


def lines(hour: str, number: int) -> list[dict[str, Any]]:
    """The events of an object; their `page` is of no other event."""
    return [{"user": f"user-{n}", "page": f"{hour} {number} {n}", "consent": [1]} for n in range(EVENTS)]


def is_made(installation: Installation) -> bool:
    """Whether everything that was sent is sealed and made to its end."""
    reports = installation.ledger.status(STREAM)
    layers = layers_of(installation.streams[STREAM])
    return sum(report.objects for report in reports) == len(HOURS) * OBJECTS and not any(
        report.unsealed or any(report.pending(layer) for layer in layers) for report in reports
    )


def kept_by_dagster(database: str) -> str:
    """Every row of every table that is not the ledger's or the key store's."""
    ours = {*ledger.metadata.tables, *keys.metadata.tables}
    engine = sa.create_engine(database, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return "\n".join(
            row
            for table in set(sa.inspect(connection).get_table_names()) - ours
            for row in connection.exec_driver_sql(f'SELECT found::text FROM "{table}" found').scalars()
        )


def batches_made(instance: dg.DagsterInstance, layer: str) -> int:
    """In all runs together; what a run finds made is not among it."""
    asked = dg.AssetRecordsFilter(asset_key=dg.AssetKey([STREAM, layer]))
    events = [
        record.asset_materialization for record in instance.fetch_materializations(asked, 1_000).records
    ]
    return sum(event.metadata["batches_made"].value for event in events if event)  # type: ignore[misc]


def test_two_daemons_make_what_one_makes(daemons: Daemons, settings: dict[str, str]) -> None:
    installation = Installation(read_settings(settings, project=project_root()))
    sent = []
    for number in range(OBJECTS):
        for hour in HOURS:
            events = lines(hour, number)
            data = "".join(json.dumps(event) + "\n" for event in events).encode()
            land(installation.zones.landing, STREAM, hour, f"{WHO}-{number}.json", BytesIO(data))
            sent += [event["page"] for event in events]
        time.sleep(_PAUSE)
    with dg.DagsterInstance.from_config(settings["DAGSTER_HOME"]) as instance:
        daemons.wait_for(lambda: is_made(installation))
        daemons.wait_for(lambda: all(run.is_finished for run in instance.get_runs()))
        daemons.wait_for(lambda: all(LOOKED in said.read_text() for said in daemons.said))
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}
        batches = [batch for hour in HOURS for batch in installation.ledger.batches(STREAM, hour)]
        for layer in ("validated_events", "pseudonymized_events", "report"):
            assert batches_made(instance, layer) == len(batches), "each by one run, and once"
    stored = kept_by_dagster(settings["DAGSTER_POSTGRES_URL"])
    assert f"{STREAM}__validated_events" in stored and WHO not in stored
    assert not [file for file in daemons.logs if WHO in file.read_text()]
    reports = installation.ledger.status(STREAM)
    assert [wrong for report in reports for wrong in report.violations()] == []
    total = add_counts([report.layers[VALIDATED_EVENTS].counts for report in reports])
    assert total["records"] == total["validated"] == len(sent)
    for dataset in ("pseudonymized_events", "report"):
        rows = query(installation, f"SELECT page FROM {STREAM}.{dataset}").rows
        assert Counter(page for (page,) in rows) == Counter(sent)
    installation.close()
