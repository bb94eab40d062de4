"""Where files lie: the four zones, their layout, atomic writes, and Parquet in and out of them."""

from pii_pipeline.lake.files import (
    ObjectInfo,
    delete,
    list_objects,
    open_input,
    publish,
    put,
    sweep_temporaries,
)
from pii_pipeline.lake.layout import (
    data_file,
    hour_folder,
    hour_text,
    landing_hour,
    landing_path,
    landing_prefix,
    landing_prefixes,
    object_name,
    parse_hour,
)
from pii_pipeline.lake.parquet import (
    ParquetWriter,
    UnreadableFile,
    WrongKey,
    plain_schema,
    read_parquet,
    write_parquet,
)
from pii_pipeline.lake.zones import UnsupportedStorage, Zone, ZoneName, Zones

__all__ = [
    "ObjectInfo",
    "ParquetWriter",
    "UnreadableFile",
    "UnsupportedStorage",
    "WrongKey",
    "Zone",
    "ZoneName",
    "Zones",
    "data_file",
    "delete",
    "hour_folder",
    "hour_text",
    "landing_hour",
    "landing_path",
    "landing_prefix",
    "landing_prefixes",
    "list_objects",
    "object_name",
    "open_input",
    "parse_hour",
    "plain_schema",
    "publish",
    "put",
    "read_parquet",
    "sweep_temporaries",
    "write_parquet",
]
