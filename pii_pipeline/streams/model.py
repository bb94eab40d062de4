"""What ``stream.yaml`` says about a stream: how its records come, and which datasets are derived from it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from pii_pipeline.contracts.errors import Caution
from pii_pipeline.contracts.model import Contract, Duration, Model
from pii_pipeline.contracts.named import Named, chosen_from
from pii_pipeline.formats import (
    SNOWPLOW_ENRICHED_TSV,
    AvroContainer,
    DelimitedText,
    Format,
    JsonText,
    unknown_encoding,
)
from pii_pipeline.queues import NAME_OR_URL
from pii_pipeline.warehouse.table import Convert

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What a stream, a derived dataset or a table is called: it becomes an asset key, a folder, an SQL name."""

PSEUDONYMIZED_EVENTS = "pseudonymized_events"

CONTRACT_FILE = "contract.yaml"
"""Where a stream's contract is, if `contracts` does not say."""

LAYERS = ("raw_events", "validated_events", "bad_events", PSEUDONYMIZED_EVENTS)
"""Names of the layers that every stream has."""

VAULT_RECORDS = "vault_records"
"""The layer of streams with reversible fields."""

RELAYED_ORIGINALS = "relayed_originals"
"""The layer of streams that are relayed."""

UNSTRUCT_EVENT = "unstruct_event"
"""The column of Snowplow's in which its PII enrichment says what it replaced."""

RESERVED = (
    *LAYERS,
    VAULT_RECORDS,
    RELAYED_ORIGINALS,
    "event_digests",
    "reversible_originals",
    "latest_consents",
)
"""Names of what streams write themselves; nothing else may be called so."""


def _owner(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"team:[\w-]+|[^@\s]+@[^@\s]+\.[^@\s]+", value):
        raise ValueError(f"`{value}` is no owner; write team:web or an e-mail address")
    return value


Purpose = Annotated[int, Field(ge=0, le=1_000_000)]


class ConsentRequest(Model):
    """What a derived dataset needs its data subjects to have agreed to: exactly one of the two."""

    purposes: tuple[Purpose, ...] | None = None
    """For a granular contract. An event is admitted if it holds all of them; fields whose level is one of
    them are readable."""
    level: Purpose | None = None
    """For a cumulative contract. An event is admitted if its highest consent is this or more; fields up to
    this level are readable."""

    @model_validator(mode="after")
    def _one_request(self) -> ConsentRequest:
        if (self.purposes is None) == (self.level is None):
            raise ValueError("not exactly one request; write `purposes: [2]` or `level: 2`")
        if self.purposes is not None and not self.purposes:
            raise ValueError("asks for no purpose; name at least one, nobody consents to nothing")
        return self

    @property
    def type(self) -> Literal["cumulative", "granular"]:
        return "cumulative" if self.purposes is None else "granular"


class JoinableWithLake(Model):
    """The explicit wish that a consented dataset keeps the lake's keys and pseudonyms."""

    reason: str = Field(min_length=1)
    """Why: for whoever reviews the contract."""


class Derived(Model):
    """A consented dataset; unlinked from the lake unless `joinable_with_lake` says otherwise, and why."""

    description: str = Field(min_length=1)
    """What it is for. Shown in the catalogue."""
    consent: ConsentRequest
    """What its people must have agreed to."""
    joinable_with_lake: JoinableWithLake | None = None
    """Keeps the lake's keys, event id and pseudonyms."""


class WarehouseColumn(Model):
    """A column of a warehouse table."""

    field: str | None = None
    """Path in the dataset, through records (`product/sku`) and not into lists; also a system column
    (`_event_time`). Without it: the column's own name."""
    type: str | None = None
    """A narrower SQL type than the field's own: `varchar(n)` for text, `integer` for `bigint`."""
    convert: Convert | None = None
    """`version_number`: of text such as `2.3.0` the integer 2003000, so that numbers sort as versions do.
    `date`: of a time its date in UTC."""


class WarehouseTable(Model):
    """A table into which a dataset is loaded; without `columns`, all columns of the dataset."""

    description: str = Field(min_length=1)
    """What a row is, and what for. Shown in the catalogue."""
    dataset: str = Field(default=PSEUDONYMIZED_EVENTS, alias="from")
    """`pseudonymized_events`, or a derived dataset."""
    columns: dict[str, WarehouseColumn] = Field(default={})
    """Name → column. Without it, every column of the dataset."""


def _encoding(value: object) -> object:
    if isinstance(value, str) and unknown_encoding(value):
        raise ValueError(f"unknown encoding `{value}`; write utf-8, utf-16 or windows-1252")
    return value


class StreamFormat(Named, frozen=True):
    """Base of the formats; `name` is the word used in YAML, `suffix` the end of such objects' names."""

    suffix: ClassVar[str]

    @property
    def form(self) -> Format:
        """The form of the records, for those who read them."""
        raise NotImplementedError


class Json(StreamFormat, frozen=True):
    """JSON lines, or one JSON array."""

    name: Literal["json"] = "json"
    suffix: ClassVar[str] = ".jsonl"

    @property
    def form(self) -> Format:
        return JsonText()


class Csv(StreamFormat, frozen=True):
    """RFC 4180 with a header that names the columns; an empty field is a missing one."""

    name: Literal["csv"] = "csv"
    delimiter: str = ","
    """What stands between two fields: one character."""
    encoding: Annotated[str, BeforeValidator(_encoding)] = "utf-8"
    """The encoding of the files, by a name that Python knows: `windows-1252`."""
    suffix: ClassVar[str] = ".csv"

    @model_validator(mode="after")
    def _can_be_read(self) -> Csv:
        try:
            _ = self.form
        except ValueError as error:
            raise ValueError(f'{error}; write one that stands between fields: ";", "|", "\\t"') from None
        return self

    @property
    def form(self) -> Format:
        return DelimitedText(self.delimiter, quoted=True, encoding=self.encoding)


class SnowplowEnrichedTsv(StreamFormat, frozen=True):
    """Snowplow's enriched events: 131 columns, no header, no quoting."""

    name: Literal["snowplow_enriched_tsv"] = "snowplow_enriched_tsv"
    suffix: ClassVar[str] = ".tsv"

    @property
    def form(self) -> Format:
        return SNOWPLOW_ENRICHED_TSV


class Avro(StreamFormat, frozen=True):
    """Avro object container files."""

    name: Literal["avro"] = "avro"
    suffix: ClassVar[str] = ".avro"

    @property
    def form(self) -> Format:
        return AvroContainer()


StreamFormat.choices = {
    "json": Json,
    "csv": Csv,
    "snowplow_enriched_tsv": SnowplowEnrichedTsv,
    "avro": Avro,
}

AnyFormat = Annotated[
    SerializeAsAny[StreamFormat],
    BeforeValidator(chosen_from(StreamFormat, "format", ("csv", '{csv: {delimiter: ";"}}'))),
]


def _queue(value: object) -> object:
    if isinstance(value, str) and not NAME_OR_URL.fullmatch(value):
        raise ValueError(f"`{value}` is no queue; write its name (logins, logins.fifo) or its URL")
    return value


class QueueSource(Model):
    """A queue that the events come from, and when what was taken from it becomes a landing object: as soon as
    one of the limits is reached, or the queue has nothing more."""

    sqs: Annotated[str, BeforeValidator(_queue)]
    """Name of the SQS queue in the account and region that the AWS settings name, or its URL."""
    batch_messages: int = Field(default=10_000, ge=1, le=100_000)
    """So many messages at most. SQS lets no more than 120,000 of a queue be worked on."""
    batch_bytes: int = Field(default=64 << 20, ge=1, le=1 << 30)
    """About so many bytes of messages; they are held in memory until they are written."""
    batch_time: Duration = timedelta(seconds=10)
    """So long after the first call."""


class Retention(Model):
    """How long personal data in clear stays. `pii retain`, every day in production, deletes what is older."""

    landing: Duration = timedelta(days=7)
    """How long a landing object stays from its last modification on. Longer while anything that is made of
    it is not committed yet."""
    restricted: Duration | None = None
    """How long validated events stay from when they are in the lake. Without it, until `pii retain`."""


class StreamSettings(Model):
    """The keys of ``stream.yaml``."""

    description: str = Field(min_length=1)
    """What these events are, and who sends them. Shown in the catalogue."""
    owners: tuple[Annotated[str, BeforeValidator(_owner)], ...] = ()
    """`team:web`, or an e-mail address."""
    format: AnyFormat = Json()
    """What the landing objects are."""
    source: QueueSource | None = None
    """The queue that `pii drain` and the queue's sensor take events from, one a message; files may be landed
    all the same. For the formats `json` and `snowplow_enriched_tsv`."""
    relay: Literal["piinguin"] | None = None
    """`piinguin`: what Snowplow's PII enrichment says it replaced goes into the vault, as over Piinguin's
    wire. For the format `snowplow_enriched_tsv`."""
    contracts: tuple[str, ...] = Field(default=(CONTRACT_FILE,), min_length=1)
    """The files of all versions of the contract, beside `stream.yaml`. At least one is active; more need
    `contract_field`."""
    contract_field: str | None = None
    """Path of a text that names the event's contract, `handle/name/version`. Events that name none, or
    one that is not active, are bad (`unknown_contract`)."""
    bad_event_threshold: float = Field(default=0.05, ge=0, le=1)
    """Share of an hour's records that may be bad before everything behind them stops."""
    max_record_bytes: int = Field(default=1_048_576, ge=1)
    """A longer record is bad (`too_large`), and only its first bytes are kept, sealed."""
    dedupe_window: Duration = timedelta(days=7)
    """How long a redelivered event is recognised, in hours of arrival."""
    retention: Retention = Retention()
    """How long landing objects and validated events stay."""
    derived: dict[str, Derived] = Field(default={})
    """Name → dataset in which the fields that people consented to are readable."""
    warehouse: dict[str, WarehouseTable] = Field(default={})
    """Name → table into which a dataset is loaded. All streams share one warehouse, so no two have a table of
    the same name."""


class Stream(StreamSettings):
    """A stream that can be processed: its settings, its contract, and what somebody should look at.

    `versions` are all of its contract, the newest first; at least one is active. Where several are, each
    event is governed by the one it names in the field at `contract_field` (handle/name/version).
    """

    name: str
    folder: Path
    versions: tuple[Contract, ...] = Field(exclude=True)
    warnings: tuple[Caution, ...] = ()

    @property
    def active(self) -> tuple[Contract, ...]:
        """The active versions, the newest first."""
        return tuple(contract for contract in self.versions if contract.state == "active")

    @property
    def contract(self) -> Contract:
        """The newest active version."""
        return self.active[0]

    @property
    def hashes(self) -> bool:
        """Whether any active version needs the salt of Snowplow's hashes."""
        return any(contract.hashes for contract in self.active)

    @property
    def reversible(self) -> bool:
        """Whether any active version has originals kept in the vault."""
        return any(contract.reversible for contract in self.active)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of its layers."""
        vault = (VAULT_RECORDS,) if self.reversible else ()
        return (*LAYERS, *vault, RELAYED_ORIGINALS) if self.relay else (*LAYERS, *vault)

    @property
    def digest(self) -> str:
        """What the output depends on in the contract: the digests of all active versions."""
        return " ".join(contract.digest for contract in self.active)

    def tolerates(self, records: int, bad: int) -> bool:
        """Whether so many bad ones among so many records are no more than `bad_event_threshold`."""
        return not records or bad / records <= self.bad_event_threshold
