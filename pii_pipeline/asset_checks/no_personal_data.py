"""The leak gate as an asset check.

The gate itself is in the pipeline and looks at every chunk before its batch is committed. The asset reports
its verdict: when it refuses, the batch was not committed and there is nothing a later check could look at.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from pii_pipeline.asset_checks.tables import table
from pii_pipeline.partitions import HOURS
from pii_pipeline.privacy.leak_gate import Leak

NAME = "no_personal_data"

_DESCRIPTION = (
    "Leak gate, before anything is committed: treated columns have the form of their treatment, no kept "
    "column holds the original of an identifying field, and nothing kept looks like an e-mail address, IP "
    "address, phone, card or account number."
)


def no_personal_data_spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """The blocking check of `asset`, evaluated by the asset's own step."""
    return dg.AssetCheckSpec(NAME, asset=asset, description=_DESCRIPTION, blocking=True, partitions_def=HOURS)


def no_personal_data_result(asset: dg.AssetKey, leaks: Sequence[Leak]) -> dg.AssetCheckResult:
    """The gate's verdict on what this run made: columns, rules and counts, never a value."""
    said = "The batch was not committed: " + "; ".join(map(str, leaks)) if leaks else None
    if any(leak.mended_in_contract for leak in leaks):
        mend = f"pii contract new-version {asset.path[0]}"
        said = f"{said} — in a new version of the contract, since this one is in use: {mend}"
    rows = [(leak.place, leak.rule, leak.other, leak.count) for leak in leaks]
    metadata = {"leaks": table(("column", "rule", "original of", "values"), rows)} if leaks else {}
    return dg.AssetCheckResult(
        check_name=NAME,
        asset_key=asset,
        passed=not leaks,
        description=said,
        metadata=metadata,
    )
