"""deploy/helm and deploy/kubernetes: the instance of deploy/dagster.yaml, and the vault, in pods that can do
little."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pii_pipeline.settings import ZONES, read_settings
from pii_pipeline.vault_service.server import GRACE_SECONDS
from pii_pipeline_tests.certificates import Authority
from pii_pipeline_tests.deploy.compose import DEPLOY, dockerfile, image_command, image_environment
from pii_pipeline_tests.deploy.terraform import ACCOUNT, module
from pii_pipeline_tests.vault_server import vault_server

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


VAULT = DEPLOY / "kubernetes" / "vault.yaml"
CLIENT = DEPLOY / "kubernetes" / "examples" / "piinguin-client.yaml"


def manifests(path: Path) -> dict[str, dict[str, Any]]:
    """What a file has, by kind."""
    found = list(yaml.safe_load_all(path.read_text()))
    assert len({each["kind"] for each in found}) == len(found)
    return {each["kind"]: each for each in found}


@pytest.mark.parametrize("path", [VAULT, CLIENT], ids=lambda path: path.stem)
def test_kubernetes_knows_every_key_of_the_vaults(path: Path) -> None:
    for manifest in manifests(path).values():
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def vault_pod() -> dict[str, Any]:
    return manifests(VAULT)["Deployment"]["spec"]["template"]


@pytest.mark.parametrize(
    "pod", [vault_pod()["spec"], manifests(CLIENT)["Pod"]["spec"]], ids=["vault", "client"]
)
def test_pods_of_the_vaults_can_do_little(pod: dict[str, Any]) -> None:
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True and context["runAsUser"] == context["fsGroup"] == 10001
    assert pod["automountServiceAccountToken"] is False
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"] and container["resources"]["requests"]
        assert all(
            mount.get("readOnly") for mount in container.get("volumeMounts", []) if mount["name"] != "tmp"
        )
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["tmp"]["emptyDir"]["medium"] == "Memory"
    assert volumes["tls"]["secret"]["defaultMode"] == 0o440


def test_the_vault_has_the_settings_that_it_reads_and_the_image() -> None:
    (container,) = vault_pod()["spec"]["containers"]
    said = {each["name"]: each.get("value") for each in container["env"]}
    secret = {
        each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each
    }
    assert {name: ref["key"] for name, ref in secret.items()} == {name: name for name in secret}
    assert {ref["name"] for ref in secret.values()} == {each["name"] for each in code()["envSecrets"]}
    plain = {name: value.replace("ACCOUNT", ACCOUNT) for name, value in said.items() if value}
    urls = dict.fromkeys(secret, "postgresql://host/pii")
    settings = read_settings({**plain, **urls, "PII_VAULT_POLICY": ""})
    given = module().outputs["environment"]
    assert settings.vault_anchors == given["PII_VAULT_ANCHORS"]
    assert settings.key_encryption_key == given["PII_KEY_ENCRYPTION_KEY"]
    assert container["image"].endswith(f":{version('pii_pipeline')}")
    assert container["args"] == ["pii", "vault", "serve"]
    mounted = tuple(mount["mountPath"] + "/" for mount in container["volumeMounts"])
    for name in ("CERTIFICATE", "KEY", "CLIENT_CA"):
        assert said[f"PII_VAULT_TLS_{name}"].startswith("/tls/")
    assert all(value.startswith(mounted) for value in plain.values() if value.startswith("/"))


def test_the_vault_has_the_time_that_it_takes_to_end() -> None:
    pod = vault_pod()["spec"]
    before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= before + GRACE_SECONDS + 10


def test_only_those_with_the_label_reach_the_vault() -> None:
    found = manifests(VAULT)
    policy, service = found["NetworkPolicy"]["spec"], found["Service"]["spec"]
    labels = vault_pod()["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == service["selector"] == labels
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    (rule,) = policy["ingress"]
    (port,) = vault_pod()["spec"]["containers"][0]["ports"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port["containerPort"]}]
    assert rule["from"] == [{"podSelector": {"matchLabels": manifests(CLIENT)["Pod"]["metadata"]["labels"]}}]
    assert service["ports"] == [{"name": port["name"], "port": 8080, "targetPort": port["name"]}]


def test_the_probe_tells_a_vault_that_serves_over_mutual_tls_from_one_that_does_not(tmp_path: Path) -> None:
    (container,) = vault_pod()["spec"]["containers"]
    probes = [container[f"{name}Probe"]["exec"]["command"] for name in ("startup", "readiness", "liveness")]
    assert probes[0] == probes[1] == probes[2]
    python, *command, port, name, folder = probes[0]
    assert (python, port, folder) == ("python", "8080", "/tls") and name == "vault.pii.svc"
    authority = Authority()
    own = authority.signed(name, name)
    files = {"tls.crt": own.certificate, "tls.key": own.key, "ca.crt": authority.certificate}
    for file, data in files.items():
        (tmp_path / file).write_bytes(data)
    variables = {
        each["name"]: each["value"].replace("/tls/", f"{tmp_path}/")
        for each in container["env"]
        if each["name"].startswith("PII_VAULT_TLS_") or each["name"] == "PII_VAULT_HOST"
    }

    def serves(port: str) -> bool:
        asked = [sys.executable, *command, port, name, str(tmp_path)]
        return subprocess.run(asked, capture_output=True, timeout=60).returncode == 0

    with vault_server(tmp_path, "principals: {}", variables) as server:
        port = server.address.rpartition(":")[2]
        assert serves(port)
        assert server.end() == 0
    assert not serves(port)
