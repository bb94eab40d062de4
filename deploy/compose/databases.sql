-- Read once, by a new server. Dagster's database is its own: who runs Dagster reads no keys, and the migrations of
-- both would write the same table.
\getenv pii_password LEDGER_PASSWORD
\getenv dagster_password DAGSTER_PASSWORD

CREATE ROLE pii LOGIN PASSWORD :'pii_password';
CREATE ROLE dagster LOGIN PASSWORD :'dagster_password';

CREATE DATABASE pii OWNER pii;
CREATE DATABASE warehouse OWNER pii;
CREATE DATABASE dagster OWNER dagster;

REVOKE CONNECT ON DATABASE pii, warehouse, dagster FROM PUBLIC;
