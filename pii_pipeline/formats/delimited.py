"""Cutting delimited text into records: lines, or lines whose quoted fields may hold ends of lines (RFC 4180).

A record keeps its bytes, quotes included; only the end of its line is not part of it: ``\\n`` or the object's
end, with one ``\\r`` before it. Blanks and delimiters are content. Blank lines are no records.

A quote opens a field where the field begins; the next one closes it, but that two stand for one. Any other
quote is a character like all others, as in Python's csv module, so that it does not swallow the records
behind it. That its record is bad is for `split_fields` to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pii_pipeline.formats.cutting import NEWLINE, QUOTE, Bytes, Cutter, Mask, Positions, table
from pii_pipeline.formats.encoding import as_utf8
from pii_pipeline.formats.fields import LONE_RETURN, delimiter_positions, split_fields
from pii_pipeline.formats.kinds import DelimitedText
from pii_pipeline.formats.problems import ObjectFault
from pii_pipeline.formats.records import RecordChunk

_MAX_COLUMNS = 10_000
_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_CARRIAGE_RETURN = b"\r"[0]
_OTHER = _CARRIAGE_RETURN  # stands for any character that is no quote and ends nothing


def delimited_records(
    blocks: Iterator[bytes], format: DelimitedText, max_record_bytes: int
) -> Iterator[RecordChunk]:
    """The records of one object from its decompressed content; `object` is 0 in all of them.

    Offsets are those in the content as UTF-8. A fault of `blocks` comes after the last record that ended
    before it: half a line can look like a whole one.

    Raises `ObjectFault`: object_empty (nothing but blank lines), object_malformed (no header to be used).
    """
    cutter = DelimitedCutter(format, max_record_bytes)
    names = format.columns
    behind_header = 0
    for chunk in cutter.cut(as_utf8(blocks, format.encoding)):
        if names is None:
            names = _header(chunk.slice(0, 1), format)
            chunk, behind_header = chunk.slice(1, len(chunk)), 1
        if len(chunk):
            yield replace(chunk, number=chunk.number - behind_header, names=names)
    if not cutter.records:
        raise ObjectFault("object_empty", "the object has no records")


def _header(chunk: RecordChunk, format: DelimitedText) -> tuple[str, ...]:
    """The names in the one record of `chunk`."""
    written = chunk.records[0].as_py()
    if LONE_RETURN.search(written):
        mend = "write lines that end in \\n or \\r\\n"
        raise ObjectFault("object_malformed", f"the header has a carriage return that ends no line; {mend}")
    if chunk.too_large.any():
        raise ObjectFault("object_malformed", "the header is longer than a record may be")
    count = 1 + len(delimiter_positions(chunk, format).positions)
    numbered = tuple(f"column {number}" for number in range(1, count + 1))
    if count > _MAX_COLUMNS:
        raise ObjectFault("object_malformed", f"the header has more than {_MAX_COLUMNS:,} columns")
    fields = split_fields(replace(chunk, names=numbered), format)
    fault = fields.faults[0] if fields.faults else None
    problem = f"the header has a fault: {fault.message}" if fault else "the header is one column"
    doubtful = fault.rule == "quoting" if fault else count == 1
    if doubtful and (other := _other_delimiter(chunk, format, count)):
        mend = "if that is the delimiter, say so in stream.yaml (format)"
        where = "it" if fault else "its name"
        raise ObjectFault("object_malformed", f"{problem}, with {other} in {where}; {mend}")
    if fault:
        raise ObjectFault("object_malformed", problem)
    seen: dict[str, str] = {}
    for place, column in fields.columns.items():
        name = column[0].as_py()
        if name is None:
            raise ObjectFault("object_malformed", f"{place} of the header has no name")
        if name in seen:
            raise ObjectFault("object_malformed", f"{place} of the header has the same name as {seen[name]}")
        seen[name] = place
    return tuple(seen)


def _other_delimiter(chunk: RecordChunk, format: DelimitedText, count: int) -> str | None:
    """The delimiter, in words, by which the header in `chunk` has no fault and more columns than `count`."""
    for mark, named in _DELIMITERS.items():
        found = delimiter_positions(chunk, replace(format, delimiter=mark))
        if not found.quoting and len(found.positions) >= count:
            return named
    return None


class DelimitedCutter(Cutter):
    """Cuts the blocks of one object; whatever the blocks, the records are the same."""

    def __init__(self, format: DelimitedText, max_record_bytes: int) -> None:
        super().__init__(max_record_bytes, spare=len(b"\r"))
        self._quoted = format.quoted
        self._pending = b""  # a quote that the next byte decides about, perhaps with a \r behind it
        self._before = NEWLINE  # the block's last byte; a quote only if that opened or closed a field
        self._in_quotes = False
        self._begins_field = table(b"\n" + format.delimiter.encode())  # what follows these bytes
        self._beside_quotes = self._begins_field | table(b'"')

    def cut(self, blocks: Iterator[bytes]) -> Iterator[RecordChunk]:
        """The records of `blocks`, the last one also if nothing ends its line."""
        for block in blocks:
            if self._opening is not None:
                block = self._open(block)
            text = self._pending + block
            decided = len(text) - self._undecided(text)
            block, self._pending = text[:decided], text[decided:]
            if block:
                ends = self._ends(block, text) if self._quoted else self._newlines(block)
                yield from self._cut(block, ends, blank_is_record=False)
        self._hold((self._opening or b"") + self._pending)
        if self._full or self._rstrip(b"".join(self._held)):
            yield self._release()

    def _strip(self, data: bytes, starts: Positions, ends: Positions) -> None:
        last = np.frombuffer(data, np.uint8)[ends - 1]
        ends -= (last == _CARRIAGE_RETURN) & (starts < ends)

    def _lstrip(self, part: bytes) -> bytes:
        return part

    def _rstrip(self, record: bytes) -> bytes:
        return record.removesuffix(b"\r")

    def _open(self, block: bytes) -> bytes:
        text = self._behind_mark(block)
        if text:
            self._opening = None
        return text

    def _undecided(self, text: bytes) -> int:
        """How many bytes at the end of `text` wait for what comes behind them."""
        if self._quoted and text.endswith(b'"'):
            return 1
        return 2 if self._quoted and text.endswith(b'"\r') else 0

    def _ends(self, block: bytes, text: bytes) -> Positions:
        """Positions of the newlines in `block` that are not in quotes; `text` goes on behind `block`."""
        before, self._before = self._before, block[-1]
        if b'"' not in block:
            return np.empty(0, np.int64) if self._in_quotes else self._newlines(block)
        data = np.frombuffer(text, np.uint8)
        decided = data[: len(block)]
        positions = np.flatnonzero((decided == NEWLINE) | (decided == QUOTE))
        is_quote = data[positions] == QUOTE
        # Parity survives the wrap of 8-bit sums.
        inside = ((np.cumsum(is_quote, dtype=np.uint8) + np.uint8(self._in_quotes)) & 1).astype(np.bool_)
        if not self._each_opens_or_closes(data, before, positions[is_quote], inside[is_quote]):
            return self._walk(block, before, positions)
        self._in_quotes = bool(inside[-1])
        return positions[~is_quote & ~inside]

    def _each_opens_or_closes(self, data: Bytes, before: int, quotes: Positions, opens: Mask) -> bool:
        """Whether every quote is where one may be, if they open and close by turns."""
        opening, closing = quotes[opens], quotes[~opens]
        preceding = data[opening - 1]
        if len(opening) and opening[0] == 0:
            preceding[0] = before
        if not self._beside_quotes[preceding].all():
            return False
        others = closing[~self._beside_quotes[data[closing + 1]]]
        return bool((data[others + 1] == _CARRIAGE_RETURN).all() and (data[others + 2] == NEWLINE).all())

    def _walk(self, block: bytes, before: int, positions: Positions) -> Positions:
        """As `_ends`, quote by quote, for blocks in which one is a character like all others."""
        ends = []
        closed = -1 if before == QUOTE else -2  # where the last quote is that closed a field
        for at in positions.tolist():
            if block[at] == NEWLINE:
                if not self._in_quotes:
                    ends.append(at)
            elif self._in_quotes:
                self._in_quotes = False
                closed = at
            else:
                begins_field = self._begins_field[block[at - 1] if at else before]
                self._in_quotes = at == closed + 1 or bool(begins_field)
        if not self._in_quotes and closed < len(block) - 1 and block[-1] == QUOTE:
            self._before = _OTHER
        return np.array(ends, np.int64)
