"""Regular expressions for whole columns: a pattern rewritten for RE2 so that it only ever accepts soundly.

Three engines meet here: a schema's `pattern` is ECMA-262, a contract's `regex` is Python's `re.search`, and
Arrow runs RE2 over a column. They differ about what is a space, a digit or a word character outside printable
ASCII, about `$` before a final newline, and about syntax. The rewritten pattern matches a subset of what the
original matches, in either dialect; what it does not match is judged one by one by the original.
"""

from __future__ import annotations

import re
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

# Syntax that Python and ECMA-262 (in Unicode mode) read alike. Beyond it: inline flags, named groups,
# lookaround and back references, escapes with letters of their own, `{,n}`, `[]`, set operations in classes.
_ALIKE = re.compile(
    r"""(?: \\[dDwWsS^$.*+?()\[\]{}|/\\\-tnrfv] | \\x[0-9a-fA-F]{2} | \(\?: | \((?!\?)
        | \[\^?(?!\^?\]) | \{(?!,) | [^\\(\[{] )*""",
    re.VERBOSE | re.DOTALL,
)
_SET_OPERATION = re.compile(r"\[[^\]]*(?:\[|&&|--|~~|\|\|)")

_PRINTABLE = range(0x20, 0x7F)
_TEST = {
    c.CATEGORY_DIGIT: str.isdigit,
    c.CATEGORY_SPACE: str.isspace,
    c.CATEGORY_WORD: lambda char: char.isalnum() or char == "_",
    c.CATEGORY_NOT_DIGIT: lambda char: not char.isdigit(),
    c.CATEGORY_NOT_SPACE: lambda char: not char.isspace(),
    c.CATEGORY_NOT_WORD: lambda char: not (char.isalnum() or char == "_"),
}
_POSITIVE = (c.CATEGORY_DIGIT, c.CATEGORY_SPACE, c.CATEGORY_WORD)


class _NotSound(Exception):
    """The pattern has a construct that has no sound rewriting."""


def to_re2(pattern: str, dialect: Literal["python", "ecma"]) -> str | None:
    """A pattern for `pyarrow.compute.match_substring_regex` that matches only where a search for `pattern`
    does; None if there is none."""
    if dialect == "ecma" and (not _ALIKE.fullmatch(pattern) or _SET_OPERATION.search(pattern)):
        return None
    try:
        tree = _parser.parse(pattern)
        if tree.state.flags & ~re.UNICODE:
            return None
        rewritten = _sequence(tree)
        # RE2 has limits of its own (repetitions, size of the program): does it take the pattern?
        pc.match_substring_regex(pa.array([""]), rewritten)
    except (re.error, _NotSound, RecursionError, OverflowError, pa.ArrowInvalid):
        return None
    return rewritten


def _sequence(items: Any) -> str:
    return "".join(_node(op, argument) for op, argument in items)


def _node(op: Any, argument: Any) -> str:
    if op is c.LITERAL:
        return _char(argument)
    if op is c.NOT_LITERAL:
        return f"[^{_char(argument)}]"
    if op is c.ANY:
        return r"[^\n]"
    if op is c.IN:
        return _class(argument)
    if op is c.AT:
        return _anchor(argument)
    if op is c.BRANCH:
        return "(?:" + "|".join(_sequence(branch) for branch in argument[1]) + ")"
    if op is c.SUBPATTERN:
        _, added, removed, items = argument
        if added or removed:
            raise _NotSound
        return f"(?:{_sequence(items)})"
    if op in (c.MAX_REPEAT, c.MIN_REPEAT):
        least, most, items = argument
        upper = "" if most is c.MAXREPEAT else str(most)
        return f"(?:{_sequence(items)}){{{least},{upper}}}"
    raise _NotSound


def _anchor(where: Any) -> str:
    if where in (c.AT_BEGINNING, c.AT_BEGINNING_STRING):
        return r"\A"
    if where in (c.AT_END, c.AT_END_STRING):
        return r"\z"
    raise _NotSound


def _class(items: list[tuple[Any, Any]]) -> str:
    """A character class. Negated categories reach into all of Unicode, where the engines disagree: such a
    class is narrowed to the printable ASCII characters in it."""
    negated = items[0][0] is c.NEGATE
    members = items[1:] if negated else items
    categories = [argument for op, argument in members if op is c.CATEGORY]
    if categories and (negated or any(category not in _POSITIVE for category in categories)):
        chosen = [code for code in _PRINTABLE if any(_contains(m, code) for m in members) is not negated]
        if not chosen:
            raise _NotSound
        return "[" + "".join(map(_char, chosen)) + "]"
    return "[" + "^" * negated + "".join(map(_member, members)) + "]"


def _contains(member: tuple[Any, Any], code: int) -> bool:
    op, argument = member
    if op is c.CATEGORY:
        return _TEST[argument](chr(code))
    return argument == code if op is c.LITERAL else argument[0] <= code <= argument[1]


def _member(member: tuple[Any, Any]) -> str:
    op, argument = member
    if op is c.CATEGORY:
        return {c.CATEGORY_DIGIT: "0-9", c.CATEGORY_SPACE: r"\t\n\f\r ", c.CATEGORY_WORD: "0-9A-Za-z_"}[
            argument
        ]
    if op is c.LITERAL:
        return _char(argument)
    return f"{_char(argument[0])}-{_char(argument[1])}"


def _char(code: int) -> str:
    if 0xD800 <= code <= 0xDFFF:
        raise _NotSound
    return f"\\x{{{code:x}}}"
