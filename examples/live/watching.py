"""What has arrived, asked of the three databases, and how long each event took."""

from __future__ import annotations

import io
import json
import time
from dataclasses import dataclass
from datetime import datetime
from statistics import median, quantiles
from typing import Any

import boto3
import psycopg2
import zstandard

from examples.live.services import BUCKETS, Live
from examples.live.trickle import Trickle

IN_LAKE = "pseudonymized_events"
IN_TABLE = "pseudonymized_events/user_logins"
"""Layers of the ledger."""

_RECORDS = """
    SELECT coalesce(sum((counts ->> 'records')::bigint), 0),
           coalesce(sum((counts ->> 'bad')::bigint), 0),
           coalesce(sum((counts ->> 'duplicate')::bigint), 0)
    FROM ledger_commits WHERE stream = %s AND layer = 'validated_events'
"""
_ROWS = """
    SELECT coalesce(sum(rows), 0) FROM ledger_files JOIN ledger_commits USING (batch_id, layer)
    WHERE stream = %s AND dataset = 'pseudonymized_events'
"""
_ARRIVED = """
    SELECT uri, committed_at FROM ledger_objects JOIN ledger_commits USING (batch_id, stream)
    WHERE stream = %s AND layer = %s
"""
_RUNS = """
    SELECT count(*) FILTER (WHERE status = 'SUCCESS'),
           count(*) FILTER (WHERE status IN ('FAILURE', 'CANCELED')),
           count(*) FILTER (WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED'))
    FROM runs
"""
_TICKS = "SELECT count(*) FROM job_ticks WHERE type = 'SENSOR' AND status <> 'STARTED'"


@dataclass(frozen=True)
class Seen:
    """How much there is at a moment. `read`: records that the pipeline has judged, those that SQS delivered
    twice among them; of these so many were `bad`, and so many duplicates."""

    clicks_sent: int
    log_ins_sent: int
    ticks: int
    runs_done: int
    runs_failed: int
    runs_at_work: int
    clicks_read: int
    clicks_bad: int
    clicks_duplicate: int
    log_ins_read: int
    log_ins_bad: int
    log_ins_duplicate: int
    lake_rows: int
    table_rows: int


@dataclass(frozen=True)
class Latency:
    """Seconds, of so many; None of none."""

    number: int
    median: float | None
    p99: float | None

    @classmethod
    def of(cls, seconds: list[float]) -> Latency:
        if not seconds:
            return cls(0, None, None)
        p99 = quantiles(seconds, n=100, method="inclusive")[98] if len(seconds) > 1 else seconds[0]
        return cls(len(seconds), round(median(seconds), 2), round(p99, 2))


class Watcher:
    """Looks at what there is. Remembers of each object of clicks, and of each log-in, how long it took from
    when it was sent until its batch was committed: to the lake, or to the table.

    first_row: when (`time.monotonic`) a row was first seen in the table
    """

    def __init__(self, live: Live, session: boto3.Session, trickle: Trickle) -> None:
        self._databases = {
            name: psycopg2.connect(url)
            for name, url in (("pii", live.ledger), ("warehouse", live.warehouse), ("dagster", live.dagster))
        }
        for connection in self._databases.values():
            connection.autocommit = True
        self._s3 = session.client("s3", endpoint_url=live.aws)
        self._trickle = trickle
        self._clicks: dict[str, float] = {}
        self._log_ins: dict[str, float] = {}
        self._drained: set[str] = set()
        self.first_row: float | None = None

    def look(self) -> Seen:
        """What there is now."""
        self._clock_clicks()
        self._clock_log_ins()
        done, failed, at_work = self._ask("dagster", _RUNS)[0]
        clicks = self._ask("pii", _RECORDS, "webshop")[0]
        log_ins = self._ask("pii", _RECORDS, "logins")[0]
        return Seen(
            clicks_sent=self._trickle.clicks,
            log_ins_sent=self._trickle.log_ins,
            ticks=self._number("dagster", _TICKS),
            runs_done=done,
            runs_failed=failed,
            runs_at_work=at_work,
            clicks_read=int(clicks[0]),
            clicks_bad=int(clicks[1]),
            clicks_duplicate=int(clicks[2]),
            log_ins_read=int(log_ins[0]),
            log_ins_bad=int(log_ins[1]),
            log_ins_duplicate=int(log_ins[2]),
            lake_rows=self._number("pii", _ROWS, "webshop"),
            table_rows=self._table_rows(),
        )

    def has_all(self) -> bool:
        """Whether everything that was sent has arrived."""
        return len(self._clicks) == len(self._trickle.put_at) and len(self._log_ins) == self._trickle.log_ins

    @property
    def clicks(self) -> Latency:
        """From PUT to the lake, by object."""
        return Latency.of(list(self._clicks.values()))

    @property
    def log_ins(self) -> Latency:
        """From SQS to the table, by message."""
        return Latency.of(list(self._log_ins.values()))

    def _clock_clicks(self) -> None:
        for uri, committed in self._ask("pii", _ARRIVED, "webshop", IN_LAKE):
            if uri not in self._clicks:
                self._clicks[uri] = (committed - self._trickle.put_at[uri]).total_seconds()

    def _clock_log_ins(self) -> None:
        for uri, committed in self._ask("pii", _ARRIVED, "logins", IN_TABLE):
            if uri in self._drained:
                continue
            self._drained.add(uri)
            body = self._s3.get_object(Bucket=BUCKETS["landing"], Key=uri)["Body"].read()
            for line in zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body)).read().splitlines():
                message = json.loads(line)
                took = (committed - datetime.fromisoformat(message["sent_at"])).total_seconds()
                self._log_ins.setdefault(message["message_id"], took)

    def _table_rows(self) -> int:
        if self._number("warehouse", "SELECT count(*) FROM pg_class WHERE relname = 'user_logins'") == 0:
            return 0
        rows = self._number("warehouse", "SELECT count(*) FROM user_logins")
        if rows and self.first_row is None:
            self.first_row = time.monotonic()
        return rows

    def _number(self, database: str, sql: str, *values: str) -> int:
        return int(self._ask(database, sql, *values)[0][0])

    def _ask(self, database: str, sql: str, *values: str) -> list[tuple[Any, ...]]:
        with self._databases[database].cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()
