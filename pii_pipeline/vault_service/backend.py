"""What the service is made over, and who asks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pii_pipeline.vault.model import DataSubject
from pii_pipeline.vault.policy import Policy
from pii_pipeline.vault.vault import Vault


class Subjects(Protocol):
    """Data subjects by what they are called. Both raise `VaultRefused` ("invalid") for what can be nobody."""

    def enter(self, subjects: Sequence[DataSubject]) -> list[bytes]:
        """The ref (16 bytes) of each; who is not known yet is entered."""
        ...

    def find(self, subject: DataSubject) -> bytes | None:
        """The ref of somebody who is known."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """The vault behind the service.

    vault: gives it each time: it is opened anew when its keys have been held for long enough
    tokens: digests of tokens that are in no policy, by principal
    tick: to be called every few seconds
    """

    vault: Callable[[], Vault]
    policy: Policy
    subjects: Subjects
    tokens: Mapping[str, str] = field(repr=False)
    tick: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call. `headers`: its metadata; of Piinguin's wire some mean something."""

    principal: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
