"""Folders of streams, read and checked as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from pii_pipeline.contracts.errors import Caution, ConfigurationError, Problem
from pii_pipeline.contracts.loader import LoadedContract, load_contract
from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.record_type import Scalar, walk
from pii_pipeline.contracts.source import Source, nearest, read_yaml
from pii_pipeline.contracts.treatments import Encrypt
from pii_pipeline.streams.model import NAME, RESERVED, Stream, StreamSettings

STREAM_FILE = "stream.yaml"


def load_streams(folders: Sequence[Path]) -> dict[str, Stream]:
    """Every stream in `folders`, by name: one folder each, with ``stream.yaml`` in it.

    Files, and folders whose name starts with ``.`` or ``_``, are no streams. Raises ConfigurationError with
    every problem of every file.
    """
    streams: dict[str, Stream] = {}
    found: dict[str, Path] = {}
    problems: list[Problem] = []
    for folder in folders:
        if not folder.is_dir():
            mend = "make it, or mend PII_STREAMS_DIR"
            problems.append(Problem(folder, 1, "", "there is no such folder of streams", mend))
            continue
        for path in sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._"):
            first = found.setdefault(path.name, path)
            if first.resolve() != path.resolve():
                problem = f"the stream `{path.name}` is also in {first}"
                problems.append(Problem(path / STREAM_FILE, 1, "", problem, "rename or remove one of them"))
            elif path.name not in streams:
                try:
                    streams[path.name] = load_stream(path)
                except ConfigurationError as error:
                    problems.extend(error.problems)
    problems += _shared_tables(streams.values())
    if problems:
        raise ConfigurationError(problems)
    return streams


def load_stream(folder: Path) -> Stream:
    """The stream in `folder`. Raises ConfigurationError with every problem of its files."""
    file = folder / STREAM_FILE
    if problem := name_problem(folder.name):
        raise ConfigurationError([Problem(file, 1, "", problem, "rename the folder: webshop, web_shop_2")])
    if not file.is_file():
        mend = f"add it, or rename the folder to `_{folder.name}` if it is no stream"
        raise ConfigurationError([Problem(file, 1, "", "does not exist", mend)])
    source = read_yaml(file)
    settings = None
    names = source.data.get("contracts", ["contract.yaml"])
    try:
        settings = StreamSettings.model_validate(source.data)
        names = settings.contracts
    except ValidationError as error:
        source.add_invalid(error, StreamSettings)
    loaded, problems = _contracts(source, names)
    active = _active(source, loaded) if not problems else None
    warnings: list[Caution] = []
    if settings is not None and active is not None:
        _check(source, settings, active.contract)
        warnings = [*_cautions(source, settings, active.contract), *active.warnings]
    problems = sorted(source.problems, key=lambda problem: problem.line) + problems
    if problems or settings is None or active is None:
        raise ConfigurationError(problems)
    stream = Stream.model_validate(
        {
            **dict(settings),
            "name": folder.name,
            "folder": folder,
            "contract": active.contract,
            "warnings": tuple(warnings),
        }
    )
    if stream.warehouse:
        from pii_pipeline.streams.tables import check_tables  # takes time to import

        check_tables(source, stream)
        source.raise_problems()
    return stream


def _shared_tables(streams: Iterable[Stream]) -> Iterator[Problem]:
    """Tables of one name in several streams: they would be one table in the warehouse."""
    owners: dict[str, Stream] = {}
    for stream in streams:
        for table in stream.warehouse:
            first = owners.setdefault(table, stream)
            if first is not stream:
                source = read_yaml(stream.folder / STREAM_FILE)
                problem = f"the stream `{first.name}` has a table of that name, and there is one warehouse"
                source.add(("warehouse", table), problem, "rename one of them")
                yield from source.problems


def name_problem(name: str) -> str:
    """Why a stream or derived dataset cannot be called `name`, or ""."""
    if name in RESERVED:
        return f"`{name}` is the name of a layer"
    if not NAME.fullmatch(name):
        return f"`{name}` is not lower-case letters, digits and _, starting with a letter"
    return ""


def _contracts(source: Source, names: object) -> tuple[list[LoadedContract], list[Problem]]:
    """The contracts that the stream names, as far as they can be loaded, and the problems of their files."""
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
        loaded.append(found)
    return loaded, problems


def _active(source: Source, loaded: list[LoadedContract]) -> LoadedContract | None:
    active = [found for found in loaded if found.contract.state == "active"]
    if not active and loaded:
        states = ", ".join(f"{found.file.name} is {found.contract.state}" for found in loaded)
        source.add(
            ("contracts",), f"no contract is active ({states})", "write `state: active` in one of them"
        )
    elif len(active) > 1:
        names = ", ".join(found.file.name for found in active)
        source.add(("contracts",), f"more than one contract is active ({names})", "archive all but one")
    return active[0] if len(active) == 1 else None


def _check(source: Source, settings: StreamSettings, contract: Contract) -> None:
    if settings.contract_field is not None:
        nodes = dict(walk(contract.record))
        node = nodes.get(settings.contract_field)
        mend = "name a string field outside lists"
        if node is None:
            near = nearest(settings.contract_field, nodes)
            problem = f"the schema declares no field `{settings.contract_field}`"
            source.add(("contract_field",), problem, f"did you mean `{near}`?" if near else mend)
        elif node != Scalar("string") or "[]" in settings.contract_field:
            source.add(("contract_field",), f"`{settings.contract_field}` is not one string", mend)
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


def _cautions(source: Source, settings: StreamSettings, contract: Contract) -> Iterator[Caution]:
    levels = {item.level for item in contract.treatments() if isinstance(item, Encrypt)}
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
