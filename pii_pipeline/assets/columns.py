"""The columns of every dataset: what each says, what was done to it, and of which columns it is made.

A field inside a record has a row of its own, named by its path in the contract, so that each has its own
treatment and lineage. What the contract declares comes first, what the pipeline adds last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Any, overload

import pyarrow as pa

from pii_pipeline.assets import words
from pii_pipeline.contracts.model import ARRIVAL, Consent, Contract
from pii_pipeline.contracts.record_type import ListOf, Node, Record, Scalar, arrow_type, join
from pii_pipeline.contracts.treatments import (
    Drop,
    Encrypt,
    Keep,
    Pseudonymize,
    SelfDescribing,
    Treatment,
    Url,
)
from pii_pipeline.ledger import PSEUDONYMIZED_EVENTS, VALIDATED_EVENTS
from pii_pipeline.pipeline import bad_events
from pii_pipeline.pipeline.seal import RAW_EVENTS
from pii_pipeline.pipeline.validate import ARRIVAL_TIME, columns_under
from pii_pipeline.privacy.derive import DerivedPlan
from pii_pipeline.privacy.plan import (
    CONSENT,
    CONTRACT,
    EVENT_TIME,
    ID_REUSED,
    KEY_LINK,
    SUBJECT_TOKEN,
    UNLISTED,
    DocumentStep,
    Leaf,
    ListStep,
    RecordStep,
    Step,
    column_leaves,
    compile_plan,
    lake_type,
)
from pii_pipeline.streams.datasets import consent_request, derived_plan
from pii_pipeline.streams.model import Derived, Stream
from pii_pipeline.streams.tables import warehouse_table

UNDECLARED = "*"
"""Stands in `raw_events` for all keys that the schema does not declare."""

_FIELD_BY_FIELD = "Field by field, see below."
_CONTRACT = "The version of the contract that the event was judged and treated by."
_ONE_CONTRACT = "Always the active one: `stream.yaml` names no `contract_field`."
_UNLISTED = "JSON text of the keys that the schema does not declare."


@dataclass(frozen=True, slots=True)
class Column:
    """`name` is a path in the contract, or the name of a column that the pipeline adds.

    `says` is what its values mean, `done` what was done to them (Markdown; "" where there is nothing to
    say). `sources` are the columns that its values are made of, as (dataset of the stream, name).
    """

    name: str
    type: str
    says: str
    done: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[tuple[str, str], ...] = ()
    nullable: bool = True


def raw_columns(stream: Stream) -> list[Column]:
    """What the objects of ``raw_events`` hold, as the contract's schema declares it."""
    return _of_all(stream, partial(_raw, stream))


def validated_columns(stream: Stream) -> list[Column]:
    """The columns of ``validated_events``, all in clear."""
    return _of_all(stream, partial(_validated, stream))


def bad_event_columns(stream: Stream) -> list[Column]:
    """The columns of ``bad_events``: nothing in them quotes the event but what is sealed."""
    return _of_all(stream, _bad)


def pseudonymized_columns(stream: Stream) -> list[Column]:
    """The columns of ``pseudonymized_events`` with their treatments."""
    return _of_all(stream, partial(_pseudonymized, stream))


def derived_columns(stream: Stream, dataset: str) -> list[Column]:
    """The columns of a derived dataset: which of them are decrypted, and what was done to the others."""
    return _of_all(stream, partial(_derived, stream.derived[dataset]))


def table_columns(stream: Stream, name: str) -> list[Column]:
    """The columns of a warehouse table: what they say is said of those that they come from."""
    table = warehouse_table(stream, name)
    above = pseudonymized_columns(stream)
    if table.dataset in stream.derived:
        above = derived_columns(stream, table.dataset)
    known = {column.name: column for column in above}
    columns: list[Column] = []
    for column in table.columns:
        path = reduce(join, column.path, "")
        found = replace(known[path], name=column.name, type=column.type, nullable=True)
        if column.convert:
            found = replace(found, done=f"{found.done} Written as `{column.convert}`.".lstrip())
        columns.append(replace(found, sources=((table.dataset, path),)))
    return columns


def _of_all(stream: Stream, columns: Callable[[Contract], Iterable[Column]]) -> list[Column]:
    """The columns of all active versions of the contract, of which `columns` gives those of one."""
    versions = {
        contract.contract: {column.name: column for column in columns(contract)} for contract in stream.active
    }
    names = dict.fromkeys(name for found in versions.values() for name in found)
    return [_together({version: found.get(name) for version, found in versions.items()}) for name in names]


def _together(versions: Mapping[str, Column | None]) -> Column:
    """A column as the versions have it: once where all say the same, else version by version."""
    known = [column for column in versions.values() if column is not None]
    done = {version: column.done if column else "Not there." for version, column in versions.items()}
    tags: dict[str, dict[str, None]] = {}
    for column in known:
        for tag, value in column.tags.items():
            tags.setdefault(tag, {})[value] = None
    listed = (f"- `{version}`: " + text.replace("\n", "\n  ") for version, text in done.items())
    return replace(
        known[0],
        type=" or ".join(dict.fromkeys(column.type for column in known)),
        says=next((column.says for column in known if column.says), ""),
        done=known[0].done if len(set(done.values())) == 1 else "\n".join(listed),
        tags={
            tag: ", ".join([value for value in values if value != "no"] or ["no"])
            for tag, values in tags.items()
        },
        sources=tuple(dict.fromkeys(source for column in known for source in column.sources)),
    )


def _raw(stream: Stream, contract: Contract) -> Iterator[Column]:
    yield from _declared(stream, contract, None)
    yield Column(ARRIVAL, "timestamp", "When the landing object arrived.", tags={"personal_data": "no"})
    undeclared = f"In the lake {_undeclared(contract)}."
    says = "Keys that the schema does not declare."
    yield Column(UNDECLARED, "JSON", says, undeclared, {"personal_data": "clear"})


def _validated(stream: Stream, contract: Contract) -> Iterator[Column]:
    yield from _declared(stream, contract, RAW_EVENTS)
    named = [stream.contract_field] if stream.contract_field else []
    added = {
        EVENT_TIME: ("When it happened, in UTC.", "", [contract.time_field], "no"),
        UNLISTED: (_UNLISTED, f"In the lake {_undeclared(contract)}.", [UNDECLARED], "clear"),
        CONTRACT: (_CONTRACT, "" if named else _ONE_CONTRACT, named, "no"),
        ARRIVAL_TIME: ("When the landing object arrived, in UTC.", "", [ARRIVAL], "no"),
    }
    for item in columns_under(contract):
        if item.name in added:
            says, done, names, state = added[item.name]
            sources = tuple((RAW_EVENTS, name) for name in names)
            yield Column(item.name, str(item.type), says, done, {"personal_data": state}, sources)


def _bad(contract: Contract) -> Iterator[Column]:
    subject = contract.data_subject
    sources = {
        "arrival_time": [ARRIVAL],
        "sealed_record": [*(name for name, _ in contract.record.fields), UNDECLARED],
        "subject_tag": [subject.field] if subject else [],
    }
    states = {"sealed_record": "encrypted", "subject_tag": "pseudonymized"}
    for item in bad_events.SCHEMA:
        yield Column(
            item.name,
            str(item.type),
            _BAD_EVENTS[item.name],
            tags={"personal_data": states.get(item.name, "no")},
            sources=tuple((RAW_EVENTS, source) for source in sources.get(item.name, ())),
            nullable=item.nullable,
        )


_BAD_EVENTS = {
    "id": "The same whenever the bad event is made again.",
    "stream": "The stream it came in.",
    "contract": "The contract it breaks.",
    "failure_type": "What kind of mistake it is, such as `not_json`, `schema_violation`, `rule_violation`.",
    "field": "The declared field that is wrong, by its path; empty for the whole record, null for an object.",
    "rule": "The rule that is broken, such as `required`, `regex`, `max`.",
    "message": "What is wrong, in words that quote no value.",
    "arrival_time": "When the landing object arrived.",
    "landing_object": "Where it was found: the object's path in the landing zone.",
    "record_number": "Which record of the object, from 0; null for the object itself.",
    "byte_offset": "Where the record begins in the decompressed object.",
    "sealed_record": "The record itself, **encrypted** under a key of its stream and arrival day; no dataset "
    "opens it.",
    "subject_tag": "Whom it is about, where that could be read: a keyed hash.",
}


def _pseudonymized(stream: Stream, contract: Contract) -> Iterator[Column]:
    plan = compile_plan(contract)
    roles = _roles(contract)

    def done(path: str, treatment: Treatment, leaves: Sequence[Leaf]) -> tuple[str, dict[str, str]]:
        tags = _tags(treatment, {words.state(leaf.treatment) for leaf in leaves}) | roles.get(path, {})
        return _in_the_lake(stream, treatment), tags

    yield from _treated(contract, plan.root, VALIDATED_EVENTS, done, lambda _: False)
    yield from _lake_system(contract, plan.lake_schema())


def _derived(dataset: Derived, contract: Contract) -> Iterator[Column]:
    derived = derived_plan(contract, dataset)

    def done(path: str, treatment: Treatment, leaves: Sequence[Leaf]) -> tuple[str, dict[str, str]]:
        states = {"clear" if derived.readable(leaf) else words.state(leaf.treatment) for leaf in leaves}
        tags = _tags(treatment, states)
        if states == {"clear"}:
            tags["treatment"] = "decrypt"
        return _in_dataset(derived, treatment), tags

    root = RecordStep(derived.columns)
    yield from _treated(contract, root, PSEUDONYMIZED_EVENTS, done, derived.readable)
    kept = set(derived.schema().names)
    for column in _lake_system(contract, derived.plan.lake_schema()):
        if column.name in kept:
            yield replace(column, sources=((PSEUDONYMIZED_EVENTS, column.name),))


def _treated(
    contract: Contract,
    root: RecordStep,
    upstream: str,
    done: Callable[[str, Treatment, Sequence[Leaf]], tuple[str, dict[str, str]]],
    readable: Callable[[Leaf], bool],
) -> Iterator[Column]:
    """The fields below `root`. `done(path, treatment, leaves)` says what was done to one, and its tags;
    `readable(leaf)` whether it was decrypted."""
    says = _descriptions(contract)
    for path, step in _rows(root):
        place = _place(step)
        sentence, tags = _FIELD_BY_FIELD, {}
        if place is not None:
            text, tags = done(path, contract.treatment(place.path), column_leaves(place))
            sentence = f"{_capital(text)}."
        kind = _step_type(step, readable)
        yield Column(path, kind, says.get(path, ""), sentence, tags, ((upstream, path),))


def _declared(stream: Stream, contract: Contract, upstream: str | None) -> Iterator[Column]:
    """The declared fields in clear, as they came (no `upstream`) or from the dataset above."""
    says, roles = _descriptions(contract), _roles(contract)
    treated = {row(path): treatment for path, _, treatment in contract.treated()}
    sealed = [row(path) for path, node, _ in contract.treated() if not isinstance(node, Scalar)]
    for path, node in _rows(contract.record):
        done, tags = _FIELD_BY_FIELD, {}
        whole = next((outer for outer in sealed if path.startswith((f"{outer}/", f"{outer}[]"))), None)
        if whole is not None:
            done, tags = f"In the lake inside `{whole}`.", {"personal_data": "clear"}
        elif treatment := treated.get(path):
            done = f"In the lake {_in_the_lake(stream, treatment)}."
            tags = {"personal_data": "no" if isinstance(treatment, Keep) else "clear"}
        kind = _json_type(node) if upstream is None else _type(arrow_type(node))
        sources = () if upstream is None else ((upstream, path),)
        yield Column(path, kind, says.get(path, ""), done, tags | roles.get(path, {}), sources)


def _lake_system(contract: Contract, schema: pa.Schema) -> list[Column]:
    """The columns of `schema` that the pipeline adds."""
    subject = [contract.data_subject.field] if contract.data_subject else []
    person = list(dict.fromkeys([*subject, contract.key_field, EVENT_TIME]))
    consent = [contract.consent.field] if contract.consent and contract.consent.field else []
    event_id = [contract.event_id_field] if contract.event_id_field else []
    dropped = isinstance(contract.default, Drop)
    known: dict[str, tuple[str, list[str], str]] = {
        EVENT_TIME: ("When it happened, in UTC.", [EVENT_TIME], "no"),
        CONTRACT: (_CONTRACT, [CONTRACT], "no"),
        KEY_LINK: (
            "Which data key the row is under: the same for one person, key field's value and day.",
            person,
            "pseudonymized",
        ),
        SUBJECT_TOKEN: ("Leads the key store, and nobody else, to the person.", person, "encrypted"),
        CONSENT: ("What the person agreed to: levels or purposes.", consent, "no"),
        ID_REUSED: ("Whether an earlier event with other content has the same id.", event_id, "no"),
        UNLISTED: (_UNLISTED, [UNLISTED], "no" if dropped else "pseudonymized"),
    }
    done = {
        CONSENT: _consent(contract.consent),
        ID_REUSED: "" if event_id else "Always null: the contract names no event id.",
        UNLISTED: _capital(f"{_undeclared(contract)}."),
    }
    return [
        Column(
            item.name,
            _type(item.type),
            says,
            done.get(item.name, ""),
            {"personal_data": state},
            tuple((VALIDATED_EVENTS, name) for name in names),
            item.nullable,
        )
        for item in schema
        if item.name in known
        for says, names, state in [known[item.name]]
    ]


def _consent(consent: Consent | None) -> str:
    """What is there where the events do not say it."""
    if consent is None:
        return "Always null: the contract names no consent."
    levels = " ".join(map(str, consent.default or ()))
    if consent.field is None:
        return f"Always {levels}: the contract says so for all events."
    return f"Where the event says nothing: {levels}." if levels else ""


def _undeclared(contract: Contract) -> str:
    return "**dropped**" if isinstance(contract.default, Drop) else "**pseudonymized**, names and values"


def _in_the_lake(stream: Stream, treatment: Treatment) -> str:
    """What was done, and where what was encrypted can be read."""
    if isinstance(treatment, SelfDescribing):
        return words.entity_by_entity(treatment, partial(_in_the_lake, stream))
    if not isinstance(treatment, Encrypt):
        return words.done(treatment)
    opens = [
        f"[{name}](/assets/{stream.name}/{name})"
        for name, dataset in stream.derived.items()
        if consent_request(dataset).readable(treatment.level)
    ]
    return f"{words.done(treatment)}, opened in {', '.join(opens) or 'no dataset'}"


def _in_dataset(derived: DerivedPlan, treatment: Treatment) -> str:
    """What was done to a value in the dataset."""
    if isinstance(treatment, SelfDescribing):
        return words.entity_by_entity(treatment, partial(_in_dataset, derived))
    if isinstance(treatment, Encrypt) and derived.request.readable(treatment.level):
        return "**decrypted**"
    done = words.done(treatment)
    if derived.joinable_with_lake:
        return done
    if isinstance(treatment, Encrypt):
        return f"{done} still, and once more for this dataset"
    if isinstance(treatment, Pseudonymize | Url):
        return f"{done}; pseudonyms are this dataset's own"
    return done


def _tags(treatment: Treatment, states: set[str]) -> dict[str, str]:
    tags = {"treatment": treatment.name, "personal_data": ", ".join(sorted(states - {"no"})) or "no"}
    return tags | {"level": str(treatment.level)} if isinstance(treatment, Encrypt) else tags


def _descriptions(contract: Contract) -> dict[str, str]:
    """What the schema says of the field in each row."""
    return {row(path): text for path, text in reversed(contract.descriptions.items())}


def _roles(contract: Contract) -> dict[str, dict[str, str]]:
    """The tag of each field that the pipeline itself reads."""
    fields = {
        "event time": contract.time_field,
        "event id": contract.event_id_field,
        "key": contract.key_field,
        "data subject": contract.data_subject and contract.data_subject.field,
        "consent": contract.consent and contract.consent.field,
    }
    return {
        path: {"role": ", ".join(role for role, named in fields.items() if named == path)}
        for path in fields.values()
        if path is not None
    }


def row(path: str) -> str:
    """The name of the row of a place: what is said of a list's elements stands with the list."""
    while path.endswith("[]"):
        path = path[:-2]
    return path


@overload
def _rows(root: Record, parent: str = "") -> Iterator[tuple[str, Node]]: ...
@overload
def _rows(root: RecordStep, parent: str = "") -> Iterator[tuple[str, Step]]: ...
def _rows(root: Record | RecordStep, parent: str = "") -> Iterator[tuple[str, Any]]:
    """Every named field below `root`, with its path, parents before children."""
    for name, child in root.fields:
        path = deeper = join(parent, name)
        yield path, child
        inner = child
        while isinstance(inner, ListOf | ListStep):
            inner, deeper = inner.element, f"{deeper}[]"
        if isinstance(inner, Record | RecordStep):
            yield from _rows(inner, deeper)


def _place(step: Step) -> Leaf | DocumentStep | None:
    """The treated place of a row; None for a record, whose fields have rows of their own."""
    while isinstance(step, ListStep):
        step = step.element
    return None if isinstance(step, RecordStep) else step


def _step_type(step: Step, readable: Callable[[Leaf], bool]) -> str:
    if isinstance(step, ListStep):
        return f"list of {_step_type(step.element, readable)}"
    if isinstance(step, RecordStep):
        return "record"
    if isinstance(step, Leaf) and readable(step):
        return _type(arrow_type(step.node))
    return _type(lake_type(step))


def _type(data_type: pa.DataType) -> str:
    if pa.types.is_list(data_type):
        return f"list of {_type(data_type.value_type)}"
    return "record" if pa.types.is_struct(data_type) else str(data_type)


def _json_type(node: Node) -> str:
    if isinstance(node, ListOf):
        return f"list of {_json_type(node.element)}"
    return node.kind if isinstance(node, Scalar) else "record"


def _capital(text: str) -> str:
    """Text that begins with a word in Markdown's ``**``, with a capital."""
    return text[:2] + text[2:3].upper() + text[3:]
