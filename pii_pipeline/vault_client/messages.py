"""What is asked for and what comes of it, as messages of ``pii.vault.v1`` and back, for both clients.

Texts that UTF-8 cannot hold are refused here: protobuf's error would quote them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from pii_pipeline.vault.errors import VaultError, VaultRefused
from pii_pipeline.vault.model import (
    DataSubject,
    Found,
    LawfulBasis,
    Reason,
    Record,
    RecordKey,
    Stored,
    Withheld,
)
from pii_pipeline.vault_client.connection import MAX_MESSAGE_BYTES
from pii_pipeline.vault_client.errors import error_of_number
from pii_pipeline.vault_wire import vault_pb2 as wire

Item = TypeVar("Item")
Result = TypeVar("Result")

_BASES = {
    None: wire.LAWFUL_BASIS_UNSPECIFIED,
    LawfulBasis.CONSENT: wire.LAWFUL_BASIS_CONSENT,
    LawfulBasis.CONTRACT: wire.LAWFUL_BASIS_CONTRACT,
    LawfulBasis.LEGAL_OBLIGATION: wire.LAWFUL_BASIS_LEGAL_OBLIGATION,
    LawfulBasis.VITAL_INTERESTS: wire.LAWFUL_BASIS_VITAL_INTERESTS,
    LawfulBasis.PUBLIC_TASK: wire.LAWFUL_BASIS_PUBLIC_TASK,
    LawfulBasis.LEGITIMATE_INTERESTS: wire.LAWFUL_BASIS_LEGITIMATE_INTERESTS,
}
_WITHHELD = {
    wire.WITHHELD_NO_CONSENT: Withheld.NO_CONSENT,
    wire.WITHHELD_FORGOTTEN: Withheld.FORGOTTEN,
    wire.WITHHELD_TAMPERED: Withheld.TAMPERED,
}


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """One request: the method's name, and what the reply says. `again`: whether it may be done twice; an
    erasure may not, for it tells how many records there were."""

    method: str
    request: Message = field(repr=False)
    result: Callable[[Any], Result]
    again: bool = True


@dataclass(frozen=True, slots=True)
class Stream(Generic[Item, Result]):
    """Many requests: `request` of an item, and what the reply to it says."""

    method: str
    request: Callable[[Item], Message]
    result: Callable[[Item, Any], Result | VaultError]

    def message(self, item: Item) -> Message:
        """The request. Raises `VaultRefused` where there can be none."""
        message = self.request(item)
        if message.ByteSize() > MAX_MESSAGE_BYTES:
            raise VaultRefused("invalid", f"a record is larger than {MAX_MESSAGE_BYTES} bytes")
        return message


def create(record: Record) -> Call[Stored]:
    """One record."""
    return Call("CreateRecord", _creation(record), _stored)


def create_batch(records: Sequence[Record]) -> Call[Stored]:
    """All or none of them."""
    return Call("CreateRecords", wire.CreateRecordsRequest(records=map(_record, records)), _stored)


def read(reason: Reason, key: RecordKey) -> Call[Found]:
    """One pseudonym."""
    return Call("ReadRecord", _look(reason)(key), lambda reply: _found(key, reply.found))


def read_batch(reason: Reason, keys: Sequence[RecordKey]) -> Call[list[Found]]:
    """Some of them, in order."""
    request = wire.ReadRecordsRequest(reason=_reason(reason), keys=map(_key, keys))

    def result(reply: wire.ReadRecordsResponse) -> list[Found]:
        return [_found(key, found) for key, found in zip(keys, reply.found, strict=True)]

    return Call("ReadRecords", request, result)


def delete(key: RecordKey) -> Call[int]:
    """One pseudonym."""
    return Call("DeleteRecord", _deletion(key), lambda reply: reply.deleted)


def delete_batch(keys: Sequence[RecordKey]) -> Call[int]:
    """Some of them."""
    request = wire.DeleteRecordsRequest(keys=map(_key, keys))
    return Call("DeleteRecords", request, lambda reply: reply.deleted)


def erase(subject: DataSubject, originals: Sequence[str]) -> Call[int]:
    """A person."""
    request = wire.EraseSubjectRequest(subject=_subject(subject), originals=map(_text, originals))
    return Call("EraseSubject", request, lambda reply: reply.deleted, again=False)


def reads(reason: Reason) -> Stream[RecordKey, Found]:
    """Pseudonyms that are read for one reason."""
    return Stream("StreamReads", _look(reason), _told)


def _look(reason: Reason) -> Callable[[RecordKey], wire.ReadRecordRequest]:
    why = _reason(reason)
    return lambda key: wire.ReadRecordRequest(reason=why, key=_key(key))


def _creation(record: Record) -> wire.CreateRecordRequest:
    return wire.CreateRecordRequest(record=_record(record))


def _deletion(key: RecordKey) -> wire.DeleteRecordRequest:
    return wire.DeleteRecordRequest(key=_key(key))


def _record(record: Record) -> wire.Record:
    subject = _subject(record.subject) if record.subject else None
    return wire.Record(key=_key(record.key), original=_text(record.original), subject=subject)


def _subject(subject: DataSubject) -> wire.DataSubject:
    return wire.DataSubject(namespace=_text(subject.namespace), id=_text(subject.id))


def _key(key: RecordKey) -> wire.RecordKey:
    return wire.RecordKey(stream=_text(key.stream), field=_text(key.field), pseudonym=_text(key.pseudonym))


def _reason(reason: Reason) -> wire.Reason:
    ticket = _text(reason.ticket) if reason.ticket is not None else ""
    return wire.Reason(basis=_BASES[reason.basis], purpose=_text(reason.purpose), ticket=ticket)


def _text(text: str) -> str:
    """The text itself, where it can be sent."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise VaultRefused("invalid", "a value is no text that UTF-8 can hold") from None
    return text


def _stored(reply: wire.CreateRecordResponse | wire.CreateRecordsResponse) -> Stored:
    return Stored(reply.stored.new, reply.stored.known)


def _found(key: RecordKey, found: wire.Found) -> Found:
    return Found(key, tuple(found.originals), _WITHHELD.get(found.withheld))


def _changed(reply: wire.StreamedChange) -> VaultError | None:
    return error_of_number(reply.status.code, reply.status.message) if reply.status.code else None


def _told(key: RecordKey, reply: wire.StreamedFound) -> Found | VaultError:
    if reply.status.code:
        return error_of_number(reply.status.code, reply.status.message)
    return _found(key, reply.found)


CREATES: Stream[Record, None] = Stream("StreamCreates", _creation, lambda _, reply: _changed(reply))
DELETES: Stream[RecordKey, None] = Stream("StreamDeletes", _deletion, lambda _, reply: _changed(reply))
