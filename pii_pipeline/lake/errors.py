"""What a storage refuses or fails with. Messages name the storage, the operation and what to do, never a key
of a landing object or what a server has quoted of it."""

from __future__ import annotations


class StorageError(Exception):
    """Base of what a storage cannot do."""


class UnsupportedStorage(ValueError):
    """The URI names no storage, or a kind that is not there."""


class StorageUnavailable(StorageError):
    """The storage does not answer, or with errors only, although it was asked again for a while."""


class StorageDenied(StorageError):
    """The storage refuses: credentials that are missing, expired or wrong, or a permission not given."""


class NoSuchBucket(StorageError):
    """The bucket is not there, or in another region."""


class VersionChanged(StorageError):
    """What lies under the path now has other bytes than the version that was asked for."""
