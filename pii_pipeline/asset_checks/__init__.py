"""Asset checks, all blocking: one that fails stops what is downstream of it, in its own stream."""

from __future__ import annotations

import dagster as dg

from pii_pipeline.asset_checks.bad_event_rate import bad_event_rate_check
from pii_pipeline.asset_checks.conservation import conservation_check
from pii_pipeline.asset_checks.no_personal_data import no_personal_data_result, no_personal_data_spec
from pii_pipeline.asset_checks.vault_resolves import vault_resolves_check
from pii_pipeline.ledger import (
    PSEUDONYMIZED_EVENTS,
    RELAYED_ORIGINALS,
    VALIDATED_EVENTS,
    VAULT_RECORDS,
    table_layer,
)
from pii_pipeline.pipeline.vault_sample import resolve_relayed, resolve_sample
from pii_pipeline.streams.model import Stream

__all__ = ["no_personal_data_result", "no_personal_data_spec", "stream_checks"]


def stream_checks(stream: Stream) -> list[dg.AssetChecksDefinition]:
    """The checks of a stream that are steps of their own."""
    return [
        conservation_check(stream.name, VALIDATED_EVENTS, "records = validated + bad + duplicate"),
        bad_event_rate_check(stream),
        conservation_check(stream.name, PSEUDONYMIZED_EVENTS, "validated = pseudonymized + erased + expired"),
        *(_relay_checks(stream) if stream.relay else []),
        *(_vault_checks(stream) if stream.reversible else []),
        *(
            conservation_check(stream.name, name, "pseudonymized = admitted + withheld")
            for name in stream.derived
        ),
        *(
            conservation_check(
                stream.name, table_layer(table.dataset, name), f"rows of {table.dataset} = rows loaded"
            )
            for name, table in stream.warehouse.items()
        ),
    ]


def _vault_checks(stream: Stream) -> list[dg.AssetChecksDefinition]:
    law, right = "originals = new + known + forgotten", "an original that becomes the pseudonym again"
    return [
        conservation_check(stream.name, VAULT_RECORDS, law),
        vault_resolves_check(stream, VAULT_RECORDS, resolve_sample, right),
    ]


def _relay_checks(stream: Stream) -> list[dg.AssetChecksDefinition]:
    law = "validated = relayed + other and originals = new + known"
    return [
        conservation_check(stream.name, RELAYED_ORIGINALS, law),
        vault_resolves_check(stream, RELAYED_ORIGINALS, resolve_relayed, "the original that the event names"),
    ]
