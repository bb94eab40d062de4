"""deploy/terraform when everything is evaluated: variables of the example, every instance, every policy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from tfparse import load_from_path

from pii_pipeline.settings import project_root

FOLDER = project_root() / "deploy" / "terraform"
ACCOUNT, REGION = "123456789012", "eu-central-1"  # of example.tfvars

_OF_TERRAFORM = ("__tfmeta", "id", "for_each", "count", "depends_on", "lifecycle")


@dataclass(frozen=True)
class Module:
    """Resources by address, without its quotes: ``aws_s3_bucket.zone[lake]``.

    Where AWS would make up an ARN, there is the address; only buckets have their real one.
    """

    resources: dict[str, dict[str, Any]]
    outputs: dict[str, Any]

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """The resources of a kind, ``aws_s3_bucket``."""
        return {address: found for address, found in self.resources.items() if address.startswith(f"{kind}.")}

    def policies(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Every policy by address and argument."""
        return {
            (address, argument): json.loads(found[argument])
            for address, found in self.resources.items()
            for argument in ("policy", "assume_role_policy")
            if argument in found
        }

    def policy(self, address: str, argument: str = "policy") -> dict[str, Any]:
        """One of them."""
        return json.loads(self.resources[address][argument])


@cache
def module() -> Module:
    """The module, evaluated with ``example.tfvars``. Raises `tfparse.ParseError` for what is not HCL."""
    kinds = load_from_path(str(FOLDER), stop_on_hcl_error=True, vars_paths=["example.tfvars"])
    blocks = {block["__tfmeta"]["path"].replace('"', ""): block for kind in kinds.values() for block in kind}
    text = json.dumps(
        {
            address: {name: value for name, value in block.items() if name not in _OF_TERRAFORM}
            for address, block in blocks.items()
        }
    )
    # The evaluator makes up an id for each block, and references become that id.
    for address, block in blocks.items():
        text = text.replace(block["id"], address)
    named = json.loads(text)
    return Module(
        {address: block for address, block in named.items() if address.startswith("aws_")},
        {
            address.removeprefix("output."): block["value"]
            for address, block in named.items()
            if address.startswith("output.")
        },
    )
