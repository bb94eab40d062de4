"""The main job on webshop events, end to end, beside two baselines in the same run.

    python benchmarks/webshop.py --events 1000000
    python benchmarks/webshop.py --events 1000000 4000000      # is memory flat?

floor      DuckDB `read_json` (declared columns) → zstd Parquet: reading and writing, no privacy work at all
whole job  `pii run`: validation, quarantine, de-duplication, pseudonyms, encryption, leak gate, ledger, two
           consented datasets, all of it on Dagster; a fresh process, its start included
per row    what a Lambda does, one event at a time: json, jsonschema, then every field treated as the contract
           says (hmac, HKDF and AESSIV, urllib, ipaddress); on a sample, scaled up

Figures are ratios to a baseline of the same run on the same machine; absolute times say little.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import ipaddress
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import duckdb
import jsonschema
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pii_pipeline.contracts.treatments import Drop, Encrypt, Generalize, Keep, Mask, Url
from pii_pipeline.samples.generate import generate
from pii_pipeline.settings import project_root
from pii_pipeline.streams.loader import load_streams
from pii_pipeline.streams.model import Stream

HOUR = "2026-11-22T10"
END = datetime(2026, 11, 22, 10, 59, 59, tzinfo=UTC)
OBJECT_BYTES = 128 << 20
PER_ROW_SAMPLE = 20_000


def write_objects(stream: Stream, events: int, seed: int, folder: Path) -> list[Path]:
    """The events as plain JSON lines, in objects of about 128 MiB."""
    files: list[Path] = []
    out = None
    for block in generate(stream.contract, events, seed, END):
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


def floor(stream: Stream, files: list[Path], folder: Path) -> float:
    """Seconds for DuckDB to turn the objects into Parquet, on all cores, without looking at anything."""
    columns = {name: duckdb_type(part) for name, part in stream.contract.json_schema["properties"].items()}
    started = time.perf_counter()
    with duckdb.connect() as connection:
        connection.execute("SET temp_directory = ''")
        connection.execute(
            f"COPY (SELECT * FROM read_json({[str(file) for file in files]!r}, columns={columns!r},"
            " format='newline_delimited', ignore_errors=true, maximum_object_size=4194304))"
            f" TO '{folder / 'floor.parquet'}' (FORMAT parquet, COMPRESSION zstd)"
        )
    return time.perf_counter() - started


def per_row(stream: Stream, files: list[Path], sample: int) -> float:
    """Seconds per event of the plain loop, over the first `sample` records.

    It checks the schema and treats every field as the contract says, with the standard library, `jsonschema`
    and `cryptography`. It does not check the contract's rules, find redelivered events, bind pseudonyms to
    people, look for leaks, keep what is bad, derive datasets or write a file.
    """
    contract = stream.contract
    validator = jsonschema.Draft202012Validator(contract.json_schema)
    secret, window_key = os.urandom(32), os.urandom(32)
    ciphers: dict[tuple[str, int], AESSIV] = {}
    lines = []
    with files[0].open("rb") as file:
        for line in file:
            lines.append(line)
            if len(lines) == sample:
                break

    def pseudonym(value: Any) -> str:
        return hmac.new(secret, str(value).encode(), hashlib.sha256).hexdigest()

    def cipher(session: str, level: int) -> AESSIV:
        if (session, level) not in ciphers:
            info = f"{session} {level}".encode()
            key = HKDF(algorithm=hashes.SHA512(), length=64, salt=None, info=info).derive(window_key)
            ciphers[session, level] = AESSIV(key)
        return ciphers[session, level]

    def url(value: str, keep: Collection[str]) -> str:
        parts = urlsplit(value)
        query = [(k, v if k in keep else pseudonym(v)) for k, v in parse_qsl(parts.query)]
        return urlunsplit((parts.scheme, parts.hostname, parts.path, urlencode(query), ""))

    def generalize(value: Any, how: Generalize) -> str:
        if how.date:
            return str(value)[:4]
        address = ipaddress.ip_address(value)
        prefix = how.ipv4_prefix if address.version == 4 else how.ipv6_prefix
        return str(ipaddress.ip_network(f"{address}/{prefix}", strict=False))

    def treat(value: Any, path: str, session: str) -> Any:
        treatment = contract.treatment(path)
        if value is None or isinstance(treatment, Drop):
            return None
        if isinstance(treatment, Encrypt):
            text = json.dumps(value) if isinstance(value, dict | list) else str(value)
            sealed = cipher(session, treatment.level).encrypt(text.encode(), [path.encode()])
            return base64.b64encode(sealed).decode()
        if isinstance(value, dict):
            treated = (
                (key, treat(child, f"{path}/{key}".lstrip("/"), session)) for key, child in value.items()
            )
            return {key: child for key, child in treated if child is not None}
        if isinstance(value, list):
            return [treat(child, path + "[]", session) for child in value]
        if isinstance(treatment, Keep):
            return value
        if isinstance(treatment, Url):
            return url(value, treatment.keep_query)
        if isinstance(treatment, Generalize):
            return generalize(value, treatment)
        if isinstance(treatment, Mask):
            shown = value[len(value) - treatment.keep_last :]
            return "*" * (len(value) - len(shown)) + shown
        return pseudonym(value)

    written = 0
    started = time.perf_counter()
    for line in lines:
        try:
            event = json.loads(line)
            if next(validator.iter_errors(event), None) is None:
                written += len(json.dumps(treat(event, "", str(event["session_id"]))))
        except ValueError:  # not JSON, text that no encoding takes, an address that is none
            continue
    assert written
    return (time.perf_counter() - started) / len(lines)


def whole_job(files: list[Path], folder: Path) -> tuple[float, int, dict[str, Any]]:
    """Seconds and peak memory (MiB, all processes together) of `pii run` on the landed objects."""
    environment = {
        **os.environ,
        "PII_STORAGE_URI": str(folder / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{folder / 'pii.db'}",
        "PII_KEY_ENCRYPTION_KEY": f"file:{folder / 'kek'}",
        "DAGSTER_HOME": str(folder / "dagster"),
    }
    pii = str(Path(sys.executable).parent / "pii")
    landed = [pii, "land", "webshop", "--hour", HOUR, *map(str, files)]
    subprocess.run(landed, env=environment, check=True, stdout=subprocess.DEVNULL)
    started = time.perf_counter()
    job = subprocess.Popen(
        [pii, "run", "webshop", "--hour", HOUR, "--json"], env=environment, stdout=subprocess.PIPE, text=True
    )
    peak = [0]
    watch = threading.Thread(target=_watch_memory, args=(job.pid, peak), daemon=True)
    watch.start()
    output, _ = job.communicate()
    seconds = time.perf_counter() - started
    if job.returncode:
        raise SystemExit(f"pii run failed with exit code {job.returncode}:\n{output}")
    return seconds, peak[0], json.loads(output)


def _watch_memory(root: int, peak: list[int]) -> None:
    """Samples the resident memory of a process and its children (Linux only) until it ends."""
    while Path(f"/proc/{root}").exists():
        total = 0
        for process in _tree(root):
            try:
                pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
            except (OSError, IndexError):
                continue
            total += pages * os.sysconf("SC_PAGE_SIZE")
        peak[0] = max(peak[0], total >> 20)
        time.sleep(0.25)


def _tree(root: int) -> list[int]:
    found = [root]
    for process in found:
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    stream = load_streams((project_root() / "streams",))["webshop"]
    results = []
    for events in arguments.events:
        folder = Path(tempfile.mkdtemp(prefix="pii-benchmark-"))
        try:
            files = write_objects(stream, events, arguments.seed, folder)
            size = sum(file.stat().st_size for file in files)
            base = min(floor(stream, files, folder) for _ in range(3))
            loop = per_row(stream, files, min(events, PER_ROW_SAMPLE)) * events
            seconds, memory, _ = whole_job(files, folder)
        finally:
            shutil.rmtree(folder)
        results.append(
            {
                "events": events,
                "bytes_per_event": round(size / events),
                "floor_seconds": round(base, 2),
                "per_row_seconds": round(loop, 1),
                "job_seconds": round(seconds, 2),
                "job_events_per_second": round(events / seconds),
                "times_floor": round(seconds / base, 2),
                "times_faster_than_per_row": round(loop / seconds, 1),
                "peak_memory_mib": memory,
            }
        )
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    for result in results:
        print("\n".join(f"{name:28}{value:>14,}" for name, value in result.items()), end="\n\n")


if __name__ == "__main__":
    main()
