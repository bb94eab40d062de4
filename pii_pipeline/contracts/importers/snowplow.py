"""Snowplow's PII enrichment as a contract of ours: what it hashes becomes the same pseudonyms here.

Everything else is as in the stock contract for Snowplow's events: an allowlist, and pseudonyms for the rest.
No message quotes what the configuration says of its strategy: the salt may stand at a wrong place there.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, get_args

from pii_pipeline.contracts.foreign import Imported, Message, Notes
from pii_pipeline.contracts.importers import json_path
from pii_pipeline.contracts.source import Source, suggestion
from pii_pipeline.contracts.treatments import CRITERION, HashFunction, intersection

_VENDOR, _NAME = "com.snowplowanalytics.snowplow.enrichments", "pii_enrichment_config"
_SCHEMA = f"iglu:{_VENDOR}/{_NAME}/jsonschema/"
_VERSIONS = {
    "2-0-0": ("vendor", "name", "enabled", "emitEvent", "parameters"),
    "2-0-1": ("vendor", "name", "enabled", "emitEvent", "parameters", "anonymousOnly"),
}
_COLUMNS = (
    "user_id", "user_ipaddress", "user_fingerprint", "domain_userid", "network_userid", "refr_domain_userid",
    "domain_sessionid", "ip_organization", "ip_domain", "mkt_term", "mkt_content", "mkt_clickid",
    "se_category", "se_action", "se_label", "se_property", "tr_orderid", "ti_orderid",
)  # fmt: skip
"""The columns that the enrichment can hash whole."""
_DOCUMENTS = ("contexts", "derived_contexts", "unstruct_event")

Entities = dict[str, dict[str, Any]]
"""Schema criterion → path → treatment."""


@dataclass(frozen=True, slots=True)
class Stock:
    """A stream to start from: the keys of its files, and the text of its schema."""

    stream: dict[str, Any]
    contract: dict[str, Any]
    schema: str


def import_stream(name: str, configuration: Source, stock: Stock) -> Imported:
    """The stream `name` of enriched events, in which what the enrichment would hash is hashed.

    Raises ConfigurationError with every problem of the configuration. Nothing that comes of it has the salt.
    """
    importer = _Importer(configuration)
    hashed, documents = importer.read()
    configuration.raise_problems()
    contract = deepcopy(stock.contract)
    contract["contract"] = f"acme/{name.replace('_', '-')}/1.0.0"
    fields = contract["fields"]
    for field, entities in documents.items():
        listed = fields.get(field, {}).get("self_describing", {})
        fields[field] = {"self_describing": _merged(entities, listed)}
    contract["fields"] = hashed | {path: fields[path] for path in fields if path not in hashed}
    return Imported(deepcopy(stock.stream), contract, stock.schema, tuple(importer.notes))


class _Importer:
    def __init__(self, configuration: Source) -> None:
        self.source = configuration
        self.notes = Notes()

    def read(self) -> tuple[dict[str, Any], dict[str, Entities]]:
        """The treatment of every column that is hashed, and of what is hashed inside documents."""
        whole = Message(self.source, self.source.data if isinstance(self.source.data, dict) else {})
        self._keys(whole, ("schema", "data"))
        schema = whole.take("schema", str, "")
        version = schema.removeprefix(_SCHEMA)
        if version not in _VERSIONS:
            mend = " or ".join(f"{_SCHEMA}{known}" for known in _VERSIONS)
            whole.add("schema", f"`{schema}` is no PII enrichment that can be read", mend)
            return {}, {}
        data = whole.message("data")
        self._keys(data, _VERSIONS[version], required=_VERSIONS["2-0-0"])
        for key, known in (("vendor", _VENDOR), ("name", _NAME)):
            if (given := data.take(key, str, known)) != known:
                data.add(key, f"`{given}` is another enrichment", f"`{known}`")
        parameters = data.message("parameters")
        self._keys(parameters, ("pii", "strategy"))
        emitted = data.take("emit_event", bool, False)
        treatment = self._strategy(parameters.message("strategy"), emitted)
        self._say(data, emitted)
        return self._pii(parameters, treatment)

    def _keys(
        self,
        message: Message,
        known: tuple[str, ...],
        required: tuple[str, ...] | None = None,
        secret: bool = False,
    ) -> None:
        """Notes keys that nobody knows (by name unless they may be `secret`) and those that are missing."""
        for key in message:
            if key not in known and secret:
                self.source.add(message.location, "an unknown key", f"one of {', '.join(known)}")
            elif key not in known:
                self.source.add((*message.location, key), "unknown key", suggestion(key, known))
        for key in known if required is None else required:
            if key not in message:
                self.source.add((*message.location, key), "is missing", f'add "{key}"')

    def _strategy(self, strategy: Message, emitted: bool) -> dict[str, Any]:
        """The treatment of what is hashed; `emitted`: the enrichment tells its originals too."""
        self._keys(strategy, ("pseudonymize",), secret=True)
        pseudonymize = strategy.message("pseudonymize")
        self._keys(pseudonymize, ("hashFunction", "salt"), secret=True)
        function = pseudonymize.take("hash_function", str, "")
        functions = get_args(HashFunction)
        if function == "MD2":
            mend = f"its hashes cannot be made here: change the enrichment to one of {', '.join(functions)}"
            pseudonymize.add("hash_function", "MD2 is broken, and no library has it any more", mend)
        elif function not in functions:
            mend = suggestion(function, functions)
            pseudonymize.add("hash_function", "unknown hash function", mend)
        pseudonymize.take("salt", str, "")
        why = "who knows it can try out whose hash it is"
        mend = "set PII_SNOWPLOW_SALT to it where the pipeline runs"
        self.notes.say("strategy.pseudonymize.salt", "not written into any file", why, mend)
        return {"pseudonymize": {"hash": function, **({"reversible": True} if emitted else {})}}

    def _pii(
        self, parameters: Message, treatment: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Entities]]:
        hashed: dict[str, Any] = {}
        documents: dict[str, Entities] = {}
        for message in parameters.messages("pii"):
            kinds = [key for key in ("pojo", "json") if key in message]
            self._keys(message, ("pojo", "json"), required=())
            if len(kinds) != 1:
                self.source.add(
                    message.location, "not exactly one of `pojo` and `json`", "make two entries of it"
                )
            elif kinds == ["pojo"]:
                pojo = message.message("pojo")
                self._keys(pojo, ("field",))
                if self._one_of(pojo, "field", _COLUMNS):
                    hashed[pojo.take("field", str, "")] = treatment
            else:
                field, criterion, paths = self._json(message.message("json"))
                if paths:
                    places = documents.setdefault(field, {}).setdefault(criterion, {})
                    places.update(dict.fromkeys(paths, treatment))
        return hashed, documents

    def _json(self, message: Message) -> tuple[str, str, list[str]]:
        """Field, criterion and paths of one entry; no path where it cannot be carried over."""
        self._keys(message, ("field", "schemaCriterion", "jsonPath"))
        field, criterion = message.take("field", str, ""), message.take("schema_criterion", str, "")
        path = message.take("json_path", str, "")
        right = self._one_of(message, "field", _DOCUMENTS)
        if not CRITERION.fullmatch(criterion):
            mend = "iglu:vendor/name/format/1-*-*, the last three numbers or *"
            message.add("schema_criterion", f"`{criterion}` is no schema criterion", mend)
            return field, criterion, []
        try:
            return field, criterion, json_path.paths(path) if right else []
        except ValueError as error:
            if not path.startswith("$"):
                message.add("json_path", str(error), "write it from the entity's data on: $.email")
            else:
                why = f"{error} has no path here; what is there is pseudonymized, but by another hash"
                mend = "name the places one by one if they are to be joined with Snowplow's"
                self.notes.say(f"{field} {criterion} {path}", "not carried over", why, mend)
        return field, criterion, []

    def _one_of(self, message: Message, key: str, known: tuple[str, ...]) -> bool:
        given = message.take(key, str, "")
        if given not in known:
            message.add(key, f"the enrichment hashes no `{given}`", suggestion(given, known))
        return given in known

    def _say(self, data: Message, emitted: bool) -> None:
        if not data.take("enabled", bool, True):
            why, mend = "the contract hashes all the same", "remove `hash` where it is not wanted"
            self.notes.say("enabled", "the enrichment is switched off there", why, mend)
        if emitted:
            why = "no event has the originals; the vault gets them, for which the fields are `reversible`"
            mend = "remove `reversible` where nobody will ever have to know"
            self.notes.say("emitEvent", "carried over in another way", why, mend)
        if data.take("anonymous_only", bool, False):
            why = "there only events with the header SP-Anonymous are hashed, here all are"
            self.notes.say(
                "anonymousOnly", "not carried over", why, "nothing to do, or split the events before"
            )
        why = "Snowplow leaves it readable, numbers and booleans at the paths it does hash as well"
        mend = "`keep` in the contract what names nobody"
        self.notes.say("everything else", "pseudonymized, unless the contract lists it", why, mend)


def _merged(hashed: Entities, listed: Entities) -> Entities:
    """What is hashed, before what the stock contract lists of the same or other entities: of two criteria
    that name one place the first holds, and what lies inside a hashed place is not listed apart. A criterion
    of which nothing is left still says that its schema may be read."""
    merged = {criterion: dict(places) for criterion, places in hashed.items()}
    for criterion, places in listed.items():
        within = [path for other, paths in hashed.items() if intersection(criterion, other) for path in paths]
        left = {path: what for path, what in places.items() if not _inside(path, within)}
        merged.setdefault(criterion, {}).update(left)
    return merged


def _inside(path: str, places: list[str]) -> bool:
    return any(path == place or path.startswith((f"{place}/", f"{place}[]")) for place in places)
