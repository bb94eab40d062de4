"""Who makes a call: by bearer token or client certificate; on loopback Piinguin's wire needs neither."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pii_pipeline.vault.errors import VaultRefused
from pii_pipeline.vault.policy import PIINGUIN
from pii_pipeline.vault_service.backend import Backend, Caller

_COMMON_NAME = "x509_common_name"
_ALTERNATIVE_NAME = "x509_subject_alternative_name"
_SCHEME = "bearer "


def identify(
    backend: Backend,
    headers: Mapping[str, str],
    verified: Mapping[str, Iterable[bytes]],
    nobody_is_piinguin: bool,
) -> Caller:
    """The caller of a call with these `headers` (metadata) and this certificate, as TLS has `verified` it.

    A token counts before a certificate: it is what the caller chose to show. Raises `VaultRefused`.
    """
    if "authorization" in headers:
        said = headers["authorization"]
        token = said[len(_SCHEME) :] if said.lower().startswith(_SCHEME) else ""
        principal = backend.policy.authenticate_token(token, backend.tokens)
        return _known(
            principal, headers, "the metadata `authorization` holds no `Bearer` token that is known"
        )
    names = [
        name.decode(errors="replace")
        for kind in (_COMMON_NAME, _ALTERNATIVE_NAME)
        for name in verified.get(kind, ())
    ]
    if names:
        principal = backend.policy.principal_of_certificate(names)
        return _known(principal, headers, "the policy has no principal of the certificate's names")
    return _known(
        PIINGUIN if nobody_is_piinguin else None,
        headers,
        "no principal: send a token as metadata `authorization: Bearer TOKEN`, or a client certificate",
    )


def _known(principal: str | None, headers: Mapping[str, str], problem: str) -> Caller:
    if principal is None:
        raise VaultRefused("unauthenticated", problem)
    return Caller(principal, headers)
