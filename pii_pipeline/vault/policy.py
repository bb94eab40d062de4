"""Who may do what at the vault: a YAML file of purposes and principals. What is not listed is refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pii_pipeline.vault.audit import Action
from pii_pipeline.vault.model import Reason, RecordKey
from pii_pipeline.vault.stores import Allowance


class Policy:
    """The rules of one file, read and checked."""

    def refusal(
        self, principal: str, action: Action, keys: Sequence[RecordKey], reason: Reason | None
    ) -> str | None:
        """Why `principal` may not do this, in words of ours; None if he may. Of a read: its reason too."""
        raise NotImplementedError

    def allowances(self, principal: str, action: Action, at: datetime) -> list[Allowance]:
        """The limits that hold for this principal now, to be spent by the number of records."""
        raise NotImplementedError

    def wanted_consent(self, reason: Reason) -> frozenset[int]:
        """The levels that a consent-based read for this purpose needs; empty: none will do."""
        raise NotImplementedError

    @property
    def digest(self) -> str:
        """Of all that the file says (64 hexadecimal digits): the audit log records when it changes."""
        raise NotImplementedError
