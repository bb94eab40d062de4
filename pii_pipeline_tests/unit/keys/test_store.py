from __future__ import annotations

import hashlib
import multiprocessing
import secrets
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from pii_pipeline.database import reading
from pii_pipeline.keys import subjects as subjects_module
from pii_pipeline.keys.derivation import key_check_value, salt_mark
from pii_pipeline.keys.errors import KeyDestroyed, SaltMissing, SecretChanged, UnwrapFailed
from pii_pipeline.keys.key_encryption import FileKey, KeyEncryptionKey
from pii_pipeline.keys.store import KeyStore
from pii_pipeline.keys.tables import epoch_key, period_key, singleton_key, subject
from pii_pipeline_tests.unit.keys.conftest import opened

DAY, NEXT = date(2026, 11, 22), date(2026, 11, 23)
ERASED = datetime(2026, 11, 22, 10, 30, 0, 123456, tzinfo=UTC)
LATER = ERASED + timedelta(days=400)


def tags(count: int) -> list[bytes]:
    return [hashlib.sha256(b"%d" % number).digest() for number in range(count)]


def reopened(store: KeyStore, kek: KeyEncryptionKey) -> KeyStore:
    """Another process's view: the same database, nothing cached."""
    return opened(store._engine.url.render_as_string(hide_password=False), kek)


def test_fixed_keys_stay(store: KeyStore, kek: KeyEncryptionKey) -> None:
    other = reopened(store, kek)
    assert len(store.index_key()) == len(store.vault_key()) == 32
    assert store.index_key() != store.vault_key()
    assert (other.index_key(), other.vault_key()) == (store.index_key(), store.vault_key())
    assert other.pseudonym_secret() == store.pseudonym_secret()


def test_another_key_encryption_key_refuses_to_start(store: KeyStore, tmp_path: Path) -> None:
    with pytest.raises(UnwrapFailed, match="PII_KEY_ENCRYPTION_KEY"):
        reopened(store, FileKey(tmp_path / "another.key"))


def test_an_imported_secret_is_kept(store: KeyStore, kek: KeyEncryptionKey) -> None:
    secret = store.pseudonym_secret("test_secret")
    assert (secret.version, secret.key) == (1, b"test_secret")
    assert reopened(store, kek).pseudonym_secret() == secret
    assert reopened(store, kek).pseudonym_secret(b"test_secret") == secret
    assert "test_secret" not in repr(secret)


@pytest.mark.parametrize("first", [None, "test_secret"])
def test_a_differing_secret_refuses_to_start(store: KeyStore, first: str | None) -> None:
    stored = store.pseudonym_secret(first)
    with pytest.raises(SecretChanged, match="PII_PSEUDONYM_SECRET") as caught:
        store.pseudonym_secret("canary_secret")
    assert "canary" not in str(caught.value) and "test_secret" not in str(caught.value)
    with pytest.raises(SecretChanged, match="empty"):
        store.pseudonym_secret("")
    assert store.pseudonym_secret() == stored


def test_window_keys_per_stream_and_day(store: KeyStore, kek: KeyEncryptionKey) -> None:
    keys = store.window_keys("webshop", [DAY, NEXT, DAY])
    other = reopened(store, kek).window_keys("logins", [DAY])
    assert list(keys) == [DAY, NEXT]
    assert len({*keys.values(), *other.values()}) == 3
    assert all(key is not None and len(key) == 32 for key in keys.values())
    assert reopened(store, kek).window_keys("webshop", [NEXT]) == {NEXT: keys[NEXT]}
    assert store.window_keys("webshop", []) == {}


def test_an_expired_window_is_never_made_again(store: KeyStore, kek: KeyEncryptionKey) -> None:
    before = store.window_keys("webshop", [DAY, NEXT])
    store.expire_window("webshop", DAY)
    store.expire_window("webshop", DAY)
    assert store.window_keys("webshop", [DAY, NEXT]) == {DAY: None, NEXT: before[NEXT]}
    never_used = date(2020, 1, 1)
    store.expire_window("webshop", never_used)
    assert reopened(store, kek).window_keys("webshop", [never_used]) == {never_used: None}
    with reading(store._engine) as connection:
        markers = connection.execute(select(period_key).where(period_key.c.destroyed_at.is_not(None))).all()
    assert [(row.day, row.wrapped) for row in sorted(markers, key=lambda row: row.day)] == [
        (never_used, None),
        (DAY, None),
    ]


def test_quarantine_and_restricted_keys(store: KeyStore, kek: KeyEncryptionKey) -> None:
    quarantine, restricted = store.quarantine_key("webshop", DAY), store.restricted_key("webshop", DAY)
    assert (len(quarantine), len(restricted)) == (64, 32)
    assert reopened(store, kek).quarantine_key("webshop", DAY) == quarantine
    assert reopened(store, kek).restricted_key("webshop", DAY) == restricted
    store.destroy_quarantine_key("webshop", DAY)
    with pytest.raises(KeyDestroyed, match="quarantine key of stream webshop for 2026-11-22"):
        store.quarantine_key("webshop", DAY)
    assert store.restricted_key("webshop", DAY) == restricted
    store.destroy_restricted_key("webshop", DAY)
    with pytest.raises(KeyDestroyed, match="restricted"):
        store.restricted_key("webshop", DAY)


def test_a_key_moved_to_another_row_does_not_open(store: KeyStore) -> None:
    store.window_keys("webshop", [DAY, NEXT])
    with store._engine.begin() as connection:
        one = connection.scalar(select(period_key.c.wrapped).where(period_key.c.day == DAY))
        connection.execute(update(period_key).where(period_key.c.day == NEXT).values(wrapped=one))
    with pytest.raises(UnwrapFailed):
        store.window_keys("webshop", [NEXT])


def test_subjects_are_entered_once(store: KeyStore, kek: KeyEncryptionKey) -> None:
    asked = [*tags(5), *tags(3)]
    people = store.subjects(asked)
    assert people[5:] == people[:3]
    assert len({person.ref for person in people}) == len({person.salt for person in people}) == 5
    assert {(len(person.ref), len(person.salt)) for person in people} == {(16, 32)}
    assert reopened(store, kek).subjects(tags(7))[:5] == people[:5]
    assert store.subjects([]) == []
    assert repr(people[0]) == "Subject(…)"


def test_who_is_asked_for_is_not_entered(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pii_pipeline.keys.bulk_sql.CHUNK", 2)
    entered = store.subjects([b"a" * 32, b"b" * 32, b"c" * 32])
    tags = [b"a" * 32, b"b" * 32, b"c" * 32, b"d" * 32]
    for _ in range(2):
        assert store.known(tags) == dict(zip(tags, entered, strict=False))


def test_subjects_over_several_chunks(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pii_pipeline.keys.bulk_sql.CHUNK", 10)
    people = store.subjects(tags(35))
    assert store.subjects(tags(45))[:35] == people
    assert store.salts_of([person.ref for person in people]) == dict(people)


def test_created_is_known_to_the_hour_only(store: KeyStore) -> None:
    store.subjects(tags(1))
    with reading(store._engine) as connection:
        hour = connection.scalar(select(subject.c.created_hour))
    assert hour is not None and abs(hour - time.time() / 3600) < 1.1


def test_salts_of_leaves_out_the_forgotten(store: KeyStore, kek: KeyEncryptionKey) -> None:
    gone, stays = store.subjects(tags(2))
    assert store.forget(tags(2)[0], erased_at=ERASED, expires_at=LATER)
    for view in (store, reopened(store, kek)):
        assert view.salts_of([gone.ref, stays.ref, b"?" * 16]) == {stays.ref: stays.salt}


def test_every_loss_is_counted(store: KeyStore) -> None:
    (tag,) = tags(1)
    counted = [store.losses()]
    for again in range(3):  # also of somebody who came back, and as of earlier: then no tombstone moves
        store.subjects([tag])
        store.forget(tag, erased_at=ERASED - timedelta(days=again), expires_at=LATER)
        counted.append(store.losses())
    store.window_keys("webshop", [date(2026, 11, 22)])
    store.subjects(tags(2))
    store.rotate_epoch()
    counted.append(store.losses())
    store.expire_window("webshop", date(2026, 11, 22))
    counted.append(store.losses())
    assert counted == [0, 1, 2, 3, 3, 4]


def test_who_comes_back_is_a_new_person(store: KeyStore) -> None:
    (tag,) = tags(1)
    (before,) = store.subjects([tag])
    store.forget(tag, erased_at=ERASED, expires_at=LATER)
    assert store.erased_at([tag, b"?" * 32]) == {tag: ERASED}
    (after,) = store.subjects([tag])
    assert after.ref != before.ref and after.salt != before.salt
    assert store.salts_of([before.ref]) == {}
    assert store.erased_at([tag]) == {tag: ERASED}


def test_tombstones_move_forward_only_and_expire(store: KeyStore) -> None:
    (tag,) = tags(1)
    assert not store.forget(tag, erased_at=ERASED, expires_at=LATER)
    store.forget(tag, erased_at=ERASED - timedelta(days=1), expires_at=LATER - timedelta(days=1))
    assert store.erased_at([tag]) == {tag: ERASED}
    newer = (ERASED + timedelta(days=1)).astimezone(timezone(timedelta(hours=5)))
    store.forget(tag, erased_at=newer, expires_at=LATER)
    assert store.erased_at([tag]) == {tag: newer}
    assert store.drop_expired_tombstones(LATER - timedelta(seconds=1)) == 0
    assert store.drop_expired_tombstones(LATER) == 1
    assert store.erased_at([tag]) == {}


def test_a_tombstone_needs_a_time_zone(store: KeyStore) -> None:
    people = store.subjects(tags(1))
    with pytest.raises(Exception, match="time zone"):
        store.forget(tags(1)[0], erased_at=ERASED.replace(tzinfo=None), expires_at=LATER)
    assert store.subjects(tags(1)) == people, "half an erasure"


def test_nothing_in_the_files_is_a_key_and_nothing_forgotten_remains(
    tmp_path: Path, kek: KeyEncryptionKey
) -> None:
    folder = tmp_path / "db"
    store = opened(f"sqlite:///{folder}/pii.db", kek)
    person, other = store.subjects(tags(2))
    window = store.window_keys("webshop", [DAY])[DAY]
    assert window is not None

    def content() -> bytes:
        return b"".join(file.read_bytes() for file in folder.iterdir())

    with reading(store._engine) as connection:
        wrapped = connection.scalar(select(subject.c.salt).where(subject.c.ref == person.ref))
    assert wrapped is not None and wrapped in content()
    plain = [
        store.index_key(),
        store.vault_key(),
        store.pseudonym_secret().key,
        window,
        person.salt,
        other.salt,
    ]
    assert not any(key in content() for key in plain)
    store.forget(tags(1)[0], erased_at=ERASED, expires_at=LATER)
    assert wrapped not in content()
    assert tags(1)[0] not in content()


def test_rotation_keeps_survivors_and_blinds_old_backups(store: KeyStore, kek: KeyEncryptionKey) -> None:
    people = store.subjects(tags(25))
    with reading(store._engine) as connection:
        backup = connection.execute(select(subject)).first()
    assert backup is not None
    assert store.rotate_epoch() == 2
    for view in (store, reopened(store, kek)):
        assert view.subjects(tags(30))[:25] == people
    with store._engine.begin() as connection:
        epochs = connection.execute(select(epoch_key.c.epoch, epoch_key.c.wrapped)).all()
        assert {row.epoch: row.wrapped is None for row in epochs} == {1: True, 2: False}
        old = update(subject).where(subject.c.tag == backup.tag)
        connection.execute(old.values(salt=backup.salt, salt_key_id=backup.salt_key_id))
    with pytest.raises(UnwrapFailed):
        reopened(store, kek).salts_of([bytes(backup.ref)])


def test_an_interrupted_rotation_is_finished(
    store: KeyStore, kek: KeyEncryptionKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = store.subjects(tags(35))
    monkeypatch.setattr(subjects_module, "CHUNK", 10)
    killed = reopened(store, kek)
    opened = 0

    def dies(*args: bytes | int) -> bytes:
        nonlocal opened
        opened += 1
        if opened > 15:
            raise KeyboardInterrupt
        return KeyStore._open_salt(killed, *args)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(killed, "_open_salt", dies)
    with pytest.raises(KeyboardInterrupt):
        killed.rotate_epoch()
    with reading(store._engine) as connection:
        by_epoch = select(subject.c.salt_key_id, func.count()).group_by(subject.c.salt_key_id)
        assert sorted(tuple(row) for row in connection.execute(by_epoch)) == [(1, 25), (2, 10)]
    newcomers = store.subjects(tags(40))[35:]
    assert reopened(store, kek).rotate_epoch() == 2
    assert reopened(store, kek).subjects(tags(40)) == [*people, *newcomers]
    assert store.rotate_epoch() == 3


def test_a_process_that_knows_only_the_old_epoch_writes_under_the_new_one(
    store: KeyStore, kek: KeyEncryptionKey
) -> None:
    store.subjects(tags(2))
    reopened(store, kek).rotate_epoch()
    people = store.subjects(tags(4))
    assert reopened(store, kek).subjects(tags(4)) == people


def test_an_empty_store_rotates(store: KeyStore) -> None:
    assert store.rotate_epoch() == 1
    assert store.rotate_epoch() == 2


def _everything(url: str, kek: str, start: float) -> list[bytes]:
    """What one process of several sees of a store that none has made yet."""
    time.sleep(max(0.0, start - time.time()))
    store = opened(url, FileKey(Path(kek)))
    order = tags(300)
    secrets.SystemRandom().shuffle(order)
    people = dict(zip(order, store.subjects(order), strict=True))
    windows = store.window_keys("webshop", [DAY, NEXT])
    return [
        store.index_key(),
        store.vault_key(),
        store.pseudonym_secret().key,
        store.quarantine_key("webshop", DAY),
        store.restricted_key("webshop", DAY),
        *(key or b"" for key in windows.values()),
        *(part for tag in tags(300) for part in people[tag]),
    ]


def test_processes_that_race_get_the_same_keys(database_url: str, tmp_path: Path) -> None:
    start = time.time() + 2.5
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as processes:
        futures = [processes.submit(_everything, database_url, f"{tmp_path}/kek", start) for _ in range(3)]
        seen = [future.result() for future in futures]
    assert seen[0] == seen[1] == seen[2]
    assert len(set(seen[0])) == len(seen[0]) == 7 + 600


def _enter(url: str, kek: str, first: int) -> None:
    store = opened(url, FileKey(Path(kek)))
    for number in range(first, first + 400, 20):
        store.subjects(tags(number + 20)[number:])


def test_rotation_beside_running_batches_loses_nobody(database_url: str, tmp_path: Path) -> None:
    kek = FileKey(tmp_path / "kek")
    store = opened(database_url, kek)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
        batches = [processes.submit(_enter, database_url, f"{tmp_path}/kek", first) for first in (0, 200)]
        rotations = 0
        while not all(batch.done() for batch in batches):
            store.rotate_epoch()
            rotations += 1
        for batch in batches:
            batch.result()
    assert rotations > 1
    everybody = reopened(store, kek).subjects(tags(600))
    with reading(store._engine) as connection:
        assert connection.scalar(select(func.count()).select_from(subject)) == 600
    assert len({person.salt for person in everybody}) == 600


def test_snowplows_salt_is_remembered_wrapped(store: KeyStore, kek: KeyEncryptionKey) -> None:
    salt = store.snowplow_salt("pepper123")
    assert salt.value == b"pepper123"
    assert "pepper123" not in repr(salt)
    other = reopened(store, kek)
    assert other.snowplow_salt() == other.snowplow_salt("pepper123") == salt
    with reading(store._engine) as connection:
        rows = connection.execute(select(singleton_key)).all()
    stored = b"".join(bytes(row.wrapped) for row in rows)
    assert b"pepper123" not in stored
    assert not any(mark in stored for mark in (key_check_value(b"pepper123"), salt.mark.encode()))


def test_no_salt_is_refused_with_the_mend(store: KeyStore) -> None:
    with pytest.raises(
        SaltMissing, match="set PII_SNOWPLOW_SALT to the salt of your Snowplow PII enrichment"
    ):
        store.snowplow_salt()


def test_a_differing_salt_is_refused_without_being_shown(store: KeyStore) -> None:
    salt = store.snowplow_salt("pepper123")
    with pytest.raises(SecretChanged, match="PII_SNOWPLOW_SALT is not the salt") as caught:
        store.snowplow_salt("pepper124")
    assert "pepper" not in str(caught.value)
    assert store.snowplow_salt() == salt


def test_the_mark_of_a_salt_tells_two_apart_and_is_another_one_in_every_installation(
    store: KeyStore,
) -> None:
    index = store.index_key()
    marks = {salt_mark(key, salt) for key in (index, bytes(32)) for salt in (b"pepper123", b"pepper124")}
    assert len(marks) == 4
    assert store.snowplow_salt("pepper123").mark == salt_mark(index, b"pepper123")
