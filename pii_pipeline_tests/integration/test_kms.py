"""Keys in AWS KMS, from the outside: what runs ask KMS for, and what an expired credential leaves behind."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pii_pipeline.cli import cli
from pii_pipeline.keys.errors import KeyEncryptionKeyError
from pii_pipeline.keys.kms import HELD_SECONDS
from pii_pipeline.pipeline.derive import derive_hour
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.query import query
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline_tests.end_to_end.deployment import Deployment
from pii_pipeline_tests.faulty_proxy import FaultyProxy
from pii_pipeline_tests.integration.small_streams import BAD, GOOD, HOUR, environment, land_events

KEYS = 8
"""Of a stream and day: index, tombstone and vault key, secret, epoch, window, quarantine, restricted key."""
USED = KEYS - 2
"""Nobody is forgotten, and there is no vault."""
EVENTS = [*GOOD, *BAD[:2]]


@pytest.fixture
def key(aws) -> str:
    """The ARN of a KMS key."""
    made = aws.client("kms").create_key()["KeyMetadata"]
    aws.client("kms").create_alias(AliasName="alias/pii", TargetKeyId=made["KeyId"])
    return made["Arn"]


@pytest.fixture
def settings(tmp_path: Path, key: str, faulty_aws: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment is that of an installation whose keys are in KMS."""
    values = environment(tmp_path) | {"PII_KEY_ENCRYPTION_KEY": "aws-kms://alias/pii"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PII_PSEUDONYM_SECRET", raising=False)
    faulty_aws.heal()
    return tmp_path


def opened() -> Installation:
    """As a process that has just begun."""
    return Installation(read_settings(project=project_root()))


def pii(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), prog_name="pii")


def make(installation: Installation, force: bool = False) -> None:
    """The hour of ``alpha``, layer by layer."""
    stream = installation.streams["alpha"]
    seal_hour(installation, stream, HOUR)
    validate_hour(installation, stream, HOUR, force)
    pseudonymize_hour(installation, stream, HOUR, force=force)
    derive_hour(installation, stream, "report", HOUR, force)


def outcome(installation: Installation) -> list[object]:
    """Counts, nothing broken, and the rows that were decrypted for the report."""
    status = installation.ledger.status("alpha", HOUR)[0]
    assert not status.violations()
    counts = {name: layer.counts for name, layer in sorted(status.layers.items())}
    return [counts, query(installation, "SELECT page, email FROM alpha.report ORDER BY ALL").rows]


def test_requests_do_not_grow_with_people(tmp_path: Path, key: str, faulty_aws: FaultyProxy) -> None:
    """100,000 people in eight batches, made by two worker processes and their parent."""
    environment(tmp_path)
    deployment = Deployment(tmp_path / "deployment", tmp_path / "streams")
    deployment.environment["PII_KEY_ENCRYPTION_KEY"] = "aws-kms://alias/pii"
    deployment.worth_workers = 1
    processes, people = 3, 100_000
    for part in range(8):
        numbers = range(part * people // 8, (part + 1) * people // 8)
        events = [{"user": f"user-{n}", "page": "home", "email": f"{n}@example.org"} for n in numbers]
        file = deployment.storage / "landing" / "alpha" / "2026/11/22/10" / f"{part}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(event) + "\n" for event in events))

    faulty_aws.heal()
    deployment.pii("run", "alpha")
    (known,) = deployment.query("select count(distinct user) as people from alpha.pseudonymized_events")
    assert known["people"] == people
    assert KEYS <= faulty_aws.count("GenerateDataKey") <= processes * KEYS
    assert faulty_aws.count("Decrypt") <= processes * KEYS

    faulty_aws.heal()
    lake = deployment.files("lake")
    deployment.pii("run", "alpha", "--force")
    assert deployment.files("lake") == lake
    assert faulty_aws.count("GenerateDataKey") == 0
    assert 0 < faulty_aws.count("Decrypt") <= processes * KEYS


@pytest.mark.parametrize(("operation", "requests"), [("GenerateDataKey", KEYS), ("Decrypt", USED)])
def test_an_expired_credential_at_any_moment(
    settings: Path,
    faulty_aws: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    requests: int,
) -> None:
    """The run fails; with good credentials the next one ends as if nothing had been."""

    def at(place: str) -> Installation:
        monkeypatch.setenv("PII_STORAGE_URI", str(settings / place))
        monkeypatch.setenv("PII_DATABASE_URL", f"sqlite:///{settings / place}.db")
        return opened()

    undisturbed = at("undisturbed")
    land_events(undisturbed, "alpha", EVENTS)
    make(undisturbed)
    expected = outcome(undisturbed)
    undisturbed.close()
    for spared in range(requests):
        installation = at(f"{spared}")
        land_events(installation, "alpha", EVENTS)
        if operation == "Decrypt":  # all keys are there, and somebody new opens them
            make(installation)
            installation.close()
            installation = at(f"{spared}")
        faulty_aws.heal()
        faulty_aws.fail("ExpiredTokenException", operation=operation, after=spared)
        with pytest.raises(KeyEncryptionKeyError, match="the AWS credentials have expired — renew them"):
            make(installation, force=True)
        assert faulty_aws.count(operation) == spared + 1
        installation.close()

        faulty_aws.heal()
        again = at(f"{spared}")
        make(again)
        assert outcome(again) == expected
        again.close()


def test_a_process_asks_once_for_each_key_it_uses(settings: Path, faulty_aws: FaultyProxy) -> None:
    for operation, requests in [("GenerateDataKey", KEYS), ("Decrypt", USED)]:
        faulty_aws.heal()
        installation = opened()
        land_events(installation, "alpha", EVENTS)
        make(installation, force=True)
        make(installation, force=True)
        installation.close()
        assert (faulty_aws.count(operation), faulty_aws.count()) == (requests, requests)


def test_a_run_says_what_is_wrong_and_with_which_key(
    settings: Path, faulty_aws: FaultyProxy, key: str
) -> None:
    installation = opened()
    land_events(installation, "alpha", GOOD)
    make(installation)
    installation.close()
    faulty_aws.fail("AccessDeniedException", operation="Decrypt")
    done = pii("run", "alpha")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        f"pii: PII_KEY_ENCRYPTION_KEY: AWS KMS, key {key}: kms:Decrypt is not allowed, or the key is not "
        "there any more — allow it, in the policies of role and key\n"
    )


def test_keys_are_opened_again_after_their_time_and_not_within_a_batch(
    settings: Path, faulty_aws: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = opened()
    land_events(installation, "alpha", GOOD)
    make(installation)
    stream = installation.streams["alpha"]
    store, seed = installation.keys, installation.digest_seed
    faulty_aws.heal()
    pseudonymize_hour(installation, stream, HOUR, force=True)
    assert installation.keys is store and faulty_aws.count() == 0

    begun = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: begun + HELD_SECONDS + 1)
    pseudonymize_hour(installation, stream, HOUR, force=True)
    assert installation.keys is not store
    assert installation.digest_seed == seed
    assert 0 < faulty_aws.count("Decrypt") <= KEYS
    faulty_aws.fail("DisabledException", operation="Decrypt")  # by somebody who wants it to end
    monkeypatch.setattr(time, "monotonic", lambda: begun + 2 * (HELD_SECONDS + 1))
    with pytest.raises(KeyEncryptionKeyError, match="the key is disabled"):
        pseudonymize_hour(installation, stream, HOUR, force=True)
    installation.close()


def test_the_pseudonym_secret_from_secrets_manager(
    settings: Path, aws, faulty_aws: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = aws.client("secretsmanager")
    client.create_secret(Name="pii/secret", SecretString="canary_secret")
    monkeypatch.setenv("PII_PSEUDONYM_SECRET", "aws-secretsmanager://pii/secret")
    installation = opened()
    assert installation.secret.key == b"canary_secret"
    installation.close()
    client.put_secret_value(SecretId="pii/secret", SecretString="another")
    done = pii("run", "alpha")
    assert done.exit_code == 2 and "Give the original as PII_PSEUDONYM_SECRET" in done.stderr
    monkeypatch.setenv("PII_PSEUDONYM_SECRET", "aws-secretsmanager://elsewhere")
    done = pii("run", "alpha")
    assert done.exit_code == 2 and "secret elsewhere: there is no such secret" in done.stderr
    assert "canary" not in done.output


def test_from_a_key_file_to_kms(
    settings: Path, faulty_aws: FaultyProxy, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an operator does, and what was written before stays readable."""
    file = f"file:{settings / 'key'}"
    monkeypatch.setenv("PII_KEY_ENCRYPTION_KEY", file)
    installation = opened()
    land_events(installation, "alpha", GOOD)
    make(installation)
    before = outcome(installation)
    installation.close()
    assert "8 keys wrapped under a key file" in pii("keys").stdout

    monkeypatch.setenv("PII_KEY_ENCRYPTION_KEY", "aws-kms://alias/pii")
    refused = pii("run", "alpha")
    assert refused.exit_code == 2 and "pii keys rewrap --from file:PATH" in refused.stderr
    done = pii("keys", "rewrap", "--from", file)
    assert (done.exit_code, done.stdout) == (0, "8 keys wrapped under aws-kms://alias/pii\n"), done.stderr
    assert pii("keys").stdout.endswith(f"8 keys wrapped under {key}\n")

    (settings / "key").unlink()
    installation = opened()
    make(installation, force=True)
    assert outcome(installation) == before
    installation.close()


def test_keys_for_programs(settings: Path, key: str) -> None:
    assert pii("keys").stdout == "No key was made yet. See `pii run --help`.\n"
    assert json.loads(pii("keys", "--json").stdout) == {"keys": [], "key_encryption_keys": {}}
    installation = opened()
    installation.keys.window_keys("alpha", [])
    installation.secret  # noqa: B018
    installation.close()
    found = json.loads(pii("keys", "--json").stdout)
    assert found["key_encryption_keys"] == {key: 4}
    assert [entry["kind"] for entry in found["keys"]] == ["index", "tombstone", "vault", "pseudonym secret"]
    secret = found["keys"][-1]
    assert (secret["keys"], secret["destroyed"], secret["last"], secret["oldest_days"]) == (1, 0, "1", 0)
    again = json.loads(pii("keys", "rewrap", "--json").stdout)
    assert again == {"rewrapped": 4, "key_encryption_key": "aws-kms://alias/pii"}
