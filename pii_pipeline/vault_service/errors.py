"""What can go wrong before the service serves, and amid a call."""

from __future__ import annotations

from pii_pipeline.vault.errors import VaultRefused


class CannotServe(Exception):
    """The service cannot be had as it is set up; names the variable and the mend, never a secret."""


class NotAsked(VaultRefused):
    """A request that means nothing the vault could be asked. Nothing has recorded it yet."""

    def __init__(self, problem: str) -> None:
        super().__init__("invalid", problem)


class TooLarge(Exception):
    """A reply is larger than a message may be."""


class TimeIsOver(Exception):
    """Nobody waits for the answer any more; what was asked for was not begun."""


class Ending(Exception):
    """The service ends: what was read is done and answered, and what was not is to be asked again."""


class Busy(Exception):
    """The service has as many calls as it takes."""
