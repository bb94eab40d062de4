"""What can go wrong at the vault. No message holds an original, a pseudonym, or what a caller wrote."""

from __future__ import annotations

from typing import Literal

Why = Literal["unauthenticated", "denied", "no basis", "invalid", "limit"]


class VaultError(Exception):
    """Base of all errors of this package."""


class VaultUnavailable(VaultError):
    """The store behind the vault does not answer at the moment; nothing is wrong with what was asked."""


class KeysUnavailable(VaultUnavailable):
    """The keys that seal and open cannot be had at the moment, nor an entry of the audit log be sealed."""


class VaultSettingError(VaultError):
    """PII_VAULT_… cannot be meant; names the variable and the mend."""


class VaultRefused(VaultError):
    """What was asked is not to be done. `why` is for programs; the message says which rule, and no value."""

    def __init__(self, why: Why, problem: str) -> None:
        super().__init__(why, problem)
        self.why: Why = why

    def __str__(self) -> str:
        return self.args[1]


class TamperedRow(VaultError):
    """A row of the vault's database is none that the vault writes."""


class AuditBroken(VaultError):
    """The audit log was edited, reordered or cut: `sequence` is the first entry that is not as it was."""

    def __init__(self, sequence: int, problem: str) -> None:
        super().__init__(sequence, problem)
        self.sequence = sequence

    def __str__(self) -> str:
        return f"audit entry {self.args[0]}: {self.args[1]}"
