"""Order lines of an online shop as CSV: invented ones, in the shape of the real ones."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.model import Contract
from pii_pipeline.formats.kinds import DelimitedText
from pii_pipeline.samples.planted import Planted
from pii_pipeline.samples.planting import SMALL, Kind, Spoiler
from pii_pipeline.samples.retail_bad import COLUMNS, KINDS, NO_CUSTOMER, Setting, oversized
from pii_pipeline.samples.retail_stock import COUNTRIES, GOODS, products
from pii_pipeline.samples.times import written
from pii_pipeline.samples.vectors import Index, choose, zipf

SLICE = 20_000
_MINUTES = 60
_ONE_LINE = 0.3  # of the invoices
_MEAN_LINES = 13
_MOST_LINES = 40
_CANCELLED = 0.1  # of the invoices
_NOBODYS = 0.34  # of the other invoices: sold over the counter
_UNDESCRIBED = 0.01  # of the lines that are nobody's
_SPECIAL = 0.006  # of the lines: postage and the like
_FIRST_INVOICE, _INVOICES = 100_000, 900_000
_FIRST_CUSTOMER = 12_346
_QUANTITIES = (*(1,) * 70, *(2,) * 31, *(12,) * 18, *(6,) * 15, *(3,) * 14, *(4,) * 13, *(24,) * 7, *(5,) * 5,
               *(8,) * 5, *(10,) * 4, 9, 16, 20, 25, 32, 36, 48, 48, 72, 100, 144, 480, 2880)  # fmt: skip


def generate_retail(
    contract: Contract,
    events: int,
    seed: int,
    end: datetime,
    planted: Planted,
    max_record_bytes: int,
    format: DelimitedText,
) -> Iterator[bytes]:
    """Blocks of a CSV file with a header, in UTF-8: `events` order lines; the same for the same arguments.

    Invoices are of whole minutes of the hour before `end`, by the clock of the contract's time zone. A third
    of the lines have no customer, and are bad for that. What was planted is counted in `planted`.
    """
    rng = np.random.default_rng([seed, events, int(end.timestamp())])
    setting = Setting(contract, format.delimiter, end)
    till = _Till(rng, setting, max(20, events // 12))
    kinds = _kinds(format.encoding)
    small = events < SMALL
    spoiler = Spoiler(rng, setting, kinds, oversized, NO_CUSTOMER, planted, max_record_bytes, small)
    yield setting.join([setting.quoted(name) for name in COLUMNS]) + b"\n"
    slices = -(-events // SLICE)
    for number in range(slices):
        count = min(SLICE, events - number * SLICE)
        yield spoiler.spoil(*till.lines(count, number / slices, (number + 1) / slices))


def _kinds(encoding: str) -> tuple[Kind[Setting], ...]:
    """The kinds of bad lines in this encoding; in others than UTF-8 it may be that all bytes can be read."""
    utf8 = codecs.lookup(encoding).name == "utf-8"
    return tuple(kind for kind in KINDS if utf8 or kind.failure_type != "not_utf8")


class _Till:
    """Writes invoices."""

    def __init__(self, rng: np.random.Generator, setting: Setting, customers: int) -> None:
        self._rng = rng
        self._setting = setting
        self._customers = min(customers, 4_400)
        self._next_invoice = int(rng.integers(_INVOICES))
        stock = products()
        self._codes = self._pieces(product.code for product in stock)
        self._descriptions = self._pieces([*(product.description for product in stock), ""])
        self._prices = self._pieces([*(str(product.price) for product in stock), "0.0"])
        self._quantities = self._pieces(str(sign * quantity) for sign in (1, -1) for quantity in _QUANTITIES)
        self._minutes = self._pieces(self._written_minutes())
        numbers = (str(_FIRST_CUSTOMER + number) for number in range(self._customers))
        self._people = self._pieces([*numbers, ""])
        self._countries = pa.array(setting.quoted(country) + "\n" for country in COUNTRIES)

    def _pieces(self, texts: Iterable[str]) -> pa.Array:
        return pa.array(self._setting.quoted(text) for text in texts)

    def _written_minutes(self) -> Iterator[str]:
        """The first whole minute of the hour before the end, and the 59 after it."""
        first = (self._setting.end - timedelta(hours=1, microseconds=1)).replace(second=0, microsecond=0)
        for minute in range(1, _MINUTES + 1):
            yield str(written(first + timedelta(minutes=minute), self._setting.contract, text=True))

    def lines(self, count: int, begin: float, until: float) -> tuple[pa.StringArray, np.ndarray]:
        """`count` lines between two shares of the hour, each with its line feed, and which of them are
        somebody's (bool)."""
        rng = self._rng
        sizes = _sizes(rng, count)
        invoices = len(sizes)
        invoice = np.repeat(np.arange(invoices), sizes)
        cancelled = rng.random(invoices) < _CANCELLED
        nobodys = ~cancelled & (rng.random(invoices) < _NOBODYS)
        customer = np.where(nobodys, self._customers, zipf(rng.random(invoices), self._customers, 20, 1.05))
        minute = (np.sort(rng.uniform(begin, until, invoices)) * _MINUTES).astype(np.int64)

        product = np.where(
            rng.random(count) < _SPECIAL,
            rng.integers(GOODS, len(self._codes), count),
            (rng.random(count) ** 2 * GOODS).astype(np.int64),
        )
        undescribed = nobodys[invoice] & (rng.random(count) < _UNDESCRIBED)
        lived = np.where(nobodys, 0, choose(customer, 60, len(COUNTRIES)))
        quantity = rng.integers(0, len(_QUANTITIES), count) + cancelled[invoice] * len(_QUANTITIES)
        lines = pc.binary_join_element_wise(
            self._numbers(cancelled).take(pa.array(invoice)),
            self._codes.take(pa.array(product)),
            self._descriptions.take(pa.array(np.where(undescribed, len(self._descriptions) - 1, product))),
            self._quantities.take(pa.array(quantity)),
            self._minutes.take(pa.array(minute[invoice])),
            self._prices.take(pa.array(np.where(undescribed, len(self._prices) - 1, product))),
            self._people.take(pa.array(customer[invoice])),
            self._countries.take(pa.array(lived[invoice])),
            self._setting.delimiter,
        )
        return lines, ~nobodys[invoice]

    def _numbers(self, cancelled: np.ndarray) -> pa.Array:
        """The numbers of the next invoices."""
        numbers = _FIRST_INVOICE + (self._next_invoice + np.arange(len(cancelled))) % _INVOICES
        self._next_invoice += len(cancelled)
        return self._pieces(
            f"C{number}" if back else str(number)
            for number, back in zip(numbers.tolist(), cancelled.tolist(), strict=True)
        )


def _sizes(rng: np.random.Generator, lines: int) -> Index:
    """Of each invoice, how many lines it has: 1 to 40, `lines` in all."""
    many = 2 + rng.exponential(_MEAN_LINES, lines).astype(np.int64)
    sizes = np.where(rng.random(lines) < _ONE_LINE, 1, np.minimum(many, _MOST_LINES))
    sizes = np.diff(np.minimum(np.cumsum(sizes), lines), prepend=0)
    return sizes[sizes > 0]
