"""From a gRPC status to a typed error: those of `vault.errors`, and two that only a caller meets."""

from __future__ import annotations

import grpc

from pii_pipeline.vault.errors import VaultError, VaultRefused, VaultUnavailable, Why

_REFUSED: dict[grpc.StatusCode, Why] = {
    grpc.StatusCode.UNAUTHENTICATED: "unauthenticated",
    grpc.StatusCode.PERMISSION_DENIED: "denied",
    grpc.StatusCode.FAILED_PRECONDITION: "no basis",
    grpc.StatusCode.INVALID_ARGUMENT: "invalid",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "limit",
}
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class VaultDeadlineExceeded(VaultError):
    """The call's time is over. What it was to change may have been changed."""


class VaultCallFailed(VaultError):
    """The service made a mistake, or what answers is no vault. What was to change may have been changed."""


def error_of(code: grpc.StatusCode | None, details: str | None) -> VaultError:
    """The error for a status that is not OK. What somebody says who is no vault is not repeated."""
    if code in _REFUSED:
        return VaultRefused(_REFUSED[code], details or "refused")
    if code == grpc.StatusCode.UNAVAILABLE:
        return VaultUnavailable(f"the vault cannot be asked: {details}")
    if code == grpc.StatusCode.CANCELLED:  # by a server that ends, of what has not come to the vault yet
        return VaultUnavailable("the vault cannot be asked: the call was broken off")
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return VaultDeadlineExceeded("the vault did not answer in time; what was to change may have been")
    return VaultCallFailed(f"the vault failed: {code.name if code else 'without a status'}")


def error_of_number(code: int, details: str) -> VaultError:
    """The same for a status inside a message."""
    return error_of(_CODES.get(code), details)


def error_of_call(error: grpc.RpcError) -> VaultError:
    """The same for what a call raised, of which nothing else is told: it holds whatever came."""
    assert isinstance(error, grpc.Call | grpc.aio.AioRpcError)
    return error_of(error.code(), error.details())


def ended_early() -> VaultError:
    """Of a stream that was ended, without an error, before its last reply."""
    return VaultCallFailed("the vault failed: it ended the stream before its last reply")
