"""From whatever was raised to a gRPC status; the one place where that is decided.

Messages are of our own exceptions, which hold no value. Of those of libraries nothing is told but the type.
"""

from __future__ import annotations

import grpc

from pii_pipeline.vault.errors import KeysUnavailable, VaultError, VaultRefused, VaultUnavailable, Why
from pii_pipeline.vault_service.errors import Busy, Ending, TimeIsOver, TooLarge

_REFUSED: dict[Why, grpc.StatusCode] = {
    "unauthenticated": grpc.StatusCode.UNAUTHENTICATED,
    "denied": grpc.StatusCode.PERMISSION_DENIED,
    "no basis": grpc.StatusCode.FAILED_PRECONDITION,
    "invalid": grpc.StatusCode.INVALID_ARGUMENT,
    "limit": grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_OTHERS: dict[type[Exception], tuple[grpc.StatusCode, str]] = {
    KeysUnavailable: (grpc.StatusCode.UNAVAILABLE, "the vault's keys cannot be had; try again"),
    VaultUnavailable: (grpc.StatusCode.UNAVAILABLE, "the vault's database does not answer; try again"),
    Busy: (grpc.StatusCode.UNAVAILABLE, "the service has as many calls as it takes; try again"),
    Ending: (grpc.StatusCode.UNAVAILABLE, "the service ends; try again"),
    TimeIsOver: (grpc.StatusCode.DEADLINE_EXCEEDED, "the call's time was over before it was begun"),
    TooLarge: (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "the reply is larger than a message may be; ask for fewer records, or use the stream",
    ),
}


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """The status code, and a message without values."""
    if isinstance(error, VaultRefused):
        return _REFUSED[error.why], str(error)
    for kind, status in _OTHERS.items():
        if isinstance(error, kind):
            return status
    return grpc.StatusCode.INTERNAL, f"unexpected {type(error).__name__}"


def for_the_log(error: Exception) -> str:
    """What an operator is told of an error that is nobody's mistake who asked."""
    kind = type(error).__name__
    return f"{kind}: {error}" if isinstance(error, VaultError) else f"unexpected {kind}"


def code_number(code: grpc.StatusCode) -> int:
    """The number of a status code, as it is on the wire."""
    return code.value[0]
