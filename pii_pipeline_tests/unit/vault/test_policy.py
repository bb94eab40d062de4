"""What the policy allows, what its file may say, and what of a caller's words may stand in the audit log."""

import hashlib
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from pii_pipeline.contracts.errors import ConfigurationError
from pii_pipeline.settings import project_root
from pii_pipeline.vault.audit import Action
from pii_pipeline.vault.model import LawfulBasis, Reason, RecordKey
from pii_pipeline.vault.policy import Policy, load_policy, token_sha256
from pii_pipeline_tests.unit.vault.examples import KNOWN, POLICY, ip, make_policy, pseudonym

OBLIGATION, CONTRACT, CONSENT = LawfulBasis.LEGAL_OBLIGATION, LawfulBasis.CONTRACT, LawfulBasis.CONSENT
DEVICE = RecordKey("logins", "device_id", pseudonym(1))
WIRE = RecordKey("piinguin", "value", "anything")


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return make_policy(tmp_path)


def read(policy: Policy, who: str, reason: Reason | None, *keys: RecordKey) -> str | None:
    return policy.refusal(who, Action.READ, keys or (ip(1),), reason)


def test_a_read_is_allowed_where_field_basis_purpose_and_ticket_all_fit(policy):
    assert read(policy, "operator", Reason(OBLIGATION, "fraud", "ABC-1")) is None
    assert read(policy, "operator", Reason(CONTRACT, "support")) is None
    assert read(policy, "operator", Reason(CONTRACT, "support", "ABC-1"), ip(1), DEVICE) is None
    assert read(policy, "operator", Reason(CONSENT, "support")) is None


@pytest.mark.parametrize(
    ("who", "reason", "keys", "said"),
    [
        ("nobody", Reason(OBLIGATION, "fraud", "ABC-1"), [ip(1)], "does not know this principal"),
        ("auditor", Reason(OBLIGATION, "fraud", "ABC-1"), [ip(1)], "reads of such a field"),
        ("operator", None, [ip(1)], "names its lawful basis"),
        ("operator", Reason(None, "fraud", "ABC-1"), [ip(1)], "names its lawful basis"),
        (
            "operator",
            Reason(OBLIGATION, "fraud", "ABC-1"),
            [RecordKey("logins", "user_id", "")],
            "such a field",
        ),
        ("operator", Reason(OBLIGATION, "fraud", "ABC-1"), [RecordKey("webshop", "ip", "")], "such a field"),
        ("operator", Reason(OBLIGATION, "fraud", "ABC-1"), [ip(1), DEVICE], "on this lawful basis"),
        ("operator", Reason(LawfulBasis.PUBLIC_TASK, "fraud", "ABC-1"), [ip(1)], "on this lawful basis"),
        ("operator", Reason(CONTRACT, "fraud", "ABC-1"), [ip(1)], "on this basis for this purpose"),
        ("operator", Reason(OBLIGATION, "support"), [ip(1)], "on this basis for this purpose"),
        ("operator", Reason(CONTRACT, "Jane Doe"), [ip(1)], "on this basis for this purpose"),
        ("operator", Reason(OBLIGATION, "fraud"), [ip(1)], "names a ticket"),
        ("operator", Reason(OBLIGATION, "fraud", "Jane Doe"), [ip(1)], "not written as the policy says"),
        ("operator", Reason(OBLIGATION, "fraud", "ABC-1 "), [ip(1)], "not written as the policy says"),
        ("operator", Reason(OBLIGATION, "fraud", "ABC-1\n"), [ip(1)], "not written as the policy says"),
        ("operator", Reason(CONTRACT, "support", "x"), [ip(1)], "not written as the policy says"),
        ("everywhere", Reason(CONTRACT, "support"), [WIRE], "such a field"),
    ],
)
def test_what_does_not_fit_is_refused_and_no_value_is_told(policy, who, reason, keys, said):
    refusal = read(policy, who, reason, *keys)
    assert refusal is not None and said in refusal
    assert "Jane" not in refusal


def test_every_other_action_is_refused_unless_it_is_granted(policy):
    def may(who: str, action: Action, *keys: RecordKey) -> bool:
        return policy.refusal(who, action, keys, None) is None

    assert may("operator", Action.CREATE, ip(1), WIRE) and may("operator", Action.IMPORT, WIRE)
    assert not may("operator", Action.CREATE, RecordKey("webshop", "ip", ""))
    assert may("operator", Action.DELETE, ip(1)) and not may("operator", Action.DELETE, DEVICE)
    assert may("everywhere", Action.CREATE, RecordKey("any", "thing", ""))
    assert not may("everywhere", Action.CREATE, WIRE), "the reserved stream has to be named"
    assert not may("everywhere", Action.DELETE, ip(1))
    for action in (Action.CREATE, Action.DELETE):
        assert not may("auditor", action) and may("operator", action), "of nothing too"
    granted = {Action.ERASE: {"operator"}, Action.EXPORT: {"operator", "auditor"}, Action.LOAD: {"pipeline"}}
    for action, allowed in granted.items():
        everybody = ("operator", "auditor", "everywhere", "slow", "pipeline", "piinguin", "nobody")
        assert {who for who in everybody if may(who, action)} == allowed
    for action in (Action.POLICY, Action.REFUSED):
        assert not may("operator", action, ip(1)), "nobody is granted what no grant is for"


def test_without_a_file_only_the_main_job_and_piinguins_wire_may_anything(tmp_path):
    policy = load_policy(tmp_path / "vault-policy.yaml")
    assert policy.refusal("pipeline", Action.LOAD, (), None) is None
    assert read(policy, "pipeline", Reason(OBLIGATION, "verification")) is None
    assert read(policy, "pipeline", Reason(CONTRACT, "verification")) is not None
    assert read(policy, "pipeline", Reason(OBLIGATION, "verification"), WIRE) is None
    assert policy.refusal("pipeline", Action.CREATE, (ip(1),), None) is not None
    for basis in LawfulBasis:
        assert (read(policy, "piinguin", Reason(basis, "piinguin"), WIRE) is None) == (basis != CONSENT)
    assert policy.refusal("piinguin", Action.CREATE, (WIRE,), None) is None
    assert policy.refusal("piinguin", Action.DELETE, (WIRE,), None) is None
    for action in (Action.CREATE, Action.DELETE, Action.ERASE, Action.EXPORT, Action.LOAD):
        assert policy.refusal("piinguin", action, (ip(1),), None) is not None
    assert read(policy, "operator", Reason(CONTRACT, "verification")) is not None
    assert policy.basis_if_unset("piinguin") is None


def test_what_the_file_says_of_them_takes_the_place_of_what_is_built_in_key_by_key(tmp_path):
    text = "principals: {piinguin: {unset_basis: contract, delete: []}, pipeline: {load: false}}"
    policy = make_policy(tmp_path, text)
    assert policy.basis_if_unset("piinguin") == CONTRACT and policy.basis_if_unset("nobody") is None
    assert policy.refusal("piinguin", Action.DELETE, (WIRE,), None) is not None
    assert policy.refusal("piinguin", Action.CREATE, (WIRE,), None) is None
    assert policy.refusal("pipeline", Action.LOAD, (), None) is not None
    assert read(policy, "pipeline", Reason(OBLIGATION, "verification")) is None


def test_consent_is_wanted_in_numbers_and_a_purpose_without_them_cannot_rest_on_it(tmp_path):
    text = POLICY.replace(
        "ticket: required}", "ticket: required}\n  news: {description: N., consent: [1, 3]}"
    )
    policy = make_policy(
        tmp_path, text.replace("bases: [legal_obligation]", "bases: [legal_obligation, consent]")
    )
    assert policy.wanted_consent(Reason(CONSENT, "support")) == {2}
    assert policy.wanted_consent(Reason(CONSENT, "news")) == {1, 3}
    assert (
        policy.wanted_consent(Reason(CONSENT, "fraud"))
        == policy.wanted_consent(Reason(CONSENT, "x"))
        == set()
    )
    refused = read(policy, "operator", Reason(CONSENT, "fraud", "ABC-1"))
    assert refused == "no consent is for this purpose, so a read for it names another lawful basis"


def test_limits_hold_by_the_minute_and_the_day_of_utc_and_for_reads(policy):
    at = datetime(2026, 11, 23, 0, 30, tzinfo=timezone(timedelta(hours=1)))
    assert policy.allowances("slow", at) == [
        ("slow", "2026-11-22T23:30", 3),
        ("slow", "2026-11-22", 5),
    ]
    assert policy.allowances("operator", at) == policy.allowances("x", at) == []


def test_tokens_and_certificates_tell_principals_apart(tmp_path):
    token = "s3cret-token"
    text = f"""\
principals:
  desk: {{token_sha256: {hashlib.sha256(token.encode()).hexdigest()}, certificate: desk.example.com}}
  team: {{certificate: team.example.com}}
"""
    policy = make_policy(tmp_path, text)
    assert policy.authenticate_token(token) == "desk"
    for other in ("", "S3cret-token", token + " ", "\ud800", token_sha256(token)):
        assert policy.authenticate_token(other) is None
    first_start = {"operator": token_sha256("other")}
    assert policy.authenticate_token("other", first_start) == "operator"
    assert policy.authenticate_token(token, first_start) == "desk"
    assert policy.authenticate_token("", {"operator": token_sha256("")}) is None
    assert policy.authenticate_token(token, {"operator": token_sha256(token)}) is None, "it is two people's"
    assert policy.principal_of_certificate(["CN", "desk.example.com"]) == "desk"
    assert policy.principal_of_certificate(["desk.example.com", "team.example.com"]) is None
    for names in ([], ["example.com"], [""], ["DESK.example.com"]):
        assert policy.principal_of_certificate(names) is None


def test_only_known_words_may_stand_in_the_log(policy):
    assert policy.known_principal("slow") == "slow" and policy.known_principal("piinguin") == "piinguin"
    assert policy.known_principal("Jane") == "unknown"
    assert policy.known_place("logins", "jane") == ("logins", "unknown")
    assert policy.known_place("jane", "user_id") == ("unknown", "user_id"), "known, though in no grant"
    assert policy.known_place("*", "x")[1] == "unknown"
    assert policy.known_reason(Reason(CONTRACT, "jane", "Jane Doe")) == Reason(CONTRACT, "unknown", None)
    assert policy.known_reason(Reason(None, "fraud", "ABC-1")) == Reason(None, "fraud", "ABC-1")


def test_a_ticket_of_any_length_and_pattern_is_decided_at_once(tmp_path):
    evil = POLICY.replace("[A-Z]{2,10}-[0-9]{1,9}", "(a+)+-([0-9]+)*-1")
    policy = make_policy(tmp_path, evil)
    began = time.monotonic()
    for ticket in ("a" * 200, "a" * 60, "a" * 40 + "-" + "1" * 20, "a" * 1_000_000):
        assert read(policy, "operator", Reason(OBLIGATION, "fraud", ticket)) is not None
    assert time.monotonic() - began < 1
    assert read(policy, "operator", Reason(OBLIGATION, "fraud", "aaa-12-1")) is None


def test_a_ticket_is_one_word_whatever_the_pattern_takes(tmp_path):
    policy = make_policy(tmp_path, POLICY.replace("[A-Z]{2,10}-[0-9]{1,9}", "(.|\\\\s)*"))
    assert read(policy, "operator", Reason(OBLIGATION, "fraud", "ops/2026:#7.a_b-c")) is None
    for ticket in ("", "Jane Doe", "jane@example.com", "Zoë", "a" * 65, "a\n"):
        assert read(policy, "operator", Reason(OBLIGATION, "fraud", ticket)) is not None


def test_a_ticket_without_a_pattern_is_refused(tmp_path):
    policy = make_policy(tmp_path, POLICY.replace(", ticket: required", "").partition("\n")[2])
    assert read(policy, "operator", Reason(OBLIGATION, "fraud")) is None
    assert read(policy, "operator", Reason(OBLIGATION, "fraud", "ABC-1")) is not None


def test_alternatives_in_a_pattern_hold_for_the_whole_ticket(tmp_path):
    policy = make_policy(tmp_path, POLICY.replace("[A-Z]{2,10}-[0-9]{1,9}", "A1|B1"))
    told = [
        read(policy, "operator", Reason(OBLIGATION, "fraud", ticket)) for ticket in ("A1", "B1", "A1x", "xB1")
    ]
    assert [said is None for said in told] == [True, True, False, False]


MISTAKES = [
    (
        "ticket: required",
        "ticket: always",
        "3: purposes.fraud.ticket: unknown value 'always' — one of ",
    ),
    (
        "purposes:\n",
        "purpose:\n",
        "2: purpose: unknown key — did you mean `purposes`?",
    ),
    (
        "bases: [consent, contract]",
        "basis: [contract]",
        "9: principals.operator.read[1].basis: unknown key — did ",
    ),
    (
        "[legal_obligation]",
        "[legal_obligations]",
        "8: principals.operator.read[0].bases[0]: unknown value 'legal_obligations' — did you mean",
    ),
    (
        "purposes: [fraud]",
        "purposes: [froud]",
        "8: principals.operator.read[0].purposes[0]: unknown purpose `froud` — did you mean `fraud`?",
    ),
    (
        "streams: [logins], fields: [ip], bases",
        "fields: [ip], bases",
        "8: principals.operator.read[0].streams: is missing — add `streams:`",
    ),
    (
        "fields: [ip], bases",
        "fields: [], bases",
        "8: principals.operator.read[0].fields: names nothing — na",
    ),
    (
        "records_per_day: 5",
        "records_per_day: 0",
        "21: principals.slow.limits.records_per_day: is less than 1",
    ),
    (
        "records_per_day: 5",
        "per_day: 5",
        "21: principals.slow.limits.per_day: unknown key",
    ),
    (
        "consent: 2",
        "consent: two",
        "4: purposes.support.consent",
    ),
    (
        "description: Calls., ",
        'description: " ", ',
        "4: purposes.support.description: says nothing",
    ),
    (
        '"[A-Z]{2,10}-[0-9]{1,9}"',
        '"[A-Z"',
        "1: ticket: not a regular expression as RE2 has it — write such",
    ),
    (
        '"[A-Z]{2,10}-[0-9]{1,9}"',
        '"A)|(.*"',
        "1: ticket: not a regular expression",
    ),
    (
        '"[A-Z]{2,10}-[0-9]{1,9}"',
        '"(A)\\\\1"',
        "1: ticket: not a regular expression",
    ),
    (
        'ticket: "[A-Z]{2,10}-[0-9]{1,9}"\n',
        "",
        "2: purposes.fraud.ticket: nothing says how a ticket is",
    ),
    (
        "  auditor:",
        "  Auditor:",
        "15: principals.Auditor: is no name for a principal — use lower-case",
    ),
    (
        "  auditor:",
        "  unknown:",
        "15: principals.unknown: is no name for a principal",
    ),
    (
        "  auditor:",
        "  vault:",
        "15: principals.vault: is no name for a principal",
    ),
    (
        "  fraud: {",
        "  verification: {",
        "3: purposes.verification: is a purpose of the vault's own",
    ),
    (
        "bases: [legal_obligation]",
        "bases: [consent]",
        "8: principals.operator.read[0].purposes[0]: no consent is for `fraud`",
    ),
    (
        "auditor: {audit: true}",
        "auditor: {token_sha256: abc}",
        "15: principals.auditor.token_sha256: not the SHA-256 of a token — write what",
    ),
    (
        "auditor: {audit: true}",
        f"auditor: {{token_sha256: {token_sha256('')}}}",
        "15: principals.auditor.token_sha256: is the SHA-256 of nothing",
    ),
    (
        "auditor: {audit: true}",
        "auditor: {unset_basis: consent}",
        "15: principals.auditor.unset_basis: consent is what the client may not have meant",
    ),
    (
        "auditor: {audit: true}",
        "piinguin: {audit: true}",
        "15: principals.piinguin.audit: is nothing that",
    ),
    (
        "auditor: {audit: true}",
        "piinguin: {create: [{streams: [logins], fields: [ip]}]}",
        "15: principals.piinguin.create[0].streams: is more than Piinguin's wire may have",
    ),
    (
        "auditor: {audit: true}",
        'piinguin: {delete: [{streams: ["*"], fields: [ip]}]}',
        "15: principals.piinguin.delete[0].streams: is more than Piinguin's wire may have",
    ),
    (
        "auditor: {audit: true}",
        "pipeline: {certificate: x}",
        "15: principals.pipeline.certificate: is nothi",
    ),
    (
        "  auditor: {audit: true}",
        "  a: {certificate: x}\n  b: {certificate: x}",
        "16: principals.b.certificate: is also that of `a`",
    ),
    (
        "bases: [consent, contract]",
        "bases: contract",
        '9: principals.operator.read[1].bases: is one name, not a list — write ["*"]',
    ),
    (
        "auditor: {audit: true}",
        "auditor: {limits: {records_per_day: 99999999999999999999}}",
        "15: principals.auditor.limits.records_per_day: is more than 1000000000000",
    ),
    (
        "auditor: {audit: true}",
        "auditor: {limits: {records_per_day: true}}",
        "15: principals.auditor.limits.records_per_day: is not a whole number",
    ),
    (
        "purposes:\n",
        "purposes:\n  Jane Doe: {description: x}\n",
        "3: purposes.Jane Doe: is no code of a purpose",
    ),
    (
        "purposes:\n",
        "purposes:\n  other: {description: x, consent: true}\n",
        "3: purposes.other.consent: is no level",
    ),
    (
        "auditor: {audit: true}",
        "slow: {audit: true}",
        "19: principals.slow: stands twice",
    ),
]
"""What is written instead of what, and the problem with its line."""


@pytest.mark.parametrize(("before", "after", "problem"), MISTAKES)
def test_a_mistake_is_told_with_its_line_field_and_mend(tmp_path, before, after, problem):
    assert before in POLICY
    with pytest.raises(ConfigurationError) as caught:
        make_policy(tmp_path, POLICY.replace(before, after, 1))
    told = [str(found).removeprefix(f"{tmp_path}/vault-policy.yaml:") for found in caught.value.problems]
    assert any(line.startswith(problem) for line in told), told
    assert all(found.mend for found in caught.value.problems)
    # What is misspelt, or renamed, is also missing.
    assert len(told) <= 1 + ("unknown key" in problem or "the vault's own" in problem)


def test_every_mistake_is_told_at_once(tmp_path):
    text = POLICY.replace("ticket: required", "ticket: x").replace("audit: true", "audits: true")
    with pytest.raises(ConfigurationError) as caught:
        make_policy(tmp_path, text.replace("records_per_day: 5", "records_per_day: -1"))
    assert [problem.line for problem in caught.value.problems] == [3, 14, 15, 21]


def test_what_somebody_should_look_at(tmp_path):
    text = """\
ticket: "[A-Za-z-]+"
principals:
  desk:
    read: [{streams: [logins, webshp], fields: [ip, devise_id], bases: [contract], purposes: [piinguin]}]
    delete: [{streams: ["*"], fields: [user_id, nothing]}]
    certificate: desk
  ghost: {}
  piinguin: {delete: []}
  operator: {audit: true}
"""
    told = [str(caution).partition(".yaml:")[2] for caution in make_policy(tmp_path, text).cautions]
    assert [line.split(" ")[:2] for line in told] == [
        ["1:", "ticket:"],
        ["4:", "principals.desk.read:"],
        ["4:", "principals.desk.read[0].streams[1]:"],
        ["4:", "principals.desk.read[0].fields[1]:"],
        ["5:", "principals.desk.delete[0].fields[1]:"],
        ["7:", "principals.ghost:"],
        ["7:", "principals.ghost:"],
    ]
    assert "did you mean `webshop`?" in told[2] and "did you mean `device_id`?" in told[3]
    assert not any("reversible" in str(caution) for caution in make_policy(tmp_path, text, ()).cautions)


def test_the_digest_is_of_what_the_file_says_and_not_of_how(tmp_path):
    policy = make_policy(tmp_path)
    assert len(bytes.fromhex(policy.digest)) == 32
    assert make_policy(tmp_path, f"# a comment\n{POLICY}", ()).digest == policy.digest
    assert make_policy(tmp_path, POLICY.replace("per_day: 5", "per_day: 6")).digest != policy.digest
    assert make_policy(tmp_path, POLICY.replace("Calls.", "Mail.")).digest != policy.digest


def test_the_projects_own_policy_fits_its_streams():
    policy = load_policy(project_root() / "vault-policy.yaml", KNOWN)
    assert policy.cautions == ()
    assert policy.anchor_retention == timedelta(days=400)
    assert read(policy, "operator", Reason(OBLIGATION, "fraud", "ABC-12")) is None
    assert read(policy, "operator", Reason(OBLIGATION, "fraud")) is not None
    user = RecordKey("webshop", "user_id", pseudonym("ann"))
    assert read(policy, "operator", Reason(CONSENT, "support"), user) is None
    assert policy.allowances("operator", datetime.now(UTC))
