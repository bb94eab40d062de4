"""The definitions: loaded without side effects, and exactly what the snapshot says.

When a change is meant, the failing test prints the new snapshot.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pii_pipeline.definitions import build, defs
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.settings import project_root, read_settings

SNAPSHOT = Path(__file__).with_name("definitions.json")
STREAMS = project_root() / "streams"


def specs(definitions: dg.Definitions) -> dict[str, Any]:
    """Assets and checks by name: what others rely on, without wording and versions."""
    graph = definitions.resolve_asset_graph()
    assets = {
        key.to_user_string(): {
            "deps": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
            "group": graph.get(key).group_name,
            "kinds": sorted(graph.get(key).kinds),
            "owners": sorted(graph.get(key).owners),
            "tags": {name: value for name, value in graph.get(key).tags.items() if "/" not in name},
            "columns": [
                column.name
                for schema in [graph.get(key).metadata.get("dagster/column_schema")]
                if schema is not None
                for column in schema.columns
            ],
        }
        for key in sorted(graph.get_all_asset_keys())
    }
    checks = {
        f"{key.asset_key.to_user_string()}:{key.name}": "blocking"
        if graph.get(key).blocking
        else "not blocking"
        for key in sorted(graph.asset_check_keys, key=str)
    }
    return {"assets": assets, "checks": checks}


def installation(tmp_path: Path, streams: Path = STREAMS) -> Installation:
    return Installation(read_settings({"PII_STREAMS_DIR": str(streams)}, project=tmp_path))


def test_specs_are_those_of_the_snapshot(tmp_path: Path) -> None:
    found = specs(build(installation(tmp_path)))
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    assert found == json.loads(SNAPSHOT.read_text()), f"if this is meant, {SNAPSHOT.name} becomes:\n{text}"


def test_every_asset_is_in_the_job_with_the_one_partition_object(tmp_path: Path) -> None:
    definitions = build(installation(tmp_path))
    job = definitions.resolve_job_def("process_events")
    graph = definitions.resolve_asset_graph()
    assert job.asset_layer.executable_asset_keys == graph.get_all_asset_keys()
    assert len({id(graph.get(key).partitions_def) for key in graph.get_all_asset_keys()}) == 1
    assert {graph.get(key).partitions_def for key in graph.asset_check_keys} == {job.partitions_def}


def test_code_version_follows_the_contract(tmp_path: Path) -> None:
    def version(definitions: dg.Definitions) -> str | None:
        key = dg.AssetKey(["logins", "pseudonymized_events"])
        return definitions.resolve_asset_graph().get(key).code_version

    before = version(build(installation(tmp_path)))
    folder = tmp_path / "streams" / "logins"
    folder.mkdir(parents=True)
    for file in (STREAMS / "logins").iterdir():
        (folder / file.name).write_text(file.read_text().replace("locale: keep", "locale: mask"))
    assert version(build(installation(tmp_path, tmp_path / "streams"))) != before


def test_loading_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PII_STORAGE_URI", str(tmp_path / "storage"))
    monkeypatch.setenv("PII_DATABASE_URL", f"sqlite:///{tmp_path / 'pii.db'}")
    monkeypatch.setenv("PII_VAULT_URL", f"sqlite:///{tmp_path / 'vault.db'}")
    monkeypatch.setenv("PII_WAREHOUSE_URL", f"duckdb:///{tmp_path / 'warehouse.duckdb'}")
    monkeypatch.setenv("PII_KEY_ENCRYPTION_KEY", f"file:{tmp_path / 'key'}")
    monkeypatch.setenv("PII_STREAMS_DIR", str(STREAMS))
    assert isinstance(defs(), dg.Definitions)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_stream_is_an_asset_that_says_so_among_those_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logins"
    shutil.copytree(STREAMS / "retail", tmp_path / "retail")
    shutil.copytree(STREAMS / "retail", tmp_path / "not-a-name")
    shutil.copytree(STREAMS / "logins", folder)
    contract = folder / "contract.yaml"
    contract.write_text(contract.read_text().replace("locale: keep", "locale: keeep"))
    monkeypatch.setenv("PII_STREAMS_DIR", str(tmp_path))
    graph = defs().resolve_asset_graph()
    line = next(n for n, text in enumerate(contract.read_text().splitlines(), 1) if "keeep" in text)
    said = f"logins/contract.yaml:{line}: fields.locale: unknown treatment `keeep` — did you mean `keep`?"
    names = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert {name for name in names if not name.startswith("retail/")} == {"logins/raw_events"}
    assert {"retail/raw_events", "retail/pseudonymized_events"} <= names
    asset = graph.get(dg.AssetKey(["logins", "raw_events"]))
    assert said in str(asset.description)
    assert (asset.group_name, asset.tags["broken"]) == ("logins", "yes")
    logged = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert f"{tmp_path}/{said}" in logged
    assert any("not-a-name/stream.yaml:1: `not-a-name` is not lower-case" in text for text in logged)


def test_a_folder_of_streams_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PII_STREAMS_DIR", str(tmp_path / "x"))
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="is no folder") as caught:
        defs()
    assert caught.value.__context__ is None


def test_what_is_in_the_lake_says_that_it_holds_no_personal_data(tmp_path: Path) -> None:
    graph = build(installation(tmp_path)).resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        tags = graph.get(key).tags
        assert tags["personal_data"] == ("no" if tags["zone"] == "lake" else "yes")


@pytest.mark.parametrize(
    ("url", "kind"),
    [("duckdb:////nowhere/w.duckdb", "duckdb"), ("postgresql://ann:s3cret@nowhere/w", "postgres")],
)
def test_a_table_says_where_it_is_and_what_each_column_comes_from(
    tmp_path: Path, url: str, kind: str
) -> None:
    settings = read_settings({"PII_STREAMS_DIR": str(STREAMS), "PII_WAREHOUSE_URL": url}, project=tmp_path)
    graph = build(Installation(settings)).resolve_asset_graph()
    table = graph.get(dg.AssetKey(["logins", "user_logins"]))
    assert table.kinds == {"lake", kind}
    assert "folder" not in table.metadata
    columns = {column.name: column for column in table.metadata["dagster/column_schema"].columns}
    assert columns["masked_ip"].type == "varchar(256)"
    origin = "← [pseudonymized_events](/assets/logins/pseudonymized_events)"
    said = {name: str(column.description).split("  \n")[-2:] for name, column in columns.items()}
    alike = "**Pseudonymized**, alike for all people; the vault has the original."
    assert said["masked_ip"] == [alike, f"{origin} `ip`"]
    assert said["app_version"] == ["**Kept**. Written as `version_number`.", origin]
    assert said["create_date"] == ["Written as `date`.", f"{origin} `_event_time`"]
    assert columns["masked_ip"].tags == {"treatment": "pseudonymize", "personal_data": "pseudonymized"}
    assert "s3cret" not in repr(table.metadata) + repr(table.description)


def test_sensors_look_as_often_as_the_environment_says(tmp_path: Path) -> None:
    environment = {"PII_STREAMS_DIR": str(STREAMS), "PII_SENSOR_SECONDS": "7"}
    sensors = build(Installation(read_settings(environment, tmp_path))).get_repository_def().sensor_defs
    assert len(sensors) == 5 and {sensor.minimum_interval_seconds for sensor in sensors} == {7}
    told = {**environment, "PII_STORAGE_URI": "s3://shop", "PII_LANDING_NOTIFICATIONS": "landed"}
    sensors = build(Installation(read_settings(told, tmp_path))).get_repository_def().sensor_defs
    assert len(sensors) == 2 and {sensor.minimum_interval_seconds for sensor in sensors} == {7}
