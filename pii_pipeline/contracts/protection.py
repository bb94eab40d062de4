"""Which of two treatments protects a field better, and what of two ways to consent opens less.

Treatments are told apart, first of all, by what everybody can read in the lake: nothing at all (`drop`),
nothing in clear (`pseudonymize`, `encrypt`), a part (`generalize`, `url`, `mask`), everything (`keep`). Two
of one kind, by their settings. Where one shows more of this and the other more of that, neither is better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from pii_pipeline.contracts.model import Consent
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

Direction = Literal["weaker", "stronger", "other"]
"""How protection changes; ``other``: it is another one, and neither less nor more."""

_READABLE: dict[type[Treatment], int] = {
    Drop: 0,
    Pseudonymize: 1,
    Encrypt: 1,
    Generalize: 2,
    Url: 2,
    Mask: 2,
    Keep: 3,
}
_UNITS = ("year", "month", "day", "hour")

ConsentType = Literal["cumulative", "granular"]

_Sign = int | None
"""1: more is shown than before, -1: less, 0: as much, None: something else."""


def direction(
    before: Treatment,
    after: Treatment,
    consent: ConsentType | None,
    defaults: tuple[Treatment, Treatment],
) -> Direction | None:
    """What becomes of a field's protection; None if nothing changes.

    `consent`: the type that levels of encryption are of, if the same before and after; `defaults`: what is
    done, before and after, to what `self_describing` does not list.
    """
    if before == after:
        return None
    if type(before) is not type(after) or isinstance(before, SelfDescribing):
        sign = _sign(_readable(before, defaults[0]), _readable(after, defaults[1])) or None
    elif isinstance(before, Encrypt) and isinstance(after, Encrypt):
        # Cumulative: a lower level is readable for more requests. Granular: another purpose is another one.
        sign = _sign(after.level, before.level) if consent == "cumulative" else None
    else:
        sign = _WITHIN[type(before)](before, after)
    return "other" if not sign else "weaker" if sign > 0 else "stronger"


def consent_direction(before: Consent, after: Consent) -> Direction:
    """What becomes of protection where consent is told otherwise: weaker if saying nothing, or a word, means
    more than before."""
    words = (before.values or {}).keys()
    if (before.type, before.field, words) != (after.type, after.field, (after.values or {}).keys()):
        return "other"
    signs = [_granted(before.default, after.default, before.type)]
    signs += [
        _granted((before.values or {})[word], (after.values or {})[word], before.type) for word in words
    ]
    sign = _together(*signs)
    return "other" if not sign else "weaker" if sign > 0 else "stronger"


def _granted(before: Sequence[int] | None, after: Sequence[int] | None, type: ConsentType) -> _Sign:
    if type == "cumulative":
        return _sign(max(before or (), default=-1), max(after or (), default=-1))
    return _subset(set(before or ()), set(after or ()))


def _readable(treatment: Treatment, default: Treatment) -> int:
    """How much of a value everybody can read."""
    if isinstance(treatment, SelfDescribing):
        inside = [place for _, _, place in treatment.places()]
        return max(_readable(item, default) for item in (default, *inside))
    return _READABLE[type(treatment)]


def _sign(before: Any, after: Any) -> int:
    return (after > before) - (after < before)


def _subset(before: Set[Any], after: Set[Any]) -> _Sign:
    if before == after:
        return 0
    return 1 if before < after else -1 if after < before else None


def _together(*signs: _Sign) -> _Sign:
    """That of all settings: None where they contradict one another."""
    found = {sign for sign in signs if sign != 0}
    return found.pop() if len(found) == 1 else None if found else 0


def _keep(before: Keep, after: Keep) -> _Sign:
    return _subset(set(before.allow), set(after.allow))


def _pseudonymize(before: Pseudonymize, after: Pseudonymize) -> _Sign:
    if before.outlives_erasure != after.outlives_erasure:
        return _sign(before.outlives_erasure, after.outlives_erasure)
    return _together(_scope(before, after), _sign(before.reversible, after.reversible))


def _scope(before: Pseudonymize, after: Pseudonymize) -> _Sign:
    """Of what else has the same pseudonyms: no other field, those of the domain, whoever uses the secret, or
    Snowplow's salt."""
    (less, name), (more, other) = _domain(before), _domain(after)
    if less == more:
        return 0 if name == other else None
    return _sign(less, more)


def _domain(treatment: Pseudonymize) -> tuple[int, str | None]:
    if treatment.hash is not None:
        return 3, treatment.hash
    if treatment.domain == "none":
        return 2, None
    return (0 if treatment.domain is None else 1), treatment.domain


def _generalize(before: Generalize, after: Generalize) -> _Sign:
    if before.date is not None and after.date is not None:
        return _sign(_UNITS.index(before.date), _UNITS.index(after.date))
    if before.step is not None and after.step is not None:
        return _steps(before.step, after.step)
    if before.date is after.date is before.step is after.step is None:
        prefixes = ("ipv4_prefix", "ipv6_prefix")
        # Without a prefix, an address becomes null.
        return _together(
            *(
                _sign(
                    *(
                        -1 if bits is None else bits
                        for bits in (getattr(item, name) for item in (before, after))
                    )
                )
                for name in prefixes
            )
        )
    return None


def _steps(before: float, after: float) -> _Sign:
    """A step shows more than another that is a multiple of it; of 10 and 7, neither does."""
    ratio = Fraction(Decimal(str(before))) / Fraction(Decimal(str(after)))
    return 1 if ratio.denominator == 1 else -1 if ratio.numerator == 1 else None


def _url(before: Url, after: Url) -> _Sign:
    parameters = _subset(set(before.keep_query), set(after.keep_query))
    return _together(parameters, _sign(before.keep_path, after.keep_path))


def _mask(before: Mask, after: Mask) -> _Sign:
    return _together(_sign(before.keep_first, after.keep_first), _sign(before.keep_last, after.keep_last))


_WITHIN: dict[type[Treatment], Callable[[Any, Any], _Sign]] = {
    Keep: _keep,
    Pseudonymize: _pseudonymize,
    Generalize: _generalize,
    Url: _url,
    Mask: _mask,
}
