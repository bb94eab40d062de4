"""The datasets of a stream that others may read: their plans and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from pii_pipeline.privacy.plan import compile_plan
from pii_pipeline.streams.model import PSEUDONYMIZED_EVENTS, Stream

if TYPE_CHECKING:
    from pii_pipeline.privacy.derive import DerivedPlan


def derived_plan(stream: Stream, dataset: str) -> DerivedPlan:
    """The plan of the stream's derived dataset of that name."""
    from pii_pipeline.privacy.consent import ConsentRequest  # the kernels take time to import
    from pii_pipeline.privacy.derive import DerivedPlan

    wanted = stream.derived[dataset]
    request = ConsentRequest(wanted.consent.level, frozenset(wanted.consent.purposes or ()))
    return DerivedPlan(compile_plan(stream.contract), request, wanted.joinable_with_lake is not None)


def dataset_schema(stream: Stream, dataset: str) -> pa.Schema:
    """The columns of the stream's ``pseudonymized_events``, or of a derived dataset."""
    if dataset == PSEUDONYMIZED_EVENTS:
        return compile_plan(stream.contract).lake_schema()
    return derived_plan(stream, dataset).schema()
