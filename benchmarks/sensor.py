"""The landing sensor while many objects wait, beside a bare listing: ``python -m benchmarks.sensor``.

S3 is a server of this module's own, in a process of its own, that answers ListObjectsV2 as S3 does, a
thousand keys a page, after `--latency` milliseconds: an emulator such as moto sorts all keys anew for every
page, and would be what is measured. None has been seen before, so that a tick enters all that it lists into
the ledger (SQLite, unless `--database` is given), and works out which runs to ask for. What it does not come
to is left to the next tick. The bare listing is boto3's paginator.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from statistics import median
from urllib.parse import parse_qs, urlsplit

from benchmarks.measuring import Answering, print_figures, serve, with_stand_in

_BUCKET, _STREAM = "acme-landing", "webshop"
_PAGE, _HOURS = 1_000, 24


def bucket(objects: int, latency: float) -> type[Answering]:
    """Of so many objects in the hours of a day."""
    keys = [
        f"{_STREAM}/2026/11/22/{number * _HOURS // objects:02}/clicks-{number:08}.jsonl.gz"
        for number in range(objects)
    ]
    places = {key: number for number, key in enumerate(keys, 1)}

    class Bucket(Answering):
        def do_GET(self) -> None:
            asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            time.sleep(latency)
            start = places.get(asked.get("continuation-token") or asked.get("start-after", ""), 0)
            page = keys[start : start + _PAGE]
            more = start + _PAGE < len(keys)
            told = "".join(
                f"<Contents><Key>{key}</Key><LastModified>2026-11-22T10:00:00.000Z</LastModified>"
                f"<ETag>&quot;{hash(key) & (1 << 128) - 1:032x}&quot;</ETag><Size>1024</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
                for key in page
            )
            token = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if more else ""
            self.answer(
                '<?xml version="1.0" encoding="UTF-8"?>'
                '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<Name>{_BUCKET}</Name><KeyCount>{len(page)}</KeyCount><MaxKeys>{_PAGE}</MaxKeys>"
                f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{told}</ListBucketResult>",
                "application/xml",
            )

    return Bucket


def listing() -> list[float]:
    """Seconds of a bare listing."""
    import boto3

    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=_BUCKET, Prefix=f"{_STREAM}/")
    started = time.perf_counter()
    found = [item["Key"] for page in pages for item in page["Contents"]]
    assert found
    return [time.perf_counter() - started]


def ticks(database: str | None) -> list[float]:
    """Seconds of each tick, until one has come to the end of the listing."""
    import dagster as dg

    from pii_pipeline.definitions import build
    from pii_pipeline.pipeline.installation import Installation
    from pii_pipeline.settings import read_settings

    found: list[float] = []
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral(tempdir=folder) as instance:
        settings = {
            "PII_STORAGE_URI": folder,
            "PII_LANDING_URI": f"s3://{_BUCKET}",
            "PII_DATABASE_URL": database or f"sqlite:///{folder}/pii.db",
        }
        installation = Installation(read_settings(settings))
        definitions = build(installation)
        sensor = definitions.resolve_sensor_def(f"{_STREAM}_landing_objects")
        while installation.ledger.listing(_STREAM).complete is None:
            with dg.build_sensor_context(
                instance=instance,
                resources={"installation": installation},
                definitions=definitions,
            ) as context:
                started = time.perf_counter()
                tick = sensor.evaluate_tick(context)
                found.append(time.perf_counter() - started)
            assert tick.run_requests
        installation.close()
    return found


def seconds(what: str, objects: int, latency: float, database: str | None) -> list[float]:
    """What `listing` or `ticks` gives, of a fresh bucket and process."""
    served = ["--serve", str(objects), "--latency", str(latency)]
    program = ["--only", what, *(["--database", database] if database else [])]
    return json.loads(with_stand_in("benchmarks.sensor", served, program))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--latency", type=float, default=50.0, help="milliseconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database", help="an empty one, for one round")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=("listing", "ticks"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        serve(bucket(asked.serve, asked.latency / 1000))
    elif asked.only:
        print(json.dumps(listing() if asked.only == "listing" else ticks(asked.database)))
    else:
        for objects in asked.objects:
            bare, ticked = [], []
            for _ in range(asked.rounds):
                bare += seconds("listing", objects, asked.latency, None)
                ticked.append(seconds("ticks", objects, asked.latency, asked.database))
            print_figures(
                {
                    "objects": objects,
                    "listing, seconds": round(median(bare), 2),
                    "ticks": max(map(len, ticked)),
                    "longest tick, seconds": round(max(map(max, ticked)), 2),
                    "all ticks, seconds": round(median(map(sum, ticked)), 2),
                    "times listing": round(median(map(sum, ticked)) / median(bare), 2),
                }
            )


if __name__ == "__main__":
    main()
