"""A contract compiled into the tree of steps that the kernels follow, and the schemas on both sides."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import ListOf, Node, Scalar, arrow_type, escape
from pii_pipeline.contracts.schema import compile_schema
from pii_pipeline.contracts.treatments import Drop, Encrypt, Generalize, Keep, Treatment


@dataclass(frozen=True, slots=True)
class Leaf:
    """One treated place: its path in the contract, the type of its values, and what is done to them.

    `explicit` says that the contract names it (or a parent of it); the others are treated by default.
    """

    path: str
    node: Node
    treatment: Treatment
    explicit: bool


@dataclass(frozen=True, slots=True)
class ListStep:
    element: Step


@dataclass(frozen=True, slots=True)
class RecordStep:
    fields: tuple[tuple[str, Step], ...]


Step = Leaf | ListStep | RecordStep

EVENT_TIME = "_event_time"
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
        return self.contract.contract.rpartition("/")[0]

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
            pa.field(KEY_LINK, pa.string(), nullable=False),
            pa.field(SUBJECT_TOKEN, pa.string(), nullable=False),
            pa.field(CONSENT, pa.list_(pa.int32())),
            pa.field(ID_REUSED, pa.bool_()),
            pa.field(UNLISTED, pa.string()),
        ]
        return pa.schema(system + [pa.field(name, lake_type(step)) for name, step in self.root.fields])

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


def lake_type(step: Step) -> pa.DataType:
    """The Arrow type of a treated column."""
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
    children = [step.element] if isinstance(step, ListStep) else [child for _, child in step.fields]
    return [leaf for child in children for leaf in column_leaves(child)]
