"""A contract's YAML and its schema, read and checked as a whole.

Every problem of the files is reported at once, with the line it stands on and its mend: those found while
reading, and what `checks` finds. What is allowed but risky becomes a caution (`cautions`).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pii_pipeline.contracts import avro, simple_schema
from pii_pipeline.contracts.cautions import cautions
from pii_pipeline.contracts.checks import check
from pii_pipeline.contracts.digest import digest
from pii_pipeline.contracts.errors import Caution, ConfigurationError, Problem
from pii_pipeline.contracts.model import ARRIVAL, Contract
from pii_pipeline.contracts.schema import CompiledSchema, SchemaError, compile_schema
from pii_pipeline.contracts.source import Location, Source, nearest, read_json, read_yaml

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
                "digest": digest(contract, compiled, schema),
                "file": file,
            }
        )
        check(source, contract, compiled, rule_numbers)
        warnings = tuple(cautions(source, contract, compiled))
    problems = sorted(source.problems, key=lambda problem: problem.line) + schema_problems
    if problems or contract is None:
        raise ConfigurationError(problems)
    return LoadedContract(contract, file, warnings)


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
