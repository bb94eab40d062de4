"""A whole installation in a folder of its own, used through the command line as a person would."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import boto3

from pii_pipeline.settings import ZONES, project_root
from pii_pipeline_tests.aws import make_bucket

HOUR = "2026-11-22T10"

# `pii`, but every landing object is a batch of its own, and WORTH_WORKERS says from how many bytes on
# batches are made in worker processes.
_SMALL_BATCHES = """
import sys
from pii_pipeline.cli import main
from pii_pipeline.pipeline import installation, workers
installation.Installation.__init__.__defaults__ = (1,)
workers.WORTH_WORKERS = int(sys.argv.pop(1))
main()
"""


class Deployment:
    """Everything a run writes is below `folder`; `streams` are the project's unless given.

    `worth_workers`: makes each landing object a batch, and batches in worker processes from so many bytes on.
    """

    worth_workers: int | None = None

    def __init__(self, folder: Path, streams: Path | None = None):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.storage = folder / "storage"
        self.database = folder / "pii.db"
        self.vault = folder / "vault.db"
        self.warehouse = folder / "warehouse.duckdb"
        self.home = folder / "dagster"
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PII_", "DAGSTER_"))
        } | {
            "PII_STORAGE_URI": str(self.storage),
            "PII_DATABASE_URL": f"sqlite:///{self.database}",
            "PII_VAULT_URL": f"sqlite:///{self.vault}",
            "PII_VAULT_ANCHORS": (folder / "vault-anchors").as_uri(),
            "PII_KEY_ENCRYPTION_KEY": f"file:{folder / 'keys' / 'kek'}",
            "PII_WAREHOUSE_URL": f"duckdb:///{self.warehouse}",
            "DAGSTER_HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "PII_WORKERS": "2",
            "PYTHONPATH": str(project_root()),  # this checkout, wherever the installed one is
        }
        if streams:
            self.environment["PII_STREAMS_DIR"] = str(streams)

    def start(self, *arguments: str, **options) -> subprocess.Popen:
        """`pii` with `arguments`, running."""
        command = [sys.executable, "-m", "pii_pipeline.cli"]
        if self.worth_workers is not None:
            command = [sys.executable, "-c", _SMALL_BATCHES, str(self.worth_workers)]
        return subprocess.Popen(
            [*command, *arguments],
            env=self.environment,
            cwd=self.folder,
            text=True,
            start_new_session=True,
            **options,
        )

    def pii(self, *arguments: str, code: int = 0) -> str:
        """`pii` with `arguments` to its end; its standard output. The exit code must be `code`."""
        process = self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == code, f"exit code {process.returncode}\n{output}\n{errors}"
        self.said = output + errors
        return output

    def json(self, *arguments: str, code: int = 0):
        """The same with ``--json``, parsed."""
        return json.loads(self.pii(*arguments, "--json", code=code))

    def query(self, sql: str) -> list[dict]:
        """Rows of a ``pii query``."""
        return self.json("query", sql)

    def land(self, stream: str, name: str, content: bytes, hour: str = HOUR) -> None:
        """Lands `content` as an object of that name."""
        file = self.folder / "outbox" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        self.pii("land", stream, str(file), "--hour", hour)
        file.unlink()

    def files(self, zone: str) -> dict[str, bytes]:
        """Path → content of every file of a zone."""
        root = self.storage / zone
        return {
            str(file.relative_to(root)): file.read_bytes()
            for file in sorted(root.rglob("*"))
            if file.is_file()
        }

    def copy_without_work(self, folder: Path) -> "Deployment":
        """The same keys and landing objects, none of the work: nothing sealed, validated or made."""
        shutil.copytree(self.folder, folder)
        for zone in ("lake", "restricted", "consented"):
            shutil.rmtree(folder / "storage" / zone)
        for file in folder.glob("vault.db*"):
            file.unlink()
        shutil.rmtree(folder / "vault-anchors", ignore_errors=True)
        with sqlite3.connect(folder / "pii.db") as database:
            tables = [
                name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            ]
            for table in (
                "ledger_files",
                "ledger_commits",
                "ledger_objects",
                "ledger_batches",
                "ledger_heads",
                "ledger_vault",  # there is none that anything was loaded into
            ):
                assert table in tables
                database.execute(f"DELETE FROM {table}")
        database.close()
        return Deployment(folder)


class S3Deployment(Deployment):
    """Each zone is a bucket; `client` sees them as they are, also where the deployment meets faults."""

    def __init__(self, folder: Path, session: boto3.Session, endpoint: str):
        super().__init__(folder)
        del self.environment["PII_STORAGE_URI"]
        for zone in ZONES:
            self.environment[f"PII_{zone.upper()}_URI"] = make_bucket(session, f"acme-{zone}") + "/pii"
        self.client = session.client("s3", endpoint_url=endpoint)

    def objects(self, *zones: str) -> dict[str, str]:
        """Zone and key → when it was written, to the second, and its ETag."""
        return {
            f"{zone}/{found['Key']}": f"{found['LastModified']} {found['ETag']}"
            for zone in zones
            for found in self.client.list_objects_v2(Bucket=f"acme-{zone}").get("Contents", ())
        }

    def files(self, zone: str) -> dict[str, bytes]:
        """Key → content of every object of a zone."""
        bucket = f"acme-{zone}"
        return {
            name.partition("/")[2]: self.client.get_object(Bucket=bucket, Key=name.partition("/")[2])[
                "Body"
            ].read()
            for name in self.objects(zone)
        }
