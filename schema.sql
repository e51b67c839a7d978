-- dropreel's database: the whole schema, version 3.
--
-- Times are Unix milliseconds, UTC. Money is whole quota. Flags are 0 or 1. Words (states, moves, reasons) are those
-- of docs/reference.md and the code; what they mean is decided in src/job, never here. Ids for people are text; rows refer to each
-- other by number, which keeps the indexes small.
--
-- One writer thread writes; WAL and synchronous=FULL are set and read back at every start. Do not write to this file
-- with another program while dropreel runs, and do not copy it without its -wal file.
--
-- Lists of words are written as a chain of OR: for `IN (...)` SQLite builds a table of them each time a row is written.

PRAGMA application_id = 1685221484; -- 'drpl'

-- Single facts about this database.
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,   -- 'epoch': starts counted; 'high_water': the latest wall clock seen;
                                       -- 'key': 40 bits by which the API key is known again; 'copied': this file is
                                       -- a backup that no daemon has begun with, made then
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row for each job file (or API call) whose jobs were committed.
CREATE TABLE intakes (
    nr        INTEGER PRIMARY KEY,
    source    TEXT NOT NULL CHECK (source = 'inbox' OR source = 'api'),
    file_name TEXT,                    -- as dropped; null: handed over without a name
    sha256    TEXT NOT NULL,           -- of the file's bytes
    bytes     INTEGER NOT NULL,
    jobs      INTEGER NOT NULL,        -- how many jobs it made: all of them, or the row is not here
    taken_at  INTEGER NOT NULL,
    moved_at  INTEGER,                 -- when the file had left the inbox; null while that is still to be done
    moved_to  TEXT                     -- where it lies now; null: it had vanished, or there was no file
) STRICT;

-- Was this very file dropped before? The name comes first: names of many files rise, digests never do, and an index
-- that is written all over has a page of its own written for each row.
CREATE INDEX intakes_by_content ON intakes (file_name, sha256) WHERE file_name IS NOT NULL;
-- Moves to finish after a crash.
CREATE INDEX intakes_to_move ON intakes (nr) WHERE moved_at IS NULL;

-- One row for each job: where it stands (src/job/record.rs). Narrow on purpose: what is only shown is in `requests`.
CREATE TABLE jobs (
    nr              INTEGER PRIMARY KEY,   -- rises with time: newest first is nr descending
    id              TEXT NOT NULL UNIQUE,
    intake          INTEGER NOT NULL REFERENCES intakes (nr),
    name            TEXT NOT NULL,
    model           TEXT NOT NULL,
    priority        INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,

    state           TEXT NOT NULL CHECK (state = 'pending' OR state = 'submitting' OR state = 'queued'
                                            OR state = 'processing' OR state = 'downloading' OR state = 'succeeded'
                                            OR state = 'failed' OR state = 'cancelled' OR state = 'expired'
                                            OR state = 'held'),
    reason          TEXT,                  -- held: why, one word
    reason_detail   TEXT,                  -- held: what exactly
    back_to         TEXT,                  -- held: the state it was held from
    remark          TEXT,                  -- what it waits for just now, in a sentence

    move            TEXT CHECK (move = 'submit' OR move = 'repeat' OR move = 'ask' OR move = 'call_off'
                                   OR move = 'fetch' OR move = 'wait'),
    move_due_at     INTEGER,               -- what it needs next and when (src/job/next.rs); null: it rests

    due_at          INTEGER,               -- the state's own pace
    tries           INTEGER,
    since           INTEGER,

    attempts        INTEGER NOT NULL,      -- the number of the newest attempt
    trial_number    INTEGER,               -- the attempt that may have to be sent again
    trial_frozen_at INTEGER,
    trial_unknown   INTEGER,

    task_id         TEXT,
    missing_since   INTEGER,
    asked_at        INTEGER,
    knocked_at      INTEGER,
    refresh         INTEGER NOT NULL,
    cancel_wanted   INTEGER NOT NULL,
    alerted         INTEGER NOT NULL,

    progress        INTEGER NOT NULL,
    reserved_quota  INTEGER,
    cost_quota      INTEGER,
    submitted_at    INTEGER,
    completed_at    INTEGER,
    finished_at     INTEGER,
    expires_at      INTEGER,
    error_code      TEXT,
    error_message   TEXT,

    changed         INTEGER NOT NULL       -- the number of its last change: what the change feed follows
) STRICT;

-- Whose turn it is: the head of each model's line.
CREATE INDEX jobs_by_turn ON jobs (model, priority DESC, nr) WHERE move = 'submit';
-- What is due.
CREATE INDEX jobs_by_due ON jobs (move, move_due_at) WHERE move IS NOT NULL;
-- What must be fetched first: the link that dies first.
CREATE INDEX jobs_by_deadline ON jobs (expires_at, nr) WHERE move = 'fetch';
-- Links to warn of.
CREATE INDEX jobs_to_alert ON jobs (expires_at) WHERE alerted = 0 AND expires_at IS NOT NULL AND finished_at IS NULL;
-- How many tasks are at the provider.
CREATE INDEX jobs_running ON jobs (model) WHERE state = 'submitting' OR state = 'queued' OR state = 'processing';
-- Lists and counts.
CREATE INDEX jobs_by_state ON jobs (state, nr);
-- The newest of those that ended one way, and what they cost.
CREATE INDEX jobs_by_end ON jobs (state, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_by_name ON jobs (name);
CREATE INDEX jobs_by_change ON jobs (changed);
-- Neighbours of the same file.
CREATE INDEX jobs_by_intake ON jobs (intake);

-- What a job asks for: wide, read only to submit and to show.
CREATE TABLE requests (
    job     INTEGER PRIMARY KEY REFERENCES jobs (nr),
    body    TEXT NOT NULL,              -- the user's own text, without our key and without a callback URL
    prompt  TEXT,
    labels  TEXT NOT NULL               -- a JSON object
) STRICT;

-- The same labels, one row each, to filter by. Not REFERENCES: each job that is pruned would have all of them looked at.
CREATE TABLE labels (
    key     TEXT NOT NULL,
    value   TEXT NOT NULL,
    job     INTEGER NOT NULL,           -- jobs.nr
    PRIMARY KEY (key, value, job)
) STRICT, WITHOUT ROWID;

-- The user's own keys: a key seen once is never run again, also when its job is pruned.
CREATE TABLE keys (
    key     TEXT NOT NULL PRIMARY KEY,
    job     TEXT NOT NULL               -- jobs.id, of a job that may be gone
) STRICT, WITHOUT ROWID;

-- One row for each paid call: committed before it is sent, never changed but for the counts.
CREATE TABLE attempts (
    job          INTEGER NOT NULL REFERENCES jobs (nr),
    number       INTEGER NOT NULL,
    key          TEXT NOT NULL UNIQUE,   -- the Idempotency-Key
    body         TEXT NOT NULL,          -- the exact bytes, callback URL included: a secret
    body_sha256  TEXT NOT NULL,
    frozen_at    INTEGER NOT NULL,
    sends        INTEGER NOT NULL,       -- how often it was about to be sent
    last_send_at INTEGER NOT NULL,
    task_id      TEXT UNIQUE,            -- no task belongs to two jobs
    PRIMARY KEY (job, number)
) STRICT;

-- One row for each output of a task.
CREATE TABLE outputs (
    job        INTEGER NOT NULL REFERENCES jobs (nr),
    task_id    TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind = 'video' OR kind = 'image' OR kind = 'audio'),
    idx        INTEGER NOT NULL,
    position   INTEGER NOT NULL,         -- its place in the provider's answer
    state      TEXT NOT NULL CHECK (state = 'waiting' OR state = 'stored' OR state = 'lost'),
    link       TEXT,                     -- while waiting; a secret, dropped once the file is stored
    refusals   INTEGER NOT NULL,
    gone       INTEGER NOT NULL,
    confirmed  INTEGER NOT NULL,
    unfit      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    planned    TEXT UNIQUE,              -- below the library: the name it will be, or was, published under
    bytes      INTEGER,                  -- of the checked file, from the plan on
    sha256     TEXT,
    host       TEXT,                     -- where it came from
    stored_at  INTEGER,
    PRIMARY KEY (job, task_id, kind, idx)
) STRICT, WITHOUT ROWID;

-- What happened, in order; written with the change it tells of.
CREATE TABLE history (
    nr      INTEGER PRIMARY KEY,
    job     INTEGER NOT NULL REFERENCES jobs (nr),
    at      INTEGER NOT NULL,
    event   TEXT NOT NULL,
    detail  TEXT NOT NULL
) STRICT;

CREATE INDEX history_by_job ON history (job, nr);

-- Callback bodies, kept before they are answered with 204. At most 20 of a job; `more` counts the others.
CREATE TABLE deliveries (
    nr          INTEGER PRIMARY KEY,
    job         INTEGER NOT NULL REFERENCES jobs (nr),
    received_at INTEGER NOT NULL,
    sha256      TEXT NOT NULL,
    body        BLOB NOT NULL,
    more        INTEGER NOT NULL,
    folded      INTEGER NOT NULL         -- 1 once the job has heard of it
) STRICT;

CREATE INDEX deliveries_by_job ON deliveries (job, nr);
CREATE INDEX deliveries_to_fold ON deliveries (nr) WHERE folded = 0;

-- What is to be told to hooks, and what came of it; written with the change it tells of.
CREATE TABLE hook_calls (
    nr       INTEGER PRIMARY KEY,
    hook     TEXT NOT NULL,             -- which one: a digest of what it runs or where it posts
    event    TEXT NOT NULL,             -- src/job/notable.rs
    job      INTEGER REFERENCES jobs (nr), -- null: of no single job
    at       INTEGER NOT NULL,
    tries    INTEGER NOT NULL,
    due_at   INTEGER,                   -- null: it is over
    tried_at INTEGER,
    outcome  TEXT                       -- of the last try, in a sentence
) STRICT;

CREATE INDEX hook_calls_due ON hook_calls (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX hook_calls_by_job ON hook_calls (job, nr) WHERE job IS NOT NULL;

-- Why nothing is submitted or downloaded just now: a person's pause, or the provider's word.
CREATE TABLE stops (
    cause   TEXT NOT NULL PRIMARY KEY CHECK (cause = 'paused_submits' OR cause = 'paused_downloads'
                                             OR cause = 'rate_limited' OR cause = 'key_refused'
                                             OR cause = 'balance_empty' OR cause = 'misconfigured'),
    until   INTEGER,                     -- null: until a person's word
    message TEXT NOT NULL,
    since   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
