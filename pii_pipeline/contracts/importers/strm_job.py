"""Batch jobs of STRM Privacy: how a contract's rows come as CSV, and what is derived from them."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from pii_pipeline.contracts.foreign import Message, Notes
from pii_pipeline.contracts.importers.strm_schema import Fields
from pii_pipeline.contracts.model import LONGEST, known_time_zone
from pii_pipeline.contracts.record_type import ListOf, Scalar, escape
from pii_pipeline.contracts.time_format import from_java

_LEVELS = (Scalar("string"), Scalar("integer"), ListOf(Scalar("integer")))
_WORDS = (Scalar("string"), Scalar("integer"), Scalar("boolean"))


class Job:
    """One batch job's configuration, read part by part; what cannot be carried over goes into the notes."""

    def __init__(self, message: Message, notes: Notes) -> None:
        self._message = message
        self._notes = notes
        self._timestamp = message.message("encryption").message("timestamp_config")
        self._consent = message.message("consent")
        self._extractor = self._consent.message("consent_level_extractor")

    def check_ref(self, contract: str) -> None:
        """The job must be one of `contract` (handle/name/version)."""
        message = self._message.message("event_contract_ref")
        named = "/".join(message.take(part, str, "") for part in ("handle", "name", "version"))
        if named != contract:
            mend = "give the contract that the job names, or another job"
            self._message.add("event_contract_ref", f"`{named}` is another contract than `{contract}`", mend)

    def columns(self) -> Iterator[tuple[Message, str, str]]:
        """The columns that the job needs, whether or not the schema declares them: where the job names it,
        its name and its description."""
        for message, what in (
            (self._timestamp, "When it happened."),
            (self._extractor, "What the row consents to."),
        ):
            if name := message.take("field", str, ""):
                yield message, name, what

    def time(self, fields: Fields) -> dict[str, Any]:
        """What the contract says about the time."""
        config = self._timestamp
        name = config.take("field", str, "")
        path = fields.find(config, "field", escape(name))
        if path is not None and fields.nodes[path] != Scalar("string"):
            mend = "declare it a string in the schema"
            config.add("field", f"`{name}` is no string, so it has no written form", mend)
        written: dict[str, Any] = {"time_field": path}
        try:
            written["time_format"] = from_java(config.take("format", str, ""))
        except ValueError as error:
            config.add("format", *_problem_and_mend(error))
        zone = config.message("default_time_zone")
        if name := zone.take("id", str, ""):
            try:
                written["time_zone"] = known_time_zone(name)
            except ValueError as error:
                zone.add("id", *_problem_and_mend(error))
        # That platform refuses no row for its age.
        return written | {"max_age": f"{LONGEST.days}d"}

    def consent(self, fields: Fields, kind: str) -> dict[str, Any] | None:
        """What the contract says about consent of the type `kind`; None if the job says nothing."""
        default = self._consent.levels("default_consent_levels")
        column = self._extractor.take("field", str, "")
        words = self._extractor.message("field_patterns")
        values = {word: words.message(word).levels("consent_levels") for word in words}
        consent: dict[str, Any] = {"type": kind}
        if column:
            consent["field"] = path = fields.find(self._extractor, "field", escape(column))
            if path is not None and fields.nodes[path] not in (_WORDS if values else _LEVELS):
                mend = "declare it a string in the schema"
                self._extractor.add("field", f"`{column}` has a type that is no consent", mend)
        if values:
            consent["values"] = values
        if default:
            consent["default"] = default
        if column and default:
            why = "there it also stands for what cannot be read or is not mapped, which is no consent here"
            mend = "map every word that is a consent in `values`"
            self._notes.say("consent.default_consent_levels", "only for rows that say nothing", why, mend)
        return consent if column or default else None

    def format(self) -> Any:
        """The stream's format."""
        why = "there they are encrypted as if they were one person's, here they are bad events (`empty_key`)"
        mend = "raise `bad_event_threshold` if there are many"
        self._notes.say("keyField", "rows without it", why, mend)
        kind = self._message.message("source_data").message("data_type")
        if kind.message("database"):
            kind.add("database", "a database, not files", "export its rows as CSV")
        csv = kind.message("csv")
        charset = csv.take("charset", str, "UTF-8")
        try:
            encoding = codecs.lookup(charset).name
        except LookupError:
            csv.add("charset", f"unknown charset `{charset}`", "write UTF-8, ISO-8859-1, windows-1252 …")
            return "csv"
        return "csv" if encoding == "utf-8" else {"csv": {"encoding": encoding}}

    def derived(self) -> tuple[dict[str, Any], str]:
        """The derived datasets by name, and the type of consent that all of them have."""
        found: dict[str, Any] = {}
        kind = ""
        for number, message in enumerate(self._message.messages("derived_data")):
            where = f"derived_data[{number}]"
            levels = message.levels("consent_levels")
            own = message.take("consent_level_type", str, "GRANULAR").lower()
            if own not in ("granular", "cumulative"):
                message.add("consent_level_type", f"unknown type `{own}`", "write GRANULAR or CUMULATIVE")
            file = message.message("target").take("file_name", str, "")
            if message.message("masked_fields"):
                why = "nothing is masked in one derived dataset alone"
                mend = "pseudonymize the fields in the contract: each dataset has pseudonyms of its own"
                self._notes.say(f"{where}.masked_fields", "not carried over", why, mend)
            self._notes.not_here(message.rest())
            if not levels:
                why, mend = (
                    "it asks for no consent, and nobody is admitted by that",
                    "use the lake for these rows",
                )
                self._notes.say(where, "not carried over", why, mend)
            elif kind and own != kind:
                why = f"a contract has one type of consent, and that of an earlier dataset is {kind}"
                self._notes.say(where, "not carried over", why, "make a second stream for it")
            else:
                kind = own
                found[_dataset_name(file, number, found)] = self._dataset(where, kind, levels)
        return found, kind or "granular"

    def _dataset(self, where: str, kind: str, levels: list[int]) -> dict[str, Any]:
        if kind == "cumulative" and len(levels) > 1:
            why = "a dataset asks for one level, and the highest includes the others"
            self._notes.say(where, f"only level {max(levels)} of {levels}", why, "nothing to do")
        request = {"purposes": levels} if kind == "granular" else {"level": max(levels)}
        return {"description": described(kind, levels), "consent": request}

    def leftovers(self) -> None:
        """Notes what was not looked at; to be called last."""
        for name in ("encrypted_data", "encryption_keys_data"):
            self._message.take(name, dict, {})
        where = "source_data, encrypted_data, encryption_keys_data"
        why = "files come by `pii land` and go into the zones, and keys stay in the key store"
        self._notes.say(where, "places and connectors are not carried over", why, "nothing to do")
        encryption = self._message.message("encryption")
        encryption.take("timestamp_config", dict, {})
        self._notes.not_here((*self._message.rest(), *encryption.rest()))


def described(kind: str, levels: Sequence[int]) -> str:
    """The description of a derived dataset, which jobs have none for."""
    covers = f"purpose {' and '.join(map(str, levels))}" if kind == "granular" else f"level {max(levels)}"
    return f"Rows of people who agreed to {covers}, with the fields of that readable."


def _problem_and_mend(error: ValueError) -> tuple[str, str]:
    problem, _, mend = str(error).partition("; ")
    return problem, mend


def _dataset_name(file: str, number: int, taken: dict[str, Any]) -> str:
    """A name for the dataset that was written to `file`."""
    name = re.sub(r"[^a-z0-9]+", "_", PurePosixPath(file).stem.lower()).strip("_")
    name = name if name[:1].isalpha() else f"derived_{name or number}"
    return f"{name}_{number}" if name in taken else name
