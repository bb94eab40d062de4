"""Versions of a contract that are active side by side: each event keeps its own, the tables are shared.

What is decided event by event may differ from version to version: rules, time and age, the key field, whom an
event is about, every treatment. What is one thing for the whole stream must not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa

from pii_pipeline.contracts.columns import clashes
from pii_pipeline.contracts.errors import Problem
from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import arrow_schema
from pii_pipeline.contracts.source import Location, Source, read_yaml
from pii_pipeline.streams.datasets import contract_schema
from pii_pipeline.streams.model import PSEUDONYMIZED_EVENTS, Derived

_ONE_FOR_ALL: tuple[tuple[str, Location, Callable[[Contract], str | None], str], ...] = (
    (
        "an event's id",
        ("event_id_field",),
        lambda contract: contract.event_id_field,
        "by it redelivered events are told, whatever their version",
    ),
    (
        "the data subject's namespace",
        ("data_subject", "namespace"),
        lambda contract: contract.data_subject.namespace if contract.data_subject else None,
        "an erasure names a person of one namespace, and must find all of the stream's events",
    ),
    (
        "the type of consent",
        ("consent", "type"),
        lambda contract: contract.consent.type if contract.consent else None,
        "one request for consent must mean the same for every event",
    ),
)


def clashing(contracts: Sequence[Contract], derived: Mapping[str, Derived]) -> list[Problem]:
    """Why versions (the newest first) cannot be active side by side; `derived`: the stream's datasets."""
    newest, *others = contracts
    return [problem for other in others for problem in _clashing(newest, other, derived)]


def _clashing(contract: Contract, other: Contract, derived: Mapping[str, Derived]) -> Iterator[Problem]:
    source = read_yaml(contract.file)
    both = f"in {other.file.name}, and both are active"
    for what, location, value, why in _ONE_FOR_ALL:
        ours, theirs = value(contract) or "not declared", value(other) or "not declared"
        if ours != theirs:
            problem = f"{what} is {ours} here and {theirs} {both}: {why}"
            source.add(location, problem, f"declare the same in both, or archive {other.contract}")
    seen: set[str] = set()
    for where, first, second in _tables(contract, other, derived):
        for path, ours, theirs in clashes(first, second):
            if path not in seen:
                _add(source, contract, path, f"{_word(ours)} here and {_word(theirs)} {both}", where, other)
            seen.add(path)
    yield from sorted(source.problems, key=lambda problem: problem.line)


def _add(source: Source, contract: Contract, path: str, differ: str, where: str, other: Contract) -> None:
    by_schema = where == "validated_events"
    location = ("schema",) if by_schema else ("fields", path)
    mend = "give it another name" if by_schema else "treat it as there"
    problem = f"`{path}` is {differ}: no column of {where} can be both"
    source.add(location, problem, f"{mend}, or archive {other.contract}")


def _tables(
    contract: Contract, other: Contract, derived: Mapping[str, Derived]
) -> Iterator[tuple[str, pa.Schema, pa.Schema]]:
    """The stream's tables by name, as either version has them."""
    yield "validated_events", arrow_schema(contract.record), arrow_schema(other.record)
    for name in (PSEUDONYMIZED_EVENTS, *derived):
        yield name, contract_schema(contract, derived, name), contract_schema(other, derived, name)


def _word(type: pa.DataType | None) -> str:
    if pa.types.is_struct(type):
        return "a record"
    return "a list" if pa.types.is_list(type) else str(type)
