"""deploy/compose.yaml: what it says, and that what it says works, with processes instead of containers."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile
from typing import Any

import boto3
import psycopg2
import pytest
import yaml
from compose_spec import PyCompose
from sqlalchemy import make_url

from pii_pipeline.settings import ZONES, read_settings
from pii_pipeline_tests.deploy.compose import (
    DEPLOY,
    Machine,
    compose,
    databases,
    dockerfile,
    free_port,
    image_command,
    image_environment,
    service,
)
from pii_pipeline_tests.warehouses import ask

OURS = ("aws-setup", "dagster-database", "code", "vault", "webserver", "daemon")
HOUR = "2026-11-22T10"
_PATIENCE = 180.0
"""Seconds that a process may take until it answers, on a busy machine."""


def test_compose_knows_every_key() -> None:
    PyCompose.from_json(json.dumps(compose())).validate()
    wrong = json.loads(json.dumps(compose()))
    wrong["services"]["code"]["healtcheck"] = {}
    with pytest.raises(ValueError, match="healtcheck"):
        PyCompose.from_json(json.dumps(wrong))


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_do_little(name: str) -> None:
    said = service(name)
    assert said["read_only"] is True and said["cap_drop"] == ["ALL"]
    assert said["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in said and "user" not in said  # the image's user
    assert not [volume for volume in said.get("volumes", []) if not volume.endswith(":ro")]


def test_every_image_has_a_version() -> None:
    for said in compose()["services"].values():
        _, _, version = said["image"].rpartition(":")
        assert version and version != "latest" and "/" not in version


def test_only_this_machine_reaches_a_port_and_only_the_user_interface_has_one() -> None:
    ports = {name: said["ports"] for name, said in compose()["services"].items() if "ports" in said}
    assert ports == {"webserver": ["127.0.0.1:3000:3000"]}


def test_webserver_and_daemon_hold_nothing_that_opens_anything() -> None:
    for name in ("webserver", "daemon", "dagster-database"):
        assert service(name)["environment"].keys() == {"DAGSTER_POSTGRES_URL"}
    assert "DAGSTER_POSTGRES_URL" not in service("aws-setup")["environment"]


def test_the_vault_is_reached_from_beside_the_code_location_alone() -> None:
    said = service("vault")
    assert said["network_mode"] == "service:code" and "ports" not in said
    settings = read_settings({**said["environment"]})
    assert (settings.vault_host, settings.vault_port, settings.vault_tls) == ("127.0.0.1", 8080, None)
    same = {name: value for name, value in service("code")["environment"].items() if name.startswith("PII_")}
    assert same.items() <= said["environment"].items() and "DAGSTER_POSTGRES_URL" not in said["environment"]
    # Where it writes, there is memory.
    assert str(settings.vault_token_file).startswith("/tmp/") and said["tmpfs"][0].startswith("/tmp:")
    assert settings.vault_anchors.startswith("s3://")


def test_the_settings_are_ones_that_are_read() -> None:
    settings = read_settings(service("code")["environment"])
    assert settings.zones == {zone: f"s3://pii-{zone}" for zone in ZONES}
    assert make_url(settings.database_url).database == "pii"
    assert make_url(settings.warehouse_url).database == "warehouse"


def test_who_is_waited_for_has_a_health_check_or_an_end() -> None:
    services = compose()["services"]
    for said in services.values():
        for other, how in said.get("depends_on", {}).items():
            ends = services[other].get("restart") == "no"
            assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy")
            assert ends or "healthcheck" in services[other]


def test_the_workspace_is_where_the_code_location_listens() -> None:
    (location,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    server = location["grpc_server"]
    assert server["host"] in compose()["services"]
    command = image_command()
    assert command[command.index("--port") + 1] == str(server["port"])


def test_the_databases_are_apart(postgres_url: str) -> None:
    server = make_url(postgres_url)

    def enters(role: str, database: str) -> bool:
        url = server.set(drivername="postgresql", username=role, password="x", database=database)
        try:
            ask(url.render_as_string(hide_password=False), "CREATE TABLE t (n int); DROP TABLE t")
        except psycopg2.OperationalError as error:
            assert "permission denied" in str(error)
            return False
        return True

    with databases(server.set(drivername="postgresql").render_as_string(hide_password=False)):
        found = {
            (role, name)
            for role in ("pii", "dagster")
            for name in ("pii", "warehouse", "dagster")
            if enters(role, name)
        }
    assert found == {("pii", "pii"), ("pii", "warehouse"), ("dagster", "dagster")}


def emulated(endpoint: str) -> dict[str, str]:
    """What stands for the emulator of the file."""
    return {"http://aws:5000": endpoint, "/aws_setup.py": str(DEPLOY / "compose" / "aws_setup.py")}


def test_the_set_up_of_aws_changes_nothing_the_second_time(
    aws: boto3.Session, aws_endpoint: str, tmp_path: Path
) -> None:
    machine = Machine(tmp_path, emulated(aws_endpoint))
    keys = []
    for _ in range(2):
        machine.run("aws-setup")
        keys.append(aws.client("kms").describe_key(KeyId="alias/pii-key-encryption"))
    assert keys[0]["KeyMetadata"]["KeyId"] == keys[1]["KeyMetadata"]["KeyId"]
    buckets = aws.client("s3").list_buckets()["Buckets"]
    assert {bucket["Name"] for bucket in buckets} == {f"pii-{zone}" for zone in (*ZONES, "vault-anchors")}
    lock = aws.client("s3").get_object_lock_configuration(Bucket="pii-vault-anchors")
    assert lock["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"
    (queue,) = aws.client("sqs").list_queues()["QueueUrls"]
    assert queue.endswith("/logins")


@pytest.fixture
def machine(postgres_url: str, aws: boto3.Session, aws_endpoint: str, tmp_path: Path) -> Iterator[Machine]:
    """A machine with the databases, what is set up in the emulator, and DAGSTER_HOME as in the image."""
    for folder in ("home", "tmp"):
        (tmp_path / folder).mkdir()
    Machine(tmp_path, emulated(aws_endpoint)).run("aws-setup")
    copyfile(DEPLOY / "dagster.yaml", tmp_path / "home" / "dagster.yaml")
    code, webserver, vault = free_port(), free_port(), free_port()
    server = make_url(postgres_url).set(drivername="postgresql")
    query = server.render_as_string(hide_password=False).partition("?")[2]
    place = f"{server.host or ''}:{server.port or ''}".rstrip(":")
    instead = {
        **{f"@postgres:5432/{name}": f"@{place}/{name}?{query}" for name in ("pii", "warehouse", "dagster")},
        "0.0.0.0": "127.0.0.1",
        "4000": str(code),
        "3000": str(webserver),
        "8080": str(vault),
        "/tmp/vault-token": str(tmp_path / "tmp" / "vault-token"),
        "/opt/pii/workspace.yaml": str(tmp_path / "workspace.yaml"),
        **emulated(aws_endpoint),
        "aws-kms://alias/pii-key-encryption": f"file:{tmp_path / 'keys' / 'key-encryption-key'}",
    }
    workspace = (DEPLOY / "workspace.yaml").read_text().replace("host: code", "host: 127.0.0.1")
    (tmp_path / "workspace.yaml").write_text(workspace.replace("4000", str(code)))
    found = Machine(tmp_path, instead)
    with databases(server.render_as_string(hide_password=False)):
        try:
            yield found
        finally:
            found.stop()


def test_the_commands_work_together(machine: Machine) -> None:
    """A run is asked for, queued, started by the daemon in the code location, and its rows are there."""
    machine.run("dagster-database")
    machine.run("code", "pii", "sample", "logins", "--events", "50", "--end", f"{HOUR}:30", "--land")
    for name in ("code", "vault", "webserver", "daemon"):
        machine.start(name)
        _wait(lambda name=name: machine.check(name))
    address = f"http://127.0.0.1:{machine.instead['3000']}/graphql"
    run = _launch(address, "logins")
    assert _wait(lambda: _finished(address, run)) == "SUCCESS"
    files = json.loads(machine.run("code", "pii", "files", "logins", "pseudonymized_events", "--json"))
    assert files and all("s3://pii-lake/" in json.dumps(file) for file in files)
    originals = json.loads(machine.run("code", "pii", "vault", "status", "--json"))
    assert originals["records"] > 0 and originals["audit_entries"] > 0
    # What is read-only in the containers is not written.
    assert [path.name for path in (machine.folder / "home").iterdir()] == ["dagster.yaml"]
    machine.run("code", "pii", "run", "logins", "--hour", HOUR)
    (home,) = [
        path for path in service("code")["tmpfs"] if path.startswith(image_environment()["DAGSTER_HOME"])
    ]
    assert f"uid={dict(dockerfile())['USER'].split(':')[0]}" in home


def _wait(until: Any) -> Any:
    give_up = time.monotonic() + _PATIENCE
    while not (found := until()):
        assert time.monotonic() < give_up
        time.sleep(0.5)
    return found


def _ask(address: str, query: str, **variables: Any) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["data"]


def _launch(address: str, stream: str) -> str:
    """A run of an hour, as a sensor would ask for it; its id."""
    answer = _ask(
        address,
        """mutation ($params: ExecutionParams!) {
             launchPipelineExecution(executionParams: $params) {
               __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
             }
           }""",
        params={
            "selector": {
                "repositoryLocationName": "pii_pipeline",
                "repositoryName": "__repository__",
                "pipelineName": "process_events",
                "assetSelection": [{"path": [stream, name]} for name in _assets(address, stream)],
            },
            "runConfigData": {},
            "mode": "default",
            "executionMetadata": {
                "tags": [
                    {"key": "dagster/partition", "value": "2026-11-22-10:00"},
                    {"key": "pii/stream", "value": stream},
                ]
            },
        },
    )["launchPipelineExecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return answer["run"]["runId"]


def _assets(address: str, stream: str) -> list[str]:
    nodes = _ask(address, "{ assetNodes { isExecutable assetKey { path } } }")["assetNodes"]
    return [
        node["assetKey"]["path"][1]
        for node in nodes
        if node["isExecutable"] and node["assetKey"]["path"][0] == stream
    ]


def _finished(address: str, run: str) -> str | None:
    query = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
    status = _ask(address, query, id=run)["runOrError"]["status"]
    return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None
