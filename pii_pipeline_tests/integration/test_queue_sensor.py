"""The queue's sensor and job, on a real instance: messages are asked for once, and land."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest

from pii_pipeline import aws as aws_module
from pii_pipeline.definitions import build
from pii_pipeline.jobs import DRAIN_QUEUE, drain_config
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.requests import DRAIN_TAG
from pii_pipeline.sensors import queues
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline_tests.faulty_proxy import FaultyProxy
from pii_pipeline_tests.queues import Queue, one_call_at_a_time


@pytest.fixture
def installation(tmp_path: Path, aws: boto3.Session) -> Iterator[Installation]:
    environment = {
        "PII_STREAMS_DIR": str(project_root() / "streams"),
        "PII_STORAGE_URI": str(tmp_path / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{tmp_path / 'pii.db'}",
        "PII_VAULT_URL": f"sqlite:///{tmp_path / 'vault.db'}",
        "PII_VAULT_ANCHORS": (tmp_path / "vault-anchors").as_uri(),
        "PII_KEY_ENCRYPTION_KEY": f"file:{tmp_path / 'key'}",
        "PII_WAREHOUSE_URL": f"duckdb:///{tmp_path / 'warehouse.duckdb'}",
    }
    opened = Installation(read_settings(environment, project=tmp_path))
    with one_call_at_a_time():
        yield opened
    opened.close()


TICK_SECONDS = 20
"""What a tick has, at most, whatever SQS does."""


def tick(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Any:
    sensor = definitions.resolve_sensor_def("logins_queue")
    with dg.build_sensor_context(instance=instance, definitions=definitions) as context:
        return sensor(context)


def test_messages_are_asked_for_once_and_land(
    installation: Installation, aws: boto3.Session, tmp_path: Path
) -> None:
    queue = Queue(aws)
    definitions = build(installation)
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        assert tick(definitions, instance).skip_message == "no messages wait"
        queue.send(['{"a": 1}', '{"a": 2}'])
        request = tick(definitions, instance)
        assert request.tags == {DRAIN_TAG: "logins"}
        job = definitions.resolve_job_def(DRAIN_QUEUE)
        waiting = instance.create_run_for_job(job, run_config=request.run_config, tags=request.tags)
        assert tick(definitions, instance).skip_message == "the queue is being drained"
        instance.delete_run(waiting.run_id)
        assert isinstance(tick(definitions, instance), dg.RunRequest), "no run of another"
        result = job.execute_in_process(instance=instance, run_config=request.run_config, tags=request.tags)
        assert result.success
        said = "".join(
            entry.to_json() if hasattr(entry, "to_json") else str(entry)
            for entry in instance.all_logs(result.run_id)
        )
        assert '{"a"' not in said
    assert queue.left() == 0
    assert len(list((tmp_path / "storage" / "landing" / "logins").rglob("*.sqs.jsonl.zst"))) == 1


def test_a_drain_that_finds_another_at_work_succeeds_and_does_nothing(
    installation: Installation, aws: boto3.Session, tmp_path: Path
) -> None:
    queue = Queue(aws)
    queue.send(["1"])
    job = build(installation).resolve_job_def(DRAIN_QUEUE)
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        with installation.ledger.named_lease("drain logins"):
            assert job.execute_in_process(instance=instance, run_config=drain_config("logins")).success
        assert queue.left() == 1
        assert job.execute_in_process(instance=instance, run_config=drain_config("logins")).success
        assert queue.left() == 0


def test_a_tick_ends_in_time_when_the_queue_stays_silent(
    installation: Installation,
    aws: boto3.Session,
    faulty_aws: FaultyProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = aws_module.HURRIED_CONNECT_SECONDS + aws_module.HURRIED_READ_SECONDS
    assert queues.ASKING_SECONDS + answer < TICK_SECONDS
    monkeypatch.setattr(aws_module, "HURRIED_READ_SECONDS", 0.2)
    monkeypatch.setattr(aws_module, "HURRIED_ATTEMPTS", 50)
    monkeypatch.setattr(queues, "ASKING_SECONDS", 0.5)
    Queue(aws)
    faulty_aws.fail("silence")
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        definitions = build(installation)
        began = time.monotonic()
        with pytest.raises(dg.Failure) as failure:
            tick(definitions, instance)
    assert time.monotonic() - began < TICK_SECONDS
    said = "QueueUnavailable: queue logins: GetQueueUrl: AWS does not answer"
    assert str(failure.value.description).startswith(said)


def test_what_is_wrong_with_the_queue_fails_tick_and_run_in_words_of_ours(
    installation: Installation, tmp_path: Path
) -> None:
    definitions = build(installation)
    said = "QueueRefused: queue logins: there is none of that name in this account and region"
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        with pytest.raises(dg.Failure) as caught:
            tick(definitions, instance)
        assert str(caught.value.description).startswith(said)
        result = definitions.resolve_job_def(DRAIN_QUEUE).execute_in_process(
            instance=instance, run_config=drain_config("logins"), raise_on_error=False
        )
    (failed,) = result.get_failed_step_keys()
    assert failed == "drain"


def test_without_a_queue_there_is_neither_job_nor_sensor(tmp_path: Path) -> None:
    streams = tmp_path / "streams"
    streams.mkdir()
    (streams / "webshop").symlink_to(project_root() / "streams" / "webshop")
    definitions = build(Installation(read_settings({"PII_STREAMS_DIR": str(streams)}, project=tmp_path)))
    repository = definitions.get_repository_def()
    assert not [sensor.name for sensor in repository.sensor_defs if sensor.name.endswith("_queue")]
    assert DRAIN_QUEUE not in repository.job_names
