"""Does a text hold personal data by its looks? Precise tests in Python behind one cheap vectorised filter."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.treatments import Detector

# Every text that a detector finds something in matches this (RE2); most texts do not and cost no more.
WORTH_A_LOOK = (
    r"[@\x{ff20}\x{fe6b}]|[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"
    r"|[0-9A-Fa-f]*:[0-9A-Fa-f]*:|\+ ?[0-9]|00[1-9][0-9 .()/-]{6}"
    r"|[0-9](?:[ -]?[0-9]){12}|[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}"
)
_EMAIL = re.compile(r"[^\s@<>()\[\],;:\"]+@[^\s@.,;:]+(?:\.[^\s@.,;:]+)+")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_IPV6 = re.compile(r"(?<![\w:])[0-9A-Fa-f:]{2,39}(?![\w:])")
# 00 in the middle of grouped digits is no international prefix.
_PHONE = re.compile(r"(?<![\w+])(?:\+ ?|(?<!\w )00)[1-9][\d ().\-/]{6,20}(?!\w)")
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w.-])")
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
    found = (re.sub(r"\D", "", run) for run in _CARD.findall(text))
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


def detect(values: pa.Array, skip: Sequence[str] = ()) -> dict[Detector, int]:
    """How many of the distinct texts of a string column each detector finds something in (zeros left out)."""
    found: dict[Detector, int] = {}
    for text in pc.filter(values, pc.match_substring_regex(values, WORTH_A_LOOK)).to_pylist():
        for name, test in DETECTORS.items():
            if name not in skip and test(text):
                found[name] = found.get(name, 0) + 1
    return found
