"""Who may do what at the vault: a YAML file of purposes and principals. What is not listed is refused.

Two principals are there without being listed: `pipeline`, the main job, which loads what it made and reads to
verify it; and `piinguin`, who asks over Piinguin's wire, and has the stream of that name alone. What the file
says of them takes the place of what is built in, key by key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from pii_pipeline.contracts.errors import Caution
from pii_pipeline.contracts.source import Location, Source, nearest, read_yaml, suggestion
from pii_pipeline.vault.audit import UNKNOWN, VAULT, Action
from pii_pipeline.vault.model import (
    PIINGUIN_FIELD,
    PIINGUIN_PURPOSE,
    PIINGUIN_STREAM,
    VERIFICATION,
    LawfulBasis,
    Reason,
    RecordKey,
)
from pii_pipeline.vault.policy_file import (
    EVERY,
    NAMES_OF_PEOPLE,
    PRINCIPAL,
    Grant,
    PolicyFile,
    Principal,
    Purpose,
    ReadGrant,
    is_ticket,
)
from pii_pipeline.vault.stores import Allowance

OPERATOR = "operator"
PIPELINE = "pipeline"
PIINGUIN = "piinguin"

_EXPLICIT = tuple(basis for basis in LawfulBasis if basis != LawfulBasis.CONSENT)
_WIRE = Grant(streams=(PIINGUIN_STREAM,), fields=(PIINGUIN_FIELD,))
_ALL = Grant(streams=(EVERY,), fields=(EVERY,))
_VERIFY = {"bases": (LawfulBasis.LEGAL_OBLIGATION,), "purposes": (VERIFICATION,)}
_BUILT_IN = {
    PIPELINE: Principal(load=True, read=tuple(ReadGrant(**dict(of), **_VERIFY) for of in (_ALL, _WIRE))),
    PIINGUIN: Principal(
        read=(ReadGrant(**dict(_WIRE), bases=_EXPLICIT, purposes=(PIINGUIN_PURPOSE,)),),
        create=(_WIRE,),
        delete=(_WIRE,),
    ),
}
_PURPOSES = {
    VERIFICATION: Purpose(description="That what was loaded can be told again."),
    PIINGUIN_PURPOSE: Purpose(description="Piinguin's wire names none."),
}
_CODE = "use lower-case letters, digits, `-` and `_`"
_RIGHTS = ("read", "create", "delete", "erase", "load", "audit")
_NETWORK = ("token_sha256", "certificate")
_NOT_THEIRS = {PIPELINE: (*_NETWORK, "unset_basis"), PIINGUIN: (*_NETWORK, "erase", "load", "audit")}

_GRANTS = {Action.CREATE: "create", Action.IMPORT: "create", Action.DELETE: "delete"}
_FLAGS = {Action.ERASE: "erase", Action.LOAD: "load", Action.EXPORT: "audit"}


class Policy:
    """The rules of one file, read and checked.

    `known`: the (stream, field) pairs whose originals the vault may have. They say which names may stand in
    the audit log where a grant is for `*`, and what to look at in the file (`cautions`).
    """

    def __init__(
        self, content: PolicyFile, known: Collection[tuple[str, str]] = (), cautions: Sequence[Caution] = ()
    ) -> None:
        said = content.principals
        built_in = {
            name: default.model_copy(update=_said(said.get(name))) for name, default in _BUILT_IN.items()
        }
        self.cautions = tuple(cautions)
        self.anchor_retention: timedelta = content.anchor_retention
        self._ticket = content.ticket
        self._purposes = {**content.purposes, **_PURPOSES}
        self._principals = {**said, **built_in}
        text = json.dumps(content.model_dump(mode="json", exclude_unset=True), sort_keys=True)
        self._digest = hashlib.sha256(text.encode()).hexdigest()
        grants = [grant for principal in self._principals.values() for _, _, grant in _grants(principal)]
        self._streams = {name for grant in grants for name in grant.streams} | {stream for stream, _ in known}
        self._fields = {name for grant in grants for name in grant.fields} | {field for _, field in known}

    @property
    def digest(self) -> str:
        """Of all that the file says (64 hexadecimal digits): the audit log records when it changes."""
        return self._digest

    @property
    def principals(self) -> Mapping[str, Principal]:
        """By name, those that are built in too."""
        return self._principals

    @property
    def purposes(self) -> Mapping[str, Purpose]:
        """By code, the vault's own too."""
        return self._purposes

    def reasons(self, principal: str, stream: str, field: str) -> dict[LawfulBasis, list[str]]:
        """For which purposes `principal` may read a field, by lawful basis."""
        found: dict[LawfulBasis, list[str]] = {}
        for grant in self._principals[principal].read if principal in self._principals else ():
            if grant.covers(stream, field):
                for basis in grant.bases:
                    found[basis] = list(dict.fromkeys([*found.get(basis, ()), *grant.purposes]))
        return found

    def refusal(
        self, principal: str, action: Action, keys: Sequence[RecordKey], reason: Reason | None
    ) -> str | None:
        """Why `principal` may not do this, in words of ours; None if he may. Of a read: its reason too."""
        rights = self._principals.get(principal)
        if rights is None:
            return "the policy does not know this principal"
        if action in _FLAGS:
            flag = _FLAGS[action]
            return None if getattr(rights, flag) else f"the policy does not grant this principal `{flag}`"
        places = {(key.stream, key.field) for key in keys}
        if action != Action.READ:
            grants: Sequence[Grant] = getattr(rights, _GRANTS[action]) if action in _GRANTS else ()
            return None if _all_covered(places, grants) else "the policy does not grant it for such a field"
        return self._refused_read(rights.read, places, reason)

    def _refused_read(
        self, granted: Sequence[ReadGrant], places: Collection[tuple[str, str]], reason: Reason | None
    ) -> str | None:
        """The first of field, basis, purpose and ticket that does not do: what somebody may is told step by
        step, to him alone."""
        if reason is None or reason.basis is None:
            return "a read names its lawful basis"
        if not _all_covered(places, granted):
            return "the policy does not grant reads of such a field"
        granted = [grant for grant in granted if reason.basis in grant.bases]
        if not _all_covered(places, granted):
            return "the policy does not grant reads of such a field on this lawful basis"
        granted = [grant for grant in granted if reason.purpose in grant.purposes]
        purpose = self._purposes.get(reason.purpose)
        if purpose is None or not _all_covered(places, granted):
            return "the policy does not grant reads of such a field on this basis for this purpose"
        if reason.basis == LawfulBasis.CONSENT and not purpose.consent:
            return "no consent is for this purpose, so a read for it names another lawful basis"
        if reason.ticket is None:
            return "a read for this purpose names a ticket" if purpose.ticket == "required" else None
        return None if self._is_ticket(reason.ticket) else "the ticket is not written as the policy says"

    def allowances(self, principal: str, at: datetime) -> list[Allowance]:
        """The limits that hold for this principal's reads now, to be spent by the number of records."""
        rights = self._principals.get(principal)
        if rights is None or rights.limits is None:
            return []
        now = at.astimezone(UTC).isoformat()
        windows = ((now[:16], rights.limits.records_per_minute), (now[:10], rights.limits.records_per_day))
        return [Allowance(principal, window, most) for window, most in windows if most is not None]

    def wanted_consent(self, reason: Reason) -> frozenset[int]:
        """The levels that a consent-based read for this purpose needs; empty: none will do."""
        purpose = self._purposes.get(reason.purpose)
        return frozenset(purpose.consent if purpose else ())

    def basis_if_unset(self, principal: str) -> LawfulBasis | None:
        """What a read over Piinguin's wire rests on if it says CONSENT, which there is also what a client
        says that says nothing; None: it is refused."""
        rights = self._principals.get(principal)
        return rights.unset_basis if rights else None

    def authenticate_token(self, token: str, others: Mapping[str, str] = MappingProxyType({})) -> str | None:
        """Whose bearer token it is, None if nobody's. `others`: digests of tokens that are in no file, by
        principal. Looks at all of them, however early one fits."""
        digests = [(name, rights.token_sha256 or "") for name, rights in self._principals.items()]
        told = token_sha256(token)
        found = {name for name, digest in (*digests, *others.items()) if hmac.compare_digest(digest, told)}
        return found.pop() if token and len(found) == 1 else None

    def principal_of_certificate(self, names: Iterable[str]) -> str | None:
        """Whose client certificate it is, by its common name and alternative names, which TLS has verified;
        None if nobody's, or that of two."""
        presented = set(names)
        found = [name for name, rights in self._principals.items() if rights.certificate in presented]
        return found[0] if len(found) == 1 else None

    def known_principal(self, name: str) -> str:
        """`name`, or "unknown"; so are the two below: what a caller wrote may be anything."""
        return name if name in self._principals else UNKNOWN

    def known_place(self, stream: str, field: str) -> tuple[str, str]:
        """Each of the two, where the policy, or `known`, names it."""
        return (
            stream if stream in self._streams else UNKNOWN,
            field if field in self._fields else UNKNOWN,
        )

    def known_reason(self, reason: Reason) -> Reason:
        """Without a ticket that is not written as one."""
        ticket = reason.ticket if reason.ticket is not None and self._is_ticket(reason.ticket) else None
        return Reason(reason.basis, reason.purpose if reason.purpose in self._purposes else UNKNOWN, ticket)

    def _is_ticket(self, ticket: str) -> bool:
        return self._ticket is not None and is_ticket(self._ticket, ticket)


def load_policy(file: Path, known: Collection[tuple[str, str]] = ()) -> Policy:
    """The policy in `file`; of one that is not there, what is built in. Raises `ConfigurationError`.

    `known`: the (stream, field) pairs that are reversible now.
    """
    if not file.exists():
        return Policy(PolicyFile(), known)
    source = read_yaml(file)
    content = PolicyFile()
    try:
        content = PolicyFile.model_validate(source.data)
    except ValidationError as error:
        source.add_invalid(error, PolicyFile)
    _check(source, content)
    source.raise_problems()
    return Policy(content, known, tuple(_cautions(source, content, known)))


def token_sha256(token: str) -> str:
    """A bearer token as the policy has it: 64 hexadecimal digits."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _said(principal: Principal | None) -> dict[str, object]:
    """What the file says of a principal that is built in."""
    return {name: getattr(principal, name) for name in principal.model_fields_set} if principal else {}


def _all_covered(places: Collection[tuple[str, str]], grants: Sequence[Grant]) -> bool:
    """Whether there are grants, and each place is in one."""
    return bool(grants) and all(any(grant.covers(*place) for grant in grants) for place in places)


def _grants(principal: Principal) -> Iterator[tuple[str, int, Grant]]:
    for right in ("read", "create", "delete"):
        for number, grant in enumerate(getattr(principal, right)):
            yield right, number, grant


def _check(source: Source, content: PolicyFile) -> None:
    """What is wrong between the parts of the file."""
    for name, purpose in content.purposes.items():
        if name in (*_PURPOSES, UNKNOWN):
            source.add(("purposes", name), "is a purpose of the vault's own", "give yours another name")
        elif not PRINCIPAL.fullmatch(name):
            source.add(("purposes", name), "is no code of a purpose", _CODE)
        if purpose.ticket == "required" and content.ticket is None:
            mend = 'add `ticket:` at the top of the file, such as "[A-Z]{2,10}-[0-9]{1,9}"'
            source.add(("purposes", name, "ticket"), "nothing says how a ticket is written", mend)
    holders: dict[str, str] = {}
    for name, principal in content.principals.items():
        here: Location = ("principals", name)
        if not PRINCIPAL.fullmatch(name) or name in (UNKNOWN, VAULT):
            source.add(here, "is no name for a principal", _CODE)
        for key in _NETWORK:
            value = getattr(principal, key)
            if value is not None and (first := holders.setdefault(value, name)) != name:
                mend = "give each its own: the audit log tells them apart by it"
                source.add((*here, key), f"is also that of `{first}`", mend)
        _check_reserved(source, here, principal)
        for number, grant in enumerate(principal.read):
            _check_purposes(source, (*here, "read", number), grant, content.purposes)


def _check_reserved(source: Source, here: Location, principal: Principal) -> None:
    name = str(here[-1])
    for key in _NOT_THEIRS.get(name, ()):
        if key in principal.model_fields_set:
            mend = "remove it, or name a principal of your own"
            source.add((*here, key), f"is nothing that `{name}` can have", mend)
    if name == PIINGUIN:
        for right, number, grant in _grants(principal):
            if set(grant.streams) != {PIINGUIN_STREAM}:
                mend = f"write `streams: [{PIINGUIN_STREAM}]`: whoever asks there has shown no token"
                source.add((*here, right, number, "streams"), "is more than Piinguin's wire may have", mend)


def _check_purposes(
    source: Source, here: Location, grant: ReadGrant, purposes: Mapping[str, Purpose]
) -> None:
    known = {**purposes, **_PURPOSES}
    for number, name in enumerate(grant.purposes):
        place = (*here, "purposes", number)
        if name not in known:
            source.add(place, f"unknown purpose `{name}`", suggestion(name, known))
        elif grant.bases == (LawfulBasis.CONSENT,) and not known[name].consent:
            mend = f"add `consent:` with the level it needs to the purpose `{name}`, or name another basis"
            source.add(place, f"no consent is for `{name}`, so nothing could be read", mend)


def _cautions(source: Source, content: PolicyFile, known: Collection[tuple[str, str]]) -> Iterator[Caution]:
    """What can be used, and somebody should look at."""
    if content.ticket and (taken := [name for name in NAMES_OF_PEOPLE if is_ticket(content.ticket, name)]):
        message = f"also takes `{taken[0]}`, and what it takes stays in the audit log: have it want digits"
        yield source.caution(("ticket",), message)
    for name, principal in content.principals.items():
        here: Location = ("principals", name)
        if not any(getattr(principal, right) for right in _RIGHTS) and name not in _BUILT_IN:
            yield source.caution(here, "may do nothing: grant `read`, `create`, `delete`, `erase` or `audit`")
        if name not in (OPERATOR, *_BUILT_IN) and not any(getattr(principal, key) for key in _NETWORK):
            message = "nobody can show to be this principal: add `token_sha256` or `certificate`"
            yield source.caution(here, message)
        if principal.read and principal.limits is None and name not in _BUILT_IN:
            message = (
                "may read without a limit: add `limits`, so that a stolen token does not open everything"
            )
            yield source.caution((*here, "read"), message)
        for right, number, grant in _grants(principal):
            yield from _unknown_names(source, (*here, right, number), grant, known)


def _unknown_names(
    source: Source, here: Location, grant: Grant, known: Collection[tuple[str, str]]
) -> Iterator[Caution]:
    """Names in a grant that are of no reversible field, where it is known which there are."""
    if not known:
        return
    known = {*known, (PIINGUIN_STREAM, PIINGUIN_FIELD)}
    streams = {stream for stream, _ in known}
    for number, name in enumerate(grant.streams):
        if name not in (*streams, EVERY):
            near = nearest(name, streams)
            message = f"no stream `{name}` has reversible fields" + (
                f": did you mean `{near}`?" if near else ""
            )
            yield source.caution((*here, "streams", number), message)
    granted = set(grant.streams)
    fields = {field for stream, field in known if stream in granted or EVERY in granted}
    for number, name in enumerate(grant.fields):
        if fields and name not in (*fields, EVERY):
            near = nearest(name, fields)
            message = f"no field `{name}` is reversible there" + (f": did you mean `{near}`?" if near else "")
            yield source.caution((*here, "fields", number), message)
