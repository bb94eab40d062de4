"""Sample events for every stream, in its own format.

The web shop, the log-ins, `retail` and Snowplow's events have a generator each; all others share one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pii_pipeline.contracts.model import Contract
from pii_pipeline.formats.kinds import JSON, SNOWPLOW_ENRICHED_TSV, DelimitedText, Format, JsonText
from pii_pipeline.samples.generic import generate_generic
from pii_pipeline.samples.logins import generate_logins
from pii_pipeline.samples.planted import Planted
from pii_pipeline.samples.retail import generate_retail
from pii_pipeline.samples.snowplow import COLLECTOR_TIME, generate_snowplow
from pii_pipeline.samples.webshop import generate_webshop
from pii_pipeline.samples.writing import recoded

MAX_RECORD_BYTES = 1_048_576


def generate(
    contract: Contract,
    events: int,
    seed: int,
    end: datetime,
    planted: Planted | None = None,
    max_record_bytes: int = MAX_RECORD_BYTES,
    format: Format = JSON,
    contract_field: str | None = None,
) -> Iterator[bytes]:
    """Blocks of an object in `format` of `events` records of `contract`; the same for the same arguments.

    `end` is the moment at which the sample arrives, with a time zone: event times lie in the hour before.
    Event ids differ from one `seed` or `end` to another, people do not. `planted`, if given, counts what was
    generated. `max_record_bytes` is the stream's: records made too large are just beyond it; so is
    `contract_field`.

    Which generator depends on the format, and on the contract's handle and name. Raises ValueError for a
    negative number or a time without zone, and while iterating UnsatisfiableError (see `generic`).
    """
    if events < 0 or seed < 0:
        raise ValueError("events and seed cannot be negative")
    if end.tzinfo is None:
        raise ValueError("end needs a time zone")
    planted = Planted() if planted is None else planted
    match contract.identity, format:
        case "acme/webshop-click", JsonText():
            return generate_webshop(events, seed, end, planted, max_record_bytes)
        case "acme/login", JsonText():
            return generate_logins(events, seed, end, planted)
        case "acme/online-retail", DelimitedText(quoted=True):
            lines = generate_retail(contract, events, seed, end, planted, max_record_bytes, format)
            return recoded(lines, format.encoding)
        case _, DelimitedText() if format == SNOWPLOW_ENRICHED_TSV and contract.time_field == COLLECTOR_TIME:
            return generate_snowplow(contract, events, seed, end, planted, max_record_bytes)
        case _:
            return generate_generic(contract, events, seed, end, planted, format, contract_field)


def expected_counts(
    contract: Contract,
    events: int,
    seed: int,
    end: datetime,
    max_record_bytes: int = MAX_RECORD_BYTES,
    format: Format = JSON,
) -> Planted:
    """What `generate` plants for the same arguments."""
    planted = Planted()
    for _ in generate(contract, events, seed, end, planted, max_record_bytes, format):
        pass
    return planted
