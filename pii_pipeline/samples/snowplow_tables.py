"""What columns of Snowplow's enriched events are filled with: small tables of texts to choose from.

All of it is invented, and the same in every sample.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qs, quote_plus, urlsplit

import numpy as np
import orjson
import pyarrow as pa

from pii_pipeline.samples.people import USER_AGENTS, people, user_ids
from pii_pipeline.samples.shop import Shop
from pii_pipeline.samples.vectors import Index

Table = Mapping[str, pa.Array]
"""Columns of equally many texts; null where there is none."""

IGLU = "iglu:com.snowplowanalytics.snowplow"
_DEVICES = 720
_PAGES = 4_000
_REFERRERS = 300
_TIMINGS = 400
_FORMS = 300
_PLACES = (
    ("NL", "UT", "Utrecht", "3511", "52.0907", "5.1214", "Utrecht", "Europe/Amsterdam"),
    ("DE", "NW", "Köln", "50667", "50.9375", "6.9603", "Nordrhein-Westfalen", "Europe/Berlin"),
    ("BE", "WLG", "Liège", "4000", "50.6326", "5.5797", "Liège", "Europe/Brussels"),
    ("GB", "BST", "Bristol", "BS1", "51.4545", "-2.5879", "City of Bristol", "Europe/London"),
    ("ES", "AN", "Málaga", "29001", "36.7213", "-4.4214", "Andalucía", "Europe/Madrid"),
    ("SE", "O", "Göteborg", "411 05", "57.7089", "11.9746", "Västra Götaland", "Europe/Stockholm"),
    ("PL", "10", "Łódź", "90-001", "51.7592", "19.456", "Łódzkie", "Europe/Warsaw"),
    ("JP", "13", "Tokyo", "100-0001", "35.6895", "139.6917", "Tokyo", "Asia/Tokyo"),
    ("",) * 8,
)
_PLACE_COLUMNS: tuple[str, ...] = (
    *("geo_country", "geo_region", "geo_city", "geo_zipcode"),
    *("geo_latitude", "geo_longitude", "geo_region_name", "geo_timezone"),
)
_FEATURES = (
    *("pdf", "flash", "java", "director", "quicktime"),
    *("realplayer", "windowsmedia", "gears", "silverlight"),
)
_SYSTEMS = {
    "Windows": "Microsoft",
    "iPhone": "Apple",
    "Macintosh": "Apple",
    "Android": "Google",
    "Linux": "Linux",
}
_QUERIES = ("oak lamp", "linen duvet", "kettle", "smörgås", "birthday present emma", "東京 カレンダー")
_TOPICS = ("delivery", "returns", "invoice", "my account", "gift cards")
_MESSAGES = (
    "Please call me at {phone}, the parcel never came.",
    "My new address is {street}, {postcode} {city}.",
    "Can you send the invoice to {email} again?\n\tThanks, {name}",
    "ご返事をお待ちしています。{name}",
)
_TIMING = (
    *("navigationStart", "fetchStart", "domainLookupStart", "domainLookupEnd", "connectStart", "connectEnd"),
    *("requestStart", "responseStart", "responseEnd", "domLoading", "domInteractive", "domComplete"),
    *("loadEventStart", "loadEventEnd"),
)


def chosen(table: Table, rows: Index) -> dict[str, pa.Array]:
    """Of each of `rows` what the table has there; nothing for a row below 0."""
    indices = pa.array(np.maximum(rows, 0), mask=rows < 0)
    return {name: column.take(indices) for name, column in table.items()}


def _table(rows: Iterable[Mapping[str, str]]) -> Table:
    kept = list(rows)
    return {name: pa.array([row[name] or None for row in kept], pa.string()) for name in kept[0]}


NAMES = _table(
    {
        "event": event,
        "event_vendor": vendor,
        "event_name": name,
        "event_format": "jsonschema",
        "event_version": version,
    }
    for event, vendor, name, version in (
        ("page_view", "com.snowplowanalytics.snowplow", "page_view", "1-0-0"),
        ("page_ping", "com.snowplowanalytics.snowplow", "page_ping", "1-0-0"),
        ("unstruct", "com.snowplowanalytics.snowplow", "link_click", "1-0-1"),
        ("unstruct", "com.acme", "contact_form", "1-0-0"),
        ("struct", "com.google.analytics", "event", "1-0-0"),
        ("transaction", "com.snowplowanalytics.snowplow", "transaction", "1-0-0"),
        ("transaction_item", "com.snowplowanalytics.snowplow", "transaction_item", "1-0-0"),
    )
)
"""What the kinds of events are called, in the order of their numbers."""

VERSIONS = _table(
    [
        {
            "name_tracker": "sp1",
            "v_tracker": "js-3.24.1",
            "v_collector": "ssc-3.2.0-kinesis",
            "v_etl": "snowplow-enrich-kinesis-5.0.0-common-5.0.0",
        }
    ]
)
STRUCTS = _table(
    {"se_category": category, "se_action": action, "se_label": label, "se_property": kind, "se_value": value}
    for category, action, label, kind, value in (
        ("cart", "add", "LIG-0001", "", "1"),
        ("cart", "remove", "KIT-0042", "gift", "2"),
        ("filter", "colour", "blue", "", ""),
        ("video", "play", "how to mend a lamp", "hd", "0.5"),
    )
)
MONEY = _table([{"tr_currency": "EUR", "ti_currency": "EUR", "base_currency": "EUR"}])
OFFSETS = ("pp_xoffset_min", "pp_xoffset_max", "pp_yoffset_min", "pp_yoffset_max")


def entity(schema: str, data: object) -> str:
    """Self-describing JSON; `schema` is ``iglu:vendor/name/jsonschema/version``."""
    return orjson.dumps({"schema": schema, "data": data}).decode()


def devices() -> Table:
    """Browsers on machines: `platform`, `app_id`, `useragent`, `br_…`, `os_…`, `dvce_…`, `doc_…`; of some
    `derived_contexts`."""
    rng = np.random.default_rng(77)
    return _table(_device(agent, rng) for agent in (USER_AGENTS * 8)[:_DEVICES])


def _device(agent: str, rng: np.random.Generator) -> dict[str, str]:
    system = next(name for name in _SYSTEMS if name in agent)
    family = next(name for name in ("Edg", "Firefox", "Chrome", "Safari", "FBAN") if name in agent)
    mobile = "Mobile" in agent
    full = rng.random() < 0.4  # what the older trackers send
    width, height = ((390, 844), (412, 915), (1440, 900), (1920, 1080), (2560, 1440))[
        rng.integers(2) if mobile else rng.integers(2, 5)
    ]
    version = re.findall(r"\d+", agent.partition(family)[2])[0]
    found = [
        entity(f"{IGLU}/ua_parser_context/jsonschema/1-0-0", {"useragentFamily": family, "osFamily": system,
               "useragentMajor": version, "useragentMinor": None, "deviceFamily": system}),
        entity("iglu:com.iab.snowplow/spiders_and_robots/jsonschema/1-0-0", {"spiderOrRobot": False,
               "category": "BROWSER", "reason": "PASSED_ALL", "primaryImpact": "NONE"}),
    ]  # fmt: skip
    return {
        "platform": "mob" if mobile else "web",
        "app_id": "shop-app" if mobile else ("shop-web", "shop-web", "")[rng.integers(3)],
        "useragent": agent,
        "br_name": f"{family} {version}",
        "br_family": family,
        "br_version": version,
        "br_type": "Browser (mobile)" if mobile else "Browser",
        "br_renderengine": "GECKO" if family == "Firefox" else "WEBKIT",
        "br_lang": ("nl-NL", "de-DE", "en-GB", "sv-SE", "ja-JP")[rng.integers(5)],
        **{f"br_features_{name}": str(rng.integers(2)) if full else "" for name in _FEATURES},
        "br_cookies": "1",
        "br_colordepth": "24" if full else "",
        "br_viewwidth": str(width - 16),
        "br_viewheight": str(height - 120),
        "os_name": system,
        "os_family": system,
        "os_manufacturer": _SYSTEMS[system],
        "os_timezone": ("Europe/Amsterdam", "Europe/Berlin", "Asia/Tokyo", "")[rng.integers(4)],
        "dvce_type": "Mobile" if mobile else "Computer",
        "dvce_ismobile": "1" if mobile else "0",
        "dvce_screenwidth": str(width),
        "dvce_screenheight": str(height),
        "doc_charset": "UTF-8",
        "doc_width": str(width - 32),
        "doc_height": str(rng.integers(900, 9000)),
        "derived_contexts": _contexts(found) if rng.random() < 0.7 else "",
    }


def _contexts(entities: list[str]) -> str:
    return CONTEXTS + ",".join(entities) + "]}"


CONTEXTS = f'{{"schema":"{IGLU}/contexts/jsonschema/1-0-0","data":['
"""How `contexts` begins; entities and ``]}`` follow."""


def places() -> Table:
    """Where an address is, if that is known: `geo_…`."""
    return _table(dict(zip(_PLACE_COLUMNS, place, strict=True)) for place in _PLACES)


def pages(shop: Shop) -> Table:
    """Pages of the shop: `page_…`, and the campaign that led there (`mkt_…`)."""
    rng = np.random.default_rng(78)
    known = [page for pages in (shop.pages, shop.product_pages) for page in pages.to_pylist()]
    found = shop.search_pages.to_pylist()
    tails = shop.tails.to_pylist()
    half = len(tails) // 2
    urls: list[str] = []
    for _ in range(_PAGES):
        if rng.random() < 0.1:
            urls.append(found[rng.integers(len(found))] + tails[half + rng.integers(half)])
        else:
            tail = tails[rng.integers(half)] if rng.random() < 0.4 else ""
            page, mark, fragment = known[rng.integers(len(known))].partition("#")
            urls.append(page + tail + mark + fragment)
    return _table(map(_page, urls))


def _page(url: str) -> dict[str, str]:
    query = {name: texts[0] for name, texts in parse_qs(urlsplit(url).query).items()}
    clicked = next((name for name in ("gclid", "fbclid") if name in query), "")
    return {
        "page_url": url,
        **_parts("page", url),
        "page_title": urlsplit(url).path.strip("/").replace("-", " ").replace("/", " · ") or "Home",
        "mkt_medium": query.get("utm_medium", ""),
        "mkt_source": query.get("utm_source", ""),
        "mkt_campaign": query.get("utm_campaign", ""),
        "mkt_clickid": query.get(clicked, ""),
        "mkt_network": {"gclid": "Google", "fbclid": "Facebook"}.get(clicked, ""),
    }


def _parts(of: str, url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {
        f"{of}_urlscheme": parts.scheme,
        f"{of}_urlhost": parts.hostname or "",
        f"{of}_urlport": str(parts.port or 443),
        f"{of}_urlpath": parts.path,
        f"{of}_urlquery": parts.query,
        f"{of}_urlfragment": parts.fragment,
    }


def referrers(shop: Shop) -> Table:
    """Where a visitor came from: `page_referrer`, `refr_…`."""
    rng = np.random.default_rng(79)
    near = [*shop.pages.to_pylist(), *shop.product_pages.to_pylist()]
    rows: list[dict[str, str]] = []
    for number in range(_REFERRERS):
        term = _QUERIES[rng.integers(len(_QUERIES))] if number % 3 == 0 else ""
        url = near[rng.integers(len(near))]
        if number % 3 == 0:
            url = f"https://search.example.net/search?q={quote_plus(term)}&source=hp"
        elif number % 7 == 0:
            url = "https://news.example.org/tips/ten-ideas-for-a-small-kitchen?ref=anna.jansen%40example.org"
        medium = "search" if number % 3 == 0 else "unknown" if number % 7 == 0 else "internal"
        source = "Example Search" if medium == "search" else ""
        found = {"refr_medium": medium, "refr_source": source, "refr_term": term}
        rows.append({"page_referrer": url, **_parts("refr", url), **found})
    return _table(rows)


def accounts(users: int) -> tuple[pa.Array, pa.Array]:
    """Of the persons with numbers below `users`: the `user_id`, and behind a comma the entity of ours that
    describes them."""
    numbers = np.arange(users)
    ids = user_ids(numbers)
    described = (
        ","
        + entity(
            "iglu:com.acme/user/jsonschema/1-0-0",
            {
                "id": user_id,
                "email": person.email,
                "name": person.name,
                "phones": [person.phone][: person.draw % 3],
                "birthDate": person.birth_date if person.draw % 4 == 0 else None,
                "address": {
                    "lines": [person.street, f"{person.postcode} {person.city}"],
                    "geo": {
                        "latitude": 50 + person.draw % 999 / 1000,
                        "longitude": 5 + person.draw % 777 / 1000,
                    },
                },
                "loyaltyPoints": person.draw % 5000,
                "newsletter": person.draw % 2 == 0,
            },
        )
        for user_id, person in zip(ids, people(numbers), strict=True)
    )
    return pa.array(ids), pa.array(described)


def timings() -> pa.Array:
    """Entities that say how long a page took to load, each behind a comma."""
    rng = np.random.default_rng(80)
    found: list[str] = []
    for _ in range(_TIMINGS):
        marks = 1_790_000_000_000 + np.cumsum(rng.integers(0, 120, len(_TIMING)))
        times = dict(zip(_TIMING, marks.tolist(), strict=True))
        found.append(
            "," + entity("iglu:org.w3/PerformanceTiming/jsonschema/1-0-0", {**times, "redirectStart": 0})
        )
    return pa.array(found)


def _unstruct(schema: str, data: object) -> str:
    inner = {"schema": schema, "data": data}
    return entity(f"{IGLU}/unstruct_event/jsonschema/1-0-0", inner)


def link_clicks(shop: Shop) -> pa.Array:
    """`unstruct_event` of a click on a link."""
    return pa.array(
        _unstruct(
            f"{IGLU}/link_click/jsonschema/1-0-1",
            {"targetUrl": url, "elementId": f"link-{at % 40}", "elementClasses": ["card", "wide"][: at % 3]},
        )
        for at, url in enumerate([*shop.pages.to_pylist(), *shop.product_pages.to_pylist()])
    )


def contact_forms() -> pa.Array:
    """`unstruct_event` of ours: what people write to the shop."""
    return pa.array(
        _unstruct(
            "iglu:com.acme/contact_form/jsonschema/1-0-0",
            {
                "name": person.name,
                "email": person.email,
                "topics": [_TOPICS[person.draw % 5], _TOPICS[at % 5]],
                "message": _MESSAGES[at % 4].format(
                    phone=person.phone, street=person.street, postcode=person.postcode, city=person.city,
                    email=person.email, name=person.name,
                ),
                "attempt": 1 + at % 3,
                "copyToMe": at % 2 == 0,
            },
        )
        for at, person in enumerate(people(np.arange(_FORMS)))
    )  # fmt: skip


def articles(shop: Shop) -> Table:
    """What is bought: `ti_…`."""
    return _table(
        {
            "ti_sku": str(product["sku"]),
            "ti_name": str(product["name"]),
            "ti_category": str(product["category"]),
            "ti_price": str(product["price"]),
            "ti_price_base": str(product["price"]),
            "ti_quantity": str(1 + number % 3),
        }
        for number, product in enumerate(shop.catalogue)
    )


def orders(shop: Shop) -> Table:
    """What an order costs, and where it goes: `tr_…`."""
    return _table(
        {
            "tr_affiliation": "shop",
            **dict.fromkeys(("tr_total", "tr_total_base"), f"{total + 4.95:.2f}"),
            **dict.fromkeys(("tr_tax", "tr_tax_base"), f"{total * 0.21:.2f}"),
            **dict.fromkeys(("tr_shipping", "tr_shipping_base"), "4.95"),
            "tr_city": person.city,
            "tr_country": "NL",
        }
        for total, person in zip(shop.cart_totals, people(np.arange(len(shop.cart_totals))), strict=True)
    )
