"""The client is for small programs, such as a Lambda: it brings in nothing of the pipeline."""

from __future__ import annotations

import json
import subprocess
import sys

from pii_pipeline_tests.vault_server import PROJECT

HEAVY = [
    "alembic",
    "boto3",
    "cryptography",
    "dagster",
    "duckdb",
    "numpy",
    "pyarrow",
    "pydantic",
    "sqlalchemy",
]


def test_importing_it_brings_in_grpc_and_protobuf_alone():
    script = f"""
import json, sys
import pii_pipeline.vault_client
ours = sorted(name for name in sys.modules if name.startswith("pii_pipeline."))
print(json.dumps([[name for name in {HEAVY} if name in sys.modules], ours]))
"""
    result = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, check=True)
    heavy, ours = json.loads(result.stdout)
    assert heavy == []
    packages = {name.split(".")[1] for name in ours}
    assert packages == {"vault", "vault_client", "vault_wire"}
    assert [name for name in ours if name.startswith("pii_pipeline.vault.")] == [
        "pii_pipeline.vault.errors",
        "pii_pipeline.vault.model",
    ]
