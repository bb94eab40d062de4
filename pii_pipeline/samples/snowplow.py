"""Snowplow's enriched events of the web shop: 131 columns, most of them empty, self-describing JSON in three.

Visitors, sessions and the people among them are made as those of the web shop. Columns are made with
numpy and joined by Arrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.model import Contract
from pii_pipeline.formats.kinds import SNOWPLOW_ENRICHED_TSV
from pii_pipeline.samples import snowplow_tables as tables
from pii_pipeline.samples.people import addresses
from pii_pipeline.samples.planted import Planted
from pii_pipeline.samples.planting import SMALL, Spoiler
from pii_pipeline.samples.shop import build_shop
from pii_pipeline.samples.snowplow_bad import KINDS, NO_KEY, Setting, oversized
from pii_pipeline.samples.snowplow_tables import CONTEXTS, IGLU, chosen
from pii_pipeline.samples.vectors import (
    Index,
    Numbers,
    choose,
    hashed_uuids,
    hex_texts,
    mix,
    share,
    uuid_texts,
)
from pii_pipeline.samples.webshop_clicks import SPAN, Clicks, clicks_of_an_hour

Columns = dict[str, pa.Array]
"""A text for each event; null where the event has none."""

Mask = npt.NDArray[np.bool_]

COLLECTOR_TIME = "collector_tstamp"
"""The field whose time the records are made for."""

PAGE_VIEW, PAGE_PING, LINK_CLICK, CONTACT_FORM, STRUCT, TRANSACTION, TRANSACTION_ITEM = range(7)
_SHARES = np.cumsum((0.42, 0.28, 0.12, 0.05, 0.05, 0.03, 0.05))
_USER_ID, _DOMAIN_USER, _SESSION = 0.86, 0.82, 0.86  # of those that could have one
_FINGERPRINT = 0.35
_REFERRED = 0.55
_CONTEXTS = 0.93
_CLIENT_SESSION = 0.3
_READING_MS = 90_000  # as long as that a visitor is on one page
_ON_THE_WAY_MS = 1_500  # from the device to the collector, at most

_WEB_PAGE = f'{{"schema":"{IGLU}/web_page/jsonschema/1-0-0","data":{{"id":"'
_CLIENT = f',{{"schema":"{IGLU}/client_session/jsonschema/1-0-1","data":{{"userId":"'


def generate_snowplow(
    contract: Contract, events: int, seed: int, end: datetime, planted: Planted, max_record_bytes: int
) -> Iterator[bytes]:
    """Blocks of enriched TSV, `events` records in all; the same for the same arguments.

    Collectors received them in the hour before `end`. A record without the contract's key field is bad for
    that; of the fields that may be it, `network_userid` is always there. What was planted is counted in
    `planted`.
    """
    rng = np.random.default_rng([seed, events, int(end.timestamp())])
    maker = _Maker(rng, min(100_000, max(40, events // 12)), end)
    spoiler = Spoiler(
        rng, Setting(contract, end), KINDS, oversized, NO_KEY, planted, max_record_bytes, events < SMALL
    )
    for clicks in clicks_of_an_hour(rng, events, maker.users):
        columns = maker.columns(clicks)
        keys = columns.get(contract.key_field, pa.nulls(len(clicks.ms)))
        yield spoiler.spoil(_joined(columns), keys.is_valid().to_numpy(zero_copy_only=False))


def _joined(columns: Columns) -> pa.StringArray:
    """The records, each with its line feed."""
    names = SNOWPLOW_ENRICHED_TSV.columns or ()
    texts = [columns.get(name, pa.scalar("")) for name in names[:-1]]
    # No tracker of theirs says the true time: the last column is empty.
    return pc.binary_join_element_wise(*texts, "\n", "\t", null_handling="replace", null_replacement="")


class _Maker:
    """Clicks → the columns of enriched events."""

    def __init__(self, rng: np.random.Generator, users: int, end: datetime) -> None:
        self.users = users
        self._rng = rng
        self._begin = np.datetime64((end - SPAN).astimezone(UTC).replace(tzinfo=None), "ms")
        shop = build_shop()
        self._addresses = pa.array(addresses(min(50_000, users)))
        self._user_ids, self._users = tables.accounts(users)
        self._devices = tables.devices()
        self._places = tables.places()
        self._pages = tables.pages(shop)
        self._referrers = tables.referrers(shop)
        self._articles = tables.articles(shop)
        self._orders = tables.orders(shop)
        self._timings = tables.timings()
        self._links = tables.link_clicks(shop)
        self._forms = tables.contact_forms()

    def columns(self, clicks: Clicks) -> Columns:
        """The columns that any of these events has."""
        rng, count = self._rng, len(clicks.ms)
        kind = np.searchsorted(_SHARES[:-1], rng.random(count), side="right")
        # Everybody has two devices and mostly uses the first; a tenth of the sessions is on the move.
        device = clicks.visitor * 2 + (share(clicks.session, 1) < 0.2)
        network = np.where(share(clicks.session, 2) < 0.1, clicks.session, device)
        reading = mix(clicks.session, 3) + (clicks.ms // _READING_MS).astype(np.uint64)
        page = choose(reading, 4, _size(self._pages))
        referrer = np.where(share(reading, 5) < _REFERRED, choose(reading, 6, _size(self._referrers)), -1)
        return {
            **self._times(clicks.ms),
            **chosen(tables.NAMES, kind),
            **chosen(tables.VERSIONS, np.zeros(count, np.int64)),
            **chosen(self._devices, choose(device, 7, _size(self._devices))),
            **chosen(self._places, choose(network, 8, _size(self._places))),
            **chosen(self._pages, page),
            **chosen(self._referrers, referrer),
            **self._identities(clicks, device, network),
            **self._of_some(clicks, kind),
            "event_id": uuid_texts(rng.integers(0, 256, (count, 16), np.uint8)),
            "event_fingerprint": pc.binary_join_element_wise(
                *map(hex_texts, rng.integers(0, 1 << 63, (2, count), np.uint64)), ""
            ),
            "txn_id": _digits(rng.integers(1, 1_000_000, count)),
            "contexts": self._contexts(clicks, kind, device, reading),
        }

    def _times(self, ms: Index) -> Columns:
        received = self._begin + ms
        sent = received - self._rng.integers(20, _ON_THE_WAY_MS, len(ms))
        created = sent - self._rng.integers(1, _ON_THE_WAY_MS, len(ms))
        return {
            COLLECTOR_TIME: _times(received),
            "etl_tstamp": _times(received + 2_000),
            "dvce_sent_tstamp": _times(sent),
            "dvce_created_tstamp": _times(created),
            "derived_tstamp": _times(received - (sent - created)),
        }

    def _identities(self, clicks: Clicks, device: Index, network: Index) -> Columns:
        session = clicks.session
        user = np.where(clicks.known & (share(session, 11) < _USER_ID), clicks.visitor, -1)
        return {
            "user_id": _chosen(self._user_ids, user),
            "user_ipaddress": self._addresses.take(pa.array(choose(network, 12, len(self._addresses)))),
            "user_fingerprint": _where(share(device, 13) < _FINGERPRINT, _digits(choose(device, 14, 10**9))),
            "network_userid": hashed_uuids(clicks.visitor, 15),
            "domain_userid": _where(share(session, 17) < _DOMAIN_USER, hashed_uuids(device, 18)),
            "domain_sessionid": _where(share(session, 20) < _SESSION, hashed_uuids(session, 21)),
            "domain_sessionidx": _digits(1 + choose(session, 23, 40)),
        }

    def _of_some(self, clicks: Clicks, kind: Index) -> Columns:
        """What only events of some kind have."""
        count = len(kind)
        rows = np.arange(count)
        buys = (kind == TRANSACTION) | (kind == TRANSACTION_ITEM)
        order = pc.binary_join_element_wise("O-", hex_texts(mix(clicks.session, 24)), "")
        unstruct = pa.concat_arrays([self._links, self._forms])
        link = choose(clicks.session + rows, 25, len(self._links))
        form = len(self._links) + choose(clicks.session, 26, len(self._forms))
        basket = choose(clicks.session, 27, _size(self._orders))
        article = choose(clicks.session + rows, 28, _size(self._articles))
        event = np.where(kind == LINK_CLICK, link, np.where(kind == CONTACT_FORM, form, -1))
        far = self._rng.integers(0, 3_000, (4, count))
        return {
            "unstruct_event": _chosen(unstruct, event),
            **chosen(tables.STRUCTS, _only(kind == STRUCT, rows % _size(tables.STRUCTS))),
            **chosen(tables.MONEY, np.where(buys, 0, -1)),
            **chosen(self._orders, _only(kind == TRANSACTION, basket)),
            **chosen(self._articles, _only(kind == TRANSACTION_ITEM, article)),
            "tr_orderid": _where(kind == TRANSACTION, order),
            "ti_orderid": _where(kind == TRANSACTION_ITEM, order),
            **{
                name: _where(kind == PAGE_PING, _digits(far[number]))
                for number, name in enumerate(tables.OFFSETS)
            },
        }

    def _contexts(self, clicks: Clicks, kind: Index, device: Index, reading: Numbers) -> pa.Array:
        count = len(kind)
        user = np.where(clicks.known, clicks.visitor, -1)
        timing = _only(kind == PAGE_VIEW, choose(reading, 29, len(self._timings)))
        client = pc.binary_join_element_wise(
            _CLIENT, hashed_uuids(device, 18), '","sessionId":"', hashed_uuids(clicks.session, 21),
            '","sessionIndex":', _digits(1 + choose(clicks.session, 23, 40)),
            ',"previousSessionId":null,"storageMechanism":"LOCAL_STORAGE"}}', "",
        )  # fmt: skip
        joined = pc.binary_join_element_wise(
            CONTEXTS + _WEB_PAGE,
            hashed_uuids(reading, 30),
            '"}}',
            _chosen(self._users, user),
            _chosen(self._timings, timing),
            _where(share(clicks.session, 32) < _CLIENT_SESSION, client),
            "]}",
            "",
            null_handling="replace",
            null_replacement="",
        )
        return _where(self._rng.random(count) < _CONTEXTS, joined)


def _size(table: Mapping[str, pa.Array]) -> int:
    return len(next(iter(table.values())))


def _only(condition: Mask, rows: Index) -> Index:
    """The rows where the condition holds, else none: -1."""
    return np.where(condition, rows, -1)


def _chosen(pieces: pa.Array, rows: Index) -> pa.Array:
    """The pieces at `rows`; null for those below 0."""
    return pieces.take(pa.array(np.maximum(rows, 0), mask=rows < 0))


def _where(condition: Mask, texts: pa.Array) -> pa.Array:
    """The texts where the condition holds, else null."""
    return pc.if_else(pa.array(condition), texts, None)


def _times(moments: npt.NDArray[np.datetime64]) -> pa.Array:
    """UTC, as the pipeline writes it: ``2026-11-22 10:00:00.000``."""
    return pa.array(moments).cast(pa.string())


def _digits(numbers: Index) -> pa.Array:
    return pa.array(numbers).cast(pa.string())
