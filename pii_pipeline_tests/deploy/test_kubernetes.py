"""deploy/helm/values.yaml: the same instance as deploy/dagster.yaml, in pods that can do little."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pii_pipeline.settings import ZONES, read_settings
from pii_pipeline_tests.deploy.compose import DEPLOY, dockerfile, image_command, image_environment
from pii_pipeline_tests.deploy.terraform import ACCOUNT, module

KUBERNETES = "1.34"


def values() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())


def code() -> dict[str, Any]:
    (deployment,) = values()["dagster-user-deployments"]["deployments"]
    return deployment


def instance() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "dagster.yaml").read_text())


def _camel(value: Any) -> Any:
    """Keys as the chart writes them; those under `value` are Dagster's own in both."""
    if isinstance(value, list):
        return [_camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {_camel_word(key): _camel(each) for key, each in value.items()}


def _camel_word(word: str) -> str:
    first, *rest = word.split("_")
    return first + "".join(map(str.capitalize, rest))


def test_the_queue_is_that_of_dagster_yaml() -> None:
    runs = instance()["concurrency"]["runs"]
    coordinator = values()["dagsterDaemon"]["runCoordinator"]
    ours = instance()["run_coordinator"]
    said = _camel({**ours["config"], **runs})
    assert coordinator["config"] == {coordinator["type"][0].lower() + coordinator["type"][1:]: said}
    assert coordinator["type"] == ours["class"]


def test_the_rest_is_that_of_dagster_yaml() -> None:
    ours, chart = instance(), values()
    assert chart["retention"] == {"enabled": True, **_camel(ours["retention"])}
    assert chart["telemetry"] == ours["telemetry"]
    assert chart["computeLogManager"]["type"] == ours["compute_logs"]["class"]
    for name in ("sensors", "schedules"):
        assert chart["dagsterDaemon"][name] == _camel(ours[name])
    monitoring = chart["dagsterDaemon"]["runMonitoring"]
    for name in ("enabled", "startTimeoutSeconds", "pollIntervalSeconds"):
        assert monitoring[name] == _camel(ours["run_monitoring"])[name]


def test_only_the_code_location_has_settings_and_rights() -> None:
    chart = values()
    for name in ("dagsterWebserver", "dagsterDaemon"):
        assert not {"env", "envSecrets", "envConfigMaps"} & chart[name].keys()
    own = chart["dagster-user-deployments"]["serviceAccount"]["name"]
    assert own != chart["serviceAccount"]["name"] and "serviceAccountName" not in chart["global"]


def test_the_settings_are_ones_that_are_read_and_that_terraform_gives() -> None:
    said = {each["name"]: each["value"] for each in code()["env"]}
    assert said.keys() - {"PII_WORKERS"} == module().outputs["environment"].keys()
    settings = read_settings({name: value.replace("ACCOUNT", ACCOUNT) for name, value in said.items()})
    assert settings.zones == {zone: f"s3://pii-{zone}-{ACCOUNT}" for zone in ZONES}
    assert settings.vault_anchors == module().outputs["environment"]["PII_VAULT_ANCHORS"]
    assert str(settings.workers) == code()["resources"]["limits"]["cpu"]


def test_the_code_location_is_the_image() -> None:
    command = image_command()
    assert command[-len(code()["dagsterApiGrpcArgs"]) :] == code()["dagsterApiGrpcArgs"]
    assert command[command.index("--port") + 1] == str(code()["port"])
    assert values()["global"]["dagsterHome"] == image_environment()["DAGSTER_HOME"]
    assert code()["image"]["tag"] == version("pii_pipeline")
    assert f"--version {version('dagster')} " in (DEPLOY / "helm" / "values.yaml").read_text()


@pytest.mark.parametrize("name", ["webserver", "daemon", "code", "run"])
def test_kubernetes_knows_every_key_of_its_own(name: str) -> None:
    """What the chart copies into a pod as it is."""
    chart = values()
    said = {"webserver": chart["dagsterWebserver"], "daemon": chart["dagsterDaemon"]}.get(name, code())
    of_pod, of_container = said["podSecurityContext"], said["securityContext"]
    if name == "run":
        config = chart["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
        of_pod = config["podSpecConfig"]["securityContext"]
        of_container = config["containerConfig"]["securityContext"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "securityContext": of_pod,
            "volumes": said.get("volumes", []),
            "containers": [
                {
                    "name": name,
                    "image": "{repository}:{tag}".format(**said["image"]),
                    "imagePullPolicy": said["image"]["pullPolicy"],
                    "env": said.get("env", []),
                    "envFrom": [{"secretRef": secret} for secret in said.get("envSecrets", [])],
                    "resources": said["resources"],
                    "securityContext": of_container,
                    "volumeMounts": said.get("volumeMounts", []),
                }
            ],
        },
    }
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    assert (
        of_pod["runAsNonRoot"]
        and f"{of_pod['runAsUser']}:{of_pod['runAsGroup']}" == dict(dockerfile())["USER"]
    )
    assert of_container == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_only_dagster_reaches_the_code_location() -> None:
    policy = yaml.safe_load((DEPLOY / "kubernetes" / "network-policy.yaml").read_text())
    kubernetes_validate.validate(policy, KUBERNETES, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**policy, "spec": {"podSelektor": {}}}, KUBERNETES, strict=True)
    (rule,) = policy["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == [code()["port"]]
