"""What a treatment does, in words and tags of the catalogue (Markdown)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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

_STATES = {
    "keep": "no",
    "drop": "no",
    "pseudonymize": "pseudonymized",
    "encrypt": "encrypted",
    "generalize": "generalized",
    "url": "pseudonymized",
    "mask": "masked",
}
"""What is left of a person in a treated value, by treatment."""


def done(treatment: Treatment) -> str:
    """What was done to a value: ``**encrypted** (level 2)``."""
    match treatment:
        case Keep(allow=allow):
            words = {"original": "values of other fields"}
            listed = ", ".join(words.get(name, name) for name in allow)
            return f"**kept**, not searched for {listed}" if allow else "**kept**"
        case Drop():
            return "**dropped**"
        case Pseudonymize():
            return _pseudonymized(treatment)
        case Encrypt(level=level):
            return f"**encrypted** (level {level})"
        case Generalize():
            return f"**made coarser**: {_coarser(treatment)}"
        case Url(keep_query=kept, keep_path=keep_path):
            stays = "host and path stay" if keep_path else "the host stays"
            but = f", but for {_code(kept)}" if kept else ""
            return f"**cleaned as a URL**: {stays}, values of parameters are pseudonymized{but}"
        case Mask(keep_first=first, keep_last=last):
            ends = [f"{side} {number}" for side, number in (("first", first), ("last", last)) if number]
            return f"**masked** but for the {' and '.join(ends)} characters" if ends else "**masked** whole"
        case _:
            return f"**{treatment.name}**"


def entity_by_entity(treatment: SelfDescribing, said: Callable[[Treatment], str]) -> str:
    """The same of self-describing documents; `said` says it of one treatment inside them."""
    colon = ":" if treatment.entities else ""
    lines = [f"**treated entity by entity**, what is not named as the contract's default says{colon}"]
    for criterion, places in treatment.entities.items():
        alike: dict[str, list[str]] = {}
        for path, inner in places.items():
            alike.setdefault(said(inner), []).append(path)
        vendor, name, _, version = criterion.removeprefix("iglu:").split("/")
        listed = "; ".join(f"{_code(names)} {text}" for text, names in alike.items())
        lines.append(f"- `{name}` `{version}` of {vendor}: {listed or 'only its name is **kept**'}")
    return "\n".join(lines)


def state(treatment: Treatment) -> str:
    """What is left of a person in a value: ``no``, ``pseudonymized``, ``encrypted`` …"""
    return _STATES[treatment.name]


def _pseudonymized(treatment: Pseudonymize) -> str:
    alike = "alike for all people" if treatment.outlives_erasure else "alike within one person"
    if treatment.hash is not None:
        how = f"**hashed** with {treatment.hash} and salt, {alike}"
    elif treatment.domain in (None, "none"):
        how = f"**pseudonymized**, {alike}"
    else:
        how = f"**pseudonymized**, {alike}, in domain `{treatment.domain}`"
    return f"{how}; the vault has the original" if treatment.reversible else how


def _coarser(treatment: Generalize) -> str:
    if treatment.date is not None:
        return f"to the {treatment.date}"
    if treatment.step is not None:
        return f"down to a multiple of {treatment.step:g}"
    prefixes = (("IPv4", treatment.ipv4_prefix), ("IPv6", treatment.ipv6_prefix))
    return ", ".join(f"{name} to {'null' if bits is None else f'/{bits}'}" for name, bits in prefixes)


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def capital(text: str) -> str:
    """Text that begins with a word in Markdown's ``**``, with a capital."""
    return text[:2] + text[2:3].upper() + text[3:]
