"""Streams of any length in flat memory, whoever is slow."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pii_pipeline_tests.unit.vault_client.stub import Stub, serving
from pii_pipeline_tests.vault_server import PROJECT

RECORDS = 200_000
BEFORE = 20_000
GROWTH = 40e6
"""All originals together are five times as many bytes."""

SCRIPT = """
import json, sys
from pathlib import Path
from pii_pipeline.vault_client import Connection
from pii_pipeline_tests.unit.vault_client import clients

def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

kind, address, records, before = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
client = getattr(clients, kind)(Connection(address, "token"))
seen, taken = [], 0

def take(result):
    global taken
    assert result is None
    taken += 1
    if taken in (before, records):
        seen.append(rss())

client.each("create_stream", items=(clients.record(n, f"{n:01000}") for n in range(records)), take=take)
print(json.dumps(seen))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize("kind", ["Threads", "Asyncio"])
def test_memory_is_flat_over_200_000_records(kind: str):
    with serving(Stub()) as address:
        arguments = [sys.executable, "-c", SCRIPT, kind, address, str(RECORDS), str(BEFORE)]
        result = subprocess.run(arguments, cwd=PROJECT, capture_output=True, check=True)
    before, after = json.loads(result.stdout)
    assert after - before < GROWTH
