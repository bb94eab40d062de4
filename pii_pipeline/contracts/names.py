"""What a field's name says about its values: a help for whoever writes a contract, never a decision."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

# fmt: off
_FEW_VALUES = frozenset((
    "age", "birth", "birthdate", "birthday", "birthyear", "city", "country", "county", "currency", "dob",
    "gender", "lang", "language", "locale", "marital", "nationality", "postal", "postcode", "province",
    "region", "religion", "sex", "timezone", "town", "zip", "zipcode",
))
_PERSONAL = frozenset((
    "address", "addr", "bic", "birth", "birthdate", "birthday", "bsn", "card", "dob", "email", "fax",
    "firstname", "fullname", "iban", "imei", "ip", "ipv", "lastname", "latitude", "longitude", "mail",
    "mobile", "msisdn", "passport", "phone", "ssn", "street", "surname", "tel", "telephone", "username",
))
_WHOSE_NAME = frozenset((
    "contact", "customer", "display", "family", "first", "full", "given", "last", "legal", "maiden",
    "middle", "nick", "owner", "person", "recipient", "sender", "user",
))
# fmt: on
_DETECTED_AS = {
    "email": ("email", "mail"),
    "ip": ("ip", "ipv"),
    "phone": ("phone", "telephone", "tel", "mobile", "msisdn"),
    "card": ("card",),
    "iban": ("iban",),
}


def words(path: str) -> list[str]:
    """The words of the last name in a path, in lower case: ``user/ipAddress[]`` → ip, address."""
    return [word.lower() for word in _WORD.findall(path.rpartition("/")[2])]


def takes_few_values(path: str) -> bool:
    """Does the field's name promise so few values that all of them can be tried?"""
    return not _FEW_VALUES.isdisjoint(words(path))


def sounds_personal(path: str, allowed: tuple[str, ...] = ()) -> bool:
    """Does the field's name promise personal data? `allowed`: detectors the author has already answered."""
    answered = {word for detector in allowed for word in _DETECTED_AS.get(detector, ())}
    found = words(path)
    if "name" in found:
        parent = words(path.rpartition("/")[0])
        # `name` alone, or `first_name`, or `user/name`; a product's or an event's name is no person's.
        if not _WHOSE_NAME.isdisjoint(found + parent) or (found == ["name"] and not parent):
            return True
    return not (_PERSONAL - answered).isdisjoint(found)
