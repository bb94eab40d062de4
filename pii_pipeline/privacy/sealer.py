"""What the kernels need from the keys, handed in so that they never see a key store.

People and data keys are named by small integers that hold for one chunk: `subject` numbers the distinct data
subjects of a chunk, `data_key` its distinct (subject, key link) pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """Distinct values of one field to be sealed or opened: `values[i]` under the data key `data_keys[i]` for
    `level`, bound to `associated_data`."""

    level: int
    associated_data: bytes
    values: list[bytes] = field(repr=False)
    data_keys: Index


class Sealer(Protocol):
    """Keyed operations on lists of distinct inputs. Every result list is as long as `values`."""

    def pseudonyms(self, domain: str, values: list[bytes], subjects: Index | None) -> list[bytes]:
        """32-byte pseudonyms; bound to the subject of each value, or the same across people if None."""
        ...

    def hashes(self, function: str, values: list[bytes]) -> list[bytes]:
        """Digests of each value with Snowplow's salt behind it, the same across people; `function` is the
        name of the hash function in contracts."""
        ...

    def seal(self, columns: list[SealedColumn]) -> list[list[bytes]]:
        """Tink-format AES-SIV ciphertexts of every column. All at once, because columns of one level share
        their data keys, and making a key costs several times its use."""
        ...


class Opener(Protocol):
    """The reverse, for one consented dataset."""

    def open(self, columns: list[SealedColumn]) -> list[list[bytes]]:
        """The plaintexts of every column; raises a typed error if one does not open."""
        ...

    def rekey(self, pseudonyms: list[bytes]) -> list[bytes]:
        """Pseudonyms of the lake → pseudonyms of this dataset alone."""
        ...

    def outer_seal(self, associated_data: bytes, ciphertexts: list[bytes]) -> list[bytes]:
        """Ciphertexts that stay closed, sealed once more so that they do not equal the lake's."""
        ...


@dataclass(frozen=True, slots=True)
class RowKeys:
    """Who and which key stands behind each row of a chunk: two integers per row."""

    subject: Index
    data_key: Index
