import grpc
import pytest

from pii_pipeline.vault.errors import AuditBroken, TamperedRow, VaultRefused, VaultUnavailable
from pii_pipeline.vault_service.errors import Busy, Ending, TimeIsOver, TooLarge
from pii_pipeline.vault_service.statuses import code_number, for_the_log, status_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (VaultRefused("unauthenticated", "rule"), "UNAUTHENTICATED"),
        (VaultRefused("denied", "rule"), "PERMISSION_DENIED"),
        (VaultRefused("no basis", "rule"), "FAILED_PRECONDITION"),
        (VaultRefused("invalid", "rule"), "INVALID_ARGUMENT"),
        (VaultRefused("limit", "rule"), "RESOURCE_EXHAUSTED"),
        (VaultUnavailable("jane"), "UNAVAILABLE"),
        (Busy(), "UNAVAILABLE"),
        (Ending(), "UNAVAILABLE"),
        (TimeIsOver(), "DEADLINE_EXCEEDED"),
        (TooLarge(), "RESOURCE_EXHAUSTED"),
        (TamperedRow("jane"), "INTERNAL"),
        (AuditBroken(7, "jane"), "INTERNAL"),
        (ValueError("jane"), "INTERNAL"),
    ],
)
def test_each_error_has_one_status_and_only_refusals_speak_for_themselves(error: Exception, code: str):
    status, message = status_of(error)
    assert (status.name, "jane" in message) == (code, False)
    assert (message == "rule") == isinstance(error, VaultRefused)
    assert message


def test_what_is_unexpected_is_told_by_its_type_alone():
    assert status_of(KeyError("jane")) == (grpc.StatusCode.INTERNAL, "unexpected KeyError")


def test_the_log_says_what_our_errors_say_and_of_others_the_type():
    assert for_the_log(AuditBroken(7, "it is gone")) == "AuditBroken: audit entry 7: it is gone"
    assert for_the_log(KeyError("jane")) == "unexpected KeyError"


def test_numbers_are_those_of_grpc():
    assert code_number(grpc.StatusCode.OK) == 0
    assert code_number(grpc.StatusCode.UNAUTHENTICATED) == 16
