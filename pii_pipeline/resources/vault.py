"""The vault for assets, checks and jobs: who reads names principal and reason, as everybody does."""

from __future__ import annotations

from collections.abc import Sequence

from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.steps import guarded
from pii_pipeline.vault.model import Found, Reason, RecordKey


class VaultResource:
    """`vault: dg.ResourceParam[VaultResource]`. Opens the vault when it is first asked.

    What goes wrong is a `dagster.Failure` that quotes nothing. What comes back is personal data in clear: it
    is not to be logged, nor returned from an asset, which Dagster would store.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def read(self, principal: str, reason: Reason, keys: Sequence[RecordKey]) -> list[Found]:
        """What the vault has of each key, in order; see `vault.Vault.read`. Up to 10,000 at once."""
        return guarded(lambda: self._installation.vault.read(principal, reason, keys))
