"""Parquet files of a zone: plain columns, the same bytes again, encryption, and what goes wrong."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pii_pipeline.lake import (
    UnreadableFile,
    WrongKey,
    Zone,
    parquet,
    parquet_schema,
    publish,
    put,
    read_parquet,
    write_parquet,
)
from pii_pipeline.lake.parquet import _differ_at_once

KEY = bytes(range(32))
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("at", pa.timestamp("us", "UTC")),
        ("tags", pa.list_(pa.string())),
        ("who", pa.struct([("mail", pa.string()), ("seen", pa.list_(pa.struct([("ip", pa.string())])))])),
    ]
)


def table(count: int = 100, start: int = 0) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "id": n,
                "at": datetime(2026, 11, 22, 10, tzinfo=UTC),
                "tags": ["red", None] if n % 3 else None,
                "who": {"mail": f"planted-{n % 10}@example.com", "seen": [{"ip": "192.0.2.1"}]},
            }
            for n in range(start, start + count)
        ],
        schema=SCHEMA,
    )


@contextmanager
def published(zone: Zone, path: str, schema: pa.Schema, **options: Any) -> Iterator[parquet.ParquetWriter]:
    """Writes a file that is there at once."""
    with write_parquet(zone, path, schema, **options) as writer:
        yield writer
    publish(zone, writer.hidden, path)


def write(zone: Zone, path: str, *tables: pa.Table, key: bytes | None = None) -> bytes:
    with published(zone, path, SCHEMA, key=key) as writer:
        for part in tables:
            writer.write(part)
    raw = Path(zone.path(path)).read_bytes()
    assert (writer.rows, writer.size) == (sum(part.num_rows for part in tables), len(raw))
    return raw


def read(zone: Zone, path: str, **options) -> pa.Table:
    return pa.Table.from_batches(read_parquet(zone, path, **options), SCHEMA)


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_tables_come_back(lake, key):
    write(lake, "a.parquet", table(100), table(0), table(7, start=100), key=key)
    assert read(lake, "a.parquet", key=key).equals(table(107))
    (batch,) = read_parquet(lake, "a.parquet", key=key, columns=["id"])
    assert batch.schema.names == ["id"]


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_rows_can_be_read_from_anywhere_to_anywhere(lake, key, monkeypatch):
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 10)
    write(lake, "a.parquet", table(35), key=key)
    for first, last in ((0, 35), (0, 10), (3, 4), (9, 11), (5, 30), (34, 35), (12, 12), (30, 99), (40, 50)):
        found = read(lake, "a.parquet", key=key, rows=range(first, last))
        assert found.equals(table(35)[first:last]), (first, last)


def test_rows_that_are_read_alone_bring_nothing_of_the_others(lake):
    write(lake, "a.parquet", table(100))
    (part,) = read_parquet(lake, "a.parquet", columns=["who"], rows=range(5, 8))
    assert b"planted-4@" not in pickle.dumps(part)
    names = pa.table({"name": [f"planted-{n % 10}" for n in range(100)]})
    with published(lake, "b.parquet", names.schema) as writer:
        writer.write(names)
    (part,) = read_parquet(lake, "b.parquet", dictionaries=["name"], rows=range(13, 26))
    assert part["name"].dictionary.to_pylist() == [f"planted-{n % 10}" for n in range(13, 23)]
    assert part["name"].to_pylist() == names["name"].to_pylist()[13:26]
    (part,) = read_parquet(lake, "b.parquet", dictionaries=["name"], rows=range(13, 15))
    assert b"planted-5" not in pickle.dumps(part)


def test_the_columns_of_a_file_are_those_it_was_written_with(lake):
    write(lake, "a.parquet", table(3))
    write(lake, "none.parquet")
    write(lake, "sealed.parquet", table(3), key=KEY)
    found = parquet_schema(lake, "a.parquet")
    assert found.names == SCHEMA.names
    assert found == parquet_schema(lake, "none.parquet")
    assert not found.metadata
    assert table(3).cast(found).schema == found
    with pytest.raises(UnreadableFile, match=r"sealed\.parquet is encrypted"):
        parquet_schema(lake, "sealed.parquet")
    with pytest.raises(FileNotFoundError):
        parquet_schema(lake, "nowhere.parquet")


def test_portions_are_gathered_into_row_groups_of_bounded_rows_and_bytes(lake, monkeypatch):
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 100)
    write(lake, "rows.parquet", *(table(30, start) for start in range(0, 270, 30)))
    assert [batch.num_rows for batch in read_parquet(lake, "rows.parquet")] == [100, 100, 70]
    assert read(lake, "rows.parquet").equals(table(270))
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", table(30).nbytes + 1)
    write(lake, "bytes.parquet", *(table(30, start) for start in range(0, 150, 30)))
    assert [batch.num_rows for batch in read_parquet(lake, "bytes.parquet")] == [60, 60, 30]


def test_the_same_tables_give_the_same_bytes(lake):
    raw = write(lake, "a.parquet", table(1000), table(10))
    assert write(lake, "b.parquet", table(1000), table(10)) == raw
    assert b"ARROW:schema" not in raw


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_no_rows_are_a_valid_typed_file(lake, key):
    write(lake, "none.parquet", key=key)
    write(lake, "empty.parquet", table(0), key=key)
    for path in ("none.parquet", "empty.parquet"):
        assert list(read_parquet(lake, path, key=key)) == []
        if key is None:
            assert pq.read_schema(lake.path(path)).equals(SCHEMA)


def dictionary_encoded(plain: pa.Table) -> pa.Table:
    """`plain` with dictionaries inside its structs and lists."""
    text = pa.dictionary(pa.int32(), pa.string())
    nested = pa.struct([("mail", text), ("seen", pa.list_(pa.struct([("ip", text)])))])
    tags = plain["tags"].combine_chunks()
    tags = pa.ListArray.from_arrays(tags.offsets, tags.values.dictionary_encode(), mask=tags.is_null())
    who = plain["who"].combine_chunks()
    seen = who.field("seen")
    ips = pa.StructArray.from_arrays([seen.values.field("ip").dictionary_encode()], ["ip"])
    who = pa.StructArray.from_arrays(
        [who.field("mail").dictionary_encode(), pa.ListArray.from_arrays(seen.offsets, ips)], ["mail", "seen"]
    )
    assert who.type == nested
    return plain.set_column(2, "tags", tags).set_column(3, "who", who)


def test_dictionaries_in_memory_are_plain_columns_on_disk(lake):
    encoded = dictionary_encoded(table(50))
    assert encoded.schema != SCHEMA
    assert write(lake, "encoded.parquet", encoded) == write(lake, "plain.parquet", table(50))
    assert pq.read_table(lake.path("encoded.parquet")).schema.equals(SCHEMA)


def test_values_of_rows_that_were_filtered_out_do_not_reach_the_file(lake):
    schema = pa.schema([("x", pa.string())])
    text = pa.table({"x": pa.array(["erased-value", "kept"]).dictionary_encode()})
    left = text.filter(pa.array([False, True]))
    with published(lake, "a.parquet", schema, compression="none") as writer:
        writer.write(left)
    raw = Path(lake.path("a.parquet")).read_bytes()
    assert b"kept" in raw
    assert b"erased-value" not in raw


def test_a_batch_is_a_table_too(lake):
    with published(lake, "a.parquet", SCHEMA) as writer:
        writer.write(table(5).to_batches()[0])
    assert read(lake, "a.parquet").equals(table(5))


def test_other_columns_are_refused_and_nothing_is_left(lake):
    for other in (table(1).drop_columns(["id"]), table(1).cast(SCHEMA.set(0, pa.field("id", pa.int32())))):
        with (
            pytest.raises(TypeError, match="not those of the file's schema"),
            published(lake, "a.parquet", SCHEMA) as writer,
        ):
            writer.write(table(1))
            writer.write(other)
        assert list(Path(lake.root).iterdir()) == []


def test_encrypted_bytes_say_nothing(lake):
    raw = write(lake, "a.parquet", table(), key=KEY)
    assert b"mail" in write(lake, "b.parquet", table())
    for secret in (b"planted", b"mail", b"red", KEY, KEY.hex().encode()):
        assert secret not in raw
    with pytest.raises(OSError, match="encrypted"):
        pq.read_table(lake.path("a.parquet"))


def test_each_file_has_a_key_of_its_own(lake):
    assert write(lake, "a.parquet", table(), key=KEY) != write(lake, "b.parquet", table(), key=KEY)


def test_a_wrong_key_is_a_typed_error(lake):
    write(lake, "a.parquet", table(), key=KEY)
    with pytest.raises(WrongKey, match=r"^a\.parquet is encrypted under another key$") as caught:
        read(lake, "a.parquet", key=KEY[::-1])
    assert caught.value.__suppress_context__
    with pytest.raises(ValueError, match="32 bytes"):
        read(lake, "a.parquet", key=KEY[:16])


def test_encrypted_and_plain_are_never_mixed_up(lake):
    write(lake, "plain.parquet", table())
    write(lake, "encrypted.parquet", table(), key=KEY)
    with pytest.raises(UnreadableFile, match="not encrypted"):
        read(lake, "plain.parquet", key=KEY)
    with pytest.raises(UnreadableFile, match="no key was given"):
        read(lake, "encrypted.parquet")


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_damage_is_a_typed_error(lake, key):
    raw = write(lake, "a.parquet", table(), key=key)
    for damaged in (raw[:-9], raw[:4], b"", b"not Parquet", raw[:60] + bytes(40) + raw[100:]):
        put(lake, "a.parquet", damaged)
        with pytest.raises(UnreadableFile) as caught:
            read(lake, "a.parquet", key=key)
        assert "planted" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        read(lake, "b.parquet", key=key)


def test_threads_read_and_write_encrypted_files_beside_one_another(lake):
    def there_and_back(n: int) -> bool:
        write(lake, f"{n}.parquet", table(2000), table(2000, start=2000), key=KEY)
        return all(read(lake, f"{n}.parquet", key=KEY).equals(expected) for _ in range(3))

    expected = table(4000)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(there_and_back, range(12)))


def test_errors_travel_between_processes():
    assert str(pickle.loads(pickle.dumps(WrongKey("a")))) == "a"


@pytest.mark.parametrize("long", [True, False])
def test_a_dictionary_with_a_value_twice_leaves_no_memory_in_the_file(lake: Zone, long: bool) -> None:
    """pyarrow 26 writes such a dictionary as a page that ends in whatever its memory held before."""
    schema = pa.schema([("x", pa.string())])
    values = [f"{number:05}" * 8 if long else f"{number:05}" for number in range(2000)]
    doubled = pa.DictionaryArray.from_arrays(pa.array(range(4000), pa.int32()), pa.array(values + values))
    plain = doubled.dictionary_decode()
    for path, column in (("doubled.parquet", doubled), ("plain.parquet", plain)):
        with published(lake, path, schema, compression="none") as writer:
            writer.write(pa.table({"x": column}))
    contents = [Path(lake.path(path)).read_bytes() for path in ("doubled.parquet", "plain.parquet")]
    assert contents[0] == contents[1]


def test_texts_that_differ_late_differ() -> None:
    """The first bytes are looked at first; a value more than once must be found wherever it lies."""
    texts = pa.array([f"{number:016}" for number in range(100)])
    assert _differ_at_once(texts)
    assert _differ_at_once(texts[10:20])
    assert not _differ_at_once(pa.concat_arrays([texts, texts[50:51]]))
    assert not _differ_at_once(pa.array(["0123456789abcdef-a", "0123456789abcdef-b"])), "that is not certain"
    assert not _differ_at_once(pa.array(["short", "and a long one of 16"]))
    assert not _differ_at_once(pa.array(["0123456789abcdef", None]))
    assert not _differ_at_once(pa.array([], pa.string()))


def test_any_dictionary_is_written_as_its_values_and_nothing_else(lake: Zone) -> None:
    schema = pa.schema([("x", pa.string())])
    chance = random.Random(1)
    for round in range(20):
        words = [f"used-{chance.randrange(30)}" for _ in range(40)] + ["not-in-any-row"] * 3
        codes = [chance.choice([None, *range(40)]) for _ in range(chance.randrange(1, 200))]
        column = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(words))
        first = chance.randrange(len(codes))
        for part in (column, column.slice(first)):
            for path, same in (("encoded.parquet", part), ("plain.parquet", part.dictionary_decode())):
                with published(lake, path, schema, compression="none") as writer:
                    writer.write(pa.table({"x": same}))
            encoded, plain = (
                Path(lake.path(f"{name}.parquet")).read_bytes() for name in ("encoded", "plain")
            )
            assert encoded == plain, "the order of the dictionary is the rows', whoever made it"
        with published(lake, f"{round}.parquet", schema, compression="none") as writer:
            writer.write(pa.table({"x": column.slice(first)}))
            writer.write(pa.table({"x": column}))
            writer.write(pa.table({"x": column.dictionary_decode()}))
        expected = [None if code is None else words[code] for code in [*codes[first:], *codes, *codes]]
        assert pq.read_table(lake.path(f"{round}.parquet"))["x"].to_pylist() == expected
        assert b"not-in-any-row" not in Path(lake.path(f"{round}.parquet")).read_bytes()
