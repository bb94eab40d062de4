"""Records as the bytes of an object, in a stream's format."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import orjson

from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import Node, Record, Scalar, join
from pii_pipeline.formats.kinds import AvroContainer, DelimitedText, Format
from pii_pipeline.samples.avro import AvroWriter
from pii_pipeline.samples.errors import UnsatisfiableError

Event = dict[str, Any]

_SAYS_LITTLE = "n/a"


class Writer(Protocol):
    """Writes the records of one object, in order; the same bytes for the same records.

    `whole`: paths of fields that no record can be without. `torn_is`: what the pipeline calls a record of
    this format that cannot be taken apart.
    """

    whole: frozenset[str]
    torn_is: str

    def can_hold(self, text: str) -> bool:
        """Whether a field can be this text."""
        ...

    def as_read(self, record: Event) -> Event:
        """What a reader makes of `record`."""
        ...

    def begin(self) -> bytes:
        """What an object begins with."""
        ...

    def write(self, records: Sequence[Event]) -> bytes:
        """The next records."""
        ...

    def instead_of(self, value: Any) -> Sequence[Any]:
        """What else can be written where `value` is, and is of another type, or says little."""
        ...

    def torn(self, record: Event) -> bytes | None:
        """The next record, as bytes that cannot be taken apart; None if the whole object would be lost."""
        ...


def writer_of(contract: Contract, format: Format) -> Writer:
    """A writer of records of `contract`. Raises UnsatisfiableError if `format` has no place for a field."""
    if isinstance(format, DelimitedText):
        return _DelimitedWriter(contract.record, format)
    if isinstance(format, AvroContainer):
        return AvroWriter(contract.record)
    return _JsonWriter()


class _JsonWriter:
    """JSON lines."""

    whole: frozenset[str] = frozenset()
    torn_is = "not_json"

    def can_hold(self, text: str) -> bool:
        return True

    def as_read(self, record: Event) -> Event:
        return record

    def begin(self) -> bytes:
        return b""

    def write(self, records: Sequence[Event]) -> bytes:
        return b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)

    def instead_of(self, value: Any) -> Sequence[Any]:
        return (_SAYS_LITTLE, 17)

    def torn(self, record: Event) -> bytes | None:
        return orjson.dumps(record)[:-1] + b"\n"


class _DelimitedWriter:
    """Fields in the order of the columns, or else of the schema; records and lists as JSON text."""

    whole: frozenset[str] = frozenset()
    torn_is = "malformed_record"

    def __init__(self, record: Record, format: DelimitedText) -> None:
        self._nodes = dict(record.fields)
        self._names = format.columns or tuple(self._nodes)
        self._format = format
        self._encoder = codecs.getincrementalencoder(format.encoding)()
        for name in self._names:
            if not self.can_hold(name):
                mend = f"rename it, or choose another encoding than {format.encoding}: utf-8"
                raise UnsatisfiableError(join("", name), "a name with such characters", mend)

    def can_hold(self, text: str) -> bool:
        if not self._format.quoted and any(mark in text for mark in (self._format.delimiter, "\n", "\r")):
            return False
        try:
            text.encode(self._format.encoding)
        except UnicodeEncodeError:
            return False
        return True

    def as_read(self, record: Event) -> Event:
        """A field without text is not there."""
        return {
            name: value
            for name, value in record.items()
            if name in self._nodes and name in self._names and value not in (None, "")
        }

    def begin(self) -> bytes:
        return b"" if self._format.columns else self._encoder.encode(self._lines([self._names]))

    def write(self, records: Sequence[Event]) -> bytes:
        return self._encoder.encode(self._lines([self._texts(record) for record in records]))

    def instead_of(self, value: Any) -> Sequence[Any]:
        return (_SAYS_LITTLE,) if self.can_hold(_SAYS_LITTLE) else ()

    def torn(self, record: Event) -> bytes | None:
        """With a field too many."""
        return self._encoder.encode(self._lines([[*self._texts(record), "x"]]))

    def _texts(self, record: Event) -> list[str]:
        present = self.as_read(record)
        return [
            self._text(present[name], self._nodes[name]) if name in present else "" for name in self._names
        ]

    def _text(self, value: Any, node: Node) -> str:
        text = field_text(value, node)
        # JSON can be written without the characters that an encoding lacks.
        return text if self.can_hold(text) else json.dumps(value)

    def _lines(self, rows: Sequence[Sequence[str]]) -> str:
        if not self._format.quoted:
            return "".join(self._format.delimiter.join(row) + "\n" for row in rows)
        lines = io.StringIO()
        csv.writer(lines, delimiter=self._format.delimiter).writerows(rows)
        return lines.getvalue()


def field_text(value: Any, node: Node) -> str:
    """`value` (not null) as the text of a delimited field of type `node`; a text stays itself."""
    if not isinstance(node, Scalar) or node.kind == "json":
        return orjson.dumps(value).decode()
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if node.kind == "integer" else str(value)


def recoded(blocks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Blocks of whole lines of UTF-8 in another encoding; characters that it lacks become ``?``. UTF-8 itself
    is left as it is, and need not be valid then."""
    if codecs.lookup(encoding).name == "utf-8":
        yield from blocks
        return
    encoder = codecs.getincrementalencoder(encoding)("replace")
    for block in blocks:
        yield encoder.encode(block.decode())
