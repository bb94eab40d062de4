"""Piinguin's protocol, spoken to a running `pii vault serve` by a client made from its facts alone."""

from __future__ import annotations

import sqlite3

import grpc
import pytest

from pii_pipeline_tests.vault_server import Piinguin, VaultServer, vault_server

POLICY = """
purposes:
  fraud: {description: Who is behind it., ticket: optional}
principals:
  operator:
    create: [{streams: [logins], fields: [ip]}]
"""
OBLIGATION = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with vault_server(tmp_path_factory.mktemp("vault"), POLICY) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: VaultServer):
    with grpc.insecure_channel(server.address) as channel:
        yield Piinguin(channel)


def test_a_record_is_created_read_and_deleted(client: Piinguin):
    assert str(client.create(client.creation("m-1", "jane@planted.example")).status) == _status("OK", True)
    told = client.read(client.look("m-1"))
    assert (told.piiRecord.modifiedValue, told.piiRecord.originalValue) == ("m-1", "jane@planted.example")
    assert str(told.status) == _status("OK", True)
    assert str(client.delete(client.deletion("m-1")).status) == _status("OK", True)
    gone = client.read(client.look("m-1"))
    assert str(gone.status) == _status("Record not found", False) and not gone.HasField("piiRecord")


def test_what_is_not_there_is_deleted_as_well(client: Piinguin):
    assert str(client.delete(client.deletion("never there")).status) == _status("OK", True)


def test_a_create_without_a_record_is_no_success(client: Piinguin):
    reply = client.create(client.protocol.CreatePiiRecordRequest())
    assert str(reply.status) == _status("No record in request", False)


def test_another_original_of_a_key_is_kept_beside_the_first_and_none_is_echoed(
    client: Piinguin, server: VaultServer
):
    for original in ("first@planted.example", "second@planted.example"):
        reply = client.create(client.creation("twice", original))
        assert str(reply) == 'status {\n  message: "OK"\n  isSuccess: true\n}\n'
    assert client.read(client.look("twice")).piiRecord.originalValue.endswith("@planted.example")
    with sqlite3.connect(server.folder / "vault.db") as database:
        query = "SELECT count(*) FROM vault_records WHERE CAST(pseudonym AS TEXT) = 'twice'"
        (count,) = database.execute(query).fetchone()
    assert count == 2
    client.delete(client.deletion("twice"))
    assert client.read(client.look("twice")).status.message == "Record not found"


def test_a_record_that_was_altered_is_a_status_without_a_value_and_keeps_nobody_from_others(
    client: Piinguin, server: VaultServer
):
    for name in ("whole", "altered"):
        client.create(client.creation(name, f"{name}@planted.example"))
    with sqlite3.connect(server.folder / "vault.db", timeout=60) as database:
        database.execute("UPDATE vault_records SET sealed = x'01' WHERE pseudonym = ?", (b"altered",))
    altered = client.read(client.look("altered"))
    assert str(altered.status) == _status("The record was altered in the database", False)
    assert not altered.HasField("piiRecord")
    assert client.read(client.look("whole")).piiRecord.originalValue == "whole@planted.example"


@pytest.mark.parametrize("basis", [1, 2, 3, 4, 5])
def test_every_explicit_basis_is_allowed(client: Piinguin, basis: int):
    client.create(client.creation("any basis", "o@planted.example"))
    assert client.read(client.look("any basis", basis)).piiRecord.originalValue == "o@planted.example"


@pytest.mark.parametrize("basis", [0, 6, 17])
def test_consent_which_an_unset_basis_is_too_and_what_is_none_are_refused(client: Piinguin, basis: int):
    client.create(client.creation("no basis", "o@planted.example"))
    told = client.read(client.look("no basis", basis))
    assert not told.HasField("piiRecord") and not told.status.isSuccess
    assert told.status.message == "a read names its lawful basis"


def test_metadata_makes_the_basis_explicit(client: Piinguin):
    client.create(client.creation("by header", "o@planted.example"))
    metadata = (("x-lawful-basis", "legal_obligation"),)
    told = client.read(client.look("by header", 0), metadata=metadata)
    assert told.status.isSuccess and told.piiRecord.originalValue == "o@planted.example"


@pytest.mark.parametrize(
    ("header", "value", "problem"),
    [
        ("x-lawful-basis", "because", "the metadata `x-lawful-basis` is none of: consent, contract, "),
        ("x-lawful-basis", "consent", "the policy does not grant reads of such a field on this lawful basis"),
        (
            "x-purpose",
            "fraud",
            "the policy does not grant reads of such a field on this basis for this purpose",
        ),
    ],
)
def test_metadata_cannot_widen_what_the_policy_grants(client: Piinguin, header, value, problem):
    client.create(client.creation("by header", "o@planted.example"))
    basis = 0 if header == "x-lawful-basis" else OBLIGATION
    told = client.read(client.look("by header", basis), metadata=((header, value),))
    assert not told.status.isSuccess and not told.HasField("piiRecord")
    assert told.status.message.startswith(problem)


def test_streamed_replies_are_one_for_each_request_in_their_order(client: Piinguin):
    count = 5_000
    creations = (client.creation(f"s-{number}", f"{number}@planted.example") for number in range(count))
    created = list(client.calls.CreatePiiRecords(creations))
    assert len(created) == count and all(str(reply.status) == _status("OK", True) for reply in created)
    # Each third is unknown, and each fifth is asked for without a basis.
    looks = (
        client.look(f"s-{number}" if number % 3 else f"unknown-{number}", OBLIGATION if number % 5 else 0)
        for number in range(count)
    )
    read = list(client.calls.ReadPiiRecords(looks))
    assert len(read) == count
    for number, told in enumerate(read):
        if number % 5 == 0:
            assert told.status.message == "a read names its lawful basis", number
        elif number % 3 == 0:
            assert told.status.message == "Record not found", number
        else:
            assert told.piiRecord.modifiedValue == f"s-{number}", number
            assert told.piiRecord.originalValue == f"{number}@planted.example", number
    deletions = (client.deletion(f"s-{number}") for number in range(count))
    assert sum(reply.status.isSuccess for reply in client.calls.DeletePiiRecords(deletions)) == count
    assert client.read(client.look("s-1")).status.message == "Record not found"


def test_in_a_stream_what_cannot_be_done_hinders_nothing_else(client: Piinguin):
    requests = [
        client.creation("good-1", "a@planted.example"),
        client.protocol.CreatePiiRecordRequest(),
        client.creation("", "b@planted.example"),
        client.creation("too-long", "x" * 65_537),
        b"\xff\xff\xff",
        client.creation("good-2", "c@planted.example"),
    ]
    statuses = [reply.status for reply in client.calls.CreatePiiRecords(iter(requests))]
    assert [status.isSuccess for status in statuses] == [True, False, False, False, False, True]
    assert statuses[1].message == "No record in request"
    assert statuses[3].message == "an original is longer than 65536 bytes, or is no text"
    assert statuses[4].message == "this is no message of the protocol, or its text is no UTF-8"
    assert client.read(client.look("good-2")).piiRecord.originalValue == "c@planted.example"


def test_modified_values_and_originals_may_be_any_text(client: Piinguin):
    for text in ("\0", "a\0b", "ünï — 漢字 🐧", "'; DROP TABLE record; --", "\u202e", "x" * 1_024):
        assert client.create(client.creation(text, f"{text}@planted")).status.isSuccess
        assert client.read(client.look(text)).piiRecord.originalValue == f"{text}@planted"
    refused = client.create(client.creation("x" * 1_025, "o")).status
    assert not refused.isSuccess and "x" * 9 not in refused.message


def test_a_token_that_is_nobodys_is_refused_although_none_is_needed(client: Piinguin):
    with pytest.raises(grpc.RpcError) as refused:
        client.read(client.look("m-1"), metadata=(("authorization", "Bearer wrong"),))
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED  # pyright: ignore


def test_a_token_makes_its_holder_the_principal(client: Piinguin, server: VaultServer):
    metadata = (("authorization", f"Bearer {server.token}"),)
    told = client.read(client.look("m-1"), metadata=metadata)
    assert told.status.message == "the policy does not grant reads of such a field"


def test_no_original_is_in_the_log_or_in_clear_in_any_file(client: Piinguin, server: VaultServer):
    client.create(client.creation("planted", "needle@planted.example"))
    client.read(client.look("planted"))
    files = [path for path in server.folder.rglob("*") if path.is_file()]
    assert {"log", "vault.db", "pii.db"} <= {path.name for path in files}
    for path in files:
        assert b"planted.example" not in path.read_bytes(), path.name


def _status(message: str, success: bool) -> str:
    return f'message: "{message}"\n' + ("isSuccess: true\n" if success else "")


def test_the_policy_can_say_what_an_unset_basis_stands_for(tmp_path):
    policy = "principals: {piinguin: {unset_basis: contract}}"
    with vault_server(tmp_path, policy) as server, grpc.insecure_channel(server.address) as channel:
        client = Piinguin(channel)
        client.create(client.creation("m", "o@planted.example"))
        assert client.read(client.look("m", 0)).piiRecord.originalValue == "o@planted.example"
        assert server.end() == 0
