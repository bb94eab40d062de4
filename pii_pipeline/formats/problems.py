"""What can be wrong with a landing object as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ProblemType = Literal[
    "object_empty",
    "object_truncated",
    "object_malformed",
    "object_changed",
    "object_missing",
]


class ObjectFault(Exception):
    """An object could not be read to its end; raised after its last record. No value in the message."""

    def __init__(self, type: ProblemType, message: str) -> None:
        super().__init__(message)
        self.type: ProblemType = type
        self.message = message

    def __reduce__(self) -> tuple[type[ObjectFault], tuple[ProblemType, str]]:
        return ObjectFault, (self.type, self.message)


@dataclass(frozen=True, slots=True)
class ObjectProblem:
    """A fault of one object of a batch; `object` is its index in the batch, as in `RecordChunk.object`."""

    object: int
    type: ProblemType
    message: str
