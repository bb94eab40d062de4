"""New folders of streams: a small one to start from, for ``pii init``, and what others write."""

from __future__ import annotations

from pathlib import Path

from pii_pipeline.contracts.errors import ConfigurationError, Problem
from pii_pipeline.streams.loader import STREAM_FILE, name_problem

_STREAM = """\
description: What these events are, and who sends them.
# owners: [team:web]           # a team or an e-mail address
format: @FORMAT@
contracts: [contract.yaml]     # all versions; one is active (more with `contract_field`)
bad_event_threshold: 0.05      # share of an hour's records that may be bad before everything behind it stops
max_record_bytes: 1048576
dedupe_window: 7d              # how long a redelivered event is recognised
retention: {landing: 7d}       # how long landing objects stay, when all that is made of them is committed

derived:                       # datasets in which the fields that people consented to are readable
  marketing:
    description: Events of people who agreed to purpose 2, with their e-mail address readable.
    consent: {purposes: [2]}
"""

_FORMATS = {
    "json": "json                   # JSON lines or one JSON array; plain, gzip or zstd",
    "csv": "csv                    # with a header; or {csv: {delimiter: ';', encoding: windows-1252}}",
    "avro": "avro                   # Avro object container files",
}

_CONTRACT = """\
contract: acme/@HANDLE@/1.0.0  # handle/name/version; an active contract never changes, a new version is added
state: active                  # draft | in_review | approved | active | archived
schema: event.schema.json

time_field: ts                 # or $arrival, for events that carry no time of their own
# time_format: '%d/%m/%Y %H:%M'  # of times that are not RFC 3339, with time_zone: Europe/Amsterdam
max_age: 7d                    # an event older than this on arrival breaks a rule
key_field: session_id          # events that share it share a key for one day; never empty
event_id_field: event_id       # by this a redelivered event is recognised
data_subject: {field: user_id, namespace: customer}      # whom an erasure names
consent: {field: consent_levels, type: granular}         # missing or malformed means no consent

default: pseudonymize          # whatever is not listed below
fields:
  event_id: keep
  ts: keep
  page_url: {url: {keep_query: [utm_source, utm_campaign]}}
  email: {encrypt: {level: 2}}                           # readable where people agreed to purpose 2
  ip: {generalize: {ipv4_prefix: 24, ipv6_prefix: 48}}
  # also: drop, mask, {pseudonymize: {joinable: true, reversible: true}}

validations:                   # regex, min, max, enum, min_length, max_length, not_empty
  - {field: email, regex: '^[^@\\s]+@[^@\\s]+$'}
"""

_SCHEMA = """\
{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "required": ["event_id", "ts", "session_id"],
  "properties": {
    "event_id": {"type": "string", "format": "uuid"},
    "ts": {"type": "string", "format": "date-time"},
    "session_id": {"type": "string", "minLength": 1},
    "user_id": {"type": ["string", "null"]},
    "email": {"type": ["string", "null"]},
    "ip": {"type": ["string", "null"]},
    "page_url": {"type": ["string", "null"]},
    "consent_levels": {"type": ["array", "null"], "items": {"type": "integer"}}
  }
}
"""


STOCK = Path(__file__).parent / "stock"
"""Streams that come with the package, to start from."""

SNOWPLOW = "snowplow_enriched_tsv"

FORMATS = (*_FORMATS, SNOWPLOW)
"""What the records of a new stream can come as."""


def new_stream(folder: Path, name: str, format: str = "json") -> list[Path]:
    """Writes a small stream that loads as it is into ``folder/name``; returns the files written.

    `format` is one of `FORMATS`; Snowplow's events have their own fields, and a contract that knows them.
    Raises ConfigurationError as `write_new` does.
    """
    handle = name.replace("_", "-")
    if format == SNOWPLOW:
        files = (STREAM_FILE, "contract.yaml", "atomic.schema.json")
        contents = {file: (STOCK / "snowplow" / file).read_text("utf-8") for file in files}
        contents["contract.yaml"] = contents["contract.yaml"].replace("/snowplow/", f"/{handle}/", 1)
    else:
        contents = {
            STREAM_FILE: _STREAM.replace("@FORMAT@", _FORMATS[format]),
            "contract.yaml": _CONTRACT.replace("@HANDLE@", handle),
            "event.schema.json": _SCHEMA,
        }
    return write_new(folder, name, contents)


def write_new(folder: Path, name: str, contents: dict[str, str], prefix: str = "") -> list[Path]:
    """Writes files into the new folder ``folder/prefix+name`` of the stream `name`; returns them.

    Raises ConfigurationError if `name` cannot be a stream's, or if there is such a folder already: nothing
    is ever overwritten.
    """
    target = folder / (prefix + name)
    if problem := name_problem(name):
        raise ConfigurationError([Problem(target, 1, "", problem, "choose another name: webshop")])
    try:
        target.mkdir(parents=True)
    except FileExistsError:
        mend = "choose another name, or remove what is there"
        raise ConfigurationError([Problem(target, 1, "", "exists already", mend)]) from None
    for file, text in contents.items():
        (target / file).write_text(text, encoding="utf-8")
    return [target / file for file in contents]
