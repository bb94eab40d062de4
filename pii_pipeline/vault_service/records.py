"""Many requests at once: what the vault says of each, in their order.

Requests of one stream and field, and of one reason, are one call of the vault, so that one which is refused
refuses no other. What cannot be meant goes into a call of its own: the vault records that it was asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

from pii_pipeline.vault.audit import Action
from pii_pipeline.vault.errors import VaultRefused
from pii_pipeline.vault.model import DataSubject, Found, NewRecord, Reason, Record, RecordKey, Stored
from pii_pipeline.vault.vault import fits, well_formed
from pii_pipeline.vault_service.backend import Backend

Item = TypeVar("Item")
Result = TypeVar("Result")


class Look(NamedTuple):
    """A pseudonym to be read, and why."""

    reason: Reason
    key: RecordKey


def create(backend: Backend, principal: str, creations: Sequence[Record]) -> Stored:
    """Keeps all or none."""
    keys = [creation.key for creation in creations]
    named = [creation.subject for creation in creations if creation.subject is not None]
    refs: dict[DataSubject, bytes] = {}
    # Nobody is entered into the key store for one who may not: the vault refuses that, and records it.
    if named and backend.policy.refusal(principal, Action.CREATE, keys, None) is None:
        try:
            refs = dict(zip(named, backend.subjects.enter(named), strict=True))
        except VaultRefused as refused:
            backend.vault().refuse(principal, Action.CREATE, refused.why, str(refused), keys)
    today = datetime.now(UTC).date()
    records = [
        NewRecord(one.key, one.original, today, refs.get(one.subject) if one.subject else None)
        for one in creations
    ]
    return backend.vault().create(principal, records)


def erase(backend: Backend, principal: str, subject: DataSubject, originals: Sequence[str]) -> int:
    """Deletes all records of a person, and those of these originals that name none; how many there were."""
    ref = None
    # Who may not learns nothing of anybody: the vault refuses that, and records it.
    if backend.policy.refusal(principal, Action.ERASE, (), None) is None:
        try:
            ref = backend.subjects.find(subject)
        except VaultRefused as refused:
            backend.vault().refuse(principal, Action.ERASE, refused.why, str(refused))
    return backend.vault().erase(principal, [ref] if ref else [], originals)


def create_each(
    backend: Backend, principal: str, creations: Sequence[Record | VaultRefused]
) -> list[VaultRefused | None]:
    """Keeps each that may be kept; None for those that are."""

    def keep(group: list[Record]) -> list[VaultRefused | None]:
        try:
            create(backend, principal, group)
        except VaultRefused as refused:
            if refused.why != "invalid" or len(group) == 1 or not _can_be_meant(group[0]):
                return [refused] * len(group)
            half = len(group) // 2  # it is one of them, such as of a person who was forgotten
            return keep(group[:half]) + keep(group[half:])
        return [None] * len(group)

    return _in_groups(creations, lambda one: (*_place(one.key), fits(one.original)), keep)


def read_each(
    backend: Backend, principal: str, looks: Sequence[Look | VaultRefused]
) -> list[Found | VaultRefused]:
    """What there is of each that may be read."""

    def read(group: list[Look]) -> Sequence[Found | VaultRefused]:
        try:
            return backend.vault().read(principal, group[0].reason, [look.key for look in group])
        except VaultRefused as refused:
            return [refused] * len(group)

    return _in_groups(looks, lambda look: (look.reason, *_place(look.key)), read)


def delete_each(
    backend: Backend, principal: str, keys: Sequence[RecordKey | VaultRefused]
) -> list[VaultRefused | None]:
    """Deletes each that may be deleted; None for those that are."""

    def remove(group: list[RecordKey]) -> Sequence[VaultRefused | None]:
        try:
            backend.vault().delete(principal, group)
        except VaultRefused as refused:
            return [refused] * len(group)
        return [None] * len(group)

    return _in_groups(keys, _place, remove)


def _can_be_meant(creation: Record) -> bool:
    return well_formed(creation.key) and fits(creation.original)


def _place(key: RecordKey) -> tuple[str, str, bool]:
    return key.stream, key.field, well_formed(key)


def _in_groups(
    items: Sequence[Item | VaultRefused],
    kind: Callable[[Item], Hashable],
    work: Callable[[list[Item]], Sequence[Result | VaultRefused]],
) -> list[Result | VaultRefused]:
    """`work` on the items of each kind; results in the order of the items. Refused ones stay as they are."""
    groups: defaultdict[Hashable, list[tuple[int, Item]]] = defaultdict(list)
    results: dict[int, Result | VaultRefused] = {}
    for position, item in enumerate(items):
        if isinstance(item, VaultRefused):
            results[position] = item
        else:
            groups[kind(item)].append((position, item))
    for group in groups.values():
        done = work([item for _, item in group])
        results.update(zip((position for position, _ in group), done, strict=True))
    return [results[position] for position in range(len(items))]
