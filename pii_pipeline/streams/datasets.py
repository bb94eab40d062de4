"""The datasets of a stream that others may read: their plans and columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from pii_pipeline.contracts.columns import union
from pii_pipeline.contracts.model import Contract
from pii_pipeline.privacy.plan import compile_plan
from pii_pipeline.streams.model import PSEUDONYMIZED_EVENTS, Derived, Stream

if TYPE_CHECKING:
    from pii_pipeline.privacy.consent import ConsentRequest
    from pii_pipeline.privacy.derive import DerivedPlan


def derived_plan(contract: Contract, dataset: Derived) -> DerivedPlan:
    """The plan of a derived dataset for the events of one contract."""
    from pii_pipeline.privacy.derive import DerivedPlan  # the kernels take time to import

    joinable = dataset.joinable_with_lake is not None
    return DerivedPlan(compile_plan(contract), consent_request(dataset), joinable)


def consent_request(dataset: Derived) -> ConsentRequest:
    """What a derived dataset asks its data subjects for."""
    from pii_pipeline.privacy.consent import ConsentRequest

    return ConsentRequest(dataset.consent.level, frozenset(dataset.consent.purposes or ()))


def contract_schema(contract: Contract, derived: Mapping[str, Derived], dataset: str) -> pa.Schema:
    """The columns of ``pseudonymized_events``, or of one of the `derived` datasets, that the events of one
    contract have."""
    if dataset == PSEUDONYMIZED_EVENTS:
        return compile_plan(contract).lake_schema()
    return derived_plan(contract, derived[dataset]).schema()


def dataset_schema(stream: Stream, dataset: str) -> pa.Schema:
    """The columns of the stream's ``pseudonymized_events``, or of a derived dataset: those of all active
    versions."""
    return union([contract_schema(contract, stream.derived, dataset) for contract in stream.active])
