"""The life of a contract's versions: which there are, the next step of one, and a new one to start from."""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pii_pipeline.contracts.errors import ConfigurationError, Problem
from pii_pipeline.contracts.loader import load_contract
from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.source import read_yaml
from pii_pipeline.streams.editing import with_element, with_values
from pii_pipeline.streams.loader import STREAM_FILE, listed_files, load_stream
from pii_pipeline.streams.model import CONTRACT_FILE

STATES = ("draft", "in_review", "approved", "active", "archived")
"""In the order in which a version goes through them."""

_STAGED = ".pii-staged"
"""Behind the hidden name under which a file's new text waits to take the old one's place."""

_NAME = re.compile(r"(.+?)(?:-\d+\.\d+\.\d+)?((?:\.\D[^.]*)*)")

Part = Literal["major", "minor", "patch"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A contract that a stream lists, as far as its file tells without being loaded."""

    contract: str
    state: str
    stream: Path
    file: Path


@dataclass(frozen=True, slots=True)
class Move:
    """A version, the file it stands in, and the states it leaves and enters."""

    contract: str
    file: Path
    before: str
    after: str


def listed_contracts(folders: Sequence[Path]) -> Iterator[Listed]:
    """Every contract that a stream in `folders` lists, whatever else is wrong with it."""
    for stream in (file.parent for folder in folders for file in sorted(folder.glob(f"*/{STREAM_FILE}"))):
        with suppress(ConfigurationError):
            for file in listed_files(stream):
                with suppress(ConfigurationError):
                    data = read_yaml(file).data
                    yield Listed(str(data.get("contract")), str(data.get("state")), stream, file)


@contextmanager
def turn(*folders: Path) -> Iterator[None]:
    """One process after the other: no other one that asks for one of these folders goes on until the end.

    So what has been staged there is of a process that was killed, and is removed.
    """
    with ExitStack() as held:
        # In one order, so that two processes never wait for one another.
        for folder in sorted({folder.resolve() for folder in folders}):
            descriptor = os.open(folder, os.O_RDONLY)
            held.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for leftover in folder.glob(f".*{_STAGED}"):
                leftover.unlink(missing_ok=True)
        yield


def promotion(listed: Listed, beside: Sequence[Listed]) -> list[Move]:
    """What has to be done for `listed` to enter its next state; `beside`: the stream's versions, as they are
    in its turn.

    Without a `contract_field` only one version can be active: the one before is archived in the same step.
    Raises ConfigurationError if there is no next state, if it would be wrong, or if `listed` is not in the
    state any more that it was seen in.
    """
    if listed not in beside:
        problem = f"{listed.contract} is not {listed.state} any more: something else changed it meanwhile"
        mend = "see `pii contract list`, and promote it again if it is not where it shall be"
        raise ConfigurationError([Problem(listed.file, 1, "state", problem, mend)])
    if listed.state not in STATES[:-1]:
        known = listed.state in STATES
        problem = f"{listed.contract} is {listed.state}" + (", the last state" if known else "")
        mend = "write `state: active` to take it back into use" if known else f"one of {', '.join(STATES)}"
        raise ConfigurationError(
            [Problem(listed.file, read_yaml(listed.file).line(("state",)), "state", problem, mend)]
        )
    after = STATES[STATES.index(listed.state) + 1]
    moves = [Move(listed.contract, listed.file, listed.state, after)]
    if after == "active" and read_yaml(listed.stream / STREAM_FILE).data.get("contract_field") is None:
        moves += [
            Move(other.contract, other.file, other.state, "archived")
            for other in beside
            if other.state == "active"
        ]
    if after in ("active", "archived"):
        load_stream(listed.stream, {move.contract: move.after for move in moves})
    else:
        load_contract(listed.file)
    return moves


def carry_out(moves: Sequence[Move]) -> None:
    """Writes the new states into the files; what becomes active, and is named first, comes last.

    Killed in between, none is active. Such a stream does not load, and the same promotion again finishes it.
    With the other order two would be active, and the new version would be archived by the same promotion.
    """
    _write({move.file: with_values(move.file, {"state": move.after}) for move in reversed(moves)})


def new_version(stream: Path, part: Part) -> list[Path]:
    """Copies the newest active contract of a stream, and its schema, to a draft whose version is raised in
    `part`, and lists it; returns the files written.

    Killed in between, it leaves files that nothing names yet, and the same call again finishes it. Raises
    ConfigurationError if the stream does not load, or there is such a version already, or another such file.
    """
    loaded = load_stream(stream)
    contract = loaded.contract
    version = _raised(contract.version, part)
    reference = f"{contract.identity}/{version}"
    file = _named(contract.file, version)
    schema_file = _named(contract.file.parent / contract.schema_file, version)
    if reference in {other.contract for other in loaded.versions}:
        _refuse(contract, f"{reference} is there already")
    said = {
        "contract": reference,
        "state": STATES[0],
        "schema": str(schema_file.relative_to(contract.file.parent)),
    }
    listed = str(file.relative_to(stream))
    texts = {
        schema_file: (contract.file.parent / contract.schema_file).read_bytes().decode("utf-8-sig"),
        file: with_values(contract.file, said),
        stream / STREAM_FILE: with_element(stream / STREAM_FILE, "contracts", listed, CONTRACT_FILE),
    }
    named = _named_files(stream.parent)
    for target in (file, schema_file):
        if target.exists() and (target.resolve() in named or not _has_text(target, texts[target])):
            _refuse(contract, f"the file {target.name} is there already")
    _write(texts)
    return list(texts)


def _named_files(folder: Path) -> set[Path]:
    """The contracts that streams in `folder` list, and the schemas that these name."""
    contracts = [item.file for item in listed_contracts([folder])]
    schemas = [file.parent / str(read_yaml(file).data.get("schema")) for file in contracts]
    return {file.resolve() for file in (*contracts, *schemas)}


def _has_text(file: Path, text: str) -> bool:
    return file.is_file() and file.read_bytes() == text.encode()


def _raised(version: tuple[int, int, int], part: Part) -> str:
    major, minor, patch = version
    raised = {
        "major": (major + 1, 0, 0),
        "minor": (major, minor + 1, 0),
        "patch": (major, minor, patch + 1),
    }
    return ".".join(map(str, raised[part]))


def _named(file: Path, version: str) -> Path:
    """``contract.yaml`` as ``contract-1.1.0.yaml``, and that in turn as ``contract-1.2.0.yaml``."""
    stem, suffix = _NAME.fullmatch(file.name).groups()  # type: ignore[union-attr] it matches every name
    return file.with_name(f"{stem}-{version}{suffix}")


def _refuse(contract: Contract, problem: str) -> None:
    line = read_yaml(contract.file).line(("contract",))
    mend = "change or remove that one, or raise another part of the version"
    raise ConfigurationError([Problem(contract.file, line, "contract", problem, mend)])


def _write(texts: Mapping[Path, str]) -> None:
    """Writes all files, or none if one of them cannot be written; whatever ends it midway, each has its old
    text or the new one, and they got it in this order. A file that was there keeps its mode."""
    staged: dict[Path, Path] = {}
    try:
        for target, text in ((file.resolve(), text) for file, text in texts.items()):
            # Always called so: what a process that was killed has left there is written over.
            staged[target] = target.with_name(f".{target.name}{_STAGED}")
            with staged[target].open("wb") as sink:
                if target.exists():
                    os.fchmod(sink.fileno(), stat.S_IMODE(target.stat().st_mode))
                sink.write(text.encode())
                sink.flush()
                os.fsync(sink.fileno())
        for target, temporary in staged.items():
            temporary.replace(target)
    except BaseException:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)
        raise
