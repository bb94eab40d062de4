"""Column schemas for the catalog: names, types, and what is done to each column."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg
import pyarrow as pa

from pii_pipeline.contracts.record_type import escape
from pii_pipeline.contracts.treatments import Treatment
from pii_pipeline.pipeline.validate import validated_schema
from pii_pipeline.privacy.derive import DerivedPlan
from pii_pipeline.privacy.plan import Leaf, column_leaves, compile_plan
from pii_pipeline.streams.datasets import dataset_schema, derived_plan
from pii_pipeline.streams.model import PSEUDONYMIZED_EVENTS, Stream
from pii_pipeline.streams.tables import warehouse_table
from pii_pipeline.warehouse.table import Column

_SYSTEM = {
    "_arrival_time": "when the landing object arrived",
    "_contract": "the contract and its version that the event was judged and treated by",
    "_event_time": "when it happened, as the contract's time field says",
    "_key_link": "which data key the row is under; the same for one person, key field value and day",
    "_subject_token": "leads the key store, and nobody else, to the data subject",
    "_consent": "the consent levels or purposes of the event",
    "_event_id_reused": "an earlier event with other content has the same id",
    "_unlisted": "JSON text of the keys that no schema declares",
}


def table_schema(schema: pa.Schema, descriptions: dict[str, str]) -> dg.TableSchema:
    """`schema` as Dagster shows it."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                field.name,
                str(field.type),
                description=descriptions.get(field.name, _SYSTEM.get(field.name)),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )


def validated_columns(stream: Stream) -> dg.TableSchema:
    """The columns of ``validated_events``, all in clear."""
    return table_schema(validated_schema(stream), {})


def pseudonymized_columns(stream: Stream) -> dg.TableSchema:
    """The columns of ``pseudonymized_events`` with their treatments."""
    said = {
        contract.contract: {
            name: _join(name, [(leaf.path, _treatment(leaf.treatment)) for leaf in column_leaves(step)])
            for name, step in compile_plan(contract).root.fields
        }
        for contract in stream.active
    }
    return table_schema(dataset_schema(stream, PSEUDONYMIZED_EVENTS), _of_all(said))


def derived_columns(stream: Stream, dataset: str) -> dg.TableSchema:
    """The columns of a derived dataset: which of them are decrypted, and the treatment of the others."""
    said: dict[str, dict[str, str]] = {}
    for contract in stream.active:
        derived = derived_plan(contract, stream.derived[dataset])
        said[contract.contract] = {
            name: _join(name, [(leaf.path, _derived(leaf, derived)) for leaf in column_leaves(step)])
            for name, step in derived.columns
        }
    return table_schema(dataset_schema(stream, dataset), _of_all(said))


def _of_all(said: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What each version says of each column: once where all say the same, else version by version."""
    names = dict.fromkeys(name for columns in said.values() for name in columns)
    result = {}
    for name in names:
        texts = {contract: columns.get(name, "not there") for contract, columns in said.items()}
        if len(set(texts.values())) == 1:
            result[name] = next(iter(texts.values()))
        else:
            result[name] = "; ".join(f"{contract}: {text}" for contract, text in texts.items())
    return result


def table_columns(stream: Stream, name: str) -> dg.TableSchema:
    """The columns of a warehouse table, with the treatments of the fields they come from."""
    table = warehouse_table(stream, name)
    above = pseudonymized_columns(stream)
    if table.dataset in stream.derived:
        above = derived_columns(stream, table.dataset)
    said = {column.name: column.description for column in above.columns}
    return dg.TableSchema(
        [
            dg.TableColumn(column.name, column.type, description=_origin(column, said.get(column.path[0])))
            for column in table.columns
        ]
    )


def _origin(column: Column, said: str | None) -> str:
    origin = "/".join(map(escape, column.path))
    converted = f" as {column.convert}" if column.convert else ""
    return f"{origin}{converted}: {said}" if said else f"{origin}{converted}"


def _derived(leaf: Leaf, derived: DerivedPlan) -> str:
    return "decrypted" if derived.readable(leaf) else _treatment(leaf.treatment)


def _treatment(treatment: Treatment) -> str:
    settings = treatment.model_dump(exclude={"name"}, exclude_defaults=True)
    said = ", ".join(name if value is True else f"{name} {_plain(value)}" for name, value in settings.items())
    return f"{treatment.name} ({said})" if said else treatment.name


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _join(column: str, leaves: list[tuple[str, str]]) -> str:
    # Inside documents one place has a leaf for each type that its treatment takes.
    return "; ".join(said if path == column else f"{path}: {said}" for path, said in dict.fromkeys(leaves))
