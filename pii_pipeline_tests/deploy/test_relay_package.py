"""deploy/relay: what goes into the relay's function beside its libraries, and which of these."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

from pii_pipeline_tests.deploy.compose import DEPLOY
from pii_pipeline_tests.deploy.terraform import module

PACKAGE = DEPLOY / "relay" / "package.py"

_MODULES = f"""
import runpy
for name, file in runpy.run_path({str(PACKAGE)!r})["_modules"]():
    print(name, file)
"""
_HANDLED = """
import sys
sys.path.insert(0, sys.argv[1])
import pii_pipeline.relay.handler as relay
assert relay.__file__.startswith(sys.argv[1])
print(relay.handler({"Records": []}, type("Context", (), {"get_remaining_time_in_millis": lambda _: 9000})()))
"""


def test_the_function_has_all_of_the_product_that_it_imports(tmp_path: Path) -> None:
    listed = subprocess.run([sys.executable, "-c", _MODULES], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        name, _, file = line.partition(" ")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", _HANDLED, str(tmp_path)],
        env={"PIINGUIN_HOST": "127.0.0.1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1:] == ["{'batchItemFailures': []}"], done.stderr
    assert {path.name for path in (tmp_path / "pii_pipeline").iterdir()} == {
        "__init__.py",
        "aws.py",
        "keys",
        "relay",
        "vault",
        "vault_client",
        "vault_wire",
    }


def test_its_libraries_are_those_of_the_image_by_hash() -> None:
    def locked(lock: Path) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9._-]+)==(\S+) \\\n    --hash=sha256:", lock.read_text(), re.M))

    relay = locked(DEPLOY / "relay" / "requirements.lock")
    assert relay.keys() == {"grpcio", "protobuf", "typing-extensions"}
    assert relay.items() <= locked(DEPLOY / "requirements.lock").items()


def test_they_are_for_the_python_of_the_function() -> None:
    function = module().resources["aws_lambda_function.relay[snowplow]"]
    platform = runpy.run_path(str(PACKAGE))["PLATFORM"]
    assert function["runtime"] == f"python{platform[1]}"
    assert [platform[3].partition("-")[0]] == function["architectures"]
