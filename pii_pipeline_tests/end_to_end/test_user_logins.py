"""The hundred real log-ins in `user_logins`, in DuckDB and PostgreSQL: what analysts are promised of it."""

import gzip
import json
from collections import Counter
from datetime import date

from pii_pipeline_tests.end_to_end.deployment import HOUR, Deployment
from pii_pipeline_tests.shared_data import shared_data
from pii_pipeline_tests.warehouses import ask, columns

NEXT_HOUR = "2026-11-22T11"
NAMES = {
    "user_id": 128,
    "device_type": 32,
    "masked_ip": 256,
    "masked_device_id": 256,
    "locale": 32,
    "app_version": None,
    "app_version_text": 32,
    "create_date": None,
}


def version(text):
    return tuple(map(int, (text + ".0.0").split(".")[:3]))


def test_real_log_ins(tmp_path, warehouse_url):
    messages = json.loads(gzip.decompress((shared_data() / "login_queue" / "messages.json.gz").read_bytes()))
    deployment = Deployment(tmp_path)
    deployment.environment["PII_WAREHOUSE_URL"] = warehouse_url
    deployment.land("logins", "messages.json", json.dumps(messages).encode())
    # One of these people again, from no address that anybody knows, and a stranger from none either.
    originals = [message for message in messages if "ip" in message]
    nowhere = [
        originals[0] | {"ip": None},
        originals[1] | {"ip": None, "user_id": "a stranger", "locale": None},
    ]
    deployment.land("logins", "nowhere.json", json.dumps(nowhere).encode(), hour=NEXT_HOUR)
    reports = {report["hour"]: report for report in deployment.json("run", "logins")["hours"]}
    assert (reports[HOUR]["records"], reports[HOUR]["bad"]) == (100, 1)
    assert reports[HOUR]["tables"] == {"user_logins": {"loaded": 99}}
    assert reports[NEXT_HOUR]["tables"] == {"user_logins": {"loaded": 2}}

    assert list(columns(warehouse_url, "user_logins")) == [*NAMES, "_batch"]
    if warehouse_url.startswith("postgresql"):
        lengths = "SELECT column_name, character_maximum_length FROM information_schema.columns"
        found = dict(ask(warehouse_url, f"{lengths} WHERE table_name = 'user_logins'"))
        assert {name: found[name] for name in NAMES} == NAMES

    names = ", ".join(NAMES)
    rows = [
        dict(zip(NAMES, row, strict=True)) for row in ask(warehouse_url, f"SELECT {names} FROM user_logins")
    ]
    assert len(rows) == 101
    # Masks: as many, and each as often, as the originals; never the original.
    everything = [*originals, *nowhere]
    for field, masked in (("ip", "masked_ip"), ("device_id", "masked_device_id"), ("user_id", "user_id")):
        originally = Counter(message[field] for message in everything)
        masks = Counter(row[masked] for row in rows)
        assert sorted(masks.values()) == sorted(originally.values()), field
        assert masks[None] == originally[None], "null stays null"
        assert not set(map(str, originally)) - {"None"} & set(map(str, masks))
        assert all(len(mask) == 64 for mask in masks if mask is not None)
    # Row for row what the lake has, of which it is known elsewhere which mask is whose.
    lake = "user_id, device_type, ip, device_id, locale, app_version"
    table = "user_id, device_type, masked_ip, masked_device_id, locale, app_version_text"
    in_lake = deployment.query(f"SELECT {lake} FROM logins.pseudonymized_events")
    in_table = ask(warehouse_url, f"SELECT {table} FROM user_logins")
    assert Counter(tuple(row.values()) for row in in_lake) == Counter(in_table)
    # No address in common is no connection: of the two without, each has another device.
    unknown = "SELECT count(*), count(DISTINCT masked_device_id) FROM user_logins WHERE masked_ip IS NULL"
    assert ask(warehouse_url, unknown) == [(2, 2)]

    versions = {row["app_version_text"]: row["app_version"] for row in rows}
    assert set(versions) == {message["app_version"] for message in originals}
    assert versions["2.3.0"] == 2_003_000 > versions["0.2.6"] == 2_006
    assert sorted(versions, key=versions.__getitem__) == sorted(versions, key=version)
    assert Counter(row["locale"] for row in rows) == Counter(message["locale"] for message in everything)
    assert Counter(row["device_type"] for row in rows) == Counter(
        message["device_type"] for message in everything
    )
    assert {row["create_date"] for row in rows} == {date(2026, 11, 22)}

    again = deployment.json("run", "logins")
    assert again["up_to_date"] == [HOUR, NEXT_HOUR]
    deployment.pii("run", "logins", "--force")
    assert Counter(map(str, ask(warehouse_url, f"SELECT {names} FROM user_logins"))) == Counter(
        str(tuple(row.values())) for row in rows
    )
    assert deployment.said.count("user_logins:") == 2
