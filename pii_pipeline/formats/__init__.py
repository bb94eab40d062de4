"""Bytes to records: decompression, cutting and packing of landing objects.

Pure functions over binary file objects. Nothing here knows about storage, contracts or keys, and no message
carries a byte of the input.
"""

from pii_pipeline.formats.problems import ObjectFault, ObjectProblem, ProblemType
from pii_pipeline.formats.reading import ObjectSource, etag, read_chunks, read_records
from pii_pipeline.formats.records import RecordChunk

__all__ = [
    "ObjectFault",
    "ObjectProblem",
    "ObjectSource",
    "ProblemType",
    "RecordChunk",
    "etag",
    "read_chunks",
    "read_records",
]
