"""Does a text hold personal data by its looks? Precise tests in Python behind one cheap vectorised filter."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.treatments import Detector
from pii_pipeline.privacy.encodings import flat

# Every text that a detector finds something in matches this, for RE2 and for Python; most texts do not and
# cost no more. Only beyond ASCII that is not quite so: Python's \d knows more digits.
WORTH_A_LOOK = (
    "[@\uff20\ufe6b]"
    r"|[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|:[0-9A-Fa-f]*:|\+ ?[0-9]|00[1-9][0-9 .()/-]{6}"
    r"|[0-9](?:[ -]?[0-9]){12}|[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}"
)
_WORTH_A_LOOK = re.compile(WORTH_A_LOOK)
# Whole texts whose form says what their digits are: some times and UUIDs have digits like a phone's.
NO_LOOKS = (
    r"^(?:[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"
    r"|[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-6][0-9](?:\.[0-9]{1,9})?"
    r"(?:Z|[+-][0-2][0-9]:?[0-5][0-9])?)$"
)
_EMAIL = re.compile(r"[^\s@<>()\[\],;:\"]+@[^\s@.,;:]+(?:\.[^\s@.,;:]+)+")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_IPV6 = re.compile(r"(?<![\w:])[0-9A-Fa-f:]{2,39}(?![\w:])")
# 00 in the middle of grouped digits is no international prefix.
_PHONE = re.compile(r"(?<![\w+])(?:\+ ?|(?<!\w )00)[1-9][\d ().\-/]{6,20}(?!\w)")
# Where a card number became a number, it may have a sign, and as a double it ends in .0.
_CARD = re.compile(r"(?:(?<![\w.-])|(?<=\A-))\d(?:[ -]?\d){12,18}(?:\.0+)?(?![\w.-])")
_ISSUER = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|6(?:011|5\d\d)\d{12}|35\d{14}"
)
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?!\w)")


def _ip(text: str) -> bool:
    for found in _IPV4.findall(text) + [token for token in _IPV6.findall(text) if token.count(":") >= 2]:
        try:
            address = ipaddress.ip_address(found)
        except ValueError:
            continue
        if not address.is_unspecified and not address.is_loopback:
            return True
    return False


def _phone(text: str) -> bool:
    return any(8 <= sum(map(str.isdigit, found)) <= 17 for found in _PHONE.findall(text))


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 check digit."""
    total = 0
    for i, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + i % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _card(text: str) -> bool:
    found = (re.sub(r"\D", "", run.partition(".")[0]) for run in _CARD.findall(text))
    return any(_ISSUER.fullmatch(digits) is not None and luhn(digits) for digits in found)


def iban_valid(iban: str) -> bool:
    """ISO 13616 check: moved, letters as numbers, modulo 97 = 1."""
    moved = iban[4:] + iban[:4]
    return 15 <= len(iban) <= 34 and int("".join(str(int(char, 36)) for char in moved)) % 97 == 1


def _iban(text: str) -> bool:
    return any(iban_valid(found.replace(" ", "")) for found in _IBAN.findall(text))


DETECTORS: dict[Detector, Callable[[str], bool]] = {
    "email": lambda text: _EMAIL.search(text) is not None,
    "ip": _ip,
    "phone": _phone,
    "card": _card,
    "iban": _iban,
}


def finds_something(text: str) -> bool:
    """Whether any detector finds something in the text."""
    if text.isascii() and _WORTH_A_LOOK.search(text) is None:
        return False
    return any(test(text) for test in DETECTORS.values())


def detect(values: pa.Array, skip: Sequence[str] = ()) -> dict[Detector, int]:
    """How many of the distinct texts of a string column each detector finds something in (zeros left out)."""
    possible = _possible(values, skip)
    if not possible:
        return {}
    distinct = pc.unique(values).drop_null()
    suspect = pc.filter(distinct, pc.match_substring_regex(distinct, WORTH_A_LOOK))
    suspect = pc.filter(suspect, pc.invert(pc.match_substring_regex(suspect, NO_LOOKS)))
    found: dict[Detector, int] = {}
    for text in suspect.to_pylist():
        for name in possible:
            if DETECTORS[name](text):
                found[name] = found.get(name, 0) + 1
    return found


def _possible(values: pa.Array, skip: Sequence[str]) -> list[Detector]:
    """The detectors that may find something in the column, by the characters that are in it at all."""
    asked: list[Detector] = [name for name in DETECTORS if name not in skip]
    _, data = flat(values)
    if (data > 127).any():
        return asked
    text = data.tobytes()
    digits = bool((data - ord("0") < 10).any())
    there: dict[Detector, Callable[[], bool]] = {
        "email": lambda: b"@" in text,
        "ip": lambda: b":" in text or (digits and b"." in text),
        "phone": lambda: digits and (b"+" in text or b"00" in text),
        "card": lambda: digits,
        "iban": lambda: digits and bool((data - ord("A") < 26).any()),
    }
    return [name for name in asked if there[name]()]
