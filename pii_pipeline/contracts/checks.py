"""What a contract says, held against its schema: fields that are not there, what does not fit their types."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pii_pipeline.contracts.model import ARRIVAL, Consent, Contract, Rule
from pii_pipeline.contracts.record_type import ListOf, Node, Record, Scalar, Way, parents, walk, way
from pii_pipeline.contracts.schema import CompiledSchema
from pii_pipeline.contracts.source import Location, Source, nearest
from pii_pipeline.contracts.time_format import EPOCH_UNITS, TimeFormat
from pii_pipeline.contracts.treatments import (
    CRITERION,
    UNLISTED_VALUES,
    Encrypt,
    Generalize,
    Mask,
    Pseudonymize,
    SelfDescribing,
    Treatment,
    Url,
    intersection,
)

MAX_REVERSIBLE_PATH = 255
"""Characters in the path of a reversible field: it is part of a key in the vault, in each of its stores. A
test holds this, and what is below, to what the vault says (`vault.model.FIELD`)."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check(source: Source, contract: Contract, compiled: CompiledSchema, rule_numbers: list[int]) -> None:
    """Notes in `source` what of the contract does not fit the events its schema describes.

    `rule_numbers` are the positions in the file of the contract's rules.
    """
    _Checker(source, contract, compiled, rule_numbers).check()


class _Checker:
    def __init__(
        self, source: Source, contract: Contract, compiled: CompiledSchema, rule_numbers: list[int]
    ) -> None:
        self.source = source
        self.contract = contract
        self.nodes = dict(walk(compiled.record))
        self.rule_numbers = rule_numbers

    def check(self) -> None:
        contract = self.contract
        if contract.time_field != ARRIVAL:
            mend = f"name a string or integer field outside lists, or {ARRIVAL}"
            self._one_value(contract.time_field, ("time_field",), mend)
        self._time_format(contract)
        self._one_value(contract.key_field, ("key_field",))
        if contract.event_id_field is not None:
            self._one_value(contract.event_id_field, ("event_id_field",))
        if contract.data_subject is not None:
            self._one_value(contract.data_subject.field, ("data_subject", "field"))
        if contract.consent is not None:
            self._consent(contract.consent)
        if isinstance(contract.default, Generalize | Url | Mask | SelfDescribing):
            problem = f"`{contract.default.name}` does not fit every field"
            self.source.add(("default",), problem, "one of pseudonymize, encrypt, drop, keep")
        for path, treatment in contract.fields.items():
            location = ("fields", path)
            node = self._find(path, location)
            if node is not None:
                self._treatment(path, node, treatment, location)
        for path, location in self._reversible():
            self._vault_path(path, location)
        for number, rule in zip(self.rule_numbers, contract.validations, strict=True):
            location = ("validations", number)
            node = self._find(rule.field, (*location, "field"))
            if node is not None:
                self._rule(rule, node, (*location, rule.kind))

    def _find(self, path: str, location: Location) -> Node | None:
        """The type of the field at `path`; notes that there is none."""
        if (node := self.nodes.get(path)) is not None:
            return node
        whole = next((p for p in parents(path) if self.nodes.get(p) == Scalar("json")), None)
        if whole is not None:
            problem = f"`{whole}` is stored whole, as JSON text: nothing inside it has a name"
            mend = f"treat `{whole}` as a whole, or have the schema declare one type and its properties"
        else:
            problem = f"the schema declares no field `{path}`"
            plain = {known.replace("[]", ""): known for known in self.nodes}
            looks = path.replace("[]", "").replace(".", "/")
            near = plain.get(looks) or nearest(path, self.nodes)
            mend = f"did you mean `{near}`?" if near else "declare it in the schema, or remove it here"
        self.source.add(location, problem, mend)
        return None

    def _one_value(
        self, path: str, location: Location, mend: str = "name a string or integer field outside lists"
    ) -> None:
        """There must be one text or whole number in each event."""
        node = self._find(path, location)
        if node is not None and (_inside_list(path) or node not in (Scalar("string"), Scalar("integer"))):
            self.source.add(location, f"`{path}` is {_described(node, path)}", mend)

    def _time_format(self, contract: Contract) -> None:
        """The time's type must be one that can be written so."""
        if contract.time_format is None:
            return
        location = ("time_format",)
        if contract.time_field == ARRIVAL:
            problem = f"`{ARRIVAL}` is not written in the events"
            self.source.add(location, problem, "remove it, or name the field of the event's time")
            return
        counted = TimeFormat.parse(contract.time_format).unit is not None
        node = self.nodes.get(contract.time_field)
        if counted and node == Scalar("string"):
            problem = f"`{contract.time_format}` is for integer fields, `{contract.time_field}` is a string"
            self.source.add(location, problem, "declare it an integer in the schema, or write %Y-%m-%d …")
        elif not counted and node == Scalar("integer"):
            problem = f"a text format is for string fields, `{contract.time_field}` is an integer"
            self.source.add(location, problem, f"one of {', '.join(EPOCH_UNITS)}")

    def _consent(self, consent: Consent) -> None:
        path, location = consent.field, ("consent", "field")
        if path is None:
            return
        node = self._find(path, location)
        if consent.values is None:
            allowed = (ListOf(Scalar("integer")), Scalar("integer"), Scalar("string"))
            mend = "name a list of integers, an integer or a string, outside lists"
        else:
            allowed = (Scalar("string"), Scalar("integer"), Scalar("boolean"))
            mend = "with `values`, name a string, an integer or a boolean, outside lists"
        if node is not None and (_inside_list(path) or node not in allowed):
            self.source.add(location, f"`{path}` is {_described(node, path)}", mend)

    def _treatment(self, path: str, node: Node, treatment: Treatment, location: Location) -> None:
        fields = self.contract.fields
        sealed = next((p for p in parents(path) if isinstance(fields.get(p), Encrypt)), None)
        if sealed is not None:
            problem = f"`{sealed}` is encrypted as one value, with this field inside it"
            self.source.add(location, problem, f"remove it, or list the fields of `{sealed}` one by one")
        if isinstance(treatment, SelfDescribing):
            self._self_describing(path, node, treatment, location)
            return
        if isinstance(treatment, Url | Mask):
            kinds, what = ("string",), treatment.name
        elif not isinstance(treatment, Generalize):
            return
        elif treatment.step is not None:
            kinds, what = ("integer", "number"), "generalize by step"
        elif treatment.date is not None:
            kinds, what = ("string", "integer"), "generalize by date"
        else:
            kinds, what = ("string",), "generalize by IP prefix"
        if isinstance(node, Scalar) and node.kind in kinds:
            return
        fitting = [
            inner for inner, child in walk(node, path) if isinstance(child, Scalar) and child.kind in kinds
        ]
        if fitting:
            mend = f"list what it is meant for: `{fitting[0]}`"
        else:
            mend = "pseudonymize, encrypt, drop or keep it, or mend its type in the schema"
        problem = f"`{what}` is for {' or '.join(kinds)} fields, `{path}` is {_described(node)}"
        self.source.add(location, problem, mend)

    def _self_describing(self, path: str, node: Node, treatment: SelfDescribing, location: Location) -> None:
        if _inside_list(path) or node not in (Scalar("string"), Scalar("json")):
            problem = (
                f"`self_describing` is for JSON text outside lists, `{path}` is {_described(node, path)}"
            )
            mend = "name a string, or an object without declared properties"
            self.source.add(location, problem, mend)
            return
        for criterion, places in treatment.entities.items():
            here = (*location, treatment.name, criterion)
            if not CRITERION.fullmatch(criterion):
                mend = "write iglu:vendor/name/format/version, with * for any number, vendor or name: "
                mend += "iglu:com.acme/user/jsonschema/1-*-*"
                self.source.add(here, "not a schema criterion", mend)
            for inner, place in places.items():
                self._place(treatment, criterion, inner, place, (*here, inner))

    def _place(
        self, around: SelfDescribing, criterion: str, inner: str, treatment: Treatment, location: Location
    ) -> None:
        """A path inside the data of entities."""
        if isinstance(treatment, SelfDescribing):
            problem = "documents inside documents are not taken apart"
            self.source.add(location, problem, "pseudonymize, encrypt, drop or keep it")
        steps = _way(inner)
        if steps is None:
            mend = "write names with / between them, [] for every element of a list: items[]/sku, []/sku"
            self.source.add(location, f"`{inner}` is not a path inside an entity's data", mend)
            return
        for other, outer, place in around.places():
            inside = (whole := _way(outer)) and whole != steps and whole == steps[: len(whole)]
            if inside and isinstance(place, Encrypt) and intersection(other, criterion):
                problem = f"`{outer}` is encrypted as one value, with this place inside it"
                self.source.add(location, problem, f"remove it, or list what is in `{outer}` one by one")

    def _reversible(self) -> Iterator[tuple[str, Location]]:
        """The paths of reversible fields, as the vault gets them, and where the contract says so."""
        contract, default = self.contract, self.contract.default
        for path, node in self.nodes.items():
            treatment = contract.treatment(path)
            if isinstance(treatment, SelfDescribing):
                if isinstance(default, Pseudonymize) and default.reversible:
                    yield f"{path}{UNLISTED_VALUES}", ("default",)
                for criterion, inner, place in treatment.places():
                    if isinstance(place, Pseudonymize) and place.reversible:
                        inside = ("fields", path, treatment.name, criterion, inner)
                        yield f"{path} {criterion} {inner}", inside
            elif isinstance(node, Scalar) and isinstance(treatment, Pseudonymize) and treatment.reversible:
                listed = contract.listed(path)
                yield path, ("fields", listed) if listed else ("default",)

    def _vault_path(self, path: str, location: Location) -> None:
        if len(path) > MAX_REVERSIBLE_PATH:
            problem = f"`{path}` is reversible, and of its {len(path)} characters the vault takes "
            problem += f"{MAX_REVERSIBLE_PATH}"
        elif CONTROL.search(path):
            problem = f"`{path}` is reversible, and the vault takes no control characters in a path"
        else:
            return
        self.source.add(
            location, problem, "remove `reversible`, or give the field another name in the schema"
        )

    def _rule(self, rule: Rule, node: Node, location: Location) -> None:
        if rule.kind == "not_empty":
            fits = isinstance(node, ListOf) or (isinstance(node, Scalar) and node.kind != "json")
            need = "a string, number, boolean or list"
        elif rule.kind in ("min_length", "max_length"):
            fits, need = isinstance(node, ListOf) or node == Scalar("string"), "a string or list"
        elif rule.kind == "regex":
            fits, need = node == Scalar("string"), "a string"
        elif rule.kind in ("min", "max"):
            fits, need = node in (Scalar("integer"), Scalar("number")), "an integer or number"
        else:
            fits, need = isinstance(node, Scalar) and node.kind != "json", "a string, number or boolean"
        if not fits:
            problem = f"the rule needs {need}, `{rule.field}` is {_described(node)}"
            self.source.add(location, problem, "name another field, or express it in the schema")
        elif rule.enum is not None and isinstance(node, Scalar):
            if not rule.enum:
                self.source.add(location, "lists no value", "list the allowed values, or remove the rule")
            for value in rule.enum:
                if not _matches(value, node.kind):
                    mend = 'write text in quotes ("1", "no"), numbers and booleans without'
                    self.source.add(location, f"{value!r} is not {_described(node)}", mend)


def _way(path: str) -> Way | None:
    try:
        return way(path)
    except ValueError:
        return None


def _inside_list(path: str) -> bool:
    return any(part.endswith("[]") for part in path.split("/"))


def _described(node: Node, path: str = "") -> str:
    """The type in words, and that it stands inside a list where `path` says so."""
    where = " inside a list" if _inside_list(path) else ""
    if isinstance(node, Record):
        return "a record" + where
    if isinstance(node, ListOf):
        return "a list" + where
    if node.kind == "json":
        return "stored as JSON text (it has no single type)" + where
    return f"{'an' if node.kind == 'integer' else 'a'} {node.kind}{where}"


def _matches(value: str | int | float | bool, kind: str) -> bool:
    if isinstance(value, bool) or kind == "boolean":
        return isinstance(value, bool) and kind == "boolean"
    allowed: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float)}
    return isinstance(value, allowed[kind])
