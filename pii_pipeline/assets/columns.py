"""The columns of every dataset: what each says, what was done to it, and of which columns it is made.

A field inside a record has a row of its own, named by its path in the contract, so that each has its own
treatment and lineage. What the contract declares comes first, what the pipeline adds last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce

from pii_pipeline.assets import added, words
from pii_pipeline.assets.rows import Column, json_type, row, rows_below, step_type, treated_place, type_name
from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import Scalar, arrow_type, join
from pii_pipeline.contracts.treatments import Encrypt, Keep, Pseudonymize, SelfDescribing, Treatment, Url
from pii_pipeline.ledger import PSEUDONYMIZED_EVENTS, VALIDATED_EVENTS
from pii_pipeline.pipeline.seal import RAW_EVENTS
from pii_pipeline.privacy.derive import DerivedPlan
from pii_pipeline.privacy.plan import Leaf, RecordStep, column_leaves, compile_plan
from pii_pipeline.streams.datasets import consent_request, derived_plan
from pii_pipeline.streams.model import Derived, Stream
from pii_pipeline.streams.tables import warehouse_table

_FIELD_BY_FIELD = "Field by field, see below."


def raw_columns(stream: Stream) -> list[Column]:
    """What the objects of ``raw_events`` hold, as the contract's schema declares it."""
    return _of_all(stream, partial(_raw, stream))


def validated_columns(stream: Stream) -> list[Column]:
    """The columns of ``validated_events``, all in clear."""
    return _of_all(stream, partial(_validated, stream))


def bad_event_columns(stream: Stream) -> list[Column]:
    """The columns of ``bad_events``: nothing in them quotes the event but what is sealed."""
    return _of_all(stream, added.bad_event_columns)


def pseudonymized_columns(stream: Stream) -> list[Column]:
    """The columns of ``pseudonymized_events`` with their treatments."""
    return _of_all(stream, partial(_pseudonymized, stream))


def derived_columns(stream: Stream, dataset: str) -> list[Column]:
    """The columns of a derived dataset: which of them are decrypted, and what was done to the others."""
    return _of_all(stream, partial(_derived, stream.derived[dataset]))


def vault_columns(stream: Stream) -> list[Column]:
    """What a record of the vault has."""
    return _of_all(stream, added.vault_columns)


def relayed_columns(stream: Stream) -> list[Column]:
    """What a record of the vault has that was relayed."""
    return _of_all(stream, lambda _: added.relayed_columns())


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
    yield from added.raw_columns(contract)


def _validated(stream: Stream, contract: Contract) -> Iterator[Column]:
    yield from _declared(stream, contract, RAW_EVENTS)
    yield from added.validated_columns(stream, contract)


def _pseudonymized(stream: Stream, contract: Contract) -> Iterator[Column]:
    plan = compile_plan(contract)
    roles = _roles(contract)

    def done(path: str, treatment: Treatment, leaves: Sequence[Leaf]) -> tuple[str, dict[str, str]]:
        tags = _tags(treatment, {words.state(leaf.treatment) for leaf in leaves}) | roles.get(path, {})
        return _in_the_lake(stream, treatment), tags

    yield from _treated(contract, plan.root, VALIDATED_EVENTS, done, lambda _: False)
    yield from added.lake_columns(contract, plan.lake_schema())


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
    for column in added.lake_columns(contract, derived.plan.lake_schema()):
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
    for path, step in rows_below(root):
        place = treated_place(step)
        sentence, tags = _FIELD_BY_FIELD, {}
        if place is not None:
            text, tags = done(path, contract.treatment(place.path), column_leaves(place))
            sentence = f"{words.capital(text)}."
        kind = step_type(step, readable)
        yield Column(path, kind, says.get(path, ""), sentence, tags, ((upstream, path),))


def _declared(stream: Stream, contract: Contract, upstream: str | None) -> Iterator[Column]:
    """The declared fields in clear, as they came (no `upstream`) or from the dataset above."""
    says, roles = _descriptions(contract), _roles(contract)
    treated = {row(path): treatment for path, _, treatment in contract.treated()}
    sealed = [row(path) for path, node, _ in contract.treated() if not isinstance(node, Scalar)]
    for path, node in rows_below(contract.record):
        done, tags = _FIELD_BY_FIELD, {}
        whole = next((outer for outer in sealed if path.startswith((f"{outer}/", f"{outer}[]"))), None)
        if whole is not None:
            done, tags = f"In the lake inside `{whole}`.", {"personal_data": "clear"}
        elif treatment := treated.get(path):
            done = f"In the lake {_in_the_lake(stream, treatment)}."
            tags = {"personal_data": "no" if isinstance(treatment, Keep) else "clear"}
        kind = json_type(node) if upstream is None else type_name(arrow_type(node))
        sources = () if upstream is None else ((upstream, path),)
        yield Column(path, kind, says.get(path, ""), done, tags | roles.get(path, {}), sources)


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
