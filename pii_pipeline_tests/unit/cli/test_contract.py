"""``pii contract`` and ``pii init``."""

import json
import multiprocessing
from multiprocessing.synchronize import Semaphore
from pathlib import Path

import pytest

from pii_pipeline.cli import cli
from pii_pipeline.streams import versions
from pii_pipeline.streams.versions import turn
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


@pytest.mark.parametrize(
    "command",
    [
        "status clicks",
        "run clicks",
        "run good clicks",
        "files clicks bad_events",
        "sample clicks",
        "land clicks -",
        "contract show clicks",
        "contract export clicks --to strm exported",
    ],
)
def test_commands_that_name_a_broken_stream_say_at_once_what_is_wrong(
    pii: Pii, own_streams: Path, command: str
):
    pii("init", "good")
    pii("init", "clicks")
    (own_streams / "clicks" / "contract.yaml").write_text("contract: nonsense\n")
    result = pii(*command.split(), stdin=b"{}")
    assert result.exit_code == 2, result.output
    assert f"pii: {own_streams / 'clicks' / 'contract.yaml'}:1: " in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "command",
    ["status good", "files good bad_events", "sample good --events 1", "contract show good", "run good"],
)
def test_commands_that_name_another_stream_do_not_mind(pii: Pii, own_streams: Path, command: str):
    pii("init", "good")
    pii("init", "clicks")
    (own_streams / "clicks" / "contract.yaml").write_text("contract: nonsense\n")
    result = pii(*command.split())
    assert (result.exit_code, result.stderr) == (0, "")


def test_answers_about_all_streams_say_which_one_they_lack(pii: Pii, own_streams: Path):
    pii("init", "good")
    pii("init", "clicks")
    file = own_streams / "clicks" / "contract.yaml"
    file.write_text("contract: nonsense\n")
    for command in (
        ("status",),
        ("status", "--json"),
        ("contract", "list"),
        ("contract", "list", "--json"),
        ("query", "select count(*) from good.bad_events"),
    ):
        result = pii(*command)
        assert result.exit_code == 0
        assert f"pii: {file}:1: " in result.stderr
    listed = {item["stream"]: item for item in json.loads(pii("contract", "list", "--json").stdout)}
    assert listed["good"]["errors"] == []
    assert {error["file"] for error in listed["clicks"]["errors"]} == {str(file)}
    (entry,) = json.loads(pii("status", "--json").stdout)
    assert (entry["stream"], entry["hour"], entry["records"]) == ("clicks", None, None)
    assert entry["problems"][0].startswith(f"{file}:1: ")


def test_check_says_what_is_wrong_and_what_is_risky_elsewhere(pii: Pii, own_streams: Path):
    pii("init", "good")
    pii("init", "clicks")
    stream = own_streams / "good" / "stream.yaml"
    stream.write_text(stream.read_text().replace("purposes: [1]", "purposes: [7]"))
    (own_streams / "clicks" / "contract.yaml").unlink()
    result = pii("contract", "check", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert ([error["file"] for error in found["errors"]]) == [str(own_streams / "clicks" / "stream.yaml")]
    alone = json.loads(pii("contract", "check", "good", "--json").stdout)
    assert (alone["errors"], alone["warnings"]) == ([], found["warnings"])
    both = pii("contract", "check", "good", "clicks", "--json")
    assert (both.exit_code, json.loads(both.stdout)) == (1, found)


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
      iglu:com.acme/page/jsonschema/1-*-*: {{}}
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
            "field": f"contexts {user}",
            "type": "schema",
            "treatment": "keep",
            "settings": {},
            "after_erasure": "still readable",
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
        {
            "field": "contexts iglu:com.acme/page/jsonschema/1-*-*",
            "type": "schema",
            "treatment": "keep",
            "settings": {},
            "after_erasure": "still readable",
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


def version(own_streams: Path, pii: Pii, *changes: tuple[str, str]) -> str:
    """The name of a new version of the stream `clicks`, with these texts replaced in it."""
    pii("init", "clicks")
    assert pii("contract", "new-version", "clicks").exit_code == 0
    file = own_streams / "clicks" / "contract-1.1.0.yaml"
    text = file.read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    file.write_text(text)
    return "acme/clicks/1.1.0"


def test_diff_says_what_got_weaker_and_fails(pii: Pii, own_streams: Path):
    newer = version(own_streams, pii, ("  email: {encrypt: {level: 2}} ", "  email: keep "))
    done = pii("contract", "diff", "acme/clicks/1.0.0", newer)
    assert done.exit_code == 1
    assert "fields.email" in done.output
    assert "protected less" in done.output
    assert "Protection: 1 field or setting weaker" in done.output
    assert "Version: asks for a minor step, and is minor" in done.output
    back = pii("contract", "diff", newer, "acme/clicks/1.0.0")
    assert back.exit_code == 0
    assert "Protection: nothing is weaker" in back.output
    assert "Version: asks for a minor step, but is no later one" in back.output


def test_diff_fails_where_a_new_field_is_readable(pii: Pii, own_streams: Path):
    newer = version(own_streams, pii, ("  event_id: keep\n", "  event_id: keep\n  plan: keep\n"))
    schema = own_streams / "clicks" / "event-1.1.0.schema.json"
    text = schema.read_text()
    schema.write_text(text.replace('"user_id": {', '"plan": {"type": "string"},\n    "user_id": {', 1))
    done = pii("contract", "diff", "acme/clicks/1.0.0", newer, "--json")
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert said["weaker"] == ["fields.plan"]
    assert said["changes"][-1]["before"] == "pseudonymize, among undeclared keys"


def test_diff_fails_where_readers_miss_a_column(pii: Pii, own_streams: Path):
    newer = version(own_streams, pii, ("  event_id: keep\n", "  event_id: drop\n"))
    done = pii("contract", "diff", "acme/clicks/1.0.0", newer, "--json")
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert (said["keeps_columns"], said["weaker"], said["step_asked"]) == (False, [], "major")
    assert [change["place"] for change in said["changes"]] == ["fields.event_id", "lake.event_id"]


def test_diff_of_what_is_the_same_passes(pii: Pii, own_streams: Path):
    newer = version(own_streams, pii)
    files = [own_streams / "clicks" / name for name in ("contract.yaml", "contract-1.1.0.yaml")]
    for old, new in (("acme/clicks/1.0.0", newer), files):
        done = pii("contract", "diff", old, new)
        assert done.exit_code == 0
        assert done.output.splitlines() == [
            "acme/clicks/1.0.0 → acme/clicks/1.1.0: 0 changes",
            "Protection: nothing is weaker",
            "Old events under the new version: valid",
            "New events under the old version: valid",
            "Readers of the lake: all columns are there, with their types",
            "Version: the two say the same",
        ]


def test_an_unknown_contract_is_said_to_be_so(pii: Pii):
    done = pii("contract", "diff", "acme/login/1.1.0", "acme/logins/1.1.0")
    assert done.exit_code == 2
    assert "no stream lists a contract `acme/logins/1.1.0`; did you mean `acme/login/1.1.0`?" in done.stderr
    assert pii("contract", "promote", "acme/nothing/1.0.0").exit_code == 2
    assert pii("contract", "show", "acme/nothing/1.0.0").exit_code == 2
    assert pii("contract", "new-version", "nothing").exit_code == 2


def test_a_version_goes_its_way_and_is_listed(pii: Pii, own_streams: Path):
    newer = version(own_streams, pii)
    assert json.loads(pii("contract", "promote", newer, "--json").stdout) == [
        {
            "contract": newer,
            "file": str(own_streams / "clicks" / "contract-1.1.0.yaml"),
            "before": "draft",
            "after": "in_review",
        }
    ]
    pii("contract", "promote", newer)
    said = pii("contract", "promote", newer).output.splitlines()
    assert [line.partition(" (")[0] for line in said] == [
        "acme/clicks/1.1.0: approved → active",
        "acme/clicks/1.0.0: active → archived",
    ]
    (listed,) = json.loads(pii("contract", "list", "--json").stdout)
    assert listed["contract"] == newer
    assert [(item["contract"], item["state"]) for item in listed["versions"]] == [
        (newer, "active"),
        ("acme/clicks/1.0.0", "archived"),
    ]
    assert pii("contract", "promote", newer).exit_code == 2
    assert "1.0.0" in pii("contract", "list").output


def test_of_two_promotions_at_once_one_is_refused(pii: Pii, own_streams: Path):
    newer = version(own_streams, pii)
    folder = own_streams / "clicks"
    spawn = multiprocessing.get_context("spawn")
    seen = spawn.Semaphore(0)
    two = [spawn.Process(target=_promote, args=(newer, seen)) for _ in range(2)]
    with turn(folder):
        for process in two:
            process.start()
        assert all(seen.acquire(timeout=60) for _ in two), "both have seen the draft"
    for process in two:
        process.join(60)
    assert {process.exitcode for process in two} == {0, 2}
    assert "state: in_review" in (folder / "contract-1.1.0.yaml").read_text()
    assert not [file for file in folder.iterdir() if file.name.startswith(".")]


def _promote(contract: str, seen: Semaphore) -> None:
    """``pii contract promote`` in a process of its own, which says when it is about to wait for its turn."""

    def own_turn(*folders: Path):
        seen.release()
        return turn(*folders)

    versions.turn = own_turn
    cli(["contract", "promote", contract])


def test_show_a_draft(pii: Pii, own_streams: Path):
    newer = version(own_streams, pii, ("  email: {encrypt: {level: 2}} ", "  email: drop "))
    shown = json.loads(pii("contract", "show", newer, "--json").stdout)
    assert (shown["contract"], shown["state"]) == (newer, "draft")
    fields = {field["field"]: field["treatment"] for field in shown["fields"]}
    assert fields["email"] == "drop"
    assert json.loads(pii("contract", "show", "clicks", "--json").stdout)["contract"] == "acme/clicks/1.0.0"


def test_samples_say_which_version_they_follow(pii: Pii, own_streams: Path):
    pii("init", "clicks")
    for name in ("stream.yaml", "event.schema.json"):
        file = own_streams / "clicks" / name
        text = file.read_text().replace("bad_event", "contract_field: follows\nbad_event", 1)
        file.write_text(text.replace('"user_id": {', '"follows": {"type": "string"},\n    "user_id": {', 1))
    pii("contract", "new-version", "clicks")
    for version in ("acme/clicks/1.0.0", "acme/clicks/1.1.0"):
        lines = pii("sample", "clicks", "--events", 5, "--contract", version).stdout.splitlines()
        # One is bad, in whatever way.
        assert sum(f'"follows":"{version}"' in line for line in lines) >= 4
    assert pii("sample", "clicks", "--contract", "acme/clicks/1.2.0").exit_code == 2
