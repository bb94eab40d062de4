"""Derived datasets made ahead: of a batch's rows while they are in memory on their way into the lake.

Made later, by a dataset's own step, they cost about twice as much: the lake's file has to be read again, its
people and keys looked up again, its ciphertexts decrypted. The files are the same, to the byte. Nothing of it
is committed before the dataset's own step asks for it: a check that fails in between stops that as ever.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType

from pii_pipeline.ledger import Batch
from pii_pipeline.pipeline.derive import DerivedChunk, DerivedFile, derived_file, derived_fingerprint
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import Progress
from pii_pipeline.pipeline.made import MadeAhead
from pii_pipeline.pipeline.sealing import SealedRows
from pii_pipeline.pipeline.shares import Share
from pii_pipeline.streams.model import Stream

_log = logging.getLogger(__name__)

Derived = Mapping[str, DerivedChunk]
"""A chunk as each dataset has it."""


class Ahead:
    """The derived files of one batch, written while the block lasts.

    It is an offer: if anything goes wrong in here, nothing is made ahead, and the datasets' own steps meet
    the same trouble and say so. If the block raises, nothing is made either.
    """

    def __init__(
        self,
        installation: Installation,
        stream: Stream,
        datasets: Iterable[str],
        batch: Batch,
        lake_fingerprint: str,
    ) -> None:
        self._of = (installation, stream, batch, lake_fingerprint)
        self._datasets = tuple(datasets)
        self._names: dict[str, str] = {}
        self._losses = 0
        self._stack = ExitStack()
        self._files: dict[str, DerivedFile] = {}

    def __enter__(self) -> Ahead:
        installation, stream, batch, above = self._of
        try:
            # Before any key is read: who is forgotten after this makes the offer void.
            self._losses = installation.keys.losses()
            for dataset in self._datasets:
                name = derived_fingerprint(installation, stream, dataset, batch, above)
                file = derived_file(installation, stream, dataset, batch, name)
                self._names[dataset] = name
                self._files[dataset] = self._stack.enter_context(file)
        except Exception as error:  # noqa: BLE001
            self._give_up(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._give_up(error)
            return
        try:
            self._stack.close()
        except Exception as failed:  # noqa: BLE001
            self._give_up(failed)

    def derive(self, share: Share, rows: SealedRows) -> Derived | Exception:
        """A share of the lake as each dataset has it, or why one cannot have it. By any thread."""
        try:
            return {dataset: file.derive(share, rows) for dataset, file in list(self._files.items())}
        except Exception as error:  # noqa: BLE001
            return error

    def write(self, derived: Derived | Exception, progress: Progress) -> None:
        """Appends what `derive` gave to the files, chunk after chunk."""
        try:
            if isinstance(derived, Exception):
                raise derived
            for dataset, file in self._files.items():
                file.write(derived[dataset], progress)
        except Exception as error:  # noqa: BLE001
            _log.warning("a batch's derived datasets are not made ahead (%s)", type(error).__name__)
            self._give_up(error)

    def made(self) -> tuple[MadeAhead, ...]:
        """What was made, after the block."""
        return tuple(
            MadeAhead(dataset, self._names[dataset], file.made(), self._losses, file.seconds)
            for dataset, file in self._files.items()
        )

    def _give_up(self, error: BaseException) -> None:
        self._files.clear()
        self._stack.__exit__(type(error), error, error.__traceback__)
