"""Figures of the stored keys."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import update

from pii_pipeline.keys.ages import EPOCH_DAYS, key_ages
from pii_pipeline.keys.store import KeyStore
from pii_pipeline.keys.tables import epoch_key, period_key, pseudonym_secret

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAYS = [date(2026, 11, day) for day in (20, 21, 22)]


def test_an_empty_store_has_its_fixed_keys(store: KeyStore) -> None:
    assert [(age.kind, age.keys, age.first, age.stream) for age in key_ages(store._engine)] == [
        ("index", 1, None, None),
        ("tombstone", 1, None, None),
        ("vault", 1, None, None),
    ]


def test_of_each_kind_and_stream(store: KeyStore) -> None:
    store.pseudonym_secret()
    store.subjects([b"t" * 32])
    store.rotate_epoch()
    for stream in ("webshop", "logins"):
        store.window_keys(stream, DAYS)
    store.restricted_key("webshop", DAYS[0])
    store.expire_window("webshop", DAYS[0])
    for day in DAYS:
        store.expire_window("logins", day)
    with store._engine.begin() as connection:
        for days, day in [(5, DAYS[0]), (4, DAYS[1]), (3, DAYS[2])]:
            ago = update(period_key).where(period_key.c.day == day).values(created_at=NOW - timedelta(days))
            connection.execute(ago)
        connection.execute(update(pseudonym_secret).values(created_at=NOW - timedelta(days=400, hours=1)))

    ages = {(age.kind, age.stream): age for age in key_ages(store._engine)}
    assert list(ages)[3:] == [
        ("pseudonym secret", None),
        ("epoch", None),
        ("window", "logins"),
        ("restricted", "webshop"),
        ("window", "webshop"),
    ]
    window = ages["window", "webshop"]
    assert (window.keys, window.destroyed) == (2, 1)
    assert (window.first, window.last) == ("2026-11-21", "2026-11-22")
    assert (window.oldest, window.newest) == (NOW - timedelta(4), NOW - timedelta(3))
    assert (window.oldest_days(NOW), window.newest_days(NOW)) == (4, 3)
    gone = ages["window", "logins"]
    assert (gone.keys, gone.destroyed, gone.first, gone.oldest, gone.oldest_days(NOW)) == (
        0,
        3,
        None,
        None,
        None,
    )
    secret, epoch = ages["pseudonym secret", None], ages["epoch", None]
    assert (secret.keys, secret.first, secret.last, secret.oldest_days(NOW)) == (1, "1", "1", 400)
    assert (epoch.keys, epoch.destroyed, epoch.first, epoch.last) == (1, 1, "2", "2")


def test_an_epoch_key_is_overdue_and_keys_of_a_day_never_are(store: KeyStore) -> None:
    store.subjects([b"t" * 32])
    store.window_keys("webshop", DAYS)

    def overdue(days: float) -> list[str]:
        made = NOW - timedelta(days)
        with store._engine.begin() as connection:
            connection.execute(update(epoch_key).values(created_at=made))
            connection.execute(update(period_key).values(created_at=made))
        return [age.kind for age in key_ages(store._engine) if age.overdue(NOW)]

    assert overdue(EPOCH_DAYS + 0.9) == []
    assert overdue(EPOCH_DAYS + 1) == ["epoch"]
    store.rotate_epoch()
    assert [age.kind for age in key_ages(store._engine) if age.overdue(datetime.now(UTC))] == []
