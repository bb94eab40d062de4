"""Processes that record at once, and one that is killed: one unbroken chain, nothing acknowledged is lost."""

import subprocess
import sys
import time
from pathlib import Path

from pii_pipeline.settings import project_root
from pii_pipeline.vault.audit import Action, Event
from pii_pipeline_tests.unit.vault.examples import Parts

THREADS, ENTRIES = 8, 200


def start(parts: Parts, name: str, entries: int, output: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pii_pipeline_tests.unit.vault.recorder", parts.url, str(parts.folder)]
    with output.open("wb") as file:
        return subprocess.Popen([*command, name, str(THREADS), str(entries)], stdout=file, cwd=project_root())


def acknowledged(output: Path) -> dict[str, int]:
    """What was recorded, and its number; a line that a kill cut off was not."""
    lines = output.read_text().split("\n")[:-1]
    return {label: int(number) for label, number in (line.split(" ") for line in lines)}


def recorded(parts: Parts) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for entry in parts.entries():
        if entry["action"] == "load":
            found.setdefault(entry["detail"]["batch"], []).append(entry["number"])
    return found


def test_two_processes_of_eight_threads_make_one_unbroken_chain(either: Parts, tmp_path: Path):
    outputs = [tmp_path / f"{name}.txt" for name in "ab"]
    running = [start(either, output.stem, ENTRIES, output) for output in outputs]
    assert [process.wait(300) for process in running] == [0, 0]
    told = {**acknowledged(outputs[0]), **acknowledged(outputs[1])}
    assert len(told) == 2 * THREADS * ENTRIES
    assert recorded(either) == {label: [number] for label, number in told.items()}, (
        "each once, as it was told"
    )
    found = either.audit.verify()
    assert found.broken is None and found.entries == len(told) + len(policies(either))
    assert found.anchored is not None
    for name in "ab":
        for thread in range(THREADS):
            mine = [told[f"{name}/{thread}/{entry}"] for entry in range(ENTRIES)]
            assert mine == sorted(mine), "what a thread records one after the other is in that order"


def policies(parts: Parts) -> list[int]:
    return [entry["number"] for entry in parts.entries() if entry["action"] == "policy"]


def test_what_was_acknowledged_before_a_kill_is_there_and_the_chain_goes_on(either: Parts, tmp_path: Path):
    for turn in range(3):
        output = tmp_path / f"killed{turn}.txt"
        process = start(either, f"killed{turn}", 1_000_000, output)
        deadline = time.monotonic() + 120
        while len(acknowledged(output)) < 50 * (turn + 1) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        assert process.wait(60) == -9
        told = acknowledged(output)
        assert len(told) >= 50
        there = recorded(either)
        assert {label: there.get(label) for label in told} == {
            label: [number] for label, number in told.items()
        }
        own = [label for label in there if label.startswith(f"killed{turn}/")]
        assert len(told) <= len(own) <= len(told) + THREADS, "and at most what was on its way"
        assert either.audit.verify().broken is None
    either.audit.record(Event(Action.ERASE, "operator"))
    found = either.audit.verify()
    assert found.broken is None and found.entries == len(either.entries())
