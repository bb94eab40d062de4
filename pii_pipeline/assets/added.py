"""The columns that the pipeline adds to what a contract declares: what they say and what they are made of."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from pii_pipeline.assets import words
from pii_pipeline.assets.rows import Column, row, type_name
from pii_pipeline.contracts.model import ARRIVAL, Consent, Contract
from pii_pipeline.contracts.treatments import Drop
from pii_pipeline.ledger import PSEUDONYMIZED_EVENTS, VALIDATED_EVENTS
from pii_pipeline.pipeline import bad_events
from pii_pipeline.pipeline.seal import RAW_EVENTS
from pii_pipeline.pipeline.validate import ARRIVAL_TIME, columns_under
from pii_pipeline.privacy.plan import (
    CONSENT,
    CONTRACT,
    EVENT_TIME,
    ID_REUSED,
    KEY_LINK,
    SUBJECT_TOKEN,
    UNLISTED,
    compile_plan,
)
from pii_pipeline.streams.model import UNSTRUCT_EVENT, Stream

UNDECLARED = "*"
"""Stands in `raw_events` for all keys that the schema does not declare."""

_CONTRACT = "The version of the contract that the event was judged and treated by."
_ONE_CONTRACT = "Always the active one: `stream.yaml` names no `contract_field`."
_UNLISTED = "JSON text of the keys that the schema does not declare."


def raw_columns(contract: Contract) -> Iterator[Column]:
    """In ``raw_events``: what is known of an object, and what it may hold beyond the schema."""
    yield Column(ARRIVAL, "timestamp", "When the landing object arrived.", tags={"personal_data": "no"})
    undeclared = f"In the lake {_undeclared(contract)}."
    says = "Keys that the schema does not declare."
    yield Column(UNDECLARED, "JSON", says, undeclared, {"personal_data": "clear"})


def validated_columns(stream: Stream, contract: Contract) -> Iterator[Column]:
    """In ``validated_events``."""
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


def bad_event_columns(contract: Contract) -> Iterator[Column]:
    """All of ``bad_events``."""
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


def lake_columns(contract: Contract, schema: pa.Schema) -> list[Column]:
    """Those of ``pseudonymized_events`` that are in `schema`."""
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
        UNLISTED: words.capital(f"{_undeclared(contract)}."),
    }
    return [
        Column(
            item.name,
            type_name(item.type),
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


def vault_columns(contract: Contract) -> Iterator[Column]:
    """All of a record in the vault."""
    fields = dict.fromkeys(map(row, compile_plan(contract).reversible))
    sources = tuple((PSEUDONYMIZED_EVENTS, name) for name in fields)
    person = ((PSEUDONYMIZED_EVENTS, SUBJECT_TOKEN),)
    days = ((PSEUDONYMIZED_EVENTS, EVENT_TIME),)
    for name, kind, says, state, made_of in (
        ("field", "string", "The field, by its path in the contract.", "no", ()),
        ("pseudonym", "string", "By which it is found; as it is in the lake.", "pseudonymized", sources),
        ("subject", "binary", "Whom it is about: random, the key store knows.", "pseudonymized", person),
        ("sealed", "binary", "The original, **encrypted**; the vault opens it.", "encrypted", sources),
        ("first_seen", "date", "The day of the first event that it was in.", "no", days),
        ("last_seen", "date", "The day of the last one so far.", "no", days),
    ):
        yield Column(name, kind, says, tags={"personal_data": state}, sources=made_of, nullable=False)


def relayed_columns() -> Iterator[Column]:
    """All of a record that was relayed."""
    sources = ((VALIDATED_EVENTS, UNSTRUCT_EVENT),)
    days = ((VALIDATED_EVENTS, EVENT_TIME),)
    for name, kind, says, state, made_of in (
        ("pseudonym", "string", "What the enrichment put in place of it.", "pseudonymized", sources),
        ("sealed", "binary", "The original, **encrypted**; the vault opens it.", "encrypted", sources),
        ("mark", "binary", "By which an erasure finds it: a keyed hash.", "pseudonymized", sources),
        ("first_seen", "date", "The day of the first event that said so.", "no", days),
        ("last_seen", "date", "The day of the last one so far.", "no", days),
    ):
        yield Column(name, kind, says, tags={"personal_data": state}, sources=made_of, nullable=False)


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
