"""Bad days of a service: zones on S3, a queue, a PostgreSQL; processes that are killed, servers that fail.

After each: nothing is lost, nothing counted twice, nothing left over, and the rows are those of a good day.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import boto3
import dagster as dg
import pytest
import sqlalchemy as sa
from moto.sqs.models import Message as MotoMessage
from zstandard import ZstdDecompressor

from pii_pipeline.database import reading
from pii_pipeline.definitions import build
from pii_pipeline.ledger import VALIDATED_EVENTS, add_counts, hour_of, tables
from pii_pipeline.pipeline.installation import Installation, zone_of
from pii_pipeline.pipeline.query import query
from pii_pipeline.runs import prepare_dagster_home
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline_tests.end_to_end.deployment import S3Deployment
from pii_pipeline_tests.faulty_proxy import FaultyProxy
from pii_pipeline_tests.integration.test_drain import small_stream
from pii_pipeline_tests.queues import Queue, one_call_at_a_time
from pii_pipeline_tests.warehouses import ask

LANDED, SENT = 60, 60
BAD = ["no json", '{"user_id": "half', "\t"]
EXPIRED = "the AWS credentials have expired"

# `pii`, killed with SIGKILL when it is about to make its COMMITth commit, if that is not 0: its files are
# there by then. What it takes from a queue is hidden from others for two seconds after it has died.
_PII = """
import os, signal, sys
from pii_pipeline.cli import main
from pii_pipeline.ledger.ledger import Ledger
from pii_pipeline.pipeline import drain
drain.SPARE_SECONDS = -8
left, commit = int(sys.argv.pop(1)), Ledger.commit
def counted(*arguments, **named):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return commit(*arguments, **named)
Ledger.commit = counted
main()
"""


def login(number: int) -> str:
    return json.dumps(
        {
            "user_id": f"user-{number % 50}",
            "app_version": "2.3.0",
            "device_type": "ios",
            "ip": f"192.0.2.{number % 7}",
            "locale": None,
            "device_id": f"device-{number}",
        }
    )


class Service(S3Deployment):
    """The deployment, its queue, and the proxy between them and AWS."""

    def __init__(self, folder: Path, aws: boto3.Session, endpoint: str, proxy: FaultyProxy, databases: Any):
        super().__init__(folder, aws, endpoint)
        database, warehouse = databases
        # Of one secret, so that what two services make of the same can be compared.
        self.environment |= {
            "PII_DATABASE_URL": database,
            "PII_WAREHOUSE_URL": warehouse,
            "PII_PSEUDONYM_SECRET": "0123456789abcdef" * 4,
        }
        self.proxy = proxy
        self.queue = Queue(aws)
        key = f"pii/logins/{datetime.now(UTC):%Y/%m/%d/%H}/log-ins.jsonl"
        lines = "".join(f"{login(number)}\n" for number in range(LANDED))
        self.client.put_object(Bucket="acme-landing", Key=key, Body=lines.encode())
        self.queue.send([*map(login, range(LANDED, LANDED + SENT)), *BAD])

    def begin(self, *arguments: str, killed_at: int = 0) -> subprocess.Popen[str]:
        """`pii` with `arguments`, running."""
        return subprocess.Popen(
            [sys.executable, "-c", _PII, str(killed_at), *arguments],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def do(self, *arguments: str, killed_at: int = 0) -> tuple[int, str]:
        """The same to its end: exit code and output."""
        process = self.begin(*arguments, killed_at=killed_at)
        output, _ = process.communicate(timeout=300)
        assert "user-" not in output and "device-" not in output, "no value of an event"
        return process.returncode, output

    def settle(self) -> None:
        """What a service does when all is well again: drains until nothing waits, and runs."""
        self.proxy.heal()
        deadline = time.monotonic() + 60
        while self.queue.left():
            assert time.monotonic() < deadline
            code, output = self.do("drain", "logins")
            assert code == 0, output
        code, output = self.do("run", "logins")
        assert code == 0, output

    def installation(self) -> Installation:
        """Of this process."""
        return Installation(read_settings(self.environment, project=project_root()))


@pytest.fixture
def service(
    tmp_path: Path,
    aws: boto3.Session,
    aws_endpoint: str,
    faulty_aws: FaultyProxy,
    postgres_database_url: str,
    postgres_schema_url: str,
) -> Iterator[Service]:
    with one_call_at_a_time():
        databases = postgres_database_url, postgres_schema_url
        yield Service(tmp_path, aws, aws_endpoint, faulty_aws, databases)


def outcome(service: Service) -> Counter[tuple[Any, ...]]:
    """The rows in the lake, after it was looked whether everything else is as it has to be."""
    opened = service.installation()
    try:
        reports = opened.ledger.status("logins")
        assert [wrong for report in reports for wrong in report.violations()] == []
        total = add_counts([report.layers[VALIDATED_EVENTS].counts for report in reports])
        assert (total["validated"], total["bad"]) == (LANDED + SENT, len(BAD))
        sql = "SELECT ip, device_id, device_type, app_version FROM logins.pseudonymized_events"
        rows = Counter(tuple(row) for row in query(opened, sql).rows)
        loaded = "SELECT masked_ip, masked_device_id, device_type, app_version_text FROM user_logins"
        assert Counter(map(tuple, ask(service.environment["PII_WAREHOUSE_URL"], loaded))) == rows
        assert query(opened, "SELECT count(*) FROM logins.bad_events").rows == [[len(BAD)]]
        with reading(opened.engine) as connection:
            held = connection.execute(sa.select(tables.files.c.dataset, tables.files.c.path)).all()
        there = set(service.objects("restricted", "lake", "consented"))
        assert there == {f"{zone_of(dataset)}/pii/{path}" for dataset, path in held}
        assert service.queue.left() == 0
        return rows
    finally:
        opened.close()


# ── the days ─────────────────────────────────────────────────────────────────────────────────────────────


def a_good_one(service: Service) -> None:
    """Nothing happens."""


def killed_before_commit(number: int) -> Callable[[Service], None]:
    """Of a step, between its files and its commit."""

    def day(service: Service) -> None:
        assert service.do("drain", "logins")[0] == 0
        assert service.do("run", "logins", killed_at=number)[0] == -signal.SIGKILL

    return day


def s3_fails(service: Service) -> None:
    """In a drain and a run, for a while; both do not mind."""
    write = service.proxy.fail("slow_down", times=2, method="PUT", path="acme-landing")
    lost = service.proxy.fail("lost_answer", times=1, method="PUT", path="acme-landing")
    assert service.do("drain", "logins")[0] == 0
    rules = [
        service.proxy.fail("slow_down", times=3, path="acme-", after=2),
        service.proxy.fail("reset", times=2, path="acme-", after=3),
        service.proxy.fail("internal_error", times=3, path="acme-", after=4),
        service.proxy.fail("truncated", times=2, method="GET", path="acme-landing/pii/logins"),
        service.proxy.fail("truncated", times=1, method="GET", path="acme-restricted/pii/logins"),
        service.proxy.fail("lost_answer", times=2, method="PUT|DELETE", path="acme-"),
    ]
    code, output = service.do("run", "logins")
    assert code == 0, output
    assert [rule.met for rule in (write, lost, *rules)] == [2, 1, 3, 2, 3, 2, 1, 2]


def sqs_fails(service: Service) -> None:
    """For a while: what was received and whose answer broke off comes again."""
    rules = [
        service.proxy.fail("slow_down", times=2, method="POST", after=1),
        service.proxy.fail("internal_error", times=2, method="POST", after=1),
        service.proxy.fail("reset", times=2, method="POST", after=1),
        service.proxy.fail("truncated", times=2, method="POST", after=2),
        service.proxy.fail("lost_answer", times=2, method="POST", after=4),
    ]
    code, output = service.do("drain", "logins")
    assert code == 0, output
    assert [rule.met for rule in rules] == [2, 2, 2, 2, 2]


def credentials_expire_in_a_run(service: Service) -> None:
    """At S3, when it has begun to read, and again when it writes."""
    for method, path in (("GET", "acme-landing/pii/logins"), ("PUT", "acme-lake")):
        rule = service.proxy.fail("expired", method=method, path=path)
        code, output = service.do("run", "logins")
        assert code != 0 and rule.met
        assert EXPIRED in output, output
        service.proxy.heal()


def credentials_expire_in_a_drain(service: Service) -> None:
    """At SQS, at every moment of it: when messages are received, when some were, when some are deleted."""
    for spared in (0, 1, 3, 9):
        rule = service.proxy.fail("expired", method="POST", after=spared)
        code, output = service.do("drain", "logins")
        assert code != 0 and rule.met
        assert EXPIRED in output
        service.proxy.heal()


def everything_at_once(service: Service) -> None:
    """Two runs of the same hour, while two drain the queue."""
    processes = [service.begin(command, "logins") for command in ("run", "drain", "drain", "run")]
    ended = [(process.communicate(timeout=300)[0], process.returncode) for process in processes]
    drains = sorted(code for _, code in ended[1:3])
    assert drains in ([0, 0], [0, 1]), ended  # the second finds the lease taken, unless it comes too late
    assert [code for _, code in (ended[0], ended[3])] == [0, 0], ended


@pytest.mark.parametrize(
    "day",
    [
        pytest.param(a_good_one, id="a good one"),
        *(
            pytest.param(killed_before_commit(number), id=f"killed before {layer} is committed")
            for number, layer in enumerate(("validated_events", "pseudonymized_events", "user_logins"), 1)
        ),
        pytest.param(s3_fails, id="S3 fails"),
        pytest.param(sqs_fails, id="SQS fails"),
        pytest.param(credentials_expire_in_a_run, id="credentials expire in a run"),
        pytest.param(credentials_expire_in_a_drain, id="credentials expire in a drain"),
        pytest.param(everything_at_once, id="everything at once"),
    ],
)
def test_the_state_is_that_of_a_good_day(service: Service, day: Callable[[Service], None]) -> None:
    day(service)
    service.settle()
    rows = outcome(service)
    assert sum(rows.values()) == LANDED + SENT
    addresses = Counter(row[0] for row in rows.elements())
    assert sorted(addresses.values()) == sorted(Counter(n % 7 for n in range(LANDED + SENT)).values())
    assert len({row[1] for row in rows}) == LANDED + SENT, "a device each"


# ── clocks, and daemons ──────────────────────────────────────────────────────────────────────────────────


def by_wrong_clocks(now: datetime) -> list[str]:
    """Events of five producers, two of whose clocks are right enough."""
    hours = {"in time": 0, "late": -1, "too late": -4, "in the future": 3, "far off": 24 * 365 * 40}
    return [
        json.dumps({"user": name, "at": int((now + timedelta(hours=by)).timestamp() * 1000)})
        for name, by in hours.items()
    ]


def test_clocks_of_producers_that_are_wrong(tmp_path: Path, service: Service) -> None:
    """An event is good or bad by the bounds of its hour; what is filed under an hour to come waits for it."""
    service.environment["PII_STREAMS_DIR"] = str(
        small_stream(tmp_path / "skewed", "time_field: at\nmax_age: 2h")
    )
    now = datetime.now(UTC)
    lines = "".join(f"{line}\n" for line in by_wrong_clocks(now))
    for moment in (now, now + timedelta(hours=5)):
        key = f"pii/small/{moment:%Y/%m/%d/%H}/events.jsonl"
        service.client.put_object(Bucket="acme-landing", Key=key, Body=lines.encode())
    service.do("run", "small")
    opened = service.installation()
    reports = {report.hour: report for report in opened.ledger.status("small")}
    opened.close()
    counts = reports.pop(hour_of(now)).layers[VALIDATED_EVENTS].counts
    assert (counts["records"], counts["validated"], counts["bad"]) == (5, 2, 3)
    assert counts["bad_by_reason"] == {"rule_violation": 3}
    assert [report.unsealed for report in reports.values()] in ([], [1]), "it is there, and in no batch"


@pytest.mark.parametrize(
    ("time_field", "good"), [("time_field: at\nmax_age: 2h", 2), ("time_field: $arrival", 5)]
)
def test_clocks_that_are_wrong_before_a_queue(
    tmp_path: Path,
    service: Service,
    aws: boto3.Session,
    monkeypatch: pytest.MonkeyPatch,
    time_field: str,
    good: int,
) -> None:
    """Those of producers count as without a queue, SQS's own not at all: the hour is that of the drain."""
    service.environment["PII_STREAMS_DIR"] = str(small_stream(tmp_path / "skewed", time_field))
    queue, mark_sent = Queue(aws, "small"), MotoMessage.mark_sent
    lines, skews = by_wrong_clocks(datetime.now(UTC)), (-30, 0, 30)
    for hours in skews:

        def skewed(message: MotoMessage, delay_seconds: int | None = None, by: int = hours) -> None:
            mark_sent(message, delay_seconds)
            message.sent_timestamp += by * 3_600_000  # type: ignore[operator]

        monkeypatch.setattr(MotoMessage, "mark_sent", skewed)
        queue.send(lines)
    began = datetime.now(UTC)
    service.pii("drain", "small")
    assert queue.left() == 0
    drained = {hour_of(began), hour_of(datetime.now(UTC))}
    service.do("run", "small")
    opened = service.installation()
    landed = [
        json.loads(line)
        for key, content in service.files("landing").items()
        if key.startswith("pii/small/")
        for line in ZstdDecompressor().decompressobj().decompress(content).splitlines()
    ]
    reports = opened.ledger.status("small")
    opened.close()
    sent = Counter(
        round((datetime.fromisoformat(item["sent_at"]) - began) / timedelta(hours=1)) for item in landed
    )
    assert sent == dict.fromkeys(skews, len(lines)), "so they were sent"
    assert {report.hour for report in reports} <= drained
    assert [wrong for report in reports for wrong in report.violations()] == []
    total = add_counts([report.layers[VALIDATED_EVENTS].counts for report in reports])
    expected = [number * len(skews) for number in (len(lines), good, len(lines) - good, 0)]
    assert [total[name] for name in ("records", "validated", "bad", "duplicate")] == expected


def test_two_daemons_at_one_tick_ask_for_the_same_run(service: Service) -> None:
    installations = [service.installation() for _ in range(2)]
    together = Barrier(2)

    def tick(installation: Installation) -> list[str | None]:
        definitions = build(installation)
        sensor = definitions.resolve_sensor_def("logins_landing_objects")
        together.wait()
        with dg.build_sensor_context(
            instance=instance, resources={"installation": installation}, definitions=definitions
        ) as context:
            return [request.run_key for request in sensor.evaluate_tick(context).run_requests or ()]

    home = prepare_dagster_home(installations[0].settings)
    with dg.DagsterInstance.from_config(str(home)) as instance, ThreadPoolExecutor(2) as threads:
        first, second = threads.map(tick, installations)
    assert first == second and len(first) == 1, "Dagster starts one run of a key"
    (waiting,) = installations[0].ledger.waiting("logins")
    assert waiting.objects == 1
    for installation in installations:
        installation.close()
    service.settle()
    assert sum(outcome(service).values()) == LANDED + SENT
