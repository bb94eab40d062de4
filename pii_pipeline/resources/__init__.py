"""What assets and checks are handed: the process's installation, its vault, and whom to tell about progress.

None is configurable in Dagster: settings come from the environment, where the CLI reads them too, and a
resource without fields shows nothing in the UI, in GraphQL or in a run's configuration.
"""

from __future__ import annotations

import dagster as dg

from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import Progress
from pii_pipeline.resources.vault import VaultResource

INSTALLATION = "installation"
VAULT = "vault"
PROGRESS = "progress"


def resources(installation: Installation, progress: Progress) -> dict[str, dg.ResourceDefinition]:
    """The resources by the name of the parameter that asks for them.

    One installation for the whole process; what it opens (database, keys, zones) it opens when a step first
    uses it, never while definitions load.
    """
    return {
        INSTALLATION: dg.ResourceDefinition(
            lambda _: installation, description="Ledger, key store and zones, as the environment names them."
        ),
        VAULT: dg.ResourceDefinition(
            lambda _: VaultResource(installation), description="The vault, told to whom its policy allows it."
        ),
        # Assets write their files themselves and hand nothing on. Dagster's default takes time to import.
        "io_manager": dg.mem_io_manager,
        PROGRESS: dg.ResourceDefinition(lambda _: progress, description="Told about every chunk."),
    }
