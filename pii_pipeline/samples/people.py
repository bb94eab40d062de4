"""Invented people. Person number n is the same one in every sample, so that streams and hours join.

Nothing here can belong to anybody: names are put together by hash, domains are those of RFC 2606, telephone
numbers come from the ranges kept for film and drama, card numbers from a payment provider's test range, and
addresses from the networks of RFC 5737, RFC 2544 and RFC 3849.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pii_pipeline.samples.vectors import choose, hashed_uuids


def _words(text: str) -> list[str]:
    return text.split()


_FIRST_NAMES = _words(
    "Anna Ben Carla David Emma Finn Greta Hugo Ida Jonas Karin Leo Mia Noah Olga Paul Rosa Sam Tessa Viktor "
    "Zoë José Łukasz Søren Åsa Chloé Nguyễn İpek Ольга Γιώργος さくら 明 محمد Siobhán Jürgen Renée"
)
_LAST_NAMES = _words(
    "Jansen Müller Smith García Novák Rossi Dubois Nilsson Kowalski Silva O'Brien Sørensen Đorđević Petrović "
    "Papadopoulos Иванова 山田 Öztürk Van-Dijk Haddad Keller Lindqvist Marino Weber Thompson Fernández"
    " Castellano"
)
_MAILBOXES = _words(
    "anna ben carla david emma finn greta hugo ida jonas karin leo mia noah olga paul rosa sam tessa viktor "
    "zoe jose lukasz soren asa chloe nguyen ipek maria giorgos sakura akira"
)
_DOMAINS = ("example.com", "example.org", "example.net", "mail.example", "post.example")
# One address in thirty is not ASCII, before or after the @.
_UNICODE_MAILBOXES = ("zoë", "jürgen", "ольга")
_UNICODE_DOMAIN = "bücher.example"
_STREETS = (
    "Lindenstraße",
    "Keizersgracht",
    "Rue des Écoles",
    "Oak Lane",
    "Calle Mayor",
    "Storgatan",
    "ul. Długa",
)
_CITIES = ("Utrecht", "Köln", "Liège", "Bristol", "Málaga", "Göteborg", "Łódź", "Aarhus", "Turin", "Porto")

USER_SALT = 11
"""Salt under which a person's number becomes the account's UUID."""


@dataclass(frozen=True, slots=True)
class Person:
    """What a shop knows about somebody."""

    name: str
    email: str
    phone: str
    birth_date: str
    street: str
    postcode: str
    city: str
    loyalty_number: int | None
    draw: int

    @property
    def card(self) -> str:
        """A test card number of 16 digits with a valid check digit (ISO/IEC 7812-1)."""
        digits = f"424242{self.draw % 10**9:09}"
        total = sum(sum(divmod(int(digit) * (2 - at % 2), 10)) for at, digit in enumerate(digits))
        return f"{digits}{-total % 10}"


def people(numbers: np.ndarray) -> list[Person]:
    """The persons with these numbers."""
    draws = np.stack([choose(numbers, salt, 1 << 30) for salt in range(20, 31)], axis=1).tolist()
    return [_person(int(number), *draw) for number, draw in zip(numbers.tolist(), draws, strict=True)]


def user_ids(numbers: np.ndarray) -> list[str]:
    """The account ids of the persons with these numbers."""
    return hashed_uuids(numbers, USER_SALT).to_pylist()


def _person(
    number: int, a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int, i: int, j: int, k: int
) -> Person:
    plus = ("", "", "", "", "", "", "", "+shop", "+news", ".home")[d % 10]
    mailboxes = _UNICODE_MAILBOXES if b % 60 == 0 else _MAILBOXES
    domain = _UNICODE_DOMAIN if b % 60 == 1 else _DOMAINS[e % len(_DOMAINS)]
    return Person(
        name=f"{_FIRST_NAMES[a % len(_FIRST_NAMES)]} {_LAST_NAMES[b % len(_LAST_NAMES)]}",
        email=f"{mailboxes[c % len(mailboxes)]}{number}{plus}@{domain}",
        phone=f"+44 7700 900{f % 1000:03}" if f % 3 else f"+1 {201 + f % 700}-555-01{f % 100:02}",
        birth_date=f"{1940 + h % 67}-{1 + h % 12:02}-{1 + h % 28:02}",
        street=f"{_STREETS[i % len(_STREETS)]} {1 + i % 180}",
        postcode=f"{1000 + j % 9000} {'ABCDEFGHKL'[j % 10]}{'MNPRSTVWXZ'[j // 10 % 10]}",
        city=_CITIES[k % len(_CITIES)],
        loyalty_number=600_000_000 + number if k % 3 == 0 else None,
        draw=g,
    )


def addresses(count: int) -> list[str]:
    """`count` IP addresses, about a third of them IPv6, some shortened; the same ones every time."""
    found: list[str] = []
    for at, (a, b, c, d) in enumerate(
        np.stack([choose(np.arange(count), salt, 1 << 16) for salt in range(40, 44)], axis=1).tolist()
    ):
        if a % 3 == 0:
            subnet, host = 0x1000 | at & 0xFFFF, 0x1000 | b
            middle = "" if a % 2 else f"{0x1000 | d:x}:{0x1000 | c:x}:{0x8000 | a:x}:{0x2000 | d:x}"
            found.append(f"2001:db8:{subnet:x}:{middle}:{host:x}")
        elif a % 20 == 1:
            found.append(f"{('192.0.2', '198.51.100', '203.0.113')[b % 3]}.{1 + c % 254}")
        else:
            found.append(f"198.{18 + b % 2}.{c % 256}.{1 + d % 254}")
    return found


_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64"
_WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) {_WEBKIT}"
_CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{0}.0.0.0"
_BROWSERS = (
    f"{_WINDOWS}) {_CHROME} Safari/537.36",
    f"{_WINDOWS}) {_CHROME} Safari/537.36 Edg/{{0}}.0.0.0",
    f"{_WINDOWS}; rv:{{0}}.0) Gecko/20100101 Firefox/{{0}}.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0",
    f"Mozilla/5.0 (Linux; Android 10; K) {_CHROME} Mobile Safari/537.36",
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_WEBKIT} Version/18.{{0}} Safari/605.1.15",
    f"{_IPHONE} Version/18.{{0}} Mobile/15E148 Safari/604.1",
    f"{_IPHONE} Mobile/15E148 [FBAN/FBIOS;FBAV/4{{0}}.0;FBDV/iPhone14,5;FBSN/iOS;FBSV/18.5]",
)
USER_AGENTS = tuple(browser.format(version) for version in range(124, 142) for browser in _BROWSERS)
