"""Records in every store: what was put is found, kept once, and gone when it is deleted."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from pii_pipeline.vault.errors import VaultRefused
from pii_pipeline.vault.model import (
    MAX_ORIGINALS,
    PIINGUIN_FIELD,
    PIINGUIN_STREAM,
    RecordKey,
    SealedRecord,
    Stored,
)
from pii_pipeline.vault.stores import VaultStore, open_store, rows
from pii_pipeline_tests.unit.vault.stores.examples import (
    consent,
    days_after,
    key,
    mark,
    record,
    seen,
    subject,
    unbound,
)


def test_records_are_found_in_the_order_of_the_keys(store: VaultStore) -> None:
    some = [record(number) for number in range(5)]
    assert store.put(some) == Stored(new=5, known=0)
    asked = [key(3), key(99), key(0), key(3)]
    assert store.find(asked) == [[some[3]], [], [some[0]], [some[3]]]


def test_nothing_is_nothing(store: VaultStore) -> None:
    assert store.put([]) == Stored(0, 0)
    assert store.find([]) == []
    assert store.find([key(1)]) == [[]]
    assert (store.delete([]), store.delete_subjects([]), store.delete_marked([])) == (0, 0, 0)
    assert store.consents("logins", []) == {}
    store.put_consents([])


def test_records_are_counted_by_key(store: VaultStore) -> None:
    store.put([record(number, key(1)) for number in range(3)] + [record(9), unbound(9)])
    assert store.count([key(9), key(2), key(1), key(9)]) == [2, 0, 3, 2]
    assert store.count([]) == []


def test_more_records_of_a_key_than_there_should_be_are_all_found(store: VaultStore, many: int) -> None:
    some = [record(number, key(1)) for number in range(min(many, 3_000))] + [record(2)]
    store.put(some)
    found = store.find([key(1), key(2)])
    assert sorted(that.sealed for that in found[0]) == sorted(that.sealed for that in some[:-1])
    assert found[1] == some[-1:]
    assert store.count([key(1)])[0] >= min(MAX_ORIGINALS, len(some) - 1)


def test_more_than_a_read_may_load_is_refused_before_it_is_loaded(
    store: VaultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put([record(number, sealed=b"\x01" + bytes(999)) for number in range(9)])
    monkeypatch.setattr(rows, "MAX_READ_BYTES", 9 * (1_000 + rows._BESIDE))
    assert len(store.find([key(number) for number in range(9)])) == 9
    store.put([record(9)])
    loaded: list[object] = []
    made = rows.record_of
    count = lambda *columns: loaded.append(columns) or made(*columns)  # noqa: E731
    monkeypatch.setattr(f"{type(store).__module__}.record_of", count)
    with pytest.raises(VaultRefused, match="ask for fewer at once") as refused:
        store.find([key(number) for number in range(10)])
    assert refused.value.why == "limit"
    assert len(loaded) <= 10


def test_what_is_written_is_there_for_another(store: VaultStore, store_url: str) -> None:
    store.put([record(1), unbound(2)])
    other = open_store(store_url)
    assert other.find([key(1), key(2)]) == [[record(1)], [unbound(2)]]
    other.delete([key(1)])
    other.close()
    assert store.find([key(1)]) == [[]]


def test_all_originals_of_a_pseudonym_are_kept_by_first_day_then_sealed_original(store: VaultStore) -> None:
    of = key(1)
    late = seen(record(1, of, b"\x01a"), 5, 6)
    early_b = seen(record(2, of, b"\x01b"), 1, 9)
    early_a = seen(record(3, of, b"\x01a"), 1, 2)
    assert store.put([late, early_b, early_a]) == Stored(3, 0)
    assert store.find([of]) == [[early_a, early_b, late]]


@pytest.mark.parametrize(
    "other",
    [
        record(1, sealed=b"\x01another"),
        record(1, about=2),
        replace(record(1), subject=b""),
        record(1, key(2)),
        record(1, key(1, field="device_id")),
        record(1, key(1, stream="webshop")),
    ],
)
def test_records_are_one_only_if_key_subject_and_sealed_original_are(
    store: VaultStore, other: SealedRecord
) -> None:
    assert store.put([record(1)]) == Stored(1, 0)
    assert store.put([other]) == Stored(1, 0)
    found = store.find([key(1), other.key])
    assert record(1) in found[0] and other in found[1]
    assert store.records() == 2


def test_a_long_original_differs_from_another_by_its_last_byte(store: VaultStore) -> None:
    one, other = (record(1, sealed=b"\x01" + b"x" * 65_551 + end) for end in (b"a", b"b"))
    assert store.put([one, other]) == Stored(2, 0)
    assert store.find([key(1)]) == [[one, other]]


def test_days_are_the_earliest_and_the_latest_in_whatever_order_they_come(store: VaultStore) -> None:
    times = [(3, 3), (1, 2), (5, 8), (4, 4)]
    for number, order in enumerate(permutations(times)):
        that = record(number)
        stored = [store.put([seen(that, *days)]) for days in order]
        assert stored == [Stored(1, 0), *[Stored(0, 1)] * 3]
        assert store.find([that.key]) == [[seen(that, 1, 8)]]


def test_the_same_record_twice_in_one_call_is_one(store: VaultStore) -> None:
    some = [seen(record(1), 4, 5), seen(record(1), 2, 3), record(2), seen(record(1), 6, 7)]
    assert store.put(some) == Stored(new=2, known=2)
    assert store.put(some) == Stored(new=0, known=4)
    assert store.find([key(1), key(2)]) == [[seen(record(1), 2, 7)], [record(2)]]


def test_new_and_known_ones_in_one_call(store: VaultStore) -> None:
    store.put([record(1), record(2)])
    assert store.put([seen(record(1), -3, 3), record(3), record(2)]) == Stored(new=1, known=2)
    assert store.find([key(1), key(2), key(3)]) == [[seen(record(1), -3, 3)], [record(2)], [record(3)]]


ODD = [
    "\0",
    "a\0",
    "a",
    "A",
    "\0a",
    "é",
    "e\u0301",
    "💶" * 256,
    "x" * 1024,
    "x" * 1023,
    "'; DROP TABLE vault_records; --",
    "%s%(a)s:b\\x00",
    " ",
    "  ",
    "\n",
]


def test_pseudonyms_over_piinguins_wire_may_be_anything(store: VaultStore) -> None:
    keys = [RecordKey(PIINGUIN_STREAM, PIINGUIN_FIELD, text) for text in ODD]
    some = [unbound(number, of) for number, of in enumerate(keys)]
    assert store.put(some) == Stored(len(ODD), 0)
    assert store.find(keys) == [[that] for that in some]
    assert store.delete(keys[:1]) == 1
    assert store.find(keys) == [[], *([that] for that in some[1:])]


def test_names_that_run_into_one_another_are_kept_apart(store: VaultStore) -> None:
    keys = [
        RecordKey("ab", "c", "d" * 32),
        RecordKey("a", "bc", "d" * 32),
        RecordKey("a", "b", "c" + "d" * 32),
        RecordKey("s" * 255, "f/[]/*.$-" + "f" * 246, "0" * 128),
    ]
    some = [record(number, of) for number, of in enumerate(keys)]
    assert store.put(some) == Stored(4, 0)
    assert store.find(keys) == [[that] for that in some]


@pytest.mark.parametrize("size", [0, 1, 17, 65_536 + 17])
def test_sealed_originals_of_every_size(store: VaultStore, size: int) -> None:
    that = replace(record(1), sealed=bytes(range(256)) * (size // 256) + bytes(size % 256))
    assert store.put([that]) == Stored(1, 0)
    assert store.put([that]) == Stored(0, 1)
    assert store.find([key(1)]) == [[that]]


def test_many_at_once(store: VaultStore, many: int) -> None:
    some = [seen(record(number), 0, number % 5) for number in range(many)]
    assert store.put(some) == Stored(many, 0)
    assert store.put(some[::-1]) == Stored(0, many)
    keys = [that.key for that in some]
    assert store.find(keys) == [[that] for that in some]
    assert store.records() == many
    assert store.delete(keys[::2]) == many // 2
    assert store.delete_subjects([that.subject for that in some]) == many - many // 2
    assert store.records() == 0


def test_many_originals_of_one_pseudonym(store: VaultStore, many: int) -> None:
    some = [replace(record(number, key(0)), sealed=b"%08d" % number) for number in range(many // 4)]
    assert store.put(some) == Stored(len(some), 0)
    assert store.find([key(0)]) == [some]
    assert store.delete([key(0)]) == len(some)


def test_deleting_keys_deletes_all_their_originals_and_no_others(store: VaultStore) -> None:
    of = key(1)
    store.put([record(1, of), record(2, of), unbound(3, of), record(4), record(5, key(1, field="device_id"))])
    assert store.delete([of, of, key(99)]) == 3
    assert store.find([of, key(4), key(1, field="device_id")]) == [
        [],
        [record(4)],
        [record(5, key(1, field="device_id"))],
    ]
    assert store.delete([of]) == 0
    assert store.put([record(1, of)]) == Stored(1, 0)


def test_deleting_data_subjects_deletes_their_records_and_consents(store: VaultStore) -> None:
    mine = [record(1), record(1, key(7, stream="webshop")), record(1, key(1), b"\x01another")]
    store.put([*mine, record(2), unbound(3)])
    store.put_consents([consent(1, 1), consent(1, 2, stream="webshop"), consent(2, 1)])
    assert store.delete_subjects([subject(1), subject(1), subject(99)]) == 3
    assert store.find([key(1), key(7, stream="webshop"), key(2), key(3)]) == [
        [],
        [],
        [record(2)],
        [unbound(3)],
    ]
    assert store.consents("webshop", [subject(1)]) == {}
    assert store.consents("logins", [subject(1), subject(2)]) == {subject(2): consent(2, 1)}
    assert store.delete_subjects([subject(1)]) == 0


def test_a_data_subject_with_consents_alone(store: VaultStore) -> None:
    store.put_consents([consent(1, 1)])
    assert store.delete_subjects([subject(1)]) == 0
    assert store.consents("logins", [subject(1)]) == {}


def test_deleting_marks_deletes_their_records(store: VaultStore) -> None:
    store.put([unbound(1), replace(unbound(2), mark=mark(1)), unbound(3), record(4)])
    assert store.delete_marked([mark(1), mark(1), mark(99)]) == 2
    assert store.find([key(1), key(2), key(3), key(4)]) == [[], [], [unbound(3)], [record(4)]]


def test_nobody_and_no_mark_are_not_everybody(store: VaultStore) -> None:
    store.put([record(1), unbound(2)])
    assert store.delete_subjects([b""]) == 0
    assert store.delete_marked([b""]) == 0
    assert store.find([key(1), key(2)]) == [[record(1)], [unbound(2)]]


def test_records_are_counted(store: VaultStore) -> None:
    assert store.records() == 0
    store.put([record(1), record(2), record(2)])
    assert store.records() == 2


def test_days_of_all_centuries(store: VaultStore) -> None:
    store.put([seen(record(1), -300_000, -300_000)])
    store.put([seen(record(1), 2_000_000, 2_000_000)])
    [[found]] = store.find([key(1)])
    assert (found.first_seen, found.last_seen) == (days_after(-300_000), days_after(2_000_000))
