"""Cutting a stream of decompressed blocks into records: JSON lines, or the elements of one JSON array.

The scanners look at bytes, not at JSON: what is cut may still be no JSON, which is for validation to say.
They are vectorised over blocks, keep only a few numbers between blocks, and hold at most one record.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pii_pipeline.formats.records import RecordChunk, gather

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

_BOM = b"\xef\xbb\xbf"
_WHITESPACE = b" \t\n\r"
NEWLINE, QUOTE, _BACKSLASH, _COMMA, _ARRAY_END = b'\n"\\,]'


def table(characters: bytes) -> npt.NDArray[np.bool_]:
    """Per byte whether it is one of `characters`."""
    marked = np.zeros(256, np.bool_)
    marked[list(characters)] = True
    return marked


_IS_WHITESPACE = table(_WHITESPACE)
_IS_STRUCTURE = table(b'"\\,[]{}')
_DEPTH_CHANGE = table(b"[{").astype(np.int64) - table(b"]}")

_BLANKS_AT_ONCE = 16


class Cutter:
    """What the cutters of text share: it cuts at separators, and holds the record that has begun.

    A record longer than `max_record_bytes` is given as its first `max_record_bytes` bytes; the rest of it is
    passed over, never held. Every cutter says what is stripped from its records: bytes that do not count.
    """

    def __init__(self, max_record_bytes: int, spare: int = 0) -> None:
        """`spare`: how many bytes of an end that `_rstrip` may take off are held beyond the limit."""
        self._max = max_record_bytes
        self._room = max_record_bytes + spare
        self._position = 0  # in the object, of the next byte to look at
        self._number = 0
        self._mask = np.empty(0, np.bool_)  # scratch, so that no block costs fresh pages
        self._opening: bytes | None = b""  # what may be half of a byte order mark, until the object has begun
        self._held: list[bytes] = []  # the record that has begun and not ended, its left end stripped
        self._held_bytes = 0
        self._held_position = 0
        self._full = False  # bytes were passed over, _held is as long as it may be
        self._too_large = False  # one of them was content

    @property
    def records(self) -> int:
        """Records given so far."""
        return self._number

    def _strip(self, data: bytes, starts: Positions, ends: Positions) -> None:
        """Moves `starts` and `ends` in place past what is not content inside each slice."""
        raise NotImplementedError

    def _lstrip(self, part: bytes) -> bytes:
        """The beginning of a record without what is not content."""
        raise NotImplementedError

    def _rstrip(self, record: bytes) -> bytes:
        """A record without what is not content at its end."""
        raise NotImplementedError

    def _behind_mark(self, block: bytes) -> bytes:
        """`block` behind a byte order mark; nothing as long as there may be half of one."""
        text = (self._opening or b"") + block
        if self._position == 0:
            if len(text) < len(_BOM) and _BOM.startswith(text):
                self._opening = text
                return b""
            if text.startswith(_BOM):
                text = text[len(_BOM) :]
                self._position = len(_BOM)
        self._opening = b""
        return text

    def _newlines(self, block: bytes) -> Positions:
        if len(self._mask) < len(block):
            self._mask = np.empty(len(block), np.bool_)
        return np.flatnonzero(np.equal(np.frombuffer(block, np.uint8), NEWLINE, out=self._mask[: len(block)]))

    def _cut(self, block: bytes, marks: Positions, blank_is_record: bool) -> Iterator[RecordChunk]:
        """The records of `block` that end at `marks` (the positions of separators); holds what follows."""
        begin = 0
        if self._full and len(marks):
            begin = int(marks[0]) + 1
            self._hold(block[: begin - 1])
            yield self._release()
            marks = marks[1:]
        if len(marks):
            ahead = self._held_bytes
            data = b"".join([*self._held, block]) if ahead else block
            self._held, self._held_bytes = [], 0
            ends = marks + ahead
            starts = np.empty_like(ends)
            starts[0] = begin
            starts[1:] = ends[:-1] + 1
            begin = int(marks[-1]) + 1
            chunk = self._chunk(data, starts, ends, self._position - ahead, blank_is_record)
            if len(chunk):
                yield chunk
        self._position += begin
        tail = block[begin:] if begin else block
        self._hold(tail)
        self._position += len(tail)

    def _chunk(
        self, data: bytes, starts: Positions, ends: Positions, position: int, blank_is_record: bool
    ) -> RecordChunk:
        self._strip(data, starts, ends)
        if not blank_is_record and not (content := starts < ends).all():
            starts, ends = starts[content], ends[content]
        too_large = ends - starts > self._max
        if too_large.any():
            ends = np.minimum(ends, starts + self._max)
        count = len(starts)
        chunk = RecordChunk(
            records=gather(data, starts, ends),
            object=np.zeros(count, np.int32),
            number=np.arange(self._number, self._number + count),
            offset=starts + position,
            too_large=too_large,
        )
        self._number += count
        return chunk

    def _hold(self, part: bytes) -> None:
        """Adds `part`, which lies at `_position`, to the record that has begun."""
        if not self._held:
            content = self._lstrip(part)
            if not content:
                return
            self._held_position = self._position + len(part) - len(content)
            part = content
        room = self._room - self._held_bytes
        if room > 0:
            self._held.append(part[:room])
            self._held_bytes += len(self._held[-1])
            part = part[room:]
        if part:
            self._full = True
            self._too_large = self._too_large or bool(self._lstrip(part))

    def _release(self) -> RecordChunk:
        """The held record; it ends here."""
        record = b"".join(self._held)
        if not self._too_large:
            record = self._rstrip(record)
        chunk = RecordChunk(
            records=pa.array([record[: self._max]], pa.large_binary()),
            object=np.zeros(1, np.int32),
            number=np.array([self._number], np.int64),
            offset=np.array([self._held_position], np.int64),
            too_large=np.array([self._too_large or len(record) > self._max], np.bool_),
        )
        self._number += 1
        self._held, self._held_bytes, self._full, self._too_large = [], 0, False, False
        return chunk


class RecordCutter(Cutter):
    """Takes the blocks of one object of JSON, gives its records; `object` is 0 in all of them.

    If the first byte that is neither a byte order mark nor JSON whitespace is ``[``, the records are the
    elements of that array, an empty element being an empty record, and after the array whatever is left is
    cut as lines. Else the records are the lines; blank lines are none.
    """

    def __init__(self, max_record_bytes: int) -> None:
        super().__init__(max_record_bytes)
        self._array: _ArrayScanner | None = None
        self.is_array = False

    @property
    def unterminated(self) -> bool:
        """The object is an array whose end has not come."""
        return self._array is not None

    def feed(self, block: bytes) -> Iterator[RecordChunk]:
        """The records that end in `block` (not empty)."""
        if self._opening is not None:
            block = self._open(block)
        if self._array is not None and block:
            marks, end = self._array.scan(np.frombuffer(block, np.uint8))
            if end is None:
                yield from self._cut(block, marks, blank_is_record=True)
                return
            only_element = self._number == 0 and not len(marks)  # `[]` is no record, `[,]` is two
            yield from self._cut(block[: end + 1], np.append(marks, end), blank_is_record=not only_element)
            self._array = None
            block = block[end + 1 :]
        if block:
            yield from self._cut(block, self._newlines(block), blank_is_record=False)

    def finish(self) -> Iterator[RecordChunk]:
        """The record that nothing ended, if it is not blank."""
        if self._opening:
            self._hold(self._opening)
        if self._held:
            yield self._release()

    def _open(self, block: bytes) -> bytes:
        """What is left of `block` once the beginning is known; nothing as long as it is not."""
        text = self._behind_mark(block)
        stripped = text.lstrip(_WHITESPACE)
        self._position += len(text) - len(stripped)
        if not stripped:
            return b""
        self._opening = None
        if stripped.startswith(b"["):
            self._array = _ArrayScanner()
            self.is_array = True
            self._position += 1
            return stripped[1:]
        return stripped

    def _strip(self, data: bytes, starts: Positions, ends: Positions) -> None:
        _strip(data, starts, ends)

    def _lstrip(self, part: bytes) -> bytes:
        return part.lstrip(_WHITESPACE)

    def _rstrip(self, record: bytes) -> bytes:
        return record.rstrip(_WHITESPACE)


def _strip(data: bytes, starts: Positions, ends: Positions) -> None:
    """Moves `starts` and `ends` in place past JSON whitespace inside each slice."""
    view = np.frombuffer(data, np.uint8)
    # The common case. An empty slice looks at the separators beside it, and has nothing to strip.
    if not (_IS_WHITESPACE[view[starts]].any() or _IS_WHITESPACE[view[ends - 1]].any()):
        return
    for edge, step, look in ((starts, 1, 0), (ends, -1, -1)):
        blank = np.flatnonzero(starts < ends)
        blank = blank[_IS_WHITESPACE[view[edge[blank] + look]]]
        for _ in range(_BLANKS_AT_ONCE):
            if not len(blank):
                break
            edge[blank] += step
            blank = blank[starts[blank] < ends[blank]]
            blank = blank[_IS_WHITESPACE[view[edge[blank] + look]]]
        # A long run of blanks is passed over at once: one step a round would let a megabyte of them cost
        # a million rounds.
        for index in blank.tolist():
            text = data[starts[index] : ends[index]]
            rest = text.lstrip(_WHITESPACE) if step > 0 else text.rstrip(_WHITESPACE)
            edge[index] += step * (len(text) - len(rest))


class _ArrayScanner:
    """Finds the commas between the elements of an array, and its end; starts behind its ``[``.

    Only the depth of brackets is followed, not their kinds, with one exception: a ``}`` too many does not
    end the array, so that one broken element does not cost its neighbours.
    """

    def __init__(self) -> None:
        self._depth = 1
        self._in_string = False
        self._odd_backslashes = False  # the bytes so far end in an odd number of backslashes

    def scan(self, data: Bytes) -> tuple[Positions, int | None]:
        """Positions of the separating commas in `data` (not empty), and of the array's end if it is here."""
        positions = np.flatnonzero(_IS_STRUCTURE[data])
        kinds = data[positions]
        quotes = (kinds == QUOTE) & ~self._escaped(data, positions, kinds)
        # Parity survives the wrap of 8-bit sums.
        in_string = ((np.cumsum(quotes, dtype=np.uint8) + np.uint8(self._in_string)) & 1).astype(np.bool_)
        if len(in_string):
            self._in_string = bool(in_string[-1])
        outside = ~in_string & (kinds != QUOTE) & (kinds != _BACKSLASH)
        positions, kinds = positions[outside], kinds[outside]
        if not len(positions):
            return positions, None

        depth = self._depth + np.cumsum(_DEPTH_CHANGE[kinds])
        # Never below 1: closing brackets beyond that are without effect, as if the walk were reflected there.
        depth += 1 - np.minimum.accumulate(np.minimum(depth, 1))
        before = np.empty_like(depth)
        before[0] = self._depth
        before[1:] = depth[:-1]
        self._depth = int(depth[-1])
        commas = positions[(kinds == _COMMA) & (depth == 1)]
        ends = positions[(kinds == _ARRAY_END) & (before == 1)]
        if not len(ends):
            return commas, None
        end = int(ends[0])
        return commas[commas < end], end

    def _escaped(self, data: Bytes, positions: Positions, kinds: Bytes) -> npt.NDArray[np.bool_]:
        """Whether the byte at each of `positions` follows an odd number of backslashes (a mask)."""
        escaped = np.zeros(len(positions), np.bool_)
        if self._odd_backslashes and len(positions) and positions[0] == 0:
            escaped[0] = True
        backslashes = np.flatnonzero(kinds == _BACKSLASH)
        if not len(backslashes):
            self._odd_backslashes = False
            return escaped
        places = positions[backslashes]
        begins_run = np.empty(len(places), np.bool_)
        begins_run[0] = True
        begins_run[1:] = np.diff(places) != 1
        run_begin = places[np.maximum.accumulate(np.where(begins_run, np.arange(len(places)), 0))]
        odd = ((places - run_begin) & 1) == 0
        if self._odd_backslashes:
            odd[run_begin == 0] ^= True
        after = backslashes + 1
        adjacent = after < len(positions)
        adjacent[adjacent] = positions[after[adjacent]] == places[adjacent] + 1
        escaped[after[adjacent]] = odd[adjacent]
        self._odd_backslashes = bool(odd[-1]) and int(places[-1]) == len(data) - 1
        return escaped
