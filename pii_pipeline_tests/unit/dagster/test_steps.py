"""What a step lets out when the pipeline fails."""

import errno
import traceback
from collections.abc import Callable

import dagster as dg
import pyarrow as pa
import pytest

from pii_pipeline.ledger import LeaseLost
from pii_pipeline.steps import FORCE_TAG, forced, guarded

PLANTED = "anna.planted@example.org"


def raise_chain() -> None:
    try:
        pa.array(["1", PLANTED]).cast(pa.int64())
    except pa.ArrowInvalid as error:
        assert PLANTED in str(error), "the library no longer quotes values: this test proves nothing"
        try:
            raise KeyError(PLANTED) from error
        except KeyError:
            raise RuntimeError(PLANTED)  # noqa: B904 - an implicit context is what is tested


def failure_of(work: Callable[[], object]) -> dg.Failure:
    with pytest.raises(dg.Failure) as caught:
        guarded(work)
    return caught.value


def test_a_foreign_exceptions_text_cause_and_context_stay_inside() -> None:
    failure = failure_of(raise_chain)
    assert failure.__cause__ is None
    assert failure.__context__ is None
    printed = "".join(traceback.format_exception(failure)) + str(failure.description) + str(failure.metadata)
    assert PLANTED not in printed
    assert "builtins.RuntimeError" in printed
    assert "test_steps.py" in printed, "where it happened must be told"


def test_our_own_errors_keep_their_text() -> None:
    def lose() -> None:
        raise LeaseLost("webshop 2026-11-22T10 was taken over")

    description = failure_of(lose).description or ""
    assert "LeaseLost: webshop 2026-11-22T10 was taken over" in description


def test_a_system_error_is_told_by_its_number() -> None:
    def fill() -> None:
        raise OSError(errno.ENOSPC, PLANTED, f"/landing/{PLANTED}.json")

    description = failure_of(fill).description or ""
    assert "ENOSPC: No space left on device" in description
    assert PLANTED not in description


def test_what_succeeds_is_returned() -> None:
    assert guarded(lambda: 5) == 5


@pytest.mark.parametrize(
    ("tags", "wanted"), [({}, False), ({FORCE_TAG: "true"}, True), ({FORCE_TAG: "false"}, False)]
)
def test_force_is_a_tag(tags: dict[str, str], wanted: bool) -> None:
    assert forced(tags) is wanted
