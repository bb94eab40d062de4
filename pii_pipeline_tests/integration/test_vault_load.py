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
from pii_pipeline_tests.vault_caller import KINDS, original_of
from pii_pipeline_tests.vault_client import Client, pseudonym
from pii_pipeline_tests.vault_server import PROJECT, Piinguin, VaultServer, environment, vault_server

PROCESSES = 2
ENOUGH = 5
"""Answers to wait for, of every kind, before the service is to end."""
AT_ONCE, SLOWLY = 20, 4
"""Records of a caller at once. Over moto few: it looks at all of a table for each query, and copies it for
each transaction."""
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

    def __init__(self, server: VaultServer, turn: str, folder: Path, at_once: int) -> None:
        self._outputs = [folder / f"{turn}-{number}" for number in range(PROCESSES)]
        self._processes: list[subprocess.Popen[bytes]] = []
        for output in self._outputs:
            arguments = [server.address, server.token, output.name, str(at_once)]
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
        """Until each process has got several of every kind."""
        deadline = time.monotonic() + 120
        wanted = PROCESSES * len(KINDS)
        while time.monotonic() < deadline:
            found = self.answered()
            counts = [Counter(record.rpartition("/")[0] for record in found[what]) for what in found]
            if all(len(count) == wanted and min(count.values()) >= ENOUGH for count in counts):
                return
            time.sleep(0.2)
        raise AssertionError("the service hardly answers")

    def wait(self) -> None:
        """Until they have noticed that it ended."""
        try:
            assert [process.wait(60) for process in self._processes] == [0] * PROCESSES
        finally:
            for process in self._processes:
                process.kill()


def test_nothing_acknowledged_is_lost_and_nothing_told_is_off_the_record(
    vault_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"PII_VAULT_URL": vault_url}
    at_once = SLOWLY if vault_url.startswith("dynamodb:") else AT_ONCE
    created: list[str] = []
    read: list[str] = []
    for turn, ending in enumerate([signal.SIGKILL, signal.SIGTERM]):
        with vault_server(tmp_path, POLICY, variables) as server:
            callers = Callers(server, f"turn{turn}", tmp_path, at_once)
            callers.wait_for_answers()
            server.process.send_signal(ending)
            assert server.process.wait(60) == (-9 if ending == signal.SIGKILL else 0)
            callers.wait()
            assert "Traceback" not in server.log and "planted" not in server.log
        answered = callers.answered()
        created += answered["created"]
        read += answered["read"]
        on_record, of_all = reads_on_record(tmp_path, variables, monkeypatch, read)
        assert on_record == dict.fromkeys(read, 1)
        on_their_way = PROCESSES * len(KINDS) * at_once * (turn + 1)
        assert len(read) <= of_all <= len(read) + on_their_way
    assert len(created) == len(set(created)) and set(read) <= set(created)
    with (
        vault_server(tmp_path, POLICY, variables) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        assert told(Client(channel, server.token), Piinguin(channel), created) == {
            record: original_of(record) for record in created
        }


def told(client: Client, piinguin: Piinguin, records: list[str]) -> dict[str, str]:
    """What the service tells of each record, which has one original, over the protocol it was created by."""
    of_piinguin = [record for record in records if "/piinguin-" in record]
    ours = [record for record in records if "/piinguin-" not in record]
    looks = (piinguin.look(pseudonym(record)) for record in of_piinguin)
    found = {
        record: one.piiRecord.originalValue
        for record, one in zip(of_piinguin, piinguin.calls.ReadPiiRecords(looks), strict=True)
    }
    for record, one in zip(ours, client("StreamReads", map(client.look, ours)), strict=True):
        (found[record],) = one.found.originals
    return found


def reads_on_record(
    folder: Path, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> tuple[dict[str, int], int]:
    """How often the audit log, which is whole, says that each record was read; and how many reads of all."""
    with monkeypatch.context() as patch:
        for name, value in (environment(folder, POLICY) | variables).items():
            patch.setenv(name, value)
        installation = Installation(read_settings())
    with closing(installation):
        log = installation.vault_audit
        found = log.verify()
        assert found.broken is None, found.broken
        entries = [json.loads(entry.text) for entry in log.entries()]
        assert found.entries == len(entries) > 0
        assert found.anchored is not None
        names = {
            record: f"mark:{log._key.mark(pseudonym(record))}"
            if "/piinguin-" in record
            else pseudonym(record)
            for record in asked
        }
    reads = [entry for entry in entries if entry["action"] == "read"]
    assert all(entry["counts"]["asked"] == len(entry["records"]) for entry in reads)
    counts = Counter(name for entry in reads for _stream, _field, name in entry["records"])
    return {record: counts[name] for record, name in names.items()}, counts.total()
