"""From one key-encryption key to another: every stored key wrapped anew, what it opens stays as it is."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine

from pii_pipeline.database import reading, scrub
from pii_pipeline.keys.errors import KeyEncryptionKeyError, UnwrapFailed
from pii_pipeline.keys.key_encryption import KeyEncryptionKey
from pii_pipeline.keys.stored import StoredKey, replace_key, stored_keys

_AT_ONCE = 8
"""Requests to a key service under way at once."""


def rewrap(engine: Engine, earlier: KeyEncryptionKey, new: KeyEncryptionKey, proof: KeyEncryptionKey) -> int:
    """Wraps every stored key under `new`, all or none, and returns how many.

    They are opened with `earlier`, or else with `new`. `proof` is `new` opened once more: before anything is
    replaced, every key has been opened again through it. May be killed at any instant, and done again: a key
    that somebody made under the earlier one meanwhile is brought over then. What keeps a key from being
    opened or wrapped is raised, and nothing is changed.
    """
    done: dict[StoredKeyId, bytes] = {}
    while True:
        with reading(engine) as connection:
            missing = [key for key in stored_keys(connection) if _id(key) not in done]
        done.update(zip(map(_id, missing), _all_wrapped(missing, earlier, new, proof), strict=True))
        with engine.begin() as connection:
            now = stored_keys(connection)
            if all(_id(key) in done for key in now):
                for key in now:
                    replace_key(connection, key, done[_id(key)])
                break
    scrub(engine)
    return len(now)


StoredKeyId = tuple[str, tuple[object, ...], bytes]


def _id(key: StoredKey) -> StoredKeyId:
    return key.table.name, key.row, key.wrapped


def _all_wrapped(
    keys: Iterable[StoredKey], earlier: KeyEncryptionKey, new: KeyEncryptionKey, proof: KeyEncryptionKey
) -> list[bytes]:
    def wrapped(stored: StoredKey) -> bytes:
        key = _opened(stored, earlier, new)
        renewed = new.wrap(key, stored.context)
        if proof.unwrap(renewed, stored.context) != key:
            raise UnwrapFailed("a key that was just wrapped does not come out as it was; nothing is changed")
        return renewed

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(wrapped, keys))


def _opened(stored: StoredKey, earlier: KeyEncryptionKey, new: KeyEncryptionKey) -> bytes:
    try:
        return earlier.unwrap(stored.wrapped, stored.context)
    except (UnwrapFailed, KeyEncryptionKeyError) as error:  # the latter: KMS in another region, for one
        refused = error
    try:
        return new.unwrap(stored.wrapped, stored.context)
    except UnwrapFailed:
        raise refused from None
