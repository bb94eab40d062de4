"""The catalogue in a real browser: what somebody sees who opens Dagster's UI.

Screenshots go to var/screenshots, or where PII_SCREENSHOTS says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import ViewportSize, expect

from pii_pipeline.contracts.treatments import Drop, Encrypt
from pii_pipeline.settings import project_root
from pii_pipeline.streams.loader import load_streams
from pii_pipeline_tests.browser.ui import SIZE, Ui, browser_page, chromium, web_server
from pii_pipeline_tests.end_to_end.deployment import HOUR, Deployment
from pii_pipeline_tests.end_to_end.test_canaries import Cage, event

CHROMIUM = chromium()
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: install it, or name it in PII_CHROMIUM"
)

LATE_HOUR = "2026-11-22T11"
STREAMS = load_streams([project_root() / "streams"])
WEBSHOP = STREAMS["webshop"]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Sample events of an hour, some of them canaries, processed."""
    made = Deployment(tmp_path_factory.mktemp("catalog"))
    canary = Cage()
    events = [event(canary, number, consent_levels=[1, 2]) for number in range(50)]
    made.land("webshop", "canaries.jsonl", _lines([*events, event(canary, 99, ts=canary())]))
    for stream in STREAMS:
        number = 3000 if stream == "webshop" else 300
        made.pii("sample", stream, "--events", str(number), "--end", f"{LATE_HOUR}:00", "--land")
    made.pii("run")
    return made


@pytest.fixture(scope="module")
def ui(deployment: Deployment) -> Iterator[Ui]:
    assert CHROMIUM is not None
    with web_server(deployment) as address, browser_page(CHROMIUM) as page:
        yield Ui(page, address)


@pytest.fixture(scope="module")
def failed_hour(deployment: Deployment) -> dict:
    """An hour of log-ins of which most are bad, as `pii status` knows it."""
    canary = Cage()
    good = {"app_version": "2.3.0", "device_type": "ios", "ip": canary(), "locale": "NL"}
    logins = [{**good, "user_id": canary(), "device_id": canary()} for _ in range(4)]
    bad = [{**login, "app_version": canary()} for login in logins[:2]] + [{"user_id": canary()}] * 7
    deployment.land("logins", "broken.jsonl", _lines(logins + bad), LATE_HOUR)
    deployment.pii("run", "logins", "--hour", LATE_HOUR, code=1)
    return deployment.json("status", "logins", "--hour", LATE_HOUR)[0]


def _lines(events: list[dict]) -> bytes:
    return b"\n".join(json.dumps(each).encode() for each in events)


def test_the_asset_graph_shows_every_stream_with_its_zones(ui: Ui):
    size: ViewportSize = {"width": SIZE["width"], "height": 280 + 560 * len(STREAMS)}
    ui.page.set_viewport_size(size)
    page = ui.open(f"/asset-groups?expanded={','.join(f'global@global:{stream}' for stream in STREAMS)}")
    for name in (*WEBSHOP.derived, "raw_events", "validated_events", "bad_events", "pseudonymized_events"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    for zone in ("landing", "restricted", "lake", "consented", "vault"):
        expect(page.get_by_text(zone, exact=True).first).to_be_visible()
    page.get_by_text("2 / 2 Passed").nth(4).wait_for()
    # Drawn as large as it fits beside the tree of assets, which is closed for the picture.
    page.get_by_role("button", name="panel_show_right", exact=True).click()
    page.set_viewport_size({"width": size["width"] - 300, "height": size["height"]})
    ui.picture("asset-graph")
    page.set_viewport_size(SIZE)


def test_the_lineage_of_an_asset_leads_from_the_landing_objects(ui: Ui):
    page = ui.asset("webshop", "pseudonymized_events", "lineage&lineageScope=upstream&lineageDepth=5")
    for name in ("raw_events", "validated_events", "pseudonymized_events"):
        expect(page.get_by_text(name, exact=True).filter(visible=True).last).to_be_visible()
    page.get_by_text("2 / 2 Passed").nth(1).wait_for()
    ui.picture("asset-lineage")


def test_an_asset_says_its_zone_owner_freshness_and_files(ui: Ui):
    page = ui.asset("webshop", "pseudonymized_events")
    for text in ("zone: lake", "personal_data: no", "web", "acme/webshop-click/1.0.0"):
        expect(page.get_by_text(text).first).to_be_visible()
    for file in ("webshop/contract.yaml", "webshop/stream.yaml", "pipeline/pseudonymize.py"):
        expect(page.get_by_role("link").filter(has_text=file)).to_be_visible()
    expect(page.get_by_text("Fails if more than 24 hours since last materialization")).to_be_visible()


def test_every_column_says_what_is_done_to_it(ui: Ui):
    page = ui.asset("webshop", "pseudonymized_events")
    for path, _, treatment in WEBSHOP.contract.treated():
        column = ui.column(path.removesuffix("[]"))
        if isinstance(treatment, Drop):
            expect(column).to_have_count(0)
            continue
        expect(column).to_contain_text(f"treatment: {treatment.name}")
        if isinstance(treatment, Encrypt):
            expect(column).to_contain_text(f"level: {treatment.level}")
    expect(ui.column("email")).to_contain_text("Encrypted (level 2), opened in marketing.")
    expect(ui.column("ip")).to_contain_text("Made coarser: IPv4 to /24, IPv6 to /48.")
    page.get_by_placeholder("Filter columns").evaluate("filter => filter.scrollIntoView()")
    ui.picture("columns")


def test_a_column_can_be_followed_back_to_the_field_that_was_sent(ui: Ui):
    page = ui.asset("webshop", "marketing")
    expect(ui.column("email")).to_contain_text("personal_data: clear")
    ui.column("email").scroll_into_view_if_needed()
    ui.picture("column-of-a-derived-dataset")
    for upstream in ("pseudonymized_events", "validated_events", "raw_events"):
        ui.column("email").get_by_role("link", name=upstream).click()
        page.wait_for_url(f"**/assets/webshop/{upstream}")
        ui.column("email").wait_for()
    expect(ui.column("email")).to_contain_text("In the lake encrypted (level 2), opened in marketing.")


def test_lineage_of_columns_is_served_to_whoever_asks(ui: Ui):
    """Dagster's open-source UI draws none; Dagster+ and other catalogues read it here."""
    found = ui.graphql("""{ assetNodes { assetKey { path } metadataEntries {
        ... on TableColumnLineageMetadataEntry { label
          lineage { columnName columnDeps { assetKey { path } columnName } } } } } }""")
    lineage = {
        (*node["assetKey"]["path"], column["columnName"]): [
            (*dep["assetKey"]["path"], dep["columnName"]) for dep in column["columnDeps"]
        ]
        for node in found["assetNodes"]
        for entry in node["metadataEntries"]
        if entry.get("label") == "dagster/column_lineage"
        for column in entry["lineage"]
    }
    way = [("webshop", "marketing", "email")]
    while lineage[way[-1]]:
        (source,) = lineage[way[-1]]
        way.append(source)
    layers = ["marketing", "pseudonymized_events", "validated_events", "raw_events"]
    assert way == [("webshop", layer, "email") for layer in layers]


def test_a_materialization_tells_the_counts_of_the_ledger(ui: Ui, deployment: Deployment):
    (known,) = deployment.json("status", "webshop", "--hour", HOUR)
    told = known["derived"]["marketing"]
    expected = {
        "validated_events": [
            known["records"],
            known["validated"],
            known["bad"],
            *known["bad_by_reason"].values(),
        ],
        "pseudonymized_events": [known["pseudonymized"], known["erased"], known["expired"]],
        "marketing": [told["admitted"], told["withheld"]],
    }
    for dataset, counts in expected.items():
        page = ui.asset("webshop", dataset, "events")
        summary = page.locator("tr").filter(has=page.get_by_text("summary", exact=True))
        for count in counts:
            expect(summary).to_contain_text(f"{count:,}")
        ui.picture(f"materialization-of-{dataset.replace('_', '-')}")


def test_counts_are_plotted(ui: Ui):
    page = ui.asset("webshop", "validated_events")
    page.get_by_role("button", name="Plots").click()
    for label in ("records", "bad", "duplicate", "bad_share", "bytes", "seconds", "records_per_second"):
        expect(page.get_by_text(label, exact=True).first).to_be_visible()
    page.locator("canvas").first.scroll_into_view_if_needed()
    ui.picture("plots")


def test_a_failed_check_says_why_in_numbers(ui: Ui, failed_hour: dict):
    page = ui.asset("logins", "validated_events", "checks&checkDetail=bad_event_rate")
    records, bad = failed_hour["records"], failed_hour["bad"]
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    expect(page.get_by_text(f"{bad} of {records} records are bad, more than 5.0%")).to_be_visible()
    for reason, number in failed_hour["bad_by_reason"].items():
        row = page.locator("tr").filter(has_text=f"bad: {reason}").last
        expect(row).to_contain_text(f"{number}{number / records:.1%}")
    ui.picture("failed-check")
