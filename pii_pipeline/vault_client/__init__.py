"""The vault's client: `pii.vault.v1` over gRPC, for programs with threads and for those on asyncio.

It needs grpc and protobuf, and of the rest of the product only words. It logs nothing, and no message of its
errors holds a value.
"""

from __future__ import annotations

from pii_pipeline.vault_client.asyncio_client import AsyncVaultClient
from pii_pipeline.vault_client.client import VaultClient
from pii_pipeline.vault_client.connection import Connection
from pii_pipeline.vault_client.errors import VaultCallFailed, VaultDeadlineExceeded

__all__ = [
    "AsyncVaultClient",
    "Connection",
    "VaultCallFailed",
    "VaultClient",
    "VaultDeadlineExceeded",
]
