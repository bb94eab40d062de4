"""A believable click stream of a web shop, made at some hundred thousand events a second.

Columns are made with numpy and joined by Arrow; Python touches only what is rare (orders, bad events).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.samples.people import USER_AGENTS, addresses, people, user_ids
from pii_pipeline.samples.planted import Planted
from pii_pipeline.samples.shop import build_shop
from pii_pipeline.samples.vectors import Bytes, Index, choose, hashed_uuids, hex_texts, share, uuid_texts
from pii_pipeline.samples.webshop_clicks import (
    ADD_TO_CART,
    CHECKOUT,
    EVENTS,
    FEEDBACK,
    PRODUCT_VIEW,
    PURCHASE,
    SEARCH,
    SPAN,
    Clicks,
    clicks_of_an_hour,
)
from pii_pipeline.samples.webshop_planter import Planter

# Page of each kind of event: cart, checkout, contact, account; -1 where it depends.
_PAGE = np.array([-1, -1, -1, -1, 1, 2, 4, 3])
_UNLISTED = 0.005
_LOCALES = ("nl-NL EUR", "nl-NL EUR", "de-DE EUR", "de-DE EUR", "fr-BE EUR", "en-GB GBP", "sv-SE SEK",
            "pl-PL PLN", "ja-JP JPY", "en-US USD", "es-ES EUR")  # fmt: skip
_CONSENTS = ("", '"consent_levels":[],', '"consent_levels":[1],', '"consent_levels":[1],',
             '"consent_levels":[1,2],', '"consent_levels":[1,2],', '"consent_levels":[1,2,3],',
             '"consent_levels":[2],', '"consent_levels":null,')  # fmt: skip


def generate_webshop(
    events: int, seed: int, end: datetime, planted: Planted, max_record_bytes: int
) -> Iterator[bytes]:
    """Blocks of JSON lines, `events` records in all; the same for the same arguments.

    `end` is the moment of arrival (with a time zone). What was planted is counted in `planted`.
    """
    rng = np.random.default_rng([seed, events, int(end.timestamp())])
    maker = _Maker(rng, min(100_000, max(40, events // 12)), end)
    planter = Planter(rng, end, planted, max_record_bytes, small=events < 1_000)
    for clicks in clicks_of_an_hour(rng, events, maker.users):
        ids = rng.integers(0, 256, (len(clicks.ms), 16), np.uint8)
        plan = planter.plan(ids)
        yield planter.plant(maker.lines(clicks, ids), plan)


class _Maker:
    """Clicks → records of JSON."""

    def __init__(self, rng: np.random.Generator, users: int, end: datetime) -> None:
        self.users = users
        self._rng = rng
        self._begin = np.datetime64((end - SPAN).astimezone(UTC).replace(tzinfo=None), "ms")
        self._shop = build_shop()
        self._addresses = pa.array(addresses(min(50_000, users)))
        self._accounts = pa.array([*_accounts(users), '"user_id":null,"email":null,'])
        self._agents = pa.array(f'","user_agent":{orjson.dumps(agent).decode()},' for agent in USER_AGENTS)
        self._kinds = pa.array(f'Z","event":"{kind}","session_id":"' for kind in EVENTS)
        self._settings = pa.array(
            '"locale":"{}","currency":"{}","tracker":{{"name":"web","version":"3.24.1"}},{}"page_url":"'.format(
                *place.split(), consent
            )
            for place in _LOCALES
            for consent in _CONSENTS
        )

    def lines(self, clicks: Clicks, ids: Bytes) -> pa.StringArray:
        """The records, each with its line feed."""
        shop, kind, visitor = self._shop, clicks.kind, clicks.visitor
        # Everybody has two devices and mostly uses the first; a tenth of the sessions is on the move.
        device = visitor * 2 + (share(clicks.session, 1) < 0.2)
        network = np.where(share(clicks.session, 2) < 0.1, clicks.session, device)
        setting = choose(visitor, 3, len(_LOCALES)) * len(_CONSENTS) + choose(visitor, 4, len(_CONSENTS))
        product = self._popular(len(kind), len(shop.products))
        search = self._popular(len(kind), len(shop.searches))
        cart = choose(clicks.session, 5, len(shop.carts))
        has_product = (kind == PRODUCT_VIEW) | (kind == ADD_TO_CART)
        return pc.binary_join_element_wise(
            '{"event_id":"',
            uuid_texts(ids),
            '","ts":"',
            _iso(self._begin + clicks.ms),
            self._kinds.take(pa.array(kind)),
            hex_texts(clicks.session.astype(np.uint64)),
            '",',
            self._accounts.take(pa.array(np.where(clicks.known, visitor, self.users))),
            '"ip":"',
            self._addresses.take(pa.array(choose(network, 6, len(self._addresses)))),
            '","device_id":"',
            hashed_uuids(device, 7),
            self._agents.take(pa.array(choose(device, 9, len(self._agents)))),
            self._settings.take(pa.array(setting)),
            self._urls(kind, product, search),
            '"',
            self._sometimes(shop.referrers, 0.75, len(kind)),
            _where(has_product, shop.products, product),
            _where(np.isin(kind, (ADD_TO_CART, CHECKOUT, PURCHASE)), shop.carts, cart),
            _where(kind == SEARCH, shop.searches, search),
            _where(kind == FEEDBACK, shop.notes, choose(clicks.session, 10, len(shop.notes))),
            self._orders(clicks, cart),
            self._sometimes(shop.unlisted, _UNLISTED, len(kind)),
            "}\n",
            "",
        )

    def _popular(self, count: int, size: int) -> Index:
        """Places in [0, `size`), small ones more often."""
        return (self._rng.random(count) ** 2 * size).astype(np.int64)

    def _sometimes(self, pieces: pa.Array, rate: float, count: int) -> pa.Array:
        """One of the pieces after the first, at this rate, else the first."""
        chosen = self._rng.integers(1, len(pieces), count)
        return pieces.take(pa.array(np.where(self._rng.random(count) < rate, chosen, 0)))

    def _urls(self, kind: Index, product: Index, search: Index) -> pa.Array:
        shop, count = self._shop, len(kind)
        pages = pa.concat_arrays([shop.pages, shop.product_pages, shop.search_pages])
        page = np.where(_PAGE[kind] >= 0, _PAGE[kind], self._rng.integers(5, len(shop.pages), count))
        page = np.where(np.isin(kind, (PRODUCT_VIEW, ADD_TO_CART)), len(shop.pages) + product, page)
        first_search = len(shop.pages) + len(shop.product_pages)
        page = np.where(kind == SEARCH, first_search + search, page)
        half = len(shop.tails) // 2
        tail = np.where(self._rng.random(count) < 0.45, self._rng.integers(1, half, count), 0)
        tail += np.where(kind == SEARCH, half, 0)
        tail = np.where(kind == FEEDBACK, 0, tail)  # that page ends with a fragment
        return pc.binary_join_element_wise(pages.take(pa.array(page)), shop.tails.take(pa.array(tail)), "")

    def _orders(self, clicks: Clicks, cart: Index) -> pa.Array:
        rows = np.flatnonzero(clicks.kind == PURCHASE)
        orders = [""]
        order_ids = hex_texts(clicks.session[rows].astype(np.uint64) ^ np.uint64(0xF00D)).to_pylist()
        for row, order_id, buyer in zip(rows, order_ids, people(clicks.visitor[rows]), strict=True):
            method = ("card", "card", "paypal", "invoice")[row % 4]
            order = {
                "order_id": f"O-{order_id}",
                "total": round(self._shop.cart_totals[cart[row]] + 4.95, 2),
                "payment_method": method,
                "card": buyer.card if method == "card" else None,
                "phone": buyer.phone,
                "birth_date": buyer.birth_date if method == "invoice" else None,
                "delivery": {
                    "name": buyer.name,
                    "street": buyer.street,
                    "postcode": buyer.postcode,
                    "city": buyer.city,
                },
            }
            orders.append(f',"order":{orjson.dumps(order).decode()}')
        number = np.zeros(len(clicks.kind), np.int64)
        number[rows] = np.arange(1, len(rows) + 1)
        return pa.array(orders).take(pa.array(number))


def _accounts(users: int) -> Iterator[str]:
    """What events of somebody logged in say about the account, by person's number."""
    numbers = np.arange(users)
    for user_id, person in zip(user_ids(numbers), people(numbers), strict=True):
        loyalty = "" if person.loyalty_number is None else f'"loyalty_number":{person.loyalty_number},'
        yield f'"user_id":"{user_id}","email":"{person.email}",{loyalty}'


def _iso(moments: npt.NDArray[np.datetime64]) -> pa.Array:
    """UTC times as ISO 8601 with milliseconds, without the Z (pc.strftime takes twenty times as long)."""
    return pc.binary_replace_slice(pa.array(moments).cast(pa.string()), start=10, stop=11, replacement="T")


def _where(condition: npt.NDArray[np.bool_], pieces: pa.Array, chosen: Index) -> pa.Array:
    """The chosen piece where the condition holds, else nothing."""
    return pieces.take(pa.array(chosen, mask=~condition)).fill_null("")
