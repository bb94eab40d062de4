"""What the invented shop of `retail` sells, and to whom: always the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_COLOURS = (
    "WHITE",
    "CREAM",
    "RED",
    "BLUE",
    "PINK",
    "IVORY",
    "GREEN",
    "VINTAGE",
    "RETROSPOT",
    "REGENCY",
    "JUMBO",
)
_THINGS = (
    "METAL LANTERN",
    "HANGING HEART T-LIGHT HOLDER",
    "CUPID HEARTS COAT HANGER",
    "HOT WATER BOTTLE",
    "NESTING BOXES",
    "LUNCH BAG",
    "CAKESTAND 3 TIER",
    "PARTY BUNTING",
    "BIRD ORNAMENT",
    "TEA TOWEL",
    "ALARM CLOCK BAKELIKE",
    "DOOR MAT",
    "JIGSAW BLOCKS",
    "KNITTED MUG COSY",
    "GLASS STAR",
    "CHRISTMAS BAUBLES",
    "POPPY'S PLAYHOUSE",
    "WICKER BASKET",
)
# One name in ten is not plain: blanks at its end, what has to be quoted, what is not ASCII.
_NAMES = (*("{colour} {thing}",) * 45, "{colour} {thing} ", "SET OF {number} {thing}  {colour}",
          "{thing},{colour}", "LETTER \"{colour}\" {thing}", "{thing} £{number} CAFÉ")  # fmt: skip
_TWO_LINES = "{thing}\n({colour})"
_TWO_LINES_EVERY = 300
_PRICES = (1.25, 0.85, 2.95, 2.1, 1.65, 3.75, 2.51, 4.21, 0.42, 0.55, 1.95, 4.95, 7.95, 12.75, 0.19)
_SPECIALS = (("POST", "POSTAGE", 18.0), ("M", "Manual", 1.25), ("DOT", "DOTCOM POSTAGE", 569.77),
             ("BANK CHARGES", "Bank Charges", 15.0), ("S", "SAMPLES", 0.0))  # fmt: skip
COUNTRIES = (*("United Kingdom",) * 60, *("Germany", "France", "EIRE") * 2, "Norway", "Portugal", "Italy",
              "Belgium", "Poland", "Spain", "Netherlands", "Japan", "Channel Islands")  # fmt: skip
"""Where customers live, as often as they do."""

GOODS = 2_400
"""Articles that are goods; behind them come postage and the like."""


@dataclass(frozen=True, slots=True)
class Product:
    """One article; `price` in pounds."""

    code: str
    description: str
    price: float


def products() -> list[Product]:
    """All articles."""
    rng = np.random.default_rng(2010)
    found: list[Product] = []
    for number in range(GOODS):
        pattern = _NAMES[rng.integers(len(_NAMES))] if number % _TWO_LINES_EVERY != 99 else _TWO_LINES
        found.append(
            Product(
                code=f"{20_000 + number * 29}{'ABCDEFGL'[number % 8] if number % 5 == 0 else ''}",
                description=pattern.format(
                    colour=_COLOURS[rng.integers(len(_COLOURS))],
                    thing=_THINGS[rng.integers(len(_THINGS))],
                    number=rng.integers(2, 13),
                ),
                price=_PRICES[rng.integers(len(_PRICES))],
            )
        )
    return found + [Product(*special) for special in _SPECIALS]
