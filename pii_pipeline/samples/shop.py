"""The invented web shop: catalogue, pages, carts, searches and what people write, as pieces of JSON.

Every piece is ready to be put into an event, so that events are made by choosing and joining, a column at a
time, instead of one by one. The shop is the same in every sample.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

import numpy as np
import orjson
import pyarrow as pa

from pii_pipeline.samples.people import people

_THINGS = {
    "lighting": "Floor lamp|Desk lamp|Pendant|Lantern|Bulb",
    "kitchen": "Saucepan|Teapot|Chopping board|Mug|Kettle|Café set",
    "garden": "Watering can|Hammock|Spade|Bird house",
    "bedroom": "Duvet|Pillow|Blanket|Wardrobe",
    "office": "Swivel chair|Filing box|Notebook|Whiteboard",
    "toys": "Wooden train|Kite|Puzzle|Smörgås game",
}
_ADJECTIVES = ("Oak", "Walnut", "Linen", "Copper", "Nordic", "Little", "Grand", "Blue", "Crème", "Matte")
_QUERIES = (
    "oak lamp",
    "linen duvet king size",
    "kettle",
    "gift for a teacher",
    "hammock with stand",
    "smörgås",
    "café set",
    "東京 カレンダー",
    "order status anna jansen",
    "return address keizersgracht",
    "where is my parcel",
    "birthday present emma",
    "wooden train 3 years",
    "chair that does not squeak",
    "50% off",
    "blue & white mugs",
    '"grand" pendant',
    "Лампа",
)
_NOTES = (
    "The delivery was late again, please call me at {phone}.",
    "Je suis très content de la lampe, merci ! {name}",
    "My e-mail has changed, it is now {email}. Can you send the invoice once more?",
    "Könnten Sie das Paket bitte bei meiner Nachbarin in der {street} abgeben?",
    "Love it 😍 — five stars.\nWill order again.",
    "カップが割れていました。交換をお願いします。",
    'I paid twice, once with card {card}. "Support" told me to write here\\there.',
)
# Query strings by how often they are seen.
_TAILS = (
    *("utm_source=newsletter&utm_medium=email&utm_campaign=autumn-{round}",) * 3,
    *("page={round}&sort=price&color=blue&size=m",) * 3,
    "utm_source=search&utm_medium=cpc&utm_campaign=brand&gclid=EAIaIQobChMI{token}",
    "utm_source=social&utm_campaign=launch&fbclid=IwAR{token}",
)
_FAR_REFERRERS = (
    "https://search.example.net/",
    "https://search.example.net/search?q={query}&source=hp",
    "https://news.example.org/home/tips/ten-ideas-for-a-small-kitchen?utm_source=partner",
)

# Undeclared keys, as a tracker sends them after an update that nobody announced.
_UNLISTED = (
    {"experiment": {"name": "checkout_v2", "arms": [{"arm": "b", "weight": 0.5}], "forced": False}},
    {"legacy_email": "old.address@example.com"},
    {"debug": {"viewport": [1440, 900], "referrer_ip": "198.51.100.23", "trace": None}},
    {"zoë's key": ["ünïcode", 1, True]},
)

SHOP = "https://www.shop.example"


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


@dataclass(frozen=True, slots=True)
class Shop:
    """The catalogue, and Arrow arrays of pieces. `carts[i]` costs `cart_totals[i]`; page i of the search
    results belongs to `searches[i]` and page i of the products to `products[i]` and `catalogue[i]`. Pieces
    that follow others begin with a comma.
    `tails` comes twice: with ``?`` for pages without and, from half its length on, with ``&`` for pages with
    a query; its first element and those of `referrers` and `unlisted` are empty.
    """

    catalogue: list[dict[str, object]]
    pages: pa.Array
    product_pages: pa.Array
    search_pages: pa.Array
    tails: pa.Array
    referrers: pa.Array
    products: pa.Array
    carts: pa.Array
    cart_totals: list[float]
    searches: pa.Array
    notes: pa.Array
    unlisted: pa.Array


def build_shop() -> Shop:
    """The shop; takes some 20 ms."""
    rng = np.random.default_rng(2026)
    catalogue = _catalogue(rng)
    carts = [_cart(catalogue, rng) for _ in range(2000)]
    queries = [f"{query} {extra}".strip() for extra in ("", *_ADJECTIVES[:8]) for query in _QUERIES]
    tails = _tails(rng)
    pages = [
        "/",
        "/cart",
        "/checkout",
        "/account",
        "/contact#form",
        *(f"/{category}/" for category in _THINGS),
    ]
    # Mostly the shop's own pages.
    near = [SHOP + path for path in (*pages, *map(_product_path, catalogue[:60]))]
    far = [pattern.format(query=quote_plus(query)) for pattern in _FAR_REFERRERS for query in _QUERIES]
    return Shop(
        catalogue=catalogue,
        pages=pa.array(SHOP + page for page in pages),
        product_pages=pa.array(SHOP + _product_path(product) for product in catalogue),
        search_pages=pa.array(f"{SHOP}/search?q={quote_plus(query)}" for query in queries),
        tails=pa.array(["", *("?" + tail for tail in tails), "", *("&" + tail for tail in tails)]),
        referrers=pa.array(["", *(f',"referrer":{_json(text)}' for text in near * 2 + far)]),
        products=pa.array(f',"product":{_json(product)}' for product in catalogue),
        carts=pa.array(f',"items":{_json(cart)}' for cart in carts),
        cart_totals=[sum(item["price"] * item["quantity"] for item in cart) for cart in carts],
        searches=pa.array(
            f',"search":{_json({"text": query, "results": int(rng.integers(0, 60))})}' for query in queries
        ),
        notes=pa.array(_notes()),
        unlisted=pa.array(["", *("," + _json(extra)[1:-1] for extra in _UNLISTED)]),
    )


def _catalogue(rng: np.random.Generator) -> list[dict[str, object]]:
    """1,000 products, each as in an event; one in 200 with a key that the schema does not know."""
    kinds = [(category, thing) for category, things in _THINGS.items() for thing in things.split("|")]
    catalogue: list[dict[str, object]] = []
    for number in range(1000):
        category, thing = kinds[number % len(kinds)]
        adjectives = rng.choice(_ADJECTIVES, 2, replace=False)
        product: dict[str, object] = {
            "sku": f"{category[:3].upper()}-{number:04}",
            "name": f"{adjectives[0]} {adjectives[1].lower()} {thing.lower()}",
            "price": round(float(rng.lognormal(3.2, 0.8)), 2),
            "category": category,
        }
        if number % 200 == 199:
            product["supplier"] = {"contact": "supply@example.org", "rating": 4}
        catalogue.append(product)
    return catalogue


def _product_path(product: dict[str, object]) -> str:
    return f"/{product['category']}/{quote(str(product['name']).replace(' ', '-'))}-{product['sku']}"


def _cart(catalogue: list[dict[str, object]], rng: np.random.Generator) -> list[dict]:
    chosen = rng.choice(len(catalogue), int(rng.integers(1, 5)), replace=False)
    quantities = rng.integers(1, 4, len(chosen))
    return [
        {"sku": catalogue[at]["sku"], "price": catalogue[at]["price"], "quantity": int(quantity)}
        for at, quantity in zip(chosen.tolist(), quantities, strict=True)
    ]


def _token(rng: np.random.Generator) -> str:
    return rng.bytes(24).hex()


def _tails(rng: np.random.Generator) -> list[str]:
    """Query strings; now and then one gives somebody's e-mail address away, as links in newsletters do."""
    tails = [pattern.format(token=_token(rng), round=at % 6) for at in range(70) for pattern in _TAILS]
    addresses = [person.email for person in people(np.arange(30))]
    return tails + [f"utm_source=newsletter&email={quote(address)}" for address in addresses]


def _notes() -> list[str]:
    """Free text; half of it spelt with JSON's escapes, as some senders do."""
    texts = [
        pattern.format(phone=who.phone, name=who.name, email=who.email, street=who.street, card=who.card)
        for who in people(np.arange(40))
        for pattern in _NOTES
    ]
    return [f',"notes":{json.dumps(text, ensure_ascii=at % 2 == 0)}' for at, text in enumerate(texts)]
