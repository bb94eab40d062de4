"""A chunk of records: the unit of work of every layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class RecordChunk:
    """n records as they came, with the place each came from. All arrays have length n.

    records: raw bytes (`pa.LargeBinaryArray`, no nulls), without what separates them: JSON whitespace, an
        end of a line
    object: index into the batch's objects
    number: 0-based number of the record in its object; blank lines have none
    offset: byte offset of the record in the decompressed object; in Avro files, of its block
    too_large: the record is longer than allowed, and only its first bytes are here
    names: of the records' columns, where the format has columns; the same for all records of a chunk. They
        come from the object, so anything may be in them
    message_ids: of the messages that the records came in (`pa.StringArray`, null where one came in none);
        None where all came in none
    """

    records: pa.LargeBinaryArray
    object: npt.NDArray[np.int32]
    number: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]
    too_large: npt.NDArray[np.bool_]
    names: tuple[str, ...] = ()
    message_ids: pa.StringArray | None = None

    def __len__(self) -> int:
        return len(self.number)

    def slice(self, start: int, stop: int) -> RecordChunk:
        """Records `start` to `stop` (exclusive), sharing memory."""
        return RecordChunk(
            self.records.slice(start, stop - start),
            self.object[start:stop],
            self.number[start:stop],
            self.offset[start:stop],
            self.too_large[start:stop],
            self.names,
            None if self.message_ids is None else self.message_ids.slice(start, stop - start),
        )

    def bounds(self) -> npt.NDArray[np.int64]:
        """n + 1 positions in the data buffer of `records`, at which each record begins and the last ends."""
        bounds = np.frombuffer(self.records.buffers()[1], np.int64)
        return bounds[self.records.offset : self.records.offset + len(self) + 1]


def gather(data: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> pa.LargeBinaryArray:
    """The slices ``data[start:end]``; both ascending, slices do not overlap.

    The slices and the gaps between them are laid over `data` without a copy; one `take` of every other
    entry then leaves the gaps out, far cheaper than making n Python objects.
    """
    if not len(starts):
        return pa.array([], pa.large_binary())
    bounds = np.empty(2 * len(starts), np.int64)
    bounds[0::2] = starts
    bounds[1::2] = ends
    slices_and_gaps = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(bounds) - 1, [None, pa.py_buffer(bounds), pa.py_buffer(data)]
    )
    return slices_and_gaps.take(pa.array(np.arange(0, len(bounds) - 1, 2)))
