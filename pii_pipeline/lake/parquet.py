"""Parquet files of a zone, written atomically and streamed, encrypted where the zone asks for it.

Encryption is Parquet modular encryption (AES-GCM): every page, the column statistics and the footer, under a
random key per file, which lies in the file wrapped (RFC 3394) under the caller's key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from pyarrow.parquet import encryption

from pii_pipeline.lake.files import hidden_output, open_input
from pii_pipeline.lake.zones import Zone

KEY_BYTES = 32
ROW_GROUP_ROWS = 262_144
ROW_GROUP_BYTES = 256 << 20
"""A row group has no more rows, and ends with the portion that makes it this large in memory. Readers take
one at a time."""

_SAMPLED_ROWS = 8_192
_DICTIONARY_BYTES = 64 << 20
"""No dictionary is given up half-way: which columns have one is decided beforehand."""

_WORD = np.dtype("<u8")
_ODD = np.uint64(0x9E3779B97F4A7C15)

_PLAIN_MAGIC = b"PAR1"
_ENCRYPTED_MAGIC = b"PARE"
_KEY_NAME = "zone"


class UnreadableFile(Exception):
    """The file is not the Parquet file it should be. The message has its path and no value."""


class WrongKey(UnreadableFile):
    """The key given does not open the file."""


class ParquetWriter:
    """Takes the tables of one file, which lies at `hidden`. `rows` so far; when it is whole, its `size` in
    bytes and the `digest` of them, 16 hex digits. `columns`: a digest of the schema."""

    def __init__(self, open_file: Callable[[pa.Table], Any], schema: pa.Schema, hidden: str) -> None:
        self._open_file = open_file
        self._schema = schema
        self._file: Any = None
        self._types: pa.Schema = schema
        self._portions: list[pa.Table] = []
        self.rows = 0
        self.size = 0
        self.digest = ""
        described = repr([(field.name, str(field.type), field.nullable) for field in schema])
        self.columns = xxhash.xxh3_64_hexdigest(described.encode())
        self.hidden = hidden

    def write(self, table: pa.Table | pa.RecordBatch) -> None:
        """Appends `table`. Small plain portions are gathered until they are a row group.

        Its columns are those of the schema in name, order and type, but any may be dictionary-encoded, also
        inside structs and lists. Inside they are decoded; at the top they are written as dictionaries, which
        is twice as fast, after `_only_what_is_there`, and as row groups of their own.
        """
        schema = plain_schema(table.schema)
        if schema.names != self._schema.names or schema.types != self._schema.types:
            raise TypeError("the table's columns are not those of the file's schema")
        if not table.num_rows:
            return
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        self.rows += table.num_rows
        if any(pa.types.is_dictionary(type) for type in table.schema.types):
            self._write_portions()
            self._write_table(table)
            return
        while table.num_rows:
            portion = table.slice(0, ROW_GROUP_ROWS - sum(other.num_rows for other in self._portions))
            self._portions.append(portion)
            table = table.slice(portion.num_rows)
            if table.num_rows or sum(other.nbytes for other in self._portions) >= ROW_GROUP_BYTES:
                self._write_portions()

    def close(self) -> None:
        """Ends the file. No tables give a valid empty one."""
        self._write_portions()
        if self._file is None:
            self._file = self._open_file(self._schema.empty_table())
        self._file.close()

    def abandon(self) -> None:
        """Ends the file without what has been gathered: nobody will see it, and the error that led here must
        not be lost to another."""
        self._portions.clear()
        if self._file is not None:
            with suppress(OSError, pa.ArrowException):
                self._file.close()

    def _write_portions(self) -> None:
        portions, self._portions = self._portions, []
        if portions:
            self._write_table(pa.concat_tables(portions))

    def _write_table(self, table: pa.Table) -> None:
        if self._file is None:
            self._types = _with_dictionaries(self._schema, table.schema)
        columns = [
            _ready(column, type) for column, type in zip(table.columns, self._types.types, strict=True)
        ]
        table = pa.table(columns, schema=self._types)
        if self._file is None:
            self._file = self._open_file(table)
        self._file.write_table(table, row_group_size=ROW_GROUP_ROWS)


def _with_dictionaries(plain: pa.Schema, found: pa.Schema) -> pa.Schema:
    """`plain` with the top-level columns dictionary-encoded that are so in `found`."""
    return pa.schema(
        [
            field.with_type(pa.dictionary(pa.int32(), field.type))
            if pa.types.is_dictionary(other.type)
            else field
            for field, other in zip(plain, found, strict=True)
        ]
    )


def _ready(column: pa.ChunkedArray, type: pa.DataType) -> pa.ChunkedArray | pa.Array:
    if column.type == type and not pa.types.is_dictionary(type):
        return column
    if not pa.types.is_dictionary(type):
        return column.cast(type)
    encoded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
    return _only_what_is_there(encoded.combine_chunks())


def _only_what_is_there(array: pa.DictionaryArray) -> pa.DictionaryArray:
    """The array over a dictionary of just the values that rows have, each of them once, in order of its rows.

    Any other value would come into the file, though its row was filtered out. Any other order would say what
    the rows do not: kernels work person by person. And of a dictionary that holds a value twice, pyarrow 26
    writes a page whose end is whatever was in that memory before.
    """
    values, indices = array.dictionary, array.indices
    if not _differ_at_once(values):
        distinct = pc.dictionary_encode(values)
        values, indices = distinct.dictionary, distinct.indices.take(indices)
    in_order = pc.dictionary_encode(indices)
    return pa.DictionaryArray.from_arrays(in_order.indices, values.take(in_order.dictionary))


def _differ_at_once(texts: pa.Array) -> bool:
    """Whether no two texts have the same first 16 bytes, as of pseudonyms and ciphertexts none have. This is
    seen in a tenth of the time it takes to hash them whole; where it is not so, they may still differ."""
    if not len(texts) or texts.null_count or not pa.types.is_string(texts.type):
        return False
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset :][: len(texts) + 1]
    if np.diff(offsets).min() < 2 * _WORD.itemsize:
        return False
    data = texts.buffers()[2]
    words = np.ndarray((data.size - _WORD.itemsize + 1,), _WORD, data, strides=(1,))
    first, second = words[offsets[:-1]], words[offsets[:-1] + _WORD.itemsize]
    mixed = np.sort(first * _ODD + second)  # equal where both are, and hardly ever elsewhere
    return bool((mixed[1:] != mixed[:-1]).all())


def _repetitive(table: pa.Table) -> list[str]:
    """Parquet's paths of the columns that are worth a dictionary: of their first values, one in ten was there
    before. Of others it would be as large as the column, and building it costs most of the writing."""
    return [
        path
        for name, column in zip(table.column_names, table.slice(0, _SAMPLED_ROWS).columns, strict=True)
        for path, values in _leaf_columns(name, column.combine_chunks())
        if 10 * pc.count_distinct(values).as_py() <= 9 * len(values)
    ]


def _leaf_columns(path: str, values: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    if pa.types.is_struct(values.type):
        for field, child in zip(values.type, values.flatten(), strict=True):
            yield from _leaf_columns(f"{path}.{field.name}", child)
    elif pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        yield from _leaf_columns(f"{path}.list.element", values.flatten())
    else:
        yield path, values.indices if pa.types.is_dictionary(values.type) else values


@contextmanager
def write_parquet(
    zone: Zone,
    path: str,
    schema: pa.Schema,
    *,
    key: bytes | None = None,
    compression: Literal["zstd", "lz4", "none"] = "zstd",
) -> Iterator[ParquetWriter]:
    """Writes one file, in memory of about a row group. When the block ends it lies under a hidden name, until
    `publish` gives it its own; if the block raises it is gone.

    The columns are those of `schema`, without metadata. Statistics are kept of columns that are no text, in
    files that are not encrypted: of pseudonyms and ciphertexts they would be of no use, and they cost a
    quarter of the writing. The same tables in the same portions give the same bytes under one version of
    pyarrow, unless `key` (32 bytes) encrypts them: encryption is randomised.
    """
    plain = plain_schema(schema)
    with hidden_output(zone, path) as (sink, hidden):
        digested = _Digested(sink)

        def open_file(first: pa.Table) -> Any:
            return pq.ParquetWriter(
                pa.PythonFile(digested, mode="w"),
                first.schema,
                version="2.6",
                use_dictionary=_repetitive(first),
                dictionary_pagesize_limit=_DICTIONARY_BYTES,
                compression=compression,
                compression_level=1 if compression == "zstd" else None,
                write_statistics=[] if key else [f.name for f in plain if pa.types.is_primitive(f.type)],
                # Any reader sees plain columns: no Arrow schema beside Parquet's own.
                store_schema=False,
                encryption_properties=None if key is None else _encryption(key),
            )

        writer = ParquetWriter(open_file, plain, hidden)
        try:
            yield writer
        except BaseException:
            writer.abandon()
            raise
        writer.close()
        writer.size = sink.tell()
        writer.digest = digested.digest.hexdigest()


class _Digested:
    """A `pa.NativeFile` that is written to, and the digest of what was."""

    closed = False

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self.digest = xxhash.xxh3_64()

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")  # Arrow's buffers say that their bytes have a sign
        self.digest.update(view)
        return self._sink.write(view)

    def tell(self) -> int:
        return self._sink.tell()

    def flush(self) -> None:
        """Its owner does."""

    def close(self) -> None:
        """Its owner does."""


def read_parquet(
    zone: Zone,
    path: str,
    *,
    key: bytes | None = None,
    columns: Sequence[str] | None = None,
    dictionaries: Sequence[str] = (),
    rows: range | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows, in order, a row group at a time.

    `columns`: only these. `dictionaries`: text columns to be left dictionary-encoded as they are in the file.
    `rows`: only those with these numbers, of the row groups that have some. Raises FileNotFoundError,
    `WrongKey`, or `UnreadableFile`: also if a file that should be encrypted is not, or the other way round.
    """
    with _opened(zone, path, key, dictionaries) as file:
        first = 0
        for group in range(file.num_row_groups):
            there = range(first, first + file.metadata.row_group(group).num_rows)
            first = there.stop
            wanted = there
            if rows is not None:
                wanted = range(max(there.start, rows.start), min(there.stop, rows.stop))
                if not wanted:
                    continue
            with _typed_errors(path):
                table = file.read_row_group(group, columns=columns, use_threads=False)
                if wanted != there:
                    table = _only_rows(table, range(wanted.start - there.start, wanted.stop - there.start))
                batches = table.combine_chunks().to_batches()
            yield from batches


def parquet_schema(zone: Zone, path: str) -> pa.Schema:
    """The columns of a file that is not encrypted. Raises FileNotFoundError or `UnreadableFile`."""
    with _opened(zone, path, None, ()) as file:
        return plain_schema(file.schema_arrow)


@contextmanager
def _opened(zone: Zone, path: str, key: bytes | None, dictionaries: Sequence[str]) -> Iterator[Any]:
    with open_input(zone, path) as source:
        source.seek(max(0, source.size() - len(_PLAIN_MAGIC)))  # where the footer is, which comes first
        magic = source.read(len(_PLAIN_MAGIC))
        source.seek(0)
        if magic not in (_PLAIN_MAGIC, _ENCRYPTED_MAGIC):
            raise UnreadableFile(f"{path} is no Parquet file")
        if (magic == _ENCRYPTED_MAGIC) != (key is not None):
            state = "encrypted, and no key was given" if key is None else "not encrypted"
            raise UnreadableFile(f"{path} is {state}")
        with _typed_errors(path):
            file = pq.ParquetFile(
                source,
                read_dictionary=list(dictionaries),
                decryption_properties=None if key is None else _decryption(key),
            )
        yield file


def _only_rows(table: pa.Table, rows: range) -> pa.Table:
    """These rows, and nothing of the others: no dictionary has values that only they had."""
    table = table.take(pa.array(np.arange(rows.start, rows.stop)))
    for at, column in enumerate(table.columns):
        if pa.types.is_dictionary(column.type):
            table = table.set_column(at, table.field(at), _only_what_is_there(column.combine_chunks()))
    return table


def dataset_of(zone: Zone, paths: Mapping[str, Any], schema: pa.Schema) -> Any:
    """Committed plain files as one dataset; `paths`: each with the partition expression of what it does not
    hold itself. Nothing is opened before it is scanned."""
    import pyarrow.dataset as ds  # for queries only; takes time to import

    format = ds.ParquetFileFormat()
    fragments = [
        format.make_fragment(*zone.storage.source(zone.checked(path)), partition_expression=expression)
        for path, expression in paths.items()
    ]
    return ds.FileSystemDataset(fragments, schema, format)


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """`schema` without dictionary encoding, at any depth, and without metadata."""
    return pa.schema([_plain_field(schema.field(index)) for index in range(len(schema))])


def _plain_field(field: pa.Field) -> pa.Field:
    return pa.field(field.name, _plain_type(field.type), field.nullable)


def _plain_type(type: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(type):
        return _plain_type(type.value_type)
    if pa.types.is_struct(type):
        return pa.struct([_plain_field(type.field(index)) for index in range(type.num_fields)])
    if pa.types.is_list(type):
        return pa.list_(_plain_field(type.value_field))
    if pa.types.is_large_list(type):
        return pa.large_list(_plain_field(type.value_field))
    return type


@contextmanager
def _typed_errors(path: str) -> Iterator[None]:
    try:
        yield
    except InvalidUnwrap:
        raise WrongKey(f"{path} is encrypted under another key") from None
    except OSError as error:
        if error.errno is not None:  # the storage failed, not the file
            raise
        raise UnreadableFile(f"{path} is damaged") from None
    except pa.ArrowException:
        raise UnreadableFile(f"{path} is damaged") from None


class _OneKey(encryption.KmsClient):
    """Wraps the random keys of files under one key in memory."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._key = key

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        return aes_key_wrap(self._key, key_bytes).hex()

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        try:
            return aes_key_unwrap(self._key, bytes.fromhex(wrapped_key))
        except ValueError:
            raise InvalidUnwrap from None


def _factory(key: bytes) -> Any:
    # One per file: a factory keeps keys it has seen for minutes, and here they must die with their user.
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes")
    return encryption.CryptoFactory(lambda _: _OneKey(key))


def _encryption(key: bytes) -> Any:
    return _factory(key).file_encryption_properties(
        encryption.KmsConnectionConfig(),
        encryption.EncryptionConfiguration(
            _KEY_NAME,
            uniform_encryption=True,
            plaintext_footer=False,
            double_wrapping=False,
            internal_key_material=True,
            data_key_length_bits=8 * KEY_BYTES,
        ),
    )


def _decryption(key: bytes) -> Any:
    return _factory(key).file_decryption_properties(encryption.KmsConnectionConfig())
