"""How an event's time is written: strptime directives, or a word for a count since 1970.

The loader checks it, validation reads times by it, importers translate Java's patterns into it and exporters
back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

EPOCH_UNITS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Words for whole numbers since 1970 (UTC), and how many microseconds their unit has."""

_TWO_DIGITS = "mdHMS"
_DIRECTIVES = {"Y": "([0-9]{4})", "f": "([0-9]{1,9})", **dict.fromkeys(_TWO_DIGITS, "([0-9]{1,2})")}
_KNOWN = "%Y %m %d %H %M %S %f %z %%"
_ZONES = ((r"(Z|[+-][0-9]{2}:[0-9]{2})", "{0}"), (r"([+-][0-9]{2})([0-9]{2})", "{0}:{1}"))
"""The two ways to write an offset: no one replacement could put a colon into the second only."""

_NEEDS = {"H": "d", "M": "H", "S": "M", "f": "S"}
"""Directives that mean nothing without a coarser one."""

_LONE_DIGIT = r"([ :-])([0-9])\b"


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """A time's written form.

    Months, days, hours, minutes and seconds have one digit or two, next to another digit always two.

    `forms`: pairs of a regular expression and a replacement, both valid in Python's `re` and in RE2, that
    turn a whole text into ISO 8601 with one-digit numbers still in it; no text matches two. `unit`: for the
    words, the microseconds that the number counts in; then there are no forms.
    """

    text: str
    forms: tuple[tuple[str, str], ...] = ()
    unit: int | None = None

    @classmethod
    def parse(cls, text: str) -> TimeFormat:
        """Raises ValueError, problem and mend, if `text` is no format or does not name one moment."""
        if text in EPOCH_UNITS:
            return cls(text, unit=EPOCH_UNITS[text])
        parts = list(_parts(text))
        given = [part for part, directive in parts if directive]
        for name in given:
            if given.count(name) > 1:
                raise ValueError(f"`%{name}` stands twice; write every directive once")
        for name in "Ymd":
            if name not in given:
                raise ValueError(
                    f"`%{name}` is missing; a format names year, month and day: %Y-%m-%d, "
                    f"or is one word: {', '.join(EPOCH_UNITS)}"
                )
        for name, needed in _NEEDS.items():
            if name in given and needed not in given:
                raise ValueError(f"`%{name}` without `%{needed}`; add it: %H:%M:%S.%f")
        return cls(text, tuple(_form(parts, zone) for zone in (_ZONES if "z" in given else _ZONES[:1])))

    @property
    def zoned(self) -> bool:
        """Whether every time written so says its offset from UTC, or cannot need one."""
        return self.unit is not None or any(name == "z" for name, directive in _parts(self.text) if directive)

    def to_iso(self, text: str) -> str | None:
        """`text` as ``YYYY-MM-DD HH:MM:SS[.fraction][Z|±hh:mm]``; None if it is not of this format.

        What time of day the format does not name is 0. Whether there is such a day or hour is not looked at.
        """
        for regex, iso in self.forms:
            match = re.fullmatch(regex, text)
            if match is not None:
                return re.sub(_LONE_DIGIT, r"\g<1>0\2", match.expand(iso))
        return None

    def column_to_iso(self, texts: pa.Array) -> pa.Array:
        """`to_iso` of every text, by RE2; null where it is None."""
        result = pa.nulls(len(texts), texts.type)
        for regex, iso in self.forms:
            whole = rf"\A(?:{regex})\z"
            matches = pc.match_substring_regex(texts, whole)
            result = pc.if_else(matches, pc.replace_substring_regex(texts, whole, iso), result)
        return pc.replace_substring_regex(result, _LONE_DIGIT, r"\10\2")


def from_java(pattern: str) -> str:
    """Java's DateTimeFormatter `pattern` as a format. Raises ValueError, problem and mend, if it has none."""
    text = "".join(_from_java(pattern))
    TimeFormat.parse(text)
    return text


def to_java(format: TimeFormat) -> str:
    """`format` as a pattern of Java's DateTimeFormatter, which wants a fraction of as many digits as it says:
    three. Raises ValueError, problem and mend, for counts since 1970, which have none."""
    if format.unit is not None:
        raise ValueError(
            f"Java's patterns have no `{format.text}`; write the time as text, or as RFC 3339 in the events"
        )
    pattern = ""
    for part, directive, beside in _placed(list(_parts(format.text))):
        letters = _TO_JAVA[part] if directive else _java_literal(part)
        pattern += letters * 2 if beside and part in _TWO_DIGITS else letters
    return pattern


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """The directives of a format, as their letters with True, and the text around them with False."""
    for number, part in enumerate(re.split(r"%(.|\Z)", text, flags=re.DOTALL)):
        if number % 2 == 0:
            if part:
                yield part, False
        elif part == "%":
            yield part, False
        elif part in _DIRECTIVES or part == "z":
            yield part, True
        else:
            raise ValueError(f"unknown directive `%{part}`; one of {_KNOWN}, anything else stands for itself")


def _placed(parts: list[tuple[str, bool]]) -> Iterator[tuple[str, bool, bool]]:
    """`parts`, and whether a digit may stand right before or after each."""
    for number, (part, directive) in enumerate(parts):
        before, after = parts[max(number - 1, 0) : number], parts[number + 1 : number + 2]
        beside = [_digit(*other, at=-1) for other in before] + [_digit(*other, at=0) for other in after]
        yield part, directive, any(beside)


def _digit(part: str, directive: bool, at: int) -> bool:
    """Whether the part may start (`at` 0) or end (-1) with a digit."""
    return (part != "z" or at == -1) if directive else part[at].isdigit()


def _form(parts: list[tuple[str, bool]], zone: tuple[str, str]) -> tuple[str, str]:
    """Regular expression and replacement, for offsets written as `zone` says."""
    regex, groups, found = "", 0, {}
    for part, directive, beside in _placed(parts):
        if not directive:
            regex += re.escape(part)
            continue
        piece = zone[0] if part == "z" else _DIRECTIVES[part]
        if beside and part in _TWO_DIGITS:
            piece = "([0-9]{2})"
        count = re.compile(piece).groups
        found[part] = [rf"\{groups + number + 1}" for number in range(count)]
        regex, groups = regex + piece, groups + count
    year, month, day, hour, minute, second = ("".join(found.get(name, ["00"])) for name in "YmdHMS")
    fraction = "." + found["f"][0] if "f" in found else ""
    offset = zone[1].format(*found["z"]) if "z" in found else ""
    return regex, f"{year}-{month}-{day} {hour}:{minute}:{second}{fraction}{offset}"


_JAVA = re.compile(r"'(?P<quoted>(?:[^']|'')*)'|(?P<letters>([A-Za-z])\3*)|(?P<other>.)", re.DOTALL)
_FROM_JAVA = {
    **dict.fromkeys(("yyyy", "uuuu", "y", "u"), "%Y"),
    **{"MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"},
    **{"M": "%m", "d": "%d", "H": "%H", "m": "%M", "s": "%S"},
    **{"S" * digits: "%f" for digits in range(1, 10)},
    **dict.fromkeys(("XXX", "XX", "XXXXX", "XXXX", "xxx", "xx", "xxxxx", "xxxx"), "%z"),
    **dict.fromkeys(("Z", "ZZ", "ZZZ", "ZZZZZ"), "%z"),
}
_TO_JAVA = {"Y": "yyyy", "m": "M", "d": "d", "H": "H", "M": "m", "S": "s", "f": "SSS", "z": "XXX"}
_NOT_FROM_JAVA = {
    **dict.fromkeys(("MMM", "MMMM", "MMMMM", "LLL", "LLLL", "LLLLL"), "a month by its name"),
    **dict.fromkeys(("a", "B", "h", "hh", "K", "KK"), "a half of the day"),
    **dict.fromkeys(("yy", "uu"), "a year of two digits"),
    **dict.fromkeys(("X", "x"), "an offset that may lack its minutes"),
    **dict.fromkeys(
        ("VV", "z", "zz", "zzz", "zzzz", "v", "vvvv", "O", "OOOO", "ZZZZ"), "a time zone by its name"
    ),
}


def _from_java(pattern: str) -> Iterator[str]:
    for match in _JAVA.finditer(pattern):
        quoted, letters, other = match["quoted"], match["letters"], match["other"]
        if quoted is not None:
            yield (quoted.replace("''", "'") or "'").replace("%", "%%")
        elif letters is not None:
            if letters not in _FROM_JAVA:
                what = f" ({_NOT_FROM_JAVA[letters]})" if letters in _NOT_FROM_JAVA else ""
                mend = "write the time with yyyy MM dd HH mm ss SSS XXX only, in the events and the pattern"
                raise ValueError(f"Java's `{letters}`{what} cannot be carried over; {mend}")
            yield _FROM_JAVA[letters]
        elif other in "[]":
            raise ValueError(
                "Java's optional sections cannot be carried over; write the time in one way only"
            )
        elif other in "'{}#":
            raise ValueError(f"not a pattern of Java's: `{other}` stands alone; put text in '…'")
        else:
            yield other.replace("%", "%%")


def _java_literal(text: str) -> str:
    plain = text.replace("'", "''")
    return f"'{plain}'" if re.search(r"[A-Za-z\[\]{}#]", text) else plain
