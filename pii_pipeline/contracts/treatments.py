"""What a contract can have done to a field: eight treatments, each a small frozen model.

In YAML a treatment is its bare name (``keep``) or its name with settings (``{encrypt: {level: 2}}``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from pii_pipeline.contracts.named import Named, chosen_from

Detector = Literal["email", "ip", "phone", "card", "iban"]
HashFunction = Literal["MD5", "SHA-1", "SHA-256", "SHA-384", "SHA-512"]
Allowed = Literal[Detector, "original"]

_DIGEST_BYTES: dict[HashFunction, int] = {"MD5": 16, "SHA-1": 20, "SHA-256": 32, "SHA-384": 48, "SHA-512": 64}


class Treatment(Named, frozen=True):
    """Base of the eight; `name` is the word used in YAML."""

    deep: ClassVar[bool] = True
    """Whether it holds, inside documents, for all that is below the place it is listed for. Else for a scalar
    there and a list of scalars: in objects anything may stand, and by what leaves something readable it would
    stay so."""


class Keep(Treatment, frozen=True):
    """Stays readable for everybody."""

    deep = False
    name: Literal["keep"] = "keep"
    allow: tuple[Allowed, ...] = ()
    """What the leak gate is not to look for in this field, because it misreads it: a detector, or `original`
    where values of other fields of the same event may rightly stand in it (what was searched for is a
    product's name)."""


class Drop(Treatment, frozen=True):
    """Does not reach the lake."""

    name: Literal["drop"] = "drop"


class Pseudonymize(Treatment, frozen=True):
    """HMAC-SHA256, as 64 lowercase hex digits."""

    name: Literal["pseudonymize"] = "pseudonymize"
    domain: str | None = Field(default=None, min_length=1)
    """Equal values under one domain have equal pseudonyms, in all fields and streams that name it. Without
    it: the contract's handle/name and the field's path, so that two fields never join by accident. `none`:
    HMAC(secret, value) without any derivation, GitLab's form."""
    joinable: bool = False
    """The same for all people, and still linkable after an erasure. Otherwise only within one person."""
    reversible: bool = False
    """The vault keeps the original, sealed, for those with a lawful basis. One of more than 65,536 bytes is
    not kept."""
    hash: HashFunction | None = None
    """No HMAC but hash(value ‖ salt), the form of Snowplow's PII enrichment, with the salt of
    `PII_SNOWPLOW_SALT`. The same for all people, and still linkable after an erasure. Not with `domain` or
    `joinable`."""

    @model_validator(mode="after")
    def _one_form(self) -> Pseudonymize:
        if self.hash is not None and (self.domain is not None or self.joinable):
            raise ValueError("`hash` is Snowplow's own form; remove `domain` and `joinable`, or `hash`")
        return self

    @property
    def digest_bytes(self) -> int:
        """The length of its pseudonyms in the lake; each byte is two hex digits there."""
        return 32 if self.hash is None else _DIGEST_BYTES[self.hash]

    @property
    def outlives_erasure(self) -> bool:
        """Whether the pseudonyms are the same across people, so that no salt dies with anyone."""
        return self.joinable or self.domain == "none" or self.hash is not None


class Encrypt(Treatment, frozen=True):
    """AES-256-SIV under the event's data key for `level`; readable at that consent level or purpose."""

    name: Literal["encrypt"] = "encrypt"
    level: int = Field(ge=0, le=1_000_000)
    """The consent level or purpose for which a derived dataset can read it."""


class Generalize(Treatment, frozen=True):
    """Made coarser: an IP address to its prefix, a date to a unit, a number down to a multiple of `step`."""

    deep = False
    name: Literal["generalize"] = "generalize"
    ipv4_prefix: int | None = Field(default=None, ge=0, le=32)
    """Bits that stay of an IPv4 address. Without it such an address becomes null."""
    ipv6_prefix: int | None = Field(default=None, ge=0, le=128)
    """Bits that stay of an IPv6 address. Without it such an address becomes null."""
    date: Literal["hour", "day", "month", "year"] | None = None
    """The unit that stays, in UTC. Text is ISO 8601, also a year or month alone; a whole number is
    milliseconds since 1970. What is no date of the years 1 to 9999, or does not tell the unit (a year its
    month, a date its hour, a week its day), is null."""
    step: float | None = Field(default=None, ge=1e-9, allow_inf_nan=False)
    """A number goes down to a multiple of this."""

    @model_validator(mode="after")
    def _one_kind(self) -> Generalize:
        ip = self.ipv4_prefix is not None or self.ipv6_prefix is not None
        if sum((ip, self.date is not None, self.step is not None)) != 1:
            raise ValueError("not exactly one kind; say ipv4_prefix and/or ipv6_prefix, or date, or step")
        return self


class Url(Treatment, frozen=True):
    """Scheme, host and path stay; user info and fragment go; query values are pseudonymized. What may stay
    and looks like personal data is pseudonymized all the same."""

    deep = False
    name: Literal["url"] = "url"
    keep_query: tuple[str, ...] = ()
    """Parameters whose values stay."""
    keep_path: bool = True
    """`false`: the path is pseudonymized, segment by segment."""


class Mask(Treatment, frozen=True):
    """Characters become ``*``, so that the length stays visible. A value too short to hide at least half of
    its characters is masked whole."""

    deep = False
    name: Literal["mask"] = "mask"
    keep_first: int = Field(default=0, ge=0)
    """Characters that stay at the beginning."""
    keep_last: int = Field(default=0, ge=0)
    """Characters that stay at the end."""


CRITERION = re.compile(
    r"iglu:(?:[a-zA-Z0-9-_.]+|\*)/(?:[a-zA-Z0-9-_]+|\*)/[a-zA-Z0-9-_]+/"
    r"([1-9][0-9]*|\*)-(0|[1-9][0-9]*|\*)-(0|[1-9][0-9]*|\*)"
)
"""Snowplow's schema criterion: ``iglu:vendor/name/format/model-revision-addition``; ``*`` is any number, and
here any vendor or name too."""


@cache
def _pattern(criterion: str) -> re.Pattern[str]:
    names, _, version = re.escape(criterion).replace(r"\*", "*").rpartition("/")
    return re.compile(f"{names.replace('*', '[^/]+')}/{version.replace('*', '[0-9]+')}")


def matches(criterion: str, uri: str) -> bool:
    """Whether the schema of this URI meets the criterion."""
    return _pattern(criterion).fullmatch(uri) is not None


def intersection(one: str, other: str) -> str | None:
    """The criterion of the schemas that meet both criteria; None if there are none."""
    pairs = list(zip(_parts(one), _parts(other), strict=False))
    if any("*" not in pair and pair[0] != pair[1] for pair in pairs):
        return None
    common = [max(pair) for pair in pairs]  # whatever may stand in a schema is greater than `*`
    return f"iglu:{'/'.join(common[:3])}/{'-'.join(common[3:])}"


def _parts(criterion: str) -> list[str]:
    """Vendor, name, format, and the three numbers."""
    names, _, version = criterion.removeprefix("iglu:").rpartition("/")
    return [*names.split("/"), *version.split("-")]


_VERSION = "[1-9][0-9]{0,3}-(?:0|[1-9][0-9]{0,3})-(?:0|[1-9][0-9]{0,3})"

SCHEMA_URI = re.compile(r"iglu:[a-zA-Z0-9-_.]+/[a-zA-Z0-9-_]+/[a-zA-Z0-9-_]+/" + _VERSION)
"""A schema by its name and version: a criterion without ``*``. Longer numbers might be somebody's."""

ENVELOPE = re.compile(
    r"iglu:com\.snowplowanalytics\.snowplow/(?:contexts|unstruct_event)/jsonschema/" + _VERSION
)
"""The schemas of documents that only hold entities, as Snowplow prescribes them: derived contexts too have
that of contexts."""


def _placed(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(
            "not paths with treatments; write them below the criterion: {address/city: keep}, or {} for the "
            "schema's name alone"
        )
    return value


UNLISTED_VALUES = " $unlisted"
"""Behind a field of documents: all values there that the contract does not list."""


class SelfDescribing(Treatment, frozen=True):
    """Self-describing JSON (Snowplow's contexts and unstructured events): each entity by its schema.

    All criteria that match an entity's schema hold together; where several name one path, the first one does.
    Whatever no criterion and path names is treated by the contract's default, values of any type, down to
    the leaves; names that are not listed are pseudonymized too, and so are schemas that meet no criterion.
    """

    name: Literal["self_describing"] = "self_describing"
    entities: dict[str, Annotated[dict[str, AnyTreatment], BeforeValidator(_placed)]] = Field(default={})
    """Schema criterion → path inside the entity's data → treatment; a criterion without paths, `{}`, only
    leaves the schema itself readable. In YAML the criteria stand right below the treatment's name."""

    @classmethod
    def with_settings(cls, settings: Any) -> Self:
        return cls.model_validate({"entities": settings})

    def places(self) -> Iterator[tuple[str, str, Treatment]]:
        """Criterion, path inside, and treatment of everything listed."""
        for criterion, treatments in self.entities.items():
            for inner, treatment in treatments.items():
                yield criterion, inner, treatment


TREATMENTS: dict[str, type[Treatment]] = {
    "keep": Keep,
    "drop": Drop,
    "pseudonymize": Pseudonymize,
    "encrypt": Encrypt,
    "generalize": Generalize,
    "url": Url,
    "mask": Mask,
    "self_describing": SelfDescribing,
}
Treatment.choices = TREATMENTS

AnyTreatment = Annotated[
    SerializeAsAny[Treatment],
    BeforeValidator(chosen_from(Treatment, "treatment", ("keep", "{encrypt: {level: 2}}"))),
]

SelfDescribing.model_rebuild()
