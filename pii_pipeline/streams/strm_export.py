"""Streams of ours as data contracts of STRM Privacy, with a batch job where their files are CSV.

That platform encrypts a field or leaves it readable. So a contract that does anything else is refused: what
is pseudonymized or dropped here would be readable there. What is lost besides, notes say.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pii_pipeline.contracts.foreign import Note, Notes
from pii_pipeline.contracts.importers.strm import STATES
from pii_pipeline.contracts.importers.strm_job import described
from pii_pipeline.contracts.importers.strm_schema import META
from pii_pipeline.contracts.model import ARRIVAL, LONGEST, Contract
from pii_pipeline.contracts.record_type import Scalar, walk
from pii_pipeline.contracts.source import Location, Source
from pii_pipeline.contracts.time_format import TimeFormat, to_java
from pii_pipeline.contracts.treatments import Encrypt, Keep
from pii_pipeline.streams.model import Csv, Derived, Stream, StreamSettings

CONTRACT, JOB = "contract.json", "batch_job.json"
"""The names of the files."""

TO_BE_NAMED = "to-be-named"
"""Stands for the platform's connectors, which we know nothing of."""


@dataclass(frozen=True, slots=True)
class Exported:
    """Texts of files by their names, and what that form cannot hold."""

    files: dict[str, str]
    notes: tuple[Note, ...]


def export_stream(stream: Stream, source: Source) -> Exported:
    """`stream`, whose contract's file is `source`, in the platform's form.

    Raises ConfigurationError with everything in the contract that cannot be meant there.
    """
    exporter = _Exporter(stream, source)
    schema = source.file.parent / stream.contract.schema_file
    files = {CONTRACT: _text(exporter.contract(schema)), schema.name: schema.read_text("utf-8")}
    if isinstance(stream.format, Csv):
        files[JOB] = _text(exporter.job(stream.format))
    source.raise_problems()
    exporter.say()
    return Exported(files, tuple(exporter.notes))


class _Exporter:
    def __init__(self, stream: Stream, source: Source) -> None:
        self.stream = stream
        self.source = source
        self.notes = Notes()
        self.nodes = dict(walk(stream.contract.record))

    def contract(self, schema: Path) -> dict[str, Any]:
        contract = self.stream.contract
        ref = _ref(contract)
        if self.nodes[contract.key_field] != Scalar("string"):
            mend = "declare it a string in the schema, if it may be one"
            self.source.add(("key_field",), "that platform takes texts only", mend)
        metadata = [
            {
                "fieldName": path.replace("[]", ""),
                "personalDataConfig": {"isPii": True, "isQuasiId": False, "purposeLevel": level},
            }
            for path, level in self._levels()
        ]
        kind = "JSONSCHEMA" if schema.suffix == ".json" else "AVRO"
        written: dict[str, Any] = {
            "ref": ref,
            "state": next(theirs for theirs, ours in STATES.items() if ours == contract.state),
            "keyField": contract.key_field,
            "fieldMetadata": metadata,
            "validations": list(self._validations(contract)),
            "metadata": {"description": self.stream.description},
            "schema": {"ref": {**ref, "schemaType": kind}},
        }
        if contract.data_subject is not None:
            written["dataSubjectField"] = contract.data_subject.field
        return written

    def _levels(self) -> Iterator[tuple[str, int]]:
        """The paths of what is encrypted, with their levels; notes whatever is neither encrypted nor kept."""
        contract = self.stream.contract
        refused: dict[Location, list[str]] = {}
        for path, node in self.nodes.items():
            if not isinstance(node, Scalar):
                continue
            treatment, listed = contract.treatment(path), contract.listed(path)
            location = ("fields", listed) if listed else ("default",)
            if not isinstance(treatment, Keep | Encrypt):
                refused.setdefault(location, []).append(path)
            elif isinstance(treatment, Encrypt):
                self._check_encrypted(path, node, listed, location)
                yield path, treatment.level
        for location, paths in refused.items():
            name = contract.treatment(paths[0]).name
            problem = f"`{name}` is unknown there, so this would be readable: {', '.join(paths)}"
            self.source.add(location, problem, "encrypt or keep each of them, in a contract made for that")

    def _check_encrypted(self, path: str, node: Scalar, listed: str, location: Location) -> None:
        if node != Scalar("string"):
            problem = f"`{path}` is no text, and that platform encrypts nothing else"
            self.source.add(location, problem, "declare it a string, or keep it")
        elif listed and listed not in (path, path.removesuffix("[]")):
            problem = f"`{listed}` is encrypted as one value, which that platform cannot do"
            self.source.add(location, problem, "list its fields one by one")
        elif listed and listed != path:
            why = "there each of its texts is encrypted by itself"
            self.notes.say(listed, "encrypted as one value here", why, f"write `{path}` to have it so here")

    def _validations(self, contract: Contract) -> Iterator[dict[str, Any]]:
        for rule in contract.validations:
            if rule.regex is None:
                why, mend = "only regular expressions can be validated there", "put it into the schema"
                self.notes.say(rule.field, f"its rule `{rule.kind}` is not carried over", why, mend)
            else:
                yield {"field": rule.field.replace("[]", ""), "type": "regex", "value": rule.regex}

    def job(self, format: Csv) -> dict[str, Any]:
        name, contract = self.stream.name, self.stream.contract
        if format.delimiter != ",":
            why, mend = "a batch job reads commas only", "write the files with commas"
            self.notes.say("format.csv.delimiter", "not carried over", why, mend)
        kind = {"csv": {"charset": _charset(format.encoding)}}

        def place(file: str) -> dict[str, Any]:
            return {"data_connector_ref": {"name": TO_BE_NAMED}, "file_name": file, "data_type": kind}

        why, mend = "connectors and files are that platform's own", f"replace `{TO_BE_NAMED}`"
        self.notes.say(JOB, "places have no names yet", why, mend)
        return {
            "source_data": place(f"{name}.csv"),
            "consent": self._consent(contract),
            "encryption": {"timestamp_config": self._time(contract)},
            "event_contract_ref": _ref(contract),
            "encrypted_data": {"target": place(f"{name}/encrypted.csv")},
            "encryption_keys_data": {"target": place(f"{name}/keys.csv")},
            "derived_data": [
                {
                    "target": place(f"{name}/{dataset}.csv"),
                    "consent_levels": _levels(derived),
                    "consent_level_type": derived.consent.type.upper(),
                }
                for dataset, derived in self.stream.derived.items()
            ],
        }

    def _consent(self, contract: Contract) -> dict[str, Any]:
        consent = contract.consent
        if consent is None:
            return {"default_consent_levels": []}
        written: dict[str, Any] = {"default_consent_levels": list(consent.default or ())}
        if consent.field is not None:
            words = {
                word: {"consent_levels": list(levels)} for word, levels in (consent.values or {}).items()
            }
            extractor = {"field": _column(consent.field)}
            written["consent_level_extractor"] = extractor | ({"field_patterns": words} if words else {})
            if consent.default:
                why = "there the default also stands for what cannot be read or is not mapped"
                self.notes.say("consent.default", "means more there", why, "map every word")
        return written

    def _time(self, contract: Contract) -> dict[str, Any]:
        if contract.time_field == ARRIVAL:
            problem = "a batch job takes the time from a column"
            self.source.add(("time_field",), problem, "name a column of text")
            return {}
        if contract.time_format is None:
            problem = (
                "without a format, RFC 3339 in any of its forms is read, which no pattern of Java's says"
            )
            self.source.add(("time_field",), problem, "add `time_format:`, as the files write it")
            return {}
        format = TimeFormat.parse(contract.time_format)
        try:
            pattern = to_java(format)
        except ValueError as error:
            problem, _, mend = str(error).partition("; ")
            self.source.add(("time_format",), problem, mend)
            return {}
        if "%f" in contract.time_format:
            why = "Java's pattern wants as many digits as it has S, and here it may be one to nine"
            self.notes.say(
                "time_format", "fractions of three digits", why, "write as many S as the files have"
            )
        zone = {"default_time_zone": {"id": contract.time_zone}}
        return {"field": _column(contract.time_field), "format": pattern, **zone}

    def say(self) -> None:
        """Notes what the form has no place for, beside what was noted on the way."""
        contract, say = self.stream.contract, self.notes.say
        subject = contract.data_subject
        if subject is not None and subject.namespace != self.stream.name:
            why = "that platform knows no namespaces"
            say("data_subject.namespace", f"`{subject.namespace}` is not carried over", why, "nothing to do")
        if contract.event_id_field is not None:
            why, mend = "that platform recognises no redelivered events", "remove them before"
            say("event_id_field", "not carried over", why, mend)
        if not isinstance(self.stream.format, Csv):
            self._say_events()
        elif contract.max_age != LONGEST:
            say("max_age", "not carried over", "no row is too old there", "nothing to do")
        for name, derived in self.stream.derived.items():
            if derived.description != described(derived.consent.type, _levels(derived)):
                why = "that platform has no descriptions of derived data"
                say(f"derived.{name}.description", "not carried over", why, "nothing to do")
            if derived.joinable_with_lake is not None:
                why = "there a derived dataset always has the key links of the encrypted one"
                say(f"derived.{name}.joinable_with_lake", "not carried over", why, "nothing to do")
        lost = ("owners", "bad_event_threshold", "max_record_bytes", "dedupe_window", "retention")
        fields = StreamSettings.model_fields
        self.notes.not_here(name for name in lost if getattr(self.stream, name) != fields[name].default)

    def _say_events(self) -> None:
        """What holds for events of streams there, which carry `strmMeta`."""
        contract, say = self.stream.contract, self.notes.say
        if META not in contract.json_schema["properties"]:
            say(
                META,
                "not in the schema",
                "every event has it there",
                "add it to the schema, and to the events",
            )
            return
        expected = {
            "time_field": (contract.time_field, f"{META}/timestamp"),
            "consent.field": (contract.consent and contract.consent.field, f"{META}/consentLevels"),
            "contract_field": (self.stream.contract_field, f"{META}/eventContractRef"),
        }
        for name, (ours, theirs) in expected.items():
            if ours != theirs:
                what = f"`{ours}` is not carried over" if ours else "there is none"
                say(name, what, f"that platform always takes {theirs}", "fill it in the events")
        if self.stream.derived:
            why, mend = "derived streams are no part of a contract there", "create them with the same levels"
            say("derived", "not carried over", why, mend)


def _levels(derived: Derived) -> list[int]:
    """The purposes or the level that a derived dataset asks for."""
    consent = derived.consent
    return list(consent.purposes or ()) if consent.level is None else [consent.level]


def _ref(contract: Contract) -> dict[str, str]:
    return dict(zip(("handle", "name", "version"), contract.contract.split("/"), strict=True))


def _column(path: str) -> str:
    """The name of the column at a path without parents."""
    return path.replace("~1", "/").replace("~0", "~")


def _charset(encoding: str) -> str:
    """Java's name of an encoding of Python's."""
    name = codecs.lookup(encoding).name
    for ours, theirs in ((r"iso8859-(\d+)", r"ISO-8859-\1"), (r"cp(125\d)", r"windows-\1")):
        if re.fullmatch(ours, name):
            return re.sub(ours, theirs, name)
    return name.upper()


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
