"""``pii contract`` and ``pii init``."""

import json
from pathlib import Path

from pii_pipeline_tests.unit.cli.conftest import Pii


def test_check_shows_warnings_and_passes(pii: Pii):
    result = pii("contract", "check")
    assert result.exit_code == 0
    assert "logins/contract.yaml:15: fields: joinable across people" in result.output
    assert "no errors" in result.output


def test_check_names_file_line_and_mend(pii: Pii, own_streams: Path):
    pii("init", "clicks")
    contract = own_streams / "clicks" / "contract.yaml"
    contract.write_text(contract.read_text().replace("key_field: session_id", "key_field: sesion_id"))
    line = contract.read_text().partition("key_field:")[0].count("\n")
    result = pii("contract", "check")
    assert result.exit_code == 1
    assert f"error: {contract}:{line + 1}: key_field" in result.output
    assert "`session_id`" in result.output
    (error,) = json.loads(pii("contract", "check", "--json").stdout)["errors"]
    assert (error["file"], error["line"]) == (str(contract), line + 1)
    assert "session_id" in error["mend"]


def test_other_commands_refuse_a_wrong_contract(pii: Pii, own_streams: Path):
    pii("init", "clicks")
    (own_streams / "clicks" / "contract.yaml").write_text("contract: nonsense\n")
    result = pii("status")
    assert result.exit_code == 2
    assert f"pii: {own_streams / 'clicks' / 'contract.yaml'}:1: " in result.stderr


def test_show_tells_what_an_erasure_leaves(pii: Pii):
    fields = {
        item["field"]: item
        for item in json.loads(pii("contract", "show", "webshop", "--json").stdout)["fields"]
    }
    assert fields["email"]["settings"] == {"level": 2}
    assert fields["order/delivery"]["type"] == "record"
    assert not any(path.startswith("order/delivery/") for path in fields)
    assert fields["device_id"]["after_erasure"].startswith("still linkable")
    assert fields["session_id"]["treatment"] == "pseudonymize"
    assert fields["session_id"]["after_erasure"] == "noise"
    assert fields["notes"]["after_erasure"] == "never in the lake"
    assert "order/delivery" in pii("contract", "show", "webshop").output


def test_show_lists_what_is_listed_inside_documents_like_fields(pii: Pii, own_streams: Path):
    pii("init", "clicks")
    folder = own_streams / "clicks"
    schema = json.loads((folder / "event.schema.json").read_text())
    schema["properties"]["contexts"] = {"type": "object"}
    (folder / "event.schema.json").write_text(json.dumps(schema))
    user = "iglu:com.acme/user/jsonschema/1-*-*"
    inside = f"""fields:
  contexts:
    self_describing:
      {user}:
        address/city: keep
        items[]/sku: {{pseudonymize: {{hash: SHA-1}}}}
"""
    contract = folder / "contract.yaml"
    contract.write_text(contract.read_text().replace("fields:\n", inside, 1))
    shown = json.loads(pii("contract", "show", "clicks", "--json").stdout)["fields"]
    assert [item for item in shown if item["field"].startswith("contexts")] == [
        {
            "field": "contexts",
            "type": "documents",
            "treatment": "self_describing",
            "settings": {"unlisted": "pseudonymize"},
            "after_erasure": "noise",
        },
        {
            "field": f"contexts {user} address/city",
            "type": "any",
            "treatment": "keep",
            "settings": {},
            "after_erasure": "still readable",
        },
        {
            "field": f"contexts {user} items[]/sku",
            "type": "any",
            "treatment": "pseudonymize",
            "settings": {"hash": "SHA-1"},
            "after_erasure": "still linkable: the same for other people",
        },
    ]
    printed = " ".join(pii("contract", "show", "clicks").output.split())
    assert "address/city" in printed
    assert "items[]/sku" in printed


def test_show_works_beside_a_broken_stream(pii: Pii, own_streams: Path):
    pii("init", "good")
    pii("init", "broken")
    (own_streams / "broken" / "contract.yaml").unlink()
    assert pii("contract", "show", "good").exit_code == 0
    assert pii("contract", "list").exit_code == 2


def test_list_names_every_stream(pii: Pii):
    listed = {item["stream"]: item for item in json.loads(pii("contract", "list", "--json").stdout)}
    assert listed["webshop"]["derived"] == ["product_analytics", "marketing"]
    assert listed["logins"]["contract"] == "acme/login/1.1.0"
    assert listed["logins"]["tables"] == ["user_logins"]
    assert "acme/login/1.1.0" in pii("contract", "list").output


def test_init_makes_a_stream_that_works(pii: Pii, own_streams: Path):
    result = pii("init", "newsletter", "--json")
    assert len(json.loads(result.stdout)["files"]) == 3
    assert pii("contract", "check", "newsletter").exit_code == 0
    assert pii("sample", "newsletter", "--events", 5).stdout.count("\n") == 5
    again = pii("init", "newsletter")
    assert again.exit_code == 2
    assert "exists already" in again.stderr
