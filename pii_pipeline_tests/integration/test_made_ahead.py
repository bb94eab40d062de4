"""What is made before its turn: the same as in its turn, committed only then, and void where it has to be."""

import json
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pii_pipeline.keys.derivation import canonical_id, subject_tags
from pii_pipeline.lake import delete, landing_path, put
from pii_pipeline.ledger import hour_start
from pii_pipeline.pipeline import derive, workers
from pii_pipeline.pipeline.derive import derive_hour
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour, pseudonymize_layer
from pii_pipeline.pipeline.seal import begin_hour, seal_hour, sweep_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.privacy.leak_gate import Leak, LeakError
from pii_pipeline.runs import run_hour
from pii_pipeline.samples.generate import generate
from pii_pipeline.samples.planted import Planted
from pii_pipeline.settings import project_root, read_settings

HOUR = "2026-11-22T10"
END = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
DATASETS = ("marketing", "product_analytics")


def opened(folder, workers):
    environment = {
        "PII_STORAGE_URI": str(folder / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{folder / 'pii.db'}",
        "PII_VAULT_URL": f"sqlite:///{folder / 'vault.db'}",
        "PII_VAULT_ANCHORS": (folder / "vault-anchors").as_uri(),
        "PII_KEY_ENCRYPTION_KEY": f"file:{folder / 'kek'}",
        "PII_STREAMS_DIR": str(project_root() / "streams"),
        "PII_WORKERS": str(workers),
        "DAGSTER_HOME": str(folder / "dagster"),
    }
    return Installation(read_settings(environment), batch_bytes=1)


@pytest.fixture(params=[1, 2], ids=["one thread", "worker processes"])
def installation(request, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "WORTH_WORKERS", 0)
    installation = opened(tmp_path, request.param)
    yield installation
    installation.close()


@pytest.fixture
def stream(installation):
    """The web shop with two batches of events, sealed."""
    stream = installation.streams["webshop"]
    land_two(installation, stream)
    return stream


def land_two(installation, stream):
    for part in range(2):
        events = b"".join(generate(stream.contract, 1_000, part, END, Planted()))
        put(installation.zones.landing, landing_path("webshop", hour_start(HOUR), f"{part}.jsonl"), events)
    seal_hour(installation, stream, HOUR)


def files_in(zone):
    return sorted(path for path in zone.rglob("*") if path.is_file())


def consented(installation):
    """Content of the files in the zone, seen by readers or not."""
    return sorted(path.read_bytes() for path in files_in(root(installation, "consented")))


def shown(installation):
    """The files that anybody sees who looks into the lake and the consented zone."""
    found = [path for zone in ("lake", "consented") for path in files_in(root(installation, zone))]
    return [path for path in found if not path.name.startswith(".")]


def users(installation):
    """Some of those who logged in."""
    found = set()
    for path in files_in(root(installation, "landing")):
        for line in path.read_bytes().splitlines():
            with suppress(ValueError, AttributeError):
                found.add(json.loads(line).get("user_id"))
    return sorted(user for user in found if isinstance(user, str))[:20]


def root(installation, zone):
    return Path(getattr(installation.zones, zone).root)


def forget(installation, some):
    for tag in subject_tags(installation.index_key, "customer", map(canonical_id, some)):
        installation.keys.forget(tag, erased_at=END, expires_at=END + timedelta(days=365))


def test_it_is_the_same_as_in_its_turn_and_seen_by_nobody_before(installation, stream):
    validate_hour(installation, stream, HOUR)
    pseudonymize_hour(installation, stream, HOUR, ahead=DATASETS)
    ahead = consented(installation)
    assert len(ahead) == 4
    assert not any("consented" in path.parts for path in shown(installation))

    for path in installation.ledger.files("webshop", "pseudonymized_events", HOUR):
        put(installation.zones.lake, path + ".aside", (root(installation, "lake") / path).read_bytes())
        delete(installation.zones.lake, path)  # what is made ahead needs it no more
    counts = {name: derive_hour(installation, stream, name, HOUR) for name in DATASETS}
    assert consented(installation) == ahead
    assert len([path for path in shown(installation) if "consented" in path.parts]) == 4
    assert all(made.seconds > 0 and made.made == 2 for made in counts.values())

    for path in installation.ledger.files("webshop", "pseudonymized_events", HOUR):
        (root(installation, "lake") / f"{path}.aside").rename(root(installation, "lake") / path)
    for name in DATASETS:
        assert derive_hour(installation, stream, name, HOUR, force=True).counts == counts[name].counts
    assert consented(installation) == ahead, "to the byte"


def test_who_is_forgotten_meanwhile_is_not_in_it(installation, stream):
    validate_hour(installation, stream, HOUR)
    pseudonymize_hour(installation, stream, HOUR, ahead=["marketing"])
    admitted = sum(item.made.files[0].file.rows for item in installation.ahead.values())
    forget(installation, users(installation))
    made = derive_hour(installation, stream, "marketing", HOUR)
    left = sum(file.rows for file in made.files)
    assert 0 < left < admitted, "those who never logged in are nobody's to forget"


def test_who_is_forgotten_while_another_batch_is_made_is_not_in_it(tmp_path):
    installation = opened(tmp_path, 1)
    stream = installation.streams["webshop"]
    land_two(installation, stream)
    validate_hour(installation, stream, HOUR)
    pseudonymize_hour(installation, stream, HOUR, ahead=["marketing"])
    first, second = sorted(installation.ahead)
    del installation.ahead[first]
    admitted = installation.ahead[second].made.files[0].file.rows

    def meanwhile(layer, records, bytes):
        forget(installation, users(installation))

    made = derive_hour(installation, stream, "marketing", HOUR, progress=meanwhile)
    assert made.files[1].rows < admitted
    installation.close()


def test_what_another_run_swept_away_is_made_again(installation, stream):
    validate_hour(installation, stream, HOUR)
    pseudonymize_hour(installation, stream, HOUR, ahead=DATASETS)
    sweep_hour(installation, stream, HOUR)
    assert consented(installation) == []
    for name in DATASETS:
        made = derive_hour(installation, stream, name, HOUR)
        assert [(root(installation, "consented") / file.path).stat().st_size for file in made.files] == [
            file.bytes for file in made.files
        ]


def test_what_was_made_of_something_else_is_not_taken(installation, stream):
    validate_hour(installation, stream, HOUR)
    pseudonymize_hour(installation, stream, HOUR, ahead=["marketing"])
    expected = sum(item.made.files[0].file.rows for item in installation.ahead.values())
    for key, item in installation.ahead.items():
        wrong = replace(item.made, counts={"pseudonymized": 3, "admitted": 1, "withheld": 2})
        installation.ahead[key] = replace(item, made=wrong, fingerprint="0" * 16)
    made = derive_hour(installation, stream, "marketing", HOUR)
    assert made.counts["admitted"] == expected


def test_a_leak_in_a_dataset_is_its_own_steps_to_report(tmp_path, monkeypatch):
    installation = opened(tmp_path, 1)
    stream = installation.streams["webshop"]
    land_two(installation, stream)
    validate_hour(installation, stream, HOUR)
    derive_columns = derive.derive_columns

    def leaking(table, derived, *rest):
        columns, leaks = derive_columns(table, derived, *rest)
        if 2 in derived.request.purposes:
            leaks = [*leaks, Leak("search", "looks like email", 1)]
        return columns, leaks

    monkeypatch.setattr(derive, "derive_columns", leaking)
    lake = pseudonymize_hour(installation, stream, HOUR, ahead=DATASETS)
    assert lake.made == 2
    assert not installation.ahead
    assert consented(installation) == []
    assert derive_hour(installation, stream, "product_analytics", HOUR).made == 2
    with pytest.raises(LeakError):
        derive_hour(installation, stream, "marketing", HOUR)
    installation.close()


def test_workers_without_work_begin_with_the_next_layer(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "WORTH_WORKERS", 0)
    made = []
    for early in (False, True):  # with the same keys: all of it once, and then again
        installation = opened(tmp_path, 2)
        stream = installation.streams["webshop"]
        if not early:
            land_two(installation, stream)
        following = pseudonymize_layer(installation, stream, DATASETS) if early else None
        validate_hour(installation, stream, HOUR, True, following=following)
        crew = installation.processes
        assert bool(crew._offered or crew._busy or crew._answers) == early
        assert pseudonymize_hour(installation, stream, HOUR, True, ahead=DATASETS).made == 2
        assert not (crew._offered or crew._busy or crew._answers), "it was taken"
        for name in DATASETS:
            derive_hour(installation, stream, name, HOUR, True)
        made.append({path: path.read_bytes() for path in shown(installation)})
        installation.close()
    assert made[0].keys() == made[1].keys()
    lake = [{path: data for path, data in one.items() if "bad_events" not in path.parts} for one in made]
    assert lake[0] == lake[1]


def test_who_is_forgotten_after_an_early_start_is_in_neither_layer(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "WORTH_WORKERS", 0)
    installation = opened(tmp_path, 2)
    stream = installation.streams["webshop"]
    land_two(installation, stream)
    validate_hour(installation, stream, HOUR)
    everybody = sum(file.rows for file in pseudonymize_hour(installation, stream, HOUR).files)
    following = pseudonymize_layer(installation, stream, DATASETS)
    validate_hour(installation, stream, HOUR, True, following=following)
    deadline = time.monotonic() + 60
    while not all(pipe.poll() for pipe in installation.processes._busy) and time.monotonic() < deadline:
        time.sleep(0.05)
    forget(installation, users(installation))
    lake = pseudonymize_hour(installation, stream, HOUR, True, ahead=DATASETS)
    assert lake.counts["erased"]
    assert sum(file.rows for file in lake.files) < everybody
    installation.close()


def test_of_an_hour_that_is_refused_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "WORTH_WORKERS", 0)
    installation = opened(tmp_path, 2)
    stream = installation.streams["webshop"]
    land_two(installation, stream)
    path = landing_path("webshop", hour_start(HOUR), "z-bad.jsonl")
    put(installation.zones.landing, path, b"no event\n" * 5_000)
    begin_hour(installation, stream, HOUR)
    run = run_hour(installation, ["webshop"], HOUR)
    assert [check.check for check in run.failed_checks] == ["bad_event_rate"]
    left = [path for zone in ("lake", "consented") for path in files_in(root(installation, zone))]
    assert {path.parent.parent.name for path in left} == {"bad_events"}
    assert not installation.ahead and not installation.processes._answers
    installation.close()


def test_an_hour_that_was_begun_is_told_as_if_it_had_not_been(installation, stream):
    path = landing_path("webshop", hour_start(HOUR), "late.jsonl")
    put(installation.zones.landing, path, b"no event\n")
    if installation.workers > 1:
        installation.processes.start()
    begin_hour(installation, stream, HOUR)
    if installation.workers > 1:
        assert installation.processes._busy, "somebody is at it already"
    sealed = seal_hour(installation, stream, HOUR)
    assert (sealed.objects, sealed.new_objects) == (3, 1)
    made = validate_hour(installation, stream, HOUR)
    assert seal_hour(installation, stream, HOUR).new_objects == 0
    assert (made.made, made.counts["records"]) == (3, 2_001)


@pytest.mark.parametrize("hour", ["2025-12-31T23", "2999-01-01T00", "no hour"])
def test_no_hour_is_begun_that_cannot_be_run(installation, stream, hour):
    begin_hour(installation, stream, hour)
    assert installation.ledger.hours("webshop") == [HOUR]


def test_nothing_is_begun_of_a_batch_with_too_many_bad_events(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "WORTH_WORKERS", 0)
    installation = opened(tmp_path, 2)
    stream = installation.streams["webshop"]
    for name in "ab":
        path = landing_path("webshop", hour_start(HOUR), f"{name}.jsonl")
        put(installation.zones.landing, path, b"no event\n" * 10)
    seal_hour(installation, stream, HOUR)
    following = pseudonymize_layer(installation, stream, DATASETS)
    validate_hour(installation, stream, HOUR, following=following)
    crew = installation.processes
    assert not crew._offered and not crew._busy and not crew._answers
    installation.close()
