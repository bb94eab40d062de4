"""`pii vault serve` that is told to end, or killed, amid its work: nothing that it acknowledged is lost."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from pii_pipeline_tests import hasty
from pii_pipeline_tests.vault_client import Client, code_of
from pii_pipeline_tests.vault_server import Piinguin, health_of, vault_server

POLICY = """
purposes:
  fraud: {description: Who is behind it., ticket: optional}
ticket: "[A-Z]{2,10}-[0-9]{1,9}"
principals:
  operator:
    read: [{streams: [logins], fields: [ip], bases: [legal_obligation], purposes: [fraud]}]
    create: [{streams: [logins], fields: [ip]}]
"""


@pytest.mark.parametrize("ending", ["SIGTERM", "SIGKILL"])
def test_what_was_acknowledged_amid_a_stream_is_there_after_the_end(tmp_path: Path, ending: str):
    acknowledged = 0
    with vault_server(tmp_path, POLICY) as server, grpc.insecure_channel(server.address) as channel:
        client = Client(channel, server.token)

        def creations():
            number = 0
            while True:  # until it ends
                yield client.creation(("stream", number), f"{number}.planted.example")
                number += 1

        killer = threading.Timer(
            1.0, server.process.kill if ending == "SIGKILL" else server.process.terminate
        )
        with pytest.raises(grpc.RpcError) as ended:
            for reply in client("StreamCreates", creations()):
                assert (reply.position, reply.status.code) == (acknowledged, 0)
                acknowledged += 1
                if acknowledged == 1:
                    killer.start()
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE  # pyright: ignore
        assert server.process.wait(60) == (-9 if ending == "SIGKILL" else 0)
        assert "planted" not in server.log and "Traceback" not in server.log
    assert acknowledged > 100
    with vault_server(tmp_path, POLICY) as server, grpc.insecure_channel(server.address) as channel:
        client = Client(channel, server.token)
        looks = (client.look(("stream", number)) for number in range(acknowledged))
        originals = [list(told.found.originals) for told in client("StreamReads", looks)]
        assert originals == [[f"{number}.planted.example"] for number in range(acknowledged)]


def test_piinguins_streams_end_as_well_and_lose_nothing(tmp_path: Path):
    acknowledged = 0
    with vault_server(tmp_path, POLICY) as server, grpc.insecure_channel(server.address) as channel:
        client = Piinguin(channel)

        def creations():
            number = 0
            while True:
                yield client.creation(f"m-{number}", f"{number}.planted.example")
                number += 1

        with pytest.raises(grpc.RpcError):
            for reply in client.calls.CreatePiiRecords(creations()):
                assert reply.status.isSuccess
                acknowledged += 1
                if acknowledged == 500:
                    server.process.terminate()
        assert server.process.wait(60) == 0
    with vault_server(tmp_path, POLICY) as server, grpc.insecure_channel(server.address) as channel:
        client = Piinguin(channel)
        looks = (client.look(f"m-{number}") for number in range(acknowledged))
        originals = [told.piiRecord.originalValue for told in client.calls.ReadPiiRecords(looks)]
        assert originals == [f"{number}.planted.example" for number in range(acknowledged)]


def test_calls_that_were_accepted_are_answered_and_no_others(tmp_path: Path):
    with (
        vault_server(tmp_path, POLICY) as server,
        grpc.insecure_channel(server.address) as channel,
        ThreadPoolExecutor(32) as callers,
    ):
        client = Client(channel, server.token)
        client.create("first", "o")
        states = health_of(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        database = sqlite3.connect(tmp_path / "vault.db", timeout=60, isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
        accepted = [callers.submit(client.create, ("accepted", n), "o") for n in range(24)]
        time.sleep(1.0)
        server.process.terminate()
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
        time.sleep(0.5)
        assert code_of(lambda: client.create("too late", "o", timeout=5))[0] == "UNAVAILABLE"
        assert server.process.poll() is None
        database.execute("ROLLBACK")
        database.close()
        released = time.monotonic()
        assert all(one.result().stored.new == 1 for one in accepted)
        assert server.process.wait(60) == 0
        assert time.monotonic() - released < 15  # before the grace is over: nothing waits for those who watch
        with pytest.raises(grpc.RpcError):
            next(states)


def test_who_is_not_answered_in_the_time_there_is_is_told_that_the_service_ends(tmp_path: Path):
    with (
        vault_server(tmp_path, POLICY, module=hasty.__name__) as server,
        grpc.insecure_channel(server.address) as channel,
        ThreadPoolExecutor(16) as callers,
    ):
        client = Client(channel, server.token)
        client.create("first", "o")
        with sqlite3.connect(tmp_path / "vault.db", timeout=60, isolation_level=None) as database:
            database.execute("BEGIN IMMEDIATE")
            late = [callers.submit(code_of, lambda n=n: client.create(("late", n), "o")) for n in range(12)]
            given_up = client("StreamCreates", iter([client.creation("given up", "o")]))
            time.sleep(1.0)
            server.process.terminate()
            time.sleep(0.5)
            given_up.cancel()
            assert {one.result() for one in late} == {("UNAVAILABLE", "the service ends; try again")}
            database.execute("ROLLBACK")
        assert server.process.wait(60) == 0
        assert "unexpected" not in server.log and "Traceback" not in server.log, server.log


def test_idle_streams_do_not_hold_up_the_end(tmp_path: Path):
    with vault_server(tmp_path, POLICY) as server, grpc.insecure_channel(server.address) as channel:
        client = Client(channel, server.token)
        idle = threading.Event()

        def requests():
            yield client.creation("idle", "o")
            idle.wait(60)

        replies = client("StreamCreates", requests())
        assert next(replies).status.code == 0
        start = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - start < 15
        assert code_of(lambda: next(replies))[0] == "UNAVAILABLE"
        idle.set()
