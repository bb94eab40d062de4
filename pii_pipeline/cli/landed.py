"""What lies in the landing zone, and which of its hours need a run."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pii_pipeline.cli.early import succeeded_file
from pii_pipeline.database import make_private_directories
from pii_pipeline.lake import ObjectInfo, list_objects, tag_of
from pii_pipeline.ledger import HourContents
from pii_pipeline.pipeline.arrivals import hour_of_object, is_known
from pii_pipeline.warehouse.errors import WarehouseUnavailable

if TYPE_CHECKING:
    from pii_pipeline.pipeline.installation import Installation
    from pii_pipeline.streams.model import Stream

_PACKAGE = Path(__file__).parents[1]


def landed_objects(opened: Installation, stream: Stream) -> dict[str, list[ObjectInfo]]:
    """A stream's landing objects by hour."""
    hours: dict[str, list[ObjectInfo]] = {}
    for info in list_objects(opened.zones.landing, stream.name):
        hours.setdefault(hour_of_object(info), []).append(info)
    return hours


def unknown_objects(opened: Installation, stream: Stream) -> list[ObjectInfo]:
    """Those of which the ledger knows no version of this size and age."""
    found = list_objects(opened.zones.landing, stream.name)
    known = opened.ledger.known(stream.name, [info.path for info in found])
    return [info for info in found if not is_known(info, known.get(info.path, ()))]


class Succeeded:
    """The hours whose last run succeeded, and what it was a run of.

    Such an hour needs no other run while nothing has changed: no other objects, nothing that the ledger holds
    of it, not the stream's definition, its warehouse, the secret or the code. That objects, or validated
    events, are gone by now is no change. Kept beside Dagster's own files, because
    an instance that was made anew has to be told everything again.
    """

    def __init__(self, opened: Installation) -> None:
        self._opened = opened
        files = sorted(_PACKAGE.rglob("*.py"))
        self._warehouses: dict[str, str | None] = {}
        self._code = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]

    def covers(self, stream: Stream, hour: str, landed: Sequence[ObjectInfo]) -> bool:
        """Whether a run would find nothing to do and nothing to say; `landed`: what lies there now."""
        try:
            remembered = self._file(stream, hour).read_text()
        except FileNotFoundError:
            return False
        contents = self._opened.ledger.contents(stream.name, hour)
        return remembered == self._digest(stream, contents) and all(
            (info.path, tag) in contents.sealed for info in landed if (tag := self._tag(info)) is not None
        )

    def forget(self, stream: Stream, hour: str) -> None:
        """To be called before a run: it may be killed at any moment."""
        self._file(stream, hour).unlink(missing_ok=True)
        self._warehouses.pop(stream.name, None)  # the run may make it

    def remember(self, stream: Stream, hour: str) -> None:
        """To be called when a run has succeeded."""
        file = self._file(stream, hour)
        make_private_directories(file.parent)
        digest = self._digest(stream, self._opened.ledger.contents(stream.name, hour))
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".", delete=False) as written:
            written.write(digest)
        Path(written.name).replace(file)

    def _file(self, stream: Stream, hour: str) -> Path:
        return succeeded_file(self._opened.settings, stream.name, hour)

    def _digest(self, stream: Stream, contents: HourContents) -> str:
        defined = stream.model_dump_json(), stream.digest
        secret, warehouse = self._opened.secret_version(stream), self._warehouse(stream)
        everything = [self._code, defined, secret, contents.digest, warehouse]
        return hashlib.sha256(json.dumps(everything).encode()).hexdigest()

    def _warehouse(self, stream: Stream) -> str | None:
        """What tells the warehouse of the stream's tables from another one; None if it has none, or if the
        warehouse cannot be asked, as the run will then say."""
        if stream.name not in self._warehouses:
            found = None
            if stream.warehouse:
                with suppress(WarehouseUnavailable):
                    found = self._opened.warehouse.identity(list(stream.warehouse))
            self._warehouses[stream.name] = found
        return self._warehouses[stream.name]

    def _tag(self, info: ObjectInfo) -> str | None:
        # Not size and time: a file may be overwritten with others of the same size within a clock's tick.
        with suppress(FileNotFoundError):
            return tag_of(self._opened.zones.landing, info)
        return None
