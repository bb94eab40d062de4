"""Bad order lines: each kind takes a good line, somebody's, and breaks one thing."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pii_pipeline.contracts.model import Contract
from pii_pipeline.samples.planting import Kind
from pii_pipeline.samples.times import written

Fields = dict[str, str]
COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)

NO_CUSTOMER = "no_customer"


@dataclass(frozen=True, slots=True)
class Setting:
    """What lines are written like, and when they arrive."""

    contract: Contract
    delimiter: str
    end: datetime

    def quoted(self, text: str) -> str:
        """`text` as a field; in quotes where it must be (RFC 4180)."""
        if any(mark in text for mark in (self.delimiter, '"', "\n", "\r")):
            return '"' + text.replace('"', '""') + '"'
        return text

    def read(self, line: bytes) -> Fields:
        """The fields of a good line."""
        row = next(csv.reader(io.StringIO(line.decode(), newline=""), delimiter=self.delimiter))
        return dict(zip(COLUMNS, row, strict=True))

    def join(self, fields: list[str]) -> bytes:
        """Fields, quoted where they must be, as a line; halves of surrogate pairs stand for single bytes."""
        return self.delimiter.join(fields).encode(errors="surrogateescape")

    def after(self, days: int) -> str:
        """So long after the end, as an invoice's date."""
        return str(written(self.end + timedelta(days), self.contract, text=True))


Break = Callable[[bytes, Setting, int], bytes]
"""(good line, setting, random number) → bad line."""


def _edit(change: Callable[[Fields, Setting, int], object]) -> Break:
    def edited(line: bytes, setting: Setting, number: int) -> bytes:
        fields = setting.read(line)
        change(fields, setting, number)
        return setting.join([setting.quoted(text) for text in fields.values()])

    return edited


def _one_of(column: str, *texts: str) -> Break:
    return _edit(lambda fields, _, number: fields.update({column: texts[number % len(texts)]}))


def _described(describe: Callable[[Setting, int], str]) -> Break:
    """The description as it is written, quotes and all."""

    def replaced(line: bytes, setting: Setting, number: int) -> bytes:
        fields = [setting.quoted(text) for text in setting.read(line).values()]
        fields[COLUMNS.index("Description")] = describe(setting, number)
        return setting.join(fields)

    return replaced


def _not_utf8(_: Setting, number: int) -> str:
    # As if somebody had put in a line of an older export.
    wrong = (b"\xa33.50 OFF", b"CAF\xc9", b"\xff")[number % 3]
    return wrong.decode(errors="surrogateescape")


def _too_few(line: bytes, setting: Setting, number: int) -> bytes:
    fields = [setting.quoted(text) for text in setting.read(line).values()]
    return setting.join(fields[: -1 - number % 3])


def _too_many(line: bytes, setting: Setting, number: int) -> bytes:
    return line + setting.join(["", ("", "1", "x")[number % 3]])


def _unclosed(line: bytes, setting: Setting, _: int) -> bytes:
    """Two lines, one record: a quote that is not closed takes in what follows, up to the next quote."""
    fields = setting.read(line)
    opening, closing = (
        setting.join([*(fields | {"Description": text}).values()]) for text in ('"RECORD FRAME 7', '"TRAY"')
    )
    return opening + b"\n" + closing


def _stray(setting: Setting, number: int) -> str:
    return ('RECORD FRAME 7" SINGLE SIZE', '"LETTER "D" KEY RING"', '"TRAY" WITH FEET')[number % 3]


KINDS: tuple[Kind[Setting], ...] = (
    Kind("not_utf8", "not_utf8", _described(_not_utf8)),
    Kind("too_few_fields", "malformed_record", _too_few),
    Kind("too_many_fields", "malformed_record", _too_many),
    Kind("stray_quote", "malformed_record", _described(_stray)),
    Kind("unclosed_quote", "malformed_record", _unclosed),
    Kind("quantity_is_none", "schema_violation", _one_of("Quantity", "six", "6.5", "1 000", "0x10", "n/a")),
    Kind("price_is_none", "schema_violation", _one_of("UnitPrice", "2,55", "£2.55", "NaN", "1e999", "-")),
    Kind("no_stock_code", "schema_violation", _one_of("StockCode", "")),
    Kind("no_invoice_date", "schema_violation", _one_of("InvoiceDate", "")),
    Kind("huge_quantity", "unrepresentable", _one_of("Quantity", "9223372036854775808", "-1" + "0" * 30)),
    Kind("odd_invoice_number", "rule_violation", _one_of("InvoiceNo", "36365", "AB536365", "536365 ")),
    Kind("odd_date", "rule_violation", _one_of("InvoiceDate", "01/12/2010 08:26", "2010-02-30 08:26:00")),
    Kind("too_old", "rule_violation", _edit(lambda fields, setting, number: fields.update(
        InvoiceDate=setting.after(-setting.contract.max_age.days - 2 - number % 300)))),
    Kind("in_future", "rule_violation", _edit(lambda fields, setting, number: fields.update(
        InvoiceDate=setting.after(30 + number % 300)))),
)  # fmt: skip


def oversized(line: bytes, setting: Setting, max_record_bytes: int) -> bytes:
    """The line with a description that takes it just beyond the limit; otherwise it would be good."""
    return _described(lambda *_: "X" * max_record_bytes)(line, setting, 0)
