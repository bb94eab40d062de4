"""Why a record is bad: the vocabulary of the `bad_events` rows that validation gives rise to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

FailureType = Literal[
    "too_large",
    "not_utf8",
    "not_json",
    "malformed_record",
    "unknown_contract",
    "schema_violation",
    "unrepresentable",
    "empty_key",
    "rule_violation",
]
"""In the order in which they are looked for: a record gets the first that applies.

`malformed_record` is of delimited records alone: as many fields as there are columns cannot be made out. Two
exceptions, where a later step cannot be taken at all: a record that is no JSON object is a
`schema_violation` before its contract is looked at, and a number beyond the range of a double is
`unrepresentable` before the schema is.
"""


@dataclass(frozen=True, slots=True)
class Failure:
    """One bad record: its position among the records handed in, and the first reason found.

    `contract` is the one that it was judged by. `path` is the schema's path of the field, made of declared
    names only ("" is the record itself). Neither
    `path` nor `message` ever holds a value or a key that the producer chose. `subject` does identify a
    person (the data subject's id, where it could be read) and therefore stays out of the repr.
    """

    row: int
    contract: str
    type: FailureType
    path: str
    rule: str
    message: str
    subject: str | None = field(default=None, repr=False)


class Rejected(Exception):
    """Raised on the strict path to end the judgement of one record; never leaves the package."""

    def __init__(self, type: FailureType, path: str, rule: str, message: str) -> None:
        super().__init__(type)
        self.type: FailureType = type
        self.path = path
        self.rule = rule
        self.message = message
        self.subject: str | None = None

    def at(self, row: int, contract: str) -> Failure:
        """The failure this stands for, of the record at position `row`, judged by `contract`."""
        return Failure(row, contract, self.type, self.path, self.rule, self.message, self.subject)


def and_more(message: str, others: int) -> str:
    """`message` with the number of further reasons that were found."""
    return message if others == 0 else f"{message} (and {others} more)"
