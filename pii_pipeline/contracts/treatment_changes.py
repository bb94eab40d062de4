"""Where two versions of a contract treat a value differently, and what becomes of its protection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.protection import Direction, direction
from pii_pipeline.contracts.record_type import Node, Record, parent, parents, walk
from pii_pipeline.contracts.schema import compile_schema, resolve
from pii_pipeline.contracts.treatments import (
    Drop,
    Keep,
    Pseudonymize,
    SelfDescribing,
    Treatment,
    intersection,
)

Treated = tuple[Treatment, str]
"""What is done to a value; and in words as part of what, if the schema does not declare it, else ""."""


@dataclass(frozen=True, slots=True)
class TreatmentChange:
    """One difference: where in the contract, what was done and is done, and what becomes of protection."""

    place: str
    before: Treated
    after: Treated
    protection: Direction


def treatment_changes(old: Contract, new: Contract) -> Iterator[TreatmentChange]:
    """Every change of the default, of listed fields that both declare, and inside documents. Of what only
    one of them declares, what is protected less."""
    both = old.consent is not None and new.consent is not None and old.consent.type == new.consent.type
    consent = old.consent.type if both and old.consent else None

    def change(place: str, before: Treated, after: Treated) -> Iterator[TreatmentChange]:
        if protection := direction(before[0], after[0], consent, (old.default, new.default)):
            yield TreatmentChange(place, before, after, protection)

    yield from change("default", (old.default, ""), (new.default, ""))
    known = {path for path, _ in walk(old.record)} & {path for path, _ in walk(new.record)}
    for path in dict.fromkeys([*old.fields, *new.fields]):
        if path not in known:
            continue  # told where the field is added or removed
        before, after = old.treatment(path), new.treatment(path)
        if isinstance(before, SelfDescribing) and isinstance(after, SelfDescribing):
            for place, first, second in _entities(before, after, (old.default, new.default)):
                yield from change(f"fields.{path}.{place}", (first, ""), (second, ""))
        else:
            yield from change(f"fields.{path}", (before, ""), (after, ""))
    for path, was, becomes in _moved(old, new):
        yield from (found for found in change(f"fields.{path}", was, becomes) if found.protection == "weaker")


class _Places:
    """What a contract does to whatever stands at a path, declared or not."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.nodes: dict[str, Node] = {"": contract.record, **dict(walk(contract.record))}
        schema = contract.json_schema
        self.parts = {"": resolve(schema, schema), **compile_schema(schema).parts}

    def declared(self, path: str) -> str:
        """The path itself, or the nearest above it that the schema knows."""
        while path not in self.nodes:
            path = parent(path)
        return path

    def treatment(self, path: str) -> Treated | None:
        """What is done there; None if the schema refuses what stands there."""
        known = self.declared(path)
        if known == path:
            return self.contract.treatment(path), ""
        if not isinstance(self.nodes[known], Record):
            return self.contract.treatment(known), f", as part of `{known}`"
        part = self.parts[known]
        if part.get("additionalProperties") is False and "patternProperties" not in part:
            return None
        treatment = Drop() if isinstance(self.contract.default, Drop) else Pseudonymize()
        return treatment, ", among undeclared keys"


def _moved(old: Contract, new: Contract) -> Iterator[tuple[str, Treated, Treated]]:
    """What is treated by itself in one version, and in the other, whose schema does not declare it, among the
    undeclared keys or as part of a whole: its path, and what is done before and after."""
    first, second = _Places(old), _Places(new)
    treated = dict.fromkeys(path for contract in (old, new) for path, _, _ in contract.treated())
    for path in treated:
        known, other = first.declared(path), second.declared(path)
        before, after = first.treatment(path), second.treatment(path)
        if known == other or before is None or after is None:
            continue
        whole = min(known, other, key=len)
        around = (old.treatment(whole), new.treatment(whole))
        record = isinstance((first if known == whole else second).nodes[whole], Record)
        if record or (before[0], after[0]) != around:  # which is told where it is listed, or of the default
            yield path, before, after


def _entities(
    before: SelfDescribing, after: SelfDescribing, defaults: tuple[Treatment, Treatment]
) -> Iterator[tuple[str, Treatment, Treatment]]:
    """What is done, before and after, to the schemas that every criterion means, and at every path below it;
    and where two criteria overlap, if that is something else than for all that one of them means."""
    listed: dict[str, dict[str, None]] = {}
    for criterion, paths in (*before.entities.items(), *after.entities.items()):
        listed.setdefault(criterion, {}).update(dict.fromkeys(paths))

    def done(criterion: str, path: str) -> tuple[Treatment, Treatment]:
        first = _inside(before, criterion, path, defaults[0])
        return first, _inside(after, criterion, path, defaults[1])

    places = {
        (criterion, path): done(criterion, path) for criterion, paths in listed.items() for path in paths
    }
    for one, other in combinations(listed, 2):
        both = intersection(one, other)
        if both is None:
            continue
        for path in (*listed[one], *listed[other]):
            told = (places.get((criterion, path)) for criterion in (one, other))
            if (found := done(both, path)) not in told:
                places.setdefault((both, path), found)
    for criterion in listed:
        first = _schema_name(before, criterion, defaults[0])
        yield f"{criterion}.$schema", first, _schema_name(after, criterion, defaults[1])
    for (criterion, path), (first, second) in places.items():
        yield f"{criterion}.{path}", first, second


def _inside(treatment: SelfDescribing, criterion: str, path: str, default: Treatment) -> Treatment:
    """What is done at `path` of all entities that a criterion means: what the first criterion that means them
    too lists there, or for the list it is an element of, or nearest above for all below."""
    meant = [listed for other, listed in treatment.entities.items() if _covers(other, criterion)]
    for around in (path, *parents(path)):
        for listed in meant:
            found = listed.get(around)
            if found is not None and (found.deep or around in (path, path.removesuffix("[]"))):
                return found
    return default


def _schema_name(treatment: SelfDescribing, criterion: str, default: Treatment) -> Treatment:
    """What is done to the schemas that a criterion means, as texts: they are kept where they are listed, else
    treated like names of keys that are not."""
    if any(_covers(other, criterion) for other in treatment.entities):
        return Keep()
    return default if isinstance(default, Keep | Drop) else Pseudonymize()


def _covers(criterion: str, other: str) -> bool:
    """Whether every schema that `other` means is one that `criterion` means."""
    return intersection(criterion, other) == other
