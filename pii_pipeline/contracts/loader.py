"""A contract's YAML and its schema, read and checked as a whole.

Every problem of the files is reported at once, with the line it stands on and its mend. What is allowed but
risky becomes a caution.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from pii_pipeline.contracts import avro, simple_schema
from pii_pipeline.contracts.errors import Caution, ConfigurationError, Problem
from pii_pipeline.contracts.model import ARRIVAL, Consent, Contract, Rule
from pii_pipeline.contracts.names import sounds_personal, takes_few_values
from pii_pipeline.contracts.record_type import ListOf, Node, Record, Scalar, Way, parent, walk, way
from pii_pipeline.contracts.schema import CompiledSchema, SchemaError, compile_schema
from pii_pipeline.contracts.source import Location, Source, nearest, read_json, read_yaml
from pii_pipeline.contracts.time_format import EPOCH_UNITS, TimeFormat
from pii_pipeline.contracts.treatments import (
    CRITERION,
    Encrypt,
    Generalize,
    Keep,
    Mask,
    Pseudonymize,
    SelfDescribing,
    Treatment,
    Url,
    intersection,
)

FEW_VALUES = 50
"""A pseudonym of a field with no more values than that tells them apart at a glance."""

_FILLED_IN = ("json_schema", "record", "descriptions", "digest", "file")
_PLACEHOLDERS = {"contract": "a/b/0.0.0", "state": "draft", "schema": "", "time_field": ARRIVAL}
"""Stand in for keys that are missing or wrong, so that the others can be checked; never returned."""


@dataclass(frozen=True, slots=True)
class LoadedContract:
    """A contract that can be used, the file it was read from, and what somebody should look at."""

    contract: Contract
    file: Path
    warnings: tuple[Caution, ...]


def load_contract(file: Path) -> LoadedContract:
    """The contract in `file`, with its schema compiled and its digest taken.

    Raises ConfigurationError with every problem of the contract's file and of its schema's.
    """
    source = read_yaml(file)
    written = {key: value for key, value in source.data.items() if key not in _FILLED_IN}
    for key in source.data.keys() - written.keys():
        source.add((key,), "unknown key", "remove it: the loader fills it in")
    contract, rule_numbers = _read(source, written)
    schema_problems: list[Problem] = []
    schema = compiled = None
    if isinstance(name := written.get("schema"), str):
        try:
            schema, compiled = _load_schema(source, name)
        except ConfigurationError as error:
            schema_problems.extend(error.problems)
    warnings: tuple[Caution, ...] = ()
    if contract is not None and compiled is not None:
        contract = contract.model_copy(
            update={
                "json_schema": schema,
                "record": compiled.record,
                "descriptions": compiled.descriptions,
                "digest": _digest(contract, compiled, schema),
                "file": file,
            }
        )
        _Checker(source, contract, compiled, rule_numbers).check()
        warnings = tuple(_cautions(source, contract, compiled))
    problems = sorted(source.problems, key=lambda problem: problem.line) + schema_problems
    if problems or contract is None:
        raise ConfigurationError(problems)
    return LoadedContract(contract, file, warnings)


def linkable_after_erasure(contract: Contract) -> list[str]:
    """The paths whose pseudonyms outlive their person: equal across people, so no salt dies with anyone."""
    return [
        leaf.name
        for leaf in _leaves(contract)
        if isinstance(leaf.treatment, Pseudonymize) and leaf.treatment.outlives_erasure
    ]


def _read(source: Source, written: dict[str, Any]) -> tuple[Contract | None, list[int]]:
    """The contract as far as it can be read, and the position in the file of each of its rules.

    What is wrong is noted and left out, so that the rest can still be checked against the schema; the
    contract is None where something it cannot do without is wrong.
    """
    rules = written.get("validations")
    numbers = list(range(len(rules))) if isinstance(rules, list) else []
    try:
        return Contract.model_validate(written), numbers
    except ValidationError as error:
        wrong = source.add_invalid(error, Contract)
    whole = {place[0] for place in wrong if place[0] not in ("fields", "validations") or len(place) == 1}
    parts = {place[:2] for place in wrong}
    kept: dict[str, Any] = _PLACEHOLDERS | {key: value for key, value in written.items() if key not in whole}
    if "fields" in kept:
        kept["fields"] = deepcopy(kept["fields"])
        for place in wrong:
            if place[0] == "fields":
                _remove(kept["fields"], place[1:])
    if "validations" in kept:
        numbers = [number for number in numbers if ("validations", number) not in parts]
        kept["validations"] = [kept["validations"][number] for number in numbers]
    try:
        return Contract.model_validate(kept), numbers
    except ValidationError:
        return None, []


def _remove(fields: dict[str, Any], place: Location) -> None:
    """Removes what is wrong at `place`: the field, or only a criterion or path inside its documents."""
    inside = len(place) > 2 and place[1] == "self_describing"
    depth = min(len(place), 4) if inside else 1
    part: Any = fields
    for key in place[: depth - 1]:
        part = part.get(key, {})
    part.pop(place[depth - 1], None)


def _load_schema(source: Source, name: str) -> tuple[dict[str, Any], CompiledSchema]:
    """The schema `name` beside the contract, as JSON Schema: what kind it is, its suffix says."""
    file = source.file.parent / name
    if not file.is_file():
        beside = [path.name for path in sorted(source.file.parent.iterdir()) if path.suffix in _SCHEMAS]
        near = nearest(name, [other for other in beside if other != source.file.name])
        mend = f"did you mean `{near}`?" if near else "put the schema beside the contract"
        raise ConfigurationError(
            [Problem(source.file, source.line(("schema",)), "schema", f"there is no file `{name}`", mend)]
        )
    return read_schema(file)


def read_schema(file: Path) -> tuple[dict[str, Any], CompiledSchema]:
    """A schema's file as JSON Schema: Avro's ``.avsc``, Simple Schema's ``.yaml``, else JSON Schema itself.

    Raises ConfigurationError with every problem of the file.
    """
    read, convert = _SCHEMAS.get(file.suffix, _SCHEMAS[".json"])
    source = read(file)
    source.raise_problems()
    try:
        schema = convert(source.data)
        return schema, compile_schema(schema)
    except SchemaError as error:
        for found in error.problems:
            source.add(found.location, found.problem, found.mend)
        source.raise_problems()
        raise


def _as_it_is(schema: Any) -> Any:
    return schema


_SCHEMAS: dict[str, tuple[Callable[[Path], Source], Callable[[Any], Any]]] = {
    ".json": (read_json, _as_it_is),
    ".avsc": (read_json, avro.json_schema),
    ".yaml": (read_yaml, simple_schema.json_schema),
    ".yml": (read_yaml, simple_schema.json_schema),
}


def _digest(contract: Contract, compiled: CompiledSchema, schema: Any) -> str:
    """SHA-256, lowercase hex, of everything in the contract that decides what the lake's files contain.

    The order of columns is part of that, and that of schema criteria, of which the first holds. The order in
    which fields are listed is not, nor is the state.
    """
    columns = [
        [path, node.kind if isinstance(node, Scalar) else type(node).__name__]
        for path, node in walk(compiled.record)
    ]
    said = {key: value for key, value in meaning(contract).items() if key not in ("state", "schema_file")}
    decides = {"contract": said, "columns": columns, "schema": schema}
    criteria = {
        path: list(treatment.entities)
        for path, treatment in contract.fields.items()
        if isinstance(treatment, SelfDescribing)
    }
    if criteria:
        decides["criteria"] = criteria
    canonical = json.dumps(decides, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def meaning(value: Any) -> Any:
    """`value` as JSON can say it, of a model only what differs from its defaults.

    So an option that a later release of the product adds changes no digest. A treatment always has its name:
    two without any settings are not the same.
    """
    if isinstance(value, BaseModel):
        said = {
            name: getattr(value, name)
            for name, field in type(value).model_fields.items()
            if not field.exclude
            and (
                getattr(value, name) != field.get_default(call_default_factory=True)
                or (name == "name" and isinstance(value, Treatment))
            )
        }
        return meaning(said)
    if isinstance(value, dict):
        return {key: meaning(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [meaning(inner) for inner in value]
    return to_jsonable_python(value)


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A value that is treated by itself: what it is called, and where the contract says what is done to it.

    `path` is what its name tells of it; `node` its type, which nobody knows (None) inside documents.
    """

    name: str
    location: Location
    path: str
    treatment: Treatment
    node: Scalar | None = None


def _leaves(contract: Contract) -> Iterator[_Leaf]:
    """Every scalar, and of one that holds documents, what is listed inside them and what is not."""
    for path, node in walk(contract.record):
        if not isinstance(node, Scalar):
            continue
        treatment, location = contract.treatment(path), _listed(contract, path)
        if isinstance(treatment, SelfDescribing):
            for criterion, inner, place in _places(treatment):
                name, within = f"{path} {criterion} {inner}", (*location, treatment.name, criterion, inner)
                yield _Leaf(name, within, inner, place)
            yield _Leaf(path, ("default",), path, contract.default)
        else:
            yield _Leaf(path, location, path, treatment, node)


def _places(treatment: SelfDescribing) -> Iterator[tuple[str, str, Treatment]]:
    """Criterion, path inside, and treatment of everything listed."""
    for criterion, treatments in treatment.entities.items():
        for inner, place in treatments.items():
            yield criterion, inner, place


class _Checker:
    """Does what the contract says fit the events its schema describes?"""

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
        for number, rule in zip(self.rule_numbers, contract.validations, strict=True):
            location = ("validations", number)
            node = self._find(rule.field, (*location, "field"))
            if node is not None:
                self._rule(rule, node, (*location, rule.kind))

    def _find(self, path: str, location: Location) -> Node | None:
        """The type of the field at `path`; notes that there is none."""
        if (node := self.nodes.get(path)) is not None:
            return node
        whole = next((p for p in _parents(path) if self.nodes.get(p) == Scalar("json")), None)
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
        sealed = next((p for p in _parents(path) if isinstance(fields.get(p), Encrypt)), None)
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
        for other, outer, place in _places(around):
            inside = (whole := _way(outer)) and whole != steps and whole == steps[: len(whole)]
            if inside and isinstance(place, Encrypt) and intersection(other, criterion):
                problem = f"`{outer}` is encrypted as one value, with this place inside it"
                self.source.add(location, problem, f"remove it, or list what is in `{outer}` one by one")

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


def _parents(path: str) -> Iterator[str]:
    """The paths of the records and lists around a field, the nearest first."""
    while path := parent(path):
        yield path


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


def _cautions(source: Source, contract: Contract, compiled: CompiledSchema) -> Iterator[Caution]:
    if contract.consent is None:
        sealed = [location for location, treatment in _treatments(contract) if isinstance(treatment, Encrypt)]
        for location in sealed:
            yield source.caution(
                location,
                "encrypted, but no `consent` says who may ever read it: drop it, or declare `consent`",
            )
    if isinstance(contract.default, Keep):
        yield source.caution(
            ("default",),
            "every field that is not listed stays readable, also one added later; list those to keep",
        )
    for leaf in _leaves(contract):
        if isinstance(leaf.treatment, Pseudonymize) and (why := _few_values(contract, leaf, compiled)):
            yield source.caution(
                leaf.location,
                f"`{leaf.name}` is pseudonymized but {why}: by trying or counting them all one can tell "
                "which is which; keep it if it identifies nobody, else generalize, encrypt or drop it",
            )
        if isinstance(leaf.treatment, Keep) and sounds_personal(leaf.path, leaf.treatment.allow):
            message = "is kept readable for everybody, and its name sounds like personal data"
            yield source.caution(leaf.location, f"`{leaf.name}` {message}")
    linkable = linkable_after_erasure(contract)
    if linkable:
        yield source.caution(
            ("fields",), f"joinable across people, so still linkable after an erasure: {', '.join(linkable)}"
        )


def _treatments(contract: Contract) -> Iterator[tuple[Location, Treatment]]:
    yield ("default",), contract.default
    for path, treatment in contract.fields.items():
        yield ("fields", path), treatment
        if isinstance(treatment, SelfDescribing):
            for criterion, inner, place in _places(treatment):
                yield ("fields", path, treatment.name, criterion, inner), place


def _listed(contract: Contract, path: str) -> Location:
    """Where the contract says what is done to the field: its own entry, a parent's, or the default."""
    listed = next((p for p in (path, *_parents(path)) if p in contract.fields), None)
    return ("default",) if listed is None else ("fields", listed)


def _few_values(contract: Contract, leaf: _Leaf, compiled: CompiledSchema) -> str:
    """Why the value takes few values, or ""."""
    if leaf.node == Scalar("boolean"):
        return "a boolean takes two values"
    counts: list[int] = []
    if leaf.node is not None:
        part = compiled.parts[leaf.path]
        rules = (rule for rule in contract.validations if rule.field == leaf.path)
        counts += [len(rule.enum) for rule in rules if rule.enum is not None]
        counts += [len(part["enum"])] if "enum" in part else [1] if "const" in part else []
    if counts and min(counts) <= FEW_VALUES:
        return f"takes only {min(counts)} values"
    return "its name promises few values" if takes_few_values(leaf.path) else ""
