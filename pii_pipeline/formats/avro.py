"""Avro object container files: their records as JSON text, so that all behind reads them as JSON.

Values are left as they are stored: logical types are ignored, bytes and fixed are text by ISO 8859-1 (as in
Avro's JSON encoding), a union's value stands alone. What JSON cannot hold stays visible, and makes a record
that validation refuses: NaN and infinities are written as such, text that is not UTF-8 keeps its bytes.

The file comes from a stranger. fastavro decodes values, by a schema that `avro_schema` has vetted; the
container, whose lengths and counts may be any number, is walked here.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import fastavro
import numpy as np
import orjson
import pyarrow as pa

from pii_pipeline.formats.avro_codecs import CODECS, PIECE, Pieces
from pii_pipeline.formats.avro_schema import NOTHING, ROW, vetted
from pii_pipeline.formats.decompression import Raw
from pii_pipeline.formats.problems import ObjectFault, UntilFault
from pii_pipeline.formats.records import RecordChunk

_MAGIC = b"Obj\x01"
_SYNC_BYTES = 16
_MAX_HEADER = 4 << 20
_WINDOW = 1 << 18
_PASSED_OVER = 8
"""… times as long as a record that is decoded may be one whose end is looked for."""
_CHUNK_BYTES = 1 << 18


class _Row(NamedTuple):
    """A record: the offset of its block, its JSON text, or only the first bytes of it."""

    offset: int
    text: bytes
    too_large: bool


def avro_records(blocks: Iterator[bytes], max_record_bytes: int) -> Iterator[RecordChunk]:
    """The records of one object from its decompressed content; `object` is 0, `offset` is their block's.

    A record is too large by its JSON text. One whose Avro encoding alone is far larger than a record may be
    is not decoded: its first bytes are those of the encoding.

    Raises `ObjectFault` after the last whole record: object_empty, object_truncated, object_malformed.
    """
    number = 0
    rows: list[_Row] = []
    size = 0
    whole = UntilFault(_rows(_File(blocks), max_record_bytes))
    for row in whole:
        rows.append(row)
        size += len(row.text)
        if size >= _CHUNK_BYTES:
            yield _chunk(rows, number)
            number += len(rows)
            rows, size = [], 0
    if rows:
        yield _chunk(rows, number)
    whole.raise_fault()


def _chunk(rows: list[_Row], number: int) -> RecordChunk:
    offsets, texts, too_large = zip(*rows, strict=True)
    return RecordChunk(
        records=pa.array(texts, pa.large_binary()),
        object=np.zeros(len(rows), np.int32),
        number=np.arange(number, number + len(rows)),
        offset=np.array(offsets, np.int64),
        too_large=np.array(too_large, np.bool_),
    )


def _rows(file: _File, max_record_bytes: int) -> Iterator[_Row]:
    metadata = _metadata(file)
    sync = file.exactly(_SYNC_BYTES)
    codec = CODECS.get(metadata.get("avro.codec", b"null"))
    if codec is None:
        names = ", ".join(name.decode() for name in CODECS)
        raise ObjectFault("object_malformed", f"the codec of the Avro file is none of {names}")
    decoder = _Decoder(metadata.get("avro.schema", b""), max_record_bytes)
    while not file.at_end():
        offset = file.position
        count, size = file.long(), file.long()
        if count < 0 or size < 0:
            raise ObjectFault("object_malformed", "an Avro block has a negative length")
        for text, too_large in decoder.records(codec(file.pieces(size)), count):
            yield _Row(offset, text, too_large)
        if file.exactly(_SYNC_BYTES) != sync:
            raise ObjectFault("object_malformed", "an Avro block does not end where it says")


def _metadata(file: _File) -> dict[str, bytes]:
    if file.at_end():
        raise ObjectFault("object_empty", "the object has no records")
    head = file.peek(_MAX_HEADER)
    if not _MAGIC.startswith(head[: len(_MAGIC)]):
        raise ObjectFault("object_malformed", "not an Avro object container file")
    view = io.BytesIO(head)
    view.seek(len(_MAGIC))
    try:
        metadata: Any = fastavro.schemaless_reader(view, {"type": "map", "values": "bytes"}, None)
    except (EOFError, IndexError):
        if len(head) < _MAX_HEADER:
            file.truncated()
        raise ObjectFault("object_malformed", "the header of the Avro file is too long") from None
    except UnicodeDecodeError:
        raise ObjectFault("object_malformed", "the header of the Avro file is corrupt") from None
    file.exactly(view.tell())
    return metadata


class _File:
    """The bytes of the object. Where a fault of the object ends them, it is raised when they are missed."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._whole = UntilFault(blocks)
        unread = iter(self._whole)
        self._raw = Raw(lambda _: next(unread, b""), 1)
        self.position = 0

    def truncated(self) -> NoReturn:
        raise self._whole.fault or ObjectFault("object_truncated", "the Avro file ends early")

    def at_end(self) -> bool:
        if self._raw.peek(1):
            return False
        self._whole.raise_fault()
        return True

    def peek(self, count: int) -> bytes:
        return self._raw.peek(count)

    def exactly(self, count: int) -> bytes:
        part = self._raw.take(count)
        self.position += len(part)
        if len(part) < count:
            self.truncated()
        return part

    def pieces(self, size: int) -> Pieces:
        """The next `size` bytes; as many as there are, if there are fewer, before the fault."""
        while size:
            part = self._raw.take(min(size, PIECE))
            self.position += len(part)
            if part:
                yield part
            if len(part) < min(size, PIECE):
                self.truncated()
            size -= len(part)

    def long(self) -> int:
        """A number in zigzag and variable length."""
        bits = 0
        for shift in range(0, 64, 7):
            (byte,) = self.exactly(1)
            bits |= (byte & 0x7F) << shift
            if byte < 0x80:
                return bits >> 1 ^ -(bits & 1)
        raise ObjectFault("object_malformed", "a length in the Avro file is no number")


class _Window:
    """A part of a block's content, from which records are decoded."""

    def __init__(self, pieces: Pieces) -> None:
        self._whole = UntilFault(pieces)
        self._pieces = iter(self._whole)
        self._content = b""
        self.view = io.BytesIO()

    def __len__(self) -> int:
        return len(self._content)

    def at_end(self) -> bool:
        """Whether all of the block's content is decoded."""
        return self.view.tell() == len(self) and not self.extend(len(self), 1)

    def extend(self, begin: int, size: int) -> bool:
        """Drops what lies before `begin` and takes in content up to `size` bytes; false if there is none."""
        parts = [self._content[begin:]]
        held = len(parts[0])
        while held < size and (piece := next(self._pieces, b"")):
            parts.append(piece)
            held += len(piece)
        if len(parts) == 1:
            self._whole.raise_fault()
        self._content = b"".join(parts)
        self.view = io.BytesIO(self._content)
        return len(parts) > 1


class _Exact(io.BytesIO):
    """Raises EOFError at its end: fastavro would not notice it where it passes over values."""

    def read(self, size: int | None = -1, /) -> bytes:
        part = super().read(size)
        if len(part) != size:
            raise EOFError
        return part


class _Decoder:
    """Decodes the records of blocks, holding a window of a block's content that grows to hold one record."""

    def __init__(self, schema: bytes, max_record_bytes: int) -> None:
        self._max = max_record_bytes
        # Nothing gets shorter in JSON than a double: its 8 bytes may be four characters with their comma.
        self._max_decoded = 2 * max_record_bytes + PIECE
        self._schema, self._has_floats = vetted(schema)

    def records(self, pieces: Pieces, count: int) -> Iterator[tuple[bytes, bool]]:
        """The JSON texts of a block's `count` records; only the first bytes of one that is too large."""
        window = _Window(pieces)
        for _ in range(count):
            yield self._record(window)
        if not window.at_end():
            raise ObjectFault("object_malformed", "an Avro block is longer than its records")

    def _record(self, window: _Window) -> tuple[bytes, bool]:
        begin = window.view.tell()
        while (value := self._read(window.view, None)) is None:
            held = len(window) - begin
            if held > self._max_decoded:
                return self._passed_over(window, begin)
            if not window.extend(begin, max(_WINDOW, min(2 * held, self._max_decoded + 1))):
                raise ObjectFault("object_malformed", "an Avro block is shorter than its records")
            begin = 0
        if window.view.tell() == begin:
            raise ObjectFault("object_malformed", "the records of the Avro file take no bytes")
        text = self._text(value[ROW])
        return text[: self._max], len(text) > self._max

    def _passed_over(self, window: _Window, begin: int) -> tuple[bytes, bool]:
        """The first bytes of a record that is too large to be decoded, as they are in the file."""
        while True:
            content = window.view.getvalue()
            view = _Exact(content)
            view.seek(begin)
            if self._read(view, NOTHING) is not None:
                window.view.seek(view.tell())
                return content[begin : begin + self._max], True
            held = len(content) - begin
            if held > _PASSED_OVER * self._max_decoded or not window.extend(begin, 2 * held):
                raise ObjectFault("object_malformed", "the end of a record of the Avro file is not found")
            begin = 0

    def _read(self, view: io.BytesIO, reader_schema: Any) -> Any:
        """The next record; None if `view` ends within it."""
        try:
            return fastavro.schemaless_reader(
                view, self._schema, reader_schema, handle_unicode_errors="surrogateescape"
            )
        except (EOFError, IndexError):
            return None
        except Exception:  # noqa: BLE001 - fastavro raises what it comes upon, and quotes data and schema
            raise ObjectFault("object_malformed", "a record of the Avro file cannot be decoded") from None

    def _text(self, value: Any) -> bytes:
        try:
            text = orjson.dumps(value, default=_latin_1)
            if not (self._has_floats and b"null" in text and not _is_finite(value)):
                return text
        except orjson.JSONEncodeError:  # text that was not UTF-8
            pass
        lenient = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_latin_1)
        return lenient.encode("utf-8", "surrogateescape")


def _latin_1(value: bytes) -> str:
    return value.decode("iso-8859-1")


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
