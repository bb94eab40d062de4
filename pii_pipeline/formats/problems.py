"""What can be wrong with a landing object as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

T = TypeVar("T")

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


class UntilFault(Generic[T]):
    """What an iterator gives before its fault, which waits until all that came before it is dealt with."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self.fault: ObjectFault | None = None

    def __iter__(self) -> Iterator[T]:
        try:
            yield from self._items
        except ObjectFault as error:
            self.fault = error

    def raise_fault(self) -> None:
        if self.fault is not None:
            raise self.fault


@dataclass(frozen=True, slots=True)
class ObjectProblem:
    """A fault of one object of a batch; `object` is its index in the batch, as in `RecordChunk.object`."""

    object: int
    type: ProblemType
    message: str
