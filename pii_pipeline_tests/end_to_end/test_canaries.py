"""A thousand planted originals, and a search for them in every byte that was written where none may be."""

import base64
import json
import random
import re
import shutil
import sqlite3
import string
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline.vault.model import VERIFICATION, LawfulBasis, Reason, RecordKey
from pii_pipeline.vault.policy import PIPELINE
from pii_pipeline_tests.end_to_end.deployment import HOUR, Deployment

CANARIES = 1_000
MARK = "qzcanaryx"
"""Every canary begins with it, so that one search finds them all."""


class Cage:
    """Makes canaries; every one is another."""

    def __init__(self):
        self.random = random.Random(11)
        self.made: set[str] = set()

    def __call__(self) -> str:
        canary = MARK + "".join(self.random.choices(string.ascii_lowercase, k=14))
        self.made.add(canary)
        return canary


def event(canary: Cage, number: int, **changes) -> dict:
    """A good click event in which everything personal is a canary."""
    return {
        "event_id": f"00000000-0000-4000-8000-{number:012x}",
        "ts": "2026-11-22T10:05:00.000Z",
        "event": "page_view",
        "session_id": canary(),
        "user_id": canary(),
        "email": f"{canary()}@example.com",
        "ip": "203.0.113.9",
        "device_id": canary(),
        "user_agent": canary(),
        "page_url": f"https://shop.example.com/p/1?q={canary()}&utm_source=mail#{canary()}",
        "notes": canary(),
        "consent_levels": [1, 2],
        canary(): {"deep": [canary(), {canary(): canary()}]},
    } | changes


def lines(canary: Cage) -> list[bytes]:
    good = [json.dumps(event(canary, number)).encode() for number in range(40)]
    bad = [
        json.dumps(event(canary, 100, ts=canary())).encode(),
        json.dumps(event(canary, 101, session_id="")).encode(),
        json.dumps(event(canary, 102, event=canary())).encode(),
        json.dumps(event(canary, 103, email=canary())).encode(),
        json.dumps(event(canary, 104, user_id={canary(): canary()})).encode(),
        json.dumps(event(canary, 105, consent_levels=canary())).encode(),
        json.dumps(event(canary, 106, product={"sku": canary(), "price": -1, canary(): 1})).encode(),
        json.dumps(event(canary, 107)).encode()[:-9],
        json.dumps(event(canary, 108)).encode().replace(b"page_view", b"\xff\xfe"),
        json.dumps([canary(), canary()]).encode(),
        json.dumps(canary()).encode(),
        b'{"%s": NaN}' % canary().encode(),
        b'{"user_id": "%s", "user_id": "%s"}' % (canary().encode(), canary().encode()),
        json.dumps(event(canary, 109, notes=canary() + "x" * 1_200_000)).encode(),
        json.dumps({canary(): canary()}).encode(),
    ]
    return good + bad + good[:10]


@pytest.fixture
def leaky_streams(tmp_path) -> Path:
    """The webshop, and a copy of it whose contract keeps what it must not: the leak gate has to stop it."""
    folder = tmp_path / "streams"
    shutil.copytree(project_root() / "streams" / "webshop", folder / "webshop")
    shutil.copytree(project_root() / "streams" / "webshop", folder / "leaky")
    for name in ("webshop", "leaky"):
        settings = folder / name / "stream.yaml"
        tolerant = settings.read_text().replace("bad_event_threshold: 0.05", "bad_event_threshold: 0.9")
        assert tolerant != settings.read_text()
        settings.write_text(tolerant)
    contract = folder / "leaky" / "contract.yaml"
    text = contract.read_text()
    kept = re.sub(r"^  user_agent: .*$", "  user_agent: keep", text, flags=re.MULTILINE)
    kept = kept.replace("acme/webshop-click/", "acme/leaky-click/")
    assert kept != text
    contract.write_text(kept)
    return folder


@pytest.mark.timeout(600)
def test_no_canary_outside_the_zones_that_may_hold_it(tmp_path, leaky_streams):
    canary = Cage()
    deployment = Deployment(tmp_path / "deployment", leaky_streams)
    said = []

    def pii(*arguments, code):
        deployment.pii(*arguments, code=code)
        said.append(deployment.said)

    content = b"\n".join(lines(canary))
    deployment.land("webshop", "clicks.jsonl", content)
    deployment.land("webshop", "again.jsonl", content)
    deployment.land("webshop", "broken.jsonl.gz", b"\x1f\x8b\x08" + canary().encode())
    # In the leaky stream the browser's name is kept, and holds the person's id.
    leaking = []
    for number in range(30):
        one = event(canary, 200 + number)
        leaking.append(json.dumps({**one, "user_agent": f"agent of {one['user_id']}"}).encode())
    deployment.land("leaky", "clicks.jsonl", b"\n".join(leaking))
    while len(canary.made) < CANARIES:
        more = [json.dumps(event(canary, 1000 + len(canary.made))).encode() for _ in range(10)]
        deployment.land("webshop", f"more-{len(canary.made)}.jsonl", b"\n".join(more))

    pii("run", code=1)  # the leak gate stops one stream, not the other
    assert deployment.query("SELECT count(*) AS n FROM leaky.pseudonymized_events") == [{"n": 0}]
    assert deployment.query("SELECT count(*) AS n FROM webshop.pseudonymized_events")[0]["n"] >= 40
    assert deployment.query("SELECT count(*) AS n FROM webshop.bad_events")[0]["n"] >= 15
    kept = in_vault(deployment)
    assert len(kept) >= 40 and set(kept) <= canary.made, "the vault tells what the search must not find in it"

    # Steps that fail in other ways: an unreadable input, a file where a folder must be.
    (validated, *_) = sorted(
        (deployment.storage / "restricted" / "webshop" / "validated_events").rglob("*.parquet")
    )
    intact = validated.read_bytes()
    validated.write_bytes(intact[: len(intact) // 2])
    shutil.rmtree(deployment.storage / "consented")
    (deployment.storage / "consented").write_text("in the way")
    pii("run", "leaky", "--force", code=1)
    landing = deployment.storage / "landing" / "webshop"
    (first, *_) = sorted(landing.rglob("*.jsonl"))
    first.unlink()
    pii("run", "webshop", "--hour", HOUR, "--force", code=1)
    (deployment.storage / "consented").unlink()

    assert len(canary.made) >= CANARIES
    found = {"what pii said": MARK in "".join(said).lower()}
    found |= searched(deployment)
    assert [name for name, hit in found.items() if hit] == []
    kinds = {Path(name).suffix for name in found}
    assert {".parquet", ".db"} <= kinds, "the search saw neither the lake nor the databases"
    assert deployment.vault.name in found
    # The search finds what is there to be found.
    assert any(MARK.encode() in content for content in deployment.files("landing").values())


def in_vault(deployment: Deployment) -> list[str]:
    """What the vault has of the webshop's user ids, read by the vault itself."""
    pseudonyms = deployment.query(
        "SELECT DISTINCT user_id AS it FROM webshop.pseudonymized_events WHERE user_id IS NOT NULL"
    )
    keys = [RecordKey("webshop", "user_id", row["it"]) for row in pseudonyms]
    opened = Installation(read_settings(deployment.environment))
    reason = Reason(LawfulBasis.LEGAL_OBLIGATION, VERIFICATION)
    found = opened.vault.read(PIPELINE, reason, keys)
    opened.close()
    assert all(len(answer.originals) == 1 for answer in found)
    return [original for answer in found for original in answer.originals]


def searched(deployment: Deployment) -> dict[str, bool]:
    """Every file outside the zones that may hold canaries, and whether it holds one."""
    found = {}
    for file in sorted(deployment.folder.rglob("*")):
        zone = file.relative_to(deployment.folder).parts[:2]
        if file.is_file() and zone not in (
            ("storage", "landing"),
            ("storage", "restricted"),
            ("storage", "consented"),
        ):
            found[str(file.relative_to(deployment.folder))] = holds_a_canary(file)
    return found


def holds_a_canary(file: Path) -> bool:
    content = file.read_bytes()
    texts = [content]
    if content[:4] == b"PAR1":
        texts.append(repr(pq.read_table(file).to_pylist()).encode())
        texts.append(repr(pq.read_metadata(file).metadata).encode())
        texts += pages(content)
    if content[:15] == b"SQLite format 3":
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            texts += [
                repr(database.execute(f'SELECT * FROM "{name}"').fetchall()).encode() for (name,) in tables
            ]
        database.close()
    return any(SEARCH.search(text) for text in texts)


def pages(content: bytes) -> list[bytes]:
    """Every zstd page of a Parquet file, decompressed: also what stands in a page and in no row."""
    found = []
    for start in (match.start() for match in re.finditer(re.escape(b"\x28\xb5\x2f\xfd"), content)):
        with suppress(zstandard.ZstdError):
            found.append(zstandard.ZstdDecompressor().decompressobj().decompress(content[start:]))
    return found


def test_pages_are_seen_whole(tmp_path):
    """Also values that only the dictionary has: no row does."""
    ghost = pa.DictionaryArray.from_arrays(pa.array([0, 0]), pa.array(["seen", MARK + "ghost"]))
    pq.write_table(pa.table({"x": ghost}), tmp_path / "x.parquet", compression="zstd", store_schema=False)
    assert holds_a_canary(tmp_path / "x.parquet")


def _base64_of_the_mark() -> list[bytes]:
    """The mark inside base64, at each of the three alignments: the characters that are all its."""
    found = []
    for shift in range(3):
        text = base64.b64encode(b"x" * shift + MARK.encode() + b"xx")
        found.append(text[-(-shift * 8 // 6) : (shift + len(MARK)) * 8 // 6])
    return found


SEARCH = re.compile(
    b"|".join(
        [
            b"(?i:%s)" % b"|".join([MARK.encode(), MARK.encode().hex().encode(), MARK.encode("utf-16-le")]),
            *map(re.escape, _base64_of_the_mark()),
        ]
    )
)


def test_the_search_sees_a_canary_in_each_disguise():
    canary = MARK + "abc"
    for text in (
        canary.encode(),
        canary.upper().encode(),
        canary.encode().hex().encode(),
        canary.encode("utf-16-le"),
        *(base64.b64encode(b"y" * shift + canary.encode() + b"zz") for shift in range(3)),
    ):
        assert SEARCH.search(text), text
    assert not SEARCH.search(b"nothing here")
