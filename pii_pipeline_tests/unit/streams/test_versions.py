"""The life of a contract's versions: a new one, and the way of each from draft to archived."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pii_pipeline.contracts.errors import ConfigurationError
from pii_pipeline.streams.loader import load_stream
from pii_pipeline.streams.versions import Listed, carry_out, listed_contracts, new_version, promotion, turn
from pii_pipeline_tests.unit.contracts.examples import changed, write

STREAM = "description: Clicks.\n"


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    write(tmp_path / "shop", changed("state: active", "state: active  # since 2026"))
    (tmp_path / "shop" / "stream.yaml").write_text(STREAM)
    return tmp_path / "shop"


def listed(stream: Path, contract: str) -> Listed:
    return next(item for item in listed_contracts([stream.parent]) if item.contract == contract)


def promote(stream: Path, contract: str) -> list[tuple[str, str, str]]:
    beside = [item for item in listed_contracts([stream.parent]) if item.stream == stream]
    moves = promotion(listed(stream, contract), beside)
    carry_out(moves)
    return [(move.contract, move.before, move.after) for move in moves]


def states(stream: Path) -> dict[str, str]:
    return {item.contract: item.state for item in listed_contracts([stream.parent])}


def test_a_new_version_is_a_draft_of_the_active_one_with_a_schema_of_its_own(stream: Path):
    files = [file.name for file in new_version(stream, "minor")]
    assert files == ["event-1.1.0.schema.json", "contract-1.1.0.yaml", "stream.yaml"]
    old, new = ((stream / name).read_text() for name in ("contract.yaml", "contract-1.1.0.yaml"))
    assert new == (
        old.replace("shop/1.0.0", "shop/1.1.0")
        .replace("state: active ", "state: draft ")
        .replace("event.schema.json", "event-1.1.0.schema.json")
    )
    assert (stream / "event-1.1.0.schema.json").read_bytes() == (stream / "event.schema.json").read_bytes()
    assert (
        stream / "stream.yaml"
    ).read_text() == f"{STREAM}contracts: [contract.yaml, contract-1.1.0.yaml]\n"
    loaded = load_stream(stream)
    assert [contract.contract for contract in loaded.versions] == ["acme/shop/1.1.0", "acme/shop/1.0.0"]
    assert [contract.contract for contract in loaded.active] == ["acme/shop/1.0.0"]


@pytest.mark.parametrize(("part", "version"), [("major", "2.0.0"), ("minor", "1.1.0"), ("patch", "1.0.1")])
def test_the_part_that_is_raised(stream: Path, part, version):
    new_version(stream, part)
    assert states(stream) == {"acme/shop/1.0.0": "active", f"acme/shop/{version}": "draft"}


def test_files_are_named_after_their_version_and_no_other(stream: Path):
    new_version(stream, "minor")
    for _ in range(3):
        promote(stream, "acme/shop/1.1.0")
    files = [file.name for file in new_version(stream, "patch")]
    assert files[:2] == ["event-1.1.1.schema.json", "contract-1.1.1.yaml"]


def test_a_version_that_is_there_is_not_written_again(stream: Path):
    new_version(stream, "minor")
    before = {file: file.read_bytes() for file in stream.iterdir()}
    with pytest.raises(ConfigurationError, match=r"acme/shop/1\.1\.0 is there already"):
        new_version(stream, "minor")
    (stream / "contract-2.0.0.yaml").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"the file contract-2\.0\.0\.yaml is there already"):
        new_version(stream, "major")
    assert {
        file: file.read_bytes() for file in stream.iterdir() if file.name != "contract-2.0.0.yaml"
    } == before


def test_step_by_step_to_active_and_the_one_before_to_the_archive(stream: Path):
    new_version(stream, "minor")
    for before, after in (("draft", "in_review"), ("in_review", "approved")):
        assert promote(stream, "acme/shop/1.1.0") == [("acme/shop/1.1.0", before, after)]
    assert promote(stream, "acme/shop/1.1.0") == [
        ("acme/shop/1.1.0", "approved", "active"),
        ("acme/shop/1.0.0", "active", "archived"),
    ]
    assert states(stream) == {"acme/shop/1.0.0": "archived", "acme/shop/1.1.0": "active"}
    assert "state: archived  # since 2026" in (stream / "contract.yaml").read_text()
    assert load_stream(stream).contract.contract == "acme/shop/1.1.0"


def test_with_a_contract_field_the_one_before_stays_active(stream: Path):
    (stream / "stream.yaml").write_text(f"{STREAM}contract_field: id\n")
    new_version(stream, "minor")
    *_, moves = [promote(stream, "acme/shop/1.1.0") for _ in range(3)]
    assert moves == [("acme/shop/1.1.0", "approved", "active")]
    assert len(load_stream(stream).active) == 2
    assert promote(stream, "acme/shop/1.0.0") == [("acme/shop/1.0.0", "active", "archived")]


def test_what_cannot_be_side_by_side_is_not_made_active(stream: Path):
    (stream / "stream.yaml").write_text(f"{STREAM}contract_field: id\n")
    new_version(stream, "minor")
    newer = stream / "contract-1.1.0.yaml"
    newer.write_text(newer.read_text().replace("premium: keep", "premium: pseudonymize"))
    promote(stream, "acme/shop/1.1.0")
    promote(stream, "acme/shop/1.1.0")
    before = newer.read_text()
    with pytest.raises(ConfigurationError, match=r"`premium` is string here and bool in contract\.yaml"):
        promote(stream, "acme/shop/1.1.0")
    assert newer.read_text() == before


def test_the_only_active_version_is_not_archived(stream: Path):
    with pytest.raises(ConfigurationError, match="no contract is active"):
        promote(stream, "acme/shop/1.0.0")
    assert states(stream) == {"acme/shop/1.0.0": "active"}


def test_a_draft_that_does_not_load_is_not_reviewed(stream: Path):
    new_version(stream, "minor")
    newer = stream / "contract-1.1.0.yaml"
    newer.write_text(newer.read_text().replace("key_field: session", "key_field: sesion"))
    with pytest.raises(ConfigurationError, match="did you mean `session`"):
        promote(stream, "acme/shop/1.1.0")


def test_a_first_version_can_be_promoted_before_any_is_active(stream: Path):
    file = stream / "contract.yaml"
    file.write_text(file.read_text().replace("state: active", "state: draft"))
    for _ in range(3):
        promote(stream, "acme/shop/1.0.0")
    assert load_stream(stream).contract.state == "active"


def test_there_is_nothing_after_archived_and_nothing_after_a_misspelt_state(stream: Path):
    new_version(stream, "patch")
    for _ in range(3):
        promote(stream, "acme/shop/1.0.1")
    with pytest.raises(ConfigurationError, match=r"acme/shop/1\.0\.0 is archived, the last state"):
        promote(stream, "acme/shop/1.0.0")
    file = stream / "contract.yaml"
    file.write_text(file.read_text().replace("state: archived", "state: archivd"))
    with pytest.raises(ConfigurationError, match="is archivd — one of draft, in_review"):
        promote(stream, "acme/shop/1.0.0")


def test_what_is_listed_is_found_whatever_else_is_wrong(stream: Path):
    (stream.parent / "broken").mkdir()
    (stream.parent / "broken" / "stream.yaml").write_text("contracts: [gone.yaml, contract.yaml]\n")
    (stream.parent / "broken" / "contract.yaml").write_text("contract: acme/other/1.0.0\nfields: 7\n")
    (stream.parent / "empty").mkdir()
    (stream.parent / "empty" / "stream.yaml").write_text(": :")
    assert states(stream) == {"acme/other/1.0.0": "None", "acme/shop/1.0.0": "active"}


def test_a_version_that_was_moved_meanwhile_is_not_moved_again(stream: Path):
    new_version(stream, "minor")
    seen = listed(stream, "acme/shop/1.1.0")
    promote(stream, "acme/shop/1.1.0")
    with pytest.raises(ConfigurationError, match=r"acme/shop/1\.1\.0 is not draft any more"):
        promotion(seen, list(listed_contracts([stream.parent])))


def test_a_file_keeps_its_mode_and_what_leads_to_it(stream: Path):
    new_version(stream, "minor")
    file, real = stream / "contract-1.1.0.yaml", stream / "elsewhere.yaml"
    file.rename(real)
    file.symlink_to(real.name)
    real.chmod(0o640)
    promote(stream, "acme/shop/1.1.0")
    assert file.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert "state: in_review" in real.read_text()


def test_a_file_that_cannot_be_written_stays_whole(stream: Path, monkeypatch: pytest.MonkeyPatch):
    new_version(stream, "minor")
    before = {file: file.read_bytes() for file in stream.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        promote(stream, "acme/shop/1.1.0")
    assert {file: file.read_bytes() for file in stream.iterdir()} == before


def test_of_two_files_none_is_changed_if_one_cannot_be_written(stream: Path, monkeypatch: pytest.MonkeyPatch):
    new_version(stream, "minor")
    promote(stream, "acme/shop/1.1.0")
    promote(stream, "acme/shop/1.1.0")
    before = {file: file.read_bytes() for file in stream.iterdir()}
    synced = iter([None])

    def full_at_the_second(descriptor: int) -> None:
        if next(synced, "full") == "full":
            raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(OSError, match="no space left"):
        promote(stream, "acme/shop/1.1.0")
    assert {file: file.read_bytes() for file in stream.iterdir()} == before


def _be_killed(replacements: int, work: Callable[[], object]) -> None:
    """Ends the process by SIGKILL when so many files have got their new text."""
    left = iter(range(replacements))
    replace = Path.replace

    def replace_or_die(self: Path, target: Path) -> Path:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = replace_or_die  # type: ignore[method-assign]
    work()


def _exit_code_when_killed(replacements: int, work: Callable[[], object]) -> int | None:
    process = multiprocessing.get_context("spawn").Process(target=_be_killed, args=(replacements, work))
    process.start()
    process.join(60)
    return process.exitcode


@pytest.mark.parametrize("replacements", [0, 1, 2])
def test_killed_while_one_version_follows_the_other_the_same_promotion_finishes_it(
    stream: Path, replacements: int
):
    new_version(stream, "minor")
    promote(stream, "acme/shop/1.1.0")
    promote(stream, "acme/shop/1.1.0")
    work = partial(promote, stream, "acme/shop/1.1.0")
    assert _exit_code_when_killed(replacements, work) == (-signal.SIGKILL if replacements < 2 else 0)
    found = states(stream)
    if replacements == 1:
        assert found == {"acme/shop/1.0.0": "archived", "acme/shop/1.1.0": "approved"}
        with pytest.raises(ConfigurationError, match="no contract is active"):
            load_stream(stream)
    else:
        assert list(found.values()).count("active") == 1
        assert load_stream(stream).contract.state == "active"
    if replacements < 2:
        promote(stream, "acme/shop/1.1.0")
    assert states(stream) == {"acme/shop/1.0.0": "archived", "acme/shop/1.1.0": "active"}
    assert load_stream(stream).contract.contract == "acme/shop/1.1.0"
    assert not [file for file in stream.iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize("replacements", [0, 1, 2])
def test_killed_while_a_new_version_is_written_the_same_again_finishes_it(stream: Path, replacements: int):
    work = partial(new_version, stream, "minor")
    assert _exit_code_when_killed(replacements, work) == -signal.SIGKILL
    assert [file for file in stream.iterdir() if file.name.startswith(".")]
    assert [contract.contract for contract in load_stream(stream).versions] == ["acme/shop/1.0.0"]
    with turn(stream):
        assert not [file for file in stream.iterdir() if file.name.startswith(".")]
        files = [file.name for file in new_version(stream, "minor")]
    assert files == ["event-1.1.0.schema.json", "contract-1.1.0.yaml", "stream.yaml"]
    assert [contract.contract for contract in load_stream(stream).versions] == [
        "acme/shop/1.1.0",
        "acme/shop/1.0.0",
    ]


def test_a_file_of_that_name_that_somebody_changed_or_that_a_contract_names_is_left_alone(stream: Path):
    schema = stream / "event.schema.json"
    left = stream / "event-1.1.0.schema.json"
    left.write_text(schema.read_text() + " ")
    with pytest.raises(ConfigurationError, match=r"the file event-1\.1\.0\.schema\.json is there already"):
        new_version(stream, "minor")
    left.write_bytes(schema.read_bytes())
    other = stream.parent / "other"
    write(other, changed("schema: event.schema.json", "schema: ../shop/event-1.1.0.schema.json"))
    (other / "stream.yaml").write_text(STREAM)
    with pytest.raises(ConfigurationError, match=r"the file event-1\.1\.0\.schema\.json is there already"):
        new_version(stream, "minor")
    (other / "stream.yaml").unlink()
    assert new_version(stream, "minor")[0] == left


def _wait_for_turn(folder: Path, started, done) -> None:
    started.set()
    with turn(folder):
        done.set()


def test_a_folder_is_one_process_s_at_a_time(stream: Path):
    spawn = multiprocessing.get_context("spawn")
    started, done = spawn.Event(), spawn.Event()
    other = spawn.Process(target=_wait_for_turn, args=(stream, started, done))
    with turn(stream, stream):
        other.start()
        assert started.wait(60)
        assert not done.wait(0.5)
    assert done.wait(60)
    other.join()
    assert not [file for file in stream.iterdir() if file.name.startswith(".")]
