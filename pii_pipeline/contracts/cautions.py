"""What a contract may say, but somebody should look at: choices that protect less than they seem to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pii_pipeline.contracts.errors import Caution
from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.names import sounds_personal, takes_few_values
from pii_pipeline.contracts.record_type import Scalar, walk
from pii_pipeline.contracts.schema import CompiledSchema
from pii_pipeline.contracts.source import Location, Source
from pii_pipeline.contracts.treatments import Encrypt, Keep, Pseudonymize, SelfDescribing, Treatment

FEW_VALUES = 50
"""A pseudonym of a field with no more values than that tells them apart at a glance."""


def cautions(source: Source, contract: Contract, compiled: CompiledSchema) -> Iterator[Caution]:
    """What somebody should look at in a contract that can be used."""
    if contract.consent is None:
        sealed = [location for location, treatment in _treatments(contract) if isinstance(treatment, Encrypt)]
        for location in sealed:
            yield source.caution(
                location,
                "encrypted, but no `consent` says who may ever read it: drop it, or declare `consent`",
            )
    if isinstance(contract.default, Keep):
        yield source.caution(
            ("default",),
            "every field that is not listed stays readable, also one added later; list those to keep",
        )
    for leaf in _leaves(contract):
        if isinstance(leaf.treatment, Pseudonymize) and (why := _few_values(contract, leaf, compiled)):
            yield source.caution(
                leaf.location,
                f"`{leaf.name}` is pseudonymized but {why}: by trying or counting them all one can tell "
                "which is which; keep it if it identifies nobody, else generalize, encrypt or drop it",
            )
        if isinstance(leaf.treatment, Keep) and sounds_personal(leaf.path, leaf.treatment.allow):
            message = "is kept readable for everybody, and its name sounds like personal data"
            yield source.caution(leaf.location, f"`{leaf.name}` {message}")
    linkable = linkable_after_erasure(contract)
    if linkable:
        yield source.caution(
            ("fields",), f"joinable across people, so still linkable after an erasure: {', '.join(linkable)}"
        )


def linkable_after_erasure(contract: Contract) -> list[str]:
    """The paths whose pseudonyms outlive their person: equal across people, so no salt dies with anyone."""
    return [
        leaf.name
        for leaf in _leaves(contract)
        if isinstance(leaf.treatment, Pseudonymize) and leaf.treatment.outlives_erasure
    ]


def _treatments(contract: Contract) -> Iterator[tuple[Location, Treatment]]:
    yield ("default",), contract.default
    for path, treatment in contract.fields.items():
        yield ("fields", path), treatment
        if isinstance(treatment, SelfDescribing):
            for criterion, inner, place in treatment.places():
                yield ("fields", path, treatment.name, criterion, inner), place


def _few_values(contract: Contract, leaf: _Leaf, compiled: CompiledSchema) -> str:
    """Why the value takes few values, or ""."""
    if leaf.node == Scalar("boolean"):
        return "a boolean takes two values"
    counts: list[int] = []
    if leaf.node is not None:
        part = compiled.parts[leaf.path]
        rules = (rule for rule in contract.validations if rule.field == leaf.path)
        counts += [len(rule.enum) for rule in rules if rule.enum is not None]
        counts += [len(part["enum"])] if "enum" in part else [1] if "const" in part else []
    if counts and min(counts) <= FEW_VALUES:
        return "takes only 1 value" if min(counts) == 1 else f"takes only {min(counts)} values"
    return "its name promises few values" if takes_few_values(leaf.path) else ""


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A value that is treated by itself: what it is called, and where the contract says what is done to it.

    `path` is what its name tells of it; `node` its type, which nobody knows (None) inside documents.
    """

    name: str
    location: Location
    path: str
    treatment: Treatment
    node: Scalar | None = None


def _leaves(contract: Contract) -> Iterator[_Leaf]:
    """Every scalar, and of one that holds documents, what is listed inside them and what is not."""
    for path, node in walk(contract.record):
        if not isinstance(node, Scalar):
            continue
        treatment, listed = contract.treatment(path), contract.listed(path)
        location: Location = ("fields", listed) if listed else ("default",)
        if isinstance(treatment, SelfDescribing):
            for criterion, inner, place in treatment.places():
                name, within = f"{path} {criterion} {inner}", (*location, treatment.name, criterion, inner)
                yield _Leaf(name, within, inner, place)
            yield _Leaf(path, ("default",), path, contract.default)
        else:
            yield _Leaf(path, location, path, treatment, node)
