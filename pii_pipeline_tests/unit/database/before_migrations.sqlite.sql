CREATE TABLE ledger_heads (
    stream VARCHAR NOT NULL,
    layer VARCHAR NOT NULL,
    head BIGINT NOT NULL,
    PRIMARY KEY (stream, layer)
);

CREATE TABLE ledger_batches (
    id VARCHAR NOT NULL,
    stream VARCHAR NOT NULL,
    hour VARCHAR NOT NULL,
    number INTEGER NOT NULL,
    bytes BIGINT NOT NULL,
    sealed_at DATETIME NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (stream, hour, number)
);

CREATE TABLE ledger_contracts (
    contract VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    active_since DATETIME NOT NULL,
    PRIMARY KEY (contract)
);

CREATE TABLE ledger_leases (
    stream VARCHAR NOT NULL,
    hour VARCHAR NOT NULL,
    owner VARCHAR NOT NULL,
    token VARCHAR NOT NULL,
    expires_at DATETIME NOT NULL,
    PRIMARY KEY (stream, hour)
);

CREATE TABLE ledger_objects (
    stream VARCHAR NOT NULL,
    uri VARCHAR NOT NULL,
    etag VARCHAR NOT NULL,
    hour VARCHAR NOT NULL,
    size BIGINT NOT NULL,
    last_modified DATETIME NOT NULL,
    arrival DATETIME NOT NULL,
    batch_id VARCHAR,
    position INTEGER,
    PRIMARY KEY (stream, uri, etag),
    FOREIGN KEY(batch_id) REFERENCES ledger_batches (id)
);

CREATE INDEX ledger_objects_hour ON ledger_objects (stream, hour);

CREATE TABLE ledger_commits (
    batch_id VARCHAR NOT NULL,
    layer VARCHAR NOT NULL,
    stream VARCHAR NOT NULL,
    hour VARCHAR NOT NULL,
    sequence BIGINT NOT NULL,
    fingerprint VARCHAR NOT NULL,
    upstream VARCHAR,
    counts JSON NOT NULL,
    seconds FLOAT NOT NULL,
    committed_at DATETIME NOT NULL,
    PRIMARY KEY (batch_id, layer),
    UNIQUE (stream, layer, sequence),
    FOREIGN KEY(batch_id) REFERENCES ledger_batches (id)
);

CREATE INDEX ledger_commits_hour ON ledger_commits (stream, hour);

CREATE TABLE ledger_files (
    batch_id VARCHAR NOT NULL,
    layer VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    dataset VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    bytes BIGINT NOT NULL,
    rows BIGINT NOT NULL,
    PRIMARY KEY (batch_id, layer, position),
    FOREIGN KEY(batch_id, layer) REFERENCES ledger_commits (batch_id, layer)
);

CREATE INDEX ledger_files_path ON ledger_files (path);

CREATE TABLE singleton_key (
    name VARCHAR(32) NOT NULL,
    wrapped BLOB NOT NULL,
    created_at DATETIME NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE pseudonym_secret (
    version INTEGER NOT NULL,
    wrapped BLOB NOT NULL,
    check_value BLOB NOT NULL,
    created_at DATETIME NOT NULL,
    PRIMARY KEY (version)
);

CREATE TABLE period_key (
    kind VARCHAR(16) NOT NULL,
    stream VARCHAR(255) NOT NULL,
    day DATE NOT NULL,
    wrapped BLOB,
    created_at DATETIME NOT NULL,
    destroyed_at DATETIME,
    PRIMARY KEY (kind, stream, day)
);

CREATE TABLE epoch_key (
    epoch INTEGER NOT NULL,
    wrapped BLOB,
    created_at DATETIME NOT NULL,
    destroyed_at DATETIME,
    PRIMARY KEY (epoch)
);

CREATE TABLE tombstone (
    mark BLOB NOT NULL,
    erased_at DATETIME NOT NULL,
    expires_at DATETIME NOT NULL,
    PRIMARY KEY (mark)
);

CREATE TABLE loss (
    number INTEGER NOT NULL,
    at DATETIME NOT NULL,
    PRIMARY KEY (number)
);

CREATE TABLE subject (
    tag BLOB NOT NULL,
    ref BLOB NOT NULL,
    salt BLOB NOT NULL,
    salt_key_id INTEGER NOT NULL,
    created_hour INTEGER NOT NULL,
    PRIMARY KEY (tag),
    UNIQUE (ref),
    FOREIGN KEY(salt_key_id) REFERENCES epoch_key (epoch)
);
