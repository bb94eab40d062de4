"""Which vault originals were loaded into: for `Ledger`'s transactions.

Not by its URL: it may be moved, and another may be put in its place. An entry of its audit log, with its
hash, stands for all before it, so no other log has it, nor an older state of the same one.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from pii_pipeline.ledger.model import RELAYED_ORIGINALS, VAULT_RECORDS
from pii_pipeline.ledger.tables import commits, heads, insert_new, lock, vault

_LAYERS = (RELAYED_ORIGINALS, VAULT_RECORDS)


@dataclass(frozen=True, slots=True)
class KnownVault:
    """The vault that originals are loaded into.

    adopted: hash of the entry that said so, which tells it from all that were there before
    sequence, hash: the last entry that was seen behind a load; it has to be there for ever
    """

    adopted: str
    sequence: int
    hash: str


def known(connection: sa.Connection) -> KnownVault | None:
    """What is remembered."""
    row = connection.execute(sa.select(vault.c.adopted, vault.c.sequence, vault.c.hash)).first()
    return KnownVault(*row) if row else None


def adopt(connection: sa.Connection, sequence: int, hash_: str, instead_of: str | None) -> None:
    """Remembers the vault with that entry, if none is known, or the one that is `instead_of` (`adopted`).

    What was loaded into that one is loaded no more: the commits stay, and are made of nothing that is there.
    """
    row = {"adopted": hash_, "sequence": sequence, "hash": hash_}
    if instead_of is None:
        insert_new(connection, vault, [{"id": 1, **row}], vault.c.id)
        return
    changed = connection.execute(sa.update(vault).where(vault.c.adopted == instead_of).values(**row))
    if not changed.rowcount:
        return
    of_vault = sa.select(heads.c.stream, heads.c.layer).where(heads.c.layer.in_(_LAYERS))
    for stream, layer in sorted((row.stream, row.layer) for row in connection.execute(of_vault)):
        lock(connection, stream, layer)
    stale = sa.update(commits).where(commits.c.layer.in_(_LAYERS)).values(fingerprint="", upstream=None)
    connection.execute(stale)


def see(connection: sa.Connection, adopted: str, sequence: int, hash_: str) -> None:
    """Remembers a later entry of that vault's log."""
    earlier = (vault.c.adopted == adopted) & (vault.c.sequence < sequence)
    connection.execute(sa.update(vault).where(earlier).values(sequence=sequence, hash=hash_))
