"""What IAM decides, for the part of its language that deploy/terraform uses; anything else raises.

Within one account, a request is allowed if a policy of the principal or of the resource allows it and none
denies it. A key is stricter: its own policy has to allow, or to delegate to the account.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Policy = Mapping[str, Any]

_STATEMENT = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}


@dataclass(frozen=True)
class Request:
    """`principal`: a role's ARN, or a service (``s3.amazonaws.com``). `context`: what condition keys are."""

    principal: str
    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def allowed(request: Request, of_principal: Sequence[Policy], of_resource: Policy | None = None) -> bool:
    """Whether a request to anything but a key is allowed."""
    policies = [*of_principal, *([of_resource] if of_resource else [])]
    return _any("Allow", request, policies) and not _any("Deny", request, policies)


def key_allows(request: Request, of_principal: Sequence[Policy], of_key: Policy, account: str) -> bool:
    """Whether a request to a key is allowed, by the key's policy or by one that the account is given."""
    root = Request(f"arn:aws:iam::{account}:root", request.action, request.resource, request.context)
    delegated = _any("Allow", root, [of_key]) and _any("Allow", request, of_principal)
    denied = _any("Deny", request, [*of_principal, of_key])
    return (_any("Allow", request, [of_key]) or delegated) and not denied


def _any(effect: str, request: Request, policies: Sequence[Policy]) -> bool:
    return any(
        statement["Effect"] == effect and _applies(statement, request)
        for policy in policies
        for statement in policy["Statement"]
    )


def _applies(statement: Policy, request: Request) -> bool:
    assert statement.keys() <= _STATEMENT, "an element that is not evaluated here"
    return (
        _is_principal(statement.get("Principal"), request.principal)
        and any(_matches(each.lower(), request.action.lower()) for each in _list(statement["Action"]))
        and any(_matches(each, request.resource) for each in _list(statement["Resource"]))
        and all(
            _OPERATORS[operator](request.context.get(key), _list(wanted))
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _is_principal(wanted: Any, principal: str) -> bool:
    if wanted in (None, "*"):  # None: a policy of the principal's own
        return True
    return principal in [each for kind in wanted.values() for each in _list(kind)]


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _matches(pattern: str, value: str) -> bool:
    """IAM knows two wildcards, and they go over slashes."""
    return bool(re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value))


def _like(value: str | None, wanted: list[str]) -> bool:
    return value is not None and any(_matches(each, value) for each in wanted)


_OPERATORS: Mapping[str, Callable[[str | None, list[str]], bool]] = {
    "StringEquals": lambda value, wanted: value in wanted,
    # A key that is not there is not equal: so says the manual of every operator with a Not.
    "StringNotEquals": lambda value, wanted: value not in wanted,
    "StringLike": _like,
    "ArnEquals": _like,
    "ArnNotEquals": lambda value, wanted: not _like(value, wanted),
    "Bool": lambda value, wanted: value in wanted,
    "Null": lambda value, wanted: str(value is None).lower() in wanted,
}
