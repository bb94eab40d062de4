"""deploy/dagster.yaml, loaded by Dagster, with its storage in a real PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage

from pii_pipeline.launcher import CodeServerLauncher
from pii_pipeline_tests.deploy.compose import DEPLOY
from pii_pipeline_tests.warehouses import ask

DAY = 86400


ORIGIN = RemoteRepositoryOrigin(
    GrpcServerCodeLocationOrigin(host="code", port=4000, location_name="pii_pipeline"), "__repository__"
).get_job_origin("process_events")


@pytest.fixture(scope="module")
def storage(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """The instance of production, in an empty schema."""
    server = postgres_url.replace("+psycopg2", "")
    schema = f"dagster_{secrets.token_hex(6)}"
    ask(server, f"CREATE SCHEMA {schema}")
    home = tmp_path_factory.mktemp("home")
    copyfile(DEPLOY / "dagster.yaml", home / "dagster.yaml")
    with pytest.MonkeyPatch.context() as environment:
        options = f"{'&' if '?' in server else '?'}options=-csearch_path%3D{schema}"
        environment.setenv("DAGSTER_POSTGRES_URL", f"{postgres_url}{options}")
        with dg.DagsterInstance.from_config(str(home)) as found:
            yield found
    ask(server, f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def instance(storage: dg.DagsterInstance) -> dg.DagsterInstance:
    """It, without a run."""
    storage.wipe()
    return storage


def queue(instance: dg.DagsterInstance, status: str = "QUEUED", **tags: str) -> str:
    """A run that waits, or that goes on; its id."""
    named = {f"pii/{name}": value for name, value in tags.items()}
    status_of_run = dg.DagsterRunStatus(status)
    return create_run_for_test(
        instance, "process_events", status=status_of_run, tags=named, remote_job_origin=ORIGIN
    ).run_id


def started(instance: dg.DagsterInstance) -> set[str]:
    """The runs that the daemon would start now."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=5)
    found = daemon._get_runs_to_dequeue(
        instance, instance.get_concurrency_config(), fixed_iteration_time=None
    )
    return {run.run_id for run in found}


def test_it_is_what_it_says(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.run_storage, PostgresRunStorage)
    assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
    assert isinstance(instance.schedule_storage, PostgresScheduleStorage)
    assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
    assert isinstance(instance.run_launcher, CodeServerLauncher)
    assert isinstance(instance.compute_log_manager, NoOpComputeLogManager)
    assert not instance.telemetry_enabled and not instance.nux_enabled
    assert instance.run_monitoring_enabled and instance.run_monitoring_max_runtime_seconds == DAY // 4


def test_a_stream_has_two_runs_at_a_time_and_leaves_room_for_others(instance: dg.DagsterInstance) -> None:
    webshop = [queue(instance, stream="webshop") for _ in range(5)]
    logins = queue(instance, stream="logins")
    assert started(instance) == {*webshop[:2], logins}


def test_a_queue_is_drained_by_one(instance: dg.DagsterInstance) -> None:
    first, _ = (queue(instance, drain="logins") for _ in range(2))
    other = queue(instance, drain="orders")
    assert started(instance) == {first, other}


def test_four_runs_are_as_many_as_there_are_at_once(instance: dg.DagsterInstance) -> None:
    everything = [queue(instance) for _ in range(6)]
    assert started(instance) == set(everything[:4])


def test_what_runs_already_counts(instance: dg.DagsterInstance) -> None:
    for _ in range(2):
        queue(instance, "STARTED", stream="webshop")
    queue(instance, stream="webshop")
    logins = queue(instance, stream="logins")
    assert started(instance) == {logins}


def test_nothing_that_a_process_prints_is_kept(instance: dg.DagsterInstance) -> None:
    @dg.op
    def says() -> None:
        print("ada@example.org")

    @dg.job(executor_def=dg.in_process_executor)
    def saying() -> None:
        says()

    result = saying.execute_in_process(instance=instance)
    home = Path(instance.root_directory)
    kept = [path for path in home.rglob("*") if path.is_file() and b"ada@" in path.read_bytes()]
    assert result.success and not kept
    assert not [line for line in instance.all_logs(result.run_id) if "ada@" in line.to_json()]
