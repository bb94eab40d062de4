"""What making a batch in a layer gives: files that nobody sees yet, and counts, ready to be committed."""

from __future__ import annotations

from dataclasses import dataclass

from pii_pipeline.lake import ParquetWriter, named_by_content
from pii_pipeline.ledger import CommittedFile, Counts


@dataclass(frozen=True)
class MadeFile:
    """A file under a `hidden` path of its zone, and what it will be from its commit on."""

    hidden: str
    file: CommittedFile

    @classmethod
    def of(cls, dataset: str, path: str, out: ParquetWriter) -> MadeFile:
        """What `out` has written for `path`, a `data_file`."""
        named = named_by_content(path, out.digest)
        return cls(out.hidden, CommittedFile(dataset, named, out.size, out.rows, columns=out.columns))


@dataclass(frozen=True)
class Made:
    """Of one batch in one layer. `ahead` is what was made of it in later layers on the way."""

    files: tuple[MadeFile, ...]
    counts: Counts
    expected_head: int | None = None
    ahead: tuple[MadeAhead, ...] = ()


@dataclass(frozen=True)
class MadeAhead:
    """Of a batch in a later `layer`, before its turn.

    To be committed then if its `fingerprint` is still the one that is asked for, and nobody has been
    forgotten since (`losses`: those of the key store when the work began). It took `seconds`.
    """

    layer: str
    fingerprint: str
    made: Made
    losses: int
    seconds: float
