"""Self-describing documents treated the plainest way: one value after the other, from the root down.

Nothing is shared with the kernels but what they are handed, the sealer, and the functions for one text.
"""

import json
from base64 import b64decode
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import orjson

from pii_pipeline.contracts.treatments import (
    Drop,
    Encrypt,
    Generalize,
    Keep,
    Mask,
    Pseudonymize,
    SelfDescribing,
    Treatment,
    Url,
)
from pii_pipeline.privacy.generalize import generalize_date, generalize_ip
from pii_pipeline.privacy.mask import mask_text
from pii_pipeline.privacy.sealer import SealedColumn
from pii_pipeline.privacy.url import url_splitter
from pii_pipeline_tests.unit.privacy.reference import PlainSealer

GONE = object()
SHALLOW = (Keep, Generalize, Mask, Url)
"""Hold for scalars and lists of scalars, and for nothing inside objects."""
SCALAR = (str, int, float, bool)
NAMELESS = (Pseudonymize, Encrypt)
"""Where one of these is the default, names that are not listed are pseudonymized."""


@dataclass(frozen=True)
class Sealed:
    """Stands where a ciphertext has to be: what is in it, under what."""

    level: int
    associated_data: bytes
    value: Any


@dataclass(frozen=True)
class Pseudonym:
    """Stands where a pseudonym has to be."""

    digest: bytes


@dataclass(frozen=True)
class Listed:
    way: tuple[str | None, ...]
    treatment: Treatment
    label: str


def canonical(value):
    """The text of a scalar; JSON of anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        value = int(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def parse(text):
    """The document, or the text itself if it is none that is read."""

    def refuse(_):
        raise ValueError

    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError:
        return text


def describes_itself(value):
    return isinstance(value, dict) and "schema" in value and "data" in value


def is_uri(schema):
    """Is it ``iglu:vendor/name/format/1-0-0``?"""
    if not isinstance(schema, str) or not schema.startswith("iglu:"):
        return False
    parts = schema.removeprefix("iglu:").split("/")
    names = [part.replace(".", "") if number == 0 else part for number, part in enumerate(parts[:3])]
    plain = all(name.replace("-", "a").replace("_", "a").isalnum() and name.isascii() for name in names)
    version = parts[-1].split("-")
    numbers = all(
        part.isascii() and part.isdecimal() and part == str(int(part)) and int(part) < 10_000
        for part in version
    )
    return len(parts) == 4 and plain and len(version) == 3 and numbers and version[0] != "0"


def meets(uri, criterion):
    *names, version = uri.removeprefix("iglu:").split("/")
    *wanted, versions = criterion.removeprefix("iglu:").split("/")
    parts, wishes = [*names, *version.split("-")], [*wanted, *versions.split("-")]
    return all(wish in ("*", part) for part, wish in zip(parts, wishes, strict=True))


def is_envelope(uri):
    """Is it one of the two that Snowplow puts around entities?"""
    vendor, name, form, _ = uri.removeprefix("iglu:").split("/")
    prescribed = ("contexts", "unstruct_event")
    return vendor == "com.snowplowanalytics.snowplow" and name in prescribed and form == "jsonschema"


def steps(path):
    """``a[]/b`` as ("a", None, "b")."""
    found = []
    for part in path.split("/"):
        name = part.rstrip("[]") if part.endswith("[]") else part
        found += [name.replace("~1", "/").replace("~0", "~")] if name else []
        found += [None] * ((len(part) - len(name)) // 2)
    return tuple(found)


class Reference:
    """Treats documents of one field as its contract says."""

    def __init__(self, field: str, treatment: Treatment, default: Treatment, identity="acme/test") -> None:
        assert isinstance(treatment, SelfDescribing)
        self.field, self.entities, self.identity = field, treatment.entities, identity
        self.rest = Listed((), default, f"{field} $unlisted")
        self.sealer = PlainSealer()

    def document(self, text, subject):
        """The treated document as a value, with `Sealed` and `Pseudonym` in it; None where there is none."""
        self.subject = subject
        value = parse(text)
        if value is None:
            return None
        if not describes_itself(value):
            if isinstance(self.rest.treatment, Keep):
                return value
            found = self.leaf(value if isinstance(value, str | int | float) else text_of(value), self.rest)
            if isinstance(self.rest.treatment, Encrypt):
                found = Sealed(self.rest.treatment.level, self.bound(self.rest), value)
            return None if found is GONE else found
        return self.entity(value, root=True)

    def entity(self, value, root):
        uri = value["schema"] if is_uri(value["schema"]) else None
        matching = [criterion for criterion in self.entities if uri and meets(uri, criterion)]
        listed = {}
        for criterion in matching:
            for path, treatment in self.entities[criterion].items():
                listed.setdefault(
                    steps(path), Listed(steps(path), treatment, f"{self.field} {criterion} {path}")
                )
        self.listed = listed
        envelope = root and uri is not None and is_envelope(uri)
        out = {}
        for name, inner in value.items():
            if name == "schema" and (envelope or matching):
                out[name] = inner
            elif name == "schema" and isinstance(inner, SCALAR) and isinstance(self.rest.treatment, NAMELESS):
                out[name] = self.name(canonical(inner))
            elif name == "schema":
                out[name] = staying(self.at(inner, (), {}))
            elif name == "data" and root and (envelope or not listed):
                out[name] = staying(self.envelope(inner, 0))
            elif name == "data":
                out[name] = staying(self.at(inner, (), listed))
            else:
                self.put(out, name, self.at(inner, (name,), {}), self.rest)
        return out

    def envelope(self, data, depth):
        if describes_itself(data):
            return self.entity(data, root=False)
        if isinstance(data, list) and depth == 0:
            return [found for element in data if (found := self.envelope(element, 1)) is not GONE]
        if isinstance(data, list):
            return [found for element in data if (found := self.at(element, (None,), {})) is not GONE]
        if isinstance(data, dict):
            return self.record(data, (), {})
        return self.at(data, (), {})

    def effective(self, way, listed):
        """What the contract says about all that is at a place, or at the nearest one around it."""
        for length in range(len(way), -1, -1):
            if way[:length] in listed and not isinstance(listed[way[:length]].treatment, SHALLOW):
                return listed[way[:length]]
        return self.rest

    def at(self, value, way, listed):
        if way in listed and isinstance(listed[way].treatment, SHALLOW):
            if not isinstance(value, dict | list):
                return None if value is None else self.leaf(value, listed[way])
            element = (*way, None)
            if isinstance(value, list) and not any(isinstance(one, dict | list) for one in value):
                listed = {element: listed[way]} | listed
                inner = (self.at(one, element, listed) for one in value)
                return [one for one in inner if one is not GONE]
        place = self.effective(way, listed)
        deeper = [other for other in listed if other[: len(way)] == way and other != way]
        if isinstance(place.treatment, Encrypt) and place.way == way and way in listed:
            return None if value is None else Sealed(place.treatment.level, self.bound(place), value)
        if isinstance(place.treatment, Drop) and not (deeper and isinstance(value, dict | list)):
            return GONE
        hidden = any(not isinstance(listed[other].treatment, Keep) for other in deeper)
        if isinstance(value, dict | list) and hidden and not hides(place.treatment):
            shapes = {list if other[len(way)] is None else dict for other in deeper}
            if type(value) not in shapes:
                return None  # what the places below are to hide would be read in it
        if isinstance(value, dict):
            return self.record(value, way, listed)
        if isinstance(value, list):
            inner = (self.at(element, (*way, None), listed) for element in value)
            return [element for element in inner if element is not GONE]
        return None if value is None else self.leaf(value, place)

    def record(self, value, way, listed):
        out = {}
        for name, inner in value.items():
            here = (*way, name)
            treated = self.at(inner, here, listed)
            if any(other[: len(here)] == here for other in listed):
                if treated is not GONE:
                    out[name] = treated
            else:
                self.put(out, name, treated, self.effective(here, listed))
        return out

    def put(self, out, name, treated, place):
        """A name that is not listed."""
        if treated is not GONE:
            out[name if isinstance(place.treatment, Keep) else self.name(name)] = treated

    def name(self, name):
        domain = f"{self.identity}\0{self.field} $names"
        return Pseudonym(self.sealer.pseudonyms(domain, [name.encode()], np.array([self.subject]))[0])

    def bound(self, place):
        return f"{self.identity}\0{place.label}".encode()

    def leaf(self, value, place):
        treatment = place.treatment
        domain = f"{self.identity}\0{place.label}"
        text = canonical(value)
        if isinstance(treatment, Keep):
            return value
        if isinstance(treatment, Drop):
            return GONE
        if isinstance(treatment, Encrypt):
            return Sealed(treatment.level, self.bound(place), value)
        if isinstance(treatment, Pseudonymize) and treatment.hash:
            return Pseudonym(self.sealer.hashes(treatment.hash, [text.encode()])[0])
        if isinstance(treatment, Pseudonymize):
            same = treatment.joinable or treatment.domain == "none"
            subjects = None if same else np.array([self.subject])
            return Pseudonym(self.sealer.pseudonyms(treatment.domain or domain, [text.encode()], subjects)[0])
        if isinstance(treatment, Mask):
            return mask_text(text, treatment)
        if isinstance(treatment, Url):
            parts = url_splitter(treatment)(text)
            out = parts.texts[0]
            for original, following in zip(parts.originals, parts.texts[1:], strict=True):
                hidden = self.sealer.pseudonyms(domain, [original], np.array([self.subject]))[0]
                out += hidden.hex() + following
            return out
        assert isinstance(treatment, Generalize)
        return coarser(value, treatment)


def hides(treatment):
    return isinstance(treatment, Pseudonymize | Encrypt | Drop)


def coarser(value, treatment):
    if isinstance(value, bool):
        return None
    if treatment.step is not None:
        if isinstance(value, str) or (isinstance(value, int) and not -(2**63) <= value < 2**63):
            return None
        step = Fraction(treatment.step)
        floored = Fraction(value) // step * step
        if isinstance(value, int):
            return int(floored) if floored >= -(2**63) else None
        return float(floored)
    if treatment.date is not None:
        if isinstance(value, str):
            return generalize_date(value, treatment.date)
        if isinstance(value, float) or not -(2**63) <= value < 2**63:
            return None
        try:
            _ = datetime(1970, 1, 1) + timedelta(milliseconds=value)
        except OverflowError:
            return None
        unit = {"hour": "h", "day": "D", "month": "M", "year": "Y"}[treatment.date]
        moment = np.datetime64(value, "ms").astype(f"datetime64[{unit}]")
        return int(moment.astype("datetime64[ms]").astype(np.int64))
    return generalize_ip(value, treatment) if isinstance(value, str) else None


def text_of(value):
    """Of an object or list; numbers as orjson writes them, which has e-8 where Python has e-08."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        pass
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def staying(value):
    return None if value is GONE else value


def comparable(value):
    """`value` with nothing but JSON in it: what is sealed has to be opened before it can be compared."""
    if isinstance(value, dict):
        return {comparable(name): comparable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [comparable(inner) for inner in value]
    return value.digest.hex() if isinstance(value, Pseudonym) else value


def opened(expected, output, key):
    """`output` with every ciphertext that has to be there opened, as `Sealed`; what does not open stays."""
    if isinstance(expected, Sealed) and isinstance(output, str):
        column = SealedColumn(
            expected.level, expected.associated_data, [b64decode(output)], np.array([key], np.int64)
        )
        text = PlainSealer().open([column])[0][0]
        return Sealed(expected.level, expected.associated_data, json.loads(text))
    if isinstance(expected, dict) and isinstance(output, dict):
        return {name: opened(expected.get(name), inner, key) for name, inner in output.items()}
    if isinstance(expected, list) and isinstance(output, list) and len(expected) == len(output):
        return [opened(one, other, key) for one, other in zip(expected, output, strict=True)]
    return output


def exactly(value):
    """For comparisons that tell 1 from 1.0 and from true."""
    if isinstance(value, dict):
        return {name: exactly(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [exactly(inner) for inner in value]
    if isinstance(value, Sealed):
        return value.level, value.associated_data, exactly(value.value)
    return type(value).__name__, value
