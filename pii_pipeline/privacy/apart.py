"""Documents of self-describing JSON, taken apart: each value into the column of its leaf, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pii_pipeline.contracts.record_type import Node, Scalar
from pii_pipeline.contracts.treatments import ENVELOPE, SCHEMA_URI, Drop, Encrypt, Keep, matches
from pii_pipeline.privacy.canonical import json_bytes, parse_json
from pii_pipeline.privacy.plan import DocumentStep, Leaf, Place
from pii_pipeline.privacy.sealer import Index

_SCALAR = (str, int, float, bool)
_NESTED = frozenset((dict, list))
_NULL = type(None)
_GONE = object()
_NO_NAMES: Mapping[Any, _Spot] = {}


class Column:
    """The values of one leaf in a block, and where they were found.

    `ends[j]` of them are in documents up to number j; `containers[i][keys[i]]` is the place of `values[i]`.
    """

    __slots__ = ("containers", "ends", "keys", "leaf", "values")

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf
        self.values: list[Any] = []
        self.ends: list[int] = []
        self.containers: list[Any] = []
        self.keys: list[Any] = []

    def documents(self) -> Index:
        """The number of each value's document in the block."""
        return np.repeat(np.arange(len(self.ends)), np.diff(self.ends, prepend=0))


class _Spot:
    """A place while documents are walked through: to which column its values go, and what lies below it.

    `whole` takes any value as one; else `columns` takes scalars, by their type. Keys are found in `names`, or
    else are `below`; their names go to `unlisted`. `everything` takes all that is here and below, nulls too.
    `nested`: the spot, in place of this one, of an object, and of a list that holds objects or lists.
    `misshapen`: by type, where an object or list goes that has not the shape of the places listed below.
    `entities`: what is found here may be one. `idle`: nothing here or below it matters.
    """

    __slots__ = (
        "below",
        "columns",
        "element",
        "entities",
        "everything",
        "idle",
        "misshapen",
        "names",
        "nested",
        "unlisted",
        "whole",
    )

    def __init__(self, columns: dict[type, Column], unlisted: Column | None) -> None:
        self.columns = columns
        self.unlisted = unlisted
        self.whole: Column | None = None
        self.names: Mapping[Any, _Spot] = {}
        self.below = self.element = self
        self.everything: Column | None = None
        self.nested: _Spot | None = None
        self.misshapen: Mapping[type, Column] = {}
        self.entities = False
        self.idle = not columns and unlisted is None


class Apart:
    """The documents of one block, taken apart; with `filling`, to be put together again."""

    def __init__(
        self, texts: pa.Array, step: DocumentStep, wanted: Callable[[Leaf], bool], filling: bool
    ) -> None:
        self._step = step
        self._filling = filling
        self._columns = {leaf: Column(leaf) for leaf in step.leaves if wanted(leaf)}
        self._hidden_schemas = Column(step.names)
        self._misfits = Column(step.unlisted)
        self._renamed: list[tuple[dict[str, Any], list[str]]] = []
        self._uniforms: dict[Leaf, _Spot] = {}
        self._trees: dict[tuple[str, ...], _Spot] = {}
        self._entities: dict[tuple[str | None, bool], _Spot] = {}
        self._parsed = parse_json(texts)
        self._take()

    @property
    def columns(self) -> list[Column]:
        """Those that have values; if they are to be treated, without what is dropped. Names come last."""
        return [
            column
            for column in (self._hidden_schemas, *self._columns.values())
            if column.values and not (self._filling and isinstance(column.leaf.treatment, Drop))
        ]

    def fill(self, column: Column, treated: pa.Array) -> None:
        """Puts the treated values of a column into the places of the originals; names last of all."""
        if isinstance(treated, pa.DictionaryArray):
            treated = treated.dictionary_decode()
        is_json = pa.types.is_binary(treated.type)
        values = parse_json(treated.cast(pa.string())) if is_json else treated.to_pylist()
        if column is self._columns.get(self._step.names):
            self._rename(values)
        else:
            _put(column, values)

    def _rename(self, names: list[str]) -> None:
        new = iter(names)
        for record, olds in self._renamed:
            if len(olds) == len(record):
                inner = list(record.values())
                record.clear()
            else:
                inner = [record.pop(old) for old in olds]
            for value, name in zip(inner, new, strict=False):
                record[name] = value

    def together(self) -> pa.Array:
        """The documents as JSON text, null where there is nothing."""
        for leaf, column in self._columns.items():
            if isinstance(leaf.treatment, Drop):
                _remove(column)
        texts = [None if value is None else json_bytes(value) for value in self._parsed]
        return pa.array(texts, pa.binary()).cast(pa.string())

    def _take(self) -> None:
        columns = [self._hidden_schemas, *self._columns.values()]
        whole = self._staying(self._uniform(self._step.unlisted))
        for number, value in enumerate(self._parsed):
            if type(value) is dict and "schema" in value and "data" in value:
                self._walk(value, self._entity(value["schema"], root=True))
            elif value is not None and (column := whole.columns.get(str)) is not None:
                self._found(column, value, self._parsed, number)
            for column in columns:
                column.ends.append(len(column.values))
        if self._filling:
            _put(self._misfits, [None] * len(self._misfits.values))

    def _walk(self, document: dict[str, Any], spot: _Spot) -> None:
        """Every value of the document into its column."""
        filling = self._filling
        stack: list[tuple[Any, _Spot]] = [(document, spot)]
        while stack:
            container, spot = stack.pop()
            if type(container) is dict:
                names, below, items = spot.names, spot.below, container.items()
                if spot.unlisted is not None:
                    self._name(container, spot.unlisted, names)
            else:
                names, below, items = _NO_NAMES, spot.element, enumerate(container)
            for key, value in items:
                at = names.get(key, below) if names else below
                if at.idle:
                    continue
                kind = type(value)
                if at.nested is not None and (kind is dict or (kind is list and _holds_nested(value))):
                    at = at.nested
                if at.whole is not None and kind is not _NULL:
                    column = at.whole
                elif kind in at.misshapen:
                    column = at.misshapen[kind]
                elif at.everything is not None and (kind is dict or kind is list):
                    self._sweep(value, at.everything, at.unlisted)
                    continue
                elif kind is dict:
                    if at.entities and "schema" in value and "data" in value:
                        at = self._entity(value["schema"], root=False)
                    stack.append((value, at))
                    continue
                elif kind is list:
                    stack.append((value, at))
                    continue
                else:
                    column = at.columns.get(kind)
                    if column is None:
                        continue
                column.values.append(value)
                if filling:
                    column.containers.append(container)
                    column.keys.append(key)

    def _sweep(self, found: Any, column: Column, names: Column | None) -> None:
        """As `_walk`, where every value goes to one column: of most objects and lists all at once."""
        stack = [found]
        while stack:
            container = stack.pop()
            if type(container) is dict:
                keys, values = list(container), container.values()
                if names is not None:
                    names.values += keys
                    if self._filling and keys:
                        self._renamed.append((container, keys))
            else:
                keys, values = range(len(container)), container
            nested = [value for value in values if type(value) is dict or type(value) is list]
            if nested:
                stack += nested
                inner = [type(value) is dict or type(value) is list for value in values]
                keys = [key for key, passed in zip(keys, inner, strict=True) if not passed]
                values = [value for value, passed in zip(values, inner, strict=True) if not passed]
            column.values += values
            if self._filling:
                column.containers += [container] * len(keys)
                column.keys += keys

    def _name(self, record: dict[str, Any], column: Column, listed: Mapping[str, _Spot]) -> None:
        """The names in an object that are not listed, into their column."""
        names = [name for name in record if name not in listed] if listed else list(record)
        if names:
            column.values += names
            if self._filling:
                self._renamed.append((record, names))

    def _found(self, column: Column, value: Any, container: Any, key: Any) -> None:
        column.values.append(value)
        column.containers.append(container)
        column.keys.append(key)

    def _entity(self, schema: Any, root: bool) -> _Spot:
        """The spot of an object with `schema` and data; `root`: it is the document itself."""
        schema = schema if isinstance(schema, str) else None
        known = self._entities.get((schema, root))
        if known is not None:
            return known
        criteria: tuple[str, ...] = ()
        if schema is not None and SCHEMA_URI.fullmatch(schema):
            criteria = tuple(criterion for criterion in self._step.criteria if matches(criterion, schema))
        envelope = root and schema is not None and ENVELOPE.fullmatch(schema) is not None
        unlisted = self._uniform(self._step.unlisted)
        if not envelope and any(place.criterion in criteria for place in self._step.places):
            data = self._tree(criteria)
        else:
            data = self._envelope() if root else unlisted
        readable = self._uniform(self._step.schemas)
        spot = _Spot({}, unlisted.unlisted)
        spot.names = {
            "schema": readable if envelope or criteria else self._hidden_schema(),
            "data": self._staying(data),
        }
        spot.below = unlisted
        self._entities[schema, root] = spot
        return spot

    def _hidden_schema(self) -> _Spot:
        """The spot of a schema that the contract does not list: where names are hidden it is one of them,
        unless it is an object or list."""
        unlisted = self._uniform(self._step.unlisted)
        if isinstance(self._step.unlisted.treatment, Keep | Drop):
            return self._staying(unlisted)
        hidden = self._step.names in self._columns
        spot = _Spot(dict.fromkeys(_SCALAR, self._hidden_schemas) if hidden else {}, None)
        spot.nested = spot.element = unlisted
        spot.idle = spot.idle and unlisted.idle
        return spot

    def _envelope(self) -> _Spot:
        """The data of a document that only holds entities: one, or a list of them."""
        unlisted = self._uniform(self._step.unlisted)
        one, element = _Spot(unlisted.columns, unlisted.unlisted), _Spot(unlisted.columns, unlisted.unlisted)
        one.element, element.element = element, unlisted
        for spot in (one, element):
            spot.below, spot.entities, spot.idle = unlisted, True, False
        return one

    def _tree(self, criteria: tuple[str, ...]) -> _Spot:
        """The data of an entity whose schema meets these criteria, in the contract's order."""
        if criteria not in self._trees:
            root = _Named()
            for place in self._step.places:
                if place.criterion in criteria:
                    root.add(place)
            self._trees[criteria] = self._around(root, self._step.unlisted)
        return self._trees[criteria]

    def _listed(self, named: _Named, around: Leaf) -> _Spot:
        """The spot of a place that is listed, or on the way to one; `around` holds there otherwise."""
        if not named.leaves:
            return self._around(named, around)
        treatment = named.leaves[0].treatment
        spot = _Spot(self._scalars(named.leaves), None)
        if isinstance(treatment, Encrypt):
            spot.whole = spot.columns.get(str)
            return spot
        if treatment.deep:
            return self._around(named, named.leaves[0])
        spot.nested = self._around(named, around)
        if named.element is not None and named.element.leaves:
            spot.element = spot.nested.element
        spot.idle = not spot.columns and spot.nested.idle
        return spot

    def _around(self, named: _Named, leaf: Leaf) -> _Spot:
        """The spot of a place on the way to others; whatever is there and not listed goes to `leaf`."""
        rest = self._uniform(leaf)
        if not named.names and named.element is None:
            return rest
        spot = _Spot(rest.columns, rest.unlisted)
        spot.names = {name: self._listed(inner, leaf) for name, inner in named.names.items()}
        spot.below = rest
        spot.element = rest if named.element is None else self._listed(named.element, leaf)
        spot.misshapen = self._misshapen(named, leaf, rest)
        spot.idle = rest.idle and spot.element.idle and all(inner.idle for inner in spot.names.values())
        return spot

    def _misshapen(self, named: _Named, leaf: Leaf, rest: _Spot) -> Mapping[type, Column]:
        """Where what is not listed is kept, by `leaf`: a list where the places below it are those of an
        object, or the other way round. In it what they are to hide would be read; it becomes null."""
        column = self._misfits if self._filling else rest.columns.get(str)
        if column is None or not isinstance(leaf.treatment, Keep):
            return {}
        shapes = {dict: named.names, list: named.element}
        return {shape: column for shape, listed in shapes.items() if not listed}

    def _uniform(self, leaf: Leaf) -> _Spot:
        """The spot of a place whose values, and all below it, go to this leaf."""
        if leaf in self._uniforms:
            return self._uniforms[leaf]
        treatment, names = leaf.treatment, None
        columns = self._scalars((leaf,))
        if isinstance(treatment, Keep):
            names = None if self._filling else columns.get(str)
        elif not isinstance(treatment, Drop):
            names = self._columns.get(self._step.names)
        spot = _Spot(columns, names)
        if not isinstance(treatment, Drop):
            spot.everything = columns.get(str)
        if isinstance(treatment, Drop) and columns:
            spot.whole = columns[str]
            spot.columns = columns | {_NULL: columns[str]}
        self._uniforms[leaf] = spot
        return spot

    def _scalars(self, leaves: tuple[Leaf, ...]) -> dict[type, Column]:
        """Where scalars of these leaves go, by type; those that none of them takes are misfits."""
        columns: dict[type, Column] = {}
        for leaf in leaves:
            if leaf in self._columns:
                columns |= dict.fromkeys(_types(leaf), self._columns[leaf])
        if not columns:
            return columns
        other = self._misfits if self._filling else next(iter(columns.values()))
        return dict.fromkeys(_SCALAR, other) | columns

    def _staying(self, spot: _Spot) -> _Spot:
        """The same spot for a key that has to stay: what would be dropped there becomes null."""
        dropped = spot.columns.get(_NULL)
        if dropped is None:
            return spot
        column = self._misfits if self._filling else dropped
        stays = _Spot(dict.fromkeys(_SCALAR, column), spot.unlisted)
        stays.whole = None if spot.whole is None else column
        stays.names, stays.below, stays.element = spot.names, spot.below, spot.element
        stays.entities, stays.misshapen = spot.entities, spot.misshapen
        return stays


class _Named:
    """The places below an entity's data that some criteria name."""

    def __init__(self) -> None:
        self.leaves: tuple[Leaf, ...] = ()
        self.names: dict[str, _Named] = {}
        self.element: _Named | None = None

    def add(self, place: Place) -> None:
        """Unless the place was added before: the first one holds."""
        at = self
        for step in place.way:
            if step is None:
                at.element = at.element or _Named()
                at = at.element
            else:
                at = at.names.setdefault(step, _Named())
        at.leaves = at.leaves or place.leaves


def _types(leaf: Leaf) -> tuple[type, ...]:
    """The types of the values that a leaf takes."""
    taken: dict[Node, tuple[type, ...]] = {
        Scalar("string"): (str,),
        Scalar("integer"): (int,),
        Scalar("number"): (float,),
    }
    return taken.get(leaf.node, _SCALAR)


def _holds_nested(found: list[Any]) -> bool:
    return not _NESTED.isdisjoint(map(type, found))


def _put(column: Column, values: list[Any]) -> None:
    for container, key, value in zip(column.containers, column.keys, values, strict=True):
        container[key] = value


def _remove(column: Column) -> None:
    """What is dropped, out of objects and lists; the places of other values do not matter any more."""
    lists: dict[int, list[Any]] = {}
    for container, key in zip(column.containers, column.keys, strict=True):
        if type(container) is dict:
            del container[key]
        else:
            container[key] = _GONE
            lists[id(container)] = container
    for container in lists.values():
        container[:] = [value for value in container if value is not _GONE]
