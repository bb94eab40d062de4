"""`pii vault serve` killed, and told to end, under the load of several processes: what
it acknowledged is there, what it told is on record, and the audit log is whole."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.settings import read_settings
from pii_pipeline_tests.vault_caller import original_of
from pii_pipeline_tests.vault_client import Client, pseudonym
from pii_pipeline_tests.vault_server import PROJECT, VaultServer, environment, vault_server

PROCESSES, THREADS = 3, 2
POLICY = """
purposes:
  fraud: {description: Who is behind it., ticket: optional}
ticket: "[A-Z]{2,10}-[0-9]{1,9}"
principals:
  operator:
    read: [{streams: [logins], fields: [ip], bases: [legal_obligation], purposes: [fraud]}]
    create: [{streams: [logins], fields: [ip]}]
"""


class Callers:
    """Processes that ask a service until it ends."""

    def __init__(self, server: VaultServer, turn: str, folder: Path) -> None:
        self._outputs = [folder / f"{turn}-{number}" for number in range(PROCESSES)]
        self._processes: list[subprocess.Popen[bytes]] = []
        for output in self._outputs:
            arguments = [server.address, server.token, output.name, str(THREADS)]
            command = [sys.executable, "-m", "pii_pipeline_tests.vault_caller", *arguments]
            with output.open("wb") as file:
                self._processes.append(subprocess.Popen(command, stdout=file, cwd=PROJECT))

    def answered(self) -> dict[str, list[str]]:
        """The records that were created, and those that were read; a line that is no whole one is none."""
        found: dict[str, list[str]] = {"created": [], "read": []}
        for output in self._outputs:
            for line in output.read_text().split("\n")[:-1]:
                what, _, record = line.partition(" ")
                found[what].append(record)
        return found

    def wait_for_answers(self) -> None:
        """Until each process has got some of either kind."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for_each = [Counter(line.split(" ")[0] for line in _lines(output)) for output in self._outputs]
            if all(count["created"] >= 30 and count["read"] >= 10 for count in for_each):
                return
            time.sleep(0.05)
        raise AssertionError("the service hardly answers")

    def wait(self) -> None:
        """Until they have noticed that it ended."""
        try:
            assert [process.wait(60) for process in self._processes] == [0] * PROCESSES
        finally:
            for process in self._processes:
                process.kill()


def _lines(output: Path) -> list[str]:
    return output.read_text().splitlines()


def test_nothing_acknowledged_is_lost_and_nothing_told_is_off_the_record(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"PII_VAULT_URL": database_url}
    created: list[str] = []
    read: list[str] = []
    for turn, ending in enumerate([signal.SIGKILL, signal.SIGTERM]):
        with vault_server(tmp_path, POLICY, variables) as server:
            callers = Callers(server, f"turn{turn}", tmp_path)
            callers.wait_for_answers()
            server.process.send_signal(ending)
            assert server.process.wait(60) == (-9 if ending == signal.SIGKILL else 0)
            callers.wait()
            assert "Traceback" not in server.log and "planted" not in server.log
        answered = callers.answered()
        created += answered["created"]
        read += answered["read"]
        on_record, all_read = audited(tmp_path, variables, monkeypatch)
        assert {record: on_record[pseudonym(record)] for record in read} == dict.fromkeys(read, 1)
        on_their_way = PROCESSES * THREADS * (turn + 1)  # each thread waits for one answer at most
        assert len(read) <= all_read <= len(read) + on_their_way
    assert len(created) == len(set(created))
    with (
        vault_server(tmp_path, POLICY, variables) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        client = Client(channel, server.token)
        told = client("StreamReads", map(client.look, created))
        assert [list(one.found.originals) for one in told] == [[original_of(record)] for record in created]


def audited(
    folder: Path, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> tuple[Counter[str], int]:
    """How often the audit log, which is whole, says that each pseudonym was read; and how many reads."""
    with monkeypatch.context() as patch:
        for name, value in (environment(folder, POLICY) | variables).items():
            patch.setenv(name, value)
        installation = Installation(read_settings())
    with closing(installation):
        found = installation.vault_audit.verify()
        assert found.broken is None, found.broken
        entries = [json.loads(entry.text) for entry in installation.vault_audit.entries()]
        assert found.entries == len(entries) > 0
        assert found.anchored is not None
    reads = [entry for entry in entries if entry["action"] == "read"]
    assert all(entry["counts"]["asked"] == len(entry["records"]) == 1 for entry in reads)
    return Counter(entry["records"][0][2] for entry in reads), len(reads)
