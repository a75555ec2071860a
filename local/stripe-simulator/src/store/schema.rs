//! The tables.

/// `objects` holds every object of the API as its document, with the columns that lists filter
/// by and the moment at which it has something to do. Meter events, of which there are a
/// thousand a second, have a table of real columns.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS objects (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    kind     TEXT NOT NULL,
    created  INTEGER NOT NULL,
    customer TEXT,
    parent   TEXT,
    status   TEXT,
    label    TEXT,
    clock    TEXT,
    due_at   INTEGER,
    document TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (kind, seq);
CREATE INDEX IF NOT EXISTS objects_by_customer ON objects (customer, kind, seq);
CREATE INDEX IF NOT EXISTS objects_by_parent ON objects (parent, kind, seq) WHERE parent IS NOT NULL;
CREATE INDEX IF NOT EXISTS objects_by_label ON objects (kind, label, seq) WHERE label IS NOT NULL;
CREATE INDEX IF NOT EXISTS objects_by_due ON objects (clock, due_at, seq) WHERE due_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS meter_events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    identifier  TEXT NOT NULL,
    event_name  TEXT NOT NULL,
    meter       TEXT,
    customer    TEXT,
    value       INTEGER NOT NULL,
    timestamp   INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('accepted', 'aggregated', 'cancelled', 'invalid', 'reported')),
    error_code  TEXT
);
CREATE INDEX IF NOT EXISTS meter_events_by_identifier ON meter_events (identifier, received_ms);
CREATE INDEX IF NOT EXISTS meter_events_waiting ON meter_events (state, received_ms)
    WHERE state IN ('accepted', 'invalid');
CREATE INDEX IF NOT EXISTS meter_events_counted ON meter_events (meter, customer, timestamp, value)
    WHERE state = 'aggregated';
CREATE INDEX IF NOT EXISTS meter_events_by_customer ON meter_events (customer, seq);

CREATE TABLE IF NOT EXISTS deliveries (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    event        TEXT NOT NULL,
    endpoint     TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts     INTEGER NOT NULL DEFAULT 0,
    created_ms   INTEGER NOT NULL,
    next_ms      INTEGER NOT NULL,
    last_outcome TEXT
);
CREATE INDEX IF NOT EXISTS deliveries_pending ON deliveries (next_ms, id) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS deliveries_by_event ON deliveries (event, state);

CREATE TABLE IF NOT EXISTS idempotency (
    key         TEXT PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    created     INTEGER NOT NULL,
    request_id  TEXT NOT NULL,
    status      INTEGER NOT NULL,
    should_retry INTEGER,
    body        TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS idempotency_by_age ON idempotency (created);

CREATE TABLE IF NOT EXISTS meter_event_sessions (
    token      TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
";
