"""``pii vault``: originals are told, kept and deleted, and nothing else is."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest

from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.settings import read_settings
from pii_pipeline.vault.policy import OPERATOR, token_sha256
from pii_pipeline_tests.unit.cli.conftest import Pii
from pii_pipeline_tests.vault_server import PROJECT, vault_server

POLICY = """
ticket: "[A-Z]{2,10}-[0-9]{1,9}"
purposes:
  fraud: {description: Who is behind it., ticket: required}
  support: {description: Somebody asks., consent: 1}
principals:
  operator:
    read:
      - {streams: [logins], fields: [ip], bases: [legal_obligation, consent], purposes: [fraud, support]}
      - {streams: [piinguin], fields: [value], bases: [contract], purposes: [piinguin]}
    create: [{streams: [logins, piinguin], fields: [ip, value]}]
    delete: [{streams: [logins], fields: [ip]}]
    erase: true
    audit: true
"""
ONE, OTHER, NONE = "1" * 64, "2" * 64, "3" * 64
WHY = ("--basis", "legal_obligation", "--purpose", "fraud", "--ticket", "FR-1")
PLANTED = "203.0.113.77"


@pytest.fixture(autouse=True)
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "vault-policy.yaml"
    file.write_text(POLICY)
    monkeypatch.setenv("PII_VAULT_POLICY", str(file))
    monkeypatch.setenv("PII_VAULT_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.delenv("PII_VAULT_ADDRESS", raising=False)
    return file


def entries() -> list[dict[str, Any]]:
    """Of the audit log."""
    opened = Installation(read_settings())
    try:
        return [json.loads(entry.text) for entry in opened.vault_store.entries()]
    finally:
        opened.close()


def create(pii: Pii, pseudonym: str, original: str, *options: str) -> None:
    result = pii("vault", "create", "logins", "ip", pseudonym, *options, stdin=original.encode())
    assert result.exit_code == 0, result.output


def test_what_is_kept_is_read_back_and_on_record(pii: Pii, storage: Path):
    create(pii, ONE, f"{PLANTED}\n")
    create(pii, OTHER, "line one\nline two")
    result = pii("vault", "read", "logins", "ip", ONE, OTHER, NONE, *WHY)
    assert result.exit_code == 0, result.output
    assert result.stdout == f'{ONE}\t{PLANTED}\n{OTHER}\t"line one\\nline two"\n'
    assert result.stderr.splitlines() == [
        "pii: what follows is personal data, and that you read it is on record",
        "pii: 1 pseudonym not in the vault",
    ]
    last = entries()[-1]
    assert (last["principal"], last["action"], last["ticket"]) == (OPERATOR, "read", "FR-1")
    assert last["counts"] == {"asked": 3, "found": 2, "withheld": 0}

    answer = json.loads(pii("vault", "read", "logins", "ip", ONE, NONE, *WHY, "--json").stdout)
    assert answer == [
        {"pseudonym": ONE, "originals": [PLANTED], "withheld": None, "error": None},
        {"pseudonym": NONE, "originals": [], "withheld": None, "error": None},
    ]
    assert json.loads(
        pii("vault", "create", "logins", "ip", ONE, "--json", stdin=PLANTED.encode()).stdout
    ) == {
        "new": 0,
        "known": 1,
    }


def test_many_pseudonyms_come_from_a_file_or_standard_input(pii: Pii, tmp_path: Path):
    create(pii, ONE, PLANTED)
    file = tmp_path / "pseudonyms"
    file.write_text(f"\n{ONE}\n" + "".join(f"{number:064x}\n" for number in range(120)))
    result = pii("vault", "read", "logins", "ip", "--from", file, *WHY)
    assert result.stdout == f"{ONE}\t{PLANTED}\n"
    assert "120 pseudonyms not in the vault" in result.stderr
    assert [entry["counts"]["asked"] for entry in entries() if entry["action"] == "read"] == [50, 50, 21]
    result = pii("vault", "read", "logins", "ip", "--from", "-", *WHY, stdin=f"{ONE}\n".encode())
    assert result.stdout == f"{ONE}\t{PLANTED}\n"
    for arguments in ((), (ONE, "--from", str(file))):
        assert pii("vault", "read", "logins", "ip", *arguments, *WHY).exit_code == 2


def test_what_was_tampered_with_is_said_after_the_rest(pii: Pii, storage: Path):
    create(pii, ONE, PLANTED)
    create(pii, OTHER, "198.51.100.7")
    opened = Installation(read_settings())
    url = opened.settings.vault_url
    opened.close()
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
        database.execute("UPDATE vault_records SET sealed = x'00' WHERE pseudonym = ?", (ONE.encode(),))
    result = pii("vault", "read", "logins", "ip", ONE, OTHER, *WHY)
    assert (result.exit_code, result.stdout) == (1, f"{OTHER}\t198.51.100.7\n")
    assert result.stderr.splitlines()[-1] == (
        "pii: what the vault has of 1 pseudonym was altered in its database, or moved to another row"
    )
    result = pii("vault", "read", "logins", "ip", ONE, *WHY, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == [
        {"pseudonym": ONE, "originals": [], "withheld": "tampered", "error": None}
    ]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (("--basis", "contract", "--purpose", "fraud"), "lawful basis"),
        (("--basis", "legal_obligation", "--purpose", "fraud"), "names a ticket"),
        (("--basis", "legal_obligation", "--purpose", "fraud", "--ticket", "jane"), "ticket is not written"),
        (("--basis", "legal_obligation", "--purpose", "curiosity"), "for this purpose"),
    ],
)
def test_a_read_that_is_refused_says_why_in_one_line_and_is_on_record(
    pii: Pii, reason: tuple[str, ...], told: str
):
    create(pii, ONE, PLANTED)
    result = pii("vault", "read", "logins", "ip", ONE, *reason)
    assert (result.exit_code, result.stdout) == (1, "")
    assert told in result.stderr and len(result.stderr.splitlines()) == 1
    assert (entries()[-1]["action"], entries()[-1]["refused"]) == ("refused", "read")
    assert "jane" not in json.dumps(entries()) and "curiosity" not in json.dumps(entries())


def test_a_refusal_is_told_to_programs_too(pii: Pii, tmp_path: Path, policy: Path):
    """Of each pseudonym that it is about, beside those that were answered before; else by exit code, and
    nothing is printed that could be taken for an answer."""
    create(pii, ONE, PLANTED)
    result = pii("vault", "read", "logins", "ip", ONE, OTHER, "--json", *WHY[:-2])
    problem = "a read for this purpose names a ticket"
    assert (result.exit_code, result.stderr) == (1, f"pii: {problem}\n")
    assert json.loads(result.stdout) == [
        {"pseudonym": name, "originals": [], "withheld": None, "error": problem} for name in (ONE, OTHER)
    ]
    policy.write_text(POLICY.replace("    erase: true", "    limits: {records_per_day: 60}"))
    file = tmp_path / "pseudonyms"
    file.write_text("\n".join([ONE, *(f"{number:064x}" for number in range(69))]))
    result = pii("vault", "read", "logins", "ip", "--from", file, "--json", *WHY)
    told = json.loads(result.stdout)
    assert result.exit_code == 1 and "no more than 60 records" in result.stderr
    assert told[0]["originals"] == [PLANTED]
    assert [entry["error"] is None for entry in told] == [True] * 50 + [False] * 20

    for arguments in (("read", "logins", "ip"), ("delete", "logins", "ip", "--yes")):
        result = pii("vault", *arguments, "--json", *(WHY if arguments[0] == "read" else ()))
        assert (result.exit_code, result.stdout) == (2, "")
    refused = {
        ("create", "logins", "device_id", ONE): b"planted",
        ("delete", "logins", "device_id", ONE, "--yes"): None,
        ("erase", "--yes"): b"customer:u-1",
        ("import", "dynamodb://"): None,
    }
    for arguments, stdin in refused.items():
        result = pii("vault", *arguments, "--json", stdin=stdin)
        assert result.exit_code in (1, 2) and result.stdout == "", arguments
        assert result.stderr.startswith("pii: ") and "planted" not in result.output
    file.write_text("\n".join([*(f"{number:064x}" for number in range(48)), ONE, ONE, "no pseudonym"]))
    result = pii("vault", "delete", "logins", "ip", "--from", file, "--yes", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "deleted": 1,
        "error": "a stream, field or pseudonym is not written as one",
    }
    policy.write_text(POLICY.replace("audit: true", "audit: false"))
    result = pii("vault", "audit", "list", "--json")
    assert (result.exit_code, result.stdout) == (1, "") and "`audit`" in result.stderr


def test_without_a_terminal_it_says_what_is_missing(pii: Pii):
    result = pii("vault", "read", "logins", "ip", ONE, "--purpose", "fraud")
    assert result.exit_code == 2
    assert "--basis missing" in result.stderr and "legal_obligation for fraud or support" in result.stderr
    assert "--basis and --purpose missing" in pii("vault", "read", "logins", "ip", ONE).stderr
    result = pii("vault", "delete", "logins", "ip", ONE)
    assert result.exit_code == 2 and "--yes missing" in result.stderr
    result = pii("vault", "erase", stdin=b"customer:u-1\n")
    assert result.exit_code == 2 and "--yes missing" in result.stderr
    assert entries() == []


def test_what_is_no_text_is_refused_in_one_line_of_ours(pii: Pii, tmp_path: Path):
    file = tmp_path / "no-text"
    file.write_bytes(b"\xff\xfe\n")
    told = pii("vault", "read", "logins", "ip", "--from", file, *WHY)
    assert (told.exit_code, told.stderr) == (2, "pii: the file of pseudonyms is no UTF-8\n")
    told = pii("vault", "audit", "verify", file)
    assert (told.exit_code, told.stderr) == (1, "pii: the export is no UTF-8, so it is none\n")
    file.write_text("[" * 100_000)
    told = pii("vault", "audit", "verify", file)
    assert (told.exit_code, told.stderr) == (1, "pii: audit entry 1: its line is none of an export\n")
    assert pii("vault", "audit", "export", "--first", str(2**63)).exit_code == 2
    told = pii("vault", "create", "logins", "ip", ONE, stdin=b"")
    assert (told.exit_code, told.stderr) == (2, "pii: standard input has no original\n")
    assert entries() == []


def test_what_a_person_does_not_consent_to_is_counted(pii: Pii):
    create(pii, ONE, f"customer:u-1\n{PLANTED}", "--of-person")
    result = pii("vault", "read", "logins", "ip", ONE, "--basis", "consent", "--purpose", "support")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "pii: 1 pseudonym withheld: no consent\n"


def test_records_are_deleted_and_people_erased(pii: Pii):
    create(pii, ONE, PLANTED)
    assert pii("vault", "delete", "logins", "ip", ONE, NONE, "--yes").stdout == "1 record deleted\n"
    create(pii, ONE, f"customer:u-1\n{PLANTED}", "--of-person")
    create(pii, OTHER, "ann@planted.example")
    person = b"customer:u-1\nann@planted.example\n"
    assert json.loads(pii("vault", "erase", "--yes", "--json", stdin=person).stdout) == {
        "deleted": 2,
        "error": None,
    }
    result = pii("vault", "read", "logins", "ip", ONE, OTHER, *WHY)
    assert result.stdout == "" and "2 pseudonyms not in the vault" in result.stderr
    assert "planted" not in json.dumps(entries()) and "u-1" not in json.dumps(entries())


@pytest.mark.parametrize("person", ["customer", "customer:", ":planted", "", "planted person"])
def test_who_is_nobody_cannot_be_erased_and_is_not_quoted(pii: Pii, person: str):
    result = pii("vault", "erase", "--yes", stdin=person.encode())
    assert result.exit_code == 2 and "NAMESPACE:ID" in result.stderr
    assert "planted" not in result.output
    assert pii("vault", "erase", "--yes", stdin=b"\xff:\xfe").exit_code == 2


def test_it_asks_on_a_terminal_with_the_choices_that_there_are(pii: Pii):
    create(pii, ONE, PLANTED)
    shown = on_a_terminal(
        ["read", "logins", "ip", ONE],
        [
            ("Lawful basis (legal_obligation, consent):", "legal_obligation"),
            ("Purpose (fraud, support):", "fraud"),
            ("Ticket:", "FR-2"),
        ],
    )
    assert f"{ONE}\t{PLANTED}" in shown
    assert entries()[-1]["ticket"] == "FR-2"
    shown = on_a_terminal(["create", "logins", "ip", OTHER], [("Original:", "typed")])
    assert "kept" in shown
    shown = on_a_terminal(["delete", "logins", "ip", OTHER], [("cannot be had back? [y/N]:", "n")])
    assert "Aborted" in shown
    shown = on_a_terminal(["delete", "logins", "ip", OTHER], [("cannot be had back? [y/N]:", "y")])
    assert "1 record deleted" in shown
    shown = on_a_terminal(
        ["erase"],
        [
            ("Person (NAMESPACE:ID):", "customer:nobody"),
            ("Known by (nothing more: Enter)", PLANTED),
            ("Known by (nothing more: Enter)", ""),
            ("cannot be had back? [y/N]:", "y"),
        ],
    )
    assert "1 record deleted" in shown


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_whoever_leaves_a_question_is_told_nothing_and_nothing_is_on_record(pii: Pii, key: str):
    create(pii, ONE, PLANTED)
    before = entries()
    basis, purpose = "Lawful basis (legal_obligation, consent):", "Purpose (fraud, support):"
    for dialogue in (
        [(basis, key)],
        [(basis, "legal_obligation\n"), (purpose, "fraud\n"), ("Ticket:", key)],
    ):
        shown, exit_code = session(["read", "logins", "ip", ONE], dialogue)
        assert exit_code == 1 and shown.rstrip().endswith("Aborted!"), shown
        assert PLANTED not in shown and "Traceback" not in shown
    assert entries() == before
    shown, exit_code = session(["delete", "logins", "ip", ONE], [("cannot be had back? [y/N]:", key)])
    assert exit_code == 1 and "Aborted!" in shown
    assert entries() == before


def test_wrong_answers_are_asked_for_again_and_what_is_refused_says_why(pii: Pii):
    create(pii, ONE, PLANTED)
    basis, purpose = "Lawful basis (legal_obligation, consent):", "Purpose (fraud, support):"
    shown, exit_code = session(
        ["read", "logins", "ip", ONE],
        [
            (basis, "curiosity\n"),
            (basis, "\n"),
            (basis, "legal_obligation\n"),
            (purpose, "jane\n"),
            (purpose, "fraud\n"),
            ("Ticket:", "jane\n"),
        ],
    )
    assert exit_code == 1 and "the ticket is not written as the policy says" in shown
    assert PLANTED not in shown
    last = entries()[-1]
    assert (last["refused"], last["why"]) == ("read", "denied")
    assert "jane" not in json.dumps(entries()) and "curiosity" not in json.dumps(entries())


def test_a_service_has_the_policy_so_a_ticket_is_asked_for_as_well(
    pii: Pii, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "service"
    folder.mkdir()
    with vault_server(folder, POLICY) as server:
        monkeypatch.setenv("PII_VAULT_TOKEN_FILE", str(folder / "token"))
        monkeypatch.setenv("PII_VAULT_ADDRESS", server.address)
        create(pii, ONE, PLANTED)
        read = ["read", "logins", "ip", ONE, "--basis", "legal_obligation"]
        ticket = "Ticket (none: Enter):"
        shown, exit_code = session(read, [("Purpose:", "fraud\n"), (ticket, "FR-1\n")])
        assert exit_code == 0 and f"{ONE}\t{PLANTED}" in shown
        shown, exit_code = session(read, [("Purpose:", "fraud\n"), (ticket, "\n")])
        assert exit_code == 1 and "names a ticket" in shown
        shown, exit_code = session([*read, "--purpose", "fraud"], [])
        assert exit_code == 1 and "names a ticket" in shown, "it asks where something has to be asked"


def on_a_terminal(arguments: list[str], dialogue: list[tuple[str, str]]) -> str:
    """What `pii vault …` shows on a terminal where each question gets its answer."""
    return session(arguments, [(question, f"{answer}\n") for question, answer in dialogue])[0]


def session(arguments: list[str], dialogue: list[tuple[str, str]]) -> tuple[str, int]:
    """The same, and the exit code; answers are the keys that are pressed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pii_pipeline.cli", "vault", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "TERM": "dumb"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C reaches it
    )
    os.close(theirs)
    shown = ""

    def read_until(question: str | None) -> None:
        nonlocal shown
        deadline = time.monotonic() + 60
        while question is None or question not in shown:
            assert select.select([ours], [], [], max(0, deadline - time.monotonic()))[0], shown
            try:
                data = os.read(ours, 4096)
            except OSError:  # how Linux says that nobody writes there any more
                data = b""
            if not data:
                break
            shown += data.decode().replace("\r\n", "\n")
        assert question is None or question in shown, shown

    try:
        for question, answer in dialogue:
            read_until(question)
            shown = shown.partition(question)[2]
            if answer < " ":  # Python misses an interrupt at the moment in which it begins to wait for keys
                time.sleep(0.5)
            os.write(ours, answer.encode())
        read_until(None)
        exit_code = process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return shown, exit_code


def test_no_original_is_in_the_list_of_processes():
    """There is no argument or option for one, nor for a person."""
    from pii_pipeline.cli.vault import command

    names = {
        name: [parameter.name for parameter in command.commands[name].params] for name in ("create", "erase")
    }
    assert names["create"] == ["stream", "field", "pseudonym", "of_person", "address", "as_json"]
    assert names["erase"] == ["yes", "address", "as_json"]


def test_the_audit_log_is_listed_verified_and_exported(pii: Pii, tmp_path: Path):
    assert pii("vault", "audit", "list").stdout == "Nothing is on record yet.\n"
    create(pii, ONE, PLANTED)
    pii("vault", "read", "logins", "ip", ONE, *WHY)
    pii("vault", "read", "logins", "ip", ONE, "--basis", "contract", "--purpose", "fraud")
    listed = json.loads(pii("vault", "audit", "list", "--json").stdout)
    assert [entry["action"] for entry in listed] == ["policy", "create", "read", "refused"]
    shown = pii("vault", "audit", "list", "--last", 2).stdout
    assert "legal_obligation fraud FR-1" in shown and "refused: read (denied)" in shown
    assert "create" not in shown and PLANTED not in shown
    verified = json.loads(pii("vault", "audit", "verify", "--json").stdout)
    assert verified["entries"] == 4 and verified["broken"] is None
    assert verified["unanchored"] == 4 - (verified["last_anchor"] or {"number": 0})["number"]

    exported = pii("vault", "audit", "export", "--first", 2)
    assert len(exported.stdout.splitlines()) == 4 and PLANTED not in exported.stdout
    file = tmp_path / "audit.jsonl"
    file.write_text(exported.stdout)
    assert pii("vault", "audit", "verify", file).stdout == "4 entries, each behind the one before\n"
    file.write_text(exported.stdout.replace("operator", "somebody", 1))
    result = pii("vault", "audit", "verify", file)
    assert result.exit_code == 1 and "audit entry 2" in result.stderr
    result = pii("vault", "audit", "verify", file, "--json")
    assert result.exit_code == 1 and json.loads(result.stdout)["broken"]["entry"] == 2


def test_an_edited_log_is_found(pii: Pii, tmp_path: Path):
    import sqlite3

    create(pii, ONE, PLANTED)
    create(pii, OTHER, PLANTED)
    with sqlite3.connect(tmp_path / "vault.db") as database:
        database.execute(
            "UPDATE vault_audit SET text = replace(text, 'operator', 'nobody') WHERE sequence = 2"
        )
    result = pii("vault", "audit", "verify")
    assert result.exit_code == 1
    assert "1 entry as written" in result.stdout and "audit entry 2" in result.stderr
    assert json.loads(pii("vault", "audit", "verify", "--json").stdout)["broken"]["entry"] == 2


def test_who_may_not_see_the_log_is_refused_on_record(pii: Pii, policy: Path):
    create(pii, ONE, PLANTED)
    policy.write_text(POLICY.replace("audit: true", "audit: false"))
    for command in ("list", "export"):
        result = pii("vault", "audit", command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "`audit`" in result.stderr
        assert entries()[-1]["refused"] == "export"


def test_a_token_is_made_for_the_policy(pii: Pii, policy: Path):
    made = json.loads(pii("vault", "token", "fraud-desk", "--json").stdout)
    assert made["token_sha256"] == token_sha256(made["token"]) and len(made["token"]) == 64
    policy.write_text(f"{POLICY}  fraud-desk: {{token_sha256: {made['token_sha256']}, erase: true}}\n")
    opened = Installation(read_settings())
    assert opened.vault_policy.authenticate_token(made["token"]) == "fraud-desk"
    opened.close()
    shown = pii("vault", "token", "fraud-desk").stdout
    assert "token_sha256: " in shown and made["token"] not in shown
    for name in ("Jane Doe", "pipeline", "piinguin", "-"):
        assert pii("vault", "token", name).exit_code == 2


def test_the_policy_is_checked_and_shown(pii: Pii, policy: Path):
    result = pii("vault", "policy")
    assert result.exit_code == 0
    assert "operator" in result.stdout and "may read without a limit" in result.stdout
    answer = json.loads(pii("vault", "policy", "--json").stdout)
    assert answer["errors"] == []
    assert {
        "principal": "operator",
        "may": "read",
        "streams": ["piinguin"],
        "fields": ["value"],
        "bases": ["contract"],
        "purposes": ["piinguin"],
        "limits": {},
    } in answer["rights"]
    policy.write_text(POLICY.replace("fields: [ip]", "fields: [ipp]").replace("[logins]", "[login]", 1))
    result = pii("vault", "policy")
    assert result.exit_code == 0
    assert "did you mean `logins`?" in result.stdout and "did you mean `ip`?" in result.stdout
    policy.write_text(POLICY.replace("purposes: [fraud, support]", "purposes: [frau]"))
    result = pii("vault", "policy")
    assert result.exit_code == 1
    assert f"error: {policy}:9: " in result.stdout and "`fraud`" in result.stdout
    assert pii("vault", "read", "logins", "ip", ONE, *WHY).exit_code == 2
    policy.unlink()
    assert pii("vault", "policy").exit_code == 2


def test_status_counts(pii: Pii):
    assert json.loads(pii("vault", "status", "--json").stdout) == {
        "records": 0,
        "audit_entries": 0,
        "last_anchor": None,
    }
    create(pii, ONE, PLANTED)
    status = json.loads(pii("vault", "status", "--json").stdout)
    assert (status["records"], status["audit_entries"]) == (1, 2)
    assert pii("vault", "status").stdout.startswith("1 record\n2 entries in the audit log\nlast anchor: ")


@pytest.fixture
def piinguins(aws: boto3.Session) -> Iterator[Any]:
    """Piinguin's table in DynamoDB."""
    dynamodb: Any = aws.resource("dynamodb")
    yield dynamodb.create_table(
        TableName="piinguin",
        KeySchema=[{"AttributeName": "modifiedValue", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "modifiedValue", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def test_piinguins_table_is_imported_once(pii: Pii, piinguins: Any):
    with piinguins.batch_writer() as batch:
        for number in range(1_203):
            batch.put_item(Item={"modifiedValue": f"m-{number}", "originalValue": f"planted-{number}"})
    result = pii("vault", "import", "dynamodb://piinguin")
    assert result.exit_code == 0, result.output
    assert result.stdout == "1,203 records imported, 0 known already\n"
    assert [entry["counts"] for entry in entries() if entry["action"] == "import"] == [
        {"asked": 1_000},
        {"asked": 203},
    ]
    assert "planted" not in json.dumps(entries())
    why = ("--basis", "contract", "--purpose", "piinguin")
    assert pii("vault", "read", "piinguin", "value", "m-7", *why).stdout == "m-7\tplanted-7\n"

    piinguins.put_item(Item={"modifiedValue": "another", "originalValue": "planted"})
    piinguins.put_item(Item={"modifiedValue": "none"})
    piinguins.put_item(Item={"modifiedValue": "long", "originalValue": "planted" * 10_000})
    again = pii("vault", "import", "dynamodb://piinguin", "--json")
    assert again.exit_code == 1
    assert json.loads(again.stdout) == {"imported": 1, "known": 1_203, "malformed": 2}
    assert "2 items passed over" in again.stderr and "planted" not in again.output


def test_what_is_no_table_of_piinguins_is_refused(pii: Pii, aws: boto3.Session):
    assert pii("vault", "import", "piinguin").exit_code == 2
    result = pii("vault", "import", "dynamodb://piinguin")
    assert result.exit_code == 2 and "there is none" in result.stderr


def test_a_service_is_asked_in_its_place(pii: Pii, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "service"
    folder.mkdir()
    with vault_server(folder, POLICY) as server:
        monkeypatch.setenv("PII_VAULT_TOKEN_FILE", str(folder / "token"))
        monkeypatch.setenv("PII_VAULT_ADDRESS", server.address)
        create(pii, ONE, f"customer:u-1\n{PLANTED}", "--of-person")
        assert pii("vault", "read", "logins", "ip", ONE, *WHY).stdout == f"{ONE}\t{PLANTED}\n"
        refused = pii("vault", "read", "logins", "ip", ONE, *WHY[:-2])
        assert (refused.exit_code, refused.stdout) == (1, "") and "names a ticket" in refused.stderr
        assert pii("vault", "erase", "--yes", stdin=b"customer:u-1").stdout == "1 record deleted\n"
        create(pii, ONE, PLANTED)
        assert pii("vault", "delete", "logins", "ip", ONE, "--yes").stdout == "1 record deleted\n"
        monkeypatch.setenv("PII_VAULT_TOKEN", "nobody's")
        refused = pii("vault", "read", "logins", "ip", ONE, *WHY)
        assert refused.exit_code == 1 and "token" in refused.stderr, refused.output
        monkeypatch.delenv("PII_VAULT_TOKEN")
        monkeypatch.delenv("PII_VAULT_ADDRESS")
        assert pii("vault", "read", "logins", "ip", ONE, *WHY, "--address", "somewhere").exit_code == 2
        assert "planted" not in server.log and PLANTED not in server.log
    assert not (tmp_path / "vault.db").exists()
    result = pii("vault", "read", "logins", "ip", ONE, *WHY, "--address", server.address)
    assert result.exit_code == 1 and "cannot be asked" in result.stderr and "Traceback" not in result.output
