"""Raw records to typed rows and failures with a reason."""

from pii_pipeline.validation.failures import Failure, FailureType
from pii_pipeline.validation.side_by_side import SideBySide
from pii_pipeline.validation.validator import EVENT_TIME, UNLISTED, Validated, Validator

__all__ = ["EVENT_TIME", "UNLISTED", "Failure", "FailureType", "SideBySide", "Validated", "Validator"]
