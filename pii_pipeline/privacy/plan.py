"""A contract compiled into the tree of steps that the kernels follow, and the schemas on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import ListOf, Node, Scalar, ScalarKind, Way, arrow_type, escape, way
from pii_pipeline.contracts.schema import compile_schema
from pii_pipeline.contracts.treatments import (
    UNLISTED_VALUES,
    Drop,
    Encrypt,
    Generalize,
    Keep,
    Pseudonymize,
    SelfDescribing,
    Treatment,
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One treated place: its path in the contract, the type of its values, and what is done to them.

    `explicit` says that the contract names it (or a parent of it); the others are treated by default.
    `inside`: it is a place inside documents, and ``json`` is any value that is found there.
    """

    path: str
    node: Node
    treatment: Treatment
    explicit: bool
    inside: bool = False


@dataclass(frozen=True, slots=True)
class ListStep:
    element: Step


@dataclass(frozen=True, slots=True)
class RecordStep:
    fields: tuple[tuple[str, Step], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A place that the contract names inside the data of entities whose schema meets `criterion`.

    A value goes to the first of the `leaves` that takes its type; where none does, it becomes null.
    """

    criterion: str
    way: Way
    leaves: tuple[Leaf, ...]


@dataclass(frozen=True, slots=True)
class DocumentStep:
    """A column of self-describing JSON. Dropped places have a leaf here, by which they are found.

    `criteria`: all of them, those without places too; `schemas`: the schemas that meet one, or are Snowplow's
    envelopes, which stay; `unlisted`: every value that no criterion and path names; `names`: the keys and
    schemas that none names.
    """

    path: str
    criteria: tuple[str, ...]
    places: tuple[Place, ...]
    schemas: Leaf
    unlisted: Leaf
    names: Leaf

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Everything that is treated by itself."""
        listed = (leaf for place in self.places for leaf in place.leaves)
        return (self.schemas, *listed, self.unlisted, self.names)


Step = Leaf | ListStep | RecordStep | DocumentStep

EVENT_TIME = "_event_time"
CONTRACT = "_contract"
KEY_LINK = "_key_link"
SUBJECT_TOKEN = "_subject_token"
CONSENT = "_consent"
ID_REUSED = "_event_id_reused"
UNLISTED = "_unlisted"


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to the columns of one contract. Dropped fields have no step.

    `prescribed` are the paths of fields whose values the contract itself lists, or checks to be a time:
    nothing of a person's can be in them.
    """

    contract: Contract
    root: RecordStep
    prescribed: frozenset[str] = frozenset()

    @property
    def identity(self) -> str:
        """``handle/name``: what associated data and default domains are bound to, whatever the version."""
        return self.contract.identity

    def associated_data(self, path: str) -> bytes:
        """Binds a ciphertext to its column: moved to another one it does not open."""
        return f"{self.identity}\0{path}".encode()

    def domain(self, path: str) -> str:
        """The default domain of a field: its own, shared with no other field of any stream."""
        return f"{self.identity}\0{path}"

    def lake_schema(self) -> pa.Schema:
        """The columns of ``pseudonymized_events``: system columns first, then the contract's."""
        system = [
            pa.field(EVENT_TIME, pa.timestamp("us", "UTC"), nullable=False),
            pa.field(CONTRACT, pa.string(), nullable=False),
            pa.field(KEY_LINK, pa.string(), nullable=False),
            pa.field(SUBJECT_TOKEN, pa.string(), nullable=False),
            pa.field(CONSENT, pa.list_(pa.int32())),
            pa.field(ID_REUSED, pa.bool_()),
            pa.field(UNLISTED, pa.string()),
        ]
        return pa.schema(system + [pa.field(name, lake_type(step)) for name, step in self.root.fields])

    @property
    def reversible(self) -> dict[str, Pseudonymize]:
        """The fields whose originals are kept in the vault, by path, and how they are pseudonymized."""
        treatments = {leaf.path: leaf.treatment for leaf in column_leaves(self.root)}
        return {
            path: treatment
            for path, treatment in treatments.items()
            if isinstance(treatment, Pseudonymize) and treatment.reversible
        }

    @property
    def documents(self) -> list[str]:
        """The paths of the fields that hold documents; none is in a list."""
        return list(_documents(self.root))

    def treated_texts(self, schema: pa.Schema) -> list[str]:
        """The columns that are treated, outside records and lists, and text in `schema`.

        The kernels work on their distinct values, and Parquet has those ready.
        """
        treated = {
            name
            for name, step in self.root.fields
            if isinstance(step, Leaf) and not isinstance(step.treatment, Keep)
        }
        return [field.name for field in schema if field.name in treated and pa.types.is_string(field.type)]


def compile_plan(contract: Contract) -> Plan:
    """The plan of `contract`, whose record type must be loaded."""
    root = _compile(contract, contract.record, "", explicit=False)
    return Plan(contract, root if isinstance(root, RecordStep) else RecordStep(()), _prescribed(contract))


def _prescribed(contract: Contract) -> frozenset[str]:
    parts = compile_schema(contract.json_schema).parts
    listed = {path for path, part in parts.items() if "enum" in part or "const" in part}
    listed |= {rule.field for rule in contract.validations if rule.enum is not None}
    listed.add(contract.time_field)
    return frozenset(listed)


def _compile(contract: Contract, node: Node, path: str, explicit: bool) -> Step | None:
    treatment = contract.treatment(path)
    explicit = explicit or path in contract.fields
    if isinstance(treatment, SelfDescribing) and isinstance(node, Scalar):
        return _document(path, treatment, contract.default)
    # A record or list is sealed as one value only where the contract names it; a default goes to the leaves.
    if isinstance(node, Scalar) or (isinstance(treatment, Encrypt) and path in contract.fields):
        return None if isinstance(treatment, Drop) else Leaf(path, node, treatment, explicit)
    if isinstance(node, ListOf):
        element = _compile(contract, node.element, path + "[]", explicit)
        return None if element is None else ListStep(element)
    fields = []
    for name, child in node.fields:
        child_path = f"{path}/{escape(name)}" if path else escape(name)
        step = _compile(contract, child, child_path, explicit)
        if step is not None:
            fields.append((name, step))
    return RecordStep(tuple(fields)) if fields else None


def _documents(step: Step) -> Iterator[str]:
    if isinstance(step, DocumentStep):
        yield step.path
    elif isinstance(step, RecordStep):
        for _, child in step.fields:
            yield from _documents(child)


def _document(path: str, treatment: SelfDescribing, default: Treatment) -> DocumentStep:
    places = [
        Place(criterion, way(inner), _inside(f"{path} {criterion} {inner}", chosen))
        for criterion, chosen_by_path in treatment.entities.items()
        for inner, chosen in chosen_by_path.items()
    ]
    any_value = Scalar("json")
    return DocumentStep(
        path,
        tuple(treatment.entities),
        tuple(places),
        # Where `*` stands for vendor or name, a word of them may be in another field, and nobody could say
        # `allow` here.
        schemas=Leaf(f"{path} $schema", any_value, Keep(allow=("original",)), explicit=True, inside=True),
        unlisted=Leaf(f"{path}{UNLISTED_VALUES}", any_value, default, explicit=False, inside=True),
        names=Leaf(f"{path} $names", any_value, Pseudonymize(), explicit=False, inside=True),
    )


def _inside(path: str, treatment: Treatment) -> tuple[Leaf, ...]:
    """The leaves of a place inside documents: no schema says of which type its values are."""
    kinds: tuple[ScalarKind, ...] = ("json",)
    if isinstance(treatment, Generalize) and treatment.step is not None:
        kinds = ("integer", "number")
    elif isinstance(treatment, Generalize):
        kinds = ("string", "integer") if treatment.date is not None else ("string",)
    return tuple(Leaf(path, Scalar(kind), treatment, explicit=True, inside=True) for kind in kinds)


def lake_type(step: Step) -> pa.DataType:
    """The Arrow type of a treated column; of documents, JSON text."""
    if isinstance(step, DocumentStep):
        return pa.string()
    if isinstance(step, ListStep):
        return pa.list_(lake_type(step.element))
    if isinstance(step, RecordStep):
        return pa.struct([pa.field(name, lake_type(child)) for name, child in step.fields])
    keeps_type = isinstance(step.treatment, Keep) or (
        isinstance(step.treatment, Generalize)
        and isinstance(step.node, Scalar)
        and step.node.kind in ("integer", "number")
    )
    return arrow_type(step.node) if keeps_type else pa.string()


def column_leaves(step: Step) -> list[Leaf]:
    """Every leaf below `step`, in order."""
    if isinstance(step, Leaf):
        return [step]
    if isinstance(step, DocumentStep):
        return list(step.leaves)
    children = [step.element] if isinstance(step, ListStep) else [child for _, child in step.fields]
    return [leaf for child in children for leaf in column_leaves(child)]
