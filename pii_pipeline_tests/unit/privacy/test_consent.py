"""The consent table of STRM Privacy, row by row."""

import pyarrow as pa
import pytest

from pii_pipeline.contracts.model import Consent
from pii_pipeline.privacy.consent import LEVELS, ConsentRequest, consent_column, consent_levels

CONSENTS = [None, [], [0], [1], [2], [3], [1, 2], [1, 3], [2, 3], [1, 2, 3]]


@pytest.mark.parametrize(
    ("level", "admitted"),
    [
        (0, [[0], [1], [2], [3], [1, 2], [1, 3], [2, 3], [1, 2, 3]]),
        (1, [[1], [2], [3], [1, 2], [1, 3], [2, 3], [1, 2, 3]]),
        (2, [[2], [3], [1, 2], [1, 3], [2, 3], [1, 2, 3]]),
        (3, [[3], [1, 3], [2, 3], [1, 2, 3]]),
        (4, []),
    ],
)
def test_cumulative_admits_when_the_highest_consent_reaches_the_level(level, admitted):
    mask = ConsentRequest(level=level).admits(pa.array(CONSENTS, LEVELS))
    assert [consent for consent, yes in zip(CONSENTS, mask, strict=True) if yes] == admitted


@pytest.mark.parametrize(
    ("purposes", "admitted"),
    [
        ({1}, [[1], [1, 2], [1, 3], [1, 2, 3]]),
        ({2}, [[2], [1, 2], [2, 3], [1, 2, 3]]),
        ({1, 2}, [[1, 2], [1, 2, 3]]),
        ({1, 3}, [[1, 3], [1, 2, 3]]),
        ({1, 2, 3}, [[1, 2, 3]]),
        ({4}, []),
    ],
)
def test_granular_admits_when_every_purpose_was_agreed_to(purposes, admitted):
    mask = ConsentRequest(purposes=frozenset(purposes)).admits(pa.array(CONSENTS, LEVELS))
    assert [consent for consent, yes in zip(CONSENTS, mask, strict=True) if yes] == admitted


def test_what_is_readable_is_the_request_not_the_consent():
    assert [level for level in range(5) if ConsentRequest(level=2).readable(level)] == [0, 1, 2]
    assert [level for level in range(5) if ConsentRequest(purposes=frozenset({1, 3})).readable(level)] == [
        1,
        3,
    ]


def test_an_empty_or_double_request_is_refused():
    with pytest.raises(ValueError, match="at least one purpose"):
        ConsentRequest()
    with pytest.raises(ValueError, match="one level"):
        ConsentRequest(level=1, purposes=frozenset({1}))


def test_missing_or_malformed_consent_is_none():
    lists = pa.array([[1, 2], [], None, [1, None], [-1], [2**31]], pa.list_(pa.int64()))
    assert consent_levels(lists).to_pylist() == [[1, 2], [], None, None, None, None]
    assert consent_levels(pa.array([3, None, -1], pa.int64())).to_pylist() == [[3], None, None]
    texts = pa.array(["[1,2]", "1", "[ 3 ]", "", "[]", "[1", "yes", "1;2", None, "[-1]"])
    assert consent_levels(texts).to_pylist() == [[1, 2], [1], [3], [], [], None, None, None, None, None]


def test_a_sliced_column_is_read_from_its_own_rows():
    consents = pa.array([[9], [1], None, [2], [1, 2]], LEVELS).slice(1)
    assert ConsentRequest(purposes=frozenset({1})).admits(consents).tolist() == [True, False, False, True]
    assert ConsentRequest(level=2).admits(consents).tolist() == [False, False, True, True]


# --- what a contract says about consent ---------------------------------------------------------------------


def column(array: pa.Array | None, rows: int = 0, **consent) -> list:
    rows = rows if array is None else len(array)
    return consent_column(Consent(type="granular", **consent), array, rows).to_pylist()


def test_the_default_is_for_events_that_say_nothing():
    texts = pa.array(["[1]", None, "", "[]", "yes", "[3"])
    assert column(texts, field="c") == [[1], None, [], [], None, None]
    assert column(texts, field="c", default=(2,)) == [[1], [2], [], [], None, None]
    lists = pa.array([[1], None, [], [None], [-1]], pa.list_(pa.int64()))
    assert column(lists, field="c", default=(2, 3)) == [[1], [2, 3], [], None, None]
    assert column(pa.array([1, None, -1]), field="c", default=(2,)) == [[1], [2], None]


def test_a_default_alone_holds_for_all_events():
    assert column(None, rows=3, default=(2,)) == [[2], [2], [2]]
    assert column(None, rows=0, default=(2,)) == []


def test_values_that_mean_levels():
    meaning = {"yes": (1, 2), "no": (), "1": (7,), "true": (9,)}
    texts = pa.array(["yes", "no", "Yes", "maybe", "", None, "yes"])
    assert column(texts, field="c", values=meaning) == [[1, 2], [], None, None, None, None, [1, 2]]
    assert column(texts, field="c", values=meaning, default=(0,))[4:6] == [None, [0]]
    assert column(texts.dictionary_encode(), field="c", values=meaning, default=(0,))[:2] == [[1, 2], []]
    assert column(pa.array([1, 2, None]), field="c", values=meaning) == [[7], None, None]
    assert column(pa.array([True, False, None]), field="c", values=meaning) == [[9], None, None]


def test_a_default_under_a_dictionary_and_in_a_slice():
    texts = pa.array(["x", "[1]", None, "[1]", None]).dictionary_encode().slice(1)
    assert column(texts, field="c", default=(2,)) == [[1], [2], [1], [2]]
