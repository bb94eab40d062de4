"""``pii land``: every file once, none replaced, none half there."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pii_pipeline.partitions import HOURS, partition_of_hour
from pii_pipeline.pipeline import landing
from pii_pipeline_tests.unit.cli.conftest import Pii

HOUR = "2026-01-15T10"
FOLDER = Path("landing/logins/2026/01/15/10")


def names(storage: Path) -> list[str]:
    return sorted(path.name for path in (storage / FOLDER).iterdir())


def test_landed_object_is_the_file_and_private(pii: Pii, storage: Path, tmp_path: Path):
    file = tmp_path / "queue.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"a":1}\n'))
    result = pii("land", "logins", file, "--hour", HOUR)
    assert result.exit_code == 0, result.output
    landed = storage / FOLDER / "queue.jsonl.gz"
    assert landed.read_bytes() == file.read_bytes()
    assert landed.stat().st_mode & 0o777 == 0o600
    assert landed.parent.stat().st_mode & 0o777 == 0o700


def test_same_content_again_makes_no_second_object(pii: Pii, storage: Path, tmp_path: Path):
    file = tmp_path / "queue.jsonl"
    file.write_bytes(b"1\n")
    pii("land", "logins", file, "--hour", HOUR)
    before = (storage / FOLDER / "queue.jsonl").stat().st_mtime_ns
    result = pii("land", "logins", file, "--hour", HOUR)
    assert "already there" in result.output
    assert "0 new objects" in result.output
    assert names(storage) == ["queue.jsonl"]
    assert (storage / FOLDER / "queue.jsonl").stat().st_mtime_ns == before


def test_other_content_under_a_taken_name_goes_beside_it_once(pii: Pii, storage: Path, tmp_path: Path):
    file = tmp_path / "queue.jsonl.gz"
    for content in (b"first", b"other", b"other", b"first"):
        file.write_bytes(content)
        assert pii("land", "logins", file, "--hour", HOUR).exit_code == 0
    first, second = sorted(names(storage), key=len)
    assert first == "queue.jsonl.gz"
    assert second.startswith("queue-")
    assert second.endswith(".jsonl.gz")
    assert (storage / FOLDER / first).read_bytes() == b"first"
    assert (storage / FOLDER / second).read_bytes() == b"other"


def test_standard_input_is_named_for_its_format_and_compression(pii: Pii, storage: Path):
    assert pii("land", "logins", "-", "--hour", HOUR, stdin=b'{"a":1}\n').exit_code == 0
    assert pii("land", "logins", "-", "--hour", HOUR, stdin=gzip.compress(b"{}\n")).exit_code == 0
    assert names(storage) == ["stdin.jsonl", "stdin.jsonl.gz"]
    assert pii("land", "retail", "-", "--hour", HOUR, stdin=gzip.compress(b"a,b\n")).exit_code == 0
    assert [path.name for path in (storage / "landing/retail").rglob("stdin*")] == ["stdin.csv.gz"]


def test_json_tells_objects_and_bytes(pii: Pii, tmp_path: Path):
    file = tmp_path / "queue.jsonl"
    file.write_bytes(b"1234\n")
    answer = json.loads(pii("land", "logins", file, file, "--hour", HOUR, "--json").stdout)
    assert [item["new"] for item in answer["objects"]] == [True, False]
    assert answer["objects"][0]["bytes"] == 5
    assert (answer["stream"], answer["hour"]) == ("logins", HOUR)


def test_without_an_hour_it_is_the_one_that_is_open(pii: Pii, storage: Path, tmp_path: Path):
    file = tmp_path / "queue.jsonl"
    file.write_bytes(b"1\n")
    before = datetime.now(UTC)
    pii("land", "logins", file)
    after = datetime.now(UTC)
    (landed,) = (storage / "landing").rglob("queue.jsonl")
    hour = landed.parent.relative_to(storage / "landing" / "logins").as_posix()
    assert hour in {f"{before:%Y/%m/%d/%H}", f"{after:%Y/%m/%d/%H}"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("loggins", "FILE"), "did you mean `logins`"),
        (("logins", "FILE", "--hour", "2026-01-15 10:00"), "an hour is written"),
        (("logins", "FILE", "--hour", "2025-12-31T23"), "the first hour there is"),
        (("logins", "FILE", "--hour", "2999-01-01T00"), "has not begun"),
        (("logins", "absent.jsonl"), "does not exist"),
        (("logins",), "Missing argument"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_exit_code_2(
    pii: Pii, storage: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
):
    file = tmp_path / "queue.jsonl"
    file.write_bytes(b"1\n")
    result = pii("land", *(str(file) if item == "FILE" else item for item in arguments))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not storage.exists()


def test_first_hour_is_the_first_partition():
    assert HOURS.get_first_partition_key() == partition_of_hour(landing.FIRST_HOUR)
