"""Piinguin's wire protocol over the vault: its six calls, its statuses, none of its holes.

All it names is on the stream `piinguin`. A status never holds an original: what a create finds there already
stays beside the new one; of several, a read tells one that came last, to the day. Metadata says what the
messages cannot:

    x-lawful-basis  what a read rests on whose basis is CONSENT, which is also what an unset one is
    x-purpose       a purpose's code from the policy, instead of `piinguin`
    x-ticket        a ticket, as the policy wants it written
"""

from __future__ import annotations

from pii_pipeline.vault.audit import Action
from pii_pipeline.vault.errors import VaultRefused
from pii_pipeline.vault.model import (
    PIINGUIN_FIELD,
    PIINGUIN_PURPOSE,
    PIINGUIN_STREAM,
    Found,
    LawfulBasis,
    Reason,
    Record,
    RecordKey,
    Withheld,
)
from pii_pipeline.vault_service.backend import Backend, Caller
from pii_pipeline.vault_service.errors import NotAsked
from pii_pipeline.vault_service.methods import Each, Method
from pii_pipeline.vault_service.records import Look, create_each, delete_each, read_each
from pii_pipeline.vault_wire import piinguin_pb2 as wire

SERVICE = wire.DESCRIPTOR.services_by_name["Piinguin"].full_name

_OK = "OK"
_NO_RECORD = "No record in request"
_NOT_FOUND = "Record not found"
_WITHHELD = {
    Withheld.NO_CONSENT: "No consent covers this read",
    Withheld.FORGOTTEN: "The data subject was forgotten",
    Withheld.TAMPERED: "The record was altered in the database",
}
_CONSENT = wire.ReadPiiRecordRequest.CONSENT
_BASES = {
    wire.ReadPiiRecordRequest.CONTRACT: LawfulBasis.CONTRACT,
    wire.ReadPiiRecordRequest.LEGAL_OBLIGATION: LawfulBasis.LEGAL_OBLIGATION,
    wire.ReadPiiRecordRequest.VITAL_INTERESTS: LawfulBasis.VITAL_INTERESTS,
    wire.ReadPiiRecordRequest.PUBLIC_TASK: LawfulBasis.PUBLIC_TASK,
    wire.ReadPiiRecordRequest.LEGITIMATE_INTERESTS: LawfulBasis.LEGITIMATE_INTERESTS,
}


def _creation(_backend: Backend, _caller: Caller, request: wire.CreatePiiRecordRequest) -> Record:
    if not request.HasField("piiRecord"):
        raise NotAsked(_NO_RECORD)
    return Record(_key(request.piiRecord.modifiedValue), request.piiRecord.originalValue)


def _look(backend: Backend, caller: Caller, request: wire.ReadPiiRecordRequest) -> Look:
    basis = _BASES.get(request.processingBasis)
    if request.processingBasis == _CONSENT:
        basis = _basis_in(caller) or backend.policy.basis_if_unset(caller.principal)
    purpose = caller.headers.get("x-purpose", PIINGUIN_PURPOSE)
    return Look(Reason(basis, purpose, caller.headers.get("x-ticket")), _key(request.modifiedValue))


def _deletion(_backend: Backend, _caller: Caller, request: wire.DeletePiiRecordRequest) -> RecordKey:
    return _key(request.modifiedValue)


def _changed(_position: int, result: VaultRefused | None) -> wire.ChangeRecordResponse:
    return wire.ChangeRecordResponse(status=_refused(result) if result else _done())


def _told(_position: int, result: Found | VaultRefused) -> wire.ReadPiiRecordResponse:
    if isinstance(result, VaultRefused):
        return wire.ReadPiiRecordResponse(status=_refused(result))
    if not result.originals:
        message = _WITHHELD[result.withheld] if result.withheld else _NOT_FOUND
        return wire.ReadPiiRecordResponse(status=wire.Status(message=message))
    record = wire.PiiRecord(modifiedValue=result.key.pseudonym, originalValue=result.originals[-1])
    return wire.ReadPiiRecordResponse(piiRecord=record, status=_done())


def _key(modified_value: str) -> RecordKey:
    return RecordKey(PIINGUIN_STREAM, PIINGUIN_FIELD, modified_value)


def _basis_in(caller: Caller) -> LawfulBasis | None:
    said = caller.headers.get("x-lawful-basis")
    try:
        return LawfulBasis(said) if said is not None else None
    except ValueError:
        bases = ", ".join(LawfulBasis)
        raise NotAsked(f"the metadata `x-lawful-basis` is none of: {bases}") from None


def _done() -> wire.Status:
    return wire.Status(message=_OK, isSuccess=True)


def _refused(refused: VaultRefused) -> wire.Status:
    return wire.Status(message=str(refused))


_CREATE = Each(Action.CREATE, wire.CreatePiiRecordRequest, _creation, create_each, _changed)
_READ = Each(Action.READ, wire.ReadPiiRecordRequest, _look, read_each, _told)
_DELETE = Each(Action.DELETE, wire.DeletePiiRecordRequest, _deletion, delete_each, _changed)

METHODS: dict[str, Method] = {
    "CreatePiiRecord": _CREATE.one(),
    "CreatePiiRecords": _CREATE,
    "ReadPiiRecord": _READ.one(),
    "ReadPiiRecords": _READ,
    "DeletePiiRecord": _DELETE.one(),
    "DeletePiiRecords": _DELETE,
}
