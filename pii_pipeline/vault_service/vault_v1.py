"""Our own service, ``pii.vault.v1``; what its messages mean says ``vault_wire/vault.proto``."""

from __future__ import annotations

from pii_pipeline.vault.audit import Action
from pii_pipeline.vault.errors import VaultRefused
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
from pii_pipeline.vault_service.backend import Backend, Caller
from pii_pipeline.vault_service.errors import NotAsked
from pii_pipeline.vault_service.methods import Each, Method, Unary
from pii_pipeline.vault_service.records import Look, create, create_each, delete_each, erase, read_each
from pii_pipeline.vault_service.statuses import code_number, status_of
from pii_pipeline.vault_wire import vault_pb2 as wire

SERVICE = wire.DESCRIPTOR.services_by_name["Vault"].full_name

_BASES = {
    wire.LAWFUL_BASIS_CONSENT: LawfulBasis.CONSENT,
    wire.LAWFUL_BASIS_CONTRACT: LawfulBasis.CONTRACT,
    wire.LAWFUL_BASIS_LEGAL_OBLIGATION: LawfulBasis.LEGAL_OBLIGATION,
    wire.LAWFUL_BASIS_VITAL_INTERESTS: LawfulBasis.VITAL_INTERESTS,
    wire.LAWFUL_BASIS_PUBLIC_TASK: LawfulBasis.PUBLIC_TASK,
    wire.LAWFUL_BASIS_LEGITIMATE_INTERESTS: LawfulBasis.LEGITIMATE_INTERESTS,
}
_WITHHELD = {
    Withheld.NO_CONSENT: wire.WITHHELD_NO_CONSENT,
    Withheld.FORGOTTEN: wire.WITHHELD_FORGOTTEN,
    Withheld.TAMPERED: wire.WITHHELD_TAMPERED,
}
_OK = wire.RecordStatus()


def _create_record(
    backend: Backend, caller: Caller, request: wire.CreateRecordRequest
) -> wire.CreateRecordResponse:
    stored = create(backend, caller.principal, [_creation(backend, caller, request)])
    return wire.CreateRecordResponse(stored=_stored(stored))


def _create_records(
    backend: Backend, caller: Caller, request: wire.CreateRecordsRequest
) -> wire.CreateRecordsResponse:
    stored = create(backend, caller.principal, [_creation_of(record) for record in request.records])
    return wire.CreateRecordsResponse(stored=_stored(stored))


def _read_record(
    backend: Backend, caller: Caller, request: wire.ReadRecordRequest
) -> wire.ReadRecordResponse:
    reason, key = _look(backend, caller, request)
    return wire.ReadRecordResponse(found=_found(backend.vault().read(caller.principal, reason, [key])[0]))


def _read_records(
    backend: Backend, caller: Caller, request: wire.ReadRecordsRequest
) -> wire.ReadRecordsResponse:
    keys = [_key(key) for key in request.keys]
    found = backend.vault().read(caller.principal, _reason(request.reason), keys)
    return wire.ReadRecordsResponse(found=map(_found, found))


def _delete_record(
    backend: Backend, caller: Caller, request: wire.DeleteRecordRequest
) -> wire.DeleteRecordResponse:
    key = _deletion(backend, caller, request)
    return wire.DeleteRecordResponse(deleted=backend.vault().delete(caller.principal, [key]))


def _delete_records(
    backend: Backend, caller: Caller, request: wire.DeleteRecordsRequest
) -> wire.DeleteRecordsResponse:
    keys = [_key(key) for key in request.keys]
    return wire.DeleteRecordsResponse(deleted=backend.vault().delete(caller.principal, keys))


def _erase_subject(
    backend: Backend, caller: Caller, request: wire.EraseSubjectRequest
) -> wire.EraseSubjectResponse:
    if not request.HasField("subject"):
        raise NotAsked("no data subject in the request")
    subject = DataSubject(request.subject.namespace, request.subject.id)
    deleted = erase(backend, caller.principal, subject, list(request.originals))
    return wire.EraseSubjectResponse(deleted=deleted)


def _creation(_backend: Backend, _caller: Caller, request: wire.CreateRecordRequest) -> Record:
    if not request.HasField("record"):
        raise NotAsked("no record in the request")
    return _creation_of(request.record)


def _creation_of(record: wire.Record) -> Record:
    subject = DataSubject(record.subject.namespace, record.subject.id) if record.HasField("subject") else None
    return Record(_key(record.key), record.original, subject)


def _look(_backend: Backend, _caller: Caller, request: wire.ReadRecordRequest) -> Look:
    return Look(_reason(request.reason), _key(request.key))


def _deletion(_backend: Backend, _caller: Caller, request: wire.DeleteRecordRequest) -> RecordKey:
    return _key(request.key)


def _key(key: wire.RecordKey) -> RecordKey:
    return RecordKey(key.stream, key.field, key.pseudonym)


def _reason(reason: wire.Reason) -> Reason:
    return Reason(_BASES.get(reason.basis), reason.purpose, reason.ticket or None)


def _stored(stored: Stored) -> wire.Stored:
    return wire.Stored(new=stored.new, known=stored.known)


def _found(found: Found) -> wire.Found:
    withheld = _WITHHELD[found.withheld] if found.withheld else wire.WITHHELD_UNSPECIFIED
    return wire.Found(originals=found.originals, withheld=withheld)


def _changed(position: int, result: VaultRefused | None) -> wire.StreamedChange:
    return wire.StreamedChange(position=position, status=_status(result) if result else _OK)


def _told(position: int, result: Found | VaultRefused) -> wire.StreamedFound:
    if isinstance(result, VaultRefused):
        return wire.StreamedFound(position=position, status=_status(result))
    return wire.StreamedFound(position=position, status=_OK, found=_found(result))


def _status(refused: VaultRefused) -> wire.RecordStatus:
    code, message = status_of(refused)
    return wire.RecordStatus(code=code_number(code), message=message)


METHODS: dict[str, Method] = {
    "CreateRecord": Unary(Action.CREATE, wire.CreateRecordRequest, _create_record),
    "ReadRecord": Unary(Action.READ, wire.ReadRecordRequest, _read_record),
    "DeleteRecord": Unary(Action.DELETE, wire.DeleteRecordRequest, _delete_record),
    "CreateRecords": Unary(Action.CREATE, wire.CreateRecordsRequest, _create_records),
    "ReadRecords": Unary(Action.READ, wire.ReadRecordsRequest, _read_records),
    "DeleteRecords": Unary(Action.DELETE, wire.DeleteRecordsRequest, _delete_records),
    "StreamCreates": Each(Action.CREATE, wire.CreateRecordRequest, _creation, create_each, _changed),
    "StreamReads": Each(Action.READ, wire.ReadRecordRequest, _look, read_each, _told),
    "StreamDeletes": Each(Action.DELETE, wire.DeleteRecordRequest, _deletion, delete_each, _changed),
    "EraseSubject": Unary(Action.ERASE, wire.EraseSubjectRequest, _erase_subject),
}
