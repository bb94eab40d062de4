"""The laws, and adding up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pii_pipeline.ledger import Counts, add_counts, violations

GOOD: dict[str, Counts] = {
    "validated_events": {
        "records": 6,
        "validated": 3,
        "bad": 2,
        "duplicate": 1,
        "bad_by_reason": {"not_json": 1, "x": 1},
    },
    "pseudonymized_events": {"validated": 6, "pseudonymized": 3, "erased": 2, "expired": 1},
    "relayed_originals": {"validated": 5, "relayed": 3, "other": 2, "originals": 7, "new": 4, "known": 3},
    "any_derived": {"pseudonymized": 3, "admitted": 2, "withheld": 1},
    "pseudonymized_events/a_table": {"pseudonymized": 3, "loaded": 3},
    "any_derived/a_table": {"admitted": 2, "loaded": 2},
}


@pytest.mark.parametrize("layer", GOOD)
def test_what_adds_up_passes_and_one_record_more_or_less_anywhere_does_not(layer: str) -> None:
    good = GOOD[layer]
    assert violations(layer, good) == []
    for name, number in good.items():
        if isinstance(number, int):
            for wrong in (number + 1, number - 1):
                [text, *_] = violations(layer, {**good, name: wrong})
                assert str(wrong) in text and layer in text
            assert violations(layer, {k: v for k, v in good.items() if k != name}) == [
                f"{layer}: count of {name} is missing"
            ]


def test_negative_counts_do_not_cancel_out() -> None:
    counts = {"pseudonymized": 1, "admitted": 2, "withheld": -1}
    assert violations("derived", counts) == ["derived: count of withheld is -1"]


def test_every_bad_record_has_a_reason() -> None:
    good = GOOD["validated_events"]
    assert violations("validated_events", {**good, "bad_by_reason": {"not_json": 1}}) == [
        "validated_events: 2 bad ≠ 1 bad by reason"
    ]
    without = {name: value for name, value in good.items() if name != "bad_by_reason"}
    assert violations("validated_events", without) == ["validated_events: 2 bad ≠ 0 bad by reason"]
    assert violations("validated_events", {**without, "bad": 0, "records": 4}) == []


def test_what_went_in_is_what_came_out_upstream() -> None:
    counts = GOOD["pseudonymized_events"]
    assert violations("pseudonymized_events", counts, {**GOOD["validated_events"], "validated": 6}) == []
    assert violations("pseudonymized_events", counts, GOOD["validated_events"]) == [
        "pseudonymized_events: 6 validated went in, 3 came out upstream"
    ]


_counts = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)).flatmap(
    lambda flat: st.dictionaries(st.sampled_from("xyz"), st.integers(0, 9)).map(
        lambda nested: {**flat, "bad_by_reason": nested}
    )
)


@given(st.lists(_counts))
def test_sums_are_sums_by_name_and_inputs_stay_as_they_are(many: list[dict]) -> None:
    copies = [{**counts, "bad_by_reason": dict(counts["bad_by_reason"])} for counts in many]
    total = add_counts(many)
    assert many == copies
    for name in "abc":
        assert total.get(name, 0) == sum(counts.get(name, 0) for counts in many)
    nested = total.get("bad_by_reason", {})
    assert isinstance(nested, dict)
    for name in "xyz":
        assert nested.get(name, 0) == sum(counts["bad_by_reason"].get(name, 0) for counts in many)
