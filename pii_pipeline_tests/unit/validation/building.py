"""Contracts, validators and chunks of records for the tests of validation."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.schema import compile_schema
from pii_pipeline.validation import Failure, Validated, Validator

DRAFT4 = "http://json-schema.org/draft-04/schema#"
DRAFT2020 = "https://json-schema.org/draft/2020-12/schema"
EARLIEST, LATEST = datetime(2026, 11, 15, tzinfo=UTC), datetime(2026, 11, 22, 11, tzinfo=UTC)
ARRIVED = datetime(2026, 11, 22, 10, tzinfo=UTC)


def contract(schema: dict[str, Any], **settings: Any) -> Contract:
    """An active contract with `schema`, read as the loader would read it."""
    written: dict[str, Any] = {
        "contract": "acme/event/1.0.0",
        "state": "active",
        "schema": "event.schema.json",
        "time_field": "$arrival",
        "key_field": "key",
        **settings,
    }
    compiled = {"json_schema": schema, "record": compile_schema(schema).record}
    return Contract.model_validate(written).model_copy(update=compiled)


def strict_only(made: Contract, contract_field: str | None = None) -> Validator:
    """A validator whose screen accepts nothing."""
    validator = Validator(made, contract_field)
    vars(validator)["_screen"] = None
    return validator


def encoded(*records: Any) -> list[bytes]:
    return [r if isinstance(r, bytes) else json.dumps(r, ensure_ascii=False).encode() for r in records]


def run(validator: Validator, *records: Any, too_large: list[bool] | None = None) -> Validated:
    """Validates `records`: raw bytes, or values to be written as JSON."""
    raw = pa.array(encoded(*records), pa.binary())
    arrival = pa.array([ARRIVED] * len(raw), pa.timestamp("us", tz="UTC"))
    cut = None if too_large is None else np.array(too_large)
    return validator.validate(raw, cut, EARLIEST, LATEST, arrival)


def only_failure(result: Validated) -> Failure:
    assert len(result.failures) == 1
    return result.failures[0]
