from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PiiRecord(_message.Message):
    __slots__ = ("modifiedValue", "originalValue")
    MODIFIEDVALUE_FIELD_NUMBER: _ClassVar[int]
    ORIGINALVALUE_FIELD_NUMBER: _ClassVar[int]
    modifiedValue: str
    originalValue: str
    def __init__(self, modifiedValue: _Optional[str] = ..., originalValue: _Optional[str] = ...) -> None: ...

class CreatePiiRecordRequest(_message.Message):
    __slots__ = ("piiRecord",)
    PIIRECORD_FIELD_NUMBER: _ClassVar[int]
    piiRecord: PiiRecord
    def __init__(self, piiRecord: _Optional[_Union[PiiRecord, _Mapping]] = ...) -> None: ...

class DeletePiiRecordRequest(_message.Message):
    __slots__ = ("modifiedValue",)
    MODIFIEDVALUE_FIELD_NUMBER: _ClassVar[int]
    modifiedValue: str
    def __init__(self, modifiedValue: _Optional[str] = ...) -> None: ...

class ReadPiiRecordRequest(_message.Message):
    __slots__ = ("modifiedValue", "processingBasis")
    class LawfulBasisForProcessing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CONSENT: _ClassVar[ReadPiiRecordRequest.LawfulBasisForProcessing]
        CONTRACT: _ClassVar[ReadPiiRecordRequest.LawfulBasisForProcessing]
        LEGAL_OBLIGATION: _ClassVar[ReadPiiRecordRequest.LawfulBasisForProcessing]
        VITAL_INTERESTS: _ClassVar[ReadPiiRecordRequest.LawfulBasisForProcessing]
        PUBLIC_TASK: _ClassVar[ReadPiiRecordRequest.LawfulBasisForProcessing]
        LEGITIMATE_INTERESTS: _ClassVar[ReadPiiRecordRequest.LawfulBasisForProcessing]
    CONSENT: ReadPiiRecordRequest.LawfulBasisForProcessing
    CONTRACT: ReadPiiRecordRequest.LawfulBasisForProcessing
    LEGAL_OBLIGATION: ReadPiiRecordRequest.LawfulBasisForProcessing
    VITAL_INTERESTS: ReadPiiRecordRequest.LawfulBasisForProcessing
    PUBLIC_TASK: ReadPiiRecordRequest.LawfulBasisForProcessing
    LEGITIMATE_INTERESTS: ReadPiiRecordRequest.LawfulBasisForProcessing
    MODIFIEDVALUE_FIELD_NUMBER: _ClassVar[int]
    PROCESSINGBASIS_FIELD_NUMBER: _ClassVar[int]
    modifiedValue: str
    processingBasis: ReadPiiRecordRequest.LawfulBasisForProcessing
    def __init__(self, modifiedValue: _Optional[str] = ..., processingBasis: _Optional[_Union[ReadPiiRecordRequest.LawfulBasisForProcessing, str]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("message", "isSuccess")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ISSUCCESS_FIELD_NUMBER: _ClassVar[int]
    message: str
    isSuccess: bool
    def __init__(self, message: _Optional[str] = ..., isSuccess: _Optional[bool] = ...) -> None: ...

class ChangeRecordResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: Status
    def __init__(self, status: _Optional[_Union[Status, _Mapping]] = ...) -> None: ...

class ReadPiiRecordResponse(_message.Message):
    __slots__ = ("piiRecord", "status")
    PIIRECORD_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    piiRecord: PiiRecord
    status: Status
    def __init__(self, piiRecord: _Optional[_Union[PiiRecord, _Mapping]] = ..., status: _Optional[_Union[Status, _Mapping]] = ...) -> None: ...
