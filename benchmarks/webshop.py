"""The main job on webshop events, end to end, beside two baselines in the same run.

    python -m benchmarks.webshop --events 1000000
    python -m benchmarks.webshop --events 1000000 4000000      # is memory flat?

floor      DuckDB `read_json` (declared columns) → zstd Parquet: reading and writing, no privacy work at all;
           like the job a fresh process, its start included
whole job  `pii run`: validation, quarantine, de-duplication, pseudonyms, encryption, leak gate, ledger, two
           consented datasets, all of it on Dagster
per row    what a Lambda does, one event at a time: json, jsonschema, then every field treated as the contract
           says (hmac, HKDF and AESSIV, urllib, ipaddress), the same two consented datasets opened from what
           that gave, all three written as gzipped JSON lines; on a sample, scaled up

How figures are taken is told in `benchmarks.measuring`; the loop runs once in every round.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import ipaddress
import json
import os
import tempfile
import time
from collections.abc import Collection
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import jsonschema
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from benchmarks.measuring import END, Round, figures, parser, print_figures, rounds, seconds_of
from pii_pipeline.contracts.treatments import Drop, Encrypt, Generalize, Keep, Mask, Url
from pii_pipeline.samples.generate import generate
from pii_pipeline.settings import project_root
from pii_pipeline.streams.loader import load_streams
from pii_pipeline.streams.model import Stream

OBJECT_BYTES = 32 << 20
PER_ROW_SAMPLE = 20_000
EVENTS_PER_HOUR = 1_000_000


def write_objects(stream: Stream, events: int, seed: int, folder: Path) -> list[Path]:
    """The events as plain JSON lines, in objects of about 32 MiB.

    More events are more hours of events, not a busier shop: four times the visitors at once would give a
    batch more people and sessions, and so more work and memory for as many events.
    """
    files: list[Path] = []
    out = None
    hours = range(-(-events // EVENTS_PER_HOUR) - 1, -1, -1)
    for hour in hours:
        count = min(EVENTS_PER_HOUR, events - EVENTS_PER_HOUR * (len(hours) - 1 - hour))
        for block in generate(stream.contract, count, seed + hour, END - timedelta(hours=hour)):
            if out is None or out.tell() > OBJECT_BYTES:
                if out:
                    out.close()
                files.append(folder / f"clicks-{len(files):03}.jsonl")
                out = files[-1].open("wb")
            out.write(block)
    if out:
        out.close()
    return files


def duckdb_type(kind: Any) -> str:
    """A schema part as a DuckDB type."""
    types = kind.get("type", "string")
    name = next(t for t in ([types] if isinstance(types, str) else types) if t != "null")
    if name == "object" and "properties" in kind:
        inner = ", ".join(f'"{key}" {duckdb_type(part)}' for key, part in kind["properties"].items())
        return f"STRUCT({inner})"
    if name == "array":
        return duckdb_type(kind["items"]) + "[]"
    return {"integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}.get(name, "VARCHAR")


def floor(stream: Stream, files: list[Path], folder: Path) -> dict[str, float]:
    """Seconds for DuckDB to turn the objects into Parquet, on all cores, without looking at anything."""
    columns = {name: duckdb_type(part) for name, part in stream.contract.json_schema["properties"].items()}
    program = (
        "import duckdb; duckdb.execute('SET enable_progress_bar = false'); duckdb.execute("
        + repr(
            f"COPY (SELECT * FROM read_json({[str(file) for file in files]!r}, columns={columns!r},"
            " format='newline_delimited', ignore_errors=true, maximum_object_size=4194304))"
            f" TO '{folder / 'floor.parquet'}' (FORMAT parquet, COMPRESSION zstd)"
        )
        + ")"
    )
    return {"floor": seconds_of(program)}


class PerRow:
    """The plain loop, with the standard library, `jsonschema` and `cryptography`.

    It checks the schema, treats every field as the contract says, and derives the datasets. It does not check
    the contract's rules, find redelivered events, bind pseudonyms to people, look for leaks, or keep what is
    bad.
    """

    def __init__(self, stream: Stream) -> None:
        self.contract = stream.contract
        self.requests = [frozenset(derived.consent.purposes or ()) for derived in stream.derived.values()]
        self.validator = jsonschema.Draft202012Validator(stream.contract.json_schema)
        self.secret, self.window_key = os.urandom(32), os.urandom(32)
        self.ciphers: dict[tuple[str, int], AESSIV] = {}

    def seconds(self, file: Path, sample: int, folder: Path) -> float:
        """Seconds per event, over the first `sample` records of `file`."""
        with file.open("rb") as opened:
            lines = [line for line, _ in zip(opened, range(sample), strict=False)]
        started = time.perf_counter()
        with ExitStack() as stack:
            lake, *datasets = (
                stack.enter_context(gzip.open(folder / f"per-row-{number}.jsonl.gz", "wt", compresslevel=1))
                for number in range(1 + len(self.requests))
            )
            for line in lines:
                try:
                    event = json.loads(line)
                    if next(self.validator.iter_errors(event), None) is not None:
                        continue
                    session = str(event["session_id"])
                    treated = self.treat(event, "", session)
                    lake.write(json.dumps(treated) + "\n")
                    for request, dataset in zip(self.requests, datasets, strict=True):
                        if request <= set(treated.get("consent_levels") or ()):
                            dataset.write(json.dumps(self.derive(treated, "", session, request)) + "\n")
                except ValueError:  # not JSON, text that no encoding takes, an address that is none
                    continue
        assert (folder / "per-row-0.jsonl.gz").stat().st_size > sample
        return (time.perf_counter() - started) / len(lines)

    def treat(self, value: Any, path: str, session: str) -> Any:
        """A value as the contract has it treated."""
        treatment = self.contract.treatment(path)
        if value is None or isinstance(treatment, Drop):
            return None
        if isinstance(treatment, Encrypt):
            sealed = self.cipher(session, treatment.level).encrypt(
                json.dumps(value).encode(), [path.encode()]
            )
            return base64.b64encode(sealed).decode()
        if isinstance(value, dict):
            treated = (
                (key, self.treat(child, f"{path}/{key}".lstrip("/"), session)) for key, child in value.items()
            )
            return {key: child for key, child in treated if child is not None}
        if isinstance(value, list):
            return [self.treat(child, path + "[]", session) for child in value]
        if isinstance(treatment, Keep):
            return value
        if isinstance(treatment, Url):
            return self.url(value, treatment.keep_query)
        if isinstance(treatment, Generalize):
            return self.generalize(value, treatment)
        if isinstance(treatment, Mask):
            shown = value[len(value) - treatment.keep_last :]
            return "*" * (len(value) - len(shown)) + shown
        return self.pseudonym(value)

    def derive(self, value: Any, path: str, session: str, request: frozenset[int]) -> Any:
        """A treated value for a dataset: opened if the request says so."""
        treatment = self.contract.treatment(path)
        if isinstance(treatment, Encrypt) and treatment.level in request:
            sealed = base64.b64decode(value)
            return json.loads(self.cipher(session, treatment.level).decrypt(sealed, [path.encode()]))
        if isinstance(value, dict):
            return {
                key: self.derive(child, f"{path}/{key}".lstrip("/"), session, request)
                for key, child in value.items()
            }
        if isinstance(value, list):
            return [self.derive(child, path + "[]", session, request) for child in value]
        return value

    def pseudonym(self, value: Any) -> str:
        """Of a scalar."""
        return hmac.new(self.secret, str(value).encode(), hashlib.sha256).hexdigest()

    def cipher(self, session: str, level: int) -> AESSIV:
        """Of a session and level, made once."""
        if (session, level) not in self.ciphers:
            info = f"{session} {level}".encode()
            key = HKDF(algorithm=hashes.SHA512(), length=64, salt=None, info=info).derive(self.window_key)
            self.ciphers[session, level] = AESSIV(key)
        return self.ciphers[session, level]

    def url(self, value: str, keep: Collection[str]) -> str:
        """With the values in its query pseudonymized."""
        parts = urlsplit(value)
        query = [(k, v if k in keep else self.pseudonym(v)) for k, v in parse_qsl(parts.query)]
        return urlunsplit((parts.scheme, parts.hostname, parts.path, urlencode(query), ""))

    def generalize(self, value: Any, how: Generalize) -> str:
        """A date to its year, an address to its network."""
        if how.date:
            return str(value)[:4]
        address = ipaddress.ip_address(value)
        prefix = how.ipv4_prefix if address.version == 4 else how.ipv6_prefix
        return str(ipaddress.ip_network(f"{address}/{prefix}", strict=False))


def measure(stream: Stream, events: int, seed: int, number: int) -> dict[str, Any]:
    """What is told of so many events, after so many rounds."""
    found: list[Round] = []
    loops: list[float] = []
    with tempfile.TemporaryDirectory(prefix="pii-benchmark-") as temporary:
        folder = Path(temporary)
        files = write_objects(stream, events, seed, folder)
        size = sum(file.stat().st_size for file in files)
        for one in rounds(number, stream.name, files, folder, partial(floor, stream, files, folder)):
            found.append(one)
            loops.append(PerRow(stream).seconds(files[0], min(events, PER_ROW_SAMPLE), folder) * events)
    faster = (loop / one.seconds for loop, one in zip(loops, found, strict=True))
    return figures(found, "event", events, size) | {
        "per_row_seconds": round(median(loops), 1),
        "times_faster_than_per_row": round(median(faster), 1),
    }


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--events", type=int, nargs="+", default=[1_000_000])
    arguments = command.parse_args()
    stream = load_streams((project_root() / "streams",))["webshop"]
    results = []
    for events in arguments.events:
        results.append(measure(stream, events, arguments.seed, arguments.rounds))
        if not arguments.json:
            print_figures(results[-1])
    if arguments.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
