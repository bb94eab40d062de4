"""Folders of streams, read and checked as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from pii_pipeline.contracts.errors import Caution, ConfigurationError, Problem
from pii_pipeline.contracts.loader import LoadedContract, load_contract
from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import Scalar, walk
from pii_pipeline.contracts.source import Source, nearest, read_yaml
from pii_pipeline.contracts.treatments import Encrypt
from pii_pipeline.formats import fits_a_message
from pii_pipeline.streams.model import (
    CONTRACT_FILE,
    NAME,
    RESERVED,
    UNSTRUCT_EVENT,
    SnowplowEnrichedTsv,
    Stream,
    StreamSettings,
)
from pii_pipeline.streams.side_by_side import clashing

STREAM_FILE = "stream.yaml"


class Streams(Mapping[str, Stream]):
    """The streams that load, by name, and what is wrong with the others, which are `broken`.

    To ask for a broken stream raises its ConfigurationError; it is not among the names.
    """

    def __init__(self, good: Mapping[str, Stream], broken: Mapping[str, Sequence[Problem]]) -> None:
        self._good = dict(good)
        self.broken = MappingProxyType({name: tuple(problems) for name, problems in broken.items()})

    def __getitem__(self, name: str) -> Stream:
        if name in self.broken:
            raise ConfigurationError(self.broken[name])
        return self._good[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._good)

    def __len__(self) -> int:
        return len(self._good)

    def __contains__(self, name: object) -> bool:
        return name in self._good

    def problems_of(self, names: Iterable[str]) -> tuple[Problem, ...]:
        """What is wrong with those of `names` that are broken; a problem between two of them once."""
        found = (problem for name in names for problem in self.broken.get(name, ()))
        return tuple(dict.fromkeys(found))


def load_streams(folders: Sequence[Path]) -> Streams:
    """Every stream in `folders`, by name: one folder each, with ``stream.yaml`` in it.

    Files, and folders whose name starts with ``.`` or ``_``, are no streams. What two streams contradict one
    another in breaks both: nothing here says which of them is meant. Raises ConfigurationError for a folder
    that is not there.
    """
    good: dict[str, Stream] = {}
    broken: dict[str, list[Problem]] = {}
    for name, paths in _stream_folders(folders).items():
        first, *others = paths
        try:
            good[name] = load_stream(first)
        except ConfigurationError as error:
            broken[name] = [*error.problems]
        for path in others:
            problem = f"the stream `{name}` is also in {first}"
            again = Problem(path / STREAM_FILE, 1, "", problem, "rename or remove one of them")
            broken.setdefault(name, []).append(again)
    shared = (_contradictions, _shared_tables, _shared_queues)
    for names, problem in [found for look in shared for found in look(good.values())]:
        for name in names:
            broken.setdefault(name, []).append(problem)
    return Streams({name: stream for name, stream in good.items() if name not in broken}, broken)


def _stream_folders(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """The folders of each stream, by its name; more than one is one too many."""
    if missing := [folder for folder in folders if not folder.is_dir()]:
        problem, mend = "there is no such folder of streams", "make it, or mend PII_STREAMS_DIR"
        raise ConfigurationError([Problem(folder, 1, "", problem, mend) for folder in missing])
    found: dict[str, dict[Path, Path]] = {}
    for folder in folders:
        for path in sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._"):
            found.setdefault(path.name, {}).setdefault(path.resolve(), path)
    return {name: list(paths.values()) for name, paths in found.items()}


def _contradictions(streams: Iterable[Stream]) -> Iterator[tuple[set[str], Problem]]:
    """Versions that say one thing in one stream and another in the other, and the names of the two; each
    stream with the first that contradicts it."""
    holders: dict[str, list[tuple[str, Contract]]] = {}
    for stream in streams:
        for contract in stream.versions:
            holders.setdefault(contract.contract, []).append((stream.name, contract))
    for held in holders.values():
        pairs: dict[tuple[int, int], None] = {}
        for number, (_, contract) in enumerate(held):
            differing = (at for at, (_, other) in enumerate(held) if other.digest != contract.digest)
            if (against := next(differing, None)) is not None:
                pairs[min(number, against), max(number, against)] = None
        for first, second in pairs:
            (holder, other), (name, contract) = held[first], held[second]
            line = read_yaml(contract.file).line(("contract",))
            problem = f"{contract.contract} is also in {other.file}, and says something else there"
            mend = "give one of them another name or version"
            yield {holder, name}, Problem(contract.file, line, "contract", problem, mend)


def listed_files(folder: Path) -> list[Path]:
    """The files of the contracts that the stream in `folder` lists. Raises ConfigurationError."""
    names = read_yaml(folder / STREAM_FILE).data.get("contracts", [CONTRACT_FILE])
    return [folder / name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def load_stream(folder: Path, states: Mapping[str, str] | None = None) -> Stream:
    """The stream in `folder`. Raises ConfigurationError with every problem of its files.

    `states`: loaded as if these contracts (``handle/name/version``) were in other states than they are.
    """
    file = folder / STREAM_FILE
    if problem := name_problem(folder.name):
        raise ConfigurationError([Problem(file, 1, "", problem, "rename the folder: webshop, web_shop_2")])
    if not file.is_file():
        problem = "is no file" if file.exists() else "does not exist"
        mend = f"add it, or rename the folder to `_{folder.name}` if it is no stream"
        raise ConfigurationError([Problem(file, 1, "", problem, mend)])
    source = read_yaml(file)
    settings = None
    names = source.data.get("contracts", [CONTRACT_FILE])
    try:
        settings = StreamSettings.model_validate(source.data)
        names = settings.contracts
    except ValidationError as error:
        source.add_invalid(error, StreamSettings)
    loaded, problems = _contracts(source, names, states or {})
    active = _active(source, loaded, settings) if not problems and settings is not None else []
    warnings: list[Caution] = []
    if settings is not None and active:
        contracts = [found.contract for found in active]
        for contract in contracts:
            _check(source, settings, contract)
        if not source.problems:
            problems.extend(clashing(contracts, settings.derived))
        warnings = [*_cautions(source, settings, contracts)]
        warnings += [caution for found in active for caution in found.warnings]
    problems = sorted(source.problems, key=lambda problem: problem.line) + problems
    if problems or settings is None:
        raise ConfigurationError(problems)
    stream = Stream.model_validate(
        {
            **dict(settings),
            "name": folder.name,
            "folder": folder,
            "versions": tuple(found.contract for found in loaded),
            "warnings": tuple(warnings),
        }
    )
    if stream.warehouse:
        from pii_pipeline.streams.tables import check_tables  # takes time to import

        check_tables(source, stream)
        source.raise_problems()
    return stream


def _shared_tables(streams: Iterable[Stream]) -> Iterator[tuple[set[str], Problem]]:
    """Tables of one name in two streams, which would be one in the warehouse; and the names of the two."""
    owners: dict[str, Stream] = {}
    for stream in streams:
        for table in stream.warehouse:
            first = owners.setdefault(table, stream)
            if first is not stream:
                source = read_yaml(stream.folder / STREAM_FILE)
                problem = f"the stream `{first.name}` has a table of that name, and there is one warehouse"
                source.add(("warehouse", table), problem, "rename one of them")
                for found in source.problems:
                    yield {first.name, stream.name}, found


def _shared_queues(streams: Iterable[Stream]) -> Iterator[tuple[set[str], Problem]]:
    """Queues that two streams name, which would share the messages; and the names of the two."""
    owners: dict[str, Stream] = {}
    for stream in streams:
        if stream.source is None:
            continue
        first = owners.setdefault(stream.source.sqs, stream)
        if first is not stream:
            source = read_yaml(stream.folder / STREAM_FILE)
            problem = f"the stream `{first.name}` takes its events from that queue"
            source.add(("source", "sqs"), problem, "give each a queue of its own")
            for found in source.problems:
                yield {first.name, stream.name}, found


def name_problem(name: str) -> str:
    """Why a stream or derived dataset cannot be called `name`, or ""."""
    if name in RESERVED:
        return f"`{name}` is the name of a layer"
    if not NAME.fullmatch(name):
        return f"`{name}` is not lower-case letters, digits and _, starting with a letter"
    return ""


def _contracts(
    source: Source, names: object, states: Mapping[str, str]
) -> tuple[list[LoadedContract], list[Problem]]:
    """The contracts that the stream names, the newest first, as far as they can be loaded; and what is wrong
    with the others."""
    loaded: list[LoadedContract] = []
    problems: list[Problem] = []
    for number, name in enumerate(names if isinstance(names, list | tuple) else ()):
        location = ("contracts", number)
        if not isinstance(name, str):
            continue
        file = source.file.parent / name
        if not file.is_file():
            beside = [path.name for path in sorted(file.parent.glob("*.yaml")) if path.name != STREAM_FILE]
            near = nearest(name, beside)
            mend = f"did you mean `{near}`?" if near else "add the file"
            source.add(location, f"there is no file `{name}`", mend)
            continue
        try:
            found = load_contract(file)
        except ConfigurationError as error:
            # Two contracts may share a schema, and its problems.
            problems.extend(problem for problem in error.problems if problem not in problems)
            continue
        same = next((other for other in loaded if other.contract.contract == found.contract.contract), None)
        if same is not None:
            problem = f"`{found.contract.contract}` is also in {same.file.name}"
            source.add(location, problem, "give the newer one a new version")
        if state := states.get(found.contract.contract):
            found = replace(found, contract=found.contract.model_copy(update={"state": state}))
        loaded.append(found)
    loaded.sort(key=lambda found: found.contract.version, reverse=True)
    return loaded, problems


def _active(source: Source, loaded: list[LoadedContract], settings: StreamSettings) -> list[LoadedContract]:
    active = [found for found in loaded if found.contract.state == "active"]
    names = ", ".join(found.file.name for found in active)
    if not active and loaded:
        states = ", ".join(f"{found.file.name} is {found.contract.state}" for found in loaded)
        mend = "write `state: active` in one of them, or promote one (again, if that was interrupted)"
        source.add(("contracts",), f"no contract is active ({states})", mend)
    elif len(active) > 1 and settings.contract_field is None:
        problem = f"more than one contract is active ({names}), and nothing says which governs an event"
        mend = "archive all but one, or name the events' own field that says it in `contract_field`"
        source.add(("contracts",), problem, mend)
    elif len(identities := {found.contract.identity for found in active}) > 1:
        problem = f"{' and '.join(sorted(identities))} are active side by side ({names})"
        mend = "give them one handle and name, as versions of one contract, or make two streams of it"
        source.add(("contracts",), problem, mend)
    return active


def _check(source: Source, settings: StreamSettings, contract: Contract) -> None:
    if settings.contract_field is not None:
        nodes = dict(walk(contract.record))
        node = nodes.get(settings.contract_field)
        mend = "name a string field outside lists"
        whose = f"the schema of {contract.contract}"
        if node is None:
            near = nearest(settings.contract_field, nodes)
            problem = f"{whose} declares no field `{settings.contract_field}`"
            source.add(("contract_field",), problem, f"did you mean `{near}`?" if near else mend)
        elif node != Scalar("string") or "[]" in settings.contract_field:
            problem = f"in {whose}, `{settings.contract_field}` is not one string"
            source.add(("contract_field",), problem, mend)
    if settings.source is not None and not fits_a_message(settings.format.form):
        problem = f"a message is one record, and `{settings.format.name}` has something before its records"
        source.add(("source",), problem, "set `format` to json or snowplow_enriched_tsv, or remove it")
    if settings.relay is not None:
        _check_relay(source, settings, contract)
    for name, derived in settings.derived.items():
        if problem := name_problem(name):
            source.add(("derived", name), problem, "rename it: marketing, web_statistics")
        location = ("derived", name, "consent")
        if contract.consent is None:
            problem = f"`{contract.contract}` does not say where an event's consent is"
            source.add(location, problem, "declare `consent` in the contract, or remove the derived dataset")
        elif contract.consent.type != derived.consent.type:
            problem = f"does not fit the contract's {contract.consent.type} consent"
            wanted = "purposes: [2]" if contract.consent.type == "granular" else "level: 2"
            source.add(location, problem, f"write `{wanted}`")


def _check_relay(source: Source, settings: StreamSettings, contract: Contract) -> None:
    mend = "remove `relay`: it is for Snowplow's enriched events"
    if not isinstance(settings.format, SnowplowEnrichedTsv):
        problem = f"`{settings.format.name}` has no events of Snowplow's PII enrichment"
        source.add(("relay",), problem, f"set `format` to snowplow_enriched_tsv, or {mend}")
    elif dict(contract.record.fields).get(UNSTRUCT_EVENT) not in (Scalar("json"), Scalar("string")):
        problem = f"the schema of {contract.contract} declares no `{UNSTRUCT_EVENT}` that is JSON, or a text"
        source.add(("relay",), problem, f"declare it as Snowplow's atomic schema does, or {mend}")


def _cautions(source: Source, settings: StreamSettings, contracts: Sequence[Contract]) -> Iterator[Caution]:
    treatments = (item for contract in contracts for item in contract.treatments())
    levels = {item.level for item in treatments if isinstance(item, Encrypt)}
    for name, derived in settings.derived.items():
        request = derived.consent
        if request.level is not None:
            opens = any(level <= request.level for level in levels)
        else:
            opens = not levels.isdisjoint(request.purposes or ())
        if not opens:
            message = "no field is encrypted for this consent: the dataset selects events, but opens nothing"
            yield source.caution(("derived", name, "consent"), message)
    for name, table in settings.warehouse.items():
        if table.dataset in settings.derived:
            message = (
                "decrypted fields are in the warehouse: grant the table to those alone whom the dataset's "
                "policy names, and use PostgreSQL, since a DuckDB file is read as a whole"
            )
            yield source.caution(("warehouse", name, "from"), message)
