"""A contract that events were processed under does not change: its version stands for what it said then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pii_pipeline.contracts.errors import Problem
from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.source import read_yaml
from pii_pipeline.ledger import ActiveContract

SHOWN_DIGITS = 12
"""Of a digest, for people."""


class ContractChanged(Exception):
    """An active contract is not what it was when events were first processed under its version. The text
    quotes files of configuration and the ledger, never data."""


def refuse_changed(contracts: Sequence[Contract], known: Mapping[str, ActiveContract]) -> None:
    """Raises `ContractChanged` if the ledger knows one of `contracts` as another one."""
    problems = [problem for contract in contracts for problem in changes(contract, known)]
    if problems:
        raise ContractChanged("\n".join(map(str, problems)))


def changes(contract: Contract, known: Mapping[str, ActiveContract]) -> Iterator[Problem]:
    """What the ledger has against the contract's file: that it said something else when it was active."""
    before = known.get(contract.contract)
    if before is None or before.digest == contract.digest:
        return
    major, minor, patch = contract.version
    yield Problem(
        contract.file,
        read_yaml(contract.file).line(("contract",)),
        "contract",
        f"{_active(before)}, and its file or schema has changed since (digest {before.digest[:SHOWN_DIGITS]} "
        f"then, {contract.digest[:SHOWN_DIGITS]} now)",
        f"undo the change, or raise the version to {major}.{minor}.{patch + 1}: copy file and schema, say so "
        "in the copy, and keep the old ones as they were, archived",
    )


def steps_back(contract: Contract, known: Mapping[str, ActiveContract]) -> Iterator[Problem]:
    """That a contract which was active is something before that again."""
    before = known.get(contract.contract)
    if before is None or contract.state in ("active", "archived"):
        return
    yield Problem(
        contract.file,
        read_yaml(contract.file).line(("state",)),
        "state",
        f"{_active(before)}, and is {contract.state} again",
        "write `state: active` or `state: archived`, and make what is to be changed a new version",
    )


def _active(known: ActiveContract) -> str:
    return f"{known.contract} has been active since {known.active_since:%Y-%m-%d %H:%M} UTC"
