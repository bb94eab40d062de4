"""What a contract says, and nothing of how: the digest by which the ledger knows it again."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import Scalar, walk
from pii_pipeline.contracts.schema import CompiledSchema
from pii_pipeline.contracts.treatments import SelfDescribing, Treatment


def digest(contract: Contract, compiled: CompiledSchema, schema: Any) -> str:
    """SHA-256, lowercase hex, of everything in the contract that decides what the lake's files contain.

    The order of columns is part of that, and that of schema criteria, of which the first holds. The order in
    which fields are listed is not, nor is the state.
    """
    columns = [
        [path, node.kind if isinstance(node, Scalar) else type(node).__name__]
        for path, node in walk(compiled.record)
    ]
    said = {key: value for key, value in meaning(contract).items() if key not in ("state", "schema_file")}
    decides = {"contract": said, "columns": columns, "schema": schema}
    criteria = {
        path: list(treatment.entities)
        for path, treatment in contract.fields.items()
        if isinstance(treatment, SelfDescribing)
    }
    if criteria:
        decides["criteria"] = criteria
    canonical = json.dumps(decides, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def meaning(value: Any) -> Any:
    """`value` as JSON can say it, of a model only what differs from its defaults.

    So an option that a later release of the product adds changes no digest. A treatment always has its name:
    two without any settings are not the same.
    """
    if isinstance(value, BaseModel):
        said = {
            name: getattr(value, name)
            for name, field in type(value).model_fields.items()
            if not field.exclude
            and (
                getattr(value, name) != field.get_default(call_default_factory=True)
                or (name == "name" and isinstance(value, Treatment))
            )
        }
        return meaning(said)
    if isinstance(value, dict):
        return {key: meaning(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [meaning(inner) for inner in value]
    return to_jsonable_python(value)
