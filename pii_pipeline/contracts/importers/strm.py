"""Data contracts of STRM Privacy (Stream Machine), with or without a batch job, as streams of ours.

There a field is encrypted under its level or stays readable, and so it is here, field by field. Where the two
differ in more than words, a note says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from pii_pipeline.contracts.errors import ConfigurationError
from pii_pipeline.contracts.foreign import Imported, Message, Notes
from pii_pipeline.contracts.importers.strm_job import Job
from pii_pipeline.contracts.importers.strm_schema import FILES, META, META_SCHEMA, Fields, Schema
from pii_pipeline.contracts.model import ARRIVAL
from pii_pipeline.contracts.record_type import ListOf, Scalar
from pii_pipeline.contracts.schema import reserved
from pii_pipeline.contracts.source import Source

STATES = {
    "DRAFT": "draft",
    "IN_REVIEW": "in_review",
    "APPROVED": "approved",
    "ACTIVE": "active",
    "ARCHIVED": "archived",
}
"""That platform's states, and ours."""

MAX_LEVEL = 1_000_000
_REF = re.compile(r"[a-z0-9_-]+/[a-z0-9_-]+/\d+\.\d+\.\d+")


def contract_of(source: Source) -> Message:
    """The contract in a file; the platform answers it within an object.

    Raises ConfigurationError if the file has none.
    """
    whole = Message(source, source.data if isinstance(source.data, dict) else {})
    contract = whole.message("data_contract") or whole.message("event_contract") or whole
    if not contract.message("ref"):
        contract.add("ref", "there is none, so this is no data contract", "give the JSON of one")
        source.raise_problems()
    return contract


def contract_name(contract: Message) -> tuple[str, str]:
    """The names of the contract and of its schema."""
    ref = contract.message("schema_ref") or contract.message("schema").message("ref")
    name = contract.message("ref").take("name", str, "")
    return name, ref.take("name", str, name)


def import_stream(name: str, contract: Message, schema: Schema, job: Source | None = None) -> Imported:
    """The stream `name` of a data contract, the schema of its events, and the batch job that reads them.

    Raises ConfigurationError with every problem of the contract's file and of the job's.
    """
    imported = _Importer(name, contract, schema, job).run()
    problems = []
    for source in filter(None, (contract.source, job)):
        problems += sorted(source.problems, key=lambda problem: problem.line)
    if problems:
        raise ConfigurationError(problems)
    return imported


class _Importer:
    def __init__(self, name: str, contract: Message, schema: Schema, job: Source | None) -> None:
        self.name = name
        self.contract = contract
        self.notes = Notes()
        self.job = None
        if job is not None:
            self.job = Job(Message(job, job.data if isinstance(job.data, dict) else {}), self.notes)
        self.schema = self._fitted(schema)
        self.fields = Fields(self.schema)

    def run(self) -> Imported:
        ref = self._ref()
        written: dict[str, Any] = {
            "contract": ref,
            "state": self._state(),
            "schema": FILES[self.schema.suffix],
        }
        written |= self._time() if self.job is None else self.job.time(self.fields)
        key_field = self.contract.take("key_field", str, "")
        written["key_field"] = self.fields.find(self.contract, "key_field", key_field)
        written |= self._subject()
        derived, kind = ({}, "granular") if self.job is None else self.job.derived()
        consent = self._consent() if self.job is None else self.job.consent(self.fields, kind)
        if consent is not None:
            written["consent"] = consent
        elif derived:
            self.notes.say("derived_data", "not carried over", "no row has a consent", "declare `consent`")
            derived = {}
        written |= {"default": "pseudonymize", "fields": self._treatments()}
        if rules := list(self._rules()):
            written["validations"] = rules
        stream = self._stream(ref, derived)
        for name in ("schema", "schema_ref"):
            self.contract.take(name, dict, {})
        self.notes.not_here(self.contract.rest())
        if self.job is not None:
            self.job.leftovers()
        return Imported(stream, written, self.schema.text, tuple(self.notes))

    def _fitted(self, given: Schema) -> Schema:
        """The schema with what that platform adds to it, and without what it has not in files.

        To Simple Schemas it adds `strmMeta` itself; files of a batch job have none, and may have columns that
        only the job knows.
        """
        schema = deepcopy(given.json)
        properties: dict[str, Any] = schema.setdefault("properties", {})
        required: list[str] = schema.get("required", [])
        if self.job is None:
            if given.suffix == ".yaml" and META not in properties:
                schema |= {"properties": {META: META_SCHEMA, **properties}, "required": [META, *required]}
        else:
            if properties.pop(META, None) is not None:
                schema["required"] = [name for name in required if name != META]
                why = "the files of a batch job have no such column"
                self.notes.say(META, "left out of the schema", why, "nothing to do")
            self._add_columns(self.job, properties)
        return given if schema == given.json else Schema.of(schema)

    def _add_columns(self, job: Job, properties: dict[str, Any]) -> None:
        for message, name, what in job.columns():
            if wrong := reserved(name):
                message.add("field", *wrong)
            elif name not in properties:
                properties[name] = {"type": ["string", "null"], "description": what}
                why = "the batch job names this column, and the schema does not declare it"
                self.notes.say(name, "added to the schema, as text", why, "mend its type if it is another")

    # --- contract.yaml --------------------------------------------------------------------------------------

    def _ref(self) -> str:
        message = self.contract.message("ref")
        ref = "/".join(message.take(part, str, "") for part in ("handle", "name", "version"))
        if not _REF.fullmatch(ref):
            mend = "handle and name of lower-case letters, digits, - and _, and a version like 1.0.0"
            self.contract.add("ref", f"`{ref}` names no contract", mend)
        elif self.job is not None:
            self.job.check_ref(ref)
        return ref

    def _state(self) -> str:
        given = self.contract.take("state", str, "")
        state = STATES.get(given, "draft")
        if state != "active":
            why = f"only active contracts are used, so the folder is `_{self.name}`, which is no stream"
            mend = f"once it is approved, write `state: active` and rename the folder to `{self.name}`"
            self.notes.say("state", f"{given or 'none'}, `{state}` here", why, mend)
        return state

    def _time(self) -> dict[str, Any]:
        field = f"{META}/timestamp"
        if field not in self.fields.nodes:
            why, mend = f"the schema has no {field}", "name the events' own field of time"
            self.notes.say("time_field", f"`{ARRIVAL}`: when its file landed", why, mend)
            return {"time_field": ARRIVAL}
        why = "that platform sets it on receipt; an event that comes without it is a bad event here"
        mend = f"write `time_field: {ARRIVAL}` if your senders leave it out"
        self.notes.say(field, "the time of an event", why, mend)
        return {"time_field": field}

    def _subject(self) -> dict[str, Any]:
        name = self.contract.take("data_subject_field", str, "")
        if not name:
            why, mend = "nobody can be named to be forgotten", "declare `data_subject` if events name one"
            self.notes.say("dataSubjectField", "there is none", why, mend)
            return {}
        why = "that platform knows none: the same id in one namespace is one person in all streams"
        mend = "write `customer`, or another, where other streams have the same ids"
        self.notes.say("dataSubjectField", f"of the namespace `{self.name}`", why, mend)
        path = self.fields.find(self.contract, "data_subject_field", name)
        return {"data_subject": {"field": path, "namespace": self.name}}

    def _consent(self) -> dict[str, Any] | None:
        field = f"{META}/consentLevels"
        if self.fields.nodes.get(field) != ListOf(Scalar("integer")):
            return None
        why = "contracts there do not say whether a level includes lower ones; `granular` admits fewer"
        self.notes.say(field, "read as purposes", why, "write `type: cumulative` if it does")
        return {"field": field, "type": "granular"}

    def _treatments(self) -> dict[str, Any]:
        """Every field: encrypted under its level, or readable as it is there."""
        levels = dict(self._levels())
        key_link = f"{META}/keyLink"
        if key_link in self.fields.nodes:
            why = "in events that come from that platform it leads to the key they are under there"
            self.notes.say(key_link, "kept readable", why, "drop it unless you join with data from there")
        treatments: dict[str, Any] = {}
        for path in self.fields.paths.values():
            if path in levels:
                treatments[path] = {"encrypt": {"level": levels[path]}}
            else:
                treatments[path.removesuffix("[]")] = "keep"
        kept = [path for path, treatment in treatments.items() if treatment == "keep"]
        why = "that platform leaves readable what it does not call personal data"
        mend = "treat what may name somebody all the same: addresses of pages, user agents, free text"
        self.notes.say("fields", f"kept readable: {', '.join(kept)}", why, mend)
        return treatments

    def _levels(self) -> Iterator[tuple[str, int]]:
        """The path of every field of personal data, and its level. The newer way of saying it wins."""
        older = self.contract.message("pii_fields")
        newer: set[str] = set()
        for message in self.contract.messages("field_metadata"):
            name = message.take("field_name", str, "")
            newer.add(name)
            config = message.message("personal_data_config")
            personal = config.take("is_pii", bool, False)
            path = self.fields.find(message, "field_name", name)
            if config.take("is_quasi_id", bool, False) and not personal:
                why = "alone it names nobody, with others it may; it is readable, here as there"
                self.notes.say(name, "a quasi-identifier", why, "generalize or pseudonymize it")
            level = config.take("purpose_level", int, 0)
            if personal and path is not None:
                self._check_level(name, level, config, "purpose_level")
                yield path, level
            self.notes.not_here((*message.rest(), *config.rest()))
        for name in older:
            level = older.take(name, int, 0)
            if newer:
                if name not in newer:
                    why = "where there is any fieldMetadata it wins, and it does not name this field"
                    mend = "encrypt it, if that was an oversight"
                    self.notes.say(f"piiFields.{name}", "kept readable", why, mend)
            elif (path := self.fields.find(older, name, name)) is not None:
                self._check_level(name, level, older, name)
                yield path, level

    def _check_level(self, name: str, level: int, message: Message, key: str) -> None:
        if not 0 <= level <= MAX_LEVEL:
            message.add(key, f"{level} is no level", f"a whole number from 0 to {MAX_LEVEL:,}")
        if level == 0:
            why = "there 0 is the most basic legal ground, not `never`: cumulative consent always covers it"
            mend = "drop or pseudonymize the field if nobody is ever to read it"
            self.notes.say(name, "encrypted under level 0", why, mend)

    def _rules(self) -> Iterator[dict[str, Any]]:
        for message in self.contract.messages("validations"):
            name, pattern = message.take("field", str, ""), message.take("value", str, "")
            path = self.fields.find(message, "field", name)
            if (kind := message.take("type", str, "")) != "regex":
                what, why, mend = f"its validation `{kind}`", "it is unknown here", "write a rule for it"
            elif path is not None and self.fields.nodes[path] != Scalar("string"):
                what, why, mend = "its regex", "it is no string here", "write `min`, `max` or `enum`"
            elif not _compiles(pattern):
                what, why, mend = "its regex", "Python cannot read it", "write it anew in `validations`"
            else:
                yield {"field": path, "regex": pattern}
                continue
            self.notes.say(name, f"{what} is not carried over", why, mend)

    # --- stream.yaml ----------------------------------------------------------------------------------------

    def _stream(self, ref: str, derived: dict[str, Any]) -> dict[str, Any]:
        metadata = self.contract.message("metadata")
        texts = [metadata.take(key, str, "") for key in ("description", "title")]
        self.notes.not_here(metadata.rest())
        stream = {
            "description": next(filter(None, texts), f"Events of the data contract {ref}."),
            "format": "json" if self.job is None else self.job.format(),
            "contracts": ["contract.yaml"],
        }
        if f"{META}/eventContractRef" in self.fields.nodes:
            stream["contract_field"] = f"{META}/eventContractRef"
        return stream | ({"derived": derived} if derived else {})


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True
