"""Bytes to records: decompression, cutting and packing of landing objects; records of text to columns.

Pure functions over binary file objects. Nothing here knows about storage, contracts or keys, and no message
carries a byte of the input.
"""

from pii_pipeline.formats.encoding import unknown_encoding
from pii_pipeline.formats.fields import FieldRule, Fields, RecordFault, split_fields
from pii_pipeline.formats.kinds import (
    SNOWPLOW_ENRICHED_TSV,
    AvroContainer,
    DelimitedText,
    Format,
    JsonText,
)
from pii_pipeline.formats.messages import (
    MESSAGES_SUFFIX,
    Message,
    fits_a_message,
    message_line,
)
from pii_pipeline.formats.problems import ObjectFault, ObjectProblem, ProblemType
from pii_pipeline.formats.reading import ObjectFile, ObjectSource, read_chunks, read_records
from pii_pipeline.formats.records import RecordChunk

__all__ = [
    "MESSAGES_SUFFIX",
    "SNOWPLOW_ENRICHED_TSV",
    "AvroContainer",
    "DelimitedText",
    "FieldRule",
    "Fields",
    "Format",
    "JsonText",
    "Message",
    "ObjectFault",
    "ObjectFile",
    "ObjectProblem",
    "ObjectSource",
    "ProblemType",
    "RecordChunk",
    "RecordFault",
    "fits_a_message",
    "message_line",
    "read_chunks",
    "read_records",
    "split_fields",
    "unknown_encoding",
]
