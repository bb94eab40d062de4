"""Properties that are made once, however many threads ask for them first."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self, TypeVar, overload

T_co = TypeVar("T_co", covariant=True)


class once(cached_property[T_co]):
    """A `cached_property` that is made under the lock `making` (an RLock) of its object: since Python 3.12
    that one has none, and there must not be two connection pools, or two sets of worker processes, of which
    one is never closed. Who forgets some under the same lock gets none back from a thread that was at it."""

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T_co: ...
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Self | T_co:
        if instance is None:
            return self
        with instance.making:
            return super().__get__(instance, owner)
