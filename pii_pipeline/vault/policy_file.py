"""What may stand in the file of the vault's policy."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BeforeValidator, Field

from pii_pipeline.contracts.model import Duration, Level, Model
from pii_pipeline.vault.model import PIINGUIN_STREAM, LawfulBasis

EVERY = "*"
"""In a grant: every stream but the one that is reserved for Piinguin's wire, or every field."""

PRINCIPAL = re.compile(r"[a-z][a-z0-9_-]{0,62}")

NAMES_OF_PEOPLE = ("jane", "Doe", "JANE", "jane-doe", "jane.doe", "JaneDoe", "JANE-DOE", "jane_doe")
"""What no ticket looks like."""

_TICKET = re.compile(r"[A-Za-z0-9#/:._-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def is_ticket(pattern: str, text: str) -> bool:
    """Whether `text` is a ticket of this pattern, as a whole: up to 64 letters, digits and ``#/:._-``.

    The pattern is run by RE2, in linear time whatever pattern and text are.
    """
    return bool(_TICKET.fullmatch(text)) and _matches(pattern, text)


def _matches(pattern: str, text: str) -> bool:
    return pc.match_substring_regex(pa.array([text]), rf"\A(?:{pattern})\z")[0].as_py()


def _is_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)  # one that closes more groups than it opens would get out of ours
        _matches(pattern, "")
    except (re.error, RecursionError, OverflowError, pa.ArrowInvalid):
        mend = 'write such as "[A-Z]{2,10}-[0-9]{1,9}"; look-around and references to groups are not there'
        raise ValueError(f"not a regular expression as RE2 has it; {mend}") from None
    return pattern


def _is_digest(digest: str) -> str:
    if not _SHA256.fullmatch(digest):
        mend = (
            "write what `printf %s TOKEN | sha256sum` prints, 64 hexadecimal digits, never the token itself"
        )
        raise ValueError(f"not the SHA-256 of a token; {mend}")
    if digest == _EMPTY_SHA256:
        raise ValueError("is the SHA-256 of nothing; make a token first: `openssl rand -hex 32`")
    return digest


def _one_or_more(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("is no level; write its number, such as 1")
    return (value,) if isinstance(value, int) else value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("says nothing; write a word or two")
    return value


def _explicit(basis: LawfulBasis) -> LawfulBasis:
    if basis == LawfulBasis.CONSENT:
        raise ValueError("consent is what the client may not have meant; name another basis, or remove it")
    return basis


def _at_least_one(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError('is one name, not a list; write ["*"], or the names in brackets')
    if value in ([], ()):
        raise ValueError("names nothing; name at least one, or remove what it is part of")
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_at_least_one)]


class Purpose(Model):
    """What originals are read for."""

    description: Annotated[str, AfterValidator(_not_blank)]
    """For whoever reads the policy, or chooses a purpose."""
    ticket: Literal["required", "optional"] = "optional"
    """Whether a read for it has to name a ticket."""
    consent: Annotated[tuple[Level, ...], BeforeValidator(_one_or_more)] = ()
    """The level, or levels, that a data subject's latest consent has to cover where the lawful basis is
    consent. Without it no read for this purpose can rest on consent."""


class Grant(Model):
    """Fields of streams; a principal may do it for each field of each stream."""

    streams: Names
    fields: Names

    def covers(self, stream: str, field: str) -> bool:
        """Whether it is for this field of this stream."""
        every = EVERY in self.streams and stream != PIINGUIN_STREAM
        return (every or stream in self.streams) and (EVERY in self.fields or field in self.fields)


class ReadGrant(Grant):
    """Reads of these fields on one of these lawful bases, for one of these purposes."""

    bases: Annotated[tuple[LawfulBasis, ...], BeforeValidator(_at_least_one)]
    purposes: Names


Records = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000_000)]
"""A number of them that every database can count to."""


class Limits(Model):
    """How many records a principal may ask for, found or not."""

    records_per_minute: Records | None = None
    records_per_day: Records | None = None
    """A day of UTC."""


class Principal(Model):
    """Somebody who asks: a person, a team, a program."""

    read: tuple[ReadGrant, ...] = ()
    create: tuple[Grant, ...] = ()
    delete: tuple[Grant, ...] = ()
    erase: bool = False
    """May have all records of a data subject deleted, in all streams."""
    load: bool = False
    """May bring in what a main job has sealed."""
    audit: bool = False
    """May export the audit log."""
    limits: Limits | None = None
    """Of reads. Without it there are none."""
    token_sha256: Annotated[str, AfterValidator(_is_digest)] | None = None
    """By the bearer token with this SHA-256 it is known over the network."""
    certificate: Annotated[str, AfterValidator(_not_blank)] | None = None
    """By a client certificate with this common name, or alternative name, it is known over mutual TLS."""
    unset_basis: Annotated[LawfulBasis, AfterValidator(_explicit)] | None = None
    """What a read over Piinguin's wire rests on that says CONSENT: there a client that says nothing says the
    same. Without it such a read is refused."""


class PolicyFile(Model):
    """The whole file."""

    ticket: Annotated[str, AfterValidator(_is_pattern)] | None = None
    """What a ticket looks like as a whole: a regular expression of RE2. Without it no read can name one."""
    purposes: dict[str, Purpose] = Field(default={})
    principals: dict[str, Principal] = Field(default={})
    anchor_retention: Duration = timedelta(days=400)
    """How long an anchor of the audit log cannot be deleted, by anybody, where it is written to S3."""
