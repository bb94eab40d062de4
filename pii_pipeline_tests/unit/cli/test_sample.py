"""``pii sample``: the same bytes for the same arguments, wherever they go."""

import gzip
import io
import json
from pathlib import Path

import pytest
import zstandard

from pii_pipeline_tests.unit.cli.conftest import Pii

ARGUMENTS = ("--events", "50", "--seed", "3", "--end", "2026-01-15T11:00")


@pytest.mark.parametrize("stream", ["logins", "webshop", "retail", "snowplow"])
def test_output_holds_what_standard_output_shows(pii: Pii, tmp_path: Path, stream: str):
    shown = pii("sample", stream, *ARGUMENTS).stdout_bytes
    assert shown.count(b"\n") >= 50
    for suffix in ("", ".gz", ".zst"):
        file = tmp_path / f"events.jsonl{suffix}"
        assert pii("sample", stream, *ARGUMENTS, "--output", file).exit_code == 0
    assert (tmp_path / "events.jsonl").read_bytes() == shown
    assert gzip.decompress((tmp_path / "events.jsonl.gz").read_bytes()) == shown
    with zstandard.open(tmp_path / "events.jsonl.zst", "rb") as file:
        assert io.BytesIO(file.read()).getvalue() == shown


def test_landed_twice_is_one_object_in_the_hour_it_ends(pii: Pii, storage: Path):
    first = pii("sample", "logins", *ARGUMENTS, "--land")
    again = pii("sample", "logins", *ARGUMENTS, "--land")
    assert "already there" not in first.output
    assert "already there" in again.output
    (landed,) = (path for path in (storage / "landing").rglob("*") if path.is_file())
    assert landed.parent == storage / "landing/logins/2026/01/15/10"


@pytest.mark.parametrize(
    ("format", "suffixes", "begin"),
    [
        ("json", ".jsonl.gz", b'{"event_id"'),
        ("csv", ".csv.gz", b"event_id,ts,"),
        ("avro", ".avro", b"Obj\x01"),
        ("snowplow_enriched_tsv", ".tsv.gz", b"\tweb\t2026-01-15 10:"),
    ],
)
def test_a_new_stream_of_any_format_has_samples_to_land(
    pii: Pii, storage: Path, own_streams: Path, format: str, suffixes: str, begin: bytes
):
    assert pii("init", "mine", "--format", format).exit_code == 0
    assert pii("sample", "mine", *ARGUMENTS, "--land").exit_code == 0
    (landed,) = (path for path in (storage / "landing/mine").rglob("*") if path.is_file())
    assert landed.name == f"sample-50-3-20260115T110000{suffixes}"
    content = landed.read_bytes()
    content = gzip.decompress(content) if suffixes.endswith(".gz") else content
    assert content.startswith(begin)
    assert content == pii("sample", "mine", *ARGUMENTS).stdout_bytes


def test_json_tells_what_was_planted(pii: Pii, tmp_path: Path):
    result = pii("sample", "logins", "--events", 100, "--output", tmp_path / "x", "--json")
    assert json.loads(result.stdout)["records"] == 100
    assert sum(json.loads(result.stdout)["bad"].values()) == 1


def test_a_new_stream_too_has_bad_events_and_says_how_many(pii: Pii, own_streams: Path, tmp_path: Path):
    pii("init", "mine")
    arguments = ("--events", 2_000, "--end", "2026-01-15T11:00", "--output", tmp_path / "x")
    planted = json.loads(pii("sample", "mine", *arguments, "--json").stdout)
    assert sum(planted["bad"].values()) == sum(planted["failure_types"].values())
    assert 10 < sum(planted["bad"].values()) < 40
    said = f"{sum(planted['bad'].values())} of them bad"
    assert said in pii("sample", "mine", *arguments).stdout


@pytest.mark.parametrize(
    "arguments",
    [("--json",), ("--land", "--output", "x"), ("--end", "soon"), ("--events", "-1")],
)
def test_contradictions_are_refused(pii: Pii, arguments: tuple[str, ...]):
    result = pii("sample", "logins", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("pii: ")
