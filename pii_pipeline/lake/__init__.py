"""Where files lie: the four zones, their layout, atomic writes, and Parquet in and out of them."""

from pii_pipeline.lake.errors import (
    NoSuchBucket,
    StorageDenied,
    StorageError,
    StorageUnavailable,
    UnsupportedStorage,
    VersionChanged,
)
from pii_pipeline.lake.files import (
    delete,
    list_objects,
    open_input,
    open_versions,
    publish,
    put,
    sweep_temporaries,
    tag_of,
)
from pii_pipeline.lake.layout import (
    LandingPath,
    data_file,
    hour_folder,
    hour_text,
    landing_path,
    landing_prefix,
    object_name,
    parse_hour,
    parse_landing_path,
)
from pii_pipeline.lake.local import content_tag
from pii_pipeline.lake.parquet import (
    ParquetWriter,
    UnreadableFile,
    WrongKey,
    dataset_of,
    plain_schema,
    read_parquet,
    write_parquet,
)
from pii_pipeline.lake.storage import ObjectInfo, Version, VersionFile, Versions
from pii_pipeline.lake.zones import Zone, ZoneName, Zones

__all__ = [
    "LandingPath",
    "NoSuchBucket",
    "ObjectInfo",
    "ParquetWriter",
    "StorageDenied",
    "StorageError",
    "StorageUnavailable",
    "UnreadableFile",
    "UnsupportedStorage",
    "Version",
    "VersionChanged",
    "VersionFile",
    "Versions",
    "WrongKey",
    "Zone",
    "ZoneName",
    "Zones",
    "content_tag",
    "data_file",
    "dataset_of",
    "delete",
    "hour_folder",
    "hour_text",
    "landing_path",
    "landing_prefix",
    "list_objects",
    "object_name",
    "open_input",
    "open_versions",
    "parse_hour",
    "parse_landing_path",
    "plain_schema",
    "publish",
    "put",
    "read_parquet",
    "sweep_temporaries",
    "tag_of",
    "write_parquet",
]
