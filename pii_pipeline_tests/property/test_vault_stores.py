"""Whatever is put into a vault's store and deleted from it: it holds what a dictionary would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pii_pipeline.vault.model import PIINGUIN_FIELD, PIINGUIN_STREAM, RecordKey, SealedRecord, Stored
from pii_pipeline.vault.stores import VaultStore, open_store
from pii_pipeline_tests.unit.vault.stores.examples import key, mark, record, seen, subject, unbound

KEYS = [
    key(1),
    key(1, field="device_id"),
    key(2),
    *(RecordKey(PIINGUIN_STREAM, PIINGUIN_FIELD, text) for text in ("\0", "é", "É")),
]
"""Few, so that they meet."""

Model = dict[tuple[RecordKey, bytes, bytes], SealedRecord]


@st.composite
def records(draw: st.DrawFn) -> SealedRecord:
    of, number = draw(st.sampled_from(KEYS)), draw(st.integers(0, 2))
    first = draw(st.integers(-3, 3))
    that = draw(st.sampled_from([record, unbound]))(number, of)
    return replace(
        seen(that, first, first + draw(st.integers(0, 3))), sealed=b"\x01%d" % draw(st.integers(0, 1))
    )


numbers = st.lists(st.integers(0, 3), max_size=4)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(records(), max_size=12)),
        st.tuples(st.just("delete"), st.lists(st.sampled_from(KEYS), max_size=3)),
        st.tuples(st.just("delete_subjects"), numbers.map(lambda some: [subject(number) for number in some])),
        st.tuples(st.just("delete_marked"), numbers.map(lambda some: [mark(number) for number in some])),
    ),
    max_size=12,
)


@pytest.fixture(params=["sqlite", "postgresql", "dynamodb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VaultStore]:
    if request.param == "dynamodb":
        request.getfixturevalue("faulty_aws").one_by_one = True
        url = "dynamodb://vault"
    elif request.param == "postgresql":
        url = request.getfixturevalue("postgres_database_url")
    else:
        url = f"sqlite:///{tmp_path / 'vault.db'}"
    store = open_store(url)
    yield store
    store.close()


def put(model: Model, some: Sequence[SealedRecord]) -> Stored:
    new = 0
    for that in some:
        identity = that.key, that.subject, that.sealed
        there = model.get(identity)
        new += there is None
        first = min(that.first_seen, there.first_seen) if there else that.first_seen
        last = max(that.last_seen, there.last_seen) if there else that.last_seen
        model[identity] = replace(there or that, first_seen=first, last_seen=last)
    return Stored(new, len(some) - new)


def drop(model: Model, attribute: str, values: Sequence[Any]) -> int:
    gone = [identity for identity, that in model.items() if getattr(that, attribute) in values]
    for identity in gone:
        del model[identity]
    return len(gone)


DELETED_BY = {"delete": "key", "delete_subjects": "subject", "delete_marked": "mark"}


def check(store: VaultStore, steps: Sequence[tuple[str, Any]]) -> None:
    store.delete(KEYS)
    model: Model = {}
    for method, given_ in steps:
        if method == "put":
            assert store.put(given_) == put(model, given_)
        else:
            assert getattr(store, method)(given_) == drop(model, DELETED_BY[method], given_)
    found = store.find(KEYS)
    for of, those in zip(KEYS, found, strict=True):
        wanted = {identity: that for identity, that in model.items() if that.key == of}
        assert {(that.key, that.subject, that.sealed): that for that in those} == wanted
        assert len(those) == len(wanted)
        assert those == sorted(those, key=lambda that: (that.first_seen, that.sealed))
    assert store.records() == len(model)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
def test_a_database_holds_what_a_dictionary_would(
    store: VaultStore, steps: Sequence[tuple[str, Any]]
) -> None:
    check(store, steps)


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
@pytest.mark.parametrize("store", ["dynamodb"], indirect=True)
def test_so_does_dynamodb(store: VaultStore, steps: Sequence[tuple[str, Any]]) -> None:
    """With fewer examples: each step is some requests to moto."""
    check(store, steps)
