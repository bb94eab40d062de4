"""What the environment says, checked once at start-up.

| variable | meaning | default |
| --- | --- | --- |
| ``PII_STORAGE_URI`` | where the four zones are folders, also ``s3://…`` | ``var/storage`` of the project |
| ``PII_LANDING_URI`` | a zone elsewhere; also ``…RESTRICTED…``, ``…LAKE…``, ``…CONSENTED…`` | below it |
| ``PII_S3_SSE_KMS_KEY_ID`` | of the key that S3 encrypts with | none: what the bucket does |
| ``PII_LANDING_NOTIFICATIONS`` | SQS queue of S3's notifications of what lands | none: landing is listed |
| ``PII_SENSOR_SECONDS`` | how often sensors look | 30 |
| ``PII_DATABASE_URL`` | ledger and key store; PostgreSQL or a SQLite file | SQLite, ``var/pii.db`` |
| ``PII_KEY_ENCRYPTION_KEY`` | ``file:PATH``, made on first run; ``aws-kms://KEY`` | below ``var/keys`` |
| ``PII_PSEUDONYM_SECRET`` | an existing secret to import, or where it is | none: one is made |
| ``PII_SNOWPLOW_SALT`` | the salt of Snowplow's hashes, for contracts that use them | none |
| ``PII_WAREHOUSE_URL`` | where warehouse tables are | DuckDB, ``var/warehouse.duckdb`` |
| ``PII_VAULT_URL`` | the vault: SQLite, PostgreSQL or ``dynamodb://TABLE`` | SQLite, ``var/vault.db`` |
| ``PIINGUIN_DYNAMODB_TABLE`` | the same as ``dynamodb://TABLE``, where ``PII_VAULT_URL`` is not set | none |
| ``PII_VAULT_POLICY`` | who may do what at the vault | ``vault-policy.yaml`` of the project |
| ``PII_VAULT_ANCHORS`` | of its audit log: ``s3://BUCKET/PREFIX`` or a folder | ``var/vault-anchors`` |
| ``PII_VAULT_HOST`` | where `pii vault serve` listens, or ``unix:///PATH``; TLS beyond loopback | 127.0.0.1 |
| ``PII_VAULT_PORT`` | its port; 0: any that is free | ``PIINGUIN_PORT``, or 8080 |
| ``PII_VAULT_TLS_CERTIFICATE``, ``…_KEY`` | PEM files of its certificate (chain) and key | none: no TLS |
| ``PII_VAULT_TLS_CLIENT_CA`` | PEM file of who signs client certificates, which it wants then | none |
| ``PII_VAULT_TOKEN_FILE`` | the token of `operator`, made on first start | ``var/keys/vault-token`` |
| ``PII_VAULT_ADDRESS`` … | of clients of such a service: `vault_client.connection` | – |
| ``PII_STREAMS_DIR`` | folders of streams, separated like ``PATH`` | ``streams`` of the project |
| ``PII_WORKERS`` | threads for batches and processes for crypto | the machine's cores |
| ``DAGSTER_HOME`` | Dagster's instance | ``var/dagster`` |

Secret and salt may be ``aws-secretsmanager://NAME``. What AWS needs besides is boto3's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit

ZONES = ("landing", "restricted", "lake", "consented")

_CLIENTS = (
    "PII_VAULT_ADDRESS",
    "PII_VAULT_TOKEN",
    "PII_VAULT_TLS_CA",
    "PII_VAULT_TLS_CLIENT_CERTIFICATE",
    "PII_VAULT_TLS_CLIENT_KEY",
)
"""What the vault's clients read (`vault_client.connection`), and nothing here does."""

_NAMES = (
    "PII_STORAGE_URI",
    *(f"PII_{zone.upper()}_URI" for zone in ZONES),
    "PII_S3_SSE_KMS_KEY_ID",
    "PII_LANDING_NOTIFICATIONS",
    "PII_SENSOR_SECONDS",
    "PII_DATABASE_URL",
    "PII_KEY_ENCRYPTION_KEY",
    "PII_PSEUDONYM_SECRET",
    "PII_SNOWPLOW_SALT",
    "PII_WAREHOUSE_URL",
    "PII_VAULT_URL",
    "PII_VAULT_POLICY",
    "PII_VAULT_ANCHORS",
    "PII_VAULT_HOST",
    "PII_VAULT_PORT",
    "PII_VAULT_TLS_CERTIFICATE",
    "PII_VAULT_TLS_KEY",
    "PII_VAULT_TLS_CLIENT_CA",
    "PII_VAULT_TOKEN_FILE",
    *_CLIENTS,
    "PII_STREAMS_DIR",
    "PII_WORKERS",
)
_NEAR = 0.85
"""How alike, of 1, a name has to be to one of these to be that one misspelt."""


class SettingError(Exception):
    """An environment variable that cannot be meant; names the variable and the mend, never a secret."""

    def __init__(self, variable: str, problem: str, mend: str) -> None:
        super().__init__(variable, problem, mend)  # as they were given: it has to survive pickling

    def __str__(self) -> str:
        return "{}: {} — {}".format(*self.args)


@dataclass(frozen=True, slots=True)
class VaultTls:
    """PEM files of the vault's service: its certificate (with its chain) and key, and who signs clients'."""

    certificate: Path
    key: Path
    client_ca: Path | None


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is; see the module's table."""

    project: Path
    zones: Mapping[str, str]
    s3_sse_kms_key_id: str | None
    landing_notifications: str | None
    sensor_seconds: int
    database_url: str = field(repr=False)
    key_encryption_key: str
    pseudonym_secret: str | None = field(repr=False)
    snowplow_salt: str | None = field(repr=False)
    warehouse_url: str = field(repr=False)
    vault_url: str = field(repr=False)
    vault_policy: Path
    vault_anchors: str
    vault_host: str
    vault_port: int
    vault_tls: VaultTls | None
    vault_token_file: Path
    streams: tuple[Path, ...]
    workers: int
    dagster_home: Path


def project_root() -> Path:
    """The project: the checkout this package is in, or else the working directory."""
    checkout = Path(__file__).resolve().parents[1]
    return checkout if (checkout / "workspace.yaml").exists() else Path.cwd()


def read_settings(environment: Mapping[str, str] | None = None, project: Path | None = None) -> Settings:
    """The settings in `environment` (default: the process's). Raises `SettingError`."""
    env = {
        name: value for name, value in (os.environ if environment is None else environment).items() if value
    }
    _refuse_misspelt(env)
    root = project or project_root()
    var = root / "var"
    storage = env.get("PII_STORAGE_URI", str(var / "storage")).rstrip("/")
    zones = {zone: env.get(f"PII_{zone.upper()}_URI", f"{storage}/{zone}") for zone in ZONES}
    return Settings(
        project=root,
        zones=zones,
        s3_sse_kms_key_id=_kms_key(env.get("PII_S3_SSE_KMS_KEY_ID")),
        landing_notifications=_queue(env.get("PII_LANDING_NOTIFICATIONS"), zones["landing"]),
        sensor_seconds=_number(
            "PII_SENSOR_SECONDS", env.get("PII_SENSOR_SECONDS"), 30, "every how many seconds sensors look"
        ),
        database_url=env.get("PII_DATABASE_URL", f"sqlite:///{var / 'pii.db'}"),
        key_encryption_key=env.get("PII_KEY_ENCRYPTION_KEY", f"file:{var / 'keys' / 'key-encryption-key'}"),
        pseudonym_secret=env.get("PII_PSEUDONYM_SECRET"),
        snowplow_salt=env.get("PII_SNOWPLOW_SALT"),
        warehouse_url=_warehouse(env.get("PII_WAREHOUSE_URL"), f"duckdb:///{var / 'warehouse.duckdb'}"),
        vault_url=_vault(env, f"sqlite:///{var / 'vault.db'}"),
        vault_policy=_policy(env.get("PII_VAULT_POLICY"), root / "vault-policy.yaml"),
        vault_anchors=_anchors(env.get("PII_VAULT_ANCHORS"), (var / "vault-anchors").absolute().as_uri()),
        vault_host=env.get("PII_VAULT_HOST", "127.0.0.1"),
        vault_port=_port(env),
        vault_tls=_vault_tls(env),
        vault_token_file=Path(env.get("PII_VAULT_TOKEN_FILE", var / "keys" / "vault-token")),
        streams=_folders(env.get("PII_STREAMS_DIR"), root / "streams"),
        workers=_number("PII_WORKERS", env.get("PII_WORKERS"), os.cpu_count() or 1, "how many cores to use"),
        dagster_home=Path(env.get("DAGSTER_HOME", var / "dagster")),
    )


def _refuse_misspelt(names: Iterable[str]) -> None:
    """What is misspelt would count as not set: personal data and keys would go to places of this machine."""
    for name in names:
        if (
            name.startswith("PII_")
            and name not in _NAMES
            and (near := get_close_matches(name, _NAMES, 1, _NEAR))
        ):
            raise SettingError(name, "no setting has this name", f"write {near[0]}, or unset it")


def _warehouse(value: str | None, default: str) -> str:
    if value is None:
        return default
    mend = "use duckdb:///PATH (a file) or postgresql://…"
    try:
        _ = urlsplit(value).port  # reads all of the host's part
    except ValueError:
        raise SettingError("PII_WAREHOUSE_URL", "no URL", mend) from None
    if not re.match(r"duckdb:///.|postgresql://.", value):
        raise SettingError("PII_WAREHOUSE_URL", "no warehouse that is supported", mend)
    # The password ends at the first @, and messages quote what is behind it.
    if value.startswith("postgresql:") and value.partition("?")[0].count("@") > 1:
        raise SettingError("PII_WAREHOUSE_URL", "more than one @", "write an @ of the password as %40")
    return value


def _vault(env: Mapping[str, str], default: str) -> str:
    url, table = env.get("PII_VAULT_URL"), env.get("PIINGUIN_DYNAMODB_TABLE")
    if url is None and table is None:
        return default
    given = f"dynamodb://{table}" if url is None else url
    if re.fullmatch(r"sqlite:///.+|postgresql(\+psycopg2)?://.+|dynamodb://[A-Za-z0-9_.-]{3,249}", given):
        return given
    if url is None:
        mend = "write its name, or set PII_VAULT_URL"
        raise SettingError("PIINGUIN_DYNAMODB_TABLE", "no name of a table", mend)
    mend = "use sqlite:///PATH (a file), postgresql://… or dynamodb://TABLE"
    raise SettingError("PII_VAULT_URL", "no store that is supported", mend)


def _policy(value: str | None, default: Path) -> Path:
    """One that is named has to be there: without its file next to nobody may do anything."""
    if value is not None and not Path(value).is_file():
        mend = "name the policy, a YAML file, or unset it"
        raise SettingError("PII_VAULT_POLICY", f"{value} is no file", mend)
    return default if value is None else Path(value)


def _anchors(value: str | None, default: str) -> str:
    if value is not None and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{2,62}(/\S*)?|file:///.+", value):
        mend = "use s3://BUCKET/PREFIX, with Object Lock, or file:///FOLDER"
        raise SettingError("PII_VAULT_ANCHORS", "no place for anchors", mend)
    return default if value is None else value


def _port(env: Mapping[str, str]) -> int:
    for variable in ("PII_VAULT_PORT", "PIINGUIN_PORT"):
        if (value := env.get(variable)) is not None:
            if not re.fullmatch(r"[0-9]{1,5}", value) or int(value) > 65_535:
                raise SettingError(variable, "no port", "write a number from 1 to 65535, or unset it")
            return int(value)
    return 8080


def _vault_tls(env: Mapping[str, str]) -> VaultTls | None:
    names = ("PII_VAULT_TLS_CERTIFICATE", "PII_VAULT_TLS_KEY", "PII_VAULT_TLS_CLIENT_CA")
    certificate, key, client_ca = (Path(env[name]) if name in env else None for name in names)
    if certificate and key:
        return VaultTls(certificate, key, client_ca)
    if given := [name for name in names if name in env]:
        mend = f"set {names[0]} and {names[1]}, or none of these"
        raise SettingError(given[0], "is no TLS by itself", mend)
    return None


def _queue(value: str | None, landing: str) -> str | None:
    if value is not None and not landing.startswith("s3://"):
        problem = "there are no notifications of a landing zone that is not on S3"
        raise SettingError("PII_LANDING_NOTIFICATIONS", problem, "unset it, or set PII_LANDING_URI to s3://…")
    if value is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,80}|https?://\S+/[A-Za-z0-9_-]{1,80}", value):
        mend = "write the name of a standard queue, or its https://… URL"
        raise SettingError("PII_LANDING_NOTIFICATIONS", "no queue's name or URL", mend)
    return value


def _kms_key(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"arn:aws[a-z-]*:kms:\S+|alias/[\w/-]+|[A-Za-z0-9-]+", value):
        raise SettingError(
            "PII_S3_SSE_KMS_KEY_ID", "no key of AWS KMS", "use the id or ARN of a key, or alias/NAME"
        )
    return value


def _folders(value: str | None, default: Path) -> tuple[Path, ...]:
    if value is None:
        return (default,)
    folders = tuple(Path(part) for part in value.split(os.pathsep) if part)
    mend = "name folders that hold one folder per stream"
    if not folders:
        raise SettingError("PII_STREAMS_DIR", "names no folder", mend)
    for folder in folders:
        if not folder.is_dir():
            raise SettingError("PII_STREAMS_DIR", f"{folder} is no folder", mend)
    return folders


def _number(variable: str, value: str | None, default: int, meaning: str) -> int:
    if value is None:
        return default
    if not (value.isascii() and value.isdecimal()) or int(value) < 1:
        raise SettingError(variable, "not a whole number above zero", f"say {meaning}, or unset it")
    return int(value)
