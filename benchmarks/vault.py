"""The vault's service beside bare loops into the same kind of store, in the same run: ``python -m
benchmarks.vault``.

Records are created and read over a real channel by the product's own client: by `--callers` threads, each
call one record; in calls of a thousand, one after the other; in one stream. The bare loop is what one writes
first: a row, or a thousand, in a transaction as durable as the vault's (SQLite's executemany with the same
synchronous setting, psycopg2's execute_values), and boto3's put_item and get_item. It seals nothing, asks
nobody, and keeps no log.

DynamoDB is a server of this module's own, in a process of its own, that answers after `--latency`
milliseconds: an emulator such as moto looks through a whole table for each query, and would be what is
measured. Each record is a request of its own there, so that it gets a tenth of the records.

Besides: the service's memory while `--flat` records go in and out in streams, and how fast the main job's
records, which are sealed already, are loaded. A look at it all takes 20 s with ``--rounds 1 --records 2000
--calls 200 --flat 4000 --loaded 10000``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import secrets
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.dynamodb import dynamodb
from benchmarks.measuring import print_figures, resident, serve, with_stand_in

if TYPE_CHECKING:
    from pii_pipeline.vault.model import Reason, Record, RecordKey
    from pii_pipeline.vault_client import VaultClient

# Limits that nobody meets: to count by them is part of a read.
POLICY = """
purposes:
  fraud: {description: Who is behind it.}
principals:
  operator:
    read: [{streams: [logins], fields: [ip], bases: [legal_obligation], purposes: [fraud]}]
    create: [{streams: [logins], fields: [ip]}]
    limits: {records_per_minute: 1000000000, records_per_day: 1000000000}
"""

AT_ONCE = 1_000
"""Records in a call or transaction that has many."""
SEALED_BYTES = 45
"""Of an original of 28 bytes."""
_PARTS = 10
"""Times that memory is looked at."""
_LOADED_AT_ONCE = 8_192
"""As the main job has it."""
_SHARE_OF_DYNAMODB = 10


def pseudonym(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def key(number: int) -> RecordKey:
    from pii_pipeline.vault.model import RecordKey

    return RecordKey("logins", "ip", pseudonym(number))


def record(number: int) -> Record:
    from pii_pipeline.vault.model import Record

    return Record(key(number), f"{number}.customer.example", None)


def reason() -> Reason:
    from pii_pipeline.vault.model import LawfulBasis, Reason

    return Reason(LawfulBasis.LEGAL_OBLIGATION, "fraud", None)


class Bare(Protocol):
    """A loop without a vault. `rows`: a pseudonym, and as many bytes as a sealed original has."""

    def write(self, rows: Sequence[tuple[str, bytes]], at_once: int) -> None: ...
    def read(self, names: Sequence[str], at_once: int) -> None: ...
    def close(self) -> None: ...


class BareSqlite:
    """A file, synchronised as the vault's is."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("CREATE TABLE bare (name TEXT PRIMARY KEY, sealed BLOB) WITHOUT ROWID")

    def write(self, rows: Sequence[tuple[str, bytes]], at_once: int) -> None:
        for part in parts(rows, at_once):
            with self._database:
                self._database.executemany("INSERT INTO bare VALUES (?, ?)", part)

    def read(self, names: Sequence[str], at_once: int) -> None:
        for part in parts(names, at_once):
            marks = ", ".join("?" * len(part))
            query = f"SELECT name, sealed FROM bare WHERE name IN ({marks})"
            assert len(self._database.execute(query, part).fetchall()) == len(part)

    def close(self) -> None:
        self._database.close()


class BarePostgresql:
    """A table that goes when this does."""

    def __init__(self, url: str) -> None:
        import psycopg2

        self._database = psycopg2.connect(url.replace("+psycopg2", ""))
        with self._database, self._database.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS bare")
            cursor.execute("CREATE TABLE bare (name TEXT PRIMARY KEY, sealed BYTEA)")

    def write(self, rows: Sequence[tuple[str, bytes]], at_once: int) -> None:
        from psycopg2.extras import execute_values

        for part in parts(rows, at_once):
            with self._database, self._database.cursor() as cursor:
                execute_values(cursor, "INSERT INTO bare VALUES %s", part, page_size=at_once)

    def read(self, names: Sequence[str], at_once: int) -> None:
        for part in parts(names, at_once):
            with self._database, self._database.cursor() as cursor:
                cursor.execute("SELECT name, sealed FROM bare WHERE name IN %s", (tuple(part),))
                assert len(cursor.fetchall()) == len(part)

    def close(self) -> None:
        with self._database, self._database.cursor() as cursor:
            cursor.execute("DROP TABLE bare")
        self._database.close()


class BareDynamoDb:
    """One request a record, whatever `at_once`."""

    def __init__(self) -> None:
        import boto3

        self._client = boto3.client("dynamodb")
        self._client.create_table(
            TableName="bare",
            AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )

    def write(self, rows: Sequence[tuple[str, bytes]], at_once: int) -> None:
        for name, sealed in rows:
            self._client.put_item(TableName="bare", Item={"name": {"S": name}, "sealed": {"B": sealed}})

    def read(self, names: Sequence[str], at_once: int) -> None:
        for name in names:
            found = self._client.get_item(TableName="bare", Key={"name": {"S": name}}, ConsistentRead=True)
            assert "Item" in found

    def close(self) -> None:
        self._client.close()


@dataclass
class Measured:
    """What some records took: in each round, in the bare loop after it, and in each call; seconds."""

    records: int = 0
    seconds: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)

    def add(self, records: int, ask: Callable[[], object], loop: Callable[[], object]) -> None:
        """A round. What `ask` gives, if anything, are the seconds of its calls."""
        self.records = records
        started = time.perf_counter()
        taken = ask()
        self.seconds.append(time.perf_counter() - started)
        self.calls += taken if isinstance(taken, list) else []
        self.bare.append(seconds_of(loop))

    def figures(self, name: str) -> dict[str, Any]:
        """Medians of the rounds, under names that begin with `name`."""
        of_bare = [bare / own for bare, own in zip(self.bare, self.seconds, strict=True)]
        told: dict[str, Any] = {
            f"{name}, records/s": round(self.records / median(self.seconds)),
            f"{name}, bare loop, records/s": round(self.records / median(self.bare)),
            f"{name}, times the bare loop": round(median(of_bare), 3),
        }
        if len(self.calls) > 1:
            hundredths = quantiles(self.calls, n=100, method="inclusive")
            told[f"{name}, a call, p50, ms"] = round(1000 * hundredths[49], 2)
            told[f"{name}, a call, p99, ms"] = round(1000 * hundredths[98], 2)
        return told


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def calls(work: Callable[[Any], object], items: Sequence[Any], callers: int) -> list[float]:
    """Seconds of each call, made by so many threads."""
    with ThreadPoolExecutor(callers) as threads:
        return list(threads.map(lambda item: seconds_of(lambda: work(item)), items))


def parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def environment(folder: Path, url: str) -> dict[str, str]:
    """An installation with all that it writes below `folder`, but for the store at `url`."""
    (folder / "policy.yaml").write_text(POLICY)
    return {
        "PII_STORAGE_URI": str(folder / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{folder / 'pii.db'}",
        "PII_KEY_ENCRYPTION_KEY": f"file:{folder / 'kek'}",
        "PII_VAULT_URL": url,
        "PII_VAULT_ANCHORS": (folder / "anchors").as_uri(),
        "PII_VAULT_POLICY": str(folder / "policy.yaml"),
        "PII_VAULT_TOKEN_FILE": str(folder / "token"),
        "PII_VAULT_PORT": "0",
    }


@contextmanager
def service(folder: Path, url: str) -> Iterator[tuple[VaultClient, int]]:
    """`pii vault serve` as a process of its own: a client, and the process."""
    from pii_pipeline.vault_client import Connection, VaultClient

    log = folder / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "pii"), "vault", "serve"],
            env={**os.environ, **environment(folder, url)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    try:
        served = re.search(r"serves at (\S+)", process.stdout.readline())
        if served is None:
            raise SystemExit(f"the service did not start:\n{log.read_text()}")
        token = (folder / "token").read_text().strip()
        with VaultClient(Connection(served[1], token)) as client:
            yield client, process.pid
    finally:
        process.terminate()
        process.wait()


class Asking:
    """The ways in which the service is asked; each gives the seconds of its calls."""

    def __init__(self, client: VaultClient, callers: int) -> None:
        self._client = client
        self._callers = callers
        self._why = reason()

    def unary_create(self, records: Sequence[Record]) -> list[float]:
        return calls(self._client.create, records, self._callers)

    def unary_read(self, keys: Sequence[RecordKey]) -> list[float]:
        return calls(partial(self._client.read, self._why), keys, self._callers)

    def batch_create(self, records: Sequence[Record]) -> list[float]:
        return calls(self._client.create_batch, list(parts(records, AT_ONCE)), 1)

    def batch_read(self, keys: Sequence[RecordKey]) -> list[float]:
        return calls(partial(self._client.read_batch, self._why), list(parts(keys, AT_ONCE)), 1)

    def stream_create(self, records: Sequence[Record]) -> list[float]:
        return self._of_stream(self._client.create_stream(records), len(records))

    def stream_read(self, keys: Sequence[RecordKey]) -> list[float]:
        return self._of_stream(self._client.read_stream(self._why, keys), len(keys))

    def _of_stream(self, results: Iterator[object], count: int) -> list[float]:
        """None: a stream is one call."""
        assert sum(not isinstance(result, Exception) for result in results) == count
        return []


def compared(url: str, bare: Bare, asked: argparse.Namespace, share: int = 1) -> dict[str, Any]:
    """Figures of each way beside the bare loop. `share`: one of so many records and calls."""
    found: defaultdict[str, Measured] = defaultdict(Measured)
    first = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        service(Path(folder), url or sqlite_in(folder)) as (client, _),
    ):
        asking = Asking(client, asked.callers)
        asking.batch_create([record(-1)])  # not counted: connections are made, and caches filled
        for _ in range(asked.rounds):
            for way, at_once in ("unary", 1), ("batch", AT_ONCE), ("stream", AT_ONCE):
                count = (asked.calls if way == "unary" else asked.records) // share
                numbers, first = range(first, first + count), first + count
                rows = [(pseudonym(number), secrets.token_bytes(SEALED_BYTES)) for number in numbers]
                names = [name for name, _ in rows]
                for what, items, loop in (
                    ("create", list(map(record, numbers)), partial(bare.write, rows, at_once)),
                    ("read", list(map(key, numbers)), partial(bare.read, names, at_once)),
                ):
                    ask = partial(getattr(asking, f"{way}_{what}"), items)
                    found[f"{way} {what}"].add(count, ask, loop)
    return {name: value for kind, one in found.items() for name, value in one.figures(kind).items()}


def flat(records: int) -> dict[str, Any]:
    """Resident memory of the service while so many records go in and out in streams."""
    held: list[float] = []
    size = records // _PARTS
    with (
        tempfile.TemporaryDirectory() as folder,
        service(Path(folder), sqlite_in(folder)) as (client, process),
    ):
        asking = Asking(client, 1)
        for number in range(_PARTS + 1):  # the first one is its start: what is made once is there
            numbers = range(number * size, (number + 1) * size)
            asking.stream_create(list(map(record, numbers)))
            asking.stream_read(list(map(key, numbers)))
            asking.batch_read(list(map(key, numbers)))
            held.append(resident(process) / 2**20)
    return {
        "records in and out in streams": size * _PARTS,
        "  at the start, MiB": round(held[0], 1),
        "  half of them later, MiB": round(held[_PARTS // 2], 1),
        "  all of them later, MiB": round(held[-1], 1),
    }


def loaded(records: int, rounds: int) -> dict[str, Any]:
    """Records of the main job, which come sealed: how many are loaded, and known when they come again."""
    from pii_pipeline.pipeline.installation import Installation
    from pii_pipeline.settings import read_settings
    from pii_pipeline.vault.model import SealedRecord
    from pii_pipeline.vault.policy import PIPELINE

    new, known = Measured(), Measured()
    today = datetime.now(UTC).date()
    with tempfile.TemporaryDirectory() as folder, closing(BareSqlite(Path(folder) / "bare.db")) as bare:
        installation = Installation(read_settings(environment(Path(folder), sqlite_in(folder))))
        for number in range(rounds):
            numbers = range(number * records, (number + 1) * records)
            sealed = [
                SealedRecord(
                    key(one), secrets.token_bytes(16), secrets.token_bytes(SEALED_BYTES), b"", today, today
                )
                for one in numbers
            ]
            rows = [(one.key.pseudonym, one.sealed) for one in sealed]
            again = [(f"again {name}", data) for name, data in rows]
            for kind, there in (new, rows), (known, again):
                load = partial(
                    installation.vault.load, PIPELINE, "measured", parts(sealed, _LOADED_AT_ONCE), ()
                )
                kind.add(records, load, partial(bare.write, there, _LOADED_AT_ONCE))
        installation.close()
    return new.figures("sealed, new") | known.figures("sealed, known")


def sqlite_in(folder: str) -> str:
    return f"sqlite:///{Path(folder) / 'vault.db'}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=20_000, help="in batches, and in streams")
    parser.add_argument("--calls", type=int, default=4_000, help="of one record")
    parser.add_argument("--callers", type=int, default=16, help="threads that call at once")
    parser.add_argument("--flat", type=int, default=200_000, help="records, while memory is looked at")
    parser.add_argument("--loaded", type=int, default=100_000, help="records of the main job")
    parser.add_argument("--latency", type=float, default=5.0, help="of DynamoDB, milliseconds")
    parser.add_argument("--postgresql", help="the URL of an empty database: it is measured too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=["dynamodb"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(dynamodb(asked.latency / 1000))
    elif asked.only:
        with closing(BareDynamoDb()) as bare:
            print(json.dumps(compared("dynamodb://measured", bare, asked, _SHARE_OF_DYNAMODB)))
    else:
        with tempfile.TemporaryDirectory() as folder, closing(BareSqlite(Path(folder) / "bare.db")) as bare:
            print("SQLite")
            print_figures(compared("", bare, asked))
        if asked.postgresql:
            with closing(BarePostgresql(asked.postgresql)) as bare:
                print("PostgreSQL")
                print_figures(compared(asked.postgresql, bare, asked))
        print(f"DynamoDB that answers after {asked.latency:g} ms")
        sizes = ("records", "calls", "callers", "rounds")
        options = [text for name in sizes for text in (f"--{name}", str(getattr(asked, name)))]
        served = ["--serve", "--latency", str(asked.latency)]
        told = with_stand_in("benchmarks.vault", served, ["--only", "dynamodb", *options])
        print_figures(json.loads(told))
        print("The main job's part, SQLite")
        print_figures(loaded(asked.loaded, asked.rounds))
        print("Memory of the service, SQLite")
        print_figures(flat(asked.flat))


if __name__ == "__main__":
    main()
