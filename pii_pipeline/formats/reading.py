"""From objects to chunks of records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pii_pipeline.formats.avro import avro_records
from pii_pipeline.formats.cutting import RecordCutter
from pii_pipeline.formats.decompression import decompressed
from pii_pipeline.formats.delimited import delimited_records
from pii_pipeline.formats.kinds import JSON, AvroContainer, DelimitedText, Format, JsonText
from pii_pipeline.formats.messages import MAX_LINE_BYTES, fits_a_message, is_of_messages, message_records
from pii_pipeline.formats.problems import ObjectFault, ObjectProblem, UntilFault
from pii_pipeline.formats.records import RecordChunk

BLOCK_SIZE = 1 << 18  # stays in the processor's cache
# Small enough for the allocator to use memory again instead of asking the system for new pages, which
# costs a quarter of the validation of larger chunks.
MAX_CHUNK_RECORDS = 16_384
MAX_CHUNK_BYTES = 16 << 20
MAX_CHUNK_FIELDS = 1 << 23  # many names and short records would make columns far larger than the records


class Readable(Protocol):
    """The one method of a binary file that reading uses."""

    def read(self, size: int, /) -> bytes:
        """At most `size` further bytes, none at the end."""
        ...


class ObjectFile(Readable, Protocol):
    """A file to be closed."""

    def close(self) -> None:
        """Ends its use."""
        ...


@dataclass(frozen=True, slots=True)
class ObjectSource:
    """One landing object: its name, whose suffix names the compression.

    `open` raises `ObjectFault` if the object is not there as it was sealed. So may reading, at the latest at
    its end, which is always reached; the file is closed after it.
    """

    name: str
    open: Callable[[], ObjectFile]


def read_records(
    source: Readable,
    name: str,
    max_record_bytes: int,
    format: Format = JSON,
    *,
    block_size: int = BLOCK_SIZE,
) -> Iterator[RecordChunk]:
    """The records of one object, from the raw bytes of `source`, in chunks of no particular size.

    Of an object of messages (by its `name`) they are the bodies, in the given format.

    Raises `ObjectFault` after the last record: object_empty (no bytes, or nothing but whitespace),
    object_truncated, object_malformed.
    """
    blocks = decompressed(source.read, name, block_size)
    if is_of_messages(name) and fits_a_message(format):
        return message_records(_json_records(blocks, MAX_LINE_BYTES), format, max_record_bytes)
    match format:
        case JsonText():
            return _json_records(blocks, max_record_bytes)
        case DelimitedText():
            return delimited_records(blocks, format, max_record_bytes)
        case AvroContainer():
            return avro_records(blocks, max_record_bytes)


def _json_records(blocks: Iterator[bytes], max_record_bytes: int) -> Iterator[RecordChunk]:
    cutter = RecordCutter(max_record_bytes)
    whole = UntilFault(blocks)
    for block in whole:
        yield from cutter.feed(block)
    yield from cutter.finish()
    whole.raise_fault()
    if cutter.unterminated:
        raise ObjectFault("object_truncated", "the JSON array is not closed")
    if not cutter.records and not cutter.is_array:
        raise ObjectFault("object_empty", "the object has no records")


def read_chunks(
    objects: Sequence[ObjectSource],
    max_record_bytes: int,
    format: Format = JSON,
    *,
    max_chunk_records: int = MAX_CHUNK_RECORDS,
    max_chunk_bytes: int = MAX_CHUNK_BYTES,
    block_size: int = BLOCK_SIZE,
) -> Iterator[RecordChunk | ObjectProblem]:
    """The records of `objects`, in order, packed into chunks across the borders of objects.

    A chunk is full when the next record would make it more than `max_chunk_records` records,
    `max_chunk_bytes` bytes or MAX_CHUNK_FIELDS fields, or has other column names; where chunks end depends on
    the records alone. An object has at most one problem, which comes after all of its records. If reading
    it finds a fault, as that it was changed, that is its problem, whatever else is wrong with it: its
    records, which came before, may not be those that were sealed.
    """
    packer = _Packer(max_chunk_records, max_chunk_bytes)
    problems: list[ObjectProblem] = []
    for index, source in enumerate(objects):
        reading = UntilFault(_read_object(index, source, max_record_bytes, format, block_size))
        for records in reading:
            for chunk in packer.add(records):
                yield chunk
                # What the packer still has is of this object: all records of those before are out.
                yield from problems
                problems = []
        if (fault := reading.fault) is not None:
            problems.append(ObjectProblem(index, fault.type, fault.message))
    yield from packer.flush()
    yield from problems


def _read_object(
    index: int, source: ObjectSource, max_record_bytes: int, format: Format, block_size: int
) -> Iterator[RecordChunk]:
    with closing(source.open()) as file:
        reading = UntilFault(read_records(file, source.name, max_record_bytes, format, block_size=block_size))
        for records in reading:
            yield replace(records, object=np.full(len(records), index, np.int32))
        while file.read(block_size):  # what a fault left unread
            pass
    reading.raise_fault()


class _Packer:
    """Gathers records until a chunk is full.

    Bytes are copied as they come into the one buffer that the chunk will be: keeping the pieces to join them
    at the end would touch twice the memory, and fresh memory is dearer than the copy.
    """

    def __init__(self, max_records: int, max_bytes: int) -> None:
        self._most_records = self._max_records = max_records
        self._max_bytes = max_bytes
        self._buffer: Any = None  # a pa.Buffer from the first record of a chunk on
        self._columns: list[tuple[npt.NDArray[Any], ...]] = []
        self._message_ids: list[pa.Array | None] = []
        self._names: tuple[str, ...] = ()
        self._records = 0
        self._bytes = 0

    def add(self, records: RecordChunk) -> Iterator[RecordChunk]:
        """Takes `records`; gives the chunks that became full."""
        if records.names != self._names:
            yield from self.flush()
            self._names = records.names
            self._max_records = min(self._most_records, MAX_CHUNK_FIELDS // max(1, len(self._names)))
        bounds = records.bounds()
        ends = bounds[1:]
        at = 0
        while at < len(records):
            free = self._max_bytes - self._bytes
            fitting = int(np.searchsorted(ends, bounds[at] + free, side="right"))
            stop = min(fitting, at + self._max_records - self._records)
            if stop == at and not self._records:
                stop = at + 1  # a record larger than a chunk is a chunk
            if stop > at:
                self._append(records.slice(at, stop), bounds[at : stop + 1])
                at = stop
            if at < len(records):
                yield from self.flush()

    def _append(self, part: RecordChunk, bounds: npt.NDArray[np.int64]) -> None:
        size = int(bounds[-1] - bounds[0])
        if not self._columns:
            self._buffer = pa.allocate_buffer(max(self._max_bytes, size))
        if size:
            target = np.frombuffer(self._buffer, np.uint8)
            source = np.frombuffer(part.records.buffers()[2], np.uint8)
            target[self._bytes : self._bytes + size] = source[bounds[0] : bounds[-1]]
        self._columns.append((part.object, part.number, part.offset, part.too_large, np.diff(bounds)))
        self._message_ids.append(part.message_ids)
        self._records += len(part)
        self._bytes += size

    def flush(self) -> Iterator[RecordChunk]:
        """What was gathered, if anything."""
        if not self._columns:
            return
        *places, sizes = (np.concatenate(parts) for parts in zip(*self._columns, strict=True))
        bounds = np.zeros(self._records + 1, np.int64)
        np.cumsum(sizes, out=bounds[1:])
        records = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(),
            self._records,
            [None, pa.py_buffer(bounds), self._buffer.slice(0, self._bytes)],
        )
        message_ids = _joined(self._message_ids, [len(part[0]) for part in self._columns])
        self._buffer, self._columns, self._message_ids, self._records, self._bytes = None, [], [], 0, 0
        yield RecordChunk(records, *places, names=self._names, message_ids=message_ids)


def _joined(message_ids: Sequence[pa.Array | None], lengths: Sequence[int]) -> pa.Array | None:
    """The ids of parts of these lengths as one array; None if none has any."""
    if all(ids is None for ids in message_ids):
        return None
    parts = zip(message_ids, lengths, strict=True)
    return pa.concat_arrays([pa.nulls(length, pa.string()) if ids is None else ids for ids, length in parts])
