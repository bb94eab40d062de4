"""Messages of a log-in queue: invented ones, in the shape of the real ones. The people are the web shop's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import orjson

from pii_pipeline.samples.people import addresses, user_ids
from pii_pipeline.samples.planted import Planted
from pii_pipeline.samples.vectors import choose, zipf

SLICE = 10_000
_ODD_ONE = 12  # of each hundred messages one is of another shape, as in the real queue
_VERSIONS = ("0.2.6", "0.96", "1.1", "1.8.0", "2.2.1", "2.3.0", "2.3.0", "3.7", "4.19", "5.5", "6.4.8")
_LOCALES = ("ID", "CN", "RU", "FR", "PT", "PH", "BR", "DE", "NL", "KE")
_NO_LOCALE = 0.29
_NO_IP = 0.02


def generate_logins(events: int, seed: int, end: datetime, planted: Planted) -> Iterator[bytes]:
    """Blocks of JSON lines, `events` messages in all; the same for the same arguments.

    Log-ins carry no time; `end` only tells one batch from another.
    """
    rng = np.random.default_rng([seed, events, int(end.timestamp())])
    users = min(100_000, max(20, events // 2))
    accounts = user_ids(np.arange(users))
    networks = addresses(min(50_000, users))
    for first in range(0, events, SLICE):
        count = min(SLICE, events - first)
        person = zipf(rng.random(count), users, 20, 1.05)
        # A tenth of the log-ins is on somebody else's device: that is what analysts look for.
        device = np.where(rng.random(count) < 0.1, rng.integers(0, users, count), person)
        columns = np.stack(
            (
                person,
                choose(device, 50, 10**9),
                np.where(rng.random(count) < _NO_IP, -1, choose(device, 51, len(networks))),
                choose(device, 52, len(_VERSIONS)),
                np.where(rng.random(count) < _NO_LOCALE, -1, choose(person, 53, len(_LOCALES))),
            ),
            axis=1,
        )
        lines: list[bytes] = []
        for number, (who, machine, network, version, locale) in enumerate(columns.tolist(), first):
            if number % 100 == _ODD_ONE:
                lines.append(b'{"type":"heartbeat","uptime":"123"}\n')
                planted.add_bad("other_shape", "schema_violation")
                continue
            login = {
                "user_id": accounts[who],
                "app_version": _VERSIONS[version],
                "device_type": ("android", "ios")[machine % 2],
                "ip": None if network < 0 else networks[network],
                "locale": None if locale < 0 else _LOCALES[locale],
                "device_id": f"{machine // 10**6:03}-{machine // 10**4 % 100:02}-{machine % 10**4:04}",
            }
            lines.append(orjson.dumps(login, option=orjson.OPT_APPEND_NEWLINE))
        planted.records += count
        yield b"".join(lines)
