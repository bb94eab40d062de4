"""Bad enriched events: each kind takes a good one and breaks one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pii_pipeline.contracts.model import Contract
from pii_pipeline.formats.kinds import SNOWPLOW_ENRICHED_TSV
from pii_pipeline.samples.planting import Kind
from pii_pipeline.samples.snowplow_tables import CONTEXTS

Fields = dict[str, str]

NO_KEY = "no_key"
_COLUMNS = SNOWPLOW_ENRICHED_TSV.columns or ()


@dataclass(frozen=True, slots=True)
class Setting:
    """What the events are to be, and when they arrive."""

    contract: Contract
    end: datetime

    def after(self, days: int) -> str:
        """So many days after the end, as the collector writes it."""
        moment = self.end + timedelta(days)
        return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}.000"


Break = Callable[[bytes, Setting, int], bytes]
"""(good record, setting, random number) → bad record."""


def _edit(change: Callable[[Fields, Setting, int], object]) -> Break:
    def edited(record: bytes, setting: Setting, number: int) -> bytes:
        fields = dict(zip(_COLUMNS, record.decode().split("\t"), strict=True))
        change(fields, setting, number)
        return "\t".join(fields.values()).encode(errors="surrogateescape")

    return edited


def _put(*changes: Fields) -> Break:
    """One of the changes."""
    return _edit(lambda fields, _, number: fields.update(changes[number % len(changes)]))


def _too_few(record: bytes, _: Setting, number: int) -> bytes:
    return record.rsplit(b"\t", 1 + number % 2)[0]


def _cut_off(fields: Fields, _: Setting, number: int) -> None:
    contexts = fields["contexts"] or CONTEXTS + "]}"
    fields["contexts"] = contexts[: 1 + number % (len(contexts) - 1)]


_TWICE = '{"schema":"iglu:com.acme/a/jsonschema/1-0-0","data":{},"data":{"user":"anna"}}'
_NAN = '{"schema":"iglu:com.acme/a/jsonschema/1-0-0","data":{"took":NaN}}'

KINDS: tuple[Kind[Setting], ...] = (
    Kind("not_utf8", "not_utf8", _put({"page_title": "caf\udce9"}, {"user_id": "\udcff"})),
    Kind("too_few_fields", "malformed_record", _too_few),
    Kind("too_many_fields", "malformed_record", _put({"page_title": "Lamps\tand more"}, {"se_label": "\t"})),
    Kind("contexts_cut_off", "not_json", _edit(_cut_off)),
    Kind("duplicate_key", "not_json", _put({"unstruct_event": _TWICE}, {"contexts": _TWICE})),
    Kind("not_a_number", "not_json", _put({"derived_contexts": _NAN}, {"unstruct_event": "-Infinity"})),
    Kind("not_self_describing", "schema_violation", _put(
        {"contexts": "[]"}, {"unstruct_event": '{"event":"click"}'}, {"derived_contexts": '"none"'})),
    Kind("number_is_none", "schema_violation", _put(
        {"txn_id": "abc"}, {"geo_latitude": "52° 5' N"}, {"page_urlport": "443.5"}, {"tr_total": "1,000"})),
    Kind("boolean_is_none", "schema_violation", _put({"br_cookies": "yes"}, {"dvce_ismobile": "2"})),
    Kind("no_event_id", "schema_violation", _put({"event_id": ""})),
    Kind("long_country", "schema_violation", _put({"geo_country": "Netherlands"})),
    Kind("huge_number", "unrepresentable", _put({"txn_id": "9223372036854775808"})),
    Kind("no_key", "empty_key", _edit(lambda fields, setting, _: fields.update(
        {setting.contract.key_field: ""}))),
    Kind("odd_time", "rule_violation", _put(
        {"collector_tstamp": "22/11/2026 09:55"}, {"collector_tstamp": "2026-02-30 00:00:00.000"})),
    Kind("too_old", "rule_violation", _edit(lambda fields, setting, number: fields.update(
        collector_tstamp=setting.after(-setting.contract.max_age.days - 2 - number % 300)))),
    Kind("in_future", "rule_violation", _edit(lambda fields, setting, number: fields.update(
        collector_tstamp=setting.after(2 + number % 300)))),
)  # fmt: skip


def oversized(record: bytes, _: Setting, max_record_bytes: int) -> bytes:
    """The record with a title that takes it just beyond the limit."""
    return _put({"page_title": "X" * max_record_bytes})(record, _, 0)
