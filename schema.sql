-- The schema of dropreel's database, version 4.
--
-- Times are Unix milliseconds, UTC. Money is whole quota. Flags are 0 or 1. Words (states, actions, reasons) are those of
-- docs/reference.md; src/job decides what they mean. Users see text ids; rows refer to each other by `nr`, their number,
-- which keeps the indexes small.
--
-- One thread writes. WAL and synchronous=FULL are set and read back at every start. Do not write to this file with another
-- program while dropreel runs, and do not copy it without its -wal file.
--
-- A CHECK on a list of words is a chain of OR: for `IN (...)` SQLite builds a table of them each time it writes a row.

PRAGMA application_id = 1685221484; -- 'drpl'

-- Facts about this database.
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,   -- 'epoch': rises with each start and while a daemon runs; 'node': the
                                       -- random number of the data folder it was used in last; 'database': the random number that
                                       -- it has in common with its copies; 'clock_high_water': the latest wall clock seen;
                                       -- 'api_key_fingerprint': 40 bits that recognize the API key; 'backup_made_at': set in
                                       -- a backup until a daemon starts with it, and 'migrated_at' too where `migrate`
                                       -- made it one; 'fair_by': a digest of `provider.fair_by`; 'report_zone': of the
                                       -- zone of `report_sums`
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per ingested job file or API call.
CREATE TABLE batches (
    nr          INTEGER PRIMARY KEY,
    source      TEXT NOT NULL CHECK (source = 'inbox' OR source = 'api'),
    file_name   TEXT,                    -- as dropped; null: submitted without a name
    base_name   TEXT,                    -- in Unicode NFC and without what marks a copy; null: like file_name
    sha256      TEXT NOT NULL,           -- of the file's bytes
    bytes       INTEGER NOT NULL,
    jobs        INTEGER NOT NULL,        -- number of jobs in it, all committed with this row
    open_jobs   INTEGER NOT NULL,        -- how many of them have not ended
    ingested_at INTEGER NOT NULL,
    moved_at    INTEGER,                 -- when the file left the inbox; null while it still has to be moved
    moved_to    TEXT,                    -- where it is now; null: it had vanished, or there was no file
    staged      INTEGER NOT NULL,        -- 1: its jobs are still being written, and are not visible; 2: not all are due yet
    again_of    TEXT,                    -- jobs.id of the job whose request was run again; that job may be pruned
    inputs_sha256 TEXT,                -- of the defaults and the local pictures of its jobs; null: neither
    inbox       INTEGER                  -- the number of the inbox, where daemons share a database; null: the only one
) STRICT;

-- Finds an earlier drop of the same file or a copy of it. The name comes first because the names of many files usually
-- rise, so that new entries share pages; digests are random and touch a page each.
CREATE INDEX batches_by_content ON batches (coalesce(base_name, file_name), sha256) WHERE file_name IS NOT NULL;
-- By the name of the file without its folder.
CREATE INDEX batches_by_name ON batches (substr(file_name, length(rtrim(file_name, replace(file_name, '/', ''))) + 1))
    WHERE file_name IS NOT NULL;
CREATE INDEX batches_staged ON batches (staged) WHERE staged = 1 OR staged = 2;
-- Batches of several jobs, and those of them that have not ended.
CREATE INDEX batches_of_several ON batches (nr) WHERE jobs > 1;
CREATE INDEX batches_open ON batches (nr, jobs, open_jobs) WHERE open_jobs > 0 AND jobs > 1;
CREATE INDEX batches_by_again_of ON batches (again_of) WHERE again_of IS NOT NULL;
-- Moves to finish after a crash.
CREATE INDEX batches_to_move ON batches (nr) WHERE moved_at IS NULL;

-- One row per job (src/job/record.rs). Narrow on purpose: what is only displayed is in `requests`.
CREATE TABLE jobs (
    nr                   INTEGER PRIMARY KEY,   -- rises with time: newest first is nr descending
    id                   TEXT NOT NULL UNIQUE,
    batch                INTEGER NOT NULL REFERENCES batches (nr),
    name                 TEXT NOT NULL,
    model                TEXT NOT NULL,
    priority             INTEGER NOT NULL,
    estimate_quota       INTEGER,               -- what it will probably cost, as known when it was accepted or quoted
    max_cost_quota       INTEGER,               -- not submitted if the estimate is above it; null: no limit
    adopted              INTEGER NOT NULL,      -- 1: made for a task that was not submitted here
    created_at           INTEGER NOT NULL,
    turn                 TEXT NOT NULL,         -- the value of the label in `provider.fair_by`; '': none, or no such setting

    state                TEXT NOT NULL CHECK (state = 'pending' OR state = 'submitting' OR state = 'queued'
                                                 OR state = 'processing' OR state = 'downloading' OR state = 'succeeded'
                                                 OR state = 'failed' OR state = 'cancelled' OR state = 'expired'
                                                 OR state = 'held'),
    reason               TEXT,                  -- held: why, one word
    reason_detail        TEXT,                  -- held: details for people
    held_from            TEXT,                  -- held: the state before
    status_message       TEXT,                  -- what it waits for, or the last thing that went wrong, in a sentence

    next_action          TEXT CHECK (next_action = 'submit' OR next_action = 'resend' OR next_action = 'resend_failing'
                                        OR next_action = 'poll' OR next_action = 'poll_failing'
                                        OR next_action = 'cancel' OR next_action = 'wait'
                                        OR next_action = 'check_pictures'),
    next_action_at       INTEGER,               -- when (src/job/next_action.rs); null: nothing to do
    download_at          INTEGER,               -- when the next output is to be downloaded; null: none
    download_failing     INTEGER,               -- 1: every download of it so far has failed; null: none
    upload_at            INTEGER,               -- when the next output is to be uploaded to the bucket; null: none

    due_at               INTEGER,               -- the schedule of the state: next try,
    tries                INTEGER,               -- tries since the last success,
    state_since          INTEGER,               -- start of the state,
    failing_since        INTEGER,               -- since when the job's own calls fail, without a success in between

    attempts             INTEGER NOT NULL,      -- the number of the newest attempt
    pending_attempt_number          INTEGER,    -- the attempt that may have to be sent again
    pending_attempt_created_at      INTEGER,
    pending_attempt_outcome_unknown INTEGER,

    task_id              TEXT,
    polled_at            INTEGER,               -- the last status query
    callback_at          INTEGER,               -- the last callback that no status query has followed yet
    cancel_requested     INTEGER NOT NULL,      -- 1: to be cancelled at the provider
    expiry_alerted       INTEGER NOT NULL,      -- 1: the alert that a link expires soon has been given
    unattended_entries   INTEGER NOT NULL,      -- history entries since the operator last acted
    settlement_at        INTEGER,               -- the task has ended, but its cost is not final: when to poll for it,
    settlement_tries     INTEGER NOT NULL,      -- and how often it has been
    budget_wait_quota    INTEGER,               -- pending: what it needs of a budget that it waits for
    checks_waived        INTEGER NOT NULL,      -- 1: released although too expensive: not checked until an attempt is accepted
    unlisted_allowed     INTEGER NOT NULL,      -- 1: released although its model is not listed; until the next attempt
    pictures_checked     INTEGER,               -- 1: its local pictures were fetched from their addresses; null: it names none

    progress             INTEGER NOT NULL,
    reserved_quota       INTEGER,
    cost_quota           INTEGER,
    submitted_at         INTEGER,
    completed_at         INTEGER,
    finished_at          INTEGER,
    expires_at           INTEGER,               -- the first of its links to expire
    moved_at             INTEGER,               -- when `export --move` cancelled it, to hand it out to another machine
    dismissed_at         INTEGER,               -- when a person took it off the list of what needs one; null: it is on it
    error_code           TEXT,
    error_message        TEXT,

    rating               INTEGER,               -- 0 to 5, of its best output; null: not rated
    last_change          INTEGER NOT NULL       -- the number of its last change: what the change feed follows; 0: its file
                                                -- is staged, or has just been published, and it is not due yet
) STRICT;

-- The next job to submit of each model and turn.
CREATE INDEX jobs_to_submit ON jobs (model, priority DESC, turn, nr) WHERE next_action = 'submit';
-- Everything else that is due.
CREATE INDEX jobs_by_next_action ON jobs (next_action, next_action_at)
    WHERE next_action = 'resend' OR next_action = 'resend_failing' OR next_action = 'poll' OR next_action = 'poll_failing'
        OR next_action = 'cancel' OR next_action = 'wait' OR next_action = 'check_pictures';
-- Waiting for their time (`not_before`).
CREATE INDEX jobs_scheduled ON jobs (next_action_at)
    WHERE next_action = 'wait' AND budget_wait_quota IS NULL AND failing_since IS NULL
        AND pending_attempt_number IS NULL;
-- Waiting for a budget, in the order of the queue.
CREATE INDEX jobs_over_budget ON jobs (priority DESC, nr, budget_wait_quota)
    WHERE next_action = 'wait' AND budget_wait_quota IS NOT NULL;
-- Downloads, the link that expires first before others.
CREATE INDEX jobs_to_download ON jobs (expires_at, nr, download_failing) WHERE download_at IS NOT NULL;
-- Downloads that have failed, by their time.
CREATE INDEX jobs_to_download_again ON jobs (download_at) WHERE download_failing = 1;
-- Uploads to the bucket.
CREATE INDEX jobs_to_upload ON jobs (upload_at) WHERE upload_at IS NOT NULL;
-- Links to alert about.
CREATE INDEX jobs_to_alert ON jobs (expires_at)
    WHERE expiry_alerted = 0 AND expires_at IS NOT NULL AND finished_at IS NULL;
-- Counts the tasks at the provider.
CREATE INDEX jobs_running ON jobs (model, failing_since) WHERE state = 'submitting' OR state = 'queued' OR state = 'processing';
-- Lists and counts.
CREATE INDEX jobs_by_state ON jobs (state, nr);
-- The newest jobs of an end state, and what the times and costs of each model are made from.
CREATE INDEX jobs_by_end ON jobs (state, finished_at, model, submitted_at, cost_quota) WHERE finished_at IS NOT NULL;
-- What needs a person, by cause.
CREATE INDEX jobs_in_need ON jobs (state, coalesce(reason, error_code, state), model)
    WHERE dismissed_at IS NULL AND (state = 'held' OR state = 'failed' OR state = 'expired');
CREATE INDEX jobs_in_need_by_number ON jobs (nr)
    WHERE dismissed_at IS NULL AND (state = 'held' OR state = 'failed' OR state = 'expired');
CREATE INDEX jobs_by_name ON jobs (name);
CREATE INDEX jobs_by_change ON jobs (last_change) WHERE last_change > 0;
CREATE INDEX jobs_by_rating ON jobs (rating, nr) WHERE rating IS NOT NULL;
-- Jobs of one file.
CREATE INDEX jobs_by_batch ON jobs (batch);
-- Jobs and the library by cost.
CREATE INDEX jobs_by_cost ON jobs (cost_quota) WHERE cost_quota IS NOT NULL;

-- How many jobs there are of each state and model, and what they will probably cost; staged ones too. So no page counts a
-- million jobs. New jobs are added by what inserts them (src/store/counts.rs), and triggers do the rest: one for each new job
-- would take longer than the job. `dropreel doctor` compares it with a full count.
CREATE TABLE job_counts (
    state TEXT NOT NULL,
    model TEXT NOT NULL,
    jobs  INTEGER NOT NULL,
    estimate_quota INTEGER NOT NULL,
    PRIMARY KEY (state, model)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER job_recounted AFTER UPDATE OF state, model, estimate_quota ON jobs
WHEN old.state <> new.state OR old.model <> new.model OR old.estimate_quota IS NOT new.estimate_quota BEGIN
    UPDATE job_counts SET jobs = jobs - 1, estimate_quota = estimate_quota - coalesce(old.estimate_quota, 0)
    WHERE state = old.state AND model = old.model;
    INSERT INTO job_counts VALUES (new.state, new.model, 1, coalesce(new.estimate_quota, 0))
    ON CONFLICT (state, model) DO UPDATE
    SET jobs = jobs + 1, estimate_quota = estimate_quota + excluded.estimate_quota;
END;
CREATE TRIGGER job_uncounted AFTER DELETE ON jobs BEGIN
    UPDATE job_counts SET jobs = jobs - 1, estimate_quota = estimate_quota - coalesce(old.estimate_quota, 0)
    WHERE state = old.state AND model = old.model;
    DELETE FROM job_counts WHERE state = old.state AND model = old.model AND jobs = 0;
END;

-- How many jobs need a person, by cause (src/store/needs.rs). `dropreel doctor` compares it too.
CREATE TABLE need_counts (
    state TEXT NOT NULL,
    cause TEXT NOT NULL,
    model TEXT NOT NULL,
    jobs  INTEGER NOT NULL,
    PRIMARY KEY (state, cause, model)
) STRICT, WITHOUT ROWID;

-- What the jobs that have ended add up to, by the day of their end, so that a report reads no jobs (src/store/report_sums.rs).
-- Kept when jobs are pruned; `dropreel doctor` compares the rest with the jobs.
CREATE TABLE report_sums (
    kind       TEXT NOT NULL CHECK (kind = 'model' OR kind = 'label' OR kind = 'file' OR kind = 'removed'),
    day        INTEGER NOT NULL,            -- its first moment, in the zone of the budgets
    name       TEXT NOT NULL,             -- the model, the label as KEY=VALUE, the batch in 19 digits; of removed jobs: the model
    succeeded  INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    cancelled  INTEGER NOT NULL,
    expired    INTEGER NOT NULL,
    cost_quota INTEGER NOT NULL,             -- of all attempts
    times      TEXT NOT NULL,                -- a JSON array: how often jobs that succeeded took how long (src/store/histogram.rs)
    PRIMARY KEY (kind, day, name)
) STRICT, WITHOUT ROWID;

-- Those of a file.
CREATE INDEX report_sums_of_files ON report_sums (name, day) WHERE kind = 'file';

-- What a job asks for: wide, read only to submit and to display.
CREATE TABLE requests (
    job     INTEGER PRIMARY KEY REFERENCES jobs (nr),
    body    TEXT NOT NULL,              -- the user's own text, without the `dropreel` key and without a callback URL
    prompt  TEXT,
    labels  TEXT NOT NULL,              -- a JSON object
    warnings TEXT NOT NULL DEFAULT '[]', -- a JSON array of texts: what the checks of its job file warned about
    defaults TEXT,                      -- a JSON array: what it has from defaults, and from which file; null: nothing
    key     TEXT                        -- the user's own key of the job, which is in `keys` too
) STRICT;

-- The same labels, one row each, to filter by. Without REFERENCES: SQLite would scan this table for each job pruned.
CREATE TABLE labels (
    key     TEXT NOT NULL,
    value   TEXT NOT NULL,
    job     INTEGER NOT NULL,           -- jobs.nr
    PRIMARY KEY (key, value, job)
) STRICT, WITHOUT ROWID;

-- The local pictures that requests name. Copies of them are in `pictures` below the data folder, by content.
CREATE TABLE job_pictures (
    job          INTEGER NOT NULL REFERENCES jobs (nr),
    path         TEXT NOT NULL,         -- as the request names it
    inbox_path   TEXT,                  -- the original, below the inbox; null: it was uploaded, and there is only the copy
    sha256       TEXT NOT NULL,
    picture_type TEXT NOT NULL,         -- by its content, whatever its name ends in
    PRIMARY KEY (job, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_pictures_by_content ON job_pictures (sha256);

-- Pictures that were uploaded for jobs to come. Their copies are kept for a day, and for as long as a job names them.
CREATE TABLE uploaded_pictures (
    sha256       TEXT NOT NULL,
    picture_type TEXT NOT NULL,
    bytes        INTEGER NOT NULL,
    uploaded_at  INTEGER NOT NULL,
    PRIMARY KEY (sha256, picture_type)
) STRICT, WITHOUT ROWID;

-- The users' own keys. A key once seen never runs again, even after its job is pruned.
CREATE TABLE keys (
    key     TEXT NOT NULL PRIMARY KEY,
    job     TEXT NOT NULL               -- jobs.id; the job may be pruned
) STRICT, WITHOUT ROWID;

-- What `export --move` has handed out and its client has not acknowledged yet (src/store/export.rs).
CREATE TABLE moved_jobs (
    job     INTEGER PRIMARY KEY REFERENCES jobs (nr),
    line    TEXT NOT NULL               -- the job file, on one line
) STRICT;

-- Idempotency keys of requests that made jobs, for a week. Without REFERENCES: rows of `batches` are kept longer.
CREATE TABLE idempotency_keys (
    key            TEXT NOT NULL PRIMARY KEY,
    request_sha256 TEXT NOT NULL,       -- of everything that decides which jobs are made
    batch          INTEGER NOT NULL,    -- batches.nr
    used_at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (used_at);

-- One row per billable submit, committed before it is sent. Only the counts, the task and the money change afterwards.
CREATE TABLE attempts (
    job          INTEGER NOT NULL REFERENCES jobs (nr),
    number       INTEGER NOT NULL,
    key          TEXT NOT NULL UNIQUE,   -- the Idempotency-Key
    body         TEXT NOT NULL,          -- the exact bytes, callback URL included: a secret
    body_sha256  TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    sends        INTEGER NOT NULL,       -- counted before each send; 0: its task was made elsewhere
    last_sent_at INTEGER NOT NULL,
    task_id      TEXT UNIQUE,            -- no task belongs to two jobs
    base_url     TEXT,                   -- where it was sent; null: where the settings say, by an older version
    estimate_quota  INTEGER,             -- what it would probably cost, when it was sent; null: sent by an older version
    estimate_source TEXT,                -- src/money/estimate.rs
    price_class     TEXT,                -- what jobs of the same price have in common (src/pricing/own_charges.rs);
                                         -- null: unknown, or the task failed
    frozen_quota    INTEGER,             -- what the provider has frozen for it
    charged_quota   INTEGER,             -- what the provider has charged for it; 0 after a refund
    counted_quota   INTEGER NOT NULL,    -- what it counts for in `spending`: reserved, or
    counted_settled INTEGER NOT NULL,    -- 1: settled,
    counted_at      INTEGER NOT NULL,    -- at this time
    settlement_at    INTEGER,            -- its job has another task, and its cost is not final: when to poll for it,
    settlement_tries INTEGER NOT NULL,   -- and how often it has been
    in_dispute       INTEGER NOT NULL DEFAULT 0, -- 1: charged without a video (src/store/disputes.rs)
    PRIMARY KEY (job, number)
) STRICT;

-- What own jobs of a kind were charged, the newest first.
CREATE INDEX attempts_by_price_class ON attempts (price_class, job, charged_quota)
    WHERE price_class IS NOT NULL AND charged_quota > 0;

CREATE INDEX attempts_in_dispute ON attempts (job, number) WHERE in_dispute = 1;
CREATE INDEX attempts_to_settle ON attempts (settlement_at) WHERE settlement_at IS NOT NULL;

-- How long tasks took whose requests have the same price class, from submit to completion. At most 1,000 classes. Kept when
-- jobs are pruned.
CREATE TABLE learned_times (
    price_class TEXT NOT NULL PRIMARY KEY,
    times       TEXT NOT NULL,           -- a JSON array of milliseconds, the newest 200, the newest last
    median      INTEGER,                 -- milliseconds; null: too few times to say anything,
    p90         INTEGER,
    long        INTEGER,                 -- beyond this a task takes unusually long
    learned_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What the provider has quoted for requests: at most 10,000, not older than a day.
CREATE TABLE quotes (
    request_sha256 TEXT NOT NULL PRIMARY KEY, -- of the provider's address and the request
    quota          INTEGER NOT NULL,
    quoted_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX quotes_by_age ON quotes (quoted_at);

-- What attempts count for in budgets, by the quarter of an hour in which they were submitted: days and months of every
-- time zone begin with one. Kept when jobs are pruned.
CREATE TABLE spending (
    quarter  INTEGER PRIMARY KEY,        -- Unix time, in units of 900 seconds
    reserved INTEGER NOT NULL,
    settled  INTEGER NOT NULL
) STRICT;

-- The same by label, for all time.
CREATE TABLE label_spending (
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    reserved INTEGER NOT NULL,
    settled  INTEGER NOT NULL,
    PRIMARY KEY (key, value)
) STRICT, WITHOUT ROWID;

-- One row per output of a task.
CREATE TABLE outputs (
    job        INTEGER NOT NULL REFERENCES jobs (nr),
    task_id    TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind = 'video' OR kind = 'image' OR kind = 'audio'),
    idx        INTEGER NOT NULL,
    position   INTEGER NOT NULL,         -- in the provider's answer
    state      TEXT NOT NULL CHECK (state = 'waiting' OR state = 'stored' OR state = 'lost'),
    link       TEXT,                     -- while waiting; a secret, deleted once the file is stored
    due_at            INTEGER,           -- while waiting: the next download
    tries             INTEGER NOT NULL,  -- failed downloads so far
    link_refusals     INTEGER NOT NULL,  -- how often the host refused this link, however it is signed
    refused_at        INTEGER,           -- the last time
    refusal_confirmed INTEGER NOT NULL,  -- 1: a status answer since a refusal had no link to another file
    invalid_downloads INTEGER NOT NULL,  -- how often the download was not a media file
    expires_at INTEGER NOT NULL,
    give_up_at        INTEGER,           -- while waiting: when to stop waiting for it
    blocked_reason    TEXT,              -- why it needs the operator, one word
    blocked_detail    TEXT,
    spooled    INTEGER NOT NULL DEFAULT 0, -- 1: downloaded, and to be uploaded to the bucket
    path       TEXT UNIQUE,              -- in the library: committed before the file is published there
    bytes      INTEGER,                  -- of the checked file; set with the path
    sha256     TEXT,
    host       TEXT,                     -- where it was downloaded from
    stored_at  INTEGER,
    bucket     TEXT,                     -- the address of the bucket it is in; null: the library's folder
    rating     INTEGER,                  -- what a person gave it: 0 (rejected) to 5; null: not rated
    rating_order INTEGER NOT NULL AS (coalesce(rating * 2, 1)), -- twice that; not rated: above rejected
    PRIMARY KEY (job, task_id, kind, idx)
) STRICT, WITHOUT ROWID;

-- The library, newest first, and by rating (src/store/library_outputs.rs).
CREATE INDEX outputs_by_time ON outputs (stored_at) WHERE state = 'stored';
CREATE INDEX outputs_by_rating ON outputs (rating_order, stored_at) WHERE state = 'stored';

-- Sidecars that do not say yet what the database says.
CREATE TABLE outdated_sidecars (
    path    TEXT NOT NULL PRIMARY KEY,  -- outputs.path
    version INTEGER NOT NULL            -- rises with each change, so that none is missed while one is written
) STRICT, WITHOUT ROWID;

-- What happened to each job, in order, committed with the change itself.
CREATE TABLE history (
    nr      INTEGER PRIMARY KEY,
    job     INTEGER NOT NULL REFERENCES jobs (nr),
    at      INTEGER NOT NULL,
    event   TEXT NOT NULL,
    detail  TEXT NOT NULL
) STRICT;

CREATE INDEX history_by_job ON history (job, nr);

-- Callback bodies, committed before they are answered with 204. At most 20 per job; `overflow` counts the rest.
CREATE TABLE deliveries (
    nr          INTEGER PRIMARY KEY,
    job         INTEGER NOT NULL,        -- jobs.nr; REFERENCES would need an index of all rows by job
    received_at INTEGER NOT NULL,
    overflow    INTEGER NOT NULL,
    processed   INTEGER NOT NULL,        -- 1: applied to the job
    body        BLOB NOT NULL
) STRICT;

-- Only what is processed: in an index by job, each callback changes a page of its own, for which its sender would wait.
CREATE INDEX deliveries_by_job ON deliveries (job, nr) WHERE processed = 1;
CREATE INDEX deliveries_to_process ON deliveries (nr) WHERE processed = 0;

-- The outbox of hooks: notifications to deliver and their outcome, committed with the change they report.
CREATE TABLE hook_calls (
    nr       INTEGER PRIMARY KEY,
    hook     TEXT NOT NULL,             -- a digest of what the hook runs or where it posts
    event    TEXT NOT NULL,             -- src/job/notification.rs
    job      INTEGER REFERENCES jobs (nr), -- null: not about a single job
    batch    INTEGER,                   -- batches.nr; null: not about a batch
    at       INTEGER NOT NULL,
    tries    INTEGER NOT NULL,
    due_at   INTEGER,                   -- null: finished
    tried_at INTEGER,
    outcome  TEXT                       -- of the last try, in a sentence
) STRICT;

CREATE INDEX hook_calls_due ON hook_calls (hook, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX hook_calls_by_job ON hook_calls (job, nr) WHERE job IS NOT NULL;
CREATE INDEX hook_calls_by_batch ON hook_calls (batch) WHERE batch IS NOT NULL;

-- Why dropreel submits or downloads nothing at the moment: the user paused it, or the provider's answers suspended it.
CREATE TABLE suspensions (
    cause   TEXT NOT NULL PRIMARY KEY CHECK (cause = 'paused_submits' OR cause = 'paused_downloads'
                                             OR cause = 'superseded' OR cause = 'rate_limited'
                                             OR cause = 'key_refused' OR cause = 'balance_empty'
                                             OR cause = 'misconfigured' OR cause = 'unreachable' OR cause = 'clock_unreliable'),
    until   INTEGER,                     -- null: until the user resumes
    message TEXT NOT NULL,
    since   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
