from __future__ import annotations

import random
from datetime import date
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from pii_pipeline.keys import derivation, siv
from pii_pipeline.keys.errors import CannotOpen, KeyDestroyed, KeyMissing, SaltMissing
from pii_pipeline.keys.keyring import Column, DataKeys, Keyring

DAY, NEXT, EXPIRED = date(2026, 11, 22), date(2026, 11, 23), date(2025, 1, 1)
WINDOWS = {DAY: b"\x01" * 32, NEXT: b"\x02" * 32, EXPIRED: None}
SECRET = b"test_secret"
AD = b"acme/webshop-click\x00email"


class DataKeyRef(NamedTuple):
    """One row of `DataKeys`."""

    day: date
    salt: bytes
    key_link: bytes


def data_key(ref: DataKeyRef, level: int) -> tuple[bytes, int]:
    """The key itself and its id."""
    derive = derivation.data_keys(WINDOWS[ref.day] or b"", ref.salt)
    (info,) = derivation.data_key_infos("webshop", level, [ref.key_link])
    return derive(info), int(derivation.tink_key_ids([ref.key_link], level)[0])


def keyring(secret: bytes = SECRET) -> Keyring:
    return Keyring("webshop", secret, WINDOWS)


def table(refs: list[DataKeyRef]) -> tuple[DataKeys, NDArray[np.int64]]:
    """The distinct ones of `refs`, and each one's number."""
    numbers = {ref: number for number, ref in enumerate(dict.fromkeys(refs))}
    days, salts, links = ([getattr(ref, name) for ref in numbers] for name in ("day", "salt", "key_link"))
    return DataKeys(days, salts, links), np.array([numbers[ref] for ref in refs], np.int64)


def seal(ring: Keyring, level: int, ad: bytes, values: list[bytes], refs: list[DataKeyRef]) -> list[bytes]:
    keys, numbers = table(refs)
    return ring.seal_columns(keys, [Column(level, ad, values, numbers)])[0]


def unseal(ring: Keyring, level: int, ad: bytes, values: list[bytes], refs: list[DataKeyRef]) -> list[bytes]:
    keys, numbers = table(refs)
    return ring.open_columns(keys, [Column(level, ad, values, numbers)])[0]


def rows(count: int) -> tuple[list[bytes], list[DataKeyRef]]:
    """Values and data keys: about three values a key, two keys a person, two days."""
    rng = random.Random(count)
    salts = [rng.randbytes(32) for _ in range(count // 6 + 1)]
    refs = [
        DataKeyRef(rng.choice([DAY, NEXT]), rng.choice(salts), rng.randbytes(16))
        for _ in range(count // 3 + 1)
    ]
    return [rng.randbytes(rng.randrange(30)) for _ in range(count)], [rng.choice(refs) for _ in range(count)]


def test_domain_none_is_gitlabs_hmac() -> None:
    vector = "c8aa85c632a6677847fd213e8181d39d62905dff3b8a925c9b7bb38eb3829029"
    assert keyring().pseudonyms("none", [b"hello world"])[0].hex() == vector
    assert keyring().pseudonyms("none", [b"hello world"], [b"s" * 32])[0].hex() == vector


def test_default_pseudonyms_are_stable_per_person_and_domain() -> None:
    ann, bob = b"a" * 32, b"b" * 32
    ring = keyring()
    ann_root, bob_root = ring.pseudonym_roots([ann, bob])
    first, again, another_value, another_person = ring.pseudonyms(
        "user", [b"x", b"x", b"y", b"x"], [ann_root, ann_root, ann_root, bob_root]
    )
    assert first == again
    assert len({first, another_value, another_person, *ring.pseudonyms("ip", [b"x"], [ann_root])}) == 4
    scattered = ring.pseudonyms("user", [b"x", b"x", b"y"], [ann_root, bob_root, ann_root])
    assert scattered == [first, another_person, another_value]
    elsewhere = keyring(secret=b"other")
    assert elsewhere.pseudonyms("user", [b"x"], elsewhere.pseudonym_roots([ann])) != [first]


def test_joinable_pseudonyms_are_the_same_across_people() -> None:
    ring = keyring()
    first, again, other = ring.pseudonyms("ip", [b"192.0.2.1", b"192.0.2.1", b"192.0.2.2"])
    assert first == again != other
    assert first not in ring.pseudonyms("device", [b"192.0.2.1"])
    assert first not in ring.pseudonyms("none", [b"192.0.2.1"])
    assert first not in ring.pseudonyms("ip", [b"192.0.2.1"], [b"\0" * 32]), "joinable needs its own label"


def test_subject_tokens_lead_back_and_are_bound_to_their_key_link() -> None:
    ring = keyring()
    refs = [b"r" * 16, b"q" * 16]
    links = ring.key_links(DAY, [b"s1", b"s2"], refs)
    tokens = ring.subject_tokens(DAY, refs, links)
    assert [len(token) for token in tokens] == [32, 32]
    assert ring.open_subject_tokens(DAY, tokens, links) == refs
    with pytest.raises(CannotOpen) as caught:
        ring.open_subject_tokens(DAY, [tokens[0], tokens[0]], links)
    assert caught.value.position == 1
    with pytest.raises(CannotOpen):
        ring.open_subject_tokens(NEXT, tokens, links)
    same_person = ring.key_links(DAY, [b"s1", b"s3"], [refs[0], refs[0]])
    assert len(set(ring.subject_tokens(DAY, [refs[0], refs[0]], same_person))) == 2, "tokens link sessions"


def test_sealed_values_are_tinks_format_under_the_derived_key() -> None:
    values, refs = rows(40)
    sealed = seal(keyring(), 2, AD, values, refs)
    for value, ref, ciphertext in zip(values, refs, sealed, strict=True):
        key, key_id = data_key(ref, 2)
        assert siv.decrypt(key, key_id, ciphertext, AD) == value
    assert unseal(keyring(), 2, AD, sealed, refs) == values
    assert seal(keyring(), 2, AD, values, refs) == sealed
    assert seal(keyring(), 2, AD, [], []) == []


def test_a_ciphertext_opens_only_where_it_belongs() -> None:
    ring, ref = keyring(), DataKeyRef(DAY, b"s" * 32, b"l" * 16)
    sealed = seal(ring, 2, AD, [b"ann@example.com"], [ref])
    assert unseal(ring, 2, AD, sealed, [ref]) == [b"ann@example.com"]
    elsewhere = [
        (2, b"acme/webshop-click\x00notes", ref),  # another column
        (1, AD, ref),  # another level
        (2, AD, ref._replace(salt=b"t" * 32)),  # another person
        (2, AD, ref._replace(key_link=b"m" * 16)),
        (2, AD, ref._replace(day=NEXT)),
    ]
    for level, ad, key in elsewhere:
        with pytest.raises(CannotOpen):
            unseal(ring, level, ad, sealed, [key])
    with pytest.raises(CannotOpen):
        unseal(Keyring("logins", SECRET, WINDOWS), 2, AD, sealed, [ref])


def test_a_key_for_level_1_opens_nothing_of_level_2() -> None:
    """Not even with the key id made to fit: the key itself is another."""
    ref = DataKeyRef(DAY, b"s" * 32, b"l" * 16)
    (sealed,) = seal(keyring(), 2, AD, [b"hello"], [ref])
    with pytest.raises(CannotOpen):
        siv.decrypt(data_key(ref, 1)[0], data_key(ref, 2)[1], sealed, AD)


def test_the_position_of_what_does_not_open_is_named() -> None:
    values, refs = rows(20)
    sealed = seal(keyring(), 2, AD, values, refs)
    sealed[13] = sealed[13][:-1]
    with pytest.raises(CannotOpen, match="number 13") as caught:
        unseal(keyring(), 2, AD, sealed, refs)
    assert caught.value.position == 13


def test_expired_and_unknown_days() -> None:
    ring = keyring()
    with pytest.raises(KeyDestroyed, match="2025-01-01"):
        seal(ring, 1, AD, [b"x"], [DataKeyRef(EXPIRED, b"s" * 32, b"l" * 16)])
    with pytest.raises(KeyDestroyed):
        ring.key_links(EXPIRED, [b"s"], [b"r" * 16])
    with pytest.raises(KeyMissing, match="2020-01-01"):
        ring.subject_tokens(date(2020, 1, 1), [b"r" * 16], [b"l" * 16])


def test_several_columns_at_once_equal_one_by_one() -> None:
    counts = [(1, b"a", 50), (2, b"b", 70), (1, b"c", 50)]
    made = [(level, ad, *rows(count)) for level, ad, count in counts]
    keys, numbers = table([ref for *_, refs in made for ref in refs])
    parts = np.split(numbers, np.cumsum([50, 70]))
    columns = [
        Column(level, ad, values, part) for (level, ad, values, _), part in zip(made, parts, strict=True)
    ]
    sealed = keyring().seal_columns(keys, columns)
    assert sealed == [seal(keyring(), *column) for column in made]
    closed = [column._replace(data=data) for column, data in zip(columns, sealed, strict=True)]
    assert keyring().open_columns(keys, closed) == [list(column.data) for column in columns]
    sealed[2][7] = sealed[2][8]
    broken = [column._replace(data=data) for column, data in zip(columns, sealed, strict=True)]
    with pytest.raises(CannotOpen) as caught:
        keyring().open_columns(keys, broken)
    assert caught.value.position == 7, "the position in its column"


def test_every_value_needs_a_data_key() -> None:
    values, refs = rows(5)
    with pytest.raises(ValueError, match="data key"):
        seal_wrong = table(refs[:4])
        keyring().seal_columns(seal_wrong[0], [Column(1, AD, values, seal_wrong[1])])


def test_consented_datasets_are_unlinked() -> None:
    ring = keyring()
    pseudonyms = ring.pseudonyms("ip", [b"a", b"b"])
    marketing, support = (
        ring.rekey("webshop/marketing", pseudonyms),
        ring.rekey("webshop/support", pseudonyms),
    )
    assert ring.rekey("webshop/marketing", pseudonyms) == marketing
    assert len({*pseudonyms, *marketing, *support}) == 6

    values, refs = rows(4)
    closed = seal(ring, 3, AD, values, refs)
    outer = ring.outer_seal("webshop/marketing", AD, closed)
    assert ring.outer_seal("webshop/marketing", AD, closed) == outer
    assert not {*outer} & {*closed, *ring.outer_seal("webshop/support", AD, closed)}
    assert not {*outer} & {*ring.outer_seal("webshop/marketing", b"other", closed)}
    key = derivation.dataset_ciphertext_key(SECRET, "webshop/marketing")
    key_id = derivation.dataset_key_id("webshop/marketing")
    assert [siv.decrypt(key, key_id, ciphertext, AD) for ciphertext in outer] == closed


def test_snowplows_hashes_need_the_salt() -> None:
    ring = Keyring("webshop", SECRET, WINDOWS, b"pepper123")
    assert ring.snowplow_hashes("MD5", [b"a"]) == derivation.salted_hashes("MD5", b"pepper123", [b"a"])
    with pytest.raises(SaltMissing):
        keyring().snowplow_hashes("MD5", [b"a"])


def test_nothing_shows_keys() -> None:
    values, refs = rows(2)
    keys, numbers = table(refs)
    ring = Keyring("webshop", SECRET, WINDOWS, b"pepper123")
    shown = f"{keyring()!r} {ring!r} {keys!r} {Column(1, AD, values, numbers)!r}"
    for secret in (SECRET, WINDOWS[DAY], refs[0].salt, values[0], b"pepper123"):
        assert repr(secret)[2:-1] not in shown
