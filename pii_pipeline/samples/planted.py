"""What a generator put into a sample: the counts that a pipeline must find again, exactly."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Planted:
    """Counts of the records generated so far; complete once the generator is exhausted.

    `records` is every record, `bad` counts the bad ones by kind and `failure_types` the same ones by the
    pipeline's failure type. `duplicates` are byte-identical copies of a good earlier record, `reused_ids`
    are good records that carry the event id of another one.
    """

    records: int = 0
    duplicates: int = 0
    reused_ids: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    failure_types: Counter[str] = field(default_factory=Counter)

    @property
    def validated(self) -> int:
        """Records that come through: neither bad nor a duplicate (reused ids do come through)."""
        return self.records - self.bad.total() - self.duplicates

    def add_bad(self, kind: str, failure_type: str, count: int = 1) -> None:
        """Enter so many bad records."""
        if count:
            self.bad[kind] += count
            self.failure_types[failure_type] += count
