"""What `pii vault serve` does by the clock: anchors of the audit log, and keys that are opened anew."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from pii_pipeline_tests import hasty
from pii_pipeline_tests.faulty_proxy import NOT_TO_BE_QUOTED, FaultyProxy
from pii_pipeline_tests.vault_client import Client, code_of, entries
from pii_pipeline_tests.vault_server import VaultServer, vault_server

HASTY = hasty.__name__
POLICY = """
purposes:
  fraud: {description: Who is behind it., ticket: optional}
ticket: "[A-Z]{2,10}-[0-9]{1,9}"
principals:
  operator:
    read: [{streams: [logins], fields: [ip], bases: [legal_obligation], purposes: [fraud]}]
    create: [{streams: [logins], fields: [ip]}]
"""


def anchored(server: VaultServer) -> int:
    """The last entry that has an anchor."""
    names = [file.name for file in (server.folder / "anchors").glob("*.json")]
    return max((int(name.partition("_")[0]) for name in names), default=0)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_end_of_the_log_is_anchored_without_a_call(tmp_path: Path):
    with (
        vault_server(tmp_path, POLICY, module=HASTY) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        client = Client(channel, server.token)
        deadline = time.monotonic() + 30
        while True:  # an entry behind the last anchor, which its own call did not see to
            client.create("one", "192.0.2.1")
            if anchored(server) < (last := len(entries(server))):
                break
            assert time.monotonic() < deadline
        wait_until(lambda: anchored(server) == last)
        written = len(list((server.folder / "anchors").iterdir()))
        time.sleep(2 * hasty.ANCHOR_SECONDS)
        assert len(list((server.folder / "anchors").iterdir())) == written  # nor one of nothing new
        assert server.end() == 0
        assert "failed" not in server.log


@pytest.fixture
def in_kms(aws, faulty_aws: FaultyProxy) -> dict[str, str]:
    """The variables of a service whose keys are in KMS."""
    key = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    return {"PII_KEY_ENCRYPTION_KEY": f"aws-kms://{key}"}


def test_keys_are_opened_anew_while_it_serves(
    tmp_path: Path, in_kms: dict[str, str], faulty_aws: FaultyProxy
):
    with (
        vault_server(tmp_path, POLICY, in_kms, module=HASTY) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        client = Client(channel, server.token)
        person = ("customer", "jane-1")
        client("CreateRecord", client.creation("hers", "192.0.2.1", subject=person))
        client.create("nobody's", "192.0.2.2")
        opened = faulty_aws.count("Decrypt")
        end = time.monotonic() + 6 * hasty.HELD_SECONDS
        wrong: list[object] = []

        def ask(number: int) -> None:
            try:
                turn = 0
                while time.monotonic() < end:
                    assert (client.read("hers"), client.read("nobody's")) == (["192.0.2.1"], ["192.0.2.2"])
                    client.create((number, turn), "192.0.2.3")
                    turn += 1
                assert turn
            except (AssertionError, grpc.RpcError) as error:
                wrong.append(error)

        callers = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert wrong == []
        assert faulty_aws.count("Decrypt") >= opened + 6  # vault key, epoch key; several times
        assert "Traceback" not in server.log and "failed" not in server.log
        policies = [entry for entry in entries(server) if entry["action"] == "policy"]
        assert len(policies) == 1  # one log, however often it is opened anew


def test_a_key_that_may_not_be_used_any_more_ends_reads_and_one_that_may_again_begins_them(
    tmp_path: Path, in_kms: dict[str, str], faulty_aws: FaultyProxy
):
    with (
        vault_server(tmp_path, POLICY, in_kms, module=HASTY) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        client = Client(channel, server.token)
        client.create("one", "192.0.2.1")
        faulty_aws.fail("DisabledException", operation="Decrypt")

        def refused() -> bool:
            try:
                client.read("one")
            except grpc.RpcError:
                return True
            return False

        wait_until(refused)
        before = len(entries(server))
        code, details = code_of(lambda: client.read("one"))
        assert code == "UNAVAILABLE" and "keys" in details
        assert code_of(lambda: client.create("two", "planted"))[0] == "UNAVAILABLE"
        assert len(entries(server)) == before
        assert "the key is disabled" in server.log
        assert NOT_TO_BE_QUOTED not in server.log and "Traceback" not in server.log
        faulty_aws.heal()
        assert client.read("one") == ["192.0.2.1"]
        assert server.end() == 0
