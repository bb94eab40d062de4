from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LawfulBasis(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LAWFUL_BASIS_UNSPECIFIED: _ClassVar[LawfulBasis]
    LAWFUL_BASIS_CONSENT: _ClassVar[LawfulBasis]
    LAWFUL_BASIS_CONTRACT: _ClassVar[LawfulBasis]
    LAWFUL_BASIS_LEGAL_OBLIGATION: _ClassVar[LawfulBasis]
    LAWFUL_BASIS_VITAL_INTERESTS: _ClassVar[LawfulBasis]
    LAWFUL_BASIS_PUBLIC_TASK: _ClassVar[LawfulBasis]
    LAWFUL_BASIS_LEGITIMATE_INTERESTS: _ClassVar[LawfulBasis]

class Withheld(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WITHHELD_UNSPECIFIED: _ClassVar[Withheld]
    WITHHELD_NO_CONSENT: _ClassVar[Withheld]
    WITHHELD_FORGOTTEN: _ClassVar[Withheld]
    WITHHELD_TAMPERED: _ClassVar[Withheld]
LAWFUL_BASIS_UNSPECIFIED: LawfulBasis
LAWFUL_BASIS_CONSENT: LawfulBasis
LAWFUL_BASIS_CONTRACT: LawfulBasis
LAWFUL_BASIS_LEGAL_OBLIGATION: LawfulBasis
LAWFUL_BASIS_VITAL_INTERESTS: LawfulBasis
LAWFUL_BASIS_PUBLIC_TASK: LawfulBasis
LAWFUL_BASIS_LEGITIMATE_INTERESTS: LawfulBasis
WITHHELD_UNSPECIFIED: Withheld
WITHHELD_NO_CONSENT: Withheld
WITHHELD_FORGOTTEN: Withheld
WITHHELD_TAMPERED: Withheld

class RecordKey(_message.Message):
    __slots__ = ("stream", "field", "pseudonym")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    PSEUDONYM_FIELD_NUMBER: _ClassVar[int]
    stream: str
    field: str
    pseudonym: str
    def __init__(self, stream: _Optional[str] = ..., field: _Optional[str] = ..., pseudonym: _Optional[str] = ...) -> None: ...

class DataSubject(_message.Message):
    __slots__ = ("namespace", "id")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    id: str
    def __init__(self, namespace: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("key", "original", "subject")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    key: RecordKey
    original: str
    subject: DataSubject
    def __init__(self, key: _Optional[_Union[RecordKey, _Mapping]] = ..., original: _Optional[str] = ..., subject: _Optional[_Union[DataSubject, _Mapping]] = ...) -> None: ...

class Reason(_message.Message):
    __slots__ = ("basis", "purpose", "ticket")
    BASIS_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    basis: LawfulBasis
    purpose: str
    ticket: str
    def __init__(self, basis: _Optional[_Union[LawfulBasis, str]] = ..., purpose: _Optional[str] = ..., ticket: _Optional[str] = ...) -> None: ...

class Stored(_message.Message):
    __slots__ = ("new", "known")
    NEW_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    new: int
    known: int
    def __init__(self, new: _Optional[int] = ..., known: _Optional[int] = ...) -> None: ...

class Found(_message.Message):
    __slots__ = ("originals", "withheld")
    ORIGINALS_FIELD_NUMBER: _ClassVar[int]
    WITHHELD_FIELD_NUMBER: _ClassVar[int]
    originals: _containers.RepeatedScalarFieldContainer[str]
    withheld: Withheld
    def __init__(self, originals: _Optional[_Iterable[str]] = ..., withheld: _Optional[_Union[Withheld, str]] = ...) -> None: ...

class RecordStatus(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class CreateRecordRequest(_message.Message):
    __slots__ = ("record",)
    RECORD_FIELD_NUMBER: _ClassVar[int]
    record: Record
    def __init__(self, record: _Optional[_Union[Record, _Mapping]] = ...) -> None: ...

class CreateRecordResponse(_message.Message):
    __slots__ = ("stored",)
    STORED_FIELD_NUMBER: _ClassVar[int]
    stored: Stored
    def __init__(self, stored: _Optional[_Union[Stored, _Mapping]] = ...) -> None: ...

class ReadRecordRequest(_message.Message):
    __slots__ = ("reason", "key")
    REASON_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    reason: Reason
    key: RecordKey
    def __init__(self, reason: _Optional[_Union[Reason, _Mapping]] = ..., key: _Optional[_Union[RecordKey, _Mapping]] = ...) -> None: ...

class ReadRecordResponse(_message.Message):
    __slots__ = ("found",)
    FOUND_FIELD_NUMBER: _ClassVar[int]
    found: Found
    def __init__(self, found: _Optional[_Union[Found, _Mapping]] = ...) -> None: ...

class DeleteRecordRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: RecordKey
    def __init__(self, key: _Optional[_Union[RecordKey, _Mapping]] = ...) -> None: ...

class DeleteRecordResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    def __init__(self, deleted: _Optional[int] = ...) -> None: ...

class CreateRecordsRequest(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[Record]
    def __init__(self, records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ...) -> None: ...

class CreateRecordsResponse(_message.Message):
    __slots__ = ("stored",)
    STORED_FIELD_NUMBER: _ClassVar[int]
    stored: Stored
    def __init__(self, stored: _Optional[_Union[Stored, _Mapping]] = ...) -> None: ...

class ReadRecordsRequest(_message.Message):
    __slots__ = ("reason", "keys")
    REASON_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    reason: Reason
    keys: _containers.RepeatedCompositeFieldContainer[RecordKey]
    def __init__(self, reason: _Optional[_Union[Reason, _Mapping]] = ..., keys: _Optional[_Iterable[_Union[RecordKey, _Mapping]]] = ...) -> None: ...

class ReadRecordsResponse(_message.Message):
    __slots__ = ("found",)
    FOUND_FIELD_NUMBER: _ClassVar[int]
    found: _containers.RepeatedCompositeFieldContainer[Found]
    def __init__(self, found: _Optional[_Iterable[_Union[Found, _Mapping]]] = ...) -> None: ...

class DeleteRecordsRequest(_message.Message):
    __slots__ = ("keys",)
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[RecordKey]
    def __init__(self, keys: _Optional[_Iterable[_Union[RecordKey, _Mapping]]] = ...) -> None: ...

class DeleteRecordsResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    def __init__(self, deleted: _Optional[int] = ...) -> None: ...

class StreamedChange(_message.Message):
    __slots__ = ("position", "status")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    position: int
    status: RecordStatus
    def __init__(self, position: _Optional[int] = ..., status: _Optional[_Union[RecordStatus, _Mapping]] = ...) -> None: ...

class StreamedFound(_message.Message):
    __slots__ = ("position", "status", "found")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    position: int
    status: RecordStatus
    found: Found
    def __init__(self, position: _Optional[int] = ..., status: _Optional[_Union[RecordStatus, _Mapping]] = ..., found: _Optional[_Union[Found, _Mapping]] = ...) -> None: ...

class EraseSubjectRequest(_message.Message):
    __slots__ = ("subject", "originals")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    ORIGINALS_FIELD_NUMBER: _ClassVar[int]
    subject: DataSubject
    originals: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, subject: _Optional[_Union[DataSubject, _Mapping]] = ..., originals: _Optional[_Iterable[str]] = ...) -> None: ...

class EraseSubjectResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    def __init__(self, deleted: _Optional[int] = ...) -> None: ...
